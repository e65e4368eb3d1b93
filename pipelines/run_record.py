"""What a training leaves in the registry beside its model: parameters, figures, folds, trials,
plots and a page for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict

import numpy as np
from numpy.typing import NDArray

from foreshock.models.base import ModelCard
from foreshock.models.dataset import TrainingSet
from foreshock.stores.registry_runs import Run
from foreshock.validation.rule import RuleSettings
from foreshock.validation.walk_forward import Fold
from pipelines.evidence import TrialEvidence, evidence_of
from pipelines.report import run_of
from pipelines.suggest import Trial
from pipelines.sweep import ScopeResult


def run_record(
    card: ModelCard, graph: bytes, own: TrainingSet, fold: Fold, found: Sequence[ScopeResult],
    chosen: Trial, rule: RuleSettings, name: str, span_ns: tuple[int, int], *, plots: bool,
    importance: Mapping[int, Mapping[str, float]],
    losses: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    baselines: Mapping[str, NDArray[np.float64]] | None = None,
) -> Run:  # fmt: skip
    """The record of one scope's model.

    own, fold   the scope's rows, in order of time, and its part of the judge's fold
    found       the scopes whose trials competed with it
    name        it is registered under; span_ns: when the training began and ended, by the clock
    importance  by horizon in seconds, share by feature
    losses      by horizon in words, by round on training and calibration rows
    baselines   probabilities (m, H) of the fold's m test rows by kind
    """
    trials = tuple(
        TrialEvidence(
            number=trial.number,
            kind=str(getattr(trial.recipe, "kind", "boosted")),
            scope=result.scope.name,
            cells=tuple(asdict(cell) for cell in trial.all_cells),
            chosen=trial is chosen,
            reason=trial.reason,
        )
        for result in found
        for trial in result.trials
    )
    told = evidence_of(
        card, graph, own, fold.test,
        trials=trials, importance=importance, losses=losses, baselines=baselines, rule=rule,
    )  # fmt: skip
    return run_of(told, *span_ns, registered_as=name, manifest=own.manifest, plots=plots)
