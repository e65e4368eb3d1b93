"""The kernel under the labels: the first row of a path that reaches one of two levels."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from foreshock.market.jit import kernel

BLOCK: Final = 64  # rows a block

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]


@kernel
def block_extremes(high: Floats, low: Floats) -> tuple[Floats, Floats]:
    """Highest `high` and lowest `low` of each full block of BLOCK rows, shape (m // BLOCK,)."""
    n = len(high) // BLOCK
    highest, lowest = np.empty(n), np.empty(n)
    for b in range(n):
        top, bottom = high[b * BLOCK], low[b * BLOCK]
        for j in range(b * BLOCK + 1, (b + 1) * BLOCK):
            top = max(top, high[j])
            bottom = min(bottom, low[j])
        highest[b], lowest[b] = top, bottom
    return highest, lowest


@kernel
def first_touch(
    begin: Ints,
    stop: Ints,
    upper: Floats,
    lower: Floats,
    high: Floats,
    low: Floats,
    block_high: Floats,
    block_low: Floats,
) -> tuple[Ints, Flags, Flags]:
    """For each i the first row j in [begin, stop) with high ≥ upper or low ≤ lower.

    Returns (row or -1, upper reached in that row, lower reached in that row), shape (n,) each.
    """
    n = len(begin)
    row = np.full(n, -1, np.int64)
    up, down = np.zeros(n, np.bool_), np.zeros(n, np.bool_)
    for i in range(n):
        j = begin[i]
        while j < stop[i]:
            if j % BLOCK == 0 and j + BLOCK <= stop[i]:
                b = j // BLOCK
                if block_high[b] < upper[i] and block_low[b] > lower[i]:
                    j += BLOCK
                    continue
            if high[j] >= upper[i] or low[j] <= lower[i]:
                row[i] = j
                up[i] = high[j] >= upper[i]
                down[i] = low[j] <= lower[i]
                break
            j += 1
    return row, up, down
