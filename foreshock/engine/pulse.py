"""What every bill needs of the tape, whichever features are computed: last price, traded notional
and volatility over the last minute, and what the mark says of the next funding payment."""

from __future__ import annotations

from collections.abc import Sequence
from math import log, sqrt
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from foreshock.market.clock import SECOND_NS
from foreshock.market.instruments import Instrument
from foreshock.market.jit import in_place, in_place_kernel
from foreshock.market.rows import (
    ARRIVAL,
    EPOCH,
    ID,
    MARK,
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

WINDOW_S: Final = 60
LEAST_S: Final = 10  # volatility is said from so many known seconds on
SLOTS: Final = WINDOW_S + 1
MARK_STALE_NS: Final = 60 * SECOND_NS  # the rate of an older mark is not known any more


class Pulse(NamedTuple):
    """All symbols; n symbols. Slot j belongs to one close."""

    ticks: NDArray[np.int64]  # (n, SLOTS) last price at the close, 0 unknown
    squares: NDArray[np.float64]  # (n, SLOTS) squared log return of the second it ended
    notional: NDArray[np.int64]  # (n, SLOTS) ticks · lots traded in the second it ended
    head: NDArray[np.int64]  # (n,) the slot of the next close
    last_ticks: NDArray[np.int64]  # (n,) 0 before the first trade of the epoch
    epoch: NDArray[np.int64]  # (n,) of the tape, −1 before the first
    funding_rate: NDArray[np.float64]  # (n,) as the last mark told it, a fraction
    funding_ns: NDArray[np.int64]  # (n, 2): arrival of that mark, 0 none; when it is paid


def init(instruments: Sequence[Instrument]) -> Pulse:
    """A cold state."""
    n = len(instruments)
    return Pulse(
        ticks=np.zeros((n, SLOTS), np.int64),
        squares=np.zeros((n, SLOTS), np.float64),
        notional=np.zeros((n, SLOTS), np.int64),
        head=np.zeros(n, np.int64),
        last_ticks=np.zeros(n, np.int64),
        epoch=np.full(n, -1, np.int64),
        funding_rate=np.full(n, np.nan),
        funding_ns=np.zeros((n, 2), np.int64),
    )


@in_place_kernel
def scan(words: Words, lo: int, hi: int, pulse: Pulse) -> None:
    """Advance by the rows lo <= i < hi; `lo` must be a header row."""
    i = lo
    while i < hi:
        meta = words[i, META]
        kind, s = kind_of(meta), symbol_of(meta)
        if 0 <= s < pulse.head.shape[0]:
            if kind == TRADE:
                if words[i, A] > 0 and words[i, B] > 0:
                    pulse.last_ticks[s] = words[i, A]
                    pulse.notional[s, pulse.head[s]] += words[i, A] * words[i, B]
            elif kind == MARK:
                pulse.funding_rate[s] = words[i : i + 1, C].view(np.float64)[0]
                pulse.funding_ns[s, 0] = words[i, ARRIVAL]
                pulse.funding_ns[s, 1] = words[i, ID]
            elif kind == EPOCH and words[i, C] == TAPE:
                if words[i, A] != SYNCED or words[i, B] != pulse.epoch[s]:
                    for slot in range(SLOTS):
                        pulse.ticks[s, slot] = 0
                        pulse.squares[s, slot] = 0.0
                        pulse.notional[s, slot] = 0
                    pulse.last_ticks[s] = 0
                pulse.epoch[s] = words[i, B]
        i += 1 + count_of(meta)


@in_place
def _before(head: int, steps: int) -> int:
    return head - steps if head >= steps else head - steps + SLOTS


@in_place_kernel
def close(
    pulse: Pulse, age_s: NDArray[np.int64], traded: NDArray[np.int64],
    volatility_1s: NDArray[np.float64],
) -> None:  # fmt: skip
    """Write what was traded in the last minute, ticks · lots, int64 (n,), and the root mean square
    of the last minute's one-second log returns between known prices, float64 (n,), NaN where fewer
    than LEAST_S of them are known; then open the next second. `age_s` is the age of the tape's
    epoch."""
    for s in range(traded.shape[0]):
        head = pulse.head[s]
        last, before = pulse.last_ticks[s], pulse.ticks[s, _before(head, 1)]
        pulse.ticks[s, head] = last
        pulse.squares[s, head] = 0.0
        if before > 0 and last != before:
            r = log(last / before)
            pulse.squares[s, head] = r * r
        traded[s] = 0
        total, known = 0.0, 0
        for ago in range(WINDOW_S - 1, -1, -1):  # oldest first, so that it never matters since when
            slot = _before(head, ago)
            traded[s] += pulse.notional[s, slot]
            if ago < age_s[s] and pulse.ticks[s, _before(slot, 1)] > 0:
                total += pulse.squares[s, slot]
                known += 1
        volatility_1s[s] = sqrt(total / known) if known >= LEAST_S else np.nan
        head = 0 if head + 1 == SLOTS else head + 1
        pulse.notional[s, head] = 0
        pulse.head[s] = head


@in_place_kernel
def next_funding(
    pulse: Pulse, boundary_ns: int, rate: NDArray[np.float64], in_s: NDArray[np.float64]
) -> None:
    """Write the rate that is paid next, a fraction, and in how many seconds, (n,) each. The rate is
    NaN where no mark came within MARK_STALE_NS; both are where the payment it told of is over."""
    for s in range(rate.shape[0]):
        rate[s], in_s[s] = np.nan, np.nan
        seen_ns, due_ns = pulse.funding_ns[s, 0], pulse.funding_ns[s, 1]
        if seen_ns > 0 and due_ns > boundary_ns:
            in_s[s] = (due_ns - boundary_ns) / SECOND_NS
            if boundary_ns - seen_ns <= MARK_STALE_NS:
                rate[s] = pulse.funding_rate[s]
