"""Ranges instead of points, with a promise that holds for exchangeable data whatever the model.

*Venn–Abers*: two probabilities for a score, one for either label it may turn out to have. The one
of the label that does come is calibrated exactly, not in the limit (Vovk and Petej 2014,
"Venn-Abers predictors", theorem 1). All scores' pairs at once, by convex hulls (Vovk, Petej and
Fedorova 2015, "Large-scale probabilistic predictors with and without guarantees of validity").

*Conformal*: the margin by which a band of quantiles must be widened to hold a stated share of what
comes (Romano, Patterson and Candès 2019, "Conformalized quantile regression", theorem 1).

Neighbouring labels of a market overlap and are not exchangeable: fed with rows that are `apart` the
promise is close to kept, fed with all of them the ranges are too narrow.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

from foreshock.errors import DatasetError

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class VennAbers:
    """Both probabilities as step functions of the score.

    score   float64 (m,): scores seen, ascending, each once
    low     float64 (m + 1,): by how many of `score` are ≤ the score asked for; it not being a surge
    high    float64 (m + 1,): by how many of `score` are < the score asked for; it being a surge
    """

    score: Floats
    low: Floats
    high: Floats

    def range_of(self, score: Floats) -> tuple[Floats, Floats]:
        """(low, high), each (n,), of scores (n,); low < high."""
        return (
            self.low[np.searchsorted(self.score, score, side="right")],
            self.high[np.searchsorted(self.score, score, side="left")],
        )

    def point_of(self, score: Floats) -> Floats:
        """The one probability (n,) that loses least log loss in the worse case: high / (1 − low +
        high), section 4 of the paper of 2015."""
        low, high = self.range_of(score)
        out: Floats = high / (1.0 - low + high)
        return out


def venn_abers(score: Floats, label: NDArray[np.int8]) -> VennAbers:
    """Fit on scores (n,) and labels (n,) in {-1, 0, 1} later than training; -1 rows are left out.

    Raises DatasetError on a score that is not finite and where no label is known.
    """
    known = label >= 0
    if not known.any():
        raise DatasetError("no label is known: nothing to calibrate on")
    if not np.isfinite(score[known]).all():
        raise DatasetError("a raw score is not finite")
    values, where = np.unique(score[known].astype(np.float64), return_inverse=True)
    weight: Floats = np.bincount(where).astype(np.float64)
    total: Floats = np.bincount(where, weights=label[known]).astype(np.float64)
    high = _with_a_surge(weight, total)
    # No surge among scores is a surge among their mirror images.
    low = 1.0 - _with_a_surge(weight[::-1], (weight - total)[::-1])[::-1]
    return VennAbers(values, low, high)


def _with_a_surge(weight: Floats, total: Floats) -> Floats:
    """(m + 1,): the isotonic regression at one more surge, of weight 1, put just before each of m
    groups of known weight and number of surges, or behind them all.

    The regression is the slope of the greatest convex minorant of the cumulative sums. The surge
    moves all that follows it by (1, 1), so its slope is that of the lower tangent from the hull of
    what precedes it, moved by (−1, −1), to the hull of what follows.
    """
    m = len(weight)
    x = [0.0, *np.cumsum(weight).tolist()]
    y = [0.0, *np.cumsum(total).tolist()]
    # Right hulls of points i … m, for i from m down to 0, undone one by one: what a point hid.
    hull: list[tuple[float, float]] = []
    hidden: list[list[tuple[float, float]]] = []
    for i in range(m, -1, -1):
        gone: list[tuple[float, float]] = []
        while len(hull) >= 2 and _turn((x[i], y[i]), hull[-1], hull[-2]) <= 0.0:
            gone.append(hull.pop())
        hull.append((x[i], y[i]))
        hidden.append(gone)
    out = np.empty(m + 1)
    left: list[tuple[float, float]] = []
    for i in range(m + 1):
        here = (x[i] - 1.0, y[i] - 1.0)
        while len(left) >= 2 and _turn(left[-2], left[-1], here) <= 0.0:
            left.pop()
        left.append(here)
        out[i] = _tangent(left, hull)
        hull.pop()
        hull += reversed(hidden[m - i])
    return out


def _tangent(left: list[tuple[float, float]], right: list[tuple[float, float]]) -> float:
    """Slope of the lower common tangent. `left` is a hull from left to right, `right` one from
    right to left: their last points are neighbours."""
    a, b = len(left) - 1, len(right) - 1
    while True:
        moved = False
        while b > 0 and _turn(left[a], right[b], right[b - 1]) <= 0.0:
            b, moved = b - 1, True
        while a > 0 and _turn(right[b], left[a], left[a - 1]) >= 0.0:
            a, moved = a - 1, True
        if not moved:
            return (right[b][1] - left[a][1]) / (right[b][0] - left[a][0])


def _turn(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> float:
    """Above zero where a → b → c turns left. Sums of counts: exact."""
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


def conformal_margin(low: Floats, high: Floats, outcome: Floats, share: float) -> float:
    """By how much [low, high] must be widened on both sides (below zero: narrowed), in its own
    unit, to hold at least `share` of what comes.

    low, high, outcome   (n,) on data later than training; a row with an outcome of NaN is left out

    Raises DatasetError on a share outside (0, 1), on a band that is not finite, and where so few
    outcomes cannot promise so much: n < share / (1 − share).
    """
    if not 0.0 < share < 1.0:
        raise DatasetError(f"a band holds a share between 0 and 1, not {share:g}")
    known = ~np.isnan(outcome)
    if not np.isfinite(np.stack([low, high, outcome])[:, known]).all():
        raise DatasetError("a band or an outcome is not finite")
    miss = np.maximum(low - outcome, outcome - high)[known]
    rank = _rank(share, len(miss))
    if rank > len(miss):
        raise DatasetError(f"{len(miss)} outcomes cannot promise a share of {share:g}")
    return float(np.partition(miss, rank - 1)[rank - 1])


def promise_interval(share: float, rows: int, confidence: float = 0.95) -> tuple[float, float]:
    """Where the share held of endlessly many further outcomes lies, for a band that was moved by so
    many rows: a beta variable (Vovk 2012, "Conditional validity of inductive conformal predictors",
    proposition 2b). The promise is kept on average over such rows, not by every draw of them."""
    rank = _rank(share, rows)
    if rank > rows:
        raise DatasetError(f"{rows} outcomes cannot promise a share of {share:g}")
    tail = (1.0 - confidence) / 2.0
    low, high = beta.ppf((tail, 1.0 - tail), rank, rows + 1 - rank)
    return float(low), float(high)


def _rank(share: float, rows: int) -> int:
    return math.ceil(share * (rows + 1) - 1e-9)


def apart(t0_ns: NDArray[np.int64], group: NDArray[np.int32], gap_ns: int) -> NDArray[np.int64]:
    """Rows (m,), ascending, of which no two of one group begin within `gap_ns` of each other: from
    the first on always the next that is far enough.

    t0_ns, group   (n,): when rows begin, in any order, and their symbols
    gap_ns         the horizon, by which every span has ended. Not the end of the span itself: a
                   span that ends early is one of a wild hour, and the rows chosen would be from
                   wild hours more often than rows are

    Symbols at one moment move together all the same: what is promised for independent rows is
    promised a little too boldly."""
    chosen: list[int] = []
    for value in np.unique(group):
        rows = np.flatnonzero(group == value)
        rows = rows[np.argsort(t0_ns[rows], kind="stable")]
        begin, place = t0_ns[rows], 0
        while place < len(rows):
            chosen.append(int(rows[place]))
            place = int(np.searchsorted(begin, begin[place] + gap_ns, side="right"))
    return np.sort(np.array(chosen, np.int64))
