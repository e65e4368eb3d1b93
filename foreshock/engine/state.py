"""What the engine itself keeps beside the ladder, the families and the pulse: health, ages, bill
inputs."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from foreshock.market.jit import in_place_kernel
from foreshock.market.ladder import (
    ASK,
    BID,
    I_BEST_ASK,
    I_BEST_BID,
    I_STATE,
    Ladder,
    notional_within,
)
from foreshock.market.rows import (
    ALL,
    ARRIVAL,
    BAR,
    BOOK,
    DEPTH,
    EPOCH,
    INSTRUMENT,
    LEVELS_PER_PACK,
    META,
    SEQ,
    SNAPSHOT,
    SYNCED,
    TRADE,
    A,
    B,
    C,
)
from foreshock.market.walk import LADDER_NOTIONALS, walk
from foreshock.market.words import count_of, kind_of, symbol_of

# Columns of health, int64 (n, HEALTH_FIELDS). An age counts the full steps of the present epoch; -1
# until its first boundary, because a window that starts in mid-step is not full.
H_BOOK_STATE, H_BOOK_EPOCH, H_BOOK_AGE, H_TAPE_STATE, H_TAPE_EPOCH, H_TAPE_AGE = range(6)
HEALTH_FIELDS: Final = 6
COLD: Final = -1


class Raw(NamedTuple):
    """Bill inputs at a boundary, (n,) each: ticks × lots, a standard deviation, what the next
    funding payment is and in how many seconds; the mid's moves (n, 2) and the walks (n, g), bps."""

    bid_notional: NDArray[np.int64]
    ask_notional: NDArray[np.int64]
    traded_60s: NDArray[np.int64]
    volatility_1s: NDArray[np.float64]
    funding_rate: NDArray[np.float64]
    funding_in_s: NDArray[np.float64]
    mid_moves_bps: NDArray[np.float64]
    bid_walk_bps: NDArray[np.float64]
    ask_walk_bps: NDArray[np.float64]


def new_raw(n_symbols: int) -> Raw:
    """Room for them."""
    n, sizes = n_symbols, len(LADDER_NOTIONALS)
    return Raw(
        bid_notional=np.zeros(n, np.int64),
        ask_notional=np.zeros(n, np.int64),
        traded_60s=np.zeros(n, np.int64),
        volatility_1s=np.zeros(n),
        funding_rate=np.zeros(n),
        funding_in_s=np.zeros(n),
        mid_moves_bps=np.zeros((n, 2)),
        bid_walk_bps=np.zeros((n, sizes)),
        ask_walk_bps=np.zeros((n, sizes)),
    )


def new_health(n_symbols: int) -> NDArray[np.int64]:
    """Nothing known: RESYNCING, epoch 0, cold."""
    health = np.zeros((n_symbols, HEALTH_FIELDS), np.int64)
    health[:, H_BOOK_AGE] = health[:, H_TAPE_AGE] = COLD
    return health


# What is wrong with a row, as `check_rows` says it; FINE: nothing.
FINE, OUT_OF_ORDER, UNKNOWN_KIND, UNKNOWN_SYMBOL, CUT_OFF, TOO_MANY_LEVELS, NO_PACK = range(7)
WRONG: Final = {
    UNKNOWN_KIND: "has an unknown kind",
    UNKNOWN_SYMBOL: "is of a symbol that this engine does not have",
    CUT_OFF: "announces pack rows beyond the end of the batch",
    TOO_MANY_LEVELS: "announces more levels than its pack rows hold",
    NO_PACK: "is a bar without its one pack row",
}


@in_place_kernel
def check_rows(
    words: NDArray[np.int64], n_symbols: int, next_seq: int, last_ns: int
) -> tuple[int, int]:
    """(index of the last header row, FINE), or (index of the first row that must not be applied,
    why). The order is that of seq, each once, with arrivals that do not run back."""
    i, last = 0, 0
    while i < len(words):
        meta = words[i, META]
        kind = kind_of(meta)
        count = count_of(meta)
        if words[i, SEQ] < next_seq or words[i, ARRIVAL] < last_ns:
            return i, OUT_OF_ORDER
        if kind < TRADE or kind > INSTRUMENT:
            return i, UNKNOWN_KIND
        if symbol_of(meta) < ALL or symbol_of(meta) >= n_symbols:
            return i, UNKNOWN_SYMBOL
        if i + count >= len(words):
            return i, CUT_OFF
        if kind in (DEPTH, SNAPSHOT):
            bids, asks, most = words[i, B], words[i, C], LEVELS_PER_PACK * count
            if bids < 0 or asks < 0 or bids > most or asks > most - bids:
                return i, TOO_MANY_LEVELS
        if kind == BAR and count != 1:
            return i, NO_PACK
        next_seq, last_ns, last = words[i, SEQ] + 1, words[i, ARRIVAL], i
        i += 1 + count
    return last, FINE


@in_place_kernel
def scan_health(
    words: NDArray[np.int64], lo: int, hi: int, health: NDArray[np.int64],
    steps: NDArray[np.int64],
) -> None:  # fmt: skip
    """Follow the EPOCH rows: whatever is not the same SYNCED epoch as before starts cold. Follow
    the INSTRUMENT rows: steps[s], int64 (n, 4), is what ticks and lots are from there on."""
    i = lo
    while i < hi:
        meta = words[i, META]
        s = symbol_of(meta)
        if kind_of(meta) == EPOCH and 0 <= s < health.shape[0]:
            base = H_BOOK_STATE if words[i, C] == BOOK else H_TAPE_STATE
            if words[i, A] != SYNCED or words[i, B] != health[s, base + 1]:
                health[s, base + 2] = COLD
            health[s, base] = words[i, A]
            health[s, base + 1] = words[i, B]
        elif kind_of(meta) == INSTRUMENT and 0 <= s < health.shape[0]:
            for k in range(4):
                steps[s, k] = words[i, A + k]
        i += 1 + count_of(meta)


@in_place_kernel
def grow_older(health: NDArray[np.int64]) -> None:
    """A boundary closed: every SYNCED epoch is a step older."""
    for s in range(health.shape[0]):
        for base in (H_BOOK_STATE, H_TAPE_STATE):
            if health[s, base] == SYNCED:
                health[s, base + 2] += 1


def grow_cold(health: NDArray[np.int64]) -> None:
    """Boundaries were passed over: no window that reaches back over them is full."""
    health[:, [H_BOOK_AGE, H_TAPE_AGE]] = COLD


@in_place_kernel
def read_raw(
    ladder: Ladder, depth_bps: float, money: NDArray[np.float64],
    notionals: NDArray[np.float64], out: Raw,
) -> None:  # fmt: skip
    """Bill inputs that need the deeper ladder, at a boundary. `money` (n,) is quote currency per
    tick · lot, `notionals` those that are walked."""
    for s in range(out.bid_notional.shape[0]):
        out.bid_notional[s] = 0
        out.ask_notional[s] = 0
        for g in range(notionals.shape[0]):
            out.bid_walk_bps[s, g] = np.nan
            out.ask_walk_bps[s, g] = np.nan
        info = ladder.info[s]
        if info[I_STATE] == SYNCED and info[I_BEST_BID] > 0 and info[I_BEST_ASK] > 0:
            reach = int((info[I_BEST_BID] + info[I_BEST_ASK]) * 0.5e-4 * depth_bps)
            out.bid_notional[s] = notional_within(ladder, s, BID, reach)
            out.ask_notional[s] = notional_within(ladder, s, ASK, reach)
            walk(ladder, s, BID, money[s], notionals, out.bid_walk_bps[s])
            walk(ladder, s, ASK, money[s], notionals, out.ask_walk_bps[s])
