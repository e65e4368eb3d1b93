"""What a model says of the outcome's size: fitted beside it, put into its graph, and judged on the
test part. It decides nothing, and a model is not lost where it cannot be had."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from foreshock.errors import DatasetError
from foreshock.market.clock import SECOND_NS
from foreshock.models.bands import apart, conformal_margin, promise_interval, venn_abers
from foreshock.models.boosted import Boosted
from foreshock.models.dataset import TrainingSet
from foreshock.models.magnitude import fit_outlook, widened
from foreshock.models.onnx import RAW, build_graph
from foreshock.models.outlook import HIGH, LOW, OutlookSettings, arranged
from foreshock.models.parts import TreeSum
from foreshock.models.session import open_session, run_graph, run_outputs
from foreshock.validation.forecasts import equal_groups, pinball, ratio_bounds, squared
from foreshock.validation.walk_forward import Fold

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]
PREFIX: Final = "outlook_"  # of the figures in a card's metrics
ALPHA: Final = 0.05
BINS: Final = 10


@dataclass(frozen=True, slots=True)
class Outlook:
    """Further outputs of a graph, H columns each.

    fits           by output, one a horizon, the margin taken in
    constants_bps  by output, one a horizon: what the training part alone would say of every row
    margins_bps    one a horizon: how far the band was moved on either side, 0 where it was not
    held           one a horizon: by how many rows, 0 where it was not
    refused        why there is none of it though it was asked for
    """

    fits: Mapping[str, tuple[Boosted, ...]] = field(default_factory=dict)
    constants_bps: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    margins_bps: tuple[float, ...] = ()
    held: tuple[int, ...] = ()
    refused: str = ""

    @property
    def parts(self) -> dict[str, list[TreeSum]]:
        """What goes into the graph."""
        return {name: [each.part for each in several] for name, several in self.fits.items()}

    def card(self, settings: OutlookSettings, data: TrainingSet) -> dict[str, Any]:
        """What the model card says of it; empty where nothing was asked for."""
        if self.refused:
            return {"refused": self.refused}
        if not self.fits:
            return {}
        by_horizon = zip(data.horizons_s, self.margins_bps, strict=True)
        return {
            "outputs": {name: settings.outputs[name] for name in self.fits},
            "band_share": settings.promised,
            "band_margin_bps": {str(s): margin for s, margin in by_horizon},
            "constants_bps": {name: list(each) for name, each in self.constants_bps.items()},
        }


def make_outlook(data: TrainingSet, fold: Fold, settings: OutlookSettings) -> Outlook:
    """Fit all horizons on the training part and move the bands by the calibration part. Where one
    horizon cannot be had none is, with the reason: a graph's output has a column for each."""
    if not settings.outputs:
        return Outlook()
    X = data.X[fold.train]
    try:
        found = [_fit(X, data, fold, h, settings) for h in range(len(data.horizons_s))]
    except DatasetError as error:
        return Outlook(refused=str(error))
    return Outlook(
        {name: tuple(each.fits[name] for each in found) for name in settings.outputs},
        {name: tuple(each.constants[name] for each in found) for name in settings.outputs},
        tuple(each.margin_bps for each in found),
        tuple(each.held for each in found),
    )


@dataclass(frozen=True, slots=True)
class _Fitted:
    """One horizon of an `Outlook`."""

    fits: dict[str, Boosted]
    constants: dict[str, float]
    margin_bps: float = 0.0
    held: int = 0


def _fit(
    X: NDArray[np.float32], data: TrainingSet, fold: Fold, h: int, settings: OutlookSettings
) -> _Fitted:
    """One horizon by the training part's rows `X`. Raises DatasetError that names the horizon."""
    try:
        outcome = known_outcome(data, fold.train, h)
        fits = fit_outlook(settings, X, outcome, data.feature_names)
        constants = {name: each.initial for name, each in fits.items()}
        if not settings.conformal_share:
            return _Fitted(fits, constants)
        rows = _held(data, fold, h)
        pair = build_graph([fits[LOW].part, fits[HIGH].part], len(data.feature_names))
        said = run_graph(open_session(pair), data.X[rows], RAW).astype(np.float64)
        came = known_outcome(data, rows, h).astype(np.float64)
        margin = conformal_margin(said[:, 0], said[:, 1], came, settings.conformal_share)
        return _Fitted(widened(fits, margin), constants, margin, len(rows))
    except DatasetError as error:
        raise DatasetError(f"outlook of {data.horizons_s[h]} s: {error}") from error


def known_outcome(data: TrainingSet, rows: Rows, h: int) -> NDArray[np.float32]:
    """`outcome_bps` of the rows, NaN where the label is censored."""
    censored = data.labels[rows, h] < 0
    return np.where(censored, np.float32(np.nan), data.outcome_bps[rows, h])


def _held(data: TrainingSet, fold: Fold, h: int) -> Rows:
    """Rows of the calibration part with a known label whose spans do not overlap."""
    rows = fold.calibration[data.labels[fold.calibration, h] >= 0]
    gap_ns = data.horizons_s[h] * SECOND_NS
    return rows[apart(data.t0_ns[rows], data.symbol[rows], gap_ns)]


def judge_outlook(
    graph: bytes, outlook: Outlook, data: TrainingSet, fold: Fold, settings: OutlookSettings,
    block_horizons: float,
) -> list[dict[str, float | None]]:  # fmt: skip
    """Figures on the test part, one mapping a horizon, None where the data cannot give one. All
    bounds are 95 %, over blocks of `block_horizons` horizons.

    expected_skill            1 − squared error over that of the training part's mean: R² out of
                              sample; `…_lower` is surely exceeded
    q50_skill, low_skill …    1 − pinball loss over that of the training part's quantile
    band_share                share of outcomes inside the band, `…_low` and `…_high` its interval
    band_promised             what it is to hold; `…_low` and `…_high` where the share of an endless
                              test part would lie, since few rows moved the band
    band_width_bps            mean width; `band_crossed` is the share of rows whose ends crossed
    range_width               mean of Venn–Abers' high − low
    range_bins_inside         share of the reliability bins whose realised share, with its interval,
                              meets the mean range
    """
    names = list(outlook.fits)
    if not names and not settings.venn_abers:
        return [{} for _ in data.horizons_s]
    session = open_session(graph)
    found = run_outputs(session, data.X[fold.test], ["probability", RAW, *names])
    said = dict(zip(["probability", RAW, *names], found, strict=True))
    out = []
    for h, horizon_s in enumerate(data.horizons_s):
        known = data.labels[fold.test, h] >= 0
        rows, block_ns = fold.test[known], int(block_horizons * horizon_s * SECOND_NS)
        mine = {name: each[known, h].astype(np.float64) for name, each in said.items()}
        figures: dict[str, float] = {}
        if len(rows) and names:
            figures |= _forecasts(mine, outlook, data, rows, h, settings, block_ns)
        if len(rows) and settings.venn_abers:
            held = _held(data, fold, h)
            score = run_graph(session, data.X[held], RAW)[:, h].astype(np.float64)
            figures |= _ranges(mine, score, data, rows, held, h, block_ns)
        out.append({n: v if math.isfinite(v) else None for n, v in figures.items()})
    return out


def _forecasts(
    said: Mapping[str, Floats], outlook: Outlook, data: TrainingSet, rows: Rows, h: int,
    settings: OutlookSettings, block_ns: int,
) -> dict[str, float]:  # fmt: skip
    came, t0_ns = known_outcome(data, rows, h).astype(np.float64), data.t0_ns[rows]
    out = {}
    for name in outlook.fits:
        level, constant = settings.outputs[name], outlook.constants_bps[name][h]
        mine, theirs = (
            squared(came, each) if level is None else pinball(came, each, level)
            for each in (said[name], np.full(len(rows), constant))
        )
        word = name.removesuffix("_bps")
        total = float(theirs.sum())
        out[f"{word}_skill"] = 1.0 - float(mine.sum()) / total if total else math.nan
        out[f"{word}_skill_lower"] = 1.0 - ratio_bounds(mine, theirs, t0_ns, block_ns, ALPHA)[1]
    if LOW not in outlook.fits:
        return out
    low, high = arranged(said[LOW], said[HIGH])
    inside = ((came >= low) & (came <= high)).astype(np.float64)
    least, most = ratio_bounds(inside, np.ones(len(rows)), t0_ns, block_ns, ALPHA / 2)
    held = outlook.held[h]
    first, last = promise_interval(settings.promised, held) if held else (math.nan, math.nan)
    return out | {
        "band_promised": settings.promised,
        "band_promised_low": first,
        "band_promised_high": last,
        "band_share": float(inside.mean()),
        "band_share_low": least,
        "band_share_high": most,
        "band_width_bps": float((high - low).mean()),
        "band_crossed": float((said[LOW] > said[HIGH]).mean()),
        "band_margin_bps": outlook.margins_bps[h],
    }


def _ranges(
    said: Mapping[str, Floats], held_score: Floats, data: TrainingSet, rows: Rows, held: Rows,
    h: int, block_ns: int,
) -> dict[str, float]:  # fmt: skip
    """Venn–Abers, fitted on the calibration part's rows that do not overlap."""
    low, high = venn_abers(held_score, data.labels[held, h]).range_of(said[RAW])
    surge, inside = data.labels[rows, h] == 1, []
    for part in equal_groups(said["probability"], BINS):
        hits = surge[part].astype(np.float64)
        least, most = ratio_bounds(
            hits, np.ones(len(part)), data.t0_ns[rows[part]], block_ns, ALPHA / 2
        )
        if math.isfinite(least):
            inside.append(least <= high[part].mean() and most >= low[part].mean())
    return {
        "range_width": float((high - low).mean()),
        "range_bins_inside": float(np.mean(inside)) if inside else math.nan,
    }


def told_outlook(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Of a card's metrics of one horizon those that are of the outlook, by the names of
    `judge_outlook`."""
    return {n.removeprefix(PREFIX): v for n, v in figures.items() if n.startswith(PREFIX)}
