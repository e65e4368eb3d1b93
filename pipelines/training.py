"""The shipped model: fitted, exported, calibrated on its own scores, certified and judged, without
Ray."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from foreshock import __version__
from foreshock.engine.provenance import code_digest
from foreshock.errors import DatasetError
from foreshock.labels.overlap import positive_clusters
from foreshock.models.artifact import graph_digest
from foreshock.models.base import Domain, ModelCard
from foreshock.models.calibration import Table, calibrate
from foreshock.models.certificate import certify
from foreshock.models.dataset import TrainingSet
from foreshock.models.family import fit_one, importance_of, recipe_of
from foreshock.models.onnx import build_graph
from foreshock.models.rounds import loss_by_round
from foreshock.models.session import open_session, run_graph
from foreshock.validation.promotion import judge
from foreshock.validation.walk_forward import (
    Fold,
    check_fold,
    final_fold,
    sweep_rows,
    walk_forward,
)
from pipelines.judge import Judged, evidence_of, judged, reason_of, verdict_of
from pipelines.outlook import PREFIX, Outlook, judge_outlook, make_outlook
from pipelines.training_settings import TrainingSettings
from pipelines.trial import Cell, evaluate_fold, fit_threshold, mean_skill
from pipelines.tried import Tried, trial_of, window_of

__all__ = ["Cell", "Shipped", "TrainingSettings", "alias_of", "evaluate", "fit_final", "mean_skill"]

Raw = NDArray[np.float32]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Shipped:
    """The final model, ready to be saved with `foreshock.models.artifact.save`.

    importance   by horizon in seconds, share by feature
    losses       by horizon in words: log loss by tree on the training and on the calibration part,
                 where the family has trees (`foreshock.models.rounds`)
    baselines    by kind, float64 (m, H): what each said of the m test rows; those on the card that
                 were refused are missing
    """

    graph: bytes
    card: ModelCard
    certificate: dict[str, Any]
    importance: dict[int, dict[str, float]]
    losses: dict[str, tuple[list[float], list[float]]] = field(default_factory=dict)
    baselines: dict[str, Floats] = field(default_factory=dict, compare=False)


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
    outlook = make_outlook(data, fold, settings.outlook)
    made = _make(params, data, fold, settings, outlook)
    if tried is None:
        tried = _walked(params, data, fold, settings, name, scope)
    counting = tried.counted(name, tried.now[0].window_ns)
    missing = max(0, trials - len(counting))

    results = _judged(made, _test_scores(made, data, fold), data, fold, settings)
    decisions = [
        judge(
            evidence_of(results[h], counting, tried, missing, data, h),
            settings.promotion,
            len(horizons),
        )
        for h in horizons
    ]
    approved = tuple(decision.promoted for decision in decisions)
    sized = judge_outlook(
        made.graph, outlook, data, fold, settings.outlook, settings.block_horizons
    )
    figures = [
        result.figures | {f"{PREFIX}{name}": value for name, value in size.items()}
        for result, size in zip(results, sized, strict=True)
    ]
    beside, words = _baselines(params, data, fold, settings)
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
        metrics=_by_horizon(data, figures),
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
        code_version=f"{__version__}+{code_digest()}",
        data_manifest=dict(data.manifest),
        baselines=beside,
        outlook=outlook.card(settings.outlook, data),
    )
    importance = dict(zip(data.horizons_s, made.importance, strict=True))
    return Shipped(made.graph, card, made.certificate, importance, made.losses, words)


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
    losses: dict[str, tuple[list[float], list[float]]]


def _make(
    params: BaseModel, data: TrainingSet, fold: Fold, settings: TrainingSettings,
    outlook: Outlook | None,
) -> _Made:  # fmt: skip
    """Fit on the training part; export; calibrate and fix thresholds on the calibration part, with
    the graph's own scores. Certified with what `outlook` adds to the graph; not at all without."""
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
    graph = build_graph(parts, len(names), tables, None if outlook is None else outlook.parts)
    p = run_graph(open_session(graph), data.X[held], "probability").astype(np.float64)
    thresholds = tuple(_threshold(p[:, h], data, held, h, settings) for h in horizons)
    certificate: dict[str, Any] = {}
    losses: dict[str, tuple[list[float], list[float]]] = {}
    if outlook is not None:
        for h, each in enumerate(fitted):
            curves = [
                loss_by_round(each, data.X[rows], data.labels[rows, h])
                for rows in (fold.train, held)
            ]
            if curves[0] is not None and curves[1] is not None:
                losses[f"{data.horizons_s[h]} s"] = (curves[0].tolist(), curves[1].tolist())
        certificate = certify(
            fitted, graph, tables, X, seed=getattr(params, "seed", 7),
            rows_least=settings.certificate_rows, thresholds=thresholds, extra=outlook.fits,
        )  # fmt: skip
    rates = tuple(each.base_rate for each in fitted)
    leans = tuple(importance_of(each, names) for each in fitted)
    return _Made(
        graph, tuple(tables), thresholds, rates, fitted[0].kind, certificate, leans, losses
    )


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


def _test_scores(made: _Made, data: TrainingSet, fold: Fold) -> Floats:
    """Probabilities (m, H) of the test part's m rows."""
    return run_graph(open_session(made.graph), data.X[fold.test], "probability").astype(np.float64)


def _judged(
    made: _Made, p: Floats, data: TrainingSet, fold: Fold, settings: TrainingSettings
) -> list[Judged]:
    """A result a horizon, of the test part's probabilities."""
    found = []
    for h, table in enumerate(made.tables):
        result = judged(p[:, h], data, fold.test, h, made.thresholds[h], settings)
        result.figures["calibration_method"] = table.method
        found.append(result)
    return found


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
) -> tuple[dict[str, dict[str, Any]], dict[str, Floats]]:
    """By kind, of each honest baseline: the same figures on the same rows, or why it has none; and
    its words (m, H) for the test rows. They are not certified: nobody ships them by this way."""
    out: dict[str, dict[str, Any]] = {}
    words: dict[str, Floats] = {}
    for kind in settings.baselines:
        if kind == getattr(params, "kind", "boosted"):
            continue
        try:
            made = _make(recipe_of({"kind": kind}), data, fold, settings, None)
            p = _test_scores(made, data, fold)
            found = [result.figures for result in _judged(made, p, data, fold, settings)]
        except DatasetError as error:
            out[kind] = {"refused": str(error)}
            continue
        out[kind], words[kind] = _by_horizon(data, found), p
    return out, words


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
