"""Resilience: how queues at the touch fill up again, and how depth and spread recover (book).

The touch records tell what was added to and taken from the queue of each side; the tape tells how
much of that was filled. Trades and book come over different streams, so that within a step their
order is not the venue's: the shares of cancels and refills are estimates over a window, and are
NaN while either stream is cold.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from foreshock.features.family import integers, positions
from foreshock.features.resilience_specs import LEAST_CLOSES, ResilienceSettings, specs
from foreshock.market.instruments import Instrument
from foreshock.market.jit import in_place, in_place_kernel
from foreshock.market.ladder import ASK, BID, Ladder
from foreshock.market.rings import close_bucket, empty_ring, empty_sums, forget, open_bucket
from foreshock.market.rows import (
    ARRIVAL,
    BOOK,
    DEPTH,
    EPOCH,
    META,
    QUOTE,
    SELL,
    SNAPSHOT,
    SYNCED,
    TAPE,
    TRADE,
    A,
    B,
    C,
    Words,
)
from foreshock.market.touch import ASK_TICKS, BID_TICKS, OFI_LEVELS, VALID
from foreshock.market.words import count_of, flags_of, kind_of, symbol_of

__all__ = ["Params", "ResilienceSettings", "State", "close", "init", "scan", "specs", "step"]

# Quantities of a bucket of the book, those of the bids first, then of the asks.
ADDED, REMOVED = 0, 2
DEPTH_LOTS, DEPTH_SAMPLES = 4, 6  # of the best five levels, at the closes
WIDENINGS, RECOVERIES, RECOVERY_NS, SPREAD, SAMPLES = range(8, 13)
BOOK_QUANTITIES: Final = 13
# … and of the tape: lots that hit a side, at its best price, beyond what that had shown; sweeps.
HIT, AT_TOUCH, BEYOND, SWEEPS = 0, 2, 4, 6
TAPE_QUANTITIES: Final = 8

# What is remembered of a side's best price, and of its last sweep.
PRICE, SHOWN, TRADED, REFILLED, SWEPT, SWEPT_SAMPLES, SWEPT_AGO = range(7)
SIDE_WORDS: Final = 7
# Of the symbol: epochs of book and tape, state of the tape, full steps in which both were good,
# when the spread widened.
EPOCH_OF, TAPE_STATE, AGE, WIDE_SINCE = 0, 2, 3, 4
FACTS: Final = 5
COLD: Final = -1


class Params(NamedTuple):
    """Windows, where in `windows_s` each feature finds its own; (usual spread's window, wide
    multiple, sweep percent, sweep memory)."""

    windows_s: NDArray[np.int64]
    replenishment: NDArray[np.int64]
    cancels: NDArray[np.int64]
    refills: NDArray[np.int64]
    sweeps: NDArray[np.int64]
    widenings: NDArray[np.int64]
    recovery: NDArray[np.int64]
    rules: NDArray[np.int64]


class State(NamedTuple):
    """n symbols. Arrays are written in place by `step` and `close`."""

    params: Params
    ring: NDArray[np.int64]  # (n, SLOTS, 13) of the book
    sums: NDArray[np.int64]  # (n, windows, 13)
    tape_ring: NDArray[np.int64]  # (n, SLOTS, 8) of the tape
    tape_sums: NDArray[np.int64]  # (n, windows, 8)
    head: NDArray[np.int64]  # (n,) of both rings
    touch: NDArray[np.int64]  # (n, 5) the last valid touch; zeros before
    sides: NDArray[np.int64]  # (n, 2, 7) PRICE … SWEPT_AGO
    facts: NDArray[np.int64]  # (n, 5)


def init(instruments: Sequence[Instrument], settings: ResilienceSettings) -> State:
    """A cold state."""
    n, windows = len(instruments), settings.windows_s()
    sides = np.zeros((n, 2, SIDE_WORDS), np.int64)
    sides[:, :, SWEPT_AGO] = COLD
    return State(
        params=Params(
            windows_s=integers(windows),
            replenishment=positions(settings.replenishment_s, windows),
            cancels=positions(settings.cancels_s, windows),
            refills=positions(settings.refills_s, windows),
            sweeps=positions(settings.sweeps_s, windows),
            widenings=positions(settings.widenings_s, windows),
            recovery=positions(settings.recovery_s, windows),
            rules=integers(
                (windows.index(settings.usual_s), settings.wide_multiple,
                 settings.sweep_percent, settings.sweep_memory_s)
            ),
        ),
        ring=empty_ring(n, BOOK_QUANTITIES),
        sums=empty_sums(n, len(windows), BOOK_QUANTITIES),
        tape_ring=empty_ring(n, TAPE_QUANTITIES),
        tape_sums=empty_sums(n, len(windows), TAPE_QUANTITIES),
        head=np.zeros(n, np.int64),
        touch=np.zeros((n, 5), np.int64),
        sides=sides,
        facts=np.full((n, FACTS), COLD, np.int64),
    )  # fmt: skip


@in_place
def _epoch(words: Words, i: int, symbol: int, state: State) -> None:
    """A break of either stream ends what is told by both."""
    family, facts = words[i, C], state.facts[symbol]
    if family != BOOK and family != TAPE:
        return
    if words[i, A] != SYNCED or words[i, B] != facts[EPOCH_OF + family]:
        if family == BOOK:
            forget(state.ring, state.sums, symbol)
            facts[WIDE_SINCE] = COLD
            for k in range(5):
                state.touch[symbol, k] = 0
        facts[AGE] = COLD
        forget(state.tape_ring, state.tape_sums, symbol)
        for side in (BID, ASK):
            if family == BOOK:
                for k in range(SIDE_WORDS):
                    state.sides[symbol, side, k] = 0
            state.sides[symbol, side, TRADED] = 0
            state.sides[symbol, side, REFILLED] = 0
            state.sides[symbol, side, SWEPT_AGO] = COLD
    facts[EPOCH_OF + family] = words[i, B]
    if family == TAPE:
        facts[TAPE_STATE] = words[i, A]


@in_place
def _queue(
    was: NDArray[np.int64], now: NDArray[np.int64], side: int, best: NDArray[np.int64],
    bucket: NDArray[np.int64],
) -> None:  # fmt: skip
    """What one side's queue gained or lost from touch to touch, and what its price has shown."""
    at = BID_TICKS if side == BID else ASK_TICKS
    ticks, lots = now[at], now[at + 1]
    if was[VALID] != 0:
        if ticks == was[at]:
            bucket[ADDED + side] += max(lots - was[at + 1], 0)
            bucket[REMOVED + side] += max(was[at + 1] - lots, 0)
        elif (ticks > was[at]) == (side == BID):
            bucket[ADDED + side] += lots
        else:
            bucket[REMOVED + side] += was[at + 1]
    if ticks != best[PRICE]:
        best[PRICE], best[SHOWN], best[TRADED], best[REFILLED] = ticks, lots, 0, 0
    elif lots > best[SHOWN]:
        best[SHOWN] = lots


@in_place
def _spread(
    arrival_ns: int, spread: int, known: NDArray[np.int64], multiple: int,
    facts: NDArray[np.int64], bucket: NDArray[np.int64],
) -> None:  # fmt: skip
    """Notice that it became wide, or is no longer; `known` are the sums as of the last close."""
    if known[SAMPLES] < LEAST_CLOSES:
        return
    wide = spread * known[SAMPLES] >= multiple * known[SPREAD]
    if wide and facts[WIDE_SINCE] == COLD:
        facts[WIDE_SINCE] = arrival_ns
        bucket[WIDENINGS] += 1
    elif not wide and facts[WIDE_SINCE] != COLD:
        bucket[RECOVERY_NS] += arrival_ns - facts[WIDE_SINCE]
        bucket[RECOVERIES] += 1
        facts[WIDE_SINCE] = COLD


@in_place
def _trade(ticks: int, lots: int, side: int, symbol: int, state: State) -> None:
    """Takers hit this side."""
    bucket = state.tape_ring[symbol, state.head[symbol]]
    best = state.sides[symbol, side]
    bucket[HIT + side] += lots
    if ticks == best[PRICE]:
        bucket[AT_TOUCH + side] += lots
        best[TRADED] += lots
        beyond = best[TRADED] - best[SHOWN]
        if beyond > best[REFILLED]:
            bucket[BEYOND + side] += beyond - best[REFILLED]
            best[REFILLED] = beyond


@in_place
def step(words: Words, touch: NDArray[np.int64], i: int, state: State) -> None:
    """Advance by the header row `i` of `words`, int64 (n, 10), whose touch record is `touch[i]`.
    Rows of ALL and of kinds that cannot change book or tape change nothing."""
    meta = words[i, META]
    kind = kind_of(meta)
    if kind != TRADE and kind != QUOTE and kind != DEPTH and kind != SNAPSHOT and kind != EPOCH:
        return
    symbol = symbol_of(meta)
    if symbol < 0 or symbol >= state.head.shape[0]:
        return
    if kind == TRADE:
        if words[i, A] > 0 and words[i, B] > 0:
            side = BID if (flags_of(meta) & SELL) != 0 else ASK
            _trade(words[i, A], words[i, B], side, symbol, state)
        return
    if kind == EPOCH:
        _epoch(words, i, symbol, state)
        if words[i, C] != BOOK:
            return
    if touch[i, VALID] == 0:
        return
    bucket, was, now = state.ring[symbol, state.head[symbol]], state.touch[symbol], touch[i]
    for side in (BID, ASK):
        _queue(was, now, side, state.sides[symbol, side], bucket)
    rules = state.params.rules
    spread = now[ASK_TICKS] - now[BID_TICKS]
    known = state.sums[symbol, rules[0]]
    _spread(words[i, ARRIVAL], spread, known, rules[1], state.facts[symbol], bucket)
    for k in range(5):
        was[k] = now[k]


@in_place_kernel
def scan(words: Words, touch: NDArray[np.int64], lo: int, hi: int, state: State) -> None:
    """Advance by the rows lo <= i < hi; `lo` must be a header row."""
    i = lo
    while i < hi:
        step(words, touch, i, state)
        i += 1 + count_of(words[i, META])


@in_place
def _recovery(s: int, side: int, ladder: Ladder, state: State) -> float:
    """Notice a sweep in the second that closes; depth now over its mean before the last sweep."""
    rules, best, head = state.params.rules, state.sides[s, side], state.head[s]
    usual = state.sums[s, rules[0]]  # as of the last close
    if best[SWEPT_AGO] != COLD:
        best[SWEPT_AGO] += 1
        if best[SWEPT_AGO] > rules[3]:
            best[SWEPT_AGO] = COLD
    samples, stood = usual[DEPTH_SAMPLES + side], usual[DEPTH_LOTS + side]
    hit = state.tape_ring[s, head, HIT + side]
    if samples > 0 and 100 * hit * samples >= rules[2] * stood:
        state.tape_ring[s, head, SWEEPS + side] = 1
        best[SWEPT], best[SWEPT_SAMPLES], best[SWEPT_AGO] = stood, samples, 0
    lots = 0
    if state.touch[s, VALID] != 0:
        for level in range(OFI_LEVELS):
            lots += ladder.top[s, side, level, 1]
    if lots == 0:
        return np.nan
    state.ring[s, head, DEPTH_LOTS + side] = lots
    state.ring[s, head, DEPTH_SAMPLES + side] = 1
    if best[SWEPT_AGO] == COLD:
        return np.nan
    return float(lots * best[SWEPT_SAMPLES] / best[SWEPT])


@in_place
def _of_side(s: int, side: int, state: State, out: NDArray[np.float64], k: int) -> int:
    """The shares of one side; the next column."""
    params, sums, tape, age = (
        state.params,
        state.sums[s],
        state.tape_sums[s],
        state.facts[s, AGE],
    )
    for w in params.replenishment:
        moved = sums[w, ADDED + side] + sums[w, REMOVED + side]
        if moved > 0:
            out[k] = sums[w, ADDED + side] / moved
        k += 1
    for w in params.cancels:
        removed = sums[w, REMOVED + side]
        if removed > 0 and age >= params.windows_s[w]:
            out[k] = max(removed - tape[w, HIT + side], 0) / removed
        k += 1
    for w in params.refills:
        traded = tape[w, AT_TOUCH + side]
        if traded > 0 and age >= params.windows_s[w]:
            out[k] = tape[w, BEYOND + side] / traded
        k += 1
    for w in params.sweeps:
        if age >= params.windows_s[w]:
            out[k] = tape[w, SWEEPS + side]
        k += 1
    return k


@in_place_kernel
def close(boundary_ns: int, ladder: Ladder, state: State, out: NDArray[np.float64]) -> None:
    """Write the features of every symbol at `boundary_ns` into `out`, float64 (n, k), and open the
    next step. The ladder stands at the boundary."""
    params = state.params
    for s in range(out.shape[0]):
        out[s, :] = np.nan
        head, best, facts = state.head[s], state.touch[s], state.facts[s]
        if best[VALID] != 0:
            facts[AGE] += int(facts[TAPE_STATE] == SYNCED)
            state.ring[s, head, SPREAD] = best[ASK_TICKS] - best[BID_TICKS]
            state.ring[s, head, SAMPLES] = 1
        bid_recovery = _recovery(s, BID, ladder, state)
        ask_recovery = _recovery(s, ASK, ladder, state)
        close_bucket(state.ring, state.sums, params.windows_s, s, head)
        close_bucket(state.tape_ring, state.tape_sums, params.windows_s, s, head)
        open_bucket(state.tape_ring, s, head)
        state.head[s] = open_bucket(state.ring, s, head)
        if best[VALID] == 0:
            continue
        k = _of_side(s, BID, state, out[s], 0)
        out[s, k] = bid_recovery
        k = _of_side(s, ASK, state, out[s], k + 1)
        out[s, k] = ask_recovery
        k += 1
        for w in params.widenings:
            if state.sums[s, params.rules[0], SAMPLES] >= LEAST_CLOSES:
                out[s, k] = state.sums[s, w, WIDENINGS]
            k += 1
        for w in params.recovery:
            if state.sums[s, w, RECOVERIES] > 0:
                out[s, k] = 1e-6 * (state.sums[s, w, RECOVERY_NS] / state.sums[s, w, RECOVERIES])
            k += 1
