"""Variation: how far and how roughly the last traded price has moved (tape).

The last price is sampled at every close and carried forward through silent seconds; r is the log
return from one close to the next. Sums of squares and the like are floats: they are formed anew
from the ring, oldest first, at every close, so that a sum never depends on when it was started.

Up to five minutes a window is made of one-second returns up to the boundary. Beyond, it is made of
one-minute returns up to the last full minute (market/minutes.py), whose sums are formed once a
minute. Volatilities are per square root of a second throughout, so that they can be compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log, pi, sqrt
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from foreshock.config import Section
from foreshock.features.family import RING_S, Seconds, Windows, integers, positions, span, union
from foreshock.features.vector import FeatureSpec
from foreshock.market.instruments import Instrument
from foreshock.market.jit import in_place, in_place_kernel
from foreshock.market.ladder import Ladder
from foreshock.market.minutes import MINUTE_SLOTS, ends_minute, minute_after, minute_before
from foreshock.market.returns import (
    ABSOLUTE,
    BIPOWER,
    CUBES,
    FALL,
    FOURTHS,
    LAGGED,
    RISE,
    SIGNED,
    SQUARES,
    SUMS,
    ZEROS,
    of_blocks,
    sum_returns,
)  # fmt: skip
from foreshock.market.rings import SLOTS, slot_after, slot_before
from foreshock.market.rows import EPOCH, META, SYNCED, TAPE, TRADE, A, B, C, Words
from foreshock.market.words import count_of, kind_of, symbol_of

Pairs = tuple[tuple[int, int], ...]


class VariationSettings(Section):
    """Windows of volatility and momentum, and of what is known of the shape of returns."""

    volatility_s: Windows = Field(
        default=(10, 30, 60, 300, 900, 3600), description="Windows of realised volatility."
    )
    momentum_s: Windows = Field(
        default=(5, 10, 30, 60, 300, 900, 3600), description="Windows of momentum."
    )
    accelerations_s: Pairs = Field(
        default=((10, 60), (60, 300)), description="Pairs of windows whose momenta are compared."
    )
    ratios_s: Pairs = Field(
        default=((10, 60), (60, 300), (300, 3600)),
        description="Pairs of windows whose volatilities are compared.",
    )
    zscores_s: Pairs = Field(
        default=((1, 60), (10, 300), (60, 3600)),
        description="Pairs: a return over the first, by the volatility over the second.",
    )
    jumps_s: Windows = Field(
        default=(60, 300), description="Windows of bipower variation and of the jumps' share."
    )
    signed_s: Windows = Field(
        default=(60, 300), description="Windows of upward against downward variation."
    )
    moments_s: Windows = Field(
        default=(60, 300, 3600), description="Windows of realised skewness and kurtosis."
    )
    autocorrelation_s: Windows = Field(
        default=(60, 300, 3600), description="Windows of the returns' autocorrelation."
    )
    efficiency_s: Windows = Field(
        default=(60, 300, 3600), description="Windows of the path's efficiency."
    )
    extremes_s: Seconds = Field(
        default=(60,), description="Windows of the largest rise and fall within one second."
    )
    zeros_s: Seconds = Field(
        default=(60, 300), description="Windows of the share of seconds without a move."
    )
    blocks_s: Pairs = Field(
        default=((5, 60), (10, 300)),
        description="Pairs: blocks, and the window that is cut into them.",
    )

    @field_validator("accelerations_s", "ratios_s", "zscores_s", "blocks_s")
    @classmethod
    def _pairs(cls, given: Pairs, info: Any) -> Pairs:
        for short, long in given:
            kept = long <= RING_S or (long % 60 == 0 and long <= 3600)
            if not 0 < short < long or not kept or short > RING_S:
                raise ValueError(f"a short window and a longer one that is kept, got {short, long}")
            if info.field_name == "blocks_s" and (long > RING_S or long % short or short < 2):
                raise ValueError(f"blocks of 2 s or more that fill the window, got {short, long}")
        return given

    def windows_s(self) -> tuple[int, ...]:
        """Every window over whose returns is summed."""
        ratios = [window for pair in self.ratios_s for window in pair]
        longs = [long for _, long in (*self.zscores_s, *self.blocks_s)]
        return union(
            self.volatility_s, ratios, longs, self.jumps_s, self.signed_s, self.moments_s,
            self.autocorrelation_s, self.efficiency_s, self.extremes_s, self.zeros_s,
        )  # fmt: skip


_VOLATILITY = (
    "Andersen, Bollerslev, Diebold, Labys 2003, Modeling and forecasting realized volatility"
)
_BIPOWER = (
    "Barndorff-Nielsen, Shephard 2004, Power and bipower variation with stochastic volatility and "
    "jumps"
)
_SIGNED = "Patton, Sheppard 2015, Good volatility, bad volatility (signed variation)"
_MOMENTS = (
    "Amaya, Christoffersen, Jacobs, Vasquez 2015, Does realized skewness predict the cross-section "
    "of equity returns?"
)
_VARIANCE_RATIO = "Lo, MacKinlay 1988, Stock market prices do not follow random walks, section 1"
_EFFICIENCY = "Kaufman 1995, Smarter Trading (efficiency ratio), with its sign kept"
_ZEROS = "Lesmond, Ogden, Trzcinka 1999, A new estimate of transaction costs"
_LARGEST = "Bali, Cakici, Whitelaw 2011, Maxing out, within seconds"


def _unknown(window_s: int) -> str:
    reach = f"{window_s} s before the {'boundary' if window_s <= RING_S else 'last full minute'}"
    return f"no trade in this epoch earlier than {reach}"


def _still(window_s: int) -> str:
    return f"{_unknown(window_s)}, or a price that did not move in {window_s} s"


def specs(settings: VariationSettings) -> tuple[FeatureSpec, ...]:
    """Its features in the order of its columns."""
    found: list[FeatureSpec] = []

    def add(
        what: str, formula: str, source: str, windows_s: tuple[int, ...], unit: str = "1",
        moved: bool = True,
    ) -> None:  # fmt: skip
        longest = max(windows_s)
        name = "_".join((what, *map(span, windows_s)))
        rule = _still(longest) if moved else _unknown(longest)
        warmup_s = longest if longest <= RING_S else longest + 60
        found.append(
            FeatureSpec(name, "variation", formula, unit, "tape", warmup_s, rule, source, windows_s)
        )

    for w in settings.volatility_s:
        step = "1 s" if w <= RING_S else "1 min"
        add("realised_volatility",
            f"10⁴ · √(Σ r² / {w}), r the log returns of the last price over {step}, through {w} s "
            "(per square root of a second)", _VOLATILITY, (w,), "bps", False)  # fmt: skip
    for w in settings.momentum_s:
        start = "boundary" if w <= RING_S else "last full minute"
        add("momentum", f"10⁴ · (last price / last price {w} s before the {start} − 1)",
            "definition", (w,), "bps", False)  # fmt: skip
    for short, long in settings.accelerations_s:
        add("acceleration", f"momentum over {short} s − {short}/{long} · momentum over {long} s",
            "definition", (short, long), "bps", False)  # fmt: skip
    for short, long in settings.ratios_s:
        add("variation_ratio",
            f"realised volatility over {short} s / realised volatility over {long} s",
            _VOLATILITY, (short, long))  # fmt: skip
    for short, long in settings.zscores_s:
        add("return_zscore",
            f"log return over {short} s / (realised volatility over {long} s · √{short})",
            _VOLATILITY, (short, long))  # fmt: skip
    for w in settings.jumps_s:
        add("bipower_volatility",
            "10⁴ · √(π/2 · mean of |r| · |r before|) (per square root of a second)",
            _BIPOWER, (w,), "bps", False)  # fmt: skip
    for w in settings.jumps_s:
        add("jump_share", "max(0, 1 − bipower variation / realised variance)", _BIPOWER, (w,))
    for w in settings.signed_s:
        add("signed_variation", "(Σ r² of rises − Σ r² of falls) / Σ r²", _SIGNED, (w,))
    for w in settings.moments_s:
        add("realised_skewness", "√n · Σ r³ / (Σ r²)^1.5, n returns", _MOMENTS, (w,))
    for w in settings.moments_s:
        add("realised_kurtosis", "n · Σ r⁴ / (Σ r²)², n returns", _MOMENTS, (w,))
    for w in settings.autocorrelation_s:
        add("return_autocorrelation", "Σ r · r before / Σ r²", _VARIANCE_RATIO, (w,))
    for w in settings.efficiency_s:
        add("path_efficiency", "log return over the window / Σ |r|", _EFFICIENCY, (w,))
    for w in settings.extremes_s:
        add("largest_rise", "10⁴ · largest r, 0 where none is a rise", _LARGEST, (w,), "bps", False)
    for w in settings.extremes_s:
        add("largest_fall", "10⁴ · largest −r, 0 where none is a fall", _LARGEST, (w,), "bps",
            False)  # fmt: skip
    for w in settings.zeros_s:
        add("zero_return_share", "share of r that are 0", _ZEROS, (w,), "1", False)
    for short, long in settings.blocks_s:
        add("variance_ratio",
            f"Σ R² / Σ r², R the log returns over {short} s that fill {long} s",
            _VARIANCE_RATIO, (short, long))  # fmt: skip
    for short, long in settings.blocks_s:
        add("volatility_of_volatility",
            f"standard deviation / mean of the realised volatilities of {long // short} blocks of "
            f"{short} s", "Corsi, Mittnik, Pigorsch, Pigorsch 2008, The volatility of realized "
            "volatility", (short, long))  # fmt: skip
    return tuple(found)


class Params(NamedTuple):
    """Windows in seconds; of what is summed, where the window is in `windows_s`."""

    windows_s: NDArray[np.int64]
    volatility: NDArray[np.int64]
    momentum_s: NDArray[np.int64]
    accelerations_s: NDArray[np.int64]  # (pairs, 2)
    ratios: NDArray[np.int64]  # (pairs, 2)
    zscores: NDArray[np.int64]  # (pairs, 2): seconds, position
    jumps: NDArray[np.int64]
    signed: NDArray[np.int64]
    moments: NDArray[np.int64]
    autocorrelation: NDArray[np.int64]
    efficiency: NDArray[np.int64]
    extremes: NDArray[np.int64]
    zeros: NDArray[np.int64]
    blocks: NDArray[np.int64]  # (pairs, 2): seconds, position


class State(NamedTuple):
    """All symbols' variation; n symbols. Arrays are written in place by `step` and `close`.

    Slot j of the rings belongs to one close: the last price then, and the log return over the
    second that it ended. Both are 0 where no trade was known.
    """

    params: Params
    ticks: NDArray[np.int64]  # (n, SLOTS)
    returns: NDArray[np.float64]  # (n, 2 · SLOTS): the ring twice, so that a window is one slice
    head: NDArray[np.int64]  # (n,), the slot of the next close
    minute_ticks: NDArray[np.int64]  # (n, MINUTE_SLOTS)
    minute_returns: NDArray[np.float64]  # (n, 2 · MINUTE_SLOTS)
    minute_head: NDArray[np.int64]  # (n,), the slot of the last full minute
    sums: NDArray[np.float64]  # (n, windows, 10), as of the last close, or of the last full minute
    last_ticks: NDArray[np.int64]  # (n,), price of the last trade; 0 before the first
    epoch: NDArray[np.int64]  # (n,), −1 before the first


def init(instruments: Sequence[Instrument], settings: VariationSettings) -> State:
    """A cold state."""
    n, windows = len(instruments), settings.windows_s()

    def at(pairs: Pairs, first: bool = False) -> NDArray[np.int64]:
        found = [(windows.index(a) if first else a, windows.index(b)) for a, b in pairs]
        return np.array(found, np.int64).reshape(-1, 2)

    return State(
        params=Params(
            windows_s=integers(windows),
            volatility=positions(settings.volatility_s, windows),
            momentum_s=integers(settings.momentum_s),
            accelerations_s=np.array(settings.accelerations_s, np.int64).reshape(-1, 2),
            ratios=at(settings.ratios_s, first=True),
            zscores=at(settings.zscores_s),
            jumps=positions(settings.jumps_s, windows),
            signed=positions(settings.signed_s, windows),
            moments=positions(settings.moments_s, windows),
            autocorrelation=positions(settings.autocorrelation_s, windows),
            efficiency=positions(settings.efficiency_s, windows),
            extremes=positions(settings.extremes_s, windows),
            zeros=positions(settings.zeros_s, windows),
            blocks=at(settings.blocks_s),
        ),
        ticks=np.zeros((n, SLOTS), np.int64),
        returns=np.zeros((n, 2 * SLOTS), np.float64),
        head=np.zeros(n, np.int64),
        minute_ticks=np.zeros((n, MINUTE_SLOTS), np.int64),
        minute_returns=np.zeros((n, 2 * MINUTE_SLOTS), np.float64),
        minute_head=np.zeros(n, np.int64),
        sums=np.zeros((n, len(windows), SUMS), np.float64),
        last_ticks=np.zeros(n, np.int64),
        epoch=np.full(n, -1, np.int64),
    )


@in_place
def _forget(symbol: int, state: State) -> None:
    for slot in range(SLOTS):
        state.ticks[symbol, slot] = 0
    for slot in range(2 * SLOTS):
        state.returns[symbol, slot] = 0.0
    for slot in range(MINUTE_SLOTS):
        state.minute_ticks[symbol, slot] = 0
    for slot in range(2 * MINUTE_SLOTS):
        state.minute_returns[symbol, slot] = 0.0
    state.last_ticks[symbol] = 0


@in_place
def step(words: Words, touch: NDArray[np.int64], i: int, state: State) -> None:
    """Advance by the header row `i` of `words`, int64 (n, 10). Rows without a price or a size, of
    ALL or of other kinds change nothing."""
    meta = words[i, META]
    kind = kind_of(meta)
    if kind != TRADE and kind != EPOCH:
        return
    symbol = symbol_of(meta)
    if symbol < 0 or symbol >= state.head.shape[0]:
        return
    if kind == TRADE:
        if words[i, A] > 0 and words[i, B] > 0:
            state.last_ticks[symbol] = words[i, A]
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
def _log_return(last: int, before: int) -> float:
    return log(last / before) if before > 0 and last != before else 0.0


@in_place
def _advance(boundary_ns: int, s: int, state: State) -> None:
    """Let the second that ends enter the rings, and its minute where that ends too."""
    head, last = state.head[s], state.last_ticks[s]
    r = _log_return(last, state.ticks[s, slot_before(head, 1)])
    state.ticks[s, head] = last
    state.returns[s, head] = r
    state.returns[s, head + SLOTS] = r
    minute = ends_minute(boundary_ns)
    if minute:
        before = state.minute_ticks[s, state.minute_head[s]]
        state.minute_head[s] = minute_after(state.minute_head[s])
        r = _log_return(last, before)
        state.minute_ticks[s, state.minute_head[s]] = last
        state.minute_returns[s, state.minute_head[s]] = r
        state.minute_returns[s, state.minute_head[s] + MINUTE_SLOTS] = r
    end, minute_end = head + SLOTS + 1, state.minute_head[s] + MINUTE_SLOTS + 1
    for w in range(len(state.params.windows_s)):
        window_s = state.params.windows_s[w]
        if window_s <= RING_S:
            sum_returns(state.returns[s, end - window_s : end], state.sums[s, w])
        elif minute:
            lo = minute_end - window_s // 60
            sum_returns(state.minute_returns[s, lo:minute_end], state.sums[s, w])


@in_place
def _price(s: int, window_s: int, state: State) -> int:
    """The last price at the start of the window that ends now, or 0."""
    if window_s <= RING_S:
        return state.ticks[s, slot_before(state.head[s], window_s)]  # type: ignore[no-any-return]
    slot = minute_before(state.minute_head[s], window_s // 60)
    return state.minute_ticks[s, slot]  # type: ignore[no-any-return]


@in_place
def _net(s: int, window_s: int, state: State) -> float:
    """The log return over a known window: of seconds up to now, of minutes up to the last one."""
    last = state.last_ticks[s]
    if window_s > RING_S:
        last = state.minute_ticks[s, state.minute_head[s]]
    return _log_return(last, _price(s, window_s, state))


@in_place
def _momentum(s: int, window_s: int, state: State) -> float:
    ago = _price(s, window_s, state)
    return 1e4 * ((state.last_ticks[s] - ago) / ago) if ago > 0 else np.nan


@in_place
def _moves(s: int, state: State, out: NDArray[np.float64]) -> int:
    """Volatility and momentum, and what compares windows of them; returns the next column."""
    params, sums, k = state.params, state.sums[s], 0
    windows_s = params.windows_s
    for w in params.volatility:
        if _price(s, windows_s[w], state) > 0:
            out[k] = 1e4 * sqrt(sums[w, SQUARES] / windows_s[w])
        k += 1
    for window_s in params.momentum_s:
        out[k] = _momentum(s, window_s, state)
        k += 1
    for pair in range(params.accelerations_s.shape[0]):
        short, long = params.accelerations_s[pair, 0], params.accelerations_s[pair, 1]
        out[k] = _momentum(s, short, state) - short / long * _momentum(s, long, state)
        k += 1
    for pair in range(params.ratios.shape[0]):
        short, long = params.ratios[pair, 0], params.ratios[pair, 1]
        if _price(s, windows_s[long], state) > 0 and sums[long, SQUARES] > 0.0:
            fast = sums[short, SQUARES] / windows_s[short]
            out[k] = sqrt(fast / (sums[long, SQUARES] / windows_s[long]))
        k += 1
    for pair in range(params.zscores.shape[0]):
        short, long = params.zscores[pair, 0], params.zscores[pair, 1]
        if _price(s, windows_s[long], state) > 0 and sums[long, SQUARES] > 0.0:
            expected = sqrt(sums[long, SQUARES] / windows_s[long] * short)
            out[k] = _net(s, short, state) / expected
        k += 1
    return k


@in_place
def _shapes(s: int, state: State, out: NDArray[np.float64], k: int) -> None:
    """What the sums over the returns of a window say of their shape, from column k on."""
    params, sums = state.params, state.sums[s]
    windows_s = params.windows_s
    for w in params.jumps:
        window_s, moves = windows_s[w], len(params.jumps)
        n = window_s if window_s <= RING_S else window_s // 60
        if _price(s, window_s, state) > 0:
            bipower = pi / 2.0 * sums[w, BIPOWER] * n / (n - 1)
            out[k] = 1e4 * sqrt(bipower / window_s)
            if sums[w, SQUARES] > 0.0:
                out[k + moves] = max(0.0, 1.0 - bipower / sums[w, SQUARES])
        k += 1
    k += len(params.jumps)
    for w in params.signed:
        if _price(s, windows_s[w], state) > 0 and sums[w, SQUARES] > 0.0:
            out[k] = sums[w, SIGNED] / sums[w, SQUARES]
        k += 1
    for w in params.moments:
        window_s, squares = windows_s[w], sums[w, SQUARES]
        n = window_s if window_s <= RING_S else window_s // 60
        if _price(s, window_s, state) > 0 and squares > 0.0:
            out[k] = sqrt(n) * sums[w, CUBES] / (squares * sqrt(squares))
            out[k + len(params.moments)] = n * sums[w, FOURTHS] / (squares * squares)
        k += 1
    k += len(params.moments)
    for w in params.autocorrelation:
        if _price(s, windows_s[w], state) > 0 and sums[w, SQUARES] > 0.0:
            out[k] = sums[w, LAGGED] / sums[w, SQUARES]
        k += 1
    for w in params.efficiency:
        if _price(s, windows_s[w], state) > 0 and sums[w, ABSOLUTE] > 0.0:
            out[k] = _net(s, windows_s[w], state) / sums[w, ABSOLUTE]
        k += 1
    for w in params.extremes:
        if _price(s, windows_s[w], state) > 0:
            out[k] = 1e4 * sums[w, RISE]
            out[k + len(params.extremes)] = 1e4 * sums[w, FALL]
        k += 1
    k += len(params.extremes)
    for w in params.zeros:
        if _price(s, windows_s[w], state) > 0:
            out[k] = sums[w, ZEROS] / windows_s[w]
        k += 1
    end = state.head[s] + SLOTS + 1
    for pair in range(params.blocks.shape[0]):
        block_s, w = params.blocks[pair, 0], params.blocks[pair, 1]
        if _price(s, windows_s[w], state) > 0 and sums[w, SQUARES] > 0.0:
            coarse, variation = of_blocks(state.returns[s, end - windows_s[w] : end], block_s)
            out[k] = coarse / sums[w, SQUARES]
            out[k + params.blocks.shape[0]] = variation
        k += 1


@in_place_kernel
def close(boundary_ns: int, ladder: Ladder, state: State, out: NDArray[np.float64]) -> None:
    """Write the features of every symbol at `boundary_ns` into `out`, float64 (n, k), and open the
    next step. The rows scanned before are those with arrival_ns < boundary_ns."""
    for s in range(out.shape[0]):
        out[s, :] = np.nan
        _advance(boundary_ns, s, state)
        _shapes(s, state, out[s], _moves(s, state, out[s]))
        state.head[s] = slot_after(state.head[s])
