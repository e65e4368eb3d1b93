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
from pipelines.sweep_ray import STILLBORN, UP, Lanes, _recipe
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


class Workers:
    """Lanes as Ray would hold them: each has its packs in order, as JSON, and does the first.
    Ray has room for `cores` of them; the others never come up."""

    def __init__(self, sweep: Sweep, workers: int, cores: int | None = None) -> None:
        self._cores = workers if cores is None else cores
        self.desk: dict[str, list[Any]] = {}
        self.lanes = Lanes(sweep, workers, self._put)
        self._opened = 0

    def _put(self, lane: str, pack: Any) -> None:
        self.desk[lane].append(json.loads(json.dumps(pack)))

    def open(self) -> None:
        """As many as the searcher wants."""
        while True:
            lane = f"lane {self._opened}"
            given = self.lanes.suggest(lane)
            if not isinstance(given, dict):
                return
            assert given == {"lane": lane}
            self._opened += 1
            if len(self.desk) < self._cores:
                self.desk[lane] = []
                self.lanes.on_trial_result(lane, {"pack": UP, "outcomes": []})

    def busy(self) -> list[str]:
        """Lanes that have something to do."""
        return [lane for lane, packs in self.desk.items() if packs]

    def kill(self, lane: str) -> None:
        """Its worker dies, with all that waited for it."""
        del self.desk[lane]
        self.lanes.on_trial_complete(lane, None, error=True)

    def report(self, lane: str, outcomes: list[Outcome]) -> None:
        """It has done its first pack. Tune may tell the same twice."""
        pack = self.desk[lane].pop(0)
        result = {"pack": pack["number"], "outcomes": [asdict(one) for one in outcomes]}
        self.lanes.on_trial_result(lane, result)
        self.lanes.on_trial_result(lane, result)


def drive(
    workers: int, seed: int, deaths: float = 0.0, cores: int | None = None
) -> tuple[list[Any], int]:
    """Packs are done in any order; some workers die. Says what each trial became, and the largest
    pack."""
    draw, sweep = random.Random(seed), planned()
    crew, largest = Workers(sweep, workers, cores), 0
    while not sweep.finished:
        crew.open()
        assert len(crew.desk) == (workers if cores is None else cores)
        lane = draw.choice(crew.busy())  # raises where nobody works and nothing is handed out
        assert all(len(packs) <= 2 for packs in crew.desk.values())
        pack = crew.desk[lane][0]
        largest = max(largest, len(pack["recipes"]))
        if draw.random() < deaths and len(pack["recipes"]) > 1:
            crew.kill(lane)
            continue
        outcomes = []
        for kind, body in pack["recipes"]:
            recipe = _recipe(kind, body)
            figure = random.Random(f"{pack['scope']}{pack['fold']}{recipe.model_dump_json()}")
            cell = Cell(pack["fold"], 10, figure.gauss(0, 1), 0.1, by_symbol=((0, 0.5),))
            outcomes.append(Outcome([cell], draw.choice((0.01, 0.5, 4.0))))
        crew.report(lane, outcomes)
    assert crew.lanes.suggest("last") == Searcher.FINISHED
    assert all(packs[-1] is None for packs in crew.desk.values())  # every lane is told of the end
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
    assert drive(3, 5, cores=1)[0] == alone  # two lanes wait for a core until the end


def test_a_unit_that_kills_its_worker_twice_alone_is_a_failed_trial() -> None:
    sweep = planned()
    crew = Workers(sweep, 1)
    bad = sweep.searches["pooled"].trials[1].recipe.model_dump(mode="json")
    killed = 0
    while not sweep.finished:
        crew.open()
        assert crew.lanes.suggest("another") is None  # one at a time
        (lane,) = crew.desk
        pack = crew.desk[lane][0]
        if pack["scope"] == "pooled" and bad in [body for _, body in pack["recipes"]]:
            crew.kill(lane)
            killed += 1
            continue
        cells = [Cell(pack["fold"], 10, 0.1, 0.1)]
        crew.report(lane, [Outcome(cells, 0.1) for _ in pack["recipes"]])
    assert killed == 3  # in company, and twice alone
    pooled = results(sweep)[0]
    states = [trial.state for trial in pooled.trials]
    assert states.count("failed") == 1
    assert pooled.trials[1].reason == "fold 0: the worker died over it"


def test_a_cluster_on_which_no_worker_comes_up_is_given_up() -> None:
    lanes = Lanes(planned(), 2, lambda lane, pack: None)
    opened = 0
    while isinstance(lanes.suggest(str(opened)), dict):
        lanes.on_trial_complete(str(opened), None, error=True)
        opened += 1
        assert opened < 20, "it goes on for ever"
    assert lanes.suggest("another") == Searcher.FINISHED
    assert opened == STILLBORN


def test_workers_that_do_not_come_up_end_no_sweep_that_runs() -> None:
    crew = Workers(planned(), 2, cores=1)
    crew.open()  # one is up, one waits
    for number in range(STILLBORN):
        crew.lanes.on_trial_complete(f"lane {number + 1}", None, error=True)
        crew.open()
    assert crew.lanes.suggest("another") is None
    (lane,) = crew.desk
    cells = [Cell(crew.desk[lane][0]["fold"], 10, 0.1, 0.1)]
    crew.report(lane, [Outcome(cells, 0.1) for _ in crew.desk[lane][0]["recipes"]])
    assert isinstance(crew.lanes.suggest("another"), dict)  # somebody works: tried again
