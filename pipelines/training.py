"""Fitting and judging models, without Ray: what a trial does and how the shipped model is made."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from foreshock.errors import DatasetError
from foreshock.labels.overlap import positive_clusters
from foreshock.market.clock import SECOND_NS
from foreshock.models.artifact import graph_digest
from foreshock.models.base import Domain, ModelCard
from foreshock.models.boosted import BoostedModel, BoostedSettings, fit
from foreshock.models.calibration import CalibrationSettings, Table, calibrate
from foreshock.models.certificate import certify
from foreshock.models.dataset import TrainingSet
from foreshock.models.onnx import build_graph
from foreshock.models.session import open_session, run_graph
from foreshock.models.trees import flatten
from foreshock.validation import measures
from foreshock.validation.walk_forward import Fold, WalkForwardSettings, check_fold, final_fold

Raw = NDArray[np.float32]


class TrainingSettings(BaseModel):
    """How a model is made and when it may be promoted."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    walk: WalkForwardSettings = Field(
        default=WalkForwardSettings(),
        description="How time is cut into train, calibration and test.",
    )
    calibration: CalibrationSettings = Field(
        default=CalibrationSettings(), description="How raw scores become probabilities."
    )
    alpha: float = Field(
        default=0.05,
        gt=0,
        lt=0.5,
        description="Chance at which a model without skill may pass, shared out evenly over the "
        "horizons.",
    )
    block_horizons: float = Field(
        default=2.0, ge=1, description="Length of a bootstrap block, in horizons."
    )
    draws: int = Field(default=400, ge=50, description="Draws of the block bootstrap.")
    min_spoken: int = Field(
        default=20, ge=1, description="A threshold is fitted on at least this many rows above it."
    )
    version: str = Field(
        default="0.1.0", description="Version of the way models are made (semantic)."
    )


@dataclass(frozen=True, slots=True)
class Cell:
    """One horizon of one fold: its figures on the test part, or why there are none."""

    fold: int
    horizon_s: int
    skill: float
    log_loss: float
    refused: str = ""


@dataclass(frozen=True, slots=True)
class Shipped:
    """The final model, ready to be saved with `foreshock.models.artifact.save`."""

    graph: bytes
    card: ModelCard
    certificate: dict[str, Any]


def evaluate(
    params: BoostedSettings,
    data: TrainingSet,
    folds: Sequence[Fold],
    settings: TrainingSettings,
) -> list[Cell]:
    """Fit, calibrate and test each horizon on each fold; the figures of one trial.

    A horizon that a fold has too little of is a refused cell. Raises OverlapError where the spans
    of a fold's parts overlap: such folds are never trained on.
    """
    clusters = _clusters(data)
    cells = []
    for number, fold in enumerate(folds):
        check_fold(fold, data.t0_ns, data.end_ns, settings.walk.embargo_ns)
        for h, horizon_s in enumerate(data.horizons_s):
            try:
                model = _fit(params, data, fold.train, [h])
                raw = _graph_scores(model, data, np.concatenate([fold.calibration, fold.test]))
                table = _calibrate(raw, data, clusters, fold, h, settings)
            except DatasetError as error:
                cells.append(Cell(number, horizon_s, math.nan, math.nan, str(error)))
                continue
            rows = fold.test[data.labels[fold.test, h] >= 0]
            y, p = data.labels[rows, h], table.apply(raw[rows])
            if len(rows) == 0 or y.min() == y.max():
                cells.append(Cell(number, horizon_s, math.nan, math.nan, "one class in the test"))
                continue
            cells.append(
                Cell(number, horizon_s, measures.brier_skill(y, p), measures.log_loss(y, p))
            )
    return cells


def mean_skill(cells: Sequence[Cell]) -> float:
    """Mean Brier skill over the cells that have one; the sweep's objective. NaN where none has."""
    known = [cell.skill for cell in cells if math.isfinite(cell.skill)]
    return sum(known) / len(known) if known else math.nan


def fit_final(
    params: BoostedSettings, data: TrainingSet, settings: TrainingSettings, trials: int
) -> Shipped:
    """Train on the first part of the time, export, calibrate the graph on its own scores of a later
    part, certify it, and report on the last part, which nothing before has seen.

    Raises DatasetError where any horizon must not be trained or calibrated, CertificateError where
    the graph does not decide as the trainer did.
    """
    fold = final_fold(data.t0_ns, data.end_ns, settings.walk)
    clusters = _clusters(data)
    horizons = range(len(data.horizons_s))
    model = _fit(params, data, fold.train, list(horizons))
    ensembles = [flatten(booster) for booster in model.boosters]
    width = len(data.feature_names)
    bare = open_session(build_graph(ensembles, model.initial_scores, width))
    raw = run_graph(bare, data.X, "raw_score")
    tables = [_calibrate(raw[:, h], data, clusters, fold, h, settings) for h in horizons]
    graph = build_graph(ensembles, model.initial_scores, width, tables)
    certificate = certify(model, graph, tables, data.X[fold.train], seed=params.seed)

    p = run_graph(open_session(graph), data.X, "probability").astype(np.float64)
    thresholds = tuple(_threshold(p[:, h], data, fold, h, settings) for h in horizons)
    reports = [_report(p[:, h], data, clusters, fold, h, thresholds[h], settings) for h in horizons]
    for report, table in zip(reports, tables, strict=True):
        report["calibration_method"] = table.method
    approved = tuple(_passes(report) for report in reports)
    domain = Domain.model_validate(data.manifest["domain"])
    card = ModelCard(
        name=str(domain).replace("/", "."),
        version=f"{settings.version}+{graph_digest(graph)}",
        domain=domain,
        horizons_s=data.horizons_s,
        feature_names=data.feature_names,
        required_features=tuple(data.manifest["required_features"]),
        layout_fingerprint=data.manifest["layout_fingerprint"],
        label_fingerprint=data.manifest["label_fingerprint"],
        data_fingerprint=data.fingerprint,
        thresholds=thresholds,
        approved=approved,
        base_rates=model.base_rates,
        metrics={str(s): r for s, r in zip(data.horizons_s, reports, strict=True)},
        spans_ns={
            name: (int(data.t0_ns[rows].min()), int(data.end_ns[rows].max()))
            for name, rows in fold.parts.items()
        },
        trials=trials,
        settings={
            "trees": params.model_dump(mode="json"),
            "training": settings.model_dump(mode="json"),
        },
        promoted=any(approved),
        reason=_reason(data.horizons_s, approved, reports),
    )
    return Shipped(graph, card, certificate)


def _fit(
    params: BoostedSettings, data: TrainingSet, rows: NDArray[np.int64], horizons: list[int]
) -> BoostedModel:
    weights = None if data.weights is None else data.weights[rows]
    labels = data.labels[rows][:, horizons]
    return fit(data.X[rows], labels, params, data.feature_names, weights)


def _graph_scores(model: BoostedModel, data: TrainingSet, rows: NDArray[np.int64]) -> Raw:
    """Scores (n,) of the exported graph of one horizon at `rows`, NaN elsewhere."""
    ensembles = [flatten(booster) for booster in model.boosters]
    graph = build_graph(ensembles, model.initial_scores, len(data.feature_names))
    out = np.full(len(data), np.nan, np.float32)
    out[rows] = run_graph(open_session(graph), data.X[rows], "raw_score")[:, 0]
    return out


def _clusters(data: TrainingSet) -> list[NDArray[np.int64]]:
    """The independent surge each positive belongs to, by horizon."""
    return [
        positive_clusters(data.t0_ns, data.t1_ns[:, h], data.symbol, data.labels[:, h])
        for h in range(len(data.horizons_s))
    ]


def _calibrate(
    raw: Raw,
    data: TrainingSet,
    clusters: list[NDArray[np.int64]],
    fold: Fold,
    h: int,
    settings: TrainingSettings,
) -> Table:
    rows = fold.calibration
    return calibrate(raw[rows], data.labels[rows, h], clusters[h][rows], settings.calibration)


def _spoken(
    p: NDArray[np.float64], data: TrainingSet, rows: NDArray[np.int64], h: int, threshold: float
) -> NDArray[np.bool_]:
    return measures.speaks(
        p[rows], data.far_bps[rows, h], data.near_bps[rows, h], data.bill_bps[rows, h], threshold
    )


def _threshold(
    p: NDArray[np.float64], data: TrainingSet, fold: Fold, h: int, settings: TrainingSettings
) -> float:
    """The probability from which speaking earned most on the calibration part, among at most 32
    quantiles with at least `min_spoken` rows above; where none earned anything, the median row's
    break-even (near + bill) / (far + near)."""
    rows = fold.calibration[data.labels[fold.calibration, h] >= 0]
    far, near, bill = (
        value[rows, h].astype(np.float64) for value in (data.far_bps, data.near_bps, data.bill_bps)
    )
    best, best_total = float(np.median(np.minimum((near + bill) / (far + near), 1.0))), 0.0
    hopeful = np.sort(p[rows][_spoken(p, data, rows, h, 0.0)])
    if len(hopeful) < settings.min_spoken:
        return best
    last = len(hopeful) - settings.min_spoken
    for candidate in np.unique(hopeful[np.linspace(0, last, 32).round().astype(int)]):
        spoken = _spoken(p, data, rows, h, float(candidate))
        found = measures.utility(spoken, data.outcome_bps[rows, h], data.bill_bps[rows, h])
        if found.total_bps > best_total:
            best, best_total = float(candidate), found.total_bps
    return best


def _report(
    p: NDArray[np.float64],
    data: TrainingSet,
    clusters: list[NDArray[np.int64]],
    fold: Fold,
    h: int,
    threshold: float,
    settings: TrainingSettings,
) -> dict[str, Any]:
    """Measures of one horizon on the test part; None where the data cannot give one."""
    rows = fold.test[data.labels[fold.test, h] >= 0]
    if len(rows) == 0:
        raise DatasetError(f"horizon {data.horizons_s[h]} s: the test part has no known label")
    y, q, t0 = data.labels[rows, h], p[rows], data.t0_ns[rows]
    outcome, bill = data.outcome_bps[rows, h], data.bill_bps[rows, h]
    spoken = _spoken(p, data, rows, h, threshold)
    block_ns = int(settings.block_horizons * data.horizons_s[h] * SECOND_NS)
    alpha = settings.alpha / len(data.horizons_s)

    def skill(i: NDArray[np.int64]) -> float:
        return measures.brier_skill(y[i], q[i])

    def lower(measure: Callable[[NDArray[np.int64]], float]) -> float:
        return measures.block_bootstrap(measure, t0, block_ns, alpha=alpha, draws=settings.draws)

    def earned(i: NDArray[np.int64]) -> float:
        return measures.utility(spoken[i], outcome[i], bill[i]).mean_bps

    slope, intercept = measures.calibration_line(y, q)
    precision, count = measures.precision_above(y, q, threshold)
    figures: dict[str, Any] = {
        "rows": len(rows),
        "surges": int((y == 1).sum()),
        "independent_surges": len(np.unique(clusters[h][rows][y == 1])),
        "base_rate": float(y.mean()),
        "blocks": len(np.unique(t0 // block_ns)),
        "brier": measures.brier(y, q),
        "brier_skill": skill(np.arange(len(rows))),
        "brier_skill_lower": lower(skill),
        "log_loss": measures.log_loss(y, q),
        "calibration_error": measures.expected_calibration_error(y, q),
        "calibration_slope": slope,
        "calibration_intercept": intercept,
        "pr_auc": measures.pr_auc(y, q),
        "precision": precision,
        "rows_above_threshold": count,
        "rows_spoken": int(spoken.sum()),
        "utility_bps": earned(np.arange(len(rows))),
        "utility_bps_lower": lower(earned),
    }
    return {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in figures.items()}


def _passes(report: dict[str, Any]) -> bool:
    """The promotion rule of a horizon: its Brier skill is above 0 with confidence, and speaking
    earned something after costs."""
    lower = report["brier_skill_lower"]
    return lower is not None and lower > 0 and report["utility_bps"] > 0


def _reason(
    horizons_s: tuple[int, ...], approved: tuple[bool, ...], reports: list[dict[str, Any]]
) -> str:
    if any(approved):
        passed = ", ".join(f"{s} s" for s, ok in zip(horizons_s, approved, strict=True) if ok)
        return f"skill and utility after costs are above zero at {passed}"
    words = []
    for horizon_s, report in zip(horizons_s, reports, strict=True):
        lower = report["brier_skill_lower"]
        if lower is None:
            why = f"{report['blocks']} blocks of time with {report['surges']} surges give no bound"
        elif lower <= 0:
            why = f"Brier skill {report['brier_skill']:.4f} is not surely above 0 ({lower:.4f})"
        else:
            why = f"utility after costs is {report['utility_bps']:.2f} bps"
        words.append(f"{horizon_s} s: {why}")
    return "not promoted; " + "; ".join(words)
