"""Bars: what closed one-minute candles say of the last minutes to the last day (bars).

A candle counts when it has closed and follows the one before it; the same minute told twice counts
once. After a missing minute everything begins anew: no window reaches over a hole. A pair whose
candles stop for STALE_S has no values, and neither has one that changed its tick size.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log, sqrt
from typing import Annotated, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, Field

from foreshock.config import Section
from foreshock.features.family import Ascending, integers, span
from foreshock.features.vector import FeatureSpec
from foreshock.market.candles import (
    BEGINS,
    CLOSE,
    HIGH,
    IGNORED,
    LOTS,
    LOW,
    MINUTE_NS,
    OPEN,
    TAKER,
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

STALE_S: Final = 180  # behind the close of the last candle
DAY: Final = 1_440  # minutes kept, besides the close before them
SLOTS: Final = DAY + 1
HOUR: Final = 60
LEAST_MOMENTS: Final = 5
SOURCE: Final = "definition"
_PARKINSON: Final = "Parkinson 1980, The extreme value method for estimating the variance"
_GARMAN: Final = "Garman, Klass 1980, On the estimation of security price volatilities"


def _within_a_day(given: tuple[int, ...]) -> tuple[int, ...]:
    if given and (given[-1] > DAY or given[0] < 1):
        raise ValueError(f"windows are from 1 to {DAY} minutes, got {list(given)}")
    return given


def _moment(given: tuple[int, ...]) -> tuple[int, ...]:
    if given and given[0] < LEAST_MOMENTS:
        raise ValueError(f"moments want at least {LEAST_MOMENTS} minutes, got {list(given)}")
    return given


Minutes = Annotated[Ascending, AfterValidator(_within_a_day)]


class BarsSettings(Section):
    """Windows in minutes of candles."""

    returns_min: Minutes = Field(
        default=(1, 5, 15, 60, 240, 1440), description="Windows of log returns, minutes."
    )
    means_min: Minutes = Field(
        default=(20, 50, 200), description="Windows of simple means that the price is held to."
    )
    windows_min: Minutes = Field(
        default=(60, 240, 1440),
        description="Windows of z-scores, ranges, drawdowns and volume-weighted prices, minutes.",
    )
    moments_min: Annotated[Minutes, AfterValidator(_moment)] = Field(
        default=(60, 240), description="Windows of skewness, kurtosis and trend, minutes."
    )
    volumes_min: tuple[tuple[int, int], ...] = Field(
        default=((5, 60), (60, 1440)), description="Pairs of windows whose mean volumes compare."
    )
    takers_min: Minutes = Field(
        default=(1, 5, 60), description="Windows of the takers' share of what was bought."
    )


def specs(settings: BarsSettings) -> tuple[FeatureSpec, ...]:
    """Its features in the order of its columns."""

    def spec(
        name: str, formula: str, minutes: int, unit: str = "1", source: str = SOURCE, rule: str = ""
    ) -> FeatureSpec:
        known = f"fewer than {minutes} candles since the last hole, or none for {STALE_S} s"
        return FeatureSpec(
            name, "bars", formula, unit, "bars", 60 * minutes, f"{known}{rule}", source,
            (60 * minutes,),
        )  # fmt: skip

    flat = ", or a price that did not move"
    return (
        *(
            spec(f"returns_{span(60 * m)}", f"10⁴ · ln(close / close {m} min before)", m + 1, "bps")
            for m in settings.returns_min
        ),
        spec("volatility_1h", "10⁴ · standard deviation of the last 12 log returns over 5 min",
             61, "bps"),
        spec("volatility_24h", "10⁴ · standard deviation of the last 24 log returns over 1 h",
             1441, "bps"),
        spec("high_low_range", "10⁴ · (high − low) / close of the last candle", 1, "bps"),
        spec("close_position", "(close − low) / (high − low) of the last candle", 1, rule=flat),
        spec("body_share", "(close − open) / (high − low) of the last candle", 1, rule=flat),
        spec("price_gap", "10⁴ · (open / close before − 1) of the last candle", 2, "bps"),
        *(
            spec(f"sma_distance_{m}m", f"10⁴ · (close / mean close of {m} min − 1)", m, "bps")
            for m in settings.means_min
        ),
        *(
            column
            for m in settings.windows_min
            for column in (
                spec(f"price_zscore_{span(60 * m)}",
                     f"(close − mean) / standard deviation of {m} closes", m, rule=flat),
                spec(f"bar_range_position_{span(60 * m)}",
                     f"(close − lowest low) / (highest high − lowest low) of {m} min", m,
                     rule=flat),
                spec(f"bar_drawdown_{span(60 * m)}", f"10⁴ · (close / highest high of {m} min − 1)",
                     m, "bps"),
                spec(f"bar_runup_{span(60 * m)}", f"10⁴ · (close / lowest low of {m} min − 1)", m,
                     "bps"),
                spec(f"bar_vwap_deviation_{span(60 * m)}",
                     f"10⁴ · (close / Σ lots · typical price / Σ lots of {m} min − 1), typical = "
                     "(high + low + close) / 3", m, "bps", rule=", or nothing traded"),
                spec(f"bar_parkinson_{span(60 * m)}",
                     f"10⁴ · √(mean ln²(high / low) / (4 ln 2)) of {m} min", m, "bps", _PARKINSON),
                spec(f"bar_garman_klass_{span(60 * m)}",
                     f"10⁴ · √(mean of ½ ln²(high / low) − (2 ln 2 − 1) ln²(close / open)) of {m}"
                     " min, 0 where that is below 0", m, "bps", _GARMAN),
            )
        ),
        *(
            column
            for m in settings.moments_min
            for column in (
                spec(f"return_skewness_{span(60 * m)}",
                     f"skewness of {m} one-minute log returns", m + 1, rule=flat),
                spec(f"return_kurtosis_{span(60 * m)}",
                     f"excess kurtosis of {m} one-minute log returns", m + 1, rule=flat),
                spec(f"trend_t_{span(60 * m)}",
                     f"t statistic of the slope of {m} log closes on time", m, rule=flat,
                     source="López de Prado 2018, Machine learning for asset managers, trend"
                     " scanning"),
                spec(f"up_share_{span(60 * m)}", f"share of {m} candles that closed above open",
                     m),
            )
        ),
        *(
            spec(f"volume_ratio_{span(60 * short)}_{span(60 * long)}",
                 f"mean lots a minute of {short} min / of {long} min", long,
                 rule=", or nothing traded")
            for short, long in settings.volumes_min
        ),
        *(
            spec(f"volume_zscore_{span(60 * m)}",
                 f"(lots of the last candle − mean) / standard deviation of {m} candles", m,
                 rule=", or volume that did not change")
            for m in settings.windows_min
        ),
        *(
            spec(f"taker_buy_share_{span(60 * m)}", f"lots bought by takers / lots of {m} min", m,
                 rule=", nothing traded, or a source that does not say who took")
            for m in settings.takers_min
        ),
        spec("run_length", "candles in a row that closed above (+) or below (−) the one before",
             2),
        spec("trend_regime", "ln(mean close of 1 h / mean close of 24 h) / standard deviation of "
             "24 one-hour log returns: above 0 bull, below 0 bear", 1441, rule=flat),
        spec("volatility_regime", "share of the last 24 h's hours whose one-minute volatility was "
             "below that of the last hour", 1441, rule=flat),
    )  # fmt: skip


class Params(NamedTuple):
    """Minutes."""

    returns: NDArray[np.int64]
    means: NDArray[np.int64]
    windows: NDArray[np.int64]
    moments: NDArray[np.int64]
    volumes: NDArray[np.int64]  # (pairs, 2)
    takers: NDArray[np.int64]


class State(NamedTuple):
    """All symbols' candles; n symbols. Arrays are written in place by `step` and `close`."""

    params: Params
    ring: NDArray[np.int64]  # (n, SLOTS, 6): the quantities of the last candles
    head: NDArray[np.int64]  # (n,): the slot of the last candle
    known: NDArray[np.int64]  # (n,): candles since the last hole, at most SLOTS
    last_open_ns: NDArray[np.int64]  # (n,), −1 before the first
    fresh: NDArray[np.int64]  # (n,): 1 where `values` are not of the last candle
    aside: NDArray[np.int64]  # (n, ASIDE): the last live candle
    steps: NDArray[np.int64]  # (n, 4): what ticks and lots are
    values: NDArray[np.float64]  # (n, k)


def init(instruments: Sequence[Instrument], settings: BarsSettings) -> State:
    """A cold state."""
    n = len(instruments)
    return State(
        params=Params(
            integers(settings.returns_min),
            integers(settings.means_min),
            integers(settings.windows_min),
            integers(settings.moments_min),
            np.array(settings.volumes_min, np.int64).reshape(-1, 2),
            integers(settings.takers_min),
        ),
        ring=np.zeros((n, SLOTS, 6), np.int64),
        head=np.zeros(n, np.int64),
        known=np.zeros(n, np.int64),
        last_open_ns=np.full(n, -1, np.int64),
        fresh=np.zeros(n, np.int64),
        aside=empty_aside(n),
        steps=np.array([i.steps for i in instruments], np.int64).reshape(n, 4),
        values=np.full((n, len(specs(settings))), np.nan),
    )


@in_place
def _forget(s: int, state: State) -> None:
    state.known[s] = 0
    state.head[s] = 0
    state.fresh[s] = 1


@in_place
def _take(pack: NDArray[np.int64], opened_ns: int, s: int, state: State) -> None:
    slot = 0 if state.head[s] + 1 == SLOTS else state.head[s] + 1
    for q in range(6):
        state.ring[s, slot, q] = pack[q]
    state.head[s] = slot
    state.known[s] = min(SLOTS, state.known[s] + 1)
    state.last_open_ns[s] = opened_ns
    state.fresh[s] = 1


@in_place
def step(words: Words, touch: NDArray[np.int64], i: int, state: State) -> None:
    """Advance by the header row `i` of `words`, int64 (n, 10). Candles that are open, of another
    length, or whose prices cannot be change nothing: their minute is missing then."""
    meta = words[i, META]
    kind = kind_of(meta)
    if kind != BAR and kind != INSTRUMENT:
        return
    s = symbol_of(meta)
    if s < 0 or s >= state.head.shape[0]:
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
    _take(words[i + 1], words[i, ID], s, state)
    if waits(state.aside[s], state.last_open_ns[s]):
        _take(state.aside[s, 1:], state.aside[s, 0], s, state)


@in_place_kernel
def scan(words: Words, touch: NDArray[np.int64], lo: int, hi: int, state: State) -> None:
    """Advance by the rows lo <= i < hi; `lo` must be a header row."""
    i = lo
    while i < hi:
        step(words, touch, i, state)
        i += 1 + count_of(words[i, META])


@in_place
def _slot(head: int, ago: int) -> int:
    return head - ago if head >= ago else head - ago + SLOTS


@in_place
def _mean_close(ring: NDArray[np.int64], head: int, minutes: int) -> float:
    total = 0
    for ago in range(minutes):
        total += ring[_slot(head, ago), CLOSE]
    return total / minutes


@in_place
def _lots(ring: NDArray[np.int64], head: int, minutes: int, quantity: int) -> int:
    total = 0
    for ago in range(minutes):
        total += ring[_slot(head, ago), quantity]
    return total


@in_place
def _deviation(ring: NDArray[np.int64], head: int, returns: int, every: int) -> float:
    """Standard deviation (n − 1) of `returns` log returns over `every` minutes each."""
    total, squares = 0.0, 0.0
    for k in range(returns - 1, -1, -1):
        now = ring[_slot(head, k * every), CLOSE]
        before = ring[_slot(head, (k + 1) * every), CLOSE]
        total += log(now / before)
    mean = total / returns
    for k in range(returns - 1, -1, -1):
        now = ring[_slot(head, k * every), CLOSE]
        before = ring[_slot(head, (k + 1) * every), CLOSE]
        away = log(now / before) - mean
        squares += away * away
    return sqrt(squares / (returns - 1))


@in_place
def _window(ring: NDArray[np.int64], head: int, m: int, out: NDArray[np.float64], k: int) -> None:
    """The seven columns of one of `windows_min`, from column k on."""
    close = ring[head, CLOSE]
    high, low, typical, lots, total = 0, ring[head, LOW], 0.0, 0, 0
    ranges, garman = 0.0, 0.0
    for ago in range(m - 1, -1, -1):
        bar = ring[_slot(head, ago)]
        high, low = max(high, bar[HIGH]), min(low, bar[LOW])
        typical += (bar[HIGH] + bar[LOW] + bar[CLOSE]) / 3.0 * bar[LOTS]
        lots += bar[LOTS]
        total += bar[CLOSE]
        wide, body = log(bar[HIGH] / bar[LOW]), log(bar[CLOSE] / bar[OPEN])
        ranges += wide * wide
        garman += 0.5 * wide * wide - (2.0 * log(2.0) - 1.0) * body * body
    mean, squares = total / m, 0.0
    for ago in range(m - 1, -1, -1):
        away = ring[_slot(head, ago), CLOSE] - mean
        squares += away * away
    if squares > 0.0:
        out[k] = (close - mean) / sqrt(squares / (m - 1))
    if high > low:
        out[k + 1] = (close - low) / (high - low)
    out[k + 2] = 1e4 * (close / high - 1.0)
    out[k + 3] = 1e4 * (close / low - 1.0)
    if lots > 0:
        out[k + 4] = 1e4 * (close / (typical / lots) - 1.0)
    out[k + 5] = 1e4 * sqrt(ranges / m / (4.0 * log(2.0)))
    out[k + 6] = 1e4 * sqrt(max(0.0, garman / m))


@in_place
def _moments(ring: NDArray[np.int64], head: int, m: int, out: NDArray[np.float64], k: int) -> None:
    """The four columns of one of `moments_min`, from column k on; the first two want a candle
    more, and are written over where it is missing."""
    mean, up = 0.0, 0
    for ago in range(m - 1, -1, -1):
        mean += log(ring[_slot(head, ago), CLOSE] / ring[_slot(head, ago + 1), CLOSE])
        up += ring[_slot(head, ago), CLOSE] > ring[_slot(head, ago), OPEN]
    mean /= m
    two, three, four = 0.0, 0.0, 0.0
    for ago in range(m - 1, -1, -1):
        away = log(ring[_slot(head, ago), CLOSE] / ring[_slot(head, ago + 1), CLOSE]) - mean
        two += away * away
        three += away * away * away
        four += away * away * away * away
    if two > 0.0:
        variance = two / m
        out[k] = three / m / (variance * sqrt(variance))
        out[k + 1] = four / m / (variance * variance) - 3.0
    # Least squares of log close on 0 … m − 1, centred on both sides.
    middle, level = (m - 1) / 2.0, 0.0
    base = ring[head, CLOSE]
    for ago in range(m - 1, -1, -1):
        level += log(ring[_slot(head, ago), CLOSE] / base)
    level /= m
    across, time, total = 0.0, 0.0, 0.0
    for ago in range(m - 1, -1, -1):
        x = (m - 1 - ago) - middle
        y = log(ring[_slot(head, ago), CLOSE] / base) - level
        across += x * y
        time += x * x
        total += y * y
    slope = across / time
    rest = total - slope * across
    if rest > 1e-12 * total:
        out[k + 2] = slope / sqrt(rest / (m - 2) / time)
    out[k + 3] = up / m


@in_place
def _regime(ring: NDArray[np.int64], head: int, out: NDArray[np.float64], k: int) -> None:
    """Trend and volatility regime over a day, columns k and k + 1."""
    spread = _deviation(ring, head, 24, HOUR)
    if spread > 0.0:
        fast, slow = _mean_close(ring, head, HOUR), _mean_close(ring, head, DAY)
        out[k] = log(fast / slow) / spread
    below, last = 0, 0.0
    for hour in range(24):
        squares = 0.0
        for ago in range((hour + 1) * HOUR - 1, hour * HOUR - 1, -1):
            r = log(ring[_slot(head, ago), CLOSE] / ring[_slot(head, ago + 1), CLOSE])
            squares += r * r
        if hour == 0:
            last = squares
        elif squares < last:
            below += 1
    if last > 0.0 or below > 0:
        out[k + 1] = below / 23.0


@in_place
def _write(s: int, state: State, out: NDArray[np.float64]) -> None:
    params, ring, head, known = state.params, state.ring[s], state.head[s], state.known[s]
    bar = ring[head]
    close, k = bar[CLOSE], 0
    for m in params.returns:
        if known > m:
            out[k] = 1e4 * log(close / ring[_slot(head, m), CLOSE])
        k += 1
    if known > HOUR:
        out[k] = 1e4 * _deviation(ring, head, 12, 5)
    if known > DAY:
        out[k + 1] = 1e4 * _deviation(ring, head, 24, HOUR)
    if known > 0:
        wide = bar[HIGH] - bar[LOW]
        out[k + 2] = 1e4 * (wide / close)
        if wide > 0:
            out[k + 3] = (close - bar[LOW]) / wide
            out[k + 4] = (close - bar[OPEN]) / wide
    if known > 1:
        out[k + 5] = 1e4 * (bar[OPEN] / ring[_slot(head, 1), CLOSE] - 1.0)
    k += 6
    for m in params.means:
        if known >= m:
            out[k] = 1e4 * (close / _mean_close(ring, head, m) - 1.0)
        k += 1
    for m in params.windows:
        if known >= m:
            _window(ring, head, m, out, k)
        k += 7
    for m in params.moments:
        if known > m:
            _moments(ring, head, m, out, k)
        k += 4
    for pair in range(params.volumes.shape[0]):
        short, long = params.volumes[pair, 0], params.volumes[pair, 1]
        if known >= long:
            below = _lots(ring, head, long, LOTS)
            if below > 0:
                out[k] = (_lots(ring, head, short, LOTS) * long) / (below * short)
        k += 1
    for m in params.windows:
        if known >= m:
            mean, squares = _lots(ring, head, m, LOTS) / m, 0.0
            for ago in range(m - 1, -1, -1):
                away = ring[_slot(head, ago), LOTS] - mean
                squares += away * away
            if squares > 0.0:
                out[k] = (bar[LOTS] - mean) / sqrt(squares / (m - 1))
        k += 1
    for m in params.takers:
        if known >= m:
            lots, taken = _lots(ring, head, m, LOTS), _lots(ring, head, m, TAKER)
            if lots > 0 and taken > 0:
                out[k] = taken / lots
        k += 1
    if known > 1:
        run, ago = 0, 0
        while ago + 1 < known:
            now, before = ring[_slot(head, ago), CLOSE], ring[_slot(head, ago + 1), CLOSE]
            way = 1 if now > before else (-1 if now < before else 0)
            if way == 0 or (run != 0 and (run > 0) != (way > 0)):
                break
            run += way
            ago += 1
        out[k] = run
    if known > DAY:
        _regime(ring, head, out, k + 1)


@in_place_kernel
def close(boundary_ns: int, ladder: Ladder, state: State, out: NDArray[np.float64]) -> None:
    """Write the features of every symbol at `boundary_ns` into `out`, float64 (n, k). They are
    worked out once for a candle and said until the next."""
    for s in range(out.shape[0]):
        if state.fresh[s] == 1:
            state.values[s, :] = np.nan
            if state.known[s] > 0:
                _write(s, state, state.values[s])
            state.fresh[s] = 0
        told = state.last_open_ns[s] + MINUTE_NS + STALE_S * SECOND_NS
        for k in range(out.shape[1]):
            out[s, k] = state.values[s, k] if boundary_ns <= told else np.nan
