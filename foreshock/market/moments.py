"""Moments of two series of returns, kept as integers: a pair that enters a window and leaves it
again leaves nothing behind, however long the sums have run.

A return is a whole multiple of 10⁻⁸. The sum of 300 products of two is then below 2⁶⁰.
"""

from __future__ import annotations

from math import log, nan, sqrt
from typing import Final

import numpy as np
from numpy.typing import NDArray

from foreshock.market.jit import in_place

UNIT: Final = 1e8
_MOST: Final = 50_000_000  # a return beyond ±0.5 is taken for ±0.5
MISSING: Final = -(2**62)  # a return that is not known
PAIRS, X, Y, XX, YY, XY = range(6)  # sums over the pairs of x and y
MOMENTS: Final = 6


@in_place
def whole_return(now: float, before: float) -> int:
    """A log return as the whole number that is summed."""
    units = round(log(now / before) * UNIT)
    return int(min(_MOST, max(-_MOST, units)))


@in_place
def add_pair(sums: NDArray[np.int64], y: int, x: int, sign: int) -> None:
    """Let a pair of returns enter a window (1) or leave it (−1)."""
    if y == MISSING or x == MISSING:
        return
    sums[PAIRS] += sign
    sums[X] += sign * x
    sums[Y] += sign * y
    sums[XX] += sign * x * x
    sums[YY] += sign * y * y
    sums[XY] += sign * x * y


@in_place
def _spread(sums: NDArray[np.int64], first: int, second: int, product: int) -> float:
    """n² · the covariance of two returns (or the variance of one)."""
    of_both = float(sums[first]) * float(sums[second])
    return float(sums[PAIRS]) * float(sums[product]) - of_both


@in_place
def beta_of(sums: NDArray[np.int64], window: int) -> float:
    """cov(x, y) / var(x); NaN with fewer pairs than half of `window`, or where x does not vary."""
    spread = _spread(sums, X, X, XX)
    if 2 * sums[PAIRS] < window or spread <= 0.0:
        return nan
    return _spread(sums, X, Y, XY) / spread


@in_place
def correlation_of(sums: NDArray[np.int64], window: int) -> float:
    """Of x and y; NaN with fewer pairs than half of `window`, or where one does not vary."""
    of_x, of_y = _spread(sums, X, X, XX), _spread(sums, Y, Y, YY)
    if 2 * sums[PAIRS] < window or of_x <= 0.0 or of_y <= 0.0:
        return nan
    return _spread(sums, X, Y, XY) / (sqrt(of_x) * sqrt(of_y))
