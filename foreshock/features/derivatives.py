"""Derivatives: funding, basis, open interest, positioning and liquidations of a perpetual.

Marks tell the mark price, the index and the funding rate that is to be paid next; metrics come
every few minutes and are compared by the time they are *of*, in slots of five minutes, of which the
last value stays. What has not come for longer than its limit is not known: NaN, never zero.

The public stream of liquidations is a sample: at most the latest order per symbol and second is
pushed. Sums over it understate, and the more so the more is liquidated; their imbalance is that of
the sample. None seen at all is not known; once one was seen, a window without any counts 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, isfinite, log, log10, nan, sqrt
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from foreshock.features.derivatives_specs import (
    DAY_S,
    HOUR_S,
    LEAST_SCORED,
    DerivativesSettings,
    specs,
)
from foreshock.features.family import RING_S, integers
from foreshock.market.clock import SECOND_NS
from foreshock.market.instruments import Instrument
from foreshock.market.jit import in_place, in_place_kernel
from foreshock.market.ladder import Ladder
from foreshock.market.money import money_at, money_of
from foreshock.market.rows import (
    ID,
    INSTRUMENT,
    LIQUIDATION,
    MARK,
    META,
    METRIC,
    METRIC_FUNDING_RATE,
    METRIC_LONG_SHORT_ACCOUNTS,
    METRIC_OPEN_INTEREST,
    METRIC_TAKER_BUY_SELL,
    METRIC_TOP_LONG_SHORT_ACCOUNTS,
    METRIC_TOP_LONG_SHORT_POSITIONS,
    SELL,
    A,
    B,
    C,
    Words,
)
from foreshock.market.words import count_of, flags_of, kind_of, symbol_of

MINUTE_NS: Final = 60 * SECOND_NS
METRIC_SLOT_NS: Final = 300 * SECOND_NS
METRIC_SLOTS: Final = 320  # more than a day of five minutes
FUNDING_SLOTS: Final = 768  # more than thirty days of hourly funding
MINUTES: Final = 64  # more than an hour, of marks and of liquidations
SECONDS: Final = 320  # more than the longest window of one-second slots
SAME_FUNDING_NS: Final = MINUTE_NS  # settled times that differ by less are one settlement
_FIELDS: Final = METRIC_TAKER_BUY_SELL  # fields 1 to this are kept, at field − 1
_OI, _ACCOUNTS = METRIC_OPEN_INTEREST - 1, METRIC_LONG_SHORT_ACCOUNTS - 1
_TOP_ACCOUNTS, _TOP_POSITIONS = (
    METRIC_TOP_LONG_SHORT_ACCOUNTS - 1, METRIC_TOP_LONG_SHORT_POSITIONS - 1,
)  # fmt: skip
_TAKER = METRIC_TAKER_BUY_SELL - 1
__all__ = ["State", "close", "init", "scan", "specs", "step"]

CHANGE_1H, CHANGE_24H, SCORE_24H = range(3)  # what is kept of each metric as of its newest
LONG, SHORT, COUNT = range(3)  # what is summed of liquidations


class Params(NamedTuple):
    """Limits in nanoseconds, rates per year, windows."""

    mark_stale_ns: NDArray[np.int64]  # (1,)
    metric_stale_ns: NDArray[np.int64]  # (1,)
    funding_ns: NDArray[np.int64]  # (2,): of the score, of the mean
    per_year: NDArray[np.float64]  # (1,)
    basis_minutes: NDArray[np.int64]
    liquidations_s: NDArray[np.int64]


class State(NamedTuple):
    """All symbols; n symbols. A slot holds what its tag (or time) says, else it is old."""

    params: Params
    mark: NDArray[np.float64]  # (n, 3): mark, index, funding rate
    mark_ns: NDArray[np.int64]  # (n, 2): arrival of the last mark, 0 none; next funding, 0 unknown
    minute: NDArray[np.int64]  # (n, MINUTES) which minute the slot is of
    minute_mark: NDArray[np.float64]  # (n, MINUTES, 2): last mark and basis of that minute
    settled_ns: NDArray[np.int64]  # (n, FUNDING_SLOTS) ascending from the oldest, 0 empty
    settled: NDArray[np.float64]  # (n, FUNDING_SLOTS)
    settled_head: NDArray[np.int64]  # (n,) the slot of the newest
    settled_facts: NDArray[np.float64]  # (n, 3): mean and deviation of the score, mean
    metric_ns: NDArray[np.int64]  # (n, fields, METRIC_SLOTS) its own time, 0 empty
    metric: NDArray[np.float64]  # (n, fields, METRIC_SLOTS)
    newest_ns: NDArray[np.int64]  # (n, fields), 0 none
    newest: NDArray[np.float64]  # (n, fields)
    facts: NDArray[np.float64]  # (n, fields, 3)
    second: NDArray[np.int64]  # (n, SECONDS) which second the slot is of
    second_sums: NDArray[np.int64]  # (n, SECONDS, 3): ticks · lots of longs, of shorts, count
    liquid_minute: NDArray[np.int64]  # (n, MINUTES)
    liquid_sums: NDArray[np.int64]  # (n, MINUTES, 3)
    liquidated: NDArray[np.int64]  # (n,) how many were ever seen
    money: NDArray[np.float64]  # (n,) quote currency per tick · lot


def init(instruments: Sequence[Instrument], settings: DerivativesSettings) -> State:
    """A cold state."""
    n = len(instruments)
    return State(
        params=Params(
            mark_stale_ns=integers([settings.mark_stale_s * SECOND_NS]),
            metric_stale_ns=integers([settings.metric_stale_s * SECOND_NS]),
            funding_ns=integers(
                [settings.funding_days * DAY_S * SECOND_NS,
                 settings.funding_mean_h * HOUR_S * SECOND_NS]
            ),
            per_year=np.array([365.0 * 24.0 / settings.funding_interval_h]),
            basis_minutes=integers(settings.basis_minutes),
            liquidations_s=integers(settings.liquidations_s),
        ),
        mark=np.full((n, 3), np.nan),
        mark_ns=np.zeros((n, 2), np.int64),
        minute=np.zeros((n, MINUTES), np.int64),
        minute_mark=np.full((n, MINUTES, 2), np.nan),
        settled_ns=np.zeros((n, FUNDING_SLOTS), np.int64),
        settled=np.zeros((n, FUNDING_SLOTS)),
        settled_head=np.zeros(n, np.int64),
        settled_facts=np.full((n, 3), np.nan),
        metric_ns=np.zeros((n, _FIELDS, METRIC_SLOTS), np.int64),
        metric=np.zeros((n, _FIELDS, METRIC_SLOTS)),
        newest_ns=np.zeros((n, _FIELDS), np.int64),
        newest=np.full((n, _FIELDS), np.nan),
        facts=np.full((n, _FIELDS, 3), np.nan),
        second=np.zeros((n, SECONDS), np.int64),
        second_sums=np.zeros((n, SECONDS, 3), np.int64),
        liquid_minute=np.zeros((n, MINUTES), np.int64),
        liquid_sums=np.zeros((n, MINUTES, 3), np.int64),
        liquidated=np.zeros(n, np.int64),
        money=money_of(instruments),
    )  # fmt: skip


@in_place
def _float_at(words: Words, i: int, column: int) -> float:
    return float(words[i : i + 1, column].view(np.float64)[0])


@in_place
def _scored(
    times: NDArray[np.int64], values: NDArray[np.float64], head: int, since_ns: int
) -> tuple[int, float, float]:
    """(how many, mean, standard deviation) of a ring's values of times after `since_ns`, oldest
    first; deviation 0.0 where all are alike."""
    size = times.shape[0]
    n, total, least, most = 0, 0.0, inf, -inf
    slot = head
    for _ in range(size):
        slot = 0 if slot + 1 == size else slot + 1
        if times[slot] > since_ns:
            n += 1
            total += values[slot]
            least, most = min(least, values[slot]), max(most, values[slot])
    if n == 0:
        return 0, nan, 0.0
    mean, squares = total / n, 0.0
    slot = head
    for _ in range(size):
        slot = 0 if slot + 1 == size else slot + 1
        if times[slot] > since_ns:
            squares += (values[slot] - mean) ** 2
    return n, mean, sqrt(squares / n) if most > least else 0.0


@in_place
def _settle(s: int, as_of_ns: int, rate: float, state: State) -> None:
    """A settled rate; one of the same settlement is replaced, an older one not taken."""
    head = state.settled_head[s]
    newest_ns = state.settled_ns[s, head]
    if as_of_ns <= 0 or as_of_ns <= newest_ns - SAME_FUNDING_NS:
        return
    if newest_ns == 0 or as_of_ns >= newest_ns + SAME_FUNDING_NS:
        head = 0 if head + 1 == FUNDING_SLOTS else head + 1
        state.settled_head[s] = head
        state.settled_ns[s, head] = as_of_ns
    state.settled[s, head] = rate
    newest_ns = state.settled_ns[s, head]
    times, rates, windows = state.settled_ns[s], state.settled[s], state.params.funding_ns
    n, mean, deviation = _scored(times, rates, head, max(newest_ns - windows[0], 0))
    known = n >= LEAST_SCORED and deviation > 0.0
    state.settled_facts[s, 0] = mean
    state.settled_facts[s, 1] = deviation if known else nan
    _, mean, _ = _scored(times, rates, head, max(newest_ns - windows[1], 0))
    state.settled_facts[s, 2] = mean


@in_place
def _take_mark(words: Words, i: int, arrival_ns: int, s: int, state: State) -> None:
    mark, index = _float_at(words, i, A), _float_at(words, i, B)
    funding, next_ns = _float_at(words, i, C), words[i, ID]
    was_ns = state.mark_ns[s, 1]
    if 0 < was_ns < next_ns and was_ns <= arrival_ns and isfinite(state.mark[s, 2]):
        _settle(s, was_ns, state.mark[s, 2], state)  # what was announced last has been paid
    good = isfinite(mark) and mark > 0.0
    state.mark[s, 0] = mark if good else nan
    state.mark[s, 1] = index if isfinite(index) and index > 0.0 else nan
    state.mark[s, 2] = funding if isfinite(funding) and next_ns > 0 else nan
    state.mark_ns[s, 0] = arrival_ns
    state.mark_ns[s, 1] = max(next_ns, 0)
    if good:
        minute = arrival_ns // MINUTE_NS
        state.minute[s, minute % MINUTES] = minute
        state.minute_mark[s, minute % MINUTES, 0] = mark
        state.minute_mark[s, minute % MINUTES, 1] = 1e4 * (mark / state.mark[s, 1] - 1.0)


@in_place
def _change(s: int, f: int, ago_ns: int, state: State) -> float:
    """The newest value of a metric by the newest that is at least `ago_ns` older, − 1."""
    last_ns = state.newest_ns[s, f] - ago_ns
    least_ns = last_ns - state.params.metric_stale_ns[0]
    first = last_ns // METRIC_SLOT_NS
    for back in range(METRIC_SLOTS):
        if (first - back + 1) * METRIC_SLOT_NS <= least_ns:
            break
        slot = (first - back) % METRIC_SLOTS
        at_ns = state.metric_ns[s, f, slot]
        if at_ns > 0 and least_ns <= at_ns <= last_ns and state.metric[s, f, slot] > 0.0:
            return float(state.newest[s, f] / state.metric[s, f, slot] - 1.0)
    return nan


@in_place
def _take_metric(s: int, f: int, as_of_ns: int, value: float, state: State) -> None:
    """A metric; one that is of before the newest is not taken, nor what is no amount."""
    if not isfinite(value) or value <= 0.0 or as_of_ns < max(state.newest_ns[s, f], 1):
        return
    slot = (as_of_ns // METRIC_SLOT_NS) % METRIC_SLOTS
    state.metric_ns[s, f, slot] = as_of_ns
    state.metric[s, f, slot] = value
    state.newest_ns[s, f] = as_of_ns
    state.newest[s, f] = value
    facts = state.facts[s, f]
    facts[CHANGE_1H] = _change(s, f, HOUR_S * SECOND_NS, state)
    facts[CHANGE_24H] = _change(s, f, DAY_S * SECOND_NS, state)
    since_ns = max(as_of_ns - DAY_S * SECOND_NS, 0)
    n, mean, deviation = _scored(state.metric_ns[s, f], state.metric[s, f], slot, since_ns)
    scored = n >= LEAST_SCORED and deviation > 0.0
    facts[SCORE_24H] = (value - mean) / deviation if scored else nan


@in_place
def _enter(
    tag: int, tags: NDArray[np.int64], sums: NDArray[np.int64], side: int, worth: int
) -> None:
    slot = tag % tags.shape[0]
    if tags[slot] != tag:
        tags[slot] = tag
        sums[slot, :] = 0
    sums[slot, side] += worth
    sums[slot, COUNT] += 1


@in_place
def _row(words: Words, i: int, kind: int, s: int, state: State) -> None:
    """A row of a kind that matters, of a symbol that is."""
    arrival_ns = words[i, 0]
    if kind == MARK:
        _take_mark(words, i, arrival_ns, s, state)
    elif kind == METRIC:
        field, as_of_ns, value = words[i, A], words[i, ID], _float_at(words, i, B)
        if as_of_ns > arrival_ns + MINUTE_NS:
            return  # no clock is that far off
        if field == METRIC_FUNDING_RATE:
            if isfinite(value):
                _settle(s, as_of_ns, value, state)
        elif 1 <= field <= _FIELDS:
            _take_metric(s, field - 1, as_of_ns, value, state)
    elif kind == LIQUIDATION:
        if words[i, A] > 0 and words[i, B] > 0:
            side = LONG if flags_of(words[i, META]) & SELL else SHORT
            worth = words[i, A] * words[i, B]
            second = arrival_ns // SECOND_NS
            _enter(second, state.second[s], state.second_sums[s], side, worth)
            minute = arrival_ns // MINUTE_NS
            _enter(minute, state.liquid_minute[s], state.liquid_sums[s], side, worth)
            state.liquidated[s] += 1
    else:
        state.money[s] = money_at(words, i)
        state.second[s, :] = 0  # what a tick or a lot was worth before no longer adds up
        state.liquid_minute[s, :] = 0


@in_place
def step(words: Words, touch: NDArray[np.int64], i: int, state: State) -> None:
    """Advance by the header row `i` of `words`, int64 (n, 10). Rows of ALL or of other kinds
    change nothing; values that are not finite, or zero or below where they cannot be, are not
    taken."""
    meta = words[i, META]
    kind = kind_of(meta)
    if kind < MARK or kind > INSTRUMENT:
        return
    symbol = symbol_of(meta)
    if 0 <= symbol < state.money.shape[0]:
        _row(words, i, kind, symbol, state)


@in_place_kernel
def scan(words: Words, touch: NDArray[np.int64], lo: int, hi: int, state: State) -> None:
    """Advance by the rows lo <= i < hi; `lo` must be a header row."""
    i = lo
    while i < hi:
        step(words, touch, i, state)
        i += 1 + count_of(words[i, META])


@in_place
def _write_marks(s: int, boundary_ns: int, state: State, out: NDArray[np.float64]) -> int:
    """The columns that need a mark; returns the next one."""
    params, facts = state.params, state.settled_facts[s]
    out[s, 4] = facts[2]
    windows = params.basis_minutes.shape[0]
    arrival_ns, next_ns = state.mark_ns[s, 0], state.mark_ns[s, 1]
    after = int(9 + 2 * windows)
    if arrival_ns == 0 or arrival_ns < boundary_ns - params.mark_stale_ns[0]:
        return after
    rate, per_year = state.mark[s, 2], params.per_year[0]
    out[s, 0] = rate
    out[s, 1] = rate * per_year
    out[s, 2] = (rate - facts[0]) / facts[1]
    if state.settled_ns[s, state.settled_head[s]] > 0:
        out[s, 3] = rate - state.settled[s, state.settled_head[s]]
    if next_ns >= boundary_ns:
        out[s, 5] = (next_ns - boundary_ns) / SECOND_NS
    premium = state.mark[s, 0] / state.mark[s, 1] - 1.0
    out[s, 6] = 1e4 * premium
    out[s, 7] = premium * per_year
    now = (boundary_ns - 1) // MINUTE_NS
    for k in range(windows):
        minute = now - params.basis_minutes[k]
        slot = minute % MINUTES
        if state.minute[s, slot] == minute:
            out[s, 8 + k] = 1e4 * premium - state.minute_mark[s, slot, 1]
            out[s, 8 + windows + k] = 1e4 * log(state.mark[s, 0] / state.minute_mark[s, slot, 0])
    out[s, 8 + 2 * windows] = _basis_score(s, now, 1e4 * premium, state)
    return after


@in_place
def _basis_score(s: int, now: int, basis: float, state: State) -> float:
    n, total, least, most = 0, 0.0, inf, -inf
    for minute in range(now - 60, now):
        value = state.minute_mark[s, minute % MINUTES, 1]
        if state.minute[s, minute % MINUTES] == minute and isfinite(value):
            n += 1
            total += value
            least, most = min(least, value), max(most, value)
    if n < LEAST_SCORED or most <= least:
        return nan
    mean, squares = total / n, 0.0
    for minute in range(now - 60, now):
        value = state.minute_mark[s, minute % MINUTES, 1]
        if state.minute[s, minute % MINUTES] == minute and isfinite(value):
            squares += (value - mean) ** 2
    return float((basis - mean) / sqrt(squares / n))


@in_place
def _write_metrics(
    s: int, at: int, boundary_ns: int, state: State, out: NDArray[np.float64]
) -> int:
    """The columns of metrics from `at` on; returns the next one."""
    since_ns = boundary_ns - state.params.metric_stale_ns[0]
    newest_ns, newest, facts = state.newest_ns[s], state.newest[s], state.facts[s]
    if newest_ns[_OI] >= since_ns:
        out[s, at] = facts[_OI, CHANGE_1H]
        out[s, at + 1] = facts[_OI, CHANGE_24H]
        out[s, at + 2] = facts[_OI, SCORE_24H]
    if newest_ns[_ACCOUNTS] >= since_ns:
        out[s, at + 3] = newest[_ACCOUNTS]
        out[s, at + 8] = facts[_ACCOUNTS, CHANGE_1H]
        out[s, at + 10] = facts[_ACCOUNTS, SCORE_24H]
    if newest_ns[_TOP_ACCOUNTS] >= since_ns:
        out[s, at + 4] = newest[_TOP_ACCOUNTS]
    if newest_ns[_TOP_POSITIONS] >= since_ns:
        out[s, at + 5] = newest[_TOP_POSITIONS]
        out[s, at + 9] = facts[_TOP_POSITIONS, CHANGE_1H]
        if newest_ns[_ACCOUNTS] >= since_ns:
            out[s, at + 7] = log(newest[_TOP_POSITIONS] / newest[_ACCOUNTS])
    if newest_ns[_TAKER] >= since_ns:
        out[s, at + 6] = newest[_TAKER]
        out[s, at + 11] = facts[_TAKER, SCORE_24H]
    return at + 12


@in_place
def _write_liquidations(
    s: int, at: int, boundary_ns: int, state: State, out: NDArray[np.float64]
) -> None:
    windows = state.params.liquidations_s
    if state.liquidated[s] == 0:
        return
    for k in range(windows.shape[0]):
        longs, shorts, count = 0, 0, 0
        short_window = windows[k] <= RING_S
        tags = state.second[s] if short_window else state.liquid_minute[s]
        sums = state.second_sums[s] if short_window else state.liquid_sums[s]
        last = (boundary_ns - 1) // (SECOND_NS if short_window else MINUTE_NS)
        reach = windows[k] if short_window else windows[k] // 60
        for slot in range(tags.shape[0]):
            if last - reach < tags[slot] <= last:
                longs += sums[slot, LONG]
                shorts += sums[slot, SHORT]
                count += sums[slot, COUNT]
        if longs + shorts > 0:
            out[s, at + k] = (longs - shorts) / (longs + shorts)
        out[s, at + windows.shape[0] + k] = log(1.0 + count)
        worth = (longs + shorts) * state.money[s]
        out[s, at + 2 * windows.shape[0] + k] = log10(1.0 + worth)


@in_place_kernel
def close(boundary_ns: int, ladder: Ladder, state: State, out: NDArray[np.float64]) -> None:
    """Write the features of every symbol at `boundary_ns` into `out`, float64 (n, k). The rows
    scanned before are those with arrival_ns < boundary_ns."""
    out[:, :] = np.nan
    for s in range(out.shape[0]):
        at = _write_marks(s, boundary_ns, state, out)
        at = _write_metrics(s, at, boundary_ns, state, out)
        _write_liquidations(s, at, boundary_ns, state, out)
