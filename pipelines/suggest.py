"""What one scope tries next: Optuna's tree-structured Parzen estimator, asked and told in batches.

A batch is suggested, run through its folds in stages, halved between stages, and told back in the
order of its trials; only then is the next one suggested. So what is tried depends on the seed and
the results alone, never on which worker ends first (Bergstra et al. 2011; Jamieson and Talwalkar
2016 for the halving).
"""

from __future__ import annotations

import difflib
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel

from foreshock.errors import ConfigError
from foreshock.validation.search import Range, SearchSettings
from pipelines.trial import Cell, mean_skill

Origin = Literal["base", "baseline", "search"]
State = Literal["running", "complete", "pruned", "failed"]


@dataclass(slots=True)
class Trial:
    """One recipe in one scope, with the cells of the folds that it was given.

    number    its place among the scope's trials
    reason    why it failed, or after how many folds it was given up
    """

    number: int
    recipe: BaseModel
    origin: Origin
    cells: dict[int, list[Cell]] = field(default_factory=dict)
    failures: dict[int, str] = field(default_factory=dict)
    state: State = "running"
    reason: str = ""
    asked: Any = None  # Optuna's own trial, where there is one

    @property
    def all_cells(self) -> list[Cell]:
        """Its cells, by fold and horizon."""
        return [cell for _, cells in sorted(self.cells.items()) for cell in cells]

    @property
    def skill(self) -> float:
        """Mean Brier skill of what it was given; NaN where nothing could be judged."""
        return mean_skill(self.all_cells)


class Suggestions:
    """The search of one scope. `wanted` says which (trial, fold) to run now, `tell` takes each
    result, in any order; nothing is decided before a stage is whole."""

    def __init__(
        self,
        base: BaseModel,
        baselines: Sequence[BaseModel],
        trials: int,
        folds: int,
        settings: SearchSettings,
        seed: int,
        scope: str,
    ) -> None:
        check_space(base, settings)
        self.trials: list[Trial] = []
        self._base, self._baselines = base, list(baselines)
        self._left, self._settings = trials, settings
        self._rungs = settings.rungs(folds)
        self._study = _study(seed, scope, settings)
        self._stage = 0
        self._batch: list[Trial] = []
        self._next_batch()

    @property
    def finished(self) -> bool:
        """Whether nothing is left to try."""
        return not self._batch

    @property
    def units_left(self) -> int:
        """How many (trial, fold) may still come, at most."""
        folds = sum(map(len, self._rungs))
        open_ = sum(folds - len(t.cells) for t in self._batch if t.state == "running")
        return open_ + self._left * folds

    def wanted(self) -> list[tuple[Trial, int]]:
        """The (trial, fold) of this stage that no result was told of."""
        return [
            (trial, fold)
            for fold in (self._rungs[self._stage] if self._batch else ())
            for trial in self._batch
            if trial.state == "running" and fold not in trial.cells
        ]

    def tell(self, number: int, fold: int, cells: list[Cell], failure: str = "") -> None:
        """The result of a wanted (trial, fold); `failure` says why there is none: at the end of its
        stage such a trial is out of the race, kept with its reason."""
        trial = self.trials[number]
        trial.cells[fold] = cells
        if failure:
            trial.failures[fold] = failure
        while self._batch and not self.wanted():
            self._end_stage()

    def _end_stage(self) -> None:
        self._stage += 1
        for trial in self._batch:
            if trial.state == "running" and trial.failures:
                fold = min(trial.failures)
                trial.state, trial.reason = "failed", f"fold {fold}: {trial.failures[fold]}"
        racing = [t for t in self._batch if t.state == "running" and t.origin == "search"]
        if self._stage < len(self._rungs):
            if racing:
                kept = set(self._settings.survivors([t.skill for t in racing]))
                for place, trial in enumerate(racing):
                    if place not in kept:
                        trial.state = "pruned"
                        trial.reason = f"given up after {len(trial.cells)} folds"
            return
        for trial in self._batch:
            if trial.state == "running":
                trial.state = "complete"
            self._tell_study(trial)
        self._next_batch()

    def _tell_study(self, trial: Trial) -> None:
        from optuna.trial import TrialState

        if trial.asked is None:
            return
        skill = trial.skill
        if trial.state == "failed" or not math.isfinite(skill):
            self._study.tell(trial.asked, state=TrialState.FAIL)
        elif trial.state == "pruned":
            trial.asked.report(skill, step=len(trial.cells))
            self._study.tell(trial.asked, state=TrialState.PRUNED)
        else:
            self._study.tell(trial.asked, skill)

    def _next_batch(self) -> None:
        """The base recipe and the baselines lead the first batch; they are never given up, so that
        every sweep has them whole to compare with."""
        self._stage, self._batch = 0, []
        size = min(self._settings.batch, self._left)
        if not self.trials and size:
            self._add(self._base, "base", self._asked_base())
            for recipe in self._baselines:
                self._add(recipe, "baseline", None)
            self._left, size = self._left - 1, size - 1
        for _ in range(size):
            asked = self._study.ask(_distributions(self._settings))
            self._add(_recipe(self._base, asked.params, self._settings), "search", asked)
        self._left -= size

    def _add(self, recipe: BaseModel, origin: Origin, asked: Any) -> None:
        self._batch.append(Trial(len(self.trials), recipe, origin, asked=asked))
        self.trials.append(self._batch[-1])

    def _asked_base(self) -> Any:
        """The study learns from the base recipe too, where the space holds it."""
        values = {name: getattr(self._base, name) for name in self._settings.space}
        if not all(self._settings.space[name].holds(value) for name, value in values.items()):
            return None
        self._study.enqueue_trial(values)
        return self._study.ask(_distributions(self._settings))


def check_space(base: BaseModel, settings: SearchSettings) -> None:
    """Raises ConfigError where the space names what is no field of the base recipe, or a value that
    the field does not take."""
    fields = list(type(base).model_fields)
    for name, span in settings.space.items():
        if name not in fields:
            near = difflib.get_close_matches(name, fields, n=1)
            hint = f", did you mean {near[0]!r}?" if near else ""
            raise ConfigError(f"training.search.space: no recipe has a field {name!r}{hint}")
        for value in span.choices or (span.low, span.high):
            try:
                _recipe(base, {name: value}, settings)
            except ValueError as error:
                raise ConfigError(f"training.search.space.{name}: {value!r}: {error}") from None


def _recipe(base: BaseModel, drawn: dict[str, Any], settings: SearchSettings) -> BaseModel:
    def told(name: str, value: Any) -> Any:
        if not isinstance(value, float) or settings.space[name].choices:
            return value
        return float(f"{value:.4g}")

    values = {name: told(name, value) for name, value in drawn.items()}
    return type(base).model_validate({**base.model_dump(), **values})


def _distributions(settings: SearchSettings) -> dict[str, Any]:
    return {name: _distribution(span) for name, span in settings.space.items()}


def _distribution(span: Range) -> Any:
    from optuna.distributions import (
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    if span.choices:
        return CategoricalDistribution(span.choices)
    assert span.low is not None and span.high is not None
    if span.whole:
        return IntDistribution(int(span.low), int(span.high), log=span.log)
    return FloatDistribution(span.low, span.high, log=span.log)


def _study(seed: int, scope: str, settings: SearchSettings) -> Any:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    digest = hashlib.sha256(f"{seed}:{scope}".encode()).digest()
    sampler = optuna.samplers.TPESampler(
        seed=int.from_bytes(digest[:4], "big"), n_startup_trials=settings.random_trials
    )
    return optuna.create_study(direction="maximize", sampler=sampler)
