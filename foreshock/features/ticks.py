"""Ticks: how the price walks from trade to trade, and how far it is from a round number (tape).

A move is a trade at another price than the trade before it. Moves are counted, and their ticks
summed, as integers in one-second buckets (market/rings.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log1p
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from foreshock.config import Section
from foreshock.features.family import Ascending, Seconds, integers, positions, span, union
from foreshock.features.vector import FeatureSpec
from foreshock.market.clock import SECOND_NS
from foreshock.market.instruments import Instrument
from foreshock.market.jit import in_place, in_place_kernel
from foreshock.market.ladder import Ladder
from foreshock.market.rings import close_bucket, empty_ring, empty_sums, forget, open_bucket
from foreshock.market.rows import (
    ARRIVAL,
    EPOCH,
    INSTRUMENT,
    META,
    SYNCED,
    TAPE,
    TRADE,
    A,
    B,
    C,
    Words,
)
from foreshock.market.words import count_of, kind_of, symbol_of

# Quantities of a bucket; LENGTH and NET are ticks, STEPS trades behind another one.
UPS, DOWNS, TURNS, LENGTH, NET, STEPS = range(6)


class TicksSettings(Section):
    """Windows of moves between trades, and which numbers are round."""

    imbalance_s: Seconds = Field(default=(10, 60, 300), description="Windows of up against down.")
    zeros_s: Seconds = Field(default=(60,), description="Windows of trades without a move.")
    reversal_s: Seconds = Field(default=(60, 300), description="Windows of turns.")
    move_s: Seconds = Field(default=(60, 300), description="Windows of the mean move.")
    efficiency_s: Seconds = Field(default=(10, 60, 300), description="Windows of the path.")
    round_digits: Ascending = Field(
        default=(2, 3), description="A round number has at most so many digits that are not zero."
    )

    def windows_s(self) -> tuple[int, ...]:
        """Every window of one-second buckets that is in use."""
        return union(
            self.imbalance_s, self.zeros_s, self.reversal_s, self.move_s, self.efficiency_s
        )


_TICKS = "Lee, Ready 1991, Inferring trade direction from intraday data (tick test)"
_BOUNCE = "Roll 1984, A simple implicit measure of the effective bid-ask spread (bounce)"
_EFFICIENCY = "Kaufman 1995, Smarter Trading (efficiency ratio), trade by trade and with its sign"
_ROUND = "Osler 2003, Currency orders and exchange rate dynamics (clusters at round numbers)"
_RUNS = "Campbell, Lo, MacKinlay 1997, The econometrics of financial markets, section 2.2 (runs)"
_STILL = "no trade in the window at another price than the one before it"


def specs(settings: TicksSettings) -> tuple[FeatureSpec, ...]:
    """Its features in the order of its columns."""
    found: list[FeatureSpec] = []

    def add(
        what: str, formula: str, source: str, windows_s: tuple[int, ...] = (),
        nan_rule: str = _STILL, unit: str = "1", warmup_s: int = 0,
    ) -> None:  # fmt: skip
        name = "_".join((what, *map(span, windows_s)))
        warmup_s = max(windows_s, default=warmup_s)
        found.append(
            FeatureSpec(name, "ticks", formula, unit, "tape", warmup_s, nan_rule, source, windows_s)
        )

    for w in settings.imbalance_s:
        add("tick_imbalance", f"(up − down) / moves over {w} s", _TICKS, (w,))
    for w in settings.zeros_s:
        add("zero_tick_share", f"share of trades over {w} s at the price of the one before", _TICKS,
            (w,), "no trade in the window behind another one")  # fmt: skip
    for w in settings.reversal_s:
        add("reversal_share", f"moves over {w} s against the move before / moves", _BOUNCE, (w,))
    for w in settings.move_s:
        add("mean_tick_move", f"10⁴ · mean |move| over {w} s / last price", _BOUNCE, (w,),
            unit="bps")  # fmt: skip
    for w in settings.efficiency_s:
        add("tick_path_efficiency", f"Σ moves / Σ |moves| over {w} s", _EFFICIENCY, (w,))
    never = "no move in this epoch yet"
    add("price_run", "moves in a row in the direction of the last one, with its sign", _RUNS,
        nan_rule=never, unit="moves", warmup_s=10)  # fmt: skip
    add("price_run_length", "10⁴ · (last price / price where that run began − 1)", _RUNS,
        nan_rule=never, unit="bps", warmup_s=10)  # fmt: skip
    add("price_stillness", "ln(1 + seconds since the last move)", "definition",
        nan_rule=never, unit="log", warmup_s=10)  # fmt: skip
    for digits in settings.round_digits:
        add(f"round_number_distance_{digits}d",
            f"10⁴ · (last price − nearest number of at most {digits} digits that are not zero) / "
            "last price", _ROUND, nan_rule="no trade in this epoch yet", unit="bps",
            warmup_s=1)  # fmt: skip
    return tuple(found)


class Params(NamedTuple):
    """Windows in seconds, and where in `windows_s` each feature finds its own."""

    windows_s: NDArray[np.int64]
    imbalance: NDArray[np.int64]
    zeros: NDArray[np.int64]
    reversal: NDArray[np.int64]
    move: NDArray[np.int64]
    efficiency: NDArray[np.int64]
    round_digits: NDArray[np.int64]


class State(NamedTuple):
    """All symbols' ticks; n symbols. Arrays are written in place by `step` and `close`."""

    params: Params
    ring: NDArray[np.int64]  # (n, SLOTS, 6)
    sums: NDArray[np.int64]  # (n, windows, 6)
    head: NDArray[np.int64]  # (n,)
    last_ticks: NDArray[np.int64]  # (n,), price of the last trade; 0 before the first
    run: NDArray[np.int64]  # (n,), moves in a row, below zero downwards; 0 before the first
    run_ticks: NDArray[np.int64]  # (n,), the price where the run began
    moved_ns: NDArray[np.int64]  # (n,), arrival of the last move
    tick_units: NDArray[np.int64]  # (n,), a tick in units of its last decimal
    epoch: NDArray[np.int64]  # (n,), −1 before the first


def init(instruments: Sequence[Instrument], settings: TicksSettings) -> State:
    """A cold state."""
    n, windows = len(instruments), settings.windows_s()
    return State(
        params=Params(
            windows_s=integers(windows),
            imbalance=positions(settings.imbalance_s, windows),
            zeros=positions(settings.zeros_s, windows),
            reversal=positions(settings.reversal_s, windows),
            move=positions(settings.move_s, windows),
            efficiency=positions(settings.efficiency_s, windows),
            round_digits=integers(settings.round_digits),
        ),
        ring=empty_ring(n, 6),
        sums=empty_sums(n, len(windows), 6),
        head=np.zeros(n, np.int64),
        last_ticks=np.zeros(n, np.int64),
        run=np.zeros(n, np.int64),
        run_ticks=np.zeros(n, np.int64),
        moved_ns=np.zeros(n, np.int64),
        tick_units=integers(i.tick_units for i in instruments),
        epoch=np.full(n, -1, np.int64),
    )


@in_place
def _reset(s: int, state: State) -> None:
    forget(state.ring, state.sums, s)
    state.last_ticks[s] = 0
    state.run[s] = 0
    state.run_ticks[s] = 0
    state.moved_ns[s] = 0


@in_place
def _trade(arrival_ns: int, ticks: int, s: int, state: State) -> None:
    before = state.last_ticks[s]
    state.last_ticks[s] = ticks
    if before == 0:
        return
    bucket = state.ring[s, state.head[s]]
    bucket[STEPS] += 1
    move = ticks - before
    if move == 0:
        return
    run = state.run[s]
    bucket[UPS if move > 0 else DOWNS] += 1
    bucket[LENGTH] += abs(move)
    bucket[NET] += move
    if (move > 0) == (run > 0) and run != 0:
        state.run[s] = run + 1 if run > 0 else run - 1
    else:
        bucket[TURNS] += 1 if run != 0 else 0
        state.run[s] = 1 if move > 0 else -1
        state.run_ticks[s] = before
    state.moved_ns[s] = arrival_ns


@in_place
def step(words: Words, touch: NDArray[np.int64], i: int, state: State) -> None:
    """Advance by the header row `i` of `words`, int64 (n, 10). Rows without a price or a size, of
    ALL or of other kinds change nothing."""
    meta = words[i, META]
    kind = kind_of(meta)
    if kind != TRADE and kind != EPOCH and kind != INSTRUMENT:
        return
    symbol = symbol_of(meta)
    if symbol < 0 or symbol >= state.head.shape[0]:
        return
    if kind == TRADE:
        if words[i, A] > 0 and words[i, B] > 0:
            _trade(words[i, ARRIVAL], words[i, A], symbol, state)
    elif kind == INSTRUMENT:
        state.tick_units[symbol] = words[i, B]
    elif words[i, C] == TAPE:
        if words[i, A] != SYNCED or words[i, B] != state.epoch[symbol]:
            _reset(symbol, state)
        state.epoch[symbol] = words[i, B]


@in_place_kernel
def scan(words: Words, touch: NDArray[np.int64], lo: int, hi: int, state: State) -> None:
    """Advance by the rows lo <= i < hi; `lo` must be a header row."""
    i = lo
    while i < hi:
        step(words, touch, i, state)
        i += 1 + count_of(words[i, META])


@in_place
def _from_round(units: int, digits: int) -> float:
    """How far a price, in units of its last decimal, is from the nearest round one, as a share."""
    unit, leading = 1, units
    while leading >= 10**digits:
        leading //= 10
        unit *= 10
    over = units % unit
    return (over if 2 * over < unit else over - unit) / units if unit > 1 else 0.0


@in_place_kernel
def close(boundary_ns: int, ladder: Ladder, state: State, out: NDArray[np.float64]) -> None:
    """Write the features of every symbol at `boundary_ns` into `out`, float64 (n, k), and open the
    next step. The rows scanned before are those with arrival_ns < boundary_ns."""
    params = state.params
    for s in range(out.shape[0]):
        close_bucket(state.ring, state.sums, params.windows_s, s, state.head[s])
        state.head[s] = open_bucket(state.ring, s, state.head[s])
        out[s, :] = np.nan
        sums, last, k = state.sums[s], state.last_ticks[s], 0
        for w in params.imbalance:
            if sums[w, LENGTH] > 0:
                out[s, k] = (sums[w, UPS] - sums[w, DOWNS]) / (sums[w, UPS] + sums[w, DOWNS])
            k += 1
        for w in params.zeros:
            if sums[w, STEPS] > 0:
                moves = sums[w, UPS] + sums[w, DOWNS]
                out[s, k] = (sums[w, STEPS] - moves) / sums[w, STEPS]
            k += 1
        for w in params.reversal:
            if sums[w, LENGTH] > 0:
                out[s, k] = sums[w, TURNS] / (sums[w, UPS] + sums[w, DOWNS])
            k += 1
        for w in params.move:
            if sums[w, LENGTH] > 0:
                out[s, k] = 1e4 * (sums[w, LENGTH] / (sums[w, UPS] + sums[w, DOWNS]) / last)
            k += 1
        for w in params.efficiency:
            if sums[w, LENGTH] > 0:
                out[s, k] = sums[w, NET] / sums[w, LENGTH]
            k += 1
        if state.run[s] != 0:
            out[s, k] = state.run[s]
            out[s, k + 1] = 1e4 * ((last - state.run_ticks[s]) / state.run_ticks[s])
            out[s, k + 2] = log1p((boundary_ns - state.moved_ns[s]) / SECOND_NS)
        k += 3
        for digits in params.round_digits:
            if last > 0:
                out[s, k] = 1e4 * _from_round(last * state.tick_units[s], digits)
            k += 1
