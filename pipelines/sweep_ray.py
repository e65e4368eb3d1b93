"""The sweep on Ray Tune: as many long Tune trials as there are workers, each a lane of packs.

A pack is some units of one fold of one scope, made to last PACK_S. A lane asks the desk for its
next pack, does it, and reports it to Tune; Tune's searcher, in the process that drives the sweep,
takes the report and hands out more. A lane has a pack ahead, so that it never waits for the driver;
it is given none before it has said that it is up, since Ray may have no core for it for long.
Packs as Tune trials of their own were tried first: whenever two ended together Tune gave up one of
the two reused actors and started another, seconds of imports each time, that was given up in turn.
How units are packed and who runs them changes no result: `pipelines.sweep.Sweep` decides only on
whole stages.

The data lie in the object store once; each worker maps them, and keeps what the trials of a fold
share. A unit whose worker dies is tried again, alone, and is a failed trial when it dies again.
"""

from __future__ import annotations

import logging
import math
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import asdict
from typing import Any, Final

from pydantic import BaseModel
from ray import tune
from ray.tune.search import Searcher

from foreshock.errors import ConfigError, DatasetError
from pipelines.desk import Desk
from pipelines.run_journal import cell_of
from pipelines.sweep import Job, Outcome, ScopeResult, Sweep, Unit, Worker, results

PACK_S: Final = 2.0
AHEAD: Final = 1  # packs that wait for a lane beside the one it is at
ATTEMPTS: Final = 2
STILLBORN: Final = 5  # lanes in a row that died before they were up: no more are opened
UP: Final = 0  # in the place of a pack's number: there is none yet
FIRST_PACK: Final = 2  # units, before it is known how long one lasts


def sweep_on_ray(sweep: Sweep, job: Job, *, max_concurrent: int = 0) -> list[ScopeResult]:
    """Run a sweep on the Ray that this process is connected to. Whatever Tune prints goes to
    stderr. A worker is given as many cores as a recipe has threads, so that fits never share one.

    Raises DatasetError where nothing could be judged, or Tune itself gave up; ConfigError where a
    fit wants more threads than there are cores."""
    import ray

    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    # The journal is what is resumed from: Tune's own snapshots would grow with every pack.
    os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "1000000")
    os.environ.setdefault("TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S", "0")
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # its box of settings, quiet or not
    logging.getLogger("ray.tune.analysis.experiment_analysis").setLevel(logging.ERROR)
    if sweep.begin().finished:
        return results(sweep)
    cores: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    cpus_per_worker = max(
        getattr(trial.recipe, "threads", 1)
        for search in sweep.searches.values()
        for trial in search.trials
    )
    most = int(cores.get("CPU", 1) / cpus_per_worker)
    if most < 1:
        raise ConfigError(f"a fit takes {cpus_per_worker} threads, there are {cores.get('CPU')}")
    workers = min(max_concurrent or most, most)
    # By default Tune asks for a searcher's workers one after the other, each when the last is up.
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(workers)
    desk = ray.remote(num_cpus=0)(Desk).remote()
    lanes = Lanes(sweep, workers, lambda lane, pack: desk.put.remote(lane, pack))
    work = tune.with_parameters(_lane, job=job, desk=desk)
    with (
        tempfile.TemporaryDirectory(prefix="foreshock-tune-") as storage,
        redirect_stdout(sys.stderr),
    ):
        tune.Tuner(
            tune.with_resources(work, {"cpu": cpus_per_worker}),
            tune_config=tune.TuneConfig(
                search_alg=lanes, num_samples=-1, metric="done_units", mode="max"
            ),
            run_config=tune.RunConfig(
                storage_path=storage,
                name="sweep",
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=0, fail_fast=False),
            ),
        ).fit()
    ray.kill(desk)
    if not sweep.finished:
        raise DatasetError("the sweep ended before its work was done: see Ray's log of its workers")
    return results(sweep)


Pack = dict[str, Any]  # number, scope, fold, recipes


class Lanes(Searcher):  # type: ignore[misc]
    """Opens lanes, hands out packs and takes their results, in the process that drives the sweep.

    workers  lanes at the same time; one that dies is followed by another
    send     gives a lane (the Tune trial's id) its next pack; None ends it
    """

    def __init__(
        self, sweep: Sweep, workers: int, send: Callable[[str, Pack | None], object]
    ) -> None:
        super().__init__(metric="done_units", mode="max")
        self._sweep, self._workers, self._send = sweep, workers, send
        self._lanes: dict[str, dict[int, list[Unit]]] = {}  # what each was given, in order
        self._up: set[str] = set()
        self._stillborn = 0
        self._given = 0
        self._deaths: dict[Unit, int] = {}
        self._pace: dict[str, float] = {}  # seconds a unit, by scope

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """A lane, where there are too few; FINISHED at the end, and where none comes up."""
        given_up = self._stillborn >= STILLBORN
        if self._sweep.finished or (given_up and not self._lanes):
            return str(Searcher.FINISHED)
        if given_up or len(self._lanes) >= self._workers:
            return None
        self._lanes[trial_id] = {}
        return {"lane": trial_id}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """That a lane is up (UP), or a pack's results. Tune tells a lane's last ones again when it
        ends."""
        self._up.add(trial_id)
        self._stillborn = 0
        units = self._lanes[trial_id].pop(int(result["pack"]), [])
        if units:
            for unit, body in zip(units, result["outcomes"], strict=True):
                outcome = _outcome(body)
                self._learn(unit.scope, outcome.seconds)
                self._sweep.told(unit, outcome)
        self._hand_out()

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """The end of a lane, where it has packs left by its worker's death over the first."""
        self._stillborn = 0 if trial_id in self._up else self._stillborn + 1
        self._up.discard(trial_id)
        for at, units in enumerate(self._lanes.pop(trial_id, {}).values()):
            for unit in units:
                if at == 0:
                    self._died(unit, alone=len(units) == 1)
                else:
                    self._sweep.give_back(unit)
        self._hand_out()

    def _hand_out(self) -> None:
        """A pack for every lane that has fewer than it may, idle ones first; the end for all of
        them when there is nothing left to do."""
        if self._sweep.finished:
            for lane in self._up:
                self._send(lane, None)
        for size in range(1 + AHEAD):
            for lane, packs in self._lanes.items():
                if lane in self._up and len(packs) == size and (found := self._next()):
                    pack, units = found
                    packs[pack["number"]] = units
                    self._send(lane, pack)

    def _next(self) -> tuple[Pack, list[Unit]] | None:
        ready = self._sweep.ready()
        if not ready:
            return None
        (scope, fold), trials = next(iter(ready.items()))
        units = [Unit(scope, fold, number) for number in trials]
        units = units[: self._size(units, sum(map(len, ready.values())))]
        recipes = [[_kind(r), r.model_dump(mode="json")] for r in self._sweep.take(units)]
        self._given += 1
        return {"number": self._given, "scope": scope, "fold": fold, "recipes": recipes}, units

    def _died(self, unit: Unit, *, alone: bool) -> None:
        """Once more, alone; a unit that was alone ATTEMPTS times is the one that kills."""
        self._deaths[unit] = self._deaths.get(unit, 0) + (1 if alone else 0)
        if self._deaths[unit] >= ATTEMPTS:
            self._sweep.told(unit, Outcome([], 0.0, "the worker died over it", lost=True))
        else:
            self._sweep.give_back(unit)

    def _size(self, units: Sequence[Unit], ready: int) -> int:
        """How many of `units` make a pack: even shares that last about PACK_S, and no more than
        leaves work for every worker. What was in a worker that died goes alone."""
        if units[0] in self._deaths:
            return 1
        first = next((i for i, unit in enumerate(units) if unit in self._deaths), len(units))
        pace = self._pace.get(units[0].scope)
        shares = len(units) / FIRST_PACK if pace is None else len(units) * pace / PACK_S
        wanted = math.ceil(len(units) / max(1, round(shares)))
        return max(1, min(first, wanted, math.ceil(ready / self._workers)))

    def _learn(self, scope: str, seconds: float) -> None:
        self._pace[scope] = 0.7 * self._pace.get(scope, seconds) + 0.3 * seconds

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the journal is what is resumed from."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing, as `save`."""

    def __reduce__(self) -> Any:
        return (_NoLanes, ())


class _NoLanes(Searcher):  # type: ignore[misc]
    """What is left of `Lanes` where Tune pickles its settings: the sweep stays with its driver."""


_WORKER: dict[str, Worker] = {}


def _lane(config: dict[str, Any], *, job: Job, desk: Any) -> None:
    """Runs in a worker: does pack after pack and reports each, until there are no more."""
    import ray

    worker = _worker(job)
    tune.report({"done_units": 0, "pack": UP, "outcomes": []})
    while pack := ray.get(desk.next.remote(config["lane"])):
        recipes = [_recipe(kind, body) for kind, body in pack["recipes"]]
        done = [asdict(outcome) for outcome in worker.do(pack["scope"], pack["fold"], recipes)]
        tune.report({"done_units": len(recipes), "pack": pack["number"], "outcomes": done})


def _worker(job: Job) -> Worker:
    """The one of this process: a reused actor keeps what it has cut out and binned."""
    key = job.token
    if key not in _WORKER:
        _WORKER.clear()
        _WORKER[key] = Worker(job)
    return _WORKER[key]


def _kind(recipe: BaseModel) -> str:
    return f"{type(recipe).__module__}:{type(recipe).__qualname__}"


def _recipe(kind: str, body: dict[str, Any]) -> BaseModel:
    import importlib

    module, _, name = kind.partition(":")
    found: BaseModel = getattr(importlib.import_module(module), name).model_validate(body)
    return found


def _outcome(body: dict[str, Any]) -> Outcome:
    cells = [cell_of(cell) for cell in body["cells"]]
    return Outcome(cells, body["seconds"], body["failure"], body["lost"])
