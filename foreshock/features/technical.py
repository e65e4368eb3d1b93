"""Indicators: TA-Lib's definitions, streamed over closed candles of several lengths (bars).

Longer candles are made of one-minute ones, aligned to the clock, and count when every minute of
them was there. After a missing minute, and after a new tick size, every indicator begins anew. What
TA-Lib gives in units of price or volume is divided by the close or by volume, as each formula says;
the number before that division is TA-Lib's (a test holds it to the wheel, 1e-9 relative, once the
seed of a recursive average has worn off).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from foreshock.features.family import integers
from foreshock.features.technical_specs import SLOTS, STALE_S, TechnicalSettings, specs
from foreshock.market.candles import (
    BEGINS,
    CLOSE,
    HIGH,
    IGNORED,
    LOTS,
    LOW,
    MINUTE_NS,
    OPEN,
    empty_aside,
    is_whole,
    place_of,
    set_aside,
    waits,
)
from foreshock.market.clock import SECOND_NS
from foreshock.market.instruments import Instrument
from foreshock.market.jit import in_place, in_place_kernel
from foreshock.market.ladder import Ladder
from foreshock.market.rows import BAR, ID, INSTRUMENT, META, A, Words
from foreshock.market.words import count_of, kind_of, symbol_of

__all__ = ["Params", "State", "TechnicalSettings", "close", "init", "scan", "specs", "step"]

# Places of the recursive values of one length of candles.
R_EMA: Final = 0  # MOST_PERIODS
R_GAIN, R_LOSS = 8, 16  # MOST_PERIODS each: RSI
(
    R_CROSS_FAST, R_CROSS_SLOW, R_MACD_FAST, R_MACD_SLOW, R_MACD_SIGNAL, R_DEMA, R_DEMA2, R_DEMA3,
    R_TRIX, R_TRIX2, R_TRIX3, R_TRIX_BEFORE, R_KELTNER, R_KELTNER_RANGE, R_ATR, R_TR, R_PLUS,
    R_MINUS, R_ADX, R_CMO_GAIN, R_CMO_LOSS, R_AD, R_AD_FAST, R_AD_SLOW,
) = range(24, 48)  # fmt: skip
RECURSIVE: Final = 48
# Places of Params.periods behind the lists.
(
    P_CROSS_FAST, P_CROSS_SLOW, P_FAST, P_SLOW, P_SIGNAL, P_DEMA, P_BANDS, P_KELTNER,
    P_KELTNER_RANGE, P_ATR, P_ADX, P_CCI, P_K, P_SLOWING, P_D, P_WILLIAMS, P_MFI, P_CMO, P_VOLUME,
    P_ROC, P_TRIX, P_AROON, P_ULTIMATE,
) = range(23)  # fmt: skip


class Params(NamedTuple):
    """Lengths in minutes and periods in candles, int64."""

    lengths: NDArray[np.int64]
    rsi: NDArray[np.int64]
    ema: NDArray[np.int64]
    wma: NDArray[np.int64]
    periods: NDArray[np.int64]  # P_CROSS_FAST …, three of the ultimate oscillator last
    deviations: NDArray[np.float64]  # (1,): of the bands


class State(NamedTuple):
    """All symbols' candles of f lengths; n symbols. Written in place by `step` and `close`."""

    params: Params
    ring: NDArray[np.float64]  # (n, f, SLOTS, 5)
    head: NDArray[np.int64]  # (n, f): the slot of the last candle
    known: NDArray[np.int64]  # (n, f): candles since the last hole
    part: NDArray[np.float64]  # (n, f, 5): the candle that is being made
    minutes: NDArray[np.int64]  # (n, f): how many minutes are in it
    recursive: NDArray[np.float64]  # (n, f, RECURSIVE)
    last_open_ns: NDArray[np.int64]  # (n,), −1 before the first minute
    aside: NDArray[np.int64]  # (n, ASIDE): the last live candle
    steps: NDArray[np.int64]  # (n, 4): what ticks and lots are
    values: NDArray[np.float64]  # (n, k)


def init(instruments: Sequence[Instrument], settings: TechnicalSettings) -> State:
    """A cold state."""
    n, f = len(instruments), len(settings.lengths_min)
    periods = (
        *settings.cross, *settings.macd, settings.dema, settings.bands, *settings.keltner,
        settings.atr, settings.adx, settings.cci, *settings.stochastic, settings.williams,
        settings.mfi, settings.cmo, settings.volume, settings.roc, settings.trix, settings.aroon,
        *settings.ultimate,
    )  # fmt: skip
    return State(
        params=Params(
            integers(settings.lengths_min), integers(settings.rsi), integers(settings.ema),
            integers(settings.wma), integers(periods), np.array([settings.bands_width]),
        ),
        ring=np.zeros((n, f, SLOTS, 5)),
        head=np.zeros((n, f), np.int64),
        known=np.zeros((n, f), np.int64),
        part=np.zeros((n, f, 5)),
        minutes=np.zeros((n, f), np.int64),
        recursive=np.zeros((n, f, RECURSIVE)),
        last_open_ns=np.full(n, -1, np.int64),
        aside=empty_aside(n),
        steps=np.array([i.steps for i in instruments], np.int64).reshape(n, 4),
        values=np.full((n, len(specs(settings))), np.nan),
    )  # fmt: skip


@in_place
def _forget(s: int, state: State) -> None:
    for f in range(state.known.shape[1]):
        state.known[s, f] = 0
        state.minutes[s, f] = 0
        for k in range(RECURSIVE):
            state.recursive[s, f, k] = 0.0
    state.values[s, :] = np.nan


@in_place
def _ema(x: float, n: int, period: int, r: NDArray[np.float64], k: int) -> None:
    """Take the n-th value, n from 1: the mean of the first `period`, exponential behind them."""
    if n <= period:
        r[k] += x
        if n == period:
            r[k] /= period
    else:
        r[k] += (x - r[k]) * (2.0 / (period + 1))


@in_place
def _wilder(x: float, n: int, period: int, r: NDArray[np.float64], k: int) -> None:
    """The same with Wilder's weight, 1 / period."""
    if n <= period:
        r[k] += x
        if n == period:
            r[k] /= period
    else:
        r[k] = (r[k] * (period - 1) + x) / period


@in_place
def _wilder_sum(x: float, n: int, period: int, r: NDArray[np.float64], k: int) -> None:
    """Wilder's sum: the first period − 1 values, then a part of it lost with each one."""
    if n < period:
        r[k] += x
    else:
        r[k] += x - r[k] / period


@in_place
def _slot(head: int, ago: int) -> int:
    return head - ago if head >= ago else head - ago + SLOTS


@in_place
def _highest(ring: NDArray[np.float64], head: int, n: int, ago: int) -> float:
    out: float = ring[_slot(head, ago), HIGH]
    for k in range(ago + 1, ago + n):
        out = max(out, ring[_slot(head, k), HIGH])
    return out


@in_place
def _lowest(ring: NDArray[np.float64], head: int, n: int, ago: int) -> float:
    out: float = ring[_slot(head, ago), LOW]
    for k in range(ago + 1, ago + n):
        out = min(out, ring[_slot(head, k), LOW])
    return out


@in_place
def _true_range(ring: NDArray[np.float64], head: int, ago: int) -> float:
    bar, before = ring[_slot(head, ago)], ring[_slot(head, ago + 1), CLOSE]
    reach: float = max(bar[HIGH], before) - min(bar[LOW], before)
    return reach


@in_place
def _fast_k(ring: NDArray[np.float64], head: int, n: int, ago: int) -> float:
    high, low = _highest(ring, head, n, ago), _lowest(ring, head, n, ago)
    return 100.0 * (ring[_slot(head, ago), CLOSE] - low) / (high - low) if high > low else 0.0


@in_place
def _typical(ring: NDArray[np.float64], slot: int) -> float:
    middle: float = (ring[slot, HIGH] + ring[slot, LOW] + ring[slot, CLOSE]) / 3.0
    return middle


@in_place
def _advance(
    ring: NDArray[np.float64], head: int, n: int, params: Params, r: NDArray[np.float64]
) -> None:
    """Take the newest candle, the n-th, into everything that is recursive."""
    p, bar = params.periods, ring[head]
    close = bar[CLOSE]
    for k in range(len(params.ema)):
        _ema(close, n, params.ema[k], r, R_EMA + k)
    _ema(close, n, p[P_CROSS_FAST], r, R_CROSS_FAST)
    _ema(close, n, p[P_CROSS_SLOW], r, R_CROSS_SLOW)
    _ema(close, n, p[P_FAST], r, R_MACD_FAST)
    _ema(close, n, p[P_SLOW], r, R_MACD_SLOW)
    lead = max(p[P_FAST], p[P_SLOW]) - 1
    if n > lead:
        _ema(r[R_MACD_FAST] - r[R_MACD_SLOW], n - lead, p[P_SIGNAL], r, R_MACD_SIGNAL)
    for first, period in ((R_DEMA, p[P_DEMA]), (R_TRIX, p[P_TRIX])):
        if first == R_TRIX:
            r[R_TRIX_BEFORE] = r[R_TRIX3]
        _ema(close, n, period, r, first)
        if n >= period:
            _ema(r[first], n - period + 1, period, r, first + 1)
        if n >= 2 * period - 1:
            _ema(r[first + 1], n - 2 * period + 2, period, r, first + 2)
    _ema(close, n, p[P_KELTNER], r, R_KELTNER)

    shape = 0.0
    if bar[HIGH] > bar[LOW]:
        shape = ((close - bar[LOW]) - (bar[HIGH] - close)) / (bar[HIGH] - bar[LOW])
    r[R_AD] += shape * bar[LOTS]
    if n == 1:
        r[R_AD_FAST] = r[R_AD]
        r[R_AD_SLOW] = r[R_AD]
        return
    r[R_AD_FAST] = 0.5 * r[R_AD] + 0.5 * r[R_AD_FAST]  # 2 / (3 + 1)
    r[R_AD_SLOW] = (2.0 / 11.0) * r[R_AD] + (1.0 - 2.0 / 11.0) * r[R_AD_SLOW]

    before = ring[_slot(head, 1)]
    change = close - before[CLOSE]
    gain, loss = max(change, 0.0), max(-change, 0.0)
    for k in range(len(params.rsi)):
        _wilder(gain, n - 1, params.rsi[k], r, R_GAIN + k)
        _wilder(loss, n - 1, params.rsi[k], r, R_LOSS + k)
    _wilder(gain, n - 1, p[P_CMO], r, R_CMO_GAIN)
    _wilder(loss, n - 1, p[P_CMO], r, R_CMO_LOSS)
    reach = _true_range(ring, head, 0)
    _wilder(reach, n - 1, p[P_ATR], r, R_ATR)
    _wilder(reach, n - 1, p[P_KELTNER_RANGE], r, R_KELTNER_RANGE)
    up, down = bar[HIGH] - before[HIGH], before[LOW] - bar[LOW]
    _wilder_sum(reach, n - 1, p[P_ADX], r, R_TR)
    _wilder_sum(up if up > 0.0 and up > down else 0.0, n - 1, p[P_ADX], r, R_PLUS)
    _wilder_sum(down if down > 0.0 and down > up else 0.0, n - 1, p[P_ADX], r, R_MINUS)
    if n > p[P_ADX]:
        _wilder(_dx(r), n - p[P_ADX], p[P_ADX], r, R_ADX)


@in_place
def _dx(r: NDArray[np.float64]) -> float:
    both = r[R_PLUS] + r[R_MINUS]
    return 100.0 * abs(r[R_PLUS] - r[R_MINUS]) / both if both > 0.0 else 0.0


@in_place
def _averages(
    ring: NDArray[np.float64], head: int, n: int, params: Params, r: NDArray[np.float64],
    out: NDArray[np.float64],
) -> int:  # fmt: skip
    """The columns up to keltner_position; how many they are."""
    p, close, k = params.periods, ring[head, CLOSE], 0
    for j in range(len(params.rsi)):
        both = r[R_GAIN + j] + r[R_LOSS + j]
        if n > params.rsi[j]:
            out[k] = 100.0 * r[R_GAIN + j] / both if both > 0.0 else 0.0
        k += 1
    for j in range(len(params.ema)):
        if n >= params.ema[j]:
            out[k] = 1e4 * (close / r[R_EMA + j] - 1.0)
        k += 1
    for period in params.wma:
        if n >= period:
            total = 0.0
            for ago in range(period - 1, -1, -1):
                total += ring[_slot(head, ago), CLOSE] * (period - ago)
            out[k] = 1e4 * (close / (total / (period * (period + 1) / 2)) - 1.0)
        k += 1
    if n >= max(p[P_CROSS_FAST], p[P_CROSS_SLOW]):
        out[k] = 1e4 * (r[R_CROSS_FAST] / r[R_CROSS_SLOW] - 1.0)
    one, two, three = r[R_DEMA], r[R_DEMA + 1], r[R_DEMA + 2]
    if n >= 2 * p[P_DEMA] - 1:
        out[k + 1] = 1e4 * (close / (2.0 * one - two) - 1.0)
    if n >= 3 * p[P_DEMA] - 2:
        out[k + 2] = 1e4 * (close / (3.0 * one - 3.0 * two + three) - 1.0)
    slow = max(p[P_FAST], p[P_SLOW])
    line = r[R_MACD_FAST] - r[R_MACD_SLOW]
    if n >= slow:
        out[k + 3] = 1e4 * (line / close)
    if n >= slow + p[P_SIGNAL] - 1:
        out[k + 4] = 1e4 * ((line - r[R_MACD_SIGNAL]) / close)
    if n >= p[P_BANDS]:
        mean, squares = 0.0, 0.0
        for ago in range(p[P_BANDS] - 1, -1, -1):
            mean += ring[_slot(head, ago), CLOSE]
        mean /= p[P_BANDS]
        for ago in range(p[P_BANDS] - 1, -1, -1):
            away = ring[_slot(head, ago), CLOSE] - mean
            squares += away * away
        wide = params.deviations[0] * sqrt(squares / p[P_BANDS])
        if wide > 0.0:
            out[k + 5] = (close - (mean - wide)) / (2.0 * wide)
        out[k + 6] = 1e4 * (2.0 * wide / mean)
    if n >= max(p[P_KELTNER], p[P_KELTNER_RANGE] + 1):
        wide = 2.0 * r[R_KELTNER_RANGE]
        if wide > 0.0:
            out[k + 7] = (close - (r[R_KELTNER] - wide)) / (2.0 * wide)
    return k + 8


@in_place
def _oscillators(
    ring: NDArray[np.float64], head: int, n: int, params: Params, r: NDArray[np.float64],
    out: NDArray[np.float64], k: int,
) -> int:  # fmt: skip
    """The columns from natr to cmo; the column behind them."""
    p, close = params.periods, ring[head, CLOSE]
    if n > p[P_ATR]:
        out[k] = 1e4 * (r[R_ATR] / close)
    if n > p[P_ADX]:
        out[k + 1] = 100.0 * (r[R_PLUS] / r[R_TR]) if r[R_TR] > 0.0 else 0.0
        out[k + 2] = 100.0 * (r[R_MINUS] / r[R_TR]) if r[R_TR] > 0.0 else 0.0
    if n >= 2 * p[P_ADX]:
        out[k + 3] = r[R_ADX]
    m = p[P_CCI]
    if n >= m:
        mean, away = 0.0, 0.0
        for ago in range(m - 1, -1, -1):
            mean += _typical(ring, _slot(head, ago))
        mean /= m
        for ago in range(m - 1, -1, -1):
            away += abs(_typical(ring, _slot(head, ago)) - mean)
        out[k + 4] = (_typical(ring, head) - mean) / (0.015 * (away / m)) if away > 0.0 else 0.0
    width, slowing, d = p[P_K], p[P_SLOWING], p[P_D]
    if n >= width + slowing - 1:
        total = 0.0
        for ago in range(slowing - 1, -1, -1):
            total += _fast_k(ring, head, width, ago)
        out[k + 5] = total / slowing
    if n >= width + slowing + d - 2:
        total = 0.0
        for later in range(d - 1, -1, -1):
            for ago in range(slowing - 1, -1, -1):
                total += _fast_k(ring, head, width, later + ago)
        out[k + 6] = total / slowing / d
    m = p[P_WILLIAMS]
    if n >= m:
        high, low = _highest(ring, head, m, 0), _lowest(ring, head, m, 0)
        out[k + 7] = -100.0 * (high - close) / (high - low) if high > low else 0.0
    m = p[P_MFI]
    if n > m:
        up, down = 0.0, 0.0
        for ago in range(m - 1, -1, -1):
            now = _typical(ring, _slot(head, ago))
            before = _typical(ring, _slot(head, ago + 1))
            flow = now * ring[_slot(head, ago), LOTS]
            if now > before:
                up += flow
            elif now < before:
                down += flow
        out[k + 8] = 100.0 * (up / (up + down)) if up + down >= 1.0 else 0.0
    both = r[R_CMO_GAIN] + r[R_CMO_LOSS]
    if n > p[P_CMO]:
        out[k + 9] = 100.0 * ((r[R_CMO_GAIN] - r[R_CMO_LOSS]) / both) if both > 0.0 else 0.0
    return k + 10


@in_place
def _volumes(
    ring: NDArray[np.float64], head: int, n: int, params: Params, r: NDArray[np.float64],
    out: NDArray[np.float64], k: int,
) -> None:  # fmt: skip
    """The columns from obv_change to the last."""
    p, close = params.periods, ring[head, CLOSE]
    m = p[P_VOLUME]
    lots, on_balance, trend = 0.0, 0.0, 0.0
    if n >= m:
        for ago in range(m - 1, -1, -1):
            lots += ring[_slot(head, ago), LOTS]
    if n > m and lots > 0.0:
        for ago in range(m - 1, -1, -1):
            now, before = ring[_slot(head, ago)], ring[_slot(head, ago + 1), CLOSE]
            if now[CLOSE] > before:
                on_balance += now[LOTS]
            elif now[CLOSE] < before:
                on_balance -= now[LOTS]
            trend += now[LOTS] * (now[CLOSE] / before - 1.0)
        out[k] = on_balance / lots
        out[k + 1] = 1e4 * (trend / lots)
    if n >= max(10, m) and lots > 0.0:
        out[k + 2] = (r[R_AD_FAST] - r[R_AD_SLOW]) / (lots / m)
    m = p[P_ROC]
    if n > m:
        out[k + 3] = 100.0 * (close / ring[_slot(head, m), CLOSE] - 1.0)
    if n > 3 * p[P_TRIX] - 2:
        out[k + 4] = 100.0 * (r[R_TRIX3] / r[R_TRIX_BEFORE] - 1.0)
    m = p[P_AROON]
    if n > m:
        top, bottom = m, m
        for ago in range(m - 1, -1, -1):  # of equals the latest
            if ring[_slot(head, ago), HIGH] >= ring[_slot(head, top), HIGH]:
                top = ago
            if ring[_slot(head, ago), LOW] <= ring[_slot(head, bottom), LOW]:
                bottom = ago
        out[k + 5] = 100.0 * (bottom - top) / m
    longest = max(p[P_ULTIMATE], max(p[P_ULTIMATE + 1], p[P_ULTIMATE + 2]))
    if n > longest:
        total, weight = 0.0, 4.0
        short = min(p[P_ULTIMATE], min(p[P_ULTIMATE + 1], p[P_ULTIMATE + 2]))
        middle = p[P_ULTIMATE] + p[P_ULTIMATE + 1] + p[P_ULTIMATE + 2] - short - longest
        for m in (short, middle, longest):
            pressure, reach = 0.0, 0.0
            for ago in range(m - 1, -1, -1):
                bar, before = ring[_slot(head, ago)], ring[_slot(head, ago + 1), CLOSE]
                pressure += bar[CLOSE] - min(bar[LOW], before)
                reach += _true_range(ring, head, ago)
            if reach > 0.0:
                total += weight * (pressure / reach)
            weight /= 2.0
        out[k + 6] = 100.0 * total / 7.0


@in_place
def _take(s: int, f: int, state: State) -> None:
    """The candle in `part` is whole: take it in and work out its columns."""
    slot = 0 if state.head[s, f] + 1 == SLOTS else state.head[s, f] + 1
    for q in range(5):
        state.ring[s, f, slot, q] = state.part[s, f, q]
    state.head[s, f] = slot
    state.known[s, f] += 1
    ring, n, r = state.ring[s, f], state.known[s, f], state.recursive[s, f]
    _advance(ring, slot, n, state.params, r)
    width = state.values.shape[1] // state.known.shape[1]
    out = state.values[s, f * width : (f + 1) * width]
    out[:] = np.nan
    k = _averages(ring, slot, n, state.params, r, out)
    k = _oscillators(ring, slot, n, state.params, r, out, k)
    _volumes(ring, slot, n, state.params, r, out, k)


@in_place
def _minute(pack: NDArray[np.int64], opened_ns: int, s: int, state: State) -> None:
    state.last_open_ns[s] = opened_ns
    for f in range(state.known.shape[1]):
        length = state.params.lengths[f]
        place = opened_ns // MINUTE_NS % length
        part = state.part[s, f]
        if place == 0:
            part[OPEN], part[HIGH], part[LOW], part[LOTS] = pack[OPEN], pack[HIGH], pack[LOW], 0.0
            state.minutes[s, f] = 0
        elif state.minutes[s, f] != place:
            continue  # its beginning was not seen
        part[HIGH] = max(part[HIGH], pack[HIGH])
        part[LOW] = min(part[LOW], pack[LOW])
        part[CLOSE] = pack[CLOSE]
        part[LOTS] += pack[LOTS]
        state.minutes[s, f] = place + 1
        if place + 1 == length:
            _take(s, f, state)


@in_place
def step(words: Words, touch: NDArray[np.int64], i: int, state: State) -> None:
    """Advance by the header row `i` of `words`, int64 (n, 10). Candles that are open, of another
    length, or whose prices cannot be change nothing: their minute is missing then."""
    meta = words[i, META]
    kind = kind_of(meta)
    if kind != BAR and kind != INSTRUMENT:
        return
    s = symbol_of(meta)
    if s < 0 or s >= state.last_open_ns.shape[0]:
        return
    if kind == INSTRUMENT:
        for k in range(4):
            if words[i, A + k] != state.steps[s, k]:
                state.steps[s, k] = words[i, A + k]
                state.aside[s, 0] = -1
                _forget(s, state)
        return
    if not is_whole(words, i):
        return
    place = place_of(words, i, state.last_open_ns[s])
    if place == IGNORED:
        return
    if place == BEGINS:
        _forget(s, state)
    set_aside(words, i, state.aside[s])
    _minute(words[i + 1], words[i, ID], s, state)
    if waits(state.aside[s], state.last_open_ns[s]):
        _minute(state.aside[s, 1:], state.aside[s, 0], s, state)


@in_place_kernel
def scan(words: Words, touch: NDArray[np.int64], lo: int, hi: int, state: State) -> None:
    """Advance by the rows lo <= i < hi; `lo` must be a header row."""
    i = lo
    while i < hi:
        step(words, touch, i, state)
        i += 1 + count_of(words[i, META])


@in_place_kernel
def close(boundary_ns: int, ladder: Ladder, state: State, out: NDArray[np.float64]) -> None:
    """Write the features of every symbol at `boundary_ns` into `out`, float64 (n, k). They are
    worked out when a candle is whole and said until the next."""
    for s in range(out.shape[0]):
        told_ns = state.last_open_ns[s] + MINUTE_NS + STALE_S * SECOND_NS
        for k in range(out.shape[1]):
            out[s, k] = state.values[s, k] if boundary_ns <= told_ns else np.nan
