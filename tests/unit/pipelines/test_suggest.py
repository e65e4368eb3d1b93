"""pipelines.suggest: one scope's search."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from foreshock.errors import ConfigError
from foreshock.models.boosted import BoostedSettings
from foreshock.validation.search import Range, SearchSettings
from pipelines.suggest import Suggestions, Trial
from pipelines.trial import Cell

BASE = BoostedSettings(learning_rate=0.1, trees=60, leaves=7, l2=1.0, min_leaf_rows=50)
SPACE = {
    "learning_rate": Range(low=0.01, high=0.5, log=True),
    "leaves": Range(choices=(7, 15, 31)),
    "min_leaf_rows": Range(low=10, high=100, whole=True),
}


def searched(
    skill: Callable[[Trial, int], float],
    trials: int = 12,
    seed: int = 1,
    scope: str = "pooled",
    **given: object,
) -> Suggestions:
    search = SearchSettings.model_validate({"space": SPACE, "random_trials": 4, **given})
    found = Suggestions(BASE, [BASE], trials, 4, search, seed, scope)
    while not found.finished:
        trial, fold = found.wanted()[-1]
        found.tell(trial.number, fold, [Cell(fold, 60, skill(trial, fold), 0.1)])
    return found


def rate(trial: Trial, fold: int) -> float:
    """Best at a learning rate of 0.05."""
    recipe = trial.recipe
    assert isinstance(recipe, BoostedSettings)
    return -abs(math.log(recipe.learning_rate / 0.05)) - 0.01 * fold


def tried(found: Suggestions) -> list[str]:
    return [trial.recipe.model_dump_json() for trial in found.trials]


def test_the_base_and_the_baselines_come_first_and_are_given_every_fold() -> None:
    found = searched(lambda trial, _: -9.0 if trial.number < 2 else rate(trial, 0))
    assert [t.origin for t in found.trials] == ["base", "baseline"] + ["search"] * 11
    assert [t.recipe for t in found.trials[:2]] == [BASE, BASE]
    assert [(t.state, len(t.cells)) for t in found.trials[:2]] == [("complete", 4)] * 2
    assert {t.state for t in found.trials} == {"complete", "pruned"}


def test_the_search_follows_the_seed_and_what_it_was_told() -> None:
    assert tried(searched(rate)) == tried(searched(rate))
    assert tried(searched(rate)) != tried(searched(rate, seed=2))
    assert tried(searched(rate)) != tried(searched(rate, scope="symbol:BTCUSDT"))
    other = tried(searched(lambda trial, fold: -rate(trial, fold)))
    assert tried(searched(rate))[:5] == other[:5]  # drawn before anything was told
    assert tried(searched(rate)) != other


def test_it_finds_what_is_good() -> None:
    found = searched(rate, trials=40, prune=False)
    skills = [t.skill for t in found.trials]
    assert max(skills[20:]) > max(skills[:6])
    late = [abs(math.log(t.recipe.learning_rate / 0.05)) for t in found.trials[-12:]]  # type: ignore[attr-defined]
    assert sum(late) / len(late) < 0.7  # a draw by chance is 1.1 away


def test_a_batch_is_halved_between_its_stages() -> None:
    found = searched(rate, trials=9, batch=4, first_folds=1)
    whole = found.trials[5:9]  # the last full batch: the first has base and baseline beside
    assert sorted(len(t.cells) for t in whole) == [1, 1, 2, 4]
    told = sorted(whole, key=lambda t: -rate(t, 0))
    assert [len(t.cells) for t in told] == [4, 2, 1, 1]
    assert told[-1].reason == "given up after 1 folds"


def test_units_left_is_never_too_few() -> None:
    search = SearchSettings(space=SPACE, first_folds=1)
    found = Suggestions(BASE, [], 10, 4, search, 1, "pooled")
    made = 0
    bounds = []
    while not found.finished:
        bounds.append((made, found.units_left))
        trial, fold = found.wanted()[0]
        found.tell(trial.number, fold, [Cell(fold, 60, rate(trial, fold), 0.1)])
        made += 1
    assert bounds[0] == (0, 40) and found.units_left == 0
    assert all(made <= before + left for before, left in bounds)


def test_a_space_that_no_recipe_has_is_refused_with_the_nearest_name() -> None:
    def planned(space: dict[str, Range]) -> Suggestions:
        return Suggestions(BASE, [], 2, 2, SearchSettings(space=space), 1, "pooled")

    with pytest.raises(ConfigError, match=r"no recipe has a field 'leafs', did you mean 'leaves'"):
        planned({"leafs": Range(choices=(7,))})
    with pytest.raises(ConfigError, match=r"training.search.space.leaves: 1"):
        planned({"leaves": Range(low=1, high=9, whole=True)})
    with pytest.raises(ConfigError, match=r"space.objective: 'hinge'"):
        planned({"objective": Range(choices=("binary", "hinge"))})
