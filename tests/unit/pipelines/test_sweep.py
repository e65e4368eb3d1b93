"""pipelines.sweep: which units run when, and which trial is best, without Ray."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import pytest
from pydantic import BaseModel

from foreshock.errors import DatasetError
from foreshock.models.boosted import BoostedSettings
from foreshock.validation.search import SearchSettings
from foreshock.validation.walk_forward import WalkForwardSettings, walk_forward
from pipelines.suggest import Trial
from pipelines.sweep import (
    Job,
    Outcome,
    ScopeResult,
    Sweep,
    Unit,
    best,
    plan_sweep,
    results,
    sweep_in_process,
)
from pipelines.training import TrainingSettings
from pipelines.trial import Cell
from tests.reference.training import make_set

BASE = BoostedSettings(seed=3, trees=10, leaves=5)
SETTINGS = TrainingSettings(
    walk=WalkForwardSettings(folds=4, train_share=0.3), certificate_rows=20_000
)
SEARCH = SearchSettings(
    batch=4, random_trials=3, first_folds=1, scopes=("pooled", "group", "symbol")
)
Told = list[tuple[str, int, str, str, list[float]]]


def cell(skill: float, refused: str = "") -> Cell:
    return Cell(0, 60, skill, 0.1, refused)


def trial(number: int, *skills: float, state: str = "complete", refused: str = "") -> Trial:
    cells = {fold: [cell(skill, refused)] for fold, skill in enumerate(skills)}
    return Trial(number, BASE, "search", cells, {}, state)  # type: ignore[arg-type]


def planned(trials: int = 9, search: SearchSettings = SEARCH, **more: object) -> Sweep:
    data = make_set(steps=400)
    folds = walk_forward(data.t0_ns, data.end_ns, SETTINGS.walk)
    return plan_sweep(data, folds, BASE, [], trials, search, 5, **more)  # type: ignore[arg-type]


def fitted(unit: Unit, recipe: BaseModel) -> Outcome:
    """A made-up figure that depends on the unit and its recipe alone; some fail, some refuse."""
    draw = random.Random(f"{unit}{recipe.model_dump_json()}")
    chance = draw.random()
    if chance < 0.03:
        return Outcome([], 0.1, "RuntimeError: bad luck")
    refused = chance < 0.1
    return Outcome(
        [Cell(unit.fold, 10, math.nan if refused else draw.gauss(0, 1), 0.1, "no" * refused)], 0.1
    )


def told(found: Sequence[ScopeResult]) -> Told:
    return [
        (r.scope.name, t.number, t.recipe.model_dump_json(), t.state + t.reason,
         [c.skill if math.isfinite(c.skill) else -9.0 for c in t.all_cells])
        for r in found
        for t in r.trials
    ]  # fmt: skip


def drive(sweep: Sweep, seed: int, workers: int) -> Told:
    """Workers that take units in any order and end in any order."""
    draw = random.Random(seed)
    sweep.begin()
    running: list[tuple[Unit, Outcome]] = []
    while not sweep.finished:
        ready = [Unit(s, f, n) for (s, f), trials in sweep.ready().items() for n in trials]
        while ready and len(running) < workers:
            unit = ready.pop(draw.randrange(len(ready)))
            running.append((unit, fitted(unit, sweep.take([unit])[0])))
        sweep.told(*running.pop(draw.randrange(len(running))))
    return told(results(sweep))


def test_who_works_and_in_which_order_changes_nothing() -> None:
    alone = drive(planned(), 0, 1)
    assert {state for *_, state, _ in alone} >= {"complete", "prunedgiven up after 1 folds"}
    for seed, workers in ((1, 2), (2, 3), (3, 17)):
        assert drive(planned(), seed, workers) == alone


def test_what_an_earlier_run_knows_is_not_made_again() -> None:
    kept: dict[tuple[Unit, str], Outcome] = {}

    def keep(unit: Unit, recipe: BaseModel, outcome: Outcome, *, known: bool) -> None:
        kept[unit, recipe.model_dump_json()] = outcome

    whole = drive(planned(tell=keep), 0, 2)
    assert len(kept) > 100
    half = dict(list(kept.items())[: len(kept) // 2])
    made: list[bool] = []
    sweep = planned(known=half, tell=lambda *_, known: made.append(known))
    assert drive(sweep, 4, 3) == whole
    assert made.count(True) == len(half) and len(made) == len(kept)
    assert planned(known=kept).begin().finished


def test_a_trial_that_raises_is_kept_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    data = make_set(steps=600)
    folds = walk_forward(data.t0_ns, data.end_ns, SETTINGS.walk)
    sweep = plan_sweep(data, folds, BASE, [], 3, SearchSettings(random_trials=2), 1)
    import pipelines.sweep as module

    real = module.evaluate_fold

    def sometimes(recipe: BaseModel, *more: object) -> list[Cell]:
        if recipe == sweep.searches["pooled"].trials[1].recipe:
            raise MemoryError("of all things")
        return real(recipe, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "evaluate_fold", sometimes)
    (found,) = sweep_in_process(sweep, Job.of(data, folds, list(sweep.scopes.values()), SETTINGS))
    assert [t.state for t in found.trials].count("failed") == 1
    assert found.trials[1].reason == "fold 0: MemoryError: of all things"
    assert found.chosen in (0, 2)


def test_the_best_trial_is_the_first_with_the_highest_mean() -> None:
    tried = [
        trial(0, 0.1, 0.1),
        trial(1, 0.2, math.nan),
        trial(2, 0.3, 0.1),
        trial(3, 0.9, state="pruned"),
        trial(4, 0.9, state="failed"),
    ]
    assert best(tried) == 1
    assert best(tried[3:]) is None


def test_where_nothing_could_be_judged_the_reason_is_told() -> None:
    data = make_set(steps=200)
    walk = WalkForwardSettings(folds=1, embargo_s=0)
    folds = walk_forward(data.t0_ns, data.end_ns, walk)
    sweep = plan_sweep(data, folds, BASE, [], 2, SearchSettings(), 5)
    settings = SETTINGS.model_copy(update={"walk": walk})
    with pytest.raises(DatasetError, match=r"none of 2 trials .*: .*too few rows"):
        sweep_in_process(sweep, Job.of(data, folds, list(sweep.scopes.values()), settings))
