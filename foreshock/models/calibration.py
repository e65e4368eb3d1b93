"""Raw scores to probabilities, as a monotone table of straight pieces that fits inside the graph.

Isotonic regression where very many *independent* events were seen (Zadrozny and Elkan 2002), the
beta map of three parameters where there are some (Kull, Silva Filho, Flach 2017), Platt's sigmoid
of two otherwise (Platt 1999, with his smoothed targets). All end as a table of at most MAX_KNOTS
knots with a bounded slope: a steep map would turn the float32 dust of a tree sum into a jump of the
probability (1e-5 became 4e-5 when it was tried).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from sklearn.isotonic import isotonic_regression

from foreshock.errors import DatasetError

MAX_KNOTS: Final = 64
LEAST_BLOCK: Final = 20
Floats = NDArray[np.float64]


class CalibrationSettings(BaseModel):
    """How raw scores become probabilities."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    isotonic_clusters: int = Field(
        default=1_000,
        ge=2,
        description="Isotonic regression from this many independent surges on: below, its steps "
        "follow single events.",
    )
    beta_clusters: int = Field(
        default=100,
        ge=2,
        description="Beta calibration from this many independent surges on, Platt's sigmoid below.",
    )
    min_clusters: int = Field(
        default=5,
        ge=2,
        description="Fewer independent surges in the calibration part refuse the model.",
    )
    p_min: float = Field(
        default=1e-4, gt=0, lt=0.5, description="No probability below this or above one minus this."
    )
    max_slope: float = Field(
        default=1.0,
        gt=0,
        description="Probability per unit of raw score that the table may rise at most.",
    )


@dataclass(frozen=True, slots=True)
class Table:
    """A monotone, piecewise linear map; constant outside its knots.

    raw, probability   float32 (m,), 1 ≤ m ≤ MAX_KNOTS, `raw` ascending, `probability` not falling
    method             "isotonic", "beta", "platt" or "flat"
    """

    raw: NDArray[np.float32]
    probability: NDArray[np.float32]
    method: str

    def pieces(self) -> NDArray[np.float32]:
        """float32 (m + 1, 4): start, probability at the start, slope, cap, for scores up to raw[0],
        up to raw[1], …, above raw[m-1]. The cap keeps a rounded product from overshooting the next
        knot, so that the map is monotone in float32 too."""
        x, y = self.raw.astype(np.float64), self.probability.astype(np.float64)
        slope = np.zeros(len(x) + 1)
        slope[1:-1] = np.diff(y) / np.diff(x)
        start = np.concatenate([x[:1], x])
        value = np.concatenate([y[:1], y])
        cap = np.concatenate([y[:1], y[1:], y[-1:]])
        return np.stack([start, value, slope, cap], axis=1).astype(np.float32)

    def apply(self, raw: NDArray[np.float32]) -> NDArray[np.float32]:
        """The map in float32, operation by operation what the graph does; same shape as `raw`."""
        piece = self.pieces()[np.searchsorted(self.raw, raw, side="left")]
        start, value, slope, cap = (piece[..., i] for i in range(4))
        out: NDArray[np.float32] = np.minimum(value + slope * (raw - start), cap)
        return out

    def exact(self, raw: Floats) -> Floats:
        """The map in float64, for error bounds."""
        out: Floats = np.interp(
            raw, self.raw.astype(np.float64), self.probability.astype(np.float64)
        )
        return out

    @property
    def slope(self) -> float:
        """The steepest piece, probability per unit of raw score."""
        return float(self.pieces()[:, 2].max())


def calibrate(
    raw: NDArray[np.float32],
    label: NDArray[np.int8],
    cluster: NDArray[np.int64],
    settings: CalibrationSettings,
) -> Table:
    """Fit a table on the graph's own scores (n,), labels (n,) in {-1, 0, 1} and the number (n,) of
    the independent surge that each positive belongs to (foreshock.labels.overlap).

    A score that says nothing, or the opposite, gives a flat table at the base rate. Raises
    DatasetError on too few independent surges, on one class only, or on scores that are not finite.
    """
    known = label >= 0
    x, y = raw[known].astype(np.float64), label[known].astype(np.float64)
    events = len(np.unique(cluster[known & (label == 1)]))
    if not np.isfinite(x).all():
        raise DatasetError("a raw score is not finite")
    if events < settings.min_clusters:
        raise DatasetError(
            f"calibration needs {settings.min_clusters} independent surges, there are {events}"
        )
    if y.all():
        raise DatasetError("one class only in the calibration part")
    if events >= settings.isotonic_clusters:
        knots_x, knots_y = _isotonic(x, y, settings.max_slope)
        method = "isotonic"
    elif events >= settings.beta_clusters:
        knots_x, knots_y = _beta(x, y, settings.max_slope)
        method = "beta"
    else:
        knots_x, knots_y = _platt(x, y, settings.max_slope)
        method = "platt"
    return _table(knots_x, knots_y, settings.p_min, method)


def _isotonic(x: Floats, y: Floats, max_slope: float) -> tuple[Floats, Floats]:
    """Centred isotonic regression (Oron and Flournoy 2017): a knot in the middle of each block.

    Blocks of fewer than LEAST_BLOCK rows go to the neighbour that is nearer in rate: a lone row at
    the end would tilt the map all the way to the middle of the block beside it."""
    values, where = np.unique(x, return_inverse=True)
    weight: Floats = np.bincount(where).astype(np.float64)
    mean = np.bincount(where, weights=y) / weight
    level = np.asarray(isotonic_regression(mean, sample_weight=weight), np.float64)
    block = np.concatenate([[0], np.cumsum(np.diff(level) > 0)])
    total: Floats = np.bincount(block, weights=weight).astype(np.float64)
    centre = np.bincount(block, weights=weight * values) / total
    rate = np.bincount(block, weights=weight * mean) / total
    return _merge(*_substantial(centre, rate, total), max_slope)


def _substantial(centre: Floats, rate: Floats, weight: Floats) -> tuple[Floats, Floats, Floats]:
    x, y, w = list(centre), list(rate), list(weight)
    while len(x) > 1 and min(w) < LEAST_BLOCK:
        i = int(np.argmin(w))
        before = y[i] - y[i - 1] if i else np.inf
        after = y[i + 1] - y[i] if i + 1 < len(x) else np.inf
        _pool(x, y, w, i - 1 if before <= after else i)
    return np.array(x), np.array(y), np.array(w)


def _pool(x: list[float], y: list[float], w: list[float], i: int) -> None:
    """Put blocks i and i + 1 together."""
    total = w[i] + w[i + 1]
    x[i] = (w[i] * x[i] + w[i + 1] * x[i + 1]) / total
    y[i] = (w[i] * y[i] + w[i + 1] * y[i + 1]) / total
    w[i] = total
    del x[i + 1], y[i + 1], w[i + 1]


def _merge(centre: Floats, rate: Floats, weight: Floats, max_slope: float) -> tuple[Floats, Floats]:
    """Pool neighbours until no piece is too steep and there are at most MAX_KNOTS knots. Weighted
    means of ascending neighbours stay ascending."""
    x, y, w = list(centre), list(rate), list(weight)
    while len(x) > 1:
        dx, dy = np.diff(x), np.diff(y)
        steep = dy / dx
        i = int(np.argmax(steep))
        if steep[i] <= max_slope:
            if len(x) <= MAX_KNOTS:
                break
            i = int(np.argmin(dy))
        _pool(x, y, w, i)
    return np.array(x), np.array(y)


def _platt(x: Floats, y: Floats, max_slope: float) -> tuple[Floats, Floats]:
    """σ(a·x + b) by Newton's method on smoothed targets, read off at MAX_KNOTS places."""
    positives = y.sum()
    high, low = (positives + 1.0) / (positives + 2.0), 1.0 / (len(y) - positives + 2.0)
    target = np.where(y > 0, high, low)
    centre, scale = x.mean(), x.std()
    if scale == 0:
        return x[:1], np.array([y.mean()])
    z = (x - centre) / scale
    design = np.stack([z, np.ones_like(z)], axis=1)
    theta = np.array([0.0, np.log(target.mean() / (1.0 - target.mean()))])
    for _ in range(100):
        p = _sigmoid(design @ theta)
        curve = (design * (p * (1.0 - p))[:, None]).T @ design + 1e-9 * np.eye(2)
        step = np.linalg.solve(curve, design.T @ (target - p))
        theta = theta + np.clip(step, -2.0, 2.0)
        if np.abs(step).max() < 1e-10:
            break
    slope = theta[0] / scale
    if slope <= 0:
        return x[:1], np.array([y.mean()])
    offset = theta[1] - slope * centre
    if slope > 4.0 * max_slope:  # the sigmoid's steepest place rises a/4
        slope = 4.0 * max_slope
        offset = _offset(x, slope, float(target.mean()))
    knots = np.linspace(x.min(), x.max(), MAX_KNOTS)
    return knots, _sigmoid(slope * knots + offset)


def _beta(x: Floats, y: Floats, max_slope: float) -> tuple[Floats, Floats]:
    """σ(a·ln s − b·ln(1 − s) + c) of s = σ(z), with a, b ≥ 0, so that it never falls: where a free
    fit makes one of them negative it is left out, as Kull et al. do. Read off at MAX_KNOTS places,
    neighbours pooled where it rises too steeply.

    z is the score in deviations from its mean: raw scores of a focal loss or of a weighted sum are
    no log-odds, and far from 0, or crowded there, both terms would be straight or the same."""
    centre, scale = x.mean(), x.std()
    if scale == 0:
        return x[:1], np.array([y.mean()])
    rising = _log_sides((x - centre) / scale)
    use = [0, 1]
    theta = _logistic_fit(rising, y)
    if min(theta[:2]) < 0:
        use = [int(np.argmax(theta[:2]))]
        theta = _logistic_fit(rising[:, use], y)
        if theta[0] <= 0:
            return x[:1], np.array([y.mean()])
    knots = np.linspace(x.min(), x.max(), MAX_KNOTS)
    at = _log_sides((knots - centre) / scale)[:, use]
    level = np.maximum.accumulate(_sigmoid(at @ theta[:-1] + theta[-1]))
    nearest = np.searchsorted((knots[1:] + knots[:-1]) / 2.0, x)
    weight: Floats = np.bincount(nearest, minlength=MAX_KNOTS).astype(np.float64) + 1.0
    return _merge(knots, level, weight, max_slope)


def _log_sides(z: Floats) -> Floats:
    """(n, 2): ln σ(z) and −ln(1 − σ(z)), without the overflow; both rise."""
    return np.stack([-np.logaddexp(0.0, -z), np.logaddexp(0.0, z)], axis=1)


def _logistic_fit(columns: Floats, y: Floats) -> Floats:
    """Weights of the columns (n, m) and an intercept, by Newton's method with a trace of ridge."""
    design = np.column_stack([columns, np.ones(len(y))])
    theta = np.zeros(design.shape[1])
    theta[-1] = np.log(y.mean() / (1.0 - y.mean()))
    ridge = 1e-6 * np.eye(len(theta))
    for _ in range(100):
        p = _sigmoid(design @ theta)
        curve = (design * (p * (1.0 - p))[:, None]).T @ design + ridge
        step = np.clip(np.linalg.solve(curve, design.T @ (y - p) - ridge @ theta), -2.0, 2.0)
        theta = theta + step
        if np.abs(step).max() < 1e-10:
            break
    return theta


def _offset(x: Floats, slope: float, rate: float) -> float:
    """b for which σ(slope·x + b) has the mean `rate`."""
    low, high = -slope * x.max() - 40.0, -slope * x.min() + 40.0
    for _ in range(100):
        middle = (low + high) / 2.0
        low, high = (middle, high) if _sigmoid(slope * x + middle).mean() < rate else (low, middle)
    return float(low)


def _sigmoid(z: Floats) -> Floats:
    out: Floats = 1.0 / (1.0 + np.exp(-np.clip(z, -80.0, 80.0)))
    return out


def _table(x: Floats, y: Floats, p_min: float, method: str) -> Table:
    raw = x.astype(np.float32)
    fresh = np.concatenate([[True], np.diff(raw) > 0])
    raw, level = raw[fresh], np.clip(y[fresh], p_min, 1.0 - p_min).astype(np.float32)
    return Table(raw, np.maximum.accumulate(level), method if len(raw) > 1 else "flat")
