"""The shipped model: fitted, exported, calibrated on its own scores, certified and judged, without
Ray."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from foreshock import __version__
from foreshock.errors import DatasetError
from foreshock.labels.overlap import positive_clusters
from foreshock.models.artifact import graph_digest
from foreshock.models.base import Domain, ModelCard
from foreshock.models.calibration import CalibrationSettings, Table, calibrate
from foreshock.models.certificate import certify
from foreshock.models.dataset import TrainingSet
from foreshock.models.family import fit_one, importance_of, recipe_of
from foreshock.models.onnx import build_graph
from foreshock.models.session import open_session, run_graph
from foreshock.validation.promotion import PromotionSettings, judge
from foreshock.validation.rule import RuleSettings
from foreshock.validation.walk_forward import (
    Fold,
    WalkForwardSettings,
    check_fold,
    final_fold,
    sweep_rows,
    walk_forward,
)
from pipelines.judge import Judged, evidence_of, judged, reason_of, verdict_of
from pipelines.trial import Cell, evaluate_fold, fit_threshold, mean_skill
from pipelines.tried import Tried, trial_of, window_of

__all__ = ["Cell", "Shipped", "TrainingSettings", "alias_of", "evaluate", "fit_final", "mean_skill"]

Raw = NDArray[np.float32]
Floats = NDArray[np.float64]


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
    promotion: PromotionSettings = Field(
        default=PromotionSettings(), description="What a horizon must show before it may speak."
    )
    rule: RuleSettings = Field(
        default=RuleSettings(), description="How a model's words are traded where they are judged."
    )
    block_horizons: float = Field(
        default=2.0, ge=1, description="Length of a block of the skill's bootstrap, in horizons."
    )
    min_spoken: int = Field(
        default=20, ge=1, description="A threshold is fitted on at least this many rows above it."
    )
    baselines: tuple[str, ...] = Field(
        default=("logistic", "order_flow"),
        description="Kinds of models that every report shows beside the model, on the same rows.",
    )
    certificate_rows: int = Field(
        default=1_000_000,
        ge=0,
        description="Rows at least on which the exported graph is compared with its trainer.",
    )
    max_age_s: float = Field(
        default=0.0, ge=0, description="How long a model may speak, in seconds; 0 never expires."
    )
    version: str = Field(
        default="0.2.0", description="Version of the way models are made (semantic)."
    )


@dataclass(frozen=True, slots=True)
class Shipped:
    """The final model, ready to be saved with `foreshock.models.artifact.save`.

    importance   by horizon in seconds, share by feature
    """

    graph: bytes
    card: ModelCard
    certificate: dict[str, Any]
    importance: dict[int, dict[str, float]]


def version_of(graph: bytes, settings: TrainingSettings) -> str:
    """Semantic version; the build part is a digest of the graph and of how it was judged: the same
    graph judged by another rule is another version, with a verdict of its own."""
    return f"{settings.version}+{graph_digest(graph + settings.model_dump_json().encode())}"


def evaluate(
    params: BaseModel, data: TrainingSet, folds: Sequence[Fold], settings: TrainingSettings
) -> list[Cell]:
    """Fit, calibrate and test each horizon on each fold; the figures of one trial. Raises as
    `pipelines.trial.evaluate_fold`."""
    return [
        cell
        for number, fold in enumerate(folds)
        for cell in evaluate_fold(params, data, number, fold, settings)
    ]


def fit_final(
    params: BaseModel,
    data: TrainingSet,
    settings: TrainingSettings,
    trials: int,
    *,
    fold: Fold | None = None,
    scope: str = "pooled",
    tried: Tried | None = None,
) -> Shipped:
    """Train on the first part of the time, export, calibrate the graph on its own scores of a later
    part, certify it, and judge it on the last part, which nothing before has seen.

    trials   how many recipes were tried; those that `tried` does not hold count in full
    fold     train, calibration and test rows; by default the last ones of `data`
    tried    the sweep's trials and the ledger's. Without them the recipe is walked over the folds
             here: it is the one trial there are returns of

    Raises DatasetError where any horizon must not be trained or calibrated, CertificateError where
    the graph does not decide as the trainer did.
    """
    if fold is None:
        fold = final_fold(data.t0_ns, data.end_ns, settings.walk)
    check_fold(fold, data.t0_ns, data.end_ns, settings.walk.embargo_ns)
    horizons = range(len(data.horizons_s))
    domain = Domain.model_validate(data.manifest["domain"])
    name = alias_of(str(domain).replace("/", "."), scope)
    made = _make(params, data, fold, settings)
    if tried is None:
        tried = _walked(params, data, fold, settings, name, scope)
    counting = tried.counted(name, tried.now[0].window_ns)
    missing = max(0, trials - len(counting))

    results = [_judged(made, data, fold, h, settings) for h in horizons]
    decisions = [
        judge(
            evidence_of(results[h], counting, tried, missing, data, h),
            settings.promotion,
            len(horizons),
        )
        for h in horizons
    ]
    approved = tuple(decision.promoted for decision in decisions)
    card = ModelCard(
        name=name,
        version=version_of(made.graph, settings),
        domain=domain,
        horizons_s=data.horizons_s,
        feature_names=data.feature_names,
        required_features=tuple(data.manifest["required_features"]),
        layout_fingerprint=data.manifest["layout_fingerprint"],
        label_fingerprint=data.manifest["label_fingerprint"],
        data_fingerprint=data.fingerprint,
        thresholds=made.thresholds,
        approved=approved,
        base_rates=made.base_rates,
        metrics=_by_horizon(data, [result.figures for result in results]),
        spans_ns={
            part: (int(data.t0_ns[rows].min()), int(data.end_ns[rows].max()))
            for part, rows in fold.parts.items()
        },
        trials=max(1, len(counting) + missing),
        settings={
            "trees": params.model_dump(mode="json"),
            "training": settings.model_dump(mode="json"),
        },
        promoted=any(approved),
        reason=reason_of(data.horizons_s, decisions),
        kind=made.kind,
        scope=scope,
        symbols=tuple(data.symbols[i] for i in np.unique(data.symbol[fold.train])),
        # The calibration and its thresholds are learned too.
        trained_to_ns=int(data.end_ns[fold.calibration].max()),
        max_age_s=settings.max_age_s,
        verdict=verdict_of(decisions),
        promotion=tuple(
            {"horizon_s": data.horizons_s[h], **test.as_dict()}
            for h in horizons
            for test in decisions[h].tests
        ),
        recipe=params.model_dump(mode="json"),
        folds=tuple(_told(cell) for cell in tried.cells),
        calibration=_by_horizon(data, [_told_table(table) for table in made.tables]),
        cost_version=str(data.manifest.get("bill_version", "")),
        costs=dict(data.manifest.get("costs", {})),
        code_version=__version__,
        data_manifest=dict(data.manifest),
        baselines=_baselines(params, data, fold, settings),
    )
    importance = dict(zip(data.horizons_s, made.importance, strict=True))
    return Shipped(made.graph, card, made.certificate, importance)


def alias_of(domain: str, scope: str) -> str:
    """The registry's name of a model of `scope`."""
    return domain if scope == "pooled" else f"{domain}@{scope.removeprefix('symbol:')}"


@dataclass(frozen=True, slots=True)
class _Made:
    """A fitted, exported, calibrated model with its thresholds."""

    graph: bytes
    tables: tuple[Table, ...]
    thresholds: tuple[float, ...]
    base_rates: tuple[float, ...]
    kind: str
    certificate: dict[str, Any]
    importance: tuple[dict[str, float], ...]


def _make(
    params: BaseModel, data: TrainingSet, fold: Fold, settings: TrainingSettings,
    *, certified: bool = True,
) -> _Made:  # fmt: skip
    """Fit on the training part; export; calibrate and fix thresholds on the calibration part, with
    the graph's own scores."""
    horizons = range(len(data.horizons_s))
    weights = None if data.weights is None else data.weights[fold.train]
    X, labels, names = data.X[fold.train], data.labels[fold.train], data.feature_names
    fitted = []
    for h in horizons:
        try:
            fitted.append(fit_one(params, X, labels[:, h], weights, names))
        except DatasetError as error:
            # A family knows one column of labels only, and calls it horizon 0.
            why = str(error).removeprefix("horizon 0: ")
            raise DatasetError(f"horizon {data.horizons_s[h]} s: {why}") from error
    parts = [each.part for each in fitted]
    held = fold.calibration
    bare = open_session(build_graph(parts, len(names)))
    raw = run_graph(bare, data.X[held], "raw_score")
    tables = [_calibrate(raw[:, h], data, held, h, settings) for h in horizons]
    graph = build_graph(parts, len(names), tables)
    p = run_graph(open_session(graph), data.X[held], "probability").astype(np.float64)
    thresholds = tuple(_threshold(p[:, h], data, held, h, settings) for h in horizons)
    certificate: dict[str, Any] = {}
    if certified:
        certificate = certify(
            fitted, graph, tables, X, seed=getattr(params, "seed", 7),
            rows_least=settings.certificate_rows, thresholds=thresholds,
        )  # fmt: skip
    rates = tuple(each.base_rate for each in fitted)
    leans = tuple(importance_of(each, names) for each in fitted)
    return _Made(graph, tuple(tables), thresholds, rates, fitted[0].kind, certificate, leans)


def _calibrate(
    raw: Raw, data: TrainingSet, rows: NDArray[np.int64], h: int, settings: TrainingSettings
) -> Table:
    label = data.labels[rows, h]
    clusters = positive_clusters(data.t0_ns[rows], data.t1_ns[rows, h], data.symbol[rows], label)
    return calibrate(raw, label, clusters, settings.calibration)


def _threshold(
    p: Floats, data: TrainingSet, rows: NDArray[np.int64], h: int, settings: TrainingSettings
) -> float:
    known = data.labels[rows, h] >= 0
    return fit_threshold(p[known], data, rows[known], h, settings.min_spoken, settings.rule)


def _judged(
    made: _Made, data: TrainingSet, fold: Fold, h: int, settings: TrainingSettings
) -> Judged:
    p = run_graph(open_session(made.graph), data.X[fold.test], "probability")[:, h]
    result = judged(p.astype(np.float64), data, fold.test, h, made.thresholds[h], settings)
    result.figures["calibration_method"] = made.tables[h].method
    return result


def _walked(
    params: BaseModel, data: TrainingSet, last: Fold, settings: TrainingSettings, alias: str,
    scope: str,
) -> Tried:  # fmt: skip
    """The one recipe, walked over the folds before the judge's test part."""
    seen = data.take(sweep_rows(data.t0_ns, data.end_ns, settings.walk))
    folds = walk_forward(seen.t0_ns, seen.end_ns, settings.walk)
    cells = evaluate(params, seen, folds, settings)
    trial = trial_of(
        params, cells, alias=alias, window_ns=window_of(seen, folds[0], data, last),
        data=data.fingerprint, folds=len(folds), scope=scope,
    )  # fmt: skip
    return Tried((trial,), tuple(cells))


def _baselines(
    params: BaseModel, data: TrainingSet, fold: Fold, settings: TrainingSettings
) -> dict[str, dict[str, Any]]:
    """The same figures on the same rows for each honest baseline, or why it has none. They are not
    certified: nobody ships them by this way."""
    out: dict[str, dict[str, Any]] = {}
    for kind in settings.baselines:
        if kind == getattr(params, "kind", "boosted"):
            continue
        try:
            made = _make(recipe_of({"kind": kind}), data, fold, settings, certified=False)
            found = [
                _judged(made, data, fold, h, settings).figures for h in range(len(data.horizons_s))
            ]
        except DatasetError as error:
            out[kind] = {"refused": str(error)}
            continue
        out[kind] = _by_horizon(data, found)
    return out


def _by_horizon(data: TrainingSet, values: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {str(s): value for s, value in zip(data.horizons_s, values, strict=True)}


def _told(cell: Cell) -> dict[str, Any]:
    """A line of the fold table."""
    told = asdict(cell)
    told["return_bps"] = math.nan if cell.refused else sum(cell.returns_bps)
    del told["returns_bps"], told["by_symbol"]
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in told.items()
    }


def _told_table(table: Table) -> dict[str, Any]:
    return {"method": table.method, "knots": len(table.raw), "slope": table.slope}
