"""The kernels under the labels: when a path first reaches one of two levels, and how far it ran.

A path of m rows is summed up twice, in blocks of 64 rows and in big blocks of 1,024: what cannot
touch is skipped whole, so that a label whose touch is 8,000 rows away looks at some 100 numbers.

Rows are looked at 32 at once, without a branch: the compiler makes vector instructions of that. A
loop that stops at the first row costs a mispredicted branch a label, which is dearer than looking
at all 32 (15 ns against 5 where the touch is about 8 rows away; 8 or 16 at once are unrolled into
scalars and gain nothing).
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from foreshock.market.jit import inlined, kernel

BLOCK: Final = 64  # rows a block
BIG: Final = 16  # blocks a big block
WIDE: Final = 32  # rows looked at together

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]


class Path(NamedTuple):
    """A path of prices and its summaries; full blocks only.

    high, low                (m,)
    block_high, block_low    (m // 64,)
    big_high, big_low        (m // 1024,)
    """

    high: Floats
    low: Floats
    block_high: Floats
    block_low: Floats
    big_high: Floats
    big_low: Floats


@kernel
def _extremes(high: Floats, low: Floats, size: int) -> tuple[Floats, Floats]:
    n = len(high) // size
    highest, lowest = np.empty(n), np.empty(n)
    for b in range(n):
        top, bottom = high[b * size], low[b * size]
        for j in range(b * size + 1, (b + 1) * size):
            top = high[j] if high[j] > top else top
            bottom = low[j] if low[j] < bottom else bottom
        highest[b], lowest[b] = top, bottom
    return highest, lowest


def path_of(high: Floats, low: Floats) -> Path:
    """The path with its summaries; `high` and `low` may be the same array."""
    block_high, block_low = _extremes(high, low, BLOCK)
    big_high, big_low = _extremes(block_high, block_low, BIG)
    return Path(high, low, block_high, block_low, big_high, big_low)


@inlined
def _reach(
    j: int, stop: int, upper: float, lower: float, high: Floats, low: Floats
) -> int:  # fmt: skip
    """The first row in [j, stop) that reaches a level, or `stop`."""
    while j + WIDE <= stop:
        first, base = WIDE, np.uint64(j)  # unsigned: an index that needs no look at its sign
        for k in range(WIDE):
            at = base + np.uint64(k)
            reached = (high[at] >= upper) | (low[at] <= lower)
            first = min(first, k if reached else WIDE)
        j += first
        if first < WIDE:
            return j
    while j < stop and high[j] < upper and low[j] > lower:
        j += 1
    return j


@kernel
def first_touch(
    begin: Ints, stop: Ints, upper: Floats, lower: Floats, path: Path
) -> tuple[Ints, Flags, Flags]:
    """For each i the first row j in [begin, stop) with high ≥ upper or low ≤ lower.

    Returns (row or -1, upper reached in that row, lower reached in that row), shape (n,) each.
    """
    high, low, block_high, block_low, big_high, big_low = path
    n = len(begin)
    row = np.full(n, -1, np.int64)
    up, down = np.zeros(n, np.bool_), np.zeros(n, np.bool_)
    for i in range(n):
        end, above, below = stop[i], upper[i], lower[i]
        blocks = end // BLOCK  # whole ones before the end
        edge = min(end, begin[i] + BLOCK)  # most touches are near: no block is asked for those
        j = _reach(begin[i], edge, above, below, high, low)
        if j == edge and j < end:
            edge = min(end, -(-j // BLOCK) * BLOCK)
            j = _reach(j, edge, above, below, high, low)
        if j == edge and j < end:
            b = j // BLOCK
            while b < blocks:
                big = b // BIG
                if b % BIG == 0 and b + BIG <= blocks and (
                    big_high[big] < above and big_low[big] > below
                ):  # fmt: skip
                    b += BIG
                elif block_high[b] < above and block_low[b] > below:
                    b += 1
                else:
                    break
            j = _reach(max(j, b * BLOCK), end, above, below, high, low)
        if j < end:
            row[i] = j
            up[i] = high[j] >= above
            down[i] = low[j] <= below
    return row, up, down


@inlined
def _highest(
    first: int, end: int, high: Floats, block_high: Floats, big_high: Floats, sign: float
) -> int:  # fmt: skip
    """Row of the first maximum of sign · high over [first, end), first < end. Blocks are compared
    by their summaries; only the one that wins is looked into."""
    best, row, block, big = -np.inf, first, -1, -1
    j = first
    while j < end:
        b = j // BLOCK
        if j % BLOCK or j + BLOCK > end:
            if sign * high[j] > best:
                best, row, block, big = sign * high[j], j, -1, -1
            j += 1
        elif b % BIG == 0 and j + BIG * BLOCK <= end:
            if sign * big_high[b // BIG] > best:
                best, block, big = sign * big_high[b // BIG], -1, b // BIG
            j += BIG * BLOCK
        else:
            if sign * block_high[b] > best:
                best, block, big = sign * block_high[b], b, -1
            j += BLOCK
    if big >= 0:
        block = big * BIG
        while sign * block_high[block] != best:
            block += 1
    if block >= 0:
        row = block * BLOCK
        while sign * high[row] != best:
            row += 1
    return row


@kernel
def extremes_between(
    first: Ints, last: Ints, path: Path
) -> tuple[Floats, Floats, Ints, Ints]:  # fmt: skip
    """For each i over the closed rows [first, last]: (highest high, lowest low, first row of each);
    NaN and -1 where last < first. Shape (n,) each."""
    high, low, block_high, block_low, big_high, big_low = path
    n = len(first)
    highest, lowest = np.full(n, np.nan), np.full(n, np.nan)
    high_at, low_at = np.full(n, -1, np.int64), np.full(n, -1, np.int64)
    for i in range(n):
        end = last[i] + 1
        if end <= first[i]:
            continue
        if end - first[i] <= 2 * BLOCK:  # not worth the blocks
            high_at[i] = low_at[i] = first[i]
            for j in range(first[i] + 1, end):
                if high[j] > high[high_at[i]]:
                    high_at[i] = j
                if low[j] < low[low_at[i]]:
                    low_at[i] = j
        else:
            high_at[i] = _highest(first[i], end, high, block_high, big_high, 1.0)
            low_at[i] = _highest(first[i], end, low, block_low, big_low, -1.0)
        highest[i], lowest[i] = high[high_at[i]], low[low_at[i]]
    return highest, lowest, high_at, low_at
