"""Surge labels: which barrier was reached first, and over what span of time.

The definition, in order (docs/vocabulary.md, "surge"):

1.  The question is asked at the boundary t0; the window is the closed interval [t0, t0 + h].
2.  Quotes: a long entry pays the ask of the first quote at or after t0 + latency. An older quote is
    never used, so that a path coarser than the latency makes the entry later, not better. Where the
    quote does not change again within the window, the standing one is the entry. Bars: the entry is
    the open of the first bar at or after t0 plus half the assumed spread.
3.  The far barrier is `far_bps` above the entry, the near one `near_bps` below. A long position
    leaves at the bid; bars are judged by their high and low.
4.  Surge (1): the far barrier is reached first, at or before t0 + h. No surge (0): the near one
    first, or neither. Both inside one bar: the near one first.
5.  Censored (-1): the window meets a gap or a bad epoch, *even after* a barrier was reached, or
    runs beyond the end of the data, or there is no barrier or no price. Judging a cut window by
    what it happened to show would keep only the windows that were decided early.
6.  The span is [t0, t1], t1 the time of the touch, or t0 + h.

A short position mirrors this: it enters at the bid (open minus half the spread), leaves at the ask,
and its far barrier lies below. A forward scan decides; blocks of rows that cannot touch are skipped
whole, which makes a label some forty times cheaper where a window has thousands of quotes.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from foreshock.costs.barrier import BPS, BarrierSettings
from foreshock.errors import DatasetError
from foreshock.labels.touch import first_touch, path_of
from foreshock.market.clock import MS_NS, SECOND_NS

LONG: Final = 1
SHORT: Final = -1
SURGE: Final = 1
NO_SURGE: Final = 0
CENSORED: Final = -1

Floats = NDArray[np.float64]
Times = NDArray[np.int64]


class LabelSettings(BarrierSettings):
    """What a surge is. The bill's version is part of it, because the bill moves the barriers."""

    horizons_s: tuple[int, ...] = Field(
        default=(60, 300, 900),
        description="Horizons in seconds, ascending; one label and one model each.",
    )
    latency_ms: int = Field(
        default=100,
        ge=0,
        description="From the boundary to the entry: how long our order would travel.",
    )
    bill_version: str = Field(
        default="1", description="Version of the bill that priced c·bill; set by whoever prices it."
    )

    @field_validator("horizons_s")
    @classmethod
    def _ascending(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if not value or value[0] <= 0 or list(value) != sorted(set(value)):
            raise ValueError(f"horizons_s must ascend and be positive, got {value}")
        return value

    @property
    def fingerprint(self) -> str:
        """16 hex digits that change with any setting."""
        body = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(body.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Labels:
    """One label per t0, shape (n,) each.

    label        int8: SURGE, NO_SURGE or CENSORED
    t1_ns        int64: end of the span
    touch        int64: index of the row that touched, -1 where none did or the label is censored
    first, last  int64: the rows that decided, closed; last < first where there was none
    entry        float64: price paid at entry, NaN where censored
    outcome_bps  float64: return of the side, mid to mid, plus is a gain; the spread is the bill's
                 business. NaN where censored
    """

    label: NDArray[np.int8]
    t1_ns: Times
    touch: Times
    first: Times
    last: Times
    entry: Floats
    outcome_bps: Floats


def label_quotes(
    t0_ns: Times,
    far_bps: Floats,
    near_bps: Floats,
    path_time_ns: Times,
    bid_price: Floats,
    ask_price: Floats,
    *,
    horizon_s: int,
    latency_ms: int,
    side: int = LONG,
    valid: NDArray[np.bool_] | None = None,
    censor_spans_ns: Times | None = None,
    data_end_ns: int | None = None,
) -> Labels:
    """Label n boundaries on a path of m quotes.

    t0_ns, far_bps, near_bps   (n,), in any order of time
    path_time_ns, bid_price, ask_price   (m,), times ascending (equal times: the later row stands)
    valid            bool (n,): False censors (not warm, book not SYNCED at t0)
    censor_spans_ns  (c, 2): half-open [start, end) in which the path must not be believed
    data_end_ns      until when the path is complete; the last quote's time by default

    Raises DatasetError on unsorted times, prices that are not above zero, or wrong shapes.
    """
    _check_path(path_time_ns, "path_time_ns", bid_price=bid_price, ask_price=ask_price)
    _check_asked(t0_ns, side, far_bps=far_bps, near_bps=near_bps)
    m = len(path_time_ns)
    deadline = t0_ns + horizon_s * SECOND_NS
    begin = np.searchsorted(path_time_ns, t0_ns + latency_ms * MS_NS, side="left")
    stop = np.searchsorted(path_time_ns, deadline, side="right")
    begin = np.minimum(begin, stop - 1)  # nothing new within the window: the standing quote
    end_ns = data_end_ns if data_end_ns is not None else (int(path_time_ns[-1]) if m else 0)
    known = (begin >= 0) & (deadline <= end_ns) & _good(far_bps, near_bps, valid)
    known &= ~meets(t0_ns, deadline, censor_spans_ns)

    at = np.where(known, begin, 0)
    pay, leave = (ask_price, bid_price) if side == LONG else (bid_price, ask_price)
    entry = np.where(known, pay[at] if m else np.nan, np.nan)
    touch, far_first = _scan(at + 1, stop, known, entry, far_bps, near_bps, leave, leave, side)

    mid = (bid_price + ask_price) / 2.0
    last = np.where(touch >= 0, touch, np.maximum(stop - 1, 0))
    label = np.where(known, far_first.astype(np.int8), np.int8(CENSORED))
    if m == 0:
        return _nothing(deadline)
    t1 = np.where(touch >= 0, path_time_ns[np.maximum(touch, 0)], deadline)
    outcome = np.where(known, side * (mid[last] / mid[at] - 1.0) * BPS, np.nan)
    return Labels(label, t1, touch, at + 1, np.where(known, last, at), entry, outcome)


def label_bars(
    t0_ns: Times,
    far_bps: Floats,
    near_bps: Floats,
    open_time_ns: Times,
    bars: Floats,
    *,
    bar_s: int,
    half_spread_bps: float,
    horizon_s: int,
    side: int = LONG,
    valid: NDArray[np.bool_] | None = None,
    censor_spans_ns: Times | None = None,
) -> Labels:
    """Label n boundaries on m bars; a missing bar censors the windows that meet it.

    bars  float64 (m, 4): open, high, low, close; `open_time_ns` (m,) ascending, `bar_s` apart
    The latency of the definition is far below a bar and therefore not asked for. t0 is when the
    features were known: no earlier than the close of the bar they were made of.

    The outcome is that of leaving at the barrier: at the bar's open where it opens beyond the near
    one, never better than the far one. Raises DatasetError as `label_quotes` does.
    """
    opens, highs, lows, closes = (np.ascontiguousarray(column) for column in bars.T)
    _check_path(open_time_ns, "open_time_ns", open=opens, high=highs, low=lows, close=closes)
    _check_asked(t0_ns, side, far_bps=far_bps, near_bps=near_bps)
    m, bar_ns = len(open_time_ns), bar_s * SECOND_NS
    deadline = t0_ns + horizon_s * SECOND_NS
    begin = np.searchsorted(open_time_ns, t0_ns, side="left")
    stop = np.searchsorted(open_time_ns + bar_ns, deadline, side="right")
    late = np.diff(open_time_ns) > bar_ns
    gaps = np.stack([open_time_ns[:-1][late] + bar_ns, open_time_ns[1:][late]], axis=1)
    end_ns = int(open_time_ns[-1]) + bar_ns if m else 0
    start_ns = int(open_time_ns[0]) if m else 0
    known = (begin < stop) & (deadline <= end_ns) & (t0_ns >= start_ns)
    known &= _good(far_bps, near_bps, valid) & ~meets(t0_ns, deadline, gaps)
    known &= ~meets(t0_ns, deadline, censor_spans_ns)
    if m == 0:
        return _nothing(deadline)

    at = np.where(known, begin, 0)
    entry = np.where(known, opens[at] * (1.0 + side * half_spread_bps / BPS), np.nan)
    touch, far_first = _scan(at, stop, known, entry, far_bps, near_bps, highs, lows, side)

    touched, row = touch >= 0, np.maximum(touch, 0)
    t1 = np.where(touched, open_time_ns[row] + bar_ns, deadline)
    far_price = entry * (1.0 + side * far_bps / BPS)
    near_price = entry * (1.0 - side * near_bps / BPS)
    worse = np.minimum if side == LONG else np.maximum
    at_barrier = np.where(far_first, far_price, worse(near_price, opens[row]))
    last = np.where(touched, touch, np.maximum(stop - 1, 0))
    leave = np.where(touched, at_barrier, closes[last])
    outcome = np.where(known, side * (leave / opens[at] - 1.0) * BPS, np.nan)
    label = np.where(known, far_first.astype(np.int8), np.int8(CENSORED))
    return Labels(label, t1, touch, at, np.where(known, last, at - 1), entry, outcome)


def _nothing(deadline: Times) -> Labels:
    """All censored: there is no path."""
    n = len(deadline)
    return Labels(
        np.full(n, CENSORED, np.int8), deadline, np.full(n, -1), np.zeros(n, np.int64),
        np.full(n, -1), np.full(n, np.nan), np.full(n, np.nan),
    )  # fmt: skip


def meets(start_ns: Times, end_ns: Times, spans_ns: Times | None) -> NDArray[np.bool_]:
    """bool (n,): whether the closed window [start, end] meets any half-open span [a, b), a < b, of
    `spans_ns` (c, 2). Spans may be in any order and may overlap."""
    if spans_ns is None or len(spans_ns) == 0:
        return np.zeros(len(start_ns), dtype=np.bool_)
    begun = np.searchsorted(np.sort(spans_ns[:, 0]), end_ns, side="right")
    over = np.searchsorted(np.sort(spans_ns[:, 1]), start_ns, side="right")
    out: NDArray[np.bool_] = begun > over
    return out


def _scan(
    begin: Times,
    stop: Times,
    known: NDArray[np.bool_],
    entry: Floats,
    far_bps: Floats,
    near_bps: Floats,
    high: Floats,
    low: Floats,
    side: int,
) -> tuple[Times, NDArray[np.bool_]]:
    """(row of the first touch or -1, whether it was the far barrier alone)."""
    far = entry * (1.0 + side * far_bps / BPS)
    near = entry * (1.0 - side * near_bps / BPS)
    upper, lower = (far, near) if side == LONG else (near, far)
    touch, up, down = first_touch(
        np.where(known, begin, 0).astype(np.int64),
        np.where(known, stop, 0).astype(np.int64),
        upper, lower, path_of(high, low),
    )  # fmt: skip
    far_touched, near_touched = (up, down) if side == LONG else (down, up)
    return touch, far_touched & ~near_touched


def _good(far_bps: Floats, near_bps: Floats, valid: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
    good = np.isfinite(far_bps) & np.isfinite(near_bps) & (far_bps > 0) & (near_bps > 0)
    out: NDArray[np.bool_] = good if valid is None else good & valid
    return out


def _check_path(times: Times, name: str, **prices: Floats) -> None:
    if times.ndim != 1 or (np.diff(times) < 0).any():
        raise DatasetError(f"{name} runs backwards or is not one-dimensional")
    for what, price in prices.items():
        if price.shape != times.shape:
            raise DatasetError(f"{what} has shape {price.shape}, {name} {times.shape}")
        bad = ~(np.isfinite(price) & (price > 0))
        if bad.any():
            row = int(np.argmax(bad))
            raise DatasetError(f"{what} is {price[row]} at row {row}: not a price")


def _check_asked(t0_ns: Times, side: int, **distances: Floats) -> None:
    if side not in (LONG, SHORT):
        raise DatasetError(f"side must be {LONG} (long) or {SHORT} (short), got {side}")
    for what, value in distances.items():
        if value.shape != t0_ns.shape:
            raise DatasetError(f"{what} has shape {value.shape}, t0_ns {t0_ns.shape}")
