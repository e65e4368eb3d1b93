"""Volume: the cumulative delta, how large trades are, in what order they come, the session (tape).

Sums are integers in one-second buckets up to five minutes (market/rings.py) and in full minutes
beyond (market/minutes.py). Money is ticks · lots times what one of them is worth in the quote
currency, which a change of the instrument ends together with its epoch.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log, log1p, nan, sqrt
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from foreshock.features.family import RING_S, integers, positions
from foreshock.features.volume_specs import Pairs, VolumeSettings, specs
from foreshock.market.clock import SECOND_NS
from foreshock.market.instruments import Instrument
from foreshock.market.jit import in_place, in_place_kernel
from foreshock.market.ladder import Ladder
from foreshock.market.minutes import (
    MINUTE_S,
    MINUTE_SLOTS,
    ends_minute,
    minute_after,
    minute_before,
)
from foreshock.market.money import money_at, money_of
from foreshock.market.rings import (
    SLOTS,
    close_bucket,
    empty_ring,
    empty_sums,
    forget,
    open_bucket,
    slot_before,
)
from foreshock.market.rows import (
    ARRIVAL,
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

__all__ = ["State", "VolumeSettings", "close", "init", "scan", "specs", "step"]

# Quantities of a bucket: lots, ticks · lots, trades.
LOTS, BOUGHT_LOTS, TURNOVER, SIGNED_TURNOVER, LARGE, SIGNED_LARGE, TRADES, PAIRS, SAME, ACTIVE = (
    range(10)
)
_QUANTITIES: Final = 10
DAY_NS: Final = 86_400 * SECOND_NS


class Params(NamedTuple):
    """Windows in seconds; `…_at` is where they are in `windows_s`, −1 beyond the ring."""

    windows_s: NDArray[np.int64]
    cvd: NDArray[np.int64]  # (k, 2): seconds, position
    slopes: NDArray[np.int64]  # (k, 2): seconds, position
    large: NDArray[np.int64]
    large_quote: NDArray[np.float64]  # (1,)
    vwap_gaps: NDArray[np.int64]
    sizes: NDArray[np.int64]
    size_ratios: NDArray[np.int64]  # (pairs, 2)
    volume_ratios: NDArray[np.int64]  # (pairs, 2)
    persistence: NDArray[np.int64]
    silence: NDArray[np.int64]


class State(NamedTuple):
    """All symbols' volume; n symbols. Arrays are written in place by `step` and `close`."""

    params: Params
    ring: NDArray[np.int64]  # (n, SLOTS, 10)
    sums: NDArray[np.int64]  # (n, windows, 10)
    squares: NDArray[np.float64]  # (n, SLOTS): Σ lots² of each second
    head: NDArray[np.int64]  # (n,)
    minutes: NDArray[np.int64]  # (n, MINUTE_SLOTS, 2): turnover and signed turnover
    minute: NDArray[np.int64]  # (n,), the open minute's slot
    session: NDArray[np.int64]  # (n, 3): turnover and lots of the day so far, its end in ns
    money: NDArray[np.float64]  # (n,), quote currency per tick · lot
    run: NDArray[np.int64]  # (n,), trades since the side changed, below 0 for sells
    last_ticks: NDArray[np.int64]  # (n,), 0 before the first trade
    epoch: NDArray[np.int64]  # (n,), −1 before the first


def _with_positions(given: Sequence[int], windows: Sequence[int]) -> NDArray[np.int64]:
    found = [(w, windows.index(w) if w <= RING_S else -1) for w in given]
    return np.array(found, np.int64).reshape(-1, 2)


def init(instruments: Sequence[Instrument], settings: VolumeSettings) -> State:
    """A cold state."""
    n, windows = len(instruments), settings.windows_s()

    def pairs(given: Pairs) -> NDArray[np.int64]:
        return np.array([positions(pair, windows) for pair in given], np.int64).reshape(-1, 2)

    return State(
        params=Params(
            windows_s=integers(windows),
            cvd=_with_positions(settings.cvd_s, windows),
            slopes=_with_positions(settings.cvd_slopes_s, windows),
            large=positions(settings.large_s, windows),
            large_quote=np.array([settings.large_quote]),
            vwap_gaps=positions(settings.vwap_gaps_s, windows),
            sizes=positions(settings.sizes_s, windows),
            size_ratios=pairs(settings.size_ratios_s),
            volume_ratios=pairs(settings.volume_ratios_s),
            persistence=positions(settings.persistence_s, windows),
            silence=positions(settings.silence_s, windows),
        ),
        ring=empty_ring(n, _QUANTITIES),
        sums=empty_sums(n, len(windows), _QUANTITIES),
        squares=np.zeros((n, SLOTS), np.float64),
        head=np.zeros(n, np.int64),
        minutes=np.zeros((n, MINUTE_SLOTS, 2), np.int64),
        minute=np.zeros(n, np.int64),
        session=np.zeros((n, 3), np.int64),
        money=money_of(instruments),
        run=np.zeros(n, np.int64),
        last_ticks=np.zeros(n, np.int64),
        epoch=np.full(n, -1, np.int64),
    )


@in_place
def _forget(symbol: int, state: State) -> None:
    forget(state.ring, state.sums, symbol)
    for slot in range(SLOTS):
        state.squares[symbol, slot] = 0.0
    for slot in range(MINUTE_SLOTS):
        state.minutes[symbol, slot, 0] = 0
        state.minutes[symbol, slot, 1] = 0
    for k in range(3):
        state.session[symbol, k] = 0
    state.run[symbol] = 0
    state.last_ticks[symbol] = 0


@in_place
def _trade(arrival_ns: int, sell: bool, ticks: int, lots: int, symbol: int, state: State) -> None:
    turnover = ticks * lots
    bucket = state.ring[symbol, state.head[symbol]]
    bucket[LOTS] += lots
    bucket[TURNOVER] += turnover
    bucket[SIGNED_TURNOVER] += -turnover if sell else turnover
    if not sell:
        bucket[BOUGHT_LOTS] += lots
    if turnover * state.money[symbol] > state.params.large_quote[0]:
        bucket[LARGE] += turnover
        bucket[SIGNED_LARGE] += -turnover if sell else turnover
    bucket[TRADES] += 1
    bucket[ACTIVE] = 1
    state.squares[symbol, state.head[symbol]] += float(lots) * lots
    run, side = state.run[symbol], -1 if sell else 1
    if run != 0:
        bucket[PAIRS] += 1
    if run * side > 0:
        bucket[SAME] += 1
        state.run[symbol] = run + side
    else:
        state.run[symbol] = side
    session = state.session[symbol]
    if arrival_ns >= session[2]:
        session[0], session[1] = 0, 0
        session[2] = (arrival_ns // DAY_NS + 1) * DAY_NS
    session[0] += turnover
    session[1] += lots
    state.last_ticks[symbol] = ticks


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
            _trade(words[i, ARRIVAL], sell, words[i, A], words[i, B], symbol, state)
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
def _slope(n: int, weighted: float, total: int) -> float:
    """Σ dᵢ · i · (n + 1 − i) over n increments to the least-squares slope of their running sum,
    by the mean of `total`."""
    if total <= 0:
        return nan
    return float((6.0 * weighted / (n * (n + 1.0) * (n + 2.0))) / (total / n))


@in_place
def _slope_of_seconds(ring: NDArray[np.int64], newest: int, n: int, total: int) -> float:
    weighted = 0.0
    slot = slot_before(newest, n - 1)
    for i in range(1, n + 1):
        weighted += float(ring[slot, SIGNED_TURNOVER]) * (i * (n + 1 - i))
        slot = 0 if slot + 1 == SLOTS else slot + 1
    return _slope(n, weighted, total)


@in_place
def _of_minutes(minutes: NDArray[np.int64], open_slot: int, n: int, which: int) -> int:
    total = 0
    for ago in range(1, n + 1):
        total += minutes[minute_before(open_slot, ago), which]
    return total


@in_place
def _slope_of_minutes(minutes: NDArray[np.int64], open_slot: int, n: int) -> float:
    weighted = 0.0
    for i in range(1, n + 1):
        slot = minute_before(open_slot, n + 1 - i)
        weighted += float(minutes[slot, 1]) * (i * (n + 1 - i))
    return _slope(n, weighted, _of_minutes(minutes, open_slot, n, 0))


@in_place
def _dispersion(squares: NDArray[np.float64], newest: int, w: int, trades: int, lots: int) -> float:
    total = 0.0
    slot = slot_before(newest, w - 1)
    for _ in range(w):
        total += squares[slot]
        slot = 0 if slot + 1 == SLOTS else slot + 1
    return sqrt(max(0.0, trades * total - float(lots) * lots)) / lots


@in_place
def _advance(boundary_ns: int, s: int, state: State) -> int:
    """Close this second's bucket, and the minute where it ends; returns the closed slot."""
    closed, minute = state.head[s], state.minute[s]
    close_bucket(state.ring, state.sums, state.params.windows_s, s, closed)
    state.minutes[s, minute, 0] += state.ring[s, closed, TURNOVER]
    state.minutes[s, minute, 1] += state.ring[s, closed, SIGNED_TURNOVER]
    if ends_minute(boundary_ns):
        minute = minute_after(minute)
        state.minutes[s, minute, 0] = 0
        state.minutes[s, minute, 1] = 0
        state.minute[s] = minute
    state.head[s] = open_bucket(state.ring, s, closed)
    state.squares[s, state.head[s]] = 0.0
    return int(closed)


@in_place
def _delta(s: int, closed: int, state: State, out: NDArray[np.float64], k: int) -> int:
    params, sums, minutes, minute = state.params, state.sums[s], state.minutes[s], state.minute[s]
    for j in range(params.cvd.shape[0]):
        seconds, w = params.cvd[j, 0], params.cvd[j, 1]
        if w >= 0:
            out[k] = state.money[s] * sums[w, SIGNED_TURNOVER]
        else:
            out[k] = state.money[s] * _of_minutes(minutes, minute, seconds // MINUTE_S, 1)
        k += 1
    for j in range(params.slopes.shape[0]):
        seconds, w = params.slopes[j, 0], params.slopes[j, 1]
        if w >= 0:
            out[k] = _slope_of_seconds(state.ring[s], closed, seconds, sums[w, TURNOVER])
        else:
            out[k] = _slope_of_minutes(minutes, minute, seconds // MINUTE_S)
        k += 1
    return k


@in_place
def _prices(
    boundary_ns: int, s: int, state: State, out: NDArray[np.float64], k: int
) -> int:  # fmt: skip
    params, sums, session = state.params, state.sums[s], state.session[s]
    for w in params.large:
        if sums[w, TURNOVER] > 0:
            out[k] = sums[w, LARGE] / sums[w, TURNOVER]
        if sums[w, LARGE] > 0:
            out[k + 1] = sums[w, SIGNED_LARGE] / sums[w, LARGE]
        k += 2
    for w in params.vwap_gaps:
        bought = (sums[w, TURNOVER] + sums[w, SIGNED_TURNOVER]) // 2
        sold, bought_lots = sums[w, TURNOVER] - bought, sums[w, BOUGHT_LOTS]
        sold_lots = sums[w, LOTS] - bought_lots
        if bought_lots > 0 and sold_lots > 0:
            out[k] = 1e4 * ((bought / bought_lots) / (sold / sold_lots) - 1.0)
        k += 1
    if session[1] > 0 and boundary_ns <= session[2]:
        out[k] = 1e4 * (state.last_ticks[s] / (session[0] / session[1]) - 1.0)
    return k + 1


@in_place
def _sizes(s: int, closed: int, state: State, out: NDArray[np.float64], k: int) -> int:
    params, sums, windows_s = state.params, state.sums[s], state.params.windows_s
    some = len(params.sizes)
    for j in range(some):
        w = params.sizes[j]
        trades, lots = sums[w, TRADES], sums[w, LOTS]
        if trades > 0:
            out[k + j] = log(state.money[s] * sums[w, TURNOVER] / trades)
            out[k + some + j] = _dispersion(state.squares[s], closed, windows_s[w], trades, lots)
    k += 2 * some
    for j in range(params.size_ratios.shape[0]):
        short, long = params.size_ratios[j, 0], params.size_ratios[j, 1]
        if sums[short, TRADES] > 0:
            mean = sums[short, LOTS] / sums[short, TRADES]
            out[k] = log(mean / (sums[long, LOTS] / sums[long, TRADES]))
        k += 1
    for j in range(params.volume_ratios.shape[0]):
        short, long = params.volume_ratios[j, 0], params.volume_ratios[j, 1]
        if sums[long, LOTS] > 0:
            rate = sums[short, LOTS] / windows_s[short]
            out[k] = rate / (sums[long, LOTS] / windows_s[long])
        k += 1
    return k


@in_place_kernel
def close(boundary_ns: int, ladder: Ladder, state: State, out: NDArray[np.float64]) -> None:
    """Write the features of every symbol at `boundary_ns` into `out`, float64 (n, k), and open the
    next step. The rows scanned before are those with arrival_ns < boundary_ns."""
    params = state.params
    for s in range(out.shape[0]):
        closed = _advance(boundary_ns, s, state)
        out[s, :] = np.nan
        sums, run = state.sums[s], state.run[s]
        k = _delta(s, closed, state, out[s], 0)
        k = _prices(boundary_ns, s, state, out[s], k)
        k = _sizes(s, closed, state, out[s], k)
        if run != 0:
            out[s, k] = log1p(run) if run > 0 else -log1p(-run)
        k += 1
        for w in params.persistence:
            if sums[w, PAIRS] > 0:
                out[s, k] = sums[w, SAME] / sums[w, PAIRS]
            k += 1
        for w in params.silence:
            out[s, k] = 1.0 - sums[w, ACTIVE] / params.windows_s[w]
            k += 1
