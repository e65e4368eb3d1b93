"""Depth: the touch, the five levels behind it, and what presses on them (book).

Rows of the book bring a touch record (market/touch.py) with what they did to the order flow; the
ladder itself is seen at the boundary only, as `top`. The touch may be newer than the ladder's first
level, because quotes come more often than depth: level 1 is read from the last valid touch.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from foreshock.features.vector import FeatureSpec
from foreshock.market.jit import in_place, in_place_kernel
from foreshock.market.rings import (
    close_bucket,
    empty_ring,
    empty_sums,
    forget,
    open_bucket,
)
from foreshock.market.rows import (
    BOOK,
    DEPTH,
    EPOCH,
    META,
    QUOTE,
    SNAPSHOT,
    SYNCED,
    A,
    B,
    C,
    Words,
)
from foreshock.market.touch import (
    ASK_LOTS,
    ASK_TICKS,
    BID_LOTS,
    BID_TICKS,
    OFI1,
    OFI_LEVELS,
    VALID,
)
from foreshock.market.words import count_of, kind_of, symbol_of

# Quantities of a bucket. Both sides' lots are sampled once a step, at its close.
OFI, OFI_DEEP, TOUCH_LOTS, TOUCH_SAMPLES, TOP_LOTS, TOP_SAMPLES = range(6)
WINDOWS_S: Final = (10,)
W10 = 0


def _spec(
    name: str, formula: str, warmup_s: int, nan_rule: str, source: str, unit: str = "1"
) -> FeatureSpec:
    return FeatureSpec(name, "depth", formula, unit, "book", warmup_s, nan_rule, source)


_NO_TOUCH = "no touch in this epoch"
_OFI = "Cont, Kukanov, Stoikov 2014, The price impact of order book events"

SPECS: Final = (
    _spec("spread_bps", "10⁴ · (ask − bid) / mid", 1, _NO_TOUCH, "definition", unit="bps"),
    _spec(
        "queue_imbalance",
        "(bid lots − ask lots) / (bid lots + ask lots) at the touch",
        1,
        _NO_TOUCH,
        "Gould, Bonart 2016, Queue imbalance as a one-tick-ahead price predictor",
    ),
    _spec(
        "depth_imbalance_5",
        "(Σ bid lots − Σ ask lots) / (Σ bid lots + Σ ask lots) over the ladder's best five levels",
        1,
        "no touch in this epoch, or an empty ladder",
        "Cao, Hansch, Wang 2009, The information content of an open limit-order book",
    ),
    _spec(
        "microprice_deviation_bps",
        "10⁴ · (weighted mid − mid) / mid, weighted mid = (bid · ask lots + ask · bid lots) / "
        "(bid lots + ask lots), the first-order microprice",
        1,
        _NO_TOUCH,
        "Stoikov 2018, The micro-price: a high-frequency estimator of future prices",
        unit="bps",
    ),
    _spec(
        "ofi_10s",
        "Σ order-flow imbalance at the touch over 10 s / mean lots of a side of the touch, sampled "
        "at the closes of the same 10 s",
        10,
        "no touch at any of the closes",
        _OFI,
    ),
    _spec(
        "mlofi_5_10s",
        "Σ order-flow imbalance of levels 1 to 5 over 10 s / mean lots of a side of the best five "
        "levels, sampled at the closes of the same 10 s",
        10,
        "no ladder at any of the closes",
        "Xu, Gould, Howison 2019, Multi-level order-flow imbalance in a limit order book",
    ),
)


class State(NamedTuple):
    """All symbols' depth; n symbols. Arrays are written in place by `step` and `close`."""

    ring: NDArray[np.int64]  # (n, SLOTS, 6)
    sums: NDArray[np.int64]  # (n, 1, 6)
    head: NDArray[np.int64]  # (n,)
    touch: NDArray[np.int64]  # (n, 5), VALID … ASK_LOTS of the last valid touch; zeros before
    epoch: NDArray[np.int64]  # (n,), −1 before the first


def init(n_symbols: int) -> State:
    """A cold state of `n_symbols` symbols."""
    return State(
        ring=empty_ring(n_symbols, 6),
        sums=empty_sums(n_symbols, len(WINDOWS_S), 6),
        head=np.zeros(n_symbols, np.int64),
        touch=np.zeros((n_symbols, 5), np.int64),
        epoch=np.full(n_symbols, -1, np.int64),
    )


@in_place
def step(words: Words, touch: NDArray[np.int64], i: int, state: State) -> None:
    """Advance by the header row `i` of `words`, int64 (n, 10), whose touch record is `touch[i]`.
    Rows of ALL, of the tape and of kinds that cannot change the book change nothing."""
    meta = words[i, META]
    kind = kind_of(meta)
    if kind != QUOTE and kind != DEPTH and kind != SNAPSHOT and kind != EPOCH:
        return
    symbol = symbol_of(meta)
    if symbol < 0 or symbol >= state.head.shape[0]:
        return
    if kind == EPOCH:
        if words[i, C] != BOOK:
            return
        if words[i, A] != SYNCED or words[i, B] != state.epoch[symbol]:
            forget(state.ring, state.sums, symbol)
            for k in range(5):
                state.touch[symbol, k] = 0
        state.epoch[symbol] = words[i, B]
    if touch[i, VALID] == 0:
        return
    for k in range(5):
        state.touch[symbol, k] = touch[i, k]
    deep = 0
    for k in range(OFI_LEVELS):
        deep += touch[i, OFI1 + k]
    head = state.head[symbol]
    state.ring[symbol, head, OFI] += touch[i, OFI1]
    state.ring[symbol, head, OFI_DEEP] += deep


@in_place_kernel
def scan(words: Words, touch: NDArray[np.int64], lo: int, hi: int, state: State) -> None:
    """Advance by the rows lo <= i < hi; `lo` must be a header row."""
    i = lo
    while i < hi:
        step(words, touch, i, state)
        i += 1 + count_of(words[i, META])


@in_place_kernel
def close(boundary_ns: int, top: NDArray[np.int64], state: State, out: NDArray[np.float64]) -> None:
    """Write the features of every symbol at `boundary_ns` into `out`, float64 (n, 6), and open the
    next step. `top` is the ladder's best five levels, int64 (n, 2, 5, 2): bid and ask side, best
    first, ticks and lots, zeros where there is no level."""
    for s in range(out.shape[0]):
        out[s, :] = np.nan
        head = state.head[s]
        best = state.touch[s]
        if best[VALID] != 0:
            bucket = state.ring[s, head]
            lots = best[BID_LOTS] + best[ASK_LOTS]
            more_bid = best[BID_LOTS] - best[ASK_LOTS]
            spread = best[ASK_TICKS] - best[BID_TICKS]
            twice_mid = best[ASK_TICKS] + best[BID_TICKS]
            bucket[TOUCH_LOTS] = lots
            bucket[TOUCH_SAMPLES] = 1
            out[s, 0] = 1e4 * ((2 * spread) / twice_mid)
            out[s, 1] = more_bid / lots
            # weighted mid − mid = spread / 2 · queue imbalance
            out[s, 3] = 1e4 * ((spread / twice_mid) * (more_bid / lots))

            bid_lots, ask_lots = 0, 0
            for level in range(top.shape[2]):
                bid_lots += top[s, 0, level, 1]
                ask_lots += top[s, 1, level, 1]
            if bid_lots > 0 and ask_lots > 0:
                bucket[TOP_LOTS] = bid_lots + ask_lots
                bucket[TOP_SAMPLES] = 1
                out[s, 2] = (bid_lots - ask_lots) / (bid_lots + ask_lots)
        close_bucket(state.ring, state.sums, WINDOWS_S, s, head)
        state.head[s] = open_bucket(state.ring, s, head)
        w10 = state.sums[s, W10]
        if w10[TOUCH_SAMPLES] > 0:
            out[s, 4] = (2 * w10[OFI] * w10[TOUCH_SAMPLES]) / w10[TOUCH_LOTS]
        if w10[TOP_SAMPLES] > 0:
            out[s, 5] = (2 * w10[OFI_DEEP] * w10[TOP_SAMPLES]) / w10[TOP_LOTS]
