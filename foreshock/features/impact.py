"""Impact: what trading does to the price, how toxic and how illiquid the flow is (tape).

The last price and the turnover of each second are kept for five minutes; sums over them are floats,
formed anew from the ring, oldest first, at every close. VPIN has a clock of its own, the volume:
its buckets are integers that only trades fill.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log, sqrt
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from foreshock.config import Section
from foreshock.features.family import RING_S, Ascending, Seconds, integers, positions, span, union
from foreshock.features.vector import FeatureSpec
from foreshock.market.instruments import Instrument
from foreshock.market.jit import in_place, in_place_kernel
from foreshock.market.ladder import Ladder
from foreshock.market.money import money_at, money_of
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
    EPOCH,
    INSTRUMENT,
    META,
    SELL,
    SYNCED,
    TAPE,
    TRADE,
    A,
    B,
    C,
    Words,
)
from foreshock.market.words import count_of, flags_of, kind_of, symbol_of

# Quantities of a bucket: lots, ticks · lots, trades.
LOTS, TURNOVER, SIGNED_TURNOVER, TRADES, SIGNED_LARGE, PAIRS = range(6)
# What a close keeps of the second that it ended; 0 where the price before was not known.
RETURN, FLOW, ROOT, ILLIQUIDITY, ACTIVE = range(5)
_QUANTITIES: Final = 6
LARGE_S: Final = 60  # a large trade is measured against the mean trade of so many seconds
VOLUME_S: Final = 300  # what a volume bucket is a part of
MILLION: Final = 1e6  # of quote currency, the unit of flow

Pairs = tuple[tuple[int, int], ...]


class ImpactSettings(Section):
    """Windows of impact and illiquidity, and the buckets of VPIN."""

    vpin_buckets: Ascending = Field(
        default=(20, 50), description="Over how many full buckets VPIN is taken."
    )
    vpin_parts: int = Field(
        default=20,
        ge=1,
        description="A bucket opens with this part of the volume of the last five minutes.",
    )
    lambdas_s: Seconds = Field(
        default=(60, 300), description="Windows of the regressions of returns on signed flow."
    )
    amihud_s: Seconds = Field(default=(60, 300), description="Windows of Amihud's illiquidity.")
    roll_s: Seconds = Field(default=(60, 300), description="Windows of Roll's spread.")
    reversals_s: Pairs = Field(
        default=((1, 300), (5, 300)),
        description="Pairs: seconds after a large trade, and the window of large trades.",
    )
    large_multiple: int = Field(
        default=5, ge=2, description="A large trade is at least so many times the mean trade."
    )

    @field_validator("reversals_s")
    @classmethod
    def _pairs(cls, given: Pairs) -> Pairs:
        for after, window in given:
            if not 0 < after < window <= RING_S:
                raise ValueError(f"seconds and a longer window, to {RING_S} s: {after, window}")
        return given

    def windows_s(self) -> tuple[int, ...]:
        """Every window of one-second buckets that is summed."""
        return union(self.lambdas_s, self.amihud_s, self.roll_s, (LARGE_S, VOLUME_S))


_KYLE = "Kyle 1985, Continuous auctions and insider trading; Hasbrouck 2009, section I"
_ROOT = "Hasbrouck 2009, Trading costs and returns for U.S. equities, section I; Torre 1997"
_VPIN = "Easley, López de Prado, O'Hara 2012, Flow toxicity and liquidity, section 1"
_REVERSAL = "Campbell, Grossman, Wang 1993, Trading volume and serial correlation in stock returns"
_STILL = "no second of the window with a trade on one side and a known price before it"


def specs(settings: ImpactSettings) -> tuple[FeatureSpec, ...]:
    """Its features in the order of its columns."""
    found: list[FeatureSpec] = []

    def add(
        name: str, formula: str, unit: str, source: str, windows_s: tuple[int, ...], nan_rule: str,
        warmup_s: int = 0,
    ) -> None:  # fmt: skip
        warmup_s = warmup_s or max(windows_s)
        found.append(
            FeatureSpec(
                name, "impact", formula, unit, "tape", warmup_s, nan_rule, source, windows_s
            )
        )

    part = f"1/{settings.vpin_parts} of the lots of the {VOLUME_S} s before the step it opens in"
    for n in settings.vpin_buckets:
        reach_s = VOLUME_S + VOLUME_S * n // settings.vpin_parts
        add(f"vpin_{n}", f"Σ |bought − sold| / Σ lots over the last {n} full volume buckets, each "
            f"{part}; sides as the venue says them", "1", _VPIN, (), f"fewer than {n} full buckets "
            "in this epoch", reach_s)  # fmt: skip
    for w in settings.lambdas_s:
        add(f"kyle_lambda_{span(w)}", "10⁴ · Σ r · x / Σ x² over the seconds of the window, r the "
            "log return, x the signed flow in 10⁶ of quote currency",
            "bps per 10⁶ quote", _KYLE, (w,), _STILL)  # fmt: skip
    for w in settings.lambdas_s:
        add(f"root_impact_{span(w)}", "10⁴ · Σ r · y / Σ y², y = ±√|x|, r and x as in kyle_lambda",
            "bps per √(10⁶ quote)", _ROOT, (w,), _STILL)  # fmt: skip
    for w in settings.lambdas_s:
        add(f"impact_correlation_{span(w)}", "Σ r · x / √(Σ r² · Σ x²), r and x as in kyle_lambda",
            "1", _KYLE, (w,), f"{_STILL}, or a price that did not move")  # fmt: skip
    for w in settings.amihud_s:
        add(f"amihud_{span(w)}", "mean of 10⁴ · |r| / turnover in 10⁶ of quote currency, over the "
            "window's seconds with a trade and a known price before",
            "bps per 10⁶ quote", "Amihud 2002, Illiquidity and stock returns, section 2.1", (w,),
            "no such second in the window")  # fmt: skip
    for w in settings.roll_s:
        add(f"roll_spread_{span(w)}", "10⁴ · 2 · √(max(0, −mean of Δp · Δp before)) / last price, "
            "Δp from trade to trade", "bps", "Roll 1984, A simple implicit measure of the "
            "effective bid-ask spread, section I (0 where the mean is above 0)", (w,),
            "no trade in the window that has two before it in this epoch")  # fmt: skip
    for after, w in settings.reversals_s:
        add(f"large_trade_reversal_{span(after)}_{span(w)}", "mean over the window's seconds with "
            f"large trades of −10⁴ · side · (price {after} s after / price at its end − 1); side of"
            f" the sum of large lots; large: at least {settings.large_multiple} times the mean "
            f"trade of the {LARGE_S} s before the step", "bps", _REVERSAL, (after, w),
            "no such second in the window", w + LARGE_S)  # fmt: skip
    return tuple(found)


class Params(NamedTuple):
    """Windows in seconds, and where in `windows_s` each feature finds its own."""

    windows_s: NDArray[np.int64]
    vpin_buckets: NDArray[np.int64]
    lambdas: NDArray[np.int64]
    amihud: NDArray[np.int64]
    roll: NDArray[np.int64]
    reversals_s: NDArray[np.int64]  # (pairs, 2)
    large: NDArray[np.int64]  # (2,): the multiple, and where LARGE_S is
    bucket: NDArray[np.int64]  # (2,): the parts, and where VOLUME_S is


class State(NamedTuple):
    """All symbols' impact; n symbols. Arrays are written in place by `step` and `close`."""

    params: Params
    ring: NDArray[np.int64]  # (n, SLOTS, 6)
    sums: NDArray[np.int64]  # (n, windows, 6)
    products: NDArray[np.float64]  # (n, SLOTS): Σ Δp · Δp before, ticks²
    closed: NDArray[np.float64]  # (n, SLOTS, 5): of the second each close ended
    ticks: NDArray[np.int64]  # (n, SLOTS): last price at each close, 0 unknown
    head: NDArray[np.int64]  # (n,)
    buckets: NDArray[np.int64]  # (n, most buckets, 2): |bought − sold| and lots of full ones
    filling: NDArray[np.int64]  # (n, 5): lots it will hold, holds, bought − sold; next slot; full
    money: NDArray[np.float64]  # (n,), quote currency per tick · lot
    last: NDArray[np.int64]  # (n, 3): last price, its change, and 1 where that is known
    epoch: NDArray[np.int64]  # (n,), −1 before the first


CAPACITY, FILLED, SIGNED, NEXT, FULL = range(5)  # of `filling`


def init(instruments: Sequence[Instrument], settings: ImpactSettings) -> State:
    """A cold state."""
    n, windows = len(instruments), settings.windows_s()
    return State(
        params=Params(
            windows_s=integers(windows),
            vpin_buckets=integers(settings.vpin_buckets),
            lambdas=positions(settings.lambdas_s, windows),
            amihud=positions(settings.amihud_s, windows),
            roll=positions(settings.roll_s, windows),
            reversals_s=np.array(settings.reversals_s, np.int64).reshape(-1, 2),
            large=integers((settings.large_multiple, windows.index(LARGE_S))),
            bucket=integers((settings.vpin_parts, windows.index(VOLUME_S))),
        ),
        ring=empty_ring(n, _QUANTITIES),
        sums=empty_sums(n, len(windows), _QUANTITIES),
        products=np.zeros((n, SLOTS), np.float64),
        closed=np.zeros((n, SLOTS, 5), np.float64),
        ticks=np.zeros((n, SLOTS), np.int64),
        head=np.zeros(n, np.int64),
        buckets=np.zeros((n, max(settings.vpin_buckets, default=1), 2), np.int64),
        filling=np.zeros((n, 5), np.int64),
        money=money_of(instruments),
        last=np.zeros((n, 3), np.int64),
        epoch=np.full(n, -1, np.int64),
    )


@in_place
def _forget(symbol: int, state: State) -> None:
    forget(state.ring, state.sums, symbol)
    for slot in range(SLOTS):
        state.products[symbol, slot] = 0.0
        state.ticks[symbol, slot] = 0
        for k in range(5):
            state.closed[symbol, slot, k] = 0.0
    for slot in range(state.buckets.shape[1]):
        state.buckets[symbol, slot, 0] = 0
        state.buckets[symbol, slot, 1] = 0
    for k in range(5):
        state.filling[symbol, k] = 0
    for k in range(3):
        state.last[symbol, k] = 0


@in_place
def _pour(sell: bool, lots: int, symbol: int, state: State) -> None:
    """A trade fills the open volume bucket and what opens after it."""
    filling, buckets = state.filling[symbol], state.buckets[symbol]
    capacity = state.sums[symbol, state.params.bucket[1], LOTS] // state.params.bucket[0]
    rest, keeps = lots, buckets.shape[0]
    while rest > 0:
        if filling[CAPACITY] == 0:
            if capacity == 0:
                return  # nothing was known of the volume before this step
            filling[CAPACITY] = capacity
            if rest > (keeps + 1) * capacity:  # whole buckets that would be pushed out at once
                rest -= (rest // capacity - keeps) * capacity
        taken = min(rest, filling[CAPACITY] - filling[FILLED])
        rest -= taken
        filling[FILLED] += taken
        filling[SIGNED] += -taken if sell else taken
        if filling[FILLED] == filling[CAPACITY]:
            at = filling[NEXT]
            buckets[at, 0], buckets[at, 1] = abs(filling[SIGNED]), filling[CAPACITY]
            filling[NEXT] = 0 if at + 1 == keeps else at + 1
            filling[FULL] = min(filling[FULL] + 1, keeps)
            filling[CAPACITY], filling[FILLED], filling[SIGNED] = 0, 0, 0


@in_place
def _trade(sell: bool, ticks: int, lots: int, symbol: int, state: State) -> None:
    turnover = ticks * lots
    head = state.head[symbol]
    bucket, last = state.ring[symbol, head], state.last[symbol]
    bucket[LOTS] += lots
    bucket[TURNOVER] += turnover
    bucket[SIGNED_TURNOVER] += -turnover if sell else turnover
    bucket[TRADES] += 1
    # The sums are as of the last boundary: older than this trade.
    known = state.sums[symbol, state.params.large[1]]
    if known[TRADES] > 0 and lots * known[TRADES] >= state.params.large[0] * known[LOTS]:
        bucket[SIGNED_LARGE] += -lots if sell else lots
    if last[0] > 0:
        change = ticks - last[0]
        if last[2] == 1:
            state.products[symbol, head] += float(change) * last[1]
            bucket[PAIRS] += 1
        last[1], last[2] = change, 1
    last[0] = ticks
    _pour(sell, lots, symbol, state)


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
            sell = (flags_of(meta) & SELL) != 0
            _trade(sell, words[i, A], words[i, B], symbol, state)
    elif kind == INSTRUMENT:
        state.money[symbol] = money_at(words, i)
    elif words[i, C] == TAPE:
        if words[i, A] != SYNCED or words[i, B] != state.epoch[symbol]:
            _forget(symbol, state)
        state.epoch[symbol] = words[i, B]


@in_place_kernel
def scan(words: Words, touch: NDArray[np.int64], lo: int, hi: int, state: State) -> None:
    """Advance by the rows lo <= i < hi; `lo` must be a header row."""
    i = lo
    while i < hi:
        step(words, touch, i, state)
        i += 1 + count_of(words[i, META])


@in_place
def _advance(s: int, state: State) -> int:
    """Close this second; returns its slot."""
    slot = state.head[s]
    bucket, closed = state.ring[s, slot], state.closed[s, slot]
    close_bucket(state.ring, state.sums, state.params.windows_s, s, slot)
    last, before = state.last[s, 0], state.ticks[s, slot_before(slot, 1)]
    state.ticks[s, slot] = last
    for k in range(5):
        closed[k] = 0.0
    if before > 0 and bucket[TURNOVER] > 0:
        r = log(last / before) if last != before else 0.0
        flow = state.money[s] * bucket[SIGNED_TURNOVER] / MILLION
        closed[RETURN], closed[FLOW] = r, flow
        closed[ROOT] = sqrt(flow) if flow >= 0.0 else -sqrt(-flow)
        closed[ILLIQUIDITY] = abs(r) / (state.money[s] * bucket[TURNOVER] / MILLION)
        closed[ACTIVE] = 1.0
    state.head[s] = open_bucket(state.ring, s, slot)
    state.products[s, state.head[s]] = 0.0
    return int(slot)


@in_place
def _lambdas(closed: NDArray[np.float64], newest: int, w: int, out: NDArray[np.float64], k: int,
             apart: int) -> None:  # fmt: skip
    """The three regressions of one window, at k, k + apart and k + 2 · apart."""
    flow2, return2, product, root2, root_product = 0.0, 0.0, 0.0, 0.0, 0.0
    slot = slot_before(newest, w - 1)
    for _ in range(w):
        r, x, y = closed[slot, RETURN], closed[slot, FLOW], closed[slot, ROOT]
        flow2 += x * x
        return2 += r * r
        product += r * x
        root2 += y * y
        root_product += r * y
        slot = slot_after(slot)
    if flow2 > 0.0:
        out[k] = 1e4 * (product / flow2)
        out[k + apart] = 1e4 * (root_product / root2)
        if return2 > 0.0:
            out[k + 2 * apart] = product / sqrt(return2 * flow2)


@in_place
def _amihud(closed: NDArray[np.float64], newest: int, w: int) -> float:
    total, known = 0.0, 0.0
    slot = slot_before(newest, w - 1)
    for _ in range(w):
        total += closed[slot, ILLIQUIDITY]
        known += closed[slot, ACTIVE]
        slot = slot_after(slot)
    return 1e4 * (total / known) if known > 0.0 else np.nan


@in_place
def _roll(products: NDArray[np.float64], newest: int, w: int, pairs: int, last: int) -> float:
    if pairs == 0:
        return np.nan
    total = 0.0
    slot = slot_before(newest, w - 1)
    for _ in range(w):
        total += products[slot]
        slot = slot_after(slot)
    return 1e4 * 2.0 * sqrt(max(0.0, -total / pairs)) / last


@in_place
def _reversal(
    ring: NDArray[np.int64], ticks: NDArray[np.int64], newest: int, after: int, w: int
) -> float:
    total, seen = 0.0, 0
    slot, later = slot_before(newest, w - 1), slot_before(newest, w - 1 - after)
    for _ in range(w - after):
        side = ring[slot, SIGNED_LARGE]
        if side != 0:
            moved = (ticks[later] - ticks[slot]) / ticks[slot]
            total += -moved if side > 0 else moved
            seen += 1
        slot, later = slot_after(slot), slot_after(later)
    return 1e4 * (total / seen) if seen > 0 else np.nan


@in_place
def _vpin(buckets: NDArray[np.int64], filling: NDArray[np.int64], n: int) -> float:
    if filling[FULL] < n:
        return np.nan
    apart, lots, keeps = 0, 0, buckets.shape[0]
    for ago in range(1, n + 1):
        slot = filling[NEXT] - ago
        slot = slot if slot >= 0 else slot + keeps
        apart += buckets[slot, 0]
        lots += buckets[slot, 1]
    return float(apart / lots)


@in_place_kernel
def close(boundary_ns: int, ladder: Ladder, state: State, out: NDArray[np.float64]) -> None:
    """Write the features of every symbol at `boundary_ns` into `out`, float64 (n, k), and open the
    next step. The rows scanned before are those with arrival_ns < boundary_ns."""
    params = state.params
    windows_s = params.windows_s
    for s in range(out.shape[0]):
        newest = _advance(s, state)
        out[s, :] = np.nan
        sums, k = state.sums[s], 0
        for n in params.vpin_buckets:
            out[s, k] = _vpin(state.buckets[s], state.filling[s], n)
            k += 1
        some = len(params.lambdas)
        for w in params.lambdas:
            _lambdas(state.closed[s], newest, windows_s[w], out[s], k, some)
            k += 1
        k += 2 * some
        for w in params.amihud:
            out[s, k] = _amihud(state.closed[s], newest, windows_s[w])
            k += 1
        for w in params.roll:
            last, pairs = state.last[s, 0], sums[w, PAIRS]
            out[s, k] = _roll(state.products[s], newest, windows_s[w], pairs, last)
            k += 1
        for j in range(params.reversals_s.shape[0]):
            after, window = params.reversals_s[j, 0], params.reversals_s[j, 1]
            out[s, k] = _reversal(state.ring[s], state.ticks[s], newest, after, window)
            k += 1
