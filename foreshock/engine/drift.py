"""How far the mid moves while an order travels: mean absolute moves over 100 ms and over a second,
of the last minute.

A volatility of last prices cannot tell this: prices bounce between the touches, while over 100 ms
most mids do not move at all. So it is measured, on a grid of 100 ms that lies on the boundaries; at
a point of the grid the mid is that of the rows before it, as at a boundary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from foreshock.market.clock import MS_NS
from foreshock.market.instruments import Instrument
from foreshock.market.jit import in_place, in_place_kernel
from foreshock.market.rows import ARRIVAL, BOOK, EPOCH, META, SYNCED, A, B, C, Words
from foreshock.market.touch import ASK_TICKS, BID_TICKS, VALID
from foreshock.market.words import count_of, kind_of, symbol_of

GRID_NS: Final = 100 * MS_NS
SLOTS: Final = 60
LEAST_S: Final = 10  # it is said from so many known seconds on
SHORT, LONG = 0, 1  # over 100 ms, over the step between two closes


class Drift(NamedTuple):
    """All symbols; n symbols. Mids are bid + ask ticks, 0 unknown. Slot j belongs to one close."""

    mid: NDArray[np.int64]  # (n, 3): now, at the last point of the grid, at the last close
    grid_ns: NDArray[np.int64]  # (n,) the next point
    epoch: NDArray[np.int64]  # (n,) of the book, −1 before the first
    moves: NDArray[np.int64]  # (n, SLOTS, 2) sums of absolute moves, SHORT and LONG
    points: NDArray[np.int64]  # (n, SLOTS, 2) how many moves those are
    head: NDArray[np.int64]  # (n,) the slot of the next close


def init(instruments: Sequence[Instrument]) -> Drift:
    """A cold state."""
    n = len(instruments)
    return Drift(
        mid=np.zeros((n, 3), np.int64),
        grid_ns=np.zeros(n, np.int64),
        epoch=np.full(n, -1, np.int64),
        moves=np.zeros((n, SLOTS, 2), np.int64),
        points=np.zeros((n, SLOTS, 2), np.int64),
        head=np.zeros(n, np.int64),
    )


@in_place
def _settle(drift: Drift, s: int, until_ns: int) -> None:
    """Take the points of the grid up to `until_ns`, all with the mid of now."""
    if drift.mid[s, 0] == 0 or drift.grid_ns[s] > until_ns:
        return
    passed = (until_ns - drift.grid_ns[s]) // GRID_NS + 1
    slot = drift.head[s]
    drift.moves[s, slot, SHORT] += abs(drift.mid[s, 0] - drift.mid[s, 1])
    drift.points[s, slot, SHORT] += passed
    drift.mid[s, 1] = drift.mid[s, 0]
    drift.grid_ns[s] += passed * GRID_NS


@in_place_kernel
def scan(words: Words, touch: NDArray[np.int64], lo: int, hi: int, drift: Drift) -> None:
    """Advance by the rows lo <= i < hi and their touch records; `lo` must be a header row."""
    i = lo
    while i < hi:
        meta = words[i, META]
        s = symbol_of(meta)
        if 0 <= s < drift.head.shape[0]:
            if kind_of(meta) == EPOCH and words[i, C] == BOOK:
                if words[i, A] != SYNCED or words[i, B] != drift.epoch[s]:
                    drift.mid[s, 0] = drift.mid[s, 2] = 0
                drift.epoch[s] = words[i, B]
            elif touch[i, VALID] == 1:
                now_ns = words[i, ARRIVAL]
                mid = touch[i, BID_TICKS] + touch[i, ASK_TICKS]
                if drift.mid[s, 0] == 0:
                    drift.mid[s, 1] = mid
                    drift.grid_ns[s] = (now_ns // GRID_NS + 1) * GRID_NS
                elif mid != drift.mid[s, 0]:
                    _settle(drift, s, now_ns)
                drift.mid[s, 0] = mid
        i += 1 + count_of(meta)


@in_place_kernel
def close(
    drift: Drift, boundary_ns: int, age_s: NDArray[np.int64], out_bps: NDArray[np.float64]
) -> None:
    """Write the mean absolute move of the mid over 100 ms and over a step, bps of the mid, float64
    (n, 2); NaN where fewer than LEAST_S steps are known. `age_s` is the age of the book's epoch."""
    for s in range(age_s.shape[0]):
        _settle(drift, s, boundary_ns)
        head, mid = drift.head[s], drift.mid[s, 0]
        if mid > 0 and drift.mid[s, 2] > 0:
            drift.moves[s, head, LONG] = abs(mid - drift.mid[s, 2])
            drift.points[s, head, LONG] = 1
        drift.mid[s, 2] = mid
        known = min(age_s[s], SLOTS)
        for scale in range(2):
            moves, points = 0, 0
            for ago in range(known):
                slot = head - ago if head >= ago else head - ago + SLOTS
                moves += drift.moves[s, slot, scale]
                points += drift.points[s, slot, scale]
            good = mid > 0 and known >= LEAST_S and points > 0
            out_bps[s, scale] = moves / points / mid * 1e4 if good else np.nan
        head = 0 if head + 1 == SLOTS else head + 1
        for scale in range(2):
            drift.moves[s, head, scale] = drift.points[s, head, scale] = 0
        drift.head[s] = head
