"""The order book of many symbols: integer-tick ladders, advanced by one compiled scan.

Each side of a symbol is a ring of WINDOW sizes indexed by `ticks & MASK`; the ring covers the ticks
[low, low + WINDOW). When the touch comes within MARGIN of an edge the window slides and the slots
that leave are cleared, so that a symbol's memory is bounded. A bitmap of occupied slots (64 ticks a
word) finds the next level in a thin book without walking empty ticks: walking was tried and cost
~100 ns per top-level removal on books with gaps of some hundred ticks.

Ticks outside the window are not kept, so what lies beyond is *unknown*: `known_low` and
`known_high` bound the ticks of which the ladder is sure. When the touch has come three quarters of
the way to one of them the book asks for a new snapshot (I_NARROW), which is joined in passing: the
same epoch goes on, and the rows that rebuild the ladder (SNAPSHOT and REJOINED while SYNCED) leave
touch and order flow as they are. Should the touch reach the edge all the same the book is not to be
trusted (I_RANGE_ALARM): it never quietly shows a hole.

A QUOTE row (bookTicker) moves the *touch* when its update id is newer than the ladder's: both count
in the venue's one sequence. It never changes the ladder.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from foreshock.market.jit import in_place, in_place_kernel
from foreshock.market.rows import (
    ARRIVAL,
    BOOK,
    DEPTH,
    EPOCH,
    HELD,
    ID,
    ID2,
    LEVELS_PER_PACK,
    META,
    QUOTE,
    REJOINED,
    RESYNCING,
    SNAPSHOT,
    SYNCED,
    TRADE,
    WORDS,
    A,
    B,
    C,
    D,
)
from foreshock.market.touch import (
    ASK_LOTS,
    ASK_TICKS,
    BID_LOTS,
    BID_TICKS,
    OFI1,
    OFI_LEVELS,
    TOUCH_WORDS,
    VALID,
)
from foreshock.market.words import count_of, flags_of, kind_of, symbol_of

WINDOW: Final = 32_768  # 16,384 ticks a side
MASK: Final = WINDOW - 1
BITMAP_WORDS: Final = WINDOW // 64
MARGIN: Final = WINDOW // 4
RANGE_GUARD: Final = 16  # ticks between the touch and the edge of what is known before we ask again

BID, ASK = 0, 1

# Columns of Ladder.info, int64.
(
    I_STATE,  # RESYNCING | SYNCED | STALE
    I_EPOCH,
    I_LOW,  # first tick of the window
    I_KNOWN_LOW,  # bids are complete from here up
    I_KNOWN_HIGH,  # asks are complete up to here
    I_BEST_BID,  # ticks, 0 where there is none
    I_BEST_ASK,
    I_DEPTH_ID,  # last update id of the ladder
    I_QUOTE_ID,  # last update id of the touch
    I_FRESH,  # 1 until the first OFI reference of this epoch is taken
    I_RANGE_ALARM,
    I_CROSSED,  # 1 once a depth frame left the book crossed in this epoch
    I_APPLIED,  # market rows applied since the start
    I_LAST_ARRIVAL,  # arrival_ns of the last book row applied
    I_GUARD,  # ticks to the edge of what is known below which I_NARROW is set
    I_NARROW,
) = range(16)
INFO_WORDS: Final = 16


class Ladder(NamedTuple):
    """Books of n symbols. All arrays int64 unless said otherwise.

    lots (n, 2, WINDOW)     size at each tick, bids and asks
    bits (n, 2, WINDOW/64)  uint64 bitmap of non-empty ticks
    top  (n, 2, 5, 2)       five best levels (ticks, lots) after the last book row; 0 = none
    touch (n, 4)            bid_ticks, bid_lots, ask_ticks, ask_lots; quotes included
    info (n, INFO_WORDS)
    scratch (2, 5, 2)       room for one reading of the top
    """

    lots: NDArray[np.int64]
    bits: NDArray[np.uint64]
    top: NDArray[np.int64]
    touch: NDArray[np.int64]
    info: NDArray[np.int64]
    scratch: NDArray[np.int64]


def init(n_symbols: int) -> Ladder:
    """Empty books, RESYNCING, epoch 0."""
    return Ladder(
        np.zeros((n_symbols, 2, WINDOW), np.int64),
        np.zeros((n_symbols, 2, BITMAP_WORDS), np.uint64),
        np.zeros((n_symbols, 2, OFI_LEVELS, 2), np.int64),
        np.zeros((n_symbols, 4), np.int64),
        np.zeros((n_symbols, INFO_WORDS), np.int64),
        np.zeros((2, OFI_LEVELS, 2), np.int64),
    )


def empty_touch(n: int) -> NDArray[np.int64]:
    """Room for the touch records of n rows, int64 (n, 10)."""
    return np.zeros((n, TOUCH_WORDS), np.int64)


_DEBRUIJN: Final = np.uint64(0x03F79D71B4CB0A89)
_INDEX64: Final = np.zeros(64, np.int64)
for _i in range(64):
    _INDEX64[((int(_DEBRUIJN) << _i) & 0xFFFFFFFFFFFFFFFF) >> 58] = _i


@in_place
def _lowest_bit(word: np.uint64) -> int:
    isolated = word & (~word + np.uint64(1))
    return int(_INDEX64[(isolated * _DEBRUIJN) >> np.uint64(58)])


@in_place
def _highest_bit(word: np.uint64) -> int:
    word |= word >> np.uint64(1)
    word |= word >> np.uint64(2)
    word |= word >> np.uint64(4)
    word |= word >> np.uint64(8)
    word |= word >> np.uint64(16)
    word |= word >> np.uint64(32)
    return int(_INDEX64[((word - (word >> np.uint64(1))) * _DEBRUIJN) >> np.uint64(58)])


@in_place
def next_up(bits: NDArray[np.uint64], ticks: int, stop: int) -> int:
    """The first occupied tick in [ticks, stop), or -1. `bits` is one side of one symbol."""
    while ticks < stop:
        slot = ticks & MASK
        word = bits[slot >> 6] >> np.uint64(slot & 63)
        if word != 0:
            found = ticks + _lowest_bit(word)
            return found if found < stop else -1
        ticks += 64 - (slot & 63)
    return -1


@in_place
def next_down(bits: NDArray[np.uint64], ticks: int, low: int) -> int:
    """The first occupied tick in [low, ticks], downwards, or -1."""
    while ticks >= low:
        slot = ticks & MASK
        word = bits[slot >> 6] << np.uint64(63 - (slot & 63))
        if word != 0:
            found = ticks - (63 - _highest_bit(word))
            return found if found >= low else -1
        ticks -= (slot & 63) + 1
    return -1


@in_place
def _put(
    lots: NDArray[np.int64], bits: NDArray[np.uint64], info: NDArray[np.int64], side: int,
    ticks: int, size: int,
) -> None:  # fmt: skip
    """Set one level of one side of one symbol and keep that side's best price."""
    low = info[I_LOW]
    if ticks < low or ticks >= low + WINDOW:
        return  # beyond what is kept; known_low and known_high lie inside the window
    slot = ticks & MASK
    lots[slot] = size
    bit = np.uint64(1) << np.uint64(slot & 63)
    if size > 0:
        bits[slot >> 6] |= bit
        if side == BID:
            if ticks > info[I_BEST_BID]:
                info[I_BEST_BID] = ticks
        elif ticks < info[I_BEST_ASK] or info[I_BEST_ASK] == 0:
            info[I_BEST_ASK] = ticks
    else:
        bits[slot >> 6] &= ~bit
        if side == BID:
            if ticks == info[I_BEST_BID]:
                found = next_down(bits, ticks, low)
                info[I_BEST_BID] = found if found > 0 else 0
        elif ticks == info[I_BEST_ASK]:
            found = next_up(bits, ticks, low + WINDOW)
            info[I_BEST_ASK] = found if found > 0 else 0


@in_place
def _clear_levels(ladder: Ladder, s: int) -> None:
    """Forget the ladder, but neither the touch nor the top that order flow is reckoned from."""
    ladder.lots[s] = 0
    ladder.bits[s] = 0
    info = ladder.info[s]
    for field in (I_BEST_BID, I_BEST_ASK, I_DEPTH_ID, I_RANGE_ALARM, I_CROSSED, I_NARROW):
        info[field] = 0


@in_place
def _clear(ladder: Ladder, s: int) -> None:
    """Forget everything of a symbol's book."""
    _clear_levels(ladder, s)
    ladder.top[s] = 0
    ladder.touch[s] = 0
    ladder.info[s, I_QUOTE_ID] = 0
    ladder.info[s, I_FRESH] = 1


@in_place
def _slide(ladder: Ladder, s: int) -> None:
    """Move the window so that the touch is MARGIN or more away from both edges. No best price can
    leave by that: both lie in the window, so with the mid near an edge the spread is at most half
    the window."""
    info = ladder.info[s]
    if info[I_BEST_BID] == 0 or info[I_BEST_ASK] == 0:
        return
    low = info[I_LOW]
    mid = (info[I_BEST_BID] + info[I_BEST_ASK]) >> 1
    if mid - low >= MARGIN and low + WINDOW - mid > MARGIN:
        return
    new_low = max(mid - WINDOW // 2, 0) & ~63
    if new_low == low:
        return
    # Clear the slots of ticks that leave; they are the slots of the ticks that enter.
    if new_low > low:
        first, last = low, min(new_low, low + WINDOW)
    else:
        first, last = max(new_low + WINDOW, low), low + WINDOW
    for ticks in range(first, last):
        ladder.lots[s, BID, ticks & MASK] = 0
        ladder.lots[s, ASK, ticks & MASK] = 0
    for word in range(first >> 6, last >> 6):
        ladder.bits[s, BID, word & (BITMAP_WORDS - 1)] = 0
        ladder.bits[s, ASK, word & (BITMAP_WORDS - 1)] = 0
    info[I_LOW] = new_low
    # Both sides lose what left, and never knew what enters.
    info[I_KNOWN_LOW] = max(info[I_KNOWN_LOW], new_low, low)
    info[I_KNOWN_HIGH] = min(info[I_KNOWN_HIGH], new_low + WINDOW - 1, low + WINDOW - 1)


@in_place
def _read_top(ladder: Ladder, s: int, new: NDArray[np.int64]) -> None:
    """The five best levels of both sides into `new` (2, 5, 2); zeros where there are fewer."""
    info = ladder.info[s]
    low = info[I_LOW]
    ticks = info[I_BEST_BID]
    for k in range(OFI_LEVELS):
        if ticks > 0:
            new[BID, k, 0], new[BID, k, 1] = ticks, ladder.lots[s, BID, ticks & MASK]
            ticks = next_down(ladder.bits[s, BID], ticks - 1, low) if k < OFI_LEVELS - 1 else 0
        else:
            new[BID, k, 0], new[BID, k, 1] = 0, 0
    ticks = info[I_BEST_ASK]
    for k in range(OFI_LEVELS):
        if ticks > 0:
            new[ASK, k, 0], new[ASK, k, 1] = ticks, ladder.lots[s, ASK, ticks & MASK]
            if k < OFI_LEVELS - 1:
                ticks = next_up(ladder.bits[s, ASK], ticks + 1, low + WINDOW)
        else:
            new[ASK, k, 0], new[ASK, k, 1] = 0, 0


@in_place
def _flow(
    old_bid: int, old_bid_lots: int, old_ask: int, old_ask_lots: int,
    bid: int, bid_lots: int, ask: int, ask_lots: int,
) -> int:  # fmt: skip
    """One level's order-flow-imbalance contribution e_n (Cont, Kukanov, Stoikov 2014, eq. 4)."""
    e = 0
    if old_bid > 0 and bid > 0:
        if bid >= old_bid:
            e += bid_lots
        if bid <= old_bid:
            e -= old_bid_lots
    if old_ask > 0 and ask > 0:
        if ask <= old_ask:
            e -= ask_lots
        if ask >= old_ask:
            e += old_ask_lots
    return e


@in_place
def _apply_levels(words: NDArray[np.int64], i: int, ladder: Ladder, s: int) -> None:
    n_bids, n_asks = words[i, B], words[i, C]
    info = ladder.info[s]
    lots, bits = ladder.lots[s, BID], ladder.bits[s, BID]
    row, column = i + 1, 0
    for k in range(n_bids + n_asks):
        if k == n_bids:
            lots, bits = ladder.lots[s, ASK], ladder.bits[s, ASK]
        side = BID if k < n_bids else ASK
        _put(lots, bits, info, side, words[row, column], words[row, column + 1])
        column += 2
        if column == WORDS:
            row, column = row + 1, 0


@in_place
def _level_ticks(words: NDArray[np.int64], i: int, k: int) -> int:
    """Ticks of level k behind the header at i."""
    return int(words[i + 1 + k // LEVELS_PER_PACK, 2 * (k % LEVELS_PER_PACK)])


@in_place
def _load_snapshot(words: NDArray[np.int64], i: int, ladder: Ladder, s: int) -> None:
    info = ladder.info[s]
    if info[I_STATE] == RESYNCING:
        _clear(ladder, s)
    else:
        _clear_levels(ladder, s)
    n_bids, n_asks = words[i, B], words[i, C]
    info[I_DEPTH_ID] = words[i, ID]
    if n_bids == 0 or n_asks == 0:
        return
    # Levels come best first, as the venue sends them.
    mid = (_level_ticks(words, i, 0) + _level_ticks(words, i, n_bids)) >> 1
    low = max(mid - WINDOW // 2, 0) & ~63
    info[I_LOW] = low
    # Fewer levels than were asked for: the venue has shown the whole side.
    asked = words[i, D]
    info[I_KNOWN_LOW] = low
    info[I_KNOWN_HIGH] = low + WINDOW - 1
    if n_bids + words[i, ID2] >= asked:
        info[I_KNOWN_LOW] = max(_level_ticks(words, i, n_bids - 1), low)
    if n_asks + words[i, A] >= asked:
        info[I_KNOWN_HIGH] = min(_level_ticks(words, i, n_bids + n_asks - 1), low + WINDOW - 1)
    reach = min(mid - info[I_KNOWN_LOW], info[I_KNOWN_HIGH] - mid)
    info[I_GUARD] = max(reach // 4, 2 * RANGE_GUARD)
    _apply_levels(words, i, ladder, s)


@in_place
def _watch_range(info: NDArray[np.int64]) -> None:
    """Say how far the touch is from the edge of what is known."""
    bid, ask = info[I_BEST_BID], info[I_BEST_ASK]
    below = bid - info[I_KNOWN_LOW]
    if info[I_KNOWN_LOW] <= 0:
        below = WINDOW  # a price cannot fall below nothing
    nearest = min(below, info[I_KNOWN_HIGH] - ask)
    if bid == 0 or ask == 0 or nearest < RANGE_GUARD:
        info[I_RANGE_ALARM] = 1
    elif nearest < info[I_GUARD]:
        info[I_NARROW] = 1


@in_place
def step(words: NDArray[np.int64], i: int, ladder: Ladder, touch: NDArray[np.int64]) -> None:
    """Advance the book of one header row and write its touch record."""
    scratch = ladder.scratch
    meta = words[i, META]
    kind = kind_of(meta)
    s = symbol_of(meta)
    touch[i, :] = 0
    if s < 0 or s >= ladder.info.shape[0]:
        return
    info = ladder.info[s]
    moved = False
    rebuilt = kind == SNAPSHOT or (kind == DEPTH and flags_of(meta) & REJOINED != 0)
    if kind == DEPTH:
        info[I_APPLIED] += 1
        if flags_of(meta) & HELD == 0:
            _apply_levels(words, i, ladder, s)
            info[I_DEPTH_ID] = words[i, ID]
            _slide(ladder, s)
            moved = True
    elif kind == SNAPSHOT:
        _load_snapshot(words, i, ladder, s)
        moved = True
    elif kind == QUOTE:
        info[I_APPLIED] += 1
        if info[I_STATE] == SYNCED and words[i, ID] > info[I_QUOTE_ID]:
            info[I_QUOTE_ID] = words[i, ID]
            if info[I_FRESH] == 0:
                old = ladder.touch[s]
                touch[i, OFI1] = _flow(
                    old[0], old[1], old[2], old[3],
                    words[i, A], words[i, B], words[i, C], words[i, D],
                )  # fmt: skip
            for k in range(4):
                ladder.touch[s, k] = words[i, A + k]
            info[I_LAST_ARRIVAL] = words[i, ARRIVAL]
    elif kind == EPOCH:
        if words[i, C] == BOOK:
            if words[i, A] == RESYNCING:
                _clear(ladder, s)
            info[I_STATE] = words[i, A]
            info[I_EPOCH] = words[i, B]
    elif kind == TRADE:
        info[I_APPLIED] += 1
    if moved:
        info[I_LAST_ARRIVAL] = words[i, ARRIVAL]
        _read_top(ladder, s, scratch)
        newer = info[I_DEPTH_ID] >= info[I_QUOTE_ID]
        if info[I_FRESH] == 0 and info[I_STATE] == SYNCED and not rebuilt:
            for k in range(1 - int(newer), OFI_LEVELS):
                if k == 0:
                    old = ladder.touch[s]
                    e = _flow(old[0], old[1], old[2], old[3], scratch[0, 0, 0], scratch[0, 0, 1],
                              scratch[1, 0, 0], scratch[1, 0, 1])  # fmt: skip
                else:
                    top = ladder.top[s]
                    e = _flow(top[0, k, 0], top[0, k, 1], top[1, k, 0], top[1, k, 1],
                              scratch[0, k, 0], scratch[0, k, 1],
                              scratch[1, k, 0], scratch[1, k, 1])  # fmt: skip
                touch[i, OFI1 + k] = e
        info[I_FRESH] = 0
        for side in range(2):
            for k in range(OFI_LEVELS):
                ladder.top[s, side, k, 0] = scratch[side, k, 0]
                ladder.top[s, side, k, 1] = scratch[side, k, 1]
        if newer:
            info[I_QUOTE_ID] = info[I_DEPTH_ID]
            ladder.touch[s, 0], ladder.touch[s, 1] = scratch[0, 0, 0], scratch[0, 0, 1]
            ladder.touch[s, 2], ladder.touch[s, 3] = scratch[1, 0, 0], scratch[1, 0, 1]
        bid, ask = info[I_BEST_BID], info[I_BEST_ASK]
        if bid > 0 and ask > 0 and bid >= ask:
            info[I_CROSSED] = 1
        _watch_range(info)
    good = ladder.touch[s]
    if info[I_STATE] == SYNCED and not rebuilt and good[0] > 0 and good[2] > good[0]:
        touch[i, VALID] = 1
        touch[i, BID_TICKS], touch[i, BID_LOTS] = good[0], good[1]
        touch[i, ASK_TICKS], touch[i, ASK_LOTS] = good[2], good[3]


@in_place_kernel
def scan(
    words: NDArray[np.int64], touch: NDArray[np.int64], lo: int, hi: int, boundary_ns: int,
    ladder: Ladder,
) -> int:  # fmt: skip
    """Advance over header rows from `lo` while arrival_ns < boundary_ns; returns where it stopped
    (the index of the first row that belongs behind the boundary, or `hi`). Touch records of the
    rows passed are written to `touch` (same indices)."""
    i = lo
    while i < hi:
        if words[i, ARRIVAL] >= boundary_ns:
            return i
        step(words, i, ladder, touch)
        i += 1 + count_of(words[i, META])
    return i


@in_place_kernel
def notional_within(ladder: Ladder, s: int, side: int, distance_ticks: int) -> int:
    """Sum of ticks × lots on one side within `distance_ticks` of that side's best ladder price."""
    info = ladder.info[s]
    low = info[I_LOW]
    total = 0
    if side == BID:
        ticks = info[I_BEST_BID]
        stop = max(ticks - distance_ticks, low)
        while ticks > 0 and ticks >= stop:
            total += ticks * ladder.lots[s, BID, ticks & MASK]
            ticks = next_down(ladder.bits[s, BID], ticks - 1, stop)
    else:
        ticks = info[I_BEST_ASK]
        stop = min(ticks + distance_ticks + 1, low + WINDOW)
        while ticks > 0 and ticks < stop:
            total += ticks * ladder.lots[s, ASK, ticks & MASK]
            ticks = next_up(ladder.bits[s, ASK], ticks + 1, stop)
    return total


def levels(ladder: Ladder, s: int, side: int) -> NDArray[np.int64]:
    """All levels of one side, best first, (k, 2) ticks and lots. For tests, tools and readers."""
    low = int(ladder.info[s, I_LOW])
    window = np.arange(low, low + WINDOW)
    sizes = ladder.lots[s, side][window & MASK]
    found: NDArray[np.int64] = np.column_stack([window, sizes])[sizes > 0]
    return found[::-1] if side == BID else found
