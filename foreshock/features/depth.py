"""Depth: the touch, the five levels behind it, and what presses on them (book).

Rows of the book bring a touch record (market/touch.py) with what they did to the order flow; the
ladder itself is seen at the boundary only, as `top`. The touch may be newer than the ladder's first
level, because quotes come more often than depth: level 1 is read from the last valid touch.
Trades count for their last price alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log, log1p, sqrt
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from foreshock.features.depth_specs import DepthSettings, specs
from foreshock.features.family import integers, positions
from foreshock.market.instruments import Instrument
from foreshock.market.jit import in_place, in_place_kernel
from foreshock.market.ladder import Ladder
from foreshock.market.rings import (
    SLOTS,
    close_bucket,
    empty_ring,
    empty_sums,
    forget,
    open_bucket,
    slot_after,
    slot_before,
)
from foreshock.market.rows import (
    BOOK,
    DEPTH,
    EPOCH,
    META,
    QUOTE,
    SNAPSHOT,
    SYNCED,
    TAPE,
    TRADE,
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

__all__ = ["DepthSettings", "Params", "State", "close", "init", "scan", "specs", "step"]

# Quantities of a bucket: order flow at levels 1 to 5, both sides' lots sampled once a step, at its
# close, and what the book's rows did to the touch.
(
    OFI, _2, _3, _4, _5, TOUCH_LOTS, TOUCH_SAMPLES, TOP_LOTS, TOP_SAMPLES,
    UPDATES, CHANGES, UPS, DOWNS,
) = range(13)  # fmt: skip
QUANTITIES: Final = 13
# Samples of a close, floats; NaN where not known.
SPREAD, DEPTH_LN, BID_LN, ASK_LN, SQUARE, QUEUE = range(6)
SAMPLES: Final = 6


class Params(NamedTuple):
    """Windows in seconds; of those of buckets, where in `windows_s` each feature finds its own."""

    windows_s: NDArray[np.int64]
    levels: NDArray[np.int64]
    ofi: NDArray[np.int64]
    mlofi: NDArray[np.int64]
    level_ofi: NDArray[np.int64]
    moves: NDArray[np.int64]
    updates: NDArray[np.int64]
    changes: NDArray[np.int64]
    queue_s: NDArray[np.int64]
    returns_s: NDArray[np.int64]
    volatility_s: NDArray[np.int64]
    spread_s: NDArray[np.int64]
    zscores_s: NDArray[np.int64]


class State(NamedTuple):
    """All symbols' depth; n symbols. Arrays are written in place by `step` and `close`."""

    params: Params
    ring: NDArray[np.int64]  # (n, SLOTS, 13)
    sums: NDArray[np.int64]  # (n, windows, 13)
    samples: NDArray[np.float64]  # (n, SLOTS, 6), slot by slot beside the ring
    mids: NDArray[np.int64]  # (n, SLOTS) twice the mid in ticks at the close, 0 unknown
    head: NDArray[np.int64]  # (n,)
    touch: NDArray[np.int64]  # (n, 5), VALID … ASK_LOTS of the last valid touch; zeros before
    last_ticks: NDArray[np.int64]  # (n,) of the tape, 0 before the first trade of its epoch
    epochs: NDArray[np.int64]  # (n, 2) of book and tape, −1 before the first


def init(instruments: Sequence[Instrument], settings: DepthSettings) -> State:
    """A cold state."""
    n, windows = len(instruments), settings.windows_s()
    return State(
        params=Params(
            windows_s=integers(windows),
            levels=integers(settings.levels),
            ofi=positions(settings.ofi_s, windows),
            mlofi=positions(settings.mlofi_s, windows),
            level_ofi=positions(settings.level_ofi_s, windows),
            moves=positions(settings.moves_s, windows),
            updates=positions(settings.updates_s, windows),
            changes=positions(settings.changes_s, windows),
            queue_s=integers(settings.queue_s),
            returns_s=integers(settings.returns_s),
            volatility_s=integers(settings.volatility_s),
            spread_s=integers(settings.spread_s),
            zscores_s=integers(settings.zscores_s),
        ),
        ring=empty_ring(n, QUANTITIES),
        sums=empty_sums(n, len(windows), QUANTITIES),
        samples=np.full((n, SLOTS, SAMPLES), np.nan),
        mids=np.zeros((n, SLOTS), np.int64),
        head=np.zeros(n, np.int64),
        touch=np.zeros((n, 5), np.int64),
        last_ticks=np.zeros(n, np.int64),
        epochs=np.full((n, 2), -1, np.int64),
    )


@in_place
def _reset(symbol: int, state: State) -> None:
    """Forget the book."""
    forget(state.ring, state.sums, symbol)
    for slot in range(SLOTS):
        state.mids[symbol, slot] = 0
        for q in range(SAMPLES):
            state.samples[symbol, slot, q] = np.nan
    for k in range(5):
        state.touch[symbol, k] = 0


@in_place
def _epoch(words: Words, i: int, symbol: int, state: State) -> None:
    family = words[i, C]
    if family != BOOK and family != TAPE:
        return
    if words[i, A] != SYNCED or words[i, B] != state.epochs[symbol, family]:
        if family == BOOK:
            _reset(symbol, state)
        else:
            state.last_ticks[symbol] = 0
    state.epochs[symbol, family] = words[i, B]


@in_place
def _moved(seen: NDArray[np.int64], old: NDArray[np.int64], bucket: NDArray[np.int64]) -> None:
    """Count what a row of the book did to the touch: `seen` is its record, `old` the one before."""
    bucket[UPDATES] += 1
    if old[VALID] == 0:
        return
    for k in range(BID_TICKS, ASK_LOTS + 1):
        if seen[k] != old[k]:
            bucket[CHANGES] += 1
            break
    up = seen[BID_TICKS] + seen[ASK_TICKS] - old[BID_TICKS] - old[ASK_TICKS]
    if up > 0:
        bucket[UPS] += 1
    elif up < 0:
        bucket[DOWNS] += 1


@in_place
def step(words: Words, touch: NDArray[np.int64], i: int, state: State) -> None:
    """Advance by the header row `i` of `words`, int64 (n, 10), whose touch record is `touch[i]`.
    Rows of ALL and of kinds that cannot change book or last price change nothing."""
    meta = words[i, META]
    kind = kind_of(meta)
    if kind != TRADE and kind != QUOTE and kind != DEPTH and kind != SNAPSHOT and kind != EPOCH:
        return
    symbol = symbol_of(meta)
    if symbol < 0 or symbol >= state.head.shape[0]:
        return
    if kind == TRADE:
        if words[i, A] > 0 and words[i, B] > 0:
            state.last_ticks[symbol] = words[i, A]
        return
    if kind == EPOCH:
        _epoch(words, i, symbol, state)
        if words[i, C] != BOOK:
            return
    if touch[i, VALID] == 0:
        return
    bucket = state.ring[symbol, state.head[symbol]]
    if kind != EPOCH:
        _moved(touch[i], state.touch[symbol], bucket)
    for k in range(5):
        state.touch[symbol, k] = touch[i, k]
        bucket[OFI + k] += touch[i, OFI1 + k]


@in_place_kernel
def scan(words: Words, touch: NDArray[np.int64], lo: int, hi: int, state: State) -> None:
    """Advance by the rows lo <= i < hi; `lo` must be a header row."""
    i = lo
    while i < hi:
        step(words, touch, i, state)
        i += 1 + count_of(words[i, META])


@in_place
def _sample(s: int, ladder: Ladder, state: State, out: NDArray[np.float64]) -> int:
    """Take the samples of the close and write what is of this moment; the next column."""
    head, best, top, levels = state.head[s], state.touch[s], ladder.top[s], state.params.levels
    bucket, samples, k = state.ring[s, head], state.samples[s, head], 2
    for q in range(SAMPLES):
        samples[q] = np.nan
    state.mids[s, head] = 0
    after = 2 + len(levels) + 3
    if best[VALID] == 0:
        return after
    lots = best[BID_LOTS] + best[ASK_LOTS]
    more_bid = best[BID_LOTS] - best[ASK_LOTS]
    spread = best[ASK_TICKS] - best[BID_TICKS]
    twice_mid = best[ASK_TICKS] + best[BID_TICKS]
    before = state.mids[s, slot_before(head, 1)]
    bucket[TOUCH_LOTS] = lots
    bucket[TOUCH_SAMPLES] = 1
    state.mids[s, head] = twice_mid
    samples[SPREAD] = spread
    samples[QUEUE] = more_bid / lots
    if before > 0:
        r = log(twice_mid / before) if twice_mid != before else 0.0
        samples[SQUARE] = r * r
    out[0] = 1e4 * ((2 * spread) / twice_mid)
    out[1] = more_bid / lots
    # weighted mid − mid = spread / 2 · queue imbalance
    out[after - 3] = 1e4 * ((spread / twice_mid) * (more_bid / lots))
    if state.last_ticks[s] > 0:
        out[after - 1] = 1e4 * ((2 * state.last_ticks[s] - twice_mid) / twice_mid)

    bid_lots, ask_lots, bid_sum, ask_sum = 0, 0, 0.0, 0.0
    for level in range(OFI_LEVELS):
        bid_lots += top[0, level, 1]
        ask_lots += top[1, level, 1]
        bid_sum += float(top[0, level, 0]) * top[0, level, 1]
        ask_sum += float(top[1, level, 0]) * top[1, level, 1]
        if k - 2 < len(levels) and levels[k - 2] == level + 1:
            if bid_lots > 0 and ask_lots > 0:
                out[k] = (bid_lots - ask_lots) / (bid_lots + ask_lots)
            k += 1
    if bid_lots > 0 and ask_lots > 0:
        both = bid_lots + ask_lots
        bucket[TOP_LOTS] = both
        bucket[TOP_SAMPLES] = 1
        samples[DEPTH_LN] = log(both)
        samples[BID_LN] = log(bid_lots)
        samples[ASK_LN] = log(ask_lots)
        weighted = (bid_sum / bid_lots * ask_lots + ask_sum / ask_lots * bid_lots) / both
        out[after - 2] = 1e4 * ((2.0 * weighted - twice_mid) / twice_mid)
    return after


@in_place
def _order_flow(
    params: Params, sums: NDArray[np.int64], out: NDArray[np.float64], k: int
) -> int:  # fmt: skip
    """Order flow over its mean depth, in the windows; the next column."""
    for w in params.ofi:
        if sums[w, TOUCH_SAMPLES] > 0:
            out[k] = (2 * sums[w, OFI] * sums[w, TOUCH_SAMPLES]) / sums[w, TOUCH_LOTS]
        k += 1
    for w in params.mlofi:
        if sums[w, TOP_SAMPLES] > 0:
            deep = 0
            for level in range(OFI_LEVELS):
                deep += sums[w, OFI + level]
            out[k] = (2 * deep * sums[w, TOP_SAMPLES]) / sums[w, TOP_LOTS]
        k += 1
    for level in range(1, OFI_LEVELS):
        for w in params.level_ofi:
            if sums[w, TOP_SAMPLES] > 0:
                scaled = 2 * OFI_LEVELS * sums[w, OFI + level] * sums[w, TOP_SAMPLES]
                out[k] = scaled / sums[w, TOP_LOTS]
            k += 1
    return k


@in_place
def _sum_of(samples: NDArray[np.float64], head: int, window_s: int, q: int) -> float:
    """Over the window's closes, oldest first; NaN where one of them is not known."""
    total, slot = 0.0, slot_before(head, window_s - 1)
    for _ in range(window_s):
        total += samples[slot, q]
        slot = slot_after(slot)
    return total


@in_place
def _mids(s: int, state: State, head: int, out: NDArray[np.float64], k: int) -> int:
    """Queue imbalance, returns and volatility by the closes; the next column."""
    params, samples, mids = state.params, state.samples[s], state.mids[s]
    for w in params.queue_s:
        out[k] = _sum_of(samples, head, w, QUEUE) / w
        k += 1
    for w in params.returns_s:
        before = mids[slot_before(head, w)]
        if mids[head] > 0 and before > 0:
            out[k] = 1e4 * ((mids[head] - before) / before)
        k += 1
    for w in params.volatility_s:
        out[k] = 1e4 * sqrt(_sum_of(samples, head, w, SQUARE) / w)
        k += 1
    return k


@in_place
def _rates(
    params: Params, sums: NDArray[np.int64], out: NDArray[np.float64], k: int
) -> int:  # fmt: skip
    """What the rows of the book did, in the windows; the next column."""
    for w in params.moves:
        moves = sums[w, UPS] + sums[w, DOWNS]
        if moves > 0:
            out[k] = (sums[w, UPS] - sums[w, DOWNS]) / moves
        k += 1
    for w in params.updates:
        out[k] = log1p(sums[w, UPDATES] / params.windows_s[w])
        k += 1
    for w in params.changes:
        if sums[w, UPDATES] > 0:
            out[k] = sums[w, CHANGES] / sums[w, UPDATES]
        k += 1
    return k


@in_place
def _zscore(total: float, squares: float, n: int) -> float:
    """Of the sample that the n distances are taken from; NaN where all are the same."""
    mean = total / n
    variance = squares / n - mean * mean
    return -mean / sqrt(variance) if variance > 0.0 else np.nan


@in_place
def _moments(s: int, state: State, head: int, out: NDArray[np.float64], k: int) -> None:
    """Mean and deviation of the spread, and z-scores. Distances are taken from the newest sample,
    so that a quantity that never changed has a deviation of exactly zero."""
    params, samples, twice_mid = state.params, state.samples[s], state.mids[s, head]
    spreads = len(params.spread_s)
    for w in params.spread_s:
        now, total, squares, slot = samples[head, SPREAD], 0.0, 0.0, slot_before(head, w - 1)
        for _ in range(w):
            d = samples[slot, SPREAD] - now
            total += d
            squares += d * d
            slot = slot_after(slot)
        mean = total / w
        out[k] = 2e4 * ((now + mean) / twice_mid)
        out[k + spreads] = 2e4 * (sqrt(max(squares / w - mean * mean, 0.0)) / twice_mid)
        k += 1
    k += spreads
    for w in params.zscores_s:
        slot = slot_before(head, w - 1)
        now0, now1, now2, now3 = (
            samples[head, 0],
            samples[head, 1],
            samples[head, 2],
            samples[head, 3],
        )
        a0, a1, a2, a3, b0, b1, b2, b3 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
        for _ in range(w):  # eight sums at once: one after the other they wait for each other
            d0, d1 = samples[slot, 0] - now0, samples[slot, 1] - now1
            d2, d3 = samples[slot, 2] - now2, samples[slot, 3] - now3
            a0, a1, a2, a3 = a0 + d0, a1 + d1, a2 + d2, a3 + d3
            b0, b1, b2, b3 = b0 + d0 * d0, b1 + d1 * d1, b2 + d2 * d2, b3 + d3 * d3
            slot = slot_after(slot)
        out[k] = _zscore(a0, b0, w)
        out[k + 1] = _zscore(a1, b1, w)
        out[k + 2] = _zscore(a2, b2, w)
        out[k + 3] = _zscore(a3, b3, w)
        k += 4


@in_place_kernel
def close(boundary_ns: int, ladder: Ladder, state: State, out: NDArray[np.float64]) -> None:
    """Write the features of every symbol at `boundary_ns` into `out`, float64 (n, k), and open the
    next step. The ladder stands at the boundary."""
    params = state.params
    for s in range(out.shape[0]):
        out[s, :] = np.nan
        head = state.head[s]
        k = _sample(s, ladder, state, out[s])
        close_bucket(state.ring, state.sums, params.windows_s, s, head)
        state.head[s] = open_bucket(state.ring, s, head)
        known = state.touch[s, VALID] != 0
        k = _order_flow(params, state.sums[s], out[s], k)
        if known:
            k = _mids(s, state, head, out[s], k)
            k = _rates(params, state.sums[s], out[s], k)
            _moments(s, state, head, out[s], k)
