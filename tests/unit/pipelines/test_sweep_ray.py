"""pipelines.sweep_ray: what the searcher hands out and makes of results, without a cluster."""

from __future__ import annotations

import json
import random
from dataclasses import asdict
from typing import Any

from ray.tune.search import Searcher

from foreshock.models.boosted import BoostedSettings
from foreshock.validation.search import Range, SearchSettings
from foreshock.validation.walk_forward import WalkForwardSettings, walk_forward
from pipelines.sweep import Outcome, Sweep, plan_sweep, results
from pipelines.sweep_ray import Packs, _recipe
from pipelines.trial import Cell
from tests.reference.training import make_set

BASE = BoostedSettings(trees=10)
SEARCH = SearchSettings(
    space={"learning_rate": Range(low=0.01, high=0.3, log=True)},
    batch=5,
    random_trials=3,
    first_folds=1,
    scopes=("pooled", "symbol"),
)


def planned() -> Sweep:
    data = make_set(steps=400)
    folds = walk_forward(data.t0_ns, data.end_ns, WalkForwardSettings(folds=3))
    return plan_sweep(data, folds, BASE, [], 8, SEARCH, 5).begin()


def drive(workers: int, seed: int, deaths: float = 0.0) -> tuple[list[Any], int]:
    """Packs are taken and ended in any order, through JSON as a worker's results would come; some
    workers die. Says what each trial became, and the largest pack."""
    draw, sweep = random.Random(seed), planned()
    packs = Packs(sweep, workers, ahead=1)
    running: dict[str, dict[str, Any]] = {}
    largest, number = 0, 0
    while not sweep.finished:
        while len(running) < workers + 1:
            given = packs.suggest(f"t{number}")
            if given is None:
                break
            assert isinstance(given, dict)
            running[f"t{number}"] = json.loads(json.dumps(given))
            largest, number = max(largest, len(given["recipes"])), number + 1
        assert running, "nobody works and nothing is handed out"
        name = draw.choice(list(running))
        pack = running.pop(name)
        if draw.random() < deaths and len(pack["recipes"]) > 1:
            packs.on_trial_complete(name, None, error=True)
            continue
        outcomes = []
        for kind, body in pack["recipes"]:
            recipe = _recipe(kind, body)
            figure = random.Random(f"{pack['scope']}{pack['fold']}{recipe.model_dump_json()}")
            cell = Cell(pack["fold"], 10, figure.gauss(0, 1), 0.1, by_symbol=((0, 0.5),))
            outcomes.append(asdict(Outcome([cell], draw.choice((0.01, 0.5, 4.0)))))
        packs.on_trial_complete(name, {"outcomes": outcomes})
    assert packs.suggest("last") == Searcher.FINISHED
    told = [
        (result.scope.name, trial.recipe, trial.state, trial.all_cells)
        for result in results(sweep)
        for trial in result.trials
    ]
    return told, largest


def test_how_work_is_packed_and_who_dies_changes_nothing() -> None:
    alone, largest = drive(1, 0)
    assert largest > 1  # trials of a fold share a pack
    for workers, seed, deaths in ((2, 1, 0.0), (7, 2, 0.0), (2, 3, 0.3), (3, 4, 0.9)):
        assert drive(workers, seed, deaths)[0] == alone


def test_a_unit_that_kills_its_worker_twice_alone_is_a_failed_trial() -> None:
    sweep = planned()
    packs = Packs(sweep, 1, ahead=0)
    bad = sweep.searches["pooled"].trials[1].recipe.model_dump(mode="json")
    number = 0
    while not sweep.finished:
        number += 1
        given = packs.suggest(str(number))
        assert isinstance(given, dict)
        assert packs.suggest("another") is None  # one at a time
        if given["scope"] == "pooled" and bad in [body for _, body in given["recipes"]]:
            packs.on_trial_complete(str(number), None, error=True)
            continue
        cells = [Cell(given["fold"], 10, 0.1, 0.1)]
        done = [asdict(Outcome(cells, 0.1)) for _ in given["recipes"]]
        packs.on_trial_complete(str(number), {"outcomes": done})
    pooled = results(sweep)[0]
    states = [trial.state for trial in pooled.trials]
    assert states.count("failed") == 1
    assert pooled.trials[1].reason == "fold 0: the worker died over it"
