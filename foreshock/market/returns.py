"""What is read off the returns, or the prices, of one window in one pass, oldest first.

Each is formed anew from the window alone: a float that runs on would remember where it began.
"""

from __future__ import annotations

from math import sqrt
from typing import Final

import numpy as np
from numpy.typing import NDArray

from foreshock.market.jit import in_place

# What is summed over the returns of a window.
SQUARES, CUBES, FOURTHS, SIGNED, ABSOLUTE, BIPOWER, LAGGED, ZEROS, RISE, FALL = range(10)
SUMS: Final = 10


@in_place
def sum_returns(returns: NDArray[np.float64], sums: NDArray[np.float64]) -> None:
    """One pass over the returns of a window, oldest first."""
    squares, cubes, fourths, signed, absolute = 0.0, 0.0, 0.0, 0.0, 0.0
    bipower, lagged, zeros, rise, fall, before = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for j in range(returns.shape[0]):
        r = returns[j]
        size, square = abs(r), r * r
        squares += square
        cubes += square * r
        fourths += square * square
        signed += size * r
        absolute += size
        bipower += size * abs(before)  # the first return of a window has none before it
        lagged += r * before
        zeros += 1.0 if r == 0.0 else 0.0
        rise = r if r > rise else rise
        fall = -r if -r > fall else fall
        before = r
    sums[SQUARES], sums[CUBES], sums[FOURTHS] = squares, cubes, fourths
    sums[SIGNED], sums[ABSOLUTE], sums[BIPOWER], sums[LAGGED] = signed, absolute, bipower, lagged
    sums[ZEROS], sums[RISE], sums[FALL] = zeros, rise, fall


@in_place
def _squares(returns: NDArray[np.float64], lo: int, hi: int) -> tuple[float, float]:
    whole, squares = 0.0, 0.0
    for j in range(lo, hi):
        whole += returns[j]
        squares += returns[j] * returns[j]
    return whole, squares


@in_place
def of_blocks(returns: NDArray[np.float64], block_s: int) -> tuple[float, float]:
    """(Σ of the blocks' squared returns, the coefficient of variation of their volatilities) of
    returns that are not all zero."""
    n = returns.shape[0] // block_s
    coarse, mean, spread = 0.0, 0.0, 0.0
    for b in range(n):
        whole, squares = _squares(returns, b * block_s, (b + 1) * block_s)
        coarse += whole * whole
        mean += sqrt(squares) / n
    for b in range(n):
        _, squares = _squares(returns, b * block_s, (b + 1) * block_s)
        spread += (sqrt(squares) - mean) ** 2
    return coarse, sqrt(spread / n) / mean


@in_place
def declines(last: NDArray[np.int64]) -> tuple[float, float]:
    """(deepest fall, steepest climb) along these prices, as shares of peak and trough."""
    peak = trough = float(last[0])
    fall, climb = 0.0, 0.0
    for j in range(1, last.shape[0]):  # divides only where a record falls
        price = float(last[j])
        if price > peak:
            peak = price
        elif peak - price > fall * peak:
            fall = (peak - price) / peak
        if price < trough:
            trough = price
        elif price - trough > climb * trough:
            climb = (price - trough) / trough
    return fall, climb
