"""How good forecasts of a number are: losses by row, and ratios of their sums with bounds.

Everything said of a forecast here is a ratio of two sums over rows: a skill is one minus the loss
of the forecast over that of a constant, a share is hits over rows.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm, t

from foreshock.validation.measures import MIN_BLOCKS

Floats = NDArray[np.float64]
AT_ONCE: Final = 1 << 20  # blocks drawn in one piece: a month of minutes is many


def squared(outcome: ArrayLike, said: ArrayLike) -> Floats:
    """(n,): what the mean loses least of."""
    out: Floats = (_f(outcome) - _f(said)) ** 2
    return out


def pinball(outcome: ArrayLike, said: ArrayLike, level: float) -> Floats:
    """(n,): what the quantile of `level` loses least of (Koenker and Bassett 1978)."""
    off = _f(outcome) - _f(said)
    return np.maximum(level * off, (level - 1.0) * off)


def ratio_bounds(
    top: ArrayLike,
    bottom: ArrayLike,
    t0_ns: NDArray[np.int64],
    block_ns: int,
    alpha: float,
    *,
    draws: int = 4000,
    seed: int = 7,
) -> tuple[float, float]:
    """(low, high): with confidence 1 − alpha each, Σ top / Σ bottom is above the one and below the
    other.

    top, bottom   (n,) by row
    block_ns      some horizons long: whole blocks of time are drawn with replacement, all symbols
                  of a block together

    As `measures.block_bootstrap`, from sums by block: a draw costs nothing. NaN with fewer than
    MIN_BLOCKS blocks, and where the ratio or that of more than a tenth of the draws is not
    finite."""
    _, block = np.unique(t0_ns // block_ns, return_inverse=True)
    count = int(block.max(initial=-1)) + 1
    if count < MIN_BLOCKS:
        return math.nan, math.nan
    above, below = (np.bincount(block, _f(values)) for values in (top, bottom))
    random, found = np.random.default_rng(seed), np.empty(draws)
    step = max(1, AT_ONCE // count)
    with np.errstate(divide="ignore", invalid="ignore"):
        for begin in range(0, draws, step):
            drawn = random.integers(count, size=(min(step, draws - begin), count))
            found[begin : begin + step] = above[drawn].sum(axis=1) / below[drawn].sum(axis=1)
        estimate = float(above.sum() / below.sum())
    sure = found[np.isfinite(found)]
    if len(sure) < 0.9 * draws or not math.isfinite(estimate):
        return math.nan, math.nan
    wider = float(t.ppf(alpha, count - 1) / norm.ppf(alpha)) * (count / (count - 1)) ** 0.5
    low, high = (float(np.quantile(sure, level)) for level in (alpha, 1.0 - alpha))
    return estimate - wider * (estimate - low), estimate + wider * (high - estimate)


def equal_groups(values: Floats, groups: int) -> list[NDArray[np.int64]]:
    """Rows in at most so many groups of about equally many by value, ascending; rows of the same
    value are never parted."""
    order = np.argsort(values, kind="stable")
    ranked, edges = values[order], [0]
    for target in np.linspace(0, len(values), groups + 1)[1:-1].astype(int):
        edge = int(np.searchsorted(ranked, ranked[target], side="left"))
        if edge > edges[-1]:
            edges.append(edge)
    return [order[a:b] for a, b in zip(edges, [*edges[1:], len(order)], strict=True)]


def _f(values: ArrayLike) -> Floats:
    return np.asarray(values, dtype=np.float64)
