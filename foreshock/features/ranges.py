"""Ranges: highs and lows of trades, where the price stands between them, and since when (tape).

Every second has the high, the low and the last price of its trades, the price that stood at its
start among them, so that a silent second is flat and a bar opens where the one before it closed.
Up to five minutes a window is made of such seconds up to the boundary; beyond, of full minutes
(market/minutes.py). Logarithms are summed anew, oldest first, at every close.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, log, sqrt
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from foreshock.config import Section
from foreshock.features.family import (
    HOUR_S,
    RING_S,
    Seconds,
    Windows,
    integers,
    positions,
    span,
    union,
)
from foreshock.features.vector import FeatureSpec
from foreshock.market.instruments import Instrument
from foreshock.market.jit import in_place, in_place_kernel
from foreshock.market.ladder import Ladder
from foreshock.market.minutes import MINUTE_SLOTS, ends_minute, minute_after, minute_before
from foreshock.market.returns import declines
from foreshock.market.rings import SLOTS, slot_after, slot_before
from foreshock.market.rows import EPOCH, META, SYNCED, TAPE, TRADE, A, B, C, Words
from foreshock.market.words import count_of, kind_of, symbol_of

HIGH, LOW, LAST = range(3)
PARKINSON, GARMAN_KLASS, ROGERS_SATCHELL, CORWIN_SCHULTZ = range(4)
_LN2: Final = 0.6931471805599453
# Corwin and Schultz: (√2 − 1) / (3 − 2√2), of √β, and 1 / √(3 − 2√2), of √γ.
_BETA: Final = (2.0**0.5 - 1.0) / (3.0 - 2.0 * 2.0**0.5)
_GAMMA: Final = (3.0 - 2.0 * 2.0**0.5) ** -0.5

Pairs = tuple[tuple[int, int], ...]


class RangesSettings(Section):
    """Windows of highs and lows, and the bars that range estimators are made of."""

    ranges_s: Windows = Field(default=(10, 60, 300, 3600), description="Windows of the range.")
    ratios_s: Pairs = Field(
        default=((10, 300), (60, 3600)), description="Pairs of windows whose ranges are compared."
    )
    positions_s: Windows = Field(
        default=(60, 300, 3600),
        description="Windows of the price's place between, and distance to, low and high.",
    )
    since_s: Seconds = Field(default=(60, 300), description="Windows of time since high and low.")
    breakouts_s: Pairs = Field(
        default=((5, 60), (10, 300)),
        description="Pairs: the newest seconds against the rest of the window.",
    )
    declines_s: Seconds = Field(
        default=(60, 300), description="Windows of the deepest decline and the steepest climb."
    )
    bars_s: Pairs = Field(
        default=((10, 300), (60, 3600)),
        description="Pairs: bars, and the window of them that range estimators use.",
    )

    @field_validator("ratios_s", "breakouts_s", "bars_s")
    @classmethod
    def _pairs(cls, given: Pairs, info: Any) -> Pairs:
        longest = RING_S if info.field_name == "breakouts_s" else HOUR_S
        for short, long in given:
            in_minutes = long > RING_S
            if not 0 < short < long <= longest or (in_minutes and long % 60):
                raise ValueError(f"a short window and a longer one that is kept, got {short, long}")
            if info.field_name == "bars_s" and (long % short or (in_minutes and short != 60)):
                raise ValueError(
                    f"bars that fill the window, of a minute beyond 5 min, got {short, long}"
                )
            if info.field_name == "ratios_s" and short > RING_S and short % 60:
                raise ValueError(f"whole minutes beyond 5 min, got {short}")
        return given

    def windows_s(self) -> tuple[int, ...]:
        """Every window whose high and low are in use."""
        pairs = [window for pair in self.ratios_s for window in pair]
        return union(self.ranges_s, pairs, self.positions_s, self.since_s)


_PARKINSON = "Parkinson 1980, The extreme value method for estimating the variance"
_GARMAN = "Garman, Klass 1980, On the estimation of security price volatilities"
_ROGERS = "Rogers, Satchell 1991, Estimating variance from high, low and closing prices"
_CORWIN_SCHULTZ = (
    "Corwin, Schultz 2012, A simple way to estimate bid-ask spreads, equations 14 and 18"
)
_DONCHIAN = "Donchian's channel (Brock, Lakonishok, LeBaron 1992, trading range break-out)"


def _unknown(window_s: int) -> str:
    if window_s <= RING_S:
        return f"no trade in this epoch earlier than {window_s} s before the boundary"
    return f"no trade in this epoch earlier than {window_s} s before the last full minute"


def specs(settings: RangesSettings) -> tuple[FeatureSpec, ...]:
    """Its features in the order of its columns."""
    found: list[FeatureSpec] = []

    def add(
        what: str, formula: str, windows_s: tuple[int, ...], unit: str = "bps",
        also: str = "", source: str = "definition",
    ) -> None:  # fmt: skip
        longest = max(windows_s)
        found.append(
            FeatureSpec(
                name="_".join((what, *map(span, windows_s))),
                family="ranges",
                formula=formula,
                unit=unit,
                needs="tape",
                warmup_s=longest if longest <= RING_S else longest + 60,
                nan_rule=_unknown(longest) + (f", or {also}" if also else ""),
                source=source,
                windows_s=windows_s,
            )
        )

    def of(window_s: int) -> str:
        return f"{window_s} s" if window_s <= RING_S else f"{window_s} s and the open minute"

    for w in settings.ranges_s:
        add("price_range", f"10⁴ · (high − low) / low over {of(w)}", (w,))
    for short, long in settings.ratios_s:
        add("range_ratio", f"(high − low) over {of(short)} / (high − low) over {of(long)}",
            (short, long), "1", "a price that did not move")  # fmt: skip
    for w in settings.positions_s:
        add("range_position", f"(last price − low) / (high − low) over {of(w)}", (w,), "1",
            "a price that did not move", "Lane 1984, Stochastics (%K)")  # fmt: skip
    for w in settings.positions_s:
        add("drawdown", f"10⁴ · (last price / high over {of(w)} − 1)", (w,))
    for w in settings.positions_s:
        add("runup", f"10⁴ · (last price / low over {of(w)} − 1)", (w,))
    for w in settings.since_s:
        add("since_high", f"seconds since the last one that reached the high of {w} s / {w}",
            (w,), "1", source="Chande 1995, Aroon, from trades")  # fmt: skip
    for w in settings.since_s:
        add("since_low", f"seconds since the last one that reached the low of {w} s / {w}",
            (w,), "1", source="Chande 1995, Aroon, from trades")  # fmt: skip
    for short, long in settings.breakouts_s:
        add("breakout", f"10⁴ · (high of the newest {short} s / high of the rest of {long} s − 1)",
            (short, long), source=_DONCHIAN)  # fmt: skip
    for short, long in settings.breakouts_s:
        add("breakdown", f"10⁴ · (low of the newest {short} s / low of the rest of {long} s − 1)",
            (short, long), source=_DONCHIAN)  # fmt: skip
    for w in settings.declines_s:
        add("max_drawdown", f"10⁴ · deepest fall from a peak within {w} s, of the last prices of "
            "its seconds", (w,), source="Magdon-Ismail, Atiya 2004, Maximum drawdown")  # fmt: skip
    for w in settings.declines_s:
        add("max_runup", f"10⁴ · steepest climb from a trough within {w} s, of the last prices of "
            "its seconds", (w,), source="Magdon-Ismail, Atiya 2004, Maximum drawdown")  # fmt: skip
    for what, formula, source in (
        ("parkinson_volatility", "mean of ln(H/L)² / (4 ln 2)", _PARKINSON),
        ("garman_klass_volatility", "mean of ½ ln(H/L)² − (2 ln 2 − 1) ln(C/O)², at least 0",
         _GARMAN),
        ("rogers_satchell_volatility", "mean of ln(H/C) ln(H/O) + ln(L/C) ln(L/O)", _ROGERS),
    ):  # fmt: skip
        for bar, w in settings.bars_s:
            add(what, f"10⁴ · √({formula} over the bars of {bar} s in {w} s; / {bar}) (per square "
                "root of a second)", (bar, w), source=source)  # fmt: skip
    for bar, w in settings.bars_s:
        add("corwin_schultz_spread",
            f"10⁴ · mean over adjacent bars of {bar} s in {w} s of 2 (e^α − 1) / (1 + e^α), a "
            "negative one counted as 0; α = (√(2β) − √β) / (3 − 2√2) − √(γ / (3 − 2√2)), β the sum "
            "of the two ln(H/L)², γ that of both bars as one",
            (bar, w), source=_CORWIN_SCHULTZ)  # fmt: skip
    return tuple(found)


class Params(NamedTuple):
    """Windows in seconds; of highs and lows, where the window is in `windows_s`. Pairs are
    (pairs, 2)."""

    windows_s: NDArray[np.int64]
    ranges: NDArray[np.int64]
    ratios: NDArray[np.int64]
    places: NDArray[np.int64]
    since: NDArray[np.int64]
    breakouts_s: NDArray[np.int64]
    declines_s: NDArray[np.int64]
    bars_s: NDArray[np.int64]


class State(NamedTuple):
    """All symbols' ranges; n symbols. Arrays are written in place by `step` and `close`.

    Slot j of a ring is one close: high, low and last price of the second (of the minute) that it
    ended, 0 where no trade was known. Rings are kept twice over, so that a window is one slice.
    """

    params: Params
    open: NDArray[np.int64]  # (n, 3): high, low, last of the second that is open
    seconds: NDArray[np.int64]  # (n, 3, 2 · SLOTS)
    head: NDArray[np.int64]  # (n,), the slot of the next close
    open_minute: NDArray[np.int64]  # (n, 2): high and low of the minute that is open
    minutes: NDArray[np.int64]  # (n, 3, 2 · MINUTE_SLOTS)
    minute_head: NDArray[np.int64]  # (n,), the slot of the last full minute
    extremes: NDArray[np.int64]  # (n, windows, 2): high and low, as of the last close
    estimates: NDArray[np.float64]  # (n, pairs, 4), as of the last close or full minute
    epoch: NDArray[np.int64]  # (n,), −1 before the first


def init(instruments: Sequence[Instrument], settings: RangesSettings) -> State:
    """A cold state."""
    n, windows = len(instruments), settings.windows_s()

    def pairs(given: Pairs) -> NDArray[np.int64]:
        return np.array(given, np.int64).reshape(-1, 2)

    return State(
        params=Params(
            windows_s=integers(windows),
            ranges=positions(settings.ranges_s, windows),
            ratios=positions([w for pair in settings.ratios_s for w in pair], windows).reshape(
                -1, 2
            ),
            places=positions(settings.positions_s, windows),
            since=positions(settings.since_s, windows),
            breakouts_s=pairs(settings.breakouts_s),
            declines_s=integers(settings.declines_s),
            bars_s=pairs(settings.bars_s),
        ),
        open=np.zeros((n, 3), np.int64),
        seconds=np.zeros((n, 3, 2 * SLOTS), np.int64),
        head=np.zeros(n, np.int64),
        open_minute=np.zeros((n, 2), np.int64),
        minutes=np.zeros((n, 3, 2 * MINUTE_SLOTS), np.int64),
        minute_head=np.zeros(n, np.int64),
        extremes=np.zeros((n, len(windows), 2), np.int64),
        estimates=np.zeros((n, len(settings.bars_s), 4), np.float64),
        epoch=np.full(n, -1, np.int64),
    )


@in_place
def _forget(s: int, state: State) -> None:
    for q in range(3):
        state.open[s, q] = 0
        for slot in range(2 * SLOTS):
            state.seconds[s, q, slot] = 0
        for slot in range(2 * MINUTE_SLOTS):
            state.minutes[s, q, slot] = 0
    state.open_minute[s, HIGH] = 0
    state.open_minute[s, LOW] = 0


@in_place
def _widen(bucket: NDArray[np.int64], high: int, low: int) -> None:
    if high > bucket[HIGH]:
        bucket[HIGH] = high
    if low > 0 and (bucket[LOW] == 0 or low < bucket[LOW]):
        bucket[LOW] = low


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
            _widen(state.open[symbol], words[i, A], words[i, A])
            state.open[symbol, LAST] = words[i, A]
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
def _log(a: int, b: int) -> float:
    return log(a / b) if a != b else 0.0


@in_place
def _extremes(ring: NDArray[np.int64], lo: int, hi: int) -> tuple[int, int]:
    """(high, low) of the slots lo <= j < hi of one symbol's ring."""
    high, low = ring[HIGH, lo], ring[LOW, lo]
    for j in range(lo + 1, hi):
        high = max(high, ring[HIGH, j])
        low = min(low, ring[LOW, j])
    return high, low


@in_place
def _estimate(
    ring: NDArray[np.int64], lo: int, hi: int, bar: int, bar_s: int, out: NDArray[np.float64]
) -> None:  # fmt: skip
    """Range estimates from bars of `bar` slots that fill lo <= j < hi; the slot before is known."""
    for q in range(4):
        out[q] = 0.0
    n = (hi - lo) // bar
    up_before, down_before, width_before = 0.0, 0.0, 0.0  # of the bar before, from this one's open
    for first in range(lo, hi, bar):
        high, low = _extremes(ring, first, first + bar)
        opened, closed = ring[LAST, first - 1], ring[LAST, first + bar - 1]
        up, down, net = _log(high, opened), _log(low, opened), _log(closed, opened)
        width = (up - down) * (up - down)
        out[PARKINSON] += width / (4.0 * _LN2)
        out[GARMAN_KLASS] += 0.5 * width - (2.0 * _LN2 - 1.0) * net * net
        out[ROGERS_SATCHELL] += up * (up - net) + down * (down - net)
        if first > lo and width + width_before > 0.0:
            both = max(up, up_before) - min(down, down_before)
            alpha = _BETA * sqrt(width + width_before) - _GAMMA * both
            if alpha > 0.0:
                grown = exp(alpha)
                out[CORWIN_SCHULTZ] += 2.0 * (grown - 1.0) / (1.0 + grown)
        up_before, down_before, width_before = up - net, down - net, width
    for q in range(3):
        out[q] = sqrt(max(0.0, out[q]) / (n * bar_s))
    out[CORWIN_SCHULTZ] /= n - 1


@in_place
def _put(ring: NDArray[np.int64], slot: int, size: int, high: int, low: int, last: int) -> None:
    for j in (slot, slot + size):
        ring[HIGH, j], ring[LOW, j], ring[LAST, j] = high, low, last


@in_place
def _stretch(s: int, state: State) -> None:
    """High and low of every window, from the newest slot back through ever longer ones; beyond five
    minutes of the open minute and the full ones before it."""
    bucket = state.open_minute[s]
    high, low = 0, np.iinfo(np.int64).max
    minute_high, minute_low = bucket[HIGH], bucket[LOW]
    done, minutes_done = 0, 0
    end, minute_end = state.head[s] + SLOTS + 1, state.minute_head[s] + MINUTE_SLOTS + 1
    for w in range(len(state.params.windows_s)):
        window_s = state.params.windows_s[w]
        if window_s <= RING_S:
            more = _extremes(state.seconds[s], end - window_s, end - done)
            high, low, done = max(high, more[0]), min(low, more[1]), window_s
            state.extremes[s, w, HIGH], state.extremes[s, w, LOW] = high, low
        else:
            minutes = window_s // 60
            more = _extremes(state.minutes[s], minute_end - minutes, minute_end - minutes_done)
            minute_high, minute_low = max(minute_high, more[0]), min(minute_low, more[1])
            minutes_done = minutes
            state.extremes[s, w, HIGH], state.extremes[s, w, LOW] = minute_high, minute_low


@in_place
def _advance(boundary_ns: int, s: int, state: State) -> None:
    """Let the second that ends enter the rings, and its minute where that ends too."""
    bucket, minute = state.open[s], state.open_minute[s]
    last = bucket[LAST]
    _put(state.seconds[s], state.head[s], SLOTS, bucket[HIGH], bucket[LOW], last)
    _widen(minute, bucket[HIGH], bucket[LOW])
    bucket[HIGH] = last
    bucket[LOW] = last
    ends = ends_minute(boundary_ns)
    if ends:
        state.minute_head[s] = minute_after(state.minute_head[s])
        _put(state.minutes[s], state.minute_head[s], MINUTE_SLOTS, minute[HIGH], minute[LOW], last)
        minute[HIGH] = last
        minute[LOW] = last
    _stretch(s, state)
    for pair in range(state.params.bars_s.shape[0]):
        bar_s, window_s = state.params.bars_s[pair, 0], state.params.bars_s[pair, 1]
        out = state.estimates[s, pair]
        if _start(s, window_s, state) == 0:
            continue
        if window_s <= RING_S:
            hi = state.head[s] + SLOTS + 1
            _estimate(state.seconds[s], hi - window_s, hi, bar_s, bar_s, out)
        elif ends:
            hi = state.minute_head[s] + MINUTE_SLOTS + 1
            _estimate(state.minutes[s], hi - window_s // 60, hi, 1, bar_s, out)


@in_place
def _start(s: int, window_s: int, state: State) -> int:
    """The last price at the start of the window that ends now, or 0."""
    if window_s <= RING_S:
        return state.seconds[s, LAST, slot_before(state.head[s], window_s)]  # type: ignore[no-any-return]
    slot = minute_before(state.minute_head[s], window_s // 60)
    return state.minutes[s, LAST, slot]  # type: ignore[no-any-return]


@in_place
def _places(s: int, state: State, out: NDArray[np.float64]) -> int:
    """Ranges, and the price between them; returns the next column."""
    params, last, extremes, k = state.params, state.open[s, LAST], state.extremes[s], 0
    for w in params.ranges:
        if _start(s, params.windows_s[w], state) > 0:
            out[k] = 1e4 * ((extremes[w, HIGH] - extremes[w, LOW]) / extremes[w, LOW])
        k += 1
    for pair in range(params.ratios.shape[0]):
        short, long = params.ratios[pair, 0], params.ratios[pair, 1]
        if _start(s, params.windows_s[long], state) > 0:
            wide = extremes[long, HIGH] - extremes[long, LOW]
            if wide > 0:
                out[k] = (extremes[short, HIGH] - extremes[short, LOW]) / wide
        k += 1
    n = len(params.places)
    for w in params.places:
        if _start(s, params.windows_s[w], state) > 0:
            high, low = extremes[w, HIGH], extremes[w, LOW]
            if high > low:
                out[k] = (last - low) / (high - low)
            out[k + n] = 1e4 * ((last - high) / high)
            out[k + 2 * n] = 1e4 * ((last - low) / low)
        k += 1
    return k + 2 * n


@in_place
def _turns(s: int, state: State, out: NDArray[np.float64], k: int) -> None:
    """When and how far the extremes were left behind, and the range estimates, from column k on."""
    params, ring, hi = state.params, state.seconds[s], state.head[s] + SLOTS + 1
    for w in params.since:
        window_s = params.windows_s[w]
        if _start(s, window_s, state) > 0:
            age = 0
            while ring[HIGH, hi - 1 - age] != state.extremes[s, w, HIGH]:
                age += 1
            out[k] = age / window_s
            age = 0
            while ring[LOW, hi - 1 - age] != state.extremes[s, w, LOW]:
                age += 1
            out[k + len(params.since)] = age / window_s
        k += 1
    k += len(params.since)
    n = params.breakouts_s.shape[0]
    for pair in range(n):
        short, long = params.breakouts_s[pair, 0], params.breakouts_s[pair, 1]
        if _start(s, long, state) > 0:
            high, low = _extremes(ring, hi - short, hi)
            high_before, low_before = _extremes(ring, hi - long, hi - short)
            out[k] = 1e4 * ((high - high_before) / high_before)
            out[k + n] = 1e4 * ((low - low_before) / low_before)
        k += 1
    k += n
    for window_s in params.declines_s:
        if _start(s, window_s, state) > 0:
            fall, climb = declines(ring[LAST, hi - window_s - 1 : hi])
            out[k] = 1e4 * fall
            out[k + len(params.declines_s)] = 1e4 * climb
        k += 1
    k += len(params.declines_s)
    n = params.bars_s.shape[0]
    for pair in range(n):
        if _start(s, params.bars_s[pair, 1], state) > 0:
            for q in range(4):
                out[k + q * n] = 1e4 * state.estimates[s, pair, q]
        k += 1


@in_place_kernel
def close(boundary_ns: int, ladder: Ladder, state: State, out: NDArray[np.float64]) -> None:
    """Write the features of every symbol at `boundary_ns` into `out`, float64 (n, k), and open the
    next step. The rows scanned before are those with arrival_ns < boundary_ns."""
    for s in range(out.shape[0]):
        out[s, :] = np.nan
        _advance(boundary_ns, s, state)
        _turns(s, state, out[s], _places(s, state, out[s]))
        state.head[s] = slot_after(state.head[s])
