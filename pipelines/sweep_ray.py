"""The sweep on Ray Tune: one `Tuner.fit`, whose searcher hands out packs of work.

A pack is some units of one fold of one scope: a Tune trial of its own costs some hundredth of a
second, a fresh actor seconds, so actors are reused and a pack is made to last PACK_S. What the
searcher has nothing to hand out for (a batch is not whole) it answers with None. How units are
packed and who runs them changes no result: `pipelines.sweep.Sweep` decides only on whole stages.

The data lie in the object store once; each worker maps them, and keeps what the trials of a fold
share. A unit whose worker dies is tried again, alone, and is a failed trial when it dies again.
"""

from __future__ import annotations

import logging
import math
import os
import sys
import tempfile
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import asdict
from typing import Any, Final

from pydantic import BaseModel
from ray import tune
from ray.tune.search import Searcher

from foreshock.errors import ConfigError, DatasetError
from pipelines.run_journal import cell_of
from pipelines.sweep import Job, Outcome, ScopeResult, Sweep, Unit, Worker, results

PACK_S: Final = 3.0
ATTEMPTS: Final = 2
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
    # By default Tune keeps one trial of a searcher pending: an actor that is free again takes it
    # before a new one has started, and one worker does everything while the others never come up.
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(workers + 1)
    packs = Packs(sweep, workers, ahead=int(workers == most))
    with (
        tempfile.TemporaryDirectory(prefix="foreshock-tune-") as storage,
        redirect_stdout(sys.stderr),
    ):
        tune.Tuner(
            tune.with_resources(tune.with_parameters(_pack, job=job), {"cpu": cpus_per_worker}),
            tune_config=tune.TuneConfig(
                search_alg=packs, num_samples=-1, metric="done", mode="max", reuse_actors=True
            ),
            run_config=tune.RunConfig(
                storage_path=storage,
                name="sweep",
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=0, fail_fast=False),
            ),
        ).fit()
    if not sweep.finished:
        raise DatasetError("the sweep ended before its work was done")
    return results(sweep)


class Packs(Searcher):  # type: ignore[misc]
    """Hands out packs and takes their results, in the process that drives the sweep.

    workers  that run at the same time; `ahead` packs more are handed out, so that a worker that
             ends need not wait for the next
    """

    def __init__(self, sweep: Sweep, workers: int, ahead: int) -> None:
        super().__init__(metric="done", mode="max")
        self._sweep, self._workers, self._ahead = sweep, workers, ahead
        self._out: dict[str, list[Unit]] = {}
        self._deaths: dict[Unit, int] = {}
        self._pace: dict[str, float] = {}  # seconds a unit, by scope

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next pack; None where none may run now, FINISHED at the end."""
        if self._sweep.finished:
            return str(Searcher.FINISHED)
        if len(self._out) >= self._workers + self._ahead:
            return None
        ready = self._sweep.ready()
        if not ready:
            return None
        (scope, fold), trials = next(iter(ready.items()))
        units = [Unit(scope, fold, number) for number in trials]
        units = units[: self._size(units, sum(map(len, ready.values())))]
        recipes = self._sweep.take(units)
        self._out[trial_id] = units
        return {
            "scope": scope,
            "fold": fold,
            "recipes": [[_kind(r), r.model_dump(mode="json")] for r in recipes],
        }

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """A pack's results, or the death of the worker that had it."""
        units = self._out.pop(trial_id, [])
        outcomes = [] if error or not result else [_outcome(body) for body in result["outcomes"]]
        for unit, outcome in zip(units, outcomes, strict=False):
            self._learn(unit.scope, outcome.seconds)
            self._sweep.told(unit, outcome)
        for unit in units[len(outcomes) :]:
            self._died(unit, alone=len(units) == 1)

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
        return (_NoPacks, ())


class _NoPacks(Searcher):  # type: ignore[misc]
    """What is left of `Packs` where Tune pickles its settings: the sweep stays with its driver."""


_WORKER: dict[str, Worker] = {}


def _pack(config: dict[str, Any], *, job: Job) -> None:
    """Runs in a worker: does the units of a pack and reports them together."""
    worker = _worker(job)
    recipes = [_recipe(kind, body) for kind, body in config["recipes"]]
    done = worker.do(config["scope"], config["fold"], recipes)
    tune.report({"done": len(recipes), "outcomes": [asdict(outcome) for outcome in done]})


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
