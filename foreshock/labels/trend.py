"""Trend-scanning labels: the horizon at which the price moves most like a line.

For each t0 and every span of L rows, L from `shortest` to `longest`, an ordinary least-squares line
is laid through the log prices; the span whose slope has the largest |t| wins, its sign is the label
and its end the label's t1 (López de Prado, Machine Learning for Asset Managers, 2020, 5.4). An
alternative to barriers, for bars of one length.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from foreshock.errors import DatasetError
from foreshock.market.jit import kernel

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Trends:
    """Per t0, shape (n,) each.

    sign   int8: 1 up, -1 down, 0 flat, and 0 where the path ends before `longest` (see `rows`)
    t      float64: t-value of the winning slope; NaN where the path ends too early
    rows   int64: length of the winning span in rows, -1 where the path ends too early
    """

    sign: NDArray[np.int8]
    t: Floats
    rows: NDArray[np.int64]


@kernel
def _scan_trends(
    log_price: Floats, begin: NDArray[np.int64], shortest: int, longest: int
) -> tuple[Floats, NDArray[np.int64]]:
    """(t of the best span, its length); NaN and -1 where rows are missing."""
    best_t = np.full(len(begin), np.nan)
    best_rows = np.full(len(begin), -1, np.int64)
    for i in range(len(begin)):
        start = begin[i]
        if start < 0 or start + longest > len(log_price):
            continue
        # Sums over x = 0 … L-1 of y, xy and yy, y counted from the first price: small numbers.
        origin = log_price[start]
        sy, sxy, syy = 0.0, 0.0, 0.0
        for k in range(longest):
            y = log_price[start + k] - origin
            sy += y
            sxy += k * y
            syy += y * y
            rows = k + 1
            if rows < shortest:
                continue
            n = float(rows)
            mean_x = (n - 1.0) / 2.0
            sxx = n * (n * n - 1.0) / 12.0
            moved = sxy - mean_x * sy
            left = syy - sy * sy / n - moved * moved / sxx  # residual sum of squares
            slope = moved / sxx
            # A line without residuals has no error: its t is as large as rounding lets it be.
            floor = 1e-15 * max(syy, 1e-300)
            t = slope / np.sqrt(max(left, floor) / (n - 2.0) / sxx)
            if best_rows[i] < 0 or abs(t) > abs(best_t[i]):
                best_t[i], best_rows[i] = t, rows
    return best_t, best_rows


def scan_trends(price: Floats, begin: NDArray[np.int64], *, shortest: int, longest: int) -> Trends:
    """Trends that start at the rows `begin` (n,) of `price` (m,).

    Raises DatasetError where a price is not above zero or the spans make no sense."""
    if not 3 <= shortest <= longest:
        raise DatasetError(f"spans need 3 ≤ shortest ≤ longest rows, got {shortest}, {longest}")
    if not (np.isfinite(price) & (price > 0)).all():
        raise DatasetError("trend scanning needs prices above zero")
    t, rows = _scan_trends(np.log(price), begin, shortest, longest)
    return Trends(np.nan_to_num(np.sign(t)).astype(np.int8), t, rows)
