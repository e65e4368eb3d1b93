"""The sweep: which recipe does best over walk-forward folds, for every scope.

`Sweep` is the whole of it as a state machine without I/O: it says which units of work, (scope,
fold, trial), may run now and takes their results in any order. Who runs them is beside the point:
`sweep_in_process` here, Ray in `pipelines.sweep_ray`. The same data, settings and seed give the
same trials and figures either way.
"""

from __future__ import annotations

import math
import os
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from pydantic import BaseModel

from foreshock.errors import DatasetError
from foreshock.models.dataset import TrainingSet
from foreshock.validation.search import SearchSettings
from foreshock.validation.walk_forward import Fold
from pipelines.scopes import Scope, scopes_of
from pipelines.suggest import Suggestions, Trial
from pipelines.trial import Cache, Cell, TrialSettings, evaluate_fold


class Unit(NamedTuple):
    """The atom of work: a trial of a scope on one fold, all horizons."""

    scope: str
    fold: int
    trial: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a unit. `failure` says why there are no figures; `lost` that a worker died
    over it, which another run may not repeat."""

    cells: list[Cell]
    seconds: float
    failure: str = ""
    lost: bool = False


class Tell(Protocol):
    """Whoever wants to see results as they come: the journal, the progress table."""

    def __call__(self, unit: Unit, recipe: BaseModel, outcome: Outcome, *, known: bool) -> None:
        """`known`: it was read from a journal, not made now."""


@dataclass(slots=True)
class Sweep:
    """Every scope's search side by side.

    known   outcomes that an earlier run left, by unit and recipe; they are not made again
    tell    told of every result
    """

    scopes: Mapping[str, Scope]
    searches: Mapping[str, Suggestions]
    horizons_s: tuple[int, ...]
    known: Mapping[tuple[Unit, str], Outcome] = field(default_factory=dict)
    tell: Tell | None = None
    _taken: set[Unit] = field(default_factory=set)

    def begin(self) -> Sweep:
        """Take up what is known; returns itself."""
        for scope in self.searches:
            self._replay(scope)
        return self

    @property
    def finished(self) -> bool:
        """Whether every scope has tried all it may."""
        return all(search.finished for search in self.searches.values())

    @property
    def units_left(self) -> int:
        """Units that may still come, at most: pruning leaves some out."""
        return sum(search.units_left for search in self.searches.values())

    def ready(self) -> dict[tuple[str, int], list[int]]:
        """The trials that may run now and nobody has taken, by (scope, fold): units of one fold
        share its binned rows."""
        out: dict[tuple[str, int], list[int]] = {}
        for scope, search in self.searches.items():
            for trial, fold in search.wanted():
                if Unit(scope, fold, trial.number) not in self._taken:
                    out.setdefault((scope, fold), []).append(trial.number)
        return out

    def take(self, units: Sequence[Unit]) -> list[BaseModel]:
        """Their recipes; nobody else is offered them, until `give_back`."""
        self._taken.update(units)
        return [self.searches[unit.scope].trials[unit.trial].recipe for unit in units]

    def give_back(self, unit: Unit) -> None:
        """Nobody works on it any more; it is ready again."""
        self._taken.discard(unit)

    def told(self, unit: Unit, outcome: Outcome) -> None:
        """A unit's result."""
        self._told(unit, outcome, known=False)
        self._replay(unit.scope)

    def _told(self, unit: Unit, outcome: Outcome, *, known: bool) -> None:
        trial = self.searches[unit.scope].trials[unit.trial]
        cells = outcome.cells
        if outcome.failure:
            lost = math.nan
            cells = [Cell(unit.fold, h, lost, lost, outcome.failure) for h in self.horizons_s]
        if self.tell is not None:
            self.tell(unit, trial.recipe, outcome, known=known)
        self._taken.discard(unit)
        self.searches[unit.scope].tell(unit.trial, unit.fold, cells, outcome.failure)

    def _replay(self, scope: str) -> None:
        """Tell what an earlier run knows of the units that are wanted now."""
        while True:
            wanted = self.searches[scope].wanted() if self.known else []
            found = False
            for trial, fold in wanted:
                unit = Unit(scope, fold, trial.number)
                outcome = self.known.get((unit, trial.recipe.model_dump_json()))
                if outcome is not None and unit not in self._taken and fold not in trial.cells:
                    self._told(unit, outcome, known=True)
                    found = True
            if not found:
                return


@dataclass(frozen=True, slots=True)
class Job:
    """All that a worker needs: what the sweep may see, its folds, and how a trial is judged.

    windows_ns   begin and end of each fold's test part, the same for every scope
    token        tells this job from any other that a worker may have seen
    """

    data: TrainingSet
    folds: tuple[Fold, ...]
    scopes: Mapping[str, Scope]
    settings: TrialSettings
    windows_ns: tuple[tuple[int, int], ...]
    token: str = field(default_factory=lambda: uuid.uuid4().hex)

    @classmethod
    def of(
        cls, data: TrainingSet, folds: Sequence[Fold], scopes: Sequence[Scope],
        settings: TrialSettings,
    ) -> Job:  # fmt: skip
        """The job over rows in order of time."""
        windows = tuple(
            (int(data.t0_ns[f.test].min()), int(data.end_ns[f.test].max()) + 1) for f in folds
        )
        return cls(data, tuple(folds), {scope.name: scope for scope in scopes}, settings, windows)


class Worker:
    """Does units of one job, in one process, with the rows of a fold cut out and binned once."""

    def __init__(self, job: Job, cache: Cache | None = None) -> None:
        self._job = job
        self._cache = Cache() if cache is None else cache
        self._folds: dict[tuple[str, int], Fold] = {}

    def do(self, scope: str, fold: int, recipes: Sequence[BaseModel]) -> Iterator[Outcome]:
        """The outcome of each recipe on one fold of one scope. A recipe that raises is an outcome
        with its reason: one bad trial does not end a sweep."""
        for recipe in recipes:
            started = time.perf_counter()
            cells: list[Cell] = []
            failure = ""
            try:
                cells = self._cells(scope, fold, recipe)
            except Exception as error:
                failure = f"{type(error).__name__}: {error}"
            yield Outcome(cells, round(time.perf_counter() - started, 6), failure)

    def _cells(self, scope: str, number: int, recipe: BaseModel) -> list[Cell]:
        job, place = self._job, (scope, number)
        if place not in self._folds:
            self._folds[place] = job.scopes[scope].fold(job.folds[number], job.data)
        fold = self._folds[place]
        empty = [name for name, rows in fold.parts.items() if len(rows) == 0]
        if empty:
            why = f"the {empty[0]} part of {scope} is empty"
            return [Cell(number, h, math.nan, math.nan, why) for h in job.data.horizons_s]
        return evaluate_fold(
            recipe, job.data, number, fold, job.settings, self._cache, scope,
            job.windows_ns[number],
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class ScopeResult:
    """One scope's trials, and which is best: the first with the highest mean skill among those that
    were given every fold; None, and why, where none could be judged."""

    scope: Scope
    trials: tuple[Trial, ...]
    chosen: int | None
    reason: str


def plan_sweep(
    data: TrainingSet,
    folds: Sequence[Fold],
    base: BaseModel,
    baselines: Sequence[BaseModel],
    trials: int,
    search: SearchSettings,
    seed: int,
    known: Mapping[tuple[Unit, str], Outcome] | None = None,
    tell: Tell | None = None,
) -> Sweep:
    """The sweep over what it may see (`data`), before anything has run or was taken up from `known`
    (`Sweep.begin`). Raises DatasetError on
    scopes that cannot be made, ConfigError on a space that the base recipe does not have."""
    scopes = scopes_of(data, folds, search)
    searches = {
        scope.name: Suggestions(base, baselines, trials, len(folds), search, seed, scope.name)
        for scope in scopes
    }
    by_name = {scope.name: scope for scope in scopes}
    return Sweep(by_name, searches, data.horizons_s, known or {}, tell)


def results(sweep: Sweep) -> list[ScopeResult]:
    """What each scope found. Raises DatasetError, with the first reason, where no scope has
    anything that could be judged."""
    out = []
    for name, search in sweep.searches.items():
        chosen = best(search.trials)
        reason = "" if chosen is not None else _why_none(search.trials)
        out.append(ScopeResult(sweep.scopes[name], tuple(search.trials), chosen, reason))
    if all(result.chosen is None for result in out):
        count = sum(len(result.trials) for result in out)
        raise DatasetError(f"none of {count} trials could be judged: {out[0].reason}")
    return out


def best(trials: Sequence[Trial]) -> int | None:
    """The number of the complete trial with the highest mean skill, the earlier one on a tie."""
    known = [t for t in trials if t.state == "complete" and math.isfinite(t.skill)]
    return max(known, key=lambda t: (t.skill, -t.number)).number if known else None


def _why_none(trials: Sequence[Trial]) -> str:
    failed = [t.reason for t in trials if t.state == "failed"]
    refused = [cell.refused for t in trials for cell in t.all_cells if cell.refused]
    return (failed or refused or ["nothing was tried"])[0]


def sweep_in_process(sweep: Sweep, job: Job) -> list[ScopeResult]:
    """Run everything here, one unit after the other. Raises as `results`."""
    sweep.begin()
    worker = Worker(job)
    while not sweep.finished:
        (scope, fold), trials = next(iter(sweep.ready().items()))
        units = [Unit(scope, fold, number) for number in trials]
        recipes = sweep.take(units)
        for unit, outcome in zip(units, worker.do(scope, fold, recipes), strict=True):
            sweep.told(unit, outcome)
    return results(sweep)


@contextmanager
def ray_session(num_cpus: int | None = None) -> Iterator[None]:
    """A connection to Ray: the one there is, else the cluster that this job runs on, else a local
    one that ends with the block."""
    import ray

    if ray.is_initialized():
        yield
        return
    within = "RAY_ADDRESS" in os.environ or "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ
    if within:
        ray.init(address="auto", log_to_driver=False)
    else:
        # Set outright: left to itself, Ray would write a token into the home directory.
        os.environ.setdefault("RAY_AUTH_MODE", "disabled")
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        # A stale cluster file misleads a plain init; "local" always starts a new one.
        ray.init(address="local", num_cpus=num_cpus, include_dashboard=False, log_to_driver=False)
    try:
        yield
    finally:
        ray.shutdown()
