"""Ladder shape: how depth lies behind the touch, and what an order of some size would pay (book).

Read at the boundary from the ladder alone, around the mid of its own best prices. Only what the
ladder knows for sure is told: a thousand levels of a snapshot are 0.2 to 0.4 % on the dearest
pairs, so that the wide reaches are NaN there, never a sum that silently stops short.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from foreshock.features.family import integers, positions
from foreshock.features.ladder_shape_specs import LadderShapeSettings, specs
from foreshock.market.instruments import Instrument
from foreshock.market.jit import in_place, in_place_kernel
from foreshock.market.ladder import (
    ASK,
    BID,
    I_BEST_ASK,
    I_BEST_BID,
    I_KNOWN_HIGH,
    I_KNOWN_LOW,
    MASK,
    Ladder,
    next_down,
    next_up,
)
from foreshock.market.reach import highest_within, lots_between, lowest_within, readable
from foreshock.market.rows import INSTRUMENT, META, A, B, C, D, Words
from foreshock.market.words import count_of, kind_of, symbol_of

__all__ = ["LadderShapeSettings", "Params", "State", "close", "init", "scan", "specs", "step"]

_POWERS: Final = np.array([10.0**k for k in range(13)])  # a step has at most twelve decimals


class Params(NamedTuple):
    """Reaches in bps, where in `reaches_bps` each feature finds its own; (levels, cost_levels)."""

    reaches_bps: NDArray[np.int64]
    imbalance: NDArray[np.int64]
    slope: NDArray[np.int64]
    asymmetry: NDArray[np.int64]
    cost_quote: NDArray[np.int64]
    limits: NDArray[np.int64]


class State(NamedTuple):
    """n symbols. What a lot of one tick is worth is all that rows tell; `close` reads the rest."""

    params: Params
    scale: NDArray[np.float64]  # (n,) quote currency of one tick · one lot
    within: NDArray[np.int64]  # (n, 2, reaches) lots within each reach at the last close, or −1


@in_place
def _scale(tick_decimals: int, tick_units: int, lot_decimals: int, lot_units: int) -> float:
    return float((tick_units / _POWERS[tick_decimals]) * (lot_units / _POWERS[lot_decimals]))


def init(instruments: Sequence[Instrument], settings: LadderShapeSettings) -> State:
    """A cold state."""
    n, reaches = len(instruments), settings.reaches_bps()
    return State(
        params=Params(
            reaches_bps=integers(reaches),
            imbalance=positions(settings.imbalance_bps, reaches),
            slope=positions(settings.slope_bps, reaches),
            asymmetry=positions(settings.asymmetry_bps, reaches),
            cost_quote=integers(settings.cost_quote),
            limits=integers((settings.levels, settings.cost_levels)),
        ),
        scale=np.array(
            [(i.tick_units / 10.0**i.tick_decimals) * (i.lot_units / 10.0**i.lot_decimals)
             for i in instruments], np.float64,
        ),
        within=np.full((n, 2, len(reaches)), -1, np.int64),
    )  # fmt: skip


@in_place
def step(words: Words, touch: NDArray[np.int64], i: int, state: State) -> None:
    """Advance by the header row `i` of `words`, int64 (n, 10): only another tick or lot matters."""
    meta = words[i, META]
    if kind_of(meta) != INSTRUMENT:
        return
    symbol = symbol_of(meta)
    if 0 <= symbol < state.scale.shape[0] and 0 <= words[i, A] <= 12 and 0 <= words[i, C] <= 12:
        state.scale[symbol] = _scale(words[i, A], words[i, B], words[i, C], words[i, D])


@in_place_kernel
def scan(words: Words, touch: NDArray[np.int64], lo: int, hi: int, state: State) -> None:
    """Advance by the rows lo <= i < hi; `lo` must be a header row."""
    i = lo
    while i < hi:
        step(words, touch, i, state)
        i += 1 + count_of(words[i, META])


@in_place
def _behind(ladder: Ladder, s: int, side: int, ticks: int, known: int) -> int:
    """The next level of that side behind `ticks` as far as the ladder knows, or −1."""
    if side == BID:
        return next_down(ladder.bits[s, BID], ticks - 1, known)
    return next_up(ladder.bits[s, ASK], ticks + 1, known + 1)


@in_place
def _sum_reaches(ladder: Ladder, s: int, state: State) -> None:
    """Lots within every reach, both sides; each adds to the one before."""
    info, reaches = ladder.info[s], state.params.reaches_bps
    bid_lots, ask_lots = 0, 0
    above, below = info[I_BEST_BID], info[I_BEST_ASK]
    for r in range(len(reaches)):
        low, high = lowest_within(info, reaches[r]), highest_within(info, reaches[r])
        state.within[s, BID, r] = -1
        state.within[s, ASK, r] = -1
        if low >= 0:
            bid_lots += lots_between(ladder.lots[s, BID], ladder.bits[s, BID], low, above)
            above = min(above, low - 1)
            state.within[s, BID, r] = bid_lots
        if high >= 0:
            ask_lots += lots_between(ladder.lots[s, ASK], ladder.bits[s, ASK], below, high)
            below = max(below, high + 1)
            state.within[s, ASK, r] = ask_lots


@in_place
def _imbalance(bid_lots: int, ask_lots: int) -> float:
    if bid_lots < 0 or ask_lots < 0 or bid_lots + ask_lots == 0:
        return np.nan
    return (bid_lots - ask_lots) / (bid_lots + ask_lots)


@in_place
def _costs(
    ladder: Ladder, s: int, side: int, known: int, state: State, out: NDArray[np.float64], k: int
) -> None:  # fmt: skip
    """Into out[k] and behind, what a market order of each size into this side would pay, bps."""
    info, sizes = ladder.info[s], state.params.cost_quote
    twice_mid = info[I_BEST_BID] + info[I_BEST_ASK]
    ticks = info[I_BEST_BID] if side == BID else info[I_BEST_ASK]
    spent, lots, size = 0.0, 0.0, 0  # ticks · lots as floats: a whole ladder may not fit an int64
    for _ in range(state.params.limits[1]):
        if ticks <= 0:
            return
        here = float(ladder.lots[s, side, ticks & MASK])
        while size < len(sizes):
            wanted = sizes[size] / state.scale[s]
            if spent + ticks * here < wanted:
                break
            mean = wanted / (lots + (wanted - spent) / ticks)
            away = 2.0 * mean / twice_mid - 1.0
            out[k + size] = 1e4 * (-away if side == BID else away)
            size += 1
        if size == len(sizes):
            return
        spent += ticks * here
        lots += here
        ticks = _behind(ladder, s, side, ticks, known)


@in_place
def _levels(
    ladder: Ladder, s: int, side: int, known: int, most: int, out: NDArray[np.float64], k: int
) -> int:  # fmt: skip
    """Gaps, concentration and wall of one side into out[k:k + 4]; the lots of its best levels."""
    info = ladder.info[s]
    twice_mid = info[I_BEST_BID] + info[I_BEST_ASK]
    first = info[I_BEST_BID] if side == BID else info[I_BEST_ASK]
    ticks, last, count, total, squares, largest, wall = first, first, 0, 0, 0.0, 0, first
    while ticks > 0 and count < most:
        here = ladder.lots[s, side, ticks & MASK]
        count += 1
        total += here
        squares += float(here) * float(here)
        if here > largest:
            largest, wall = here, ticks
        if count == 2:
            out[k] = 2e4 * (abs(ticks - first) / twice_mid)
        last = ticks
        ticks = _behind(ladder, s, side, ticks, known)
    if count > 1:
        out[k + 1] = 2e4 * (abs(last - first) / (twice_mid * (count - 1)))
    out[k + 2] = squares / (float(total) * float(total))
    out[k + 3] = 1e4 * (abs(2 * wall - twice_mid) / twice_mid)
    return total


@in_place_kernel
def close(boundary_ns: int, ladder: Ladder, state: State, out: NDArray[np.float64]) -> None:
    """Write the features of every symbol at `boundary_ns` into `out`, float64 (n, k). The ladder
    stands at the boundary."""
    params = state.params
    sizes = len(params.cost_quote)
    for s in range(out.shape[0]):
        out[s, :] = np.nan
        info = ladder.info[s]
        if not readable(info):
            continue
        _sum_reaches(ladder, s, state)
        within, k = state.within[s], 0
        for r in params.imbalance:
            out[s, k] = _imbalance(within[BID, r], within[ASK, r])
            k += 1
        mid_quote = 0.5 * (info[I_BEST_BID] + info[I_BEST_ASK]) * state.scale[s]
        for side in (BID, ASK):
            for r in params.slope:
                if within[side, r] > 0:
                    out[s, k] = log(within[side, r] * mid_quote / params.reaches_bps[r])
                k += 1
        if len(params.asymmetry) > 0:
            asymmetry = 0.0
            for r in params.asymmetry:
                asymmetry += _imbalance(within[BID, r], within[ASK, r])
            out[s, k] = asymmetry / len(params.asymmetry)
        known_low, known_high = max(info[I_KNOWN_LOW], 1), info[I_KNOWN_HIGH]
        _costs(ladder, s, BID, known_low, state, out[s], k + 2)
        _costs(ladder, s, ASK, known_high, state, out[s], k + 2 + sizes)
        levels = k + 2 + 2 * sizes
        bid_lots = _levels(ladder, s, BID, known_low, params.limits[0], out[s], levels)
        ask_lots = _levels(ladder, s, ASK, known_high, params.limits[0], out[s], levels + 4)
        out[s, k + 1] = _imbalance(bid_lots, ask_lots)
