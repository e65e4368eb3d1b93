"""From a sweep's results to models: which scopes get one, the final fit, and what is told of it."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from foreshock.errors import DatasetError
from foreshock.models.artifact import load_card, save
from foreshock.models.base import Domain
from foreshock.models.dataset import TrainingSet
from foreshock.stores.registry import Registry
from foreshock.stores.trials import TrialStore
from foreshock.validation.drift import write_reference
from foreshock.validation.search import POOLED
from foreshock.validation.trials import Trial as LedgerTrial
from foreshock.validation.walk_forward import Fold
from pipelines.run_record import run_record
from pipelines.suggest import Trial
from pipelines.sweep import ScopeResult
from pipelines.training import TrainingSettings, alias_of, fit_final
from pipelines.tried import Tried, record, recorded, trial_of


def winners(found: Sequence[ScopeResult], symbols: Sequence[str]) -> dict[str, str]:
    """The scope whose best trial did best on each symbol's own rows of the sweep's test parts, the
    wider one on a tie. A symbol that no scope could judge is left out."""
    out: dict[str, str] = {}
    for number, symbol in enumerate(symbols):
        skills = {
            result.scope.name: _skill_on(number, result)
            for result in found
            if number in result.scope.symbols
        }
        known = {name: skill for name, skill in skills.items() if math.isfinite(skill)}
        if known:
            out[symbol] = max(known, key=lambda name: known[name])
    return out


def shipped_scopes(
    found: Sequence[ScopeResult], symbols: Sequence[str]
) -> list[tuple[ScopeResult, Trial]]:
    """The scopes that a final model is made for, with its recipe: those that do best on a symbol,
    the pooled one always, since it also speaks for symbols that come later."""
    best = set(winners(found, symbols).values())
    chosen = [
        (result, result.trials[result.chosen]) for result in found if result.chosen is not None
    ]
    wanted = [
        (result, trial)
        for result, trial in chosen
        if result.scope.name == POOLED or result.scope.name in best
    ]
    return wanted or chosen[:1]


@dataclass(frozen=True, slots=True)
class Final:
    """What the final fits of all scopes share.

    last    the whole's last fold: train, calibration, and the judge's test part
    found   every scope's trials
    folds   how many the sweep had; window_ns from its first test part to the judge's end
    ledger  where trials of earlier runs lie and these are written
    began_ns  when the training began, by the clock; plots: whether its record has pictures
    """

    data: TrainingSet
    last: Fold
    settings: TrainingSettings
    found: Sequence[ScopeResult]
    folds: int
    window_ns: tuple[int, int]
    ledger: TrialStore | None
    registry: Registry | None
    began_ns: int
    plots: bool

    def rivals(self, result: ScopeResult) -> list[ScopeResult]:
        """The scopes that compete for one of its symbols, itself among them."""
        mine = set(result.scope.symbols)
        return [each for each in self.found if mine & set(each.scope.symbols)]


def tried_for(result: ScopeResult, final: Final, alias: str) -> Tried:
    """The trials that compete for the scope's symbols, whatever scope they are of: the best of so
    many looks better than it is. They are written to the ledger."""
    assert result.chosen is not None
    now = tuple(
        trial_of(
            trial.recipe, trial.all_cells, alias=alias, window_ns=final.window_ns,
            data=final.data.fingerprint, folds=final.folds, scope=each.scope.name,
        )
        for each in final.rivals(result)
        for trial in each.trials
    )  # fmt: skip
    before: list[LedgerTrial] = []
    if final.ledger is not None:
        before = recorded(final.ledger, alias)
        if len(now) == 1 and now[0].recipe in {trial.recipe for trial in before}:
            now = (replace(now[0], frozen=True),)  # a refit: nothing was chosen
        record(final.ledger, now)
    return Tried(now, tuple(result.trials[result.chosen].all_cells), tuple(before))


def ship(result: ScopeResult, trial: Trial, final: Final, out: Path) -> dict[str, Any]:
    """Fit and judge one scope's final model on its part of the last fold, save it in `out`,
    register it, and say what came out. Raises as `pipelines.training.fit_final`."""
    own, fold = own_part(result, final.data, final.last)
    domain = str(Domain.model_validate(final.data.manifest["domain"])).replace("/", ".")
    name = alias_of(domain, result.scope.name)
    tried = tried_for(result, final, name)
    shipped = fit_final(
        trial.recipe, own, final.settings, len(tried.now),
        fold=fold, scope=result.scope.name, tried=tried,
    )  # fmt: skip
    save(out, shipped.graph, shipped.card, shipped.certificate)
    write_reference(out, own.X[fold.train], own.feature_names)
    card, registry = shipped.card, final.registry
    if registry is not None:
        # A refit on unchanged data is the same graph: the judgement that it was registered with
        # stands, since every later one counts more trials.
        path = registry.find(name, card.version)
        before = None if path is None else load_card(path)
        if before is not None and before.data_fingerprint == card.data_fingerprint:
            card = before
        elif before is not None:
            raise DatasetError(
                f"{name} {card.version} was judged on other data: the same model, learned from the "
                "same rows, but what came after them has changed"
            )
        else:
            registry.register(name, card.version, out)
            if card.promoted:
                registry.promote(name, card.version, "training", card.reason)
        registry.log_run(
            run_record(
                card, shipped.graph, own, fold, final.rivals(result), trial, final.settings.rule,
                name, (final.began_ns, time.time_ns()), plots=final.plots,
                importance=shipped.importance, losses=shipped.losses, baselines=shipped.baselines,
            )
        )  # fmt: skip
    return {
        "scope": result.scope.name,
        "name": name,
        "version": card.version,
        "artifact": str(out),
        "promoted": card.promoted,
        "reason": card.reason,
        "horizons_s": list(card.horizons_s),
        "approved": list(card.approved),
        "thresholds": list(card.thresholds),
        "metrics": card.metrics,
        "counted_trials": card.trials,
    }


def refused(result: ScopeResult, error: Exception) -> dict[str, Any]:
    """What is told of a scope whose final fit was refused: there is no model of it."""
    return {
        "scope": result.scope.name,
        "promoted": False,
        "reason": f"no model: {error}",
        "refused": type(error).__name__,
    }


def own_part(result: ScopeResult, data: TrainingSet, last: Fold) -> tuple[TrainingSet, Fold]:
    """A scope's rows of `data`, in order of time, and its part of the whole's last fold."""
    rows = result.scope.rows(data)
    if len(rows) == len(data):
        return data, last
    fold = result.scope.fold(last, data)
    parts = {name: np.searchsorted(rows, part) for name, part in fold.parts.items()}
    return data.take(rows), Fold(**parts, purged=fold.purged)


def told_trial(trial: Trial) -> dict[str, Any]:
    """One trial of the report."""
    return {
        "settings": trial.recipe.model_dump(mode="json"),
        "origin": trial.origin,
        "state": trial.state,
        "folds": len(trial.cells),
        "skill": trial.skill if math.isfinite(trial.skill) else None,
        **({"reason": trial.reason} if trial.reason else {}),
    }


def told_scope(result: ScopeResult, symbols: Sequence[str]) -> dict[str, Any]:
    """One scope of the report."""
    return {
        "scope": result.scope.name,
        "symbols": [symbols[number] for number in result.scope.symbols],
        "trials": [told_trial(trial) for trial in result.trials],
        "chosen": result.chosen,
        **({"reason": result.reason} if result.reason else {}),
    }


def _skill_on(number: int, result: ScopeResult) -> float:
    """Mean skill of the scope's best trial on one symbol's rows, over folds and horizons."""
    if result.chosen is None:
        return math.nan
    cells = result.trials[result.chosen].all_cells
    skills = [skill for cell in cells for who, skill in cell.by_symbol if who == number]
    return sum(skills) / len(skills) if skills else math.nan
