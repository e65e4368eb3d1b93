"""How much of a ladder is known around its mid, and what stands there. For kernels at a boundary.

The mid is that of the ladder's own best prices. A reach of r bps covers the ticks within r bps of
it; a side is known that far where the ladder is sure of all its levels (I_KNOWN_LOW, I_KNOWN_HIGH).
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from foreshock.market.jit import in_place
from foreshock.market.ladder import (
    I_BEST_ASK,
    I_BEST_BID,
    I_KNOWN_HIGH,
    I_KNOWN_LOW,
    I_STATE,
    MASK,
)
from foreshock.market.rows import SYNCED

BPS: Final = 10_000
UNKNOWN: Final = -1


@in_place
def readable(info: NDArray[np.int64]) -> bool:
    """Whether the book is SYNCED with two best prices that do not cross; `info` of one symbol."""
    return bool(
        info[I_STATE] == SYNCED and info[I_BEST_BID] > 0 and info[I_BEST_ASK] > info[I_BEST_BID]
    )


@in_place
def lowest_within(info: NDArray[np.int64], reach_bps: int) -> int:
    """The lowest tick within the reach, UNKNOWN where the bids are not known down to it."""
    twice_mid = info[I_BEST_BID] + info[I_BEST_ASK]
    low = -((-twice_mid * (BPS - reach_bps)) // (2 * BPS))
    return low if low >= info[I_KNOWN_LOW] else UNKNOWN


@in_place
def highest_within(info: NDArray[np.int64], reach_bps: int) -> int:
    """The highest tick within the reach, UNKNOWN where the asks are not known up to it."""
    twice_mid = info[I_BEST_BID] + info[I_BEST_ASK]
    high = (twice_mid * (BPS + reach_bps)) // (2 * BPS)
    return high if high <= info[I_KNOWN_HIGH] else UNKNOWN


@in_place
def lots_between(
    lots: NDArray[np.int64], bits: NDArray[np.uint64], first: int, last: int
) -> int:  # fmt: skip
    """Lots of one side at the ticks first <= t <= last, all of which lie in the window. Words of 64
    empty ticks are passed over, and full ones are added up without a branch a tick: a walk from
    level to level took three times as long on a dense book."""
    total, ticks = 0, first
    while ticks <= last:
        slot = ticks & MASK
        count = min(64 - (slot & 63), last - ticks + 1)
        if bits[slot >> 6] != 0:
            for k in range(slot, slot + count):
                total += lots[k]
        ticks += count
    return total
