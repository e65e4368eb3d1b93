"""Ten leaks as they are found in the wild, planted to prove that the audit catches them.

Each adds one column to an honest matrix, computed the way that a hurried hand would compute it on a
whole frame. The audit must name that column, every one of the ten, and none of the honest ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from foreshock.market.clock import SECOND_NS
from foreshock.market.rows import TRADE, Rows, heads
from foreshock.replay.leakage import Build, Matrix

Floats = NDArray[np.float64]
Times = NDArray[np.int64]

BAR_NS: Final = 20 * SECOND_NS
LAG_NS: Final = 15 * SECOND_NS  # how long after the fact the slow series becomes known


@dataclass(frozen=True, slots=True)
class Sight:
    """What a column may be made of, one symbol's rows in order of time.

    t0_ns   (n,)
    x       (n,): an honest feature, without NaN
    y       (n,): 1 where the price rose over the next ten rows, else 0: a label
    price   (n,): last traded price at t0, in ticks
    series  (m, 3): a slow series, columns event_ns, known_ns, value; a second line of the same
            event is its revision
    """

    t0_ns: Times
    x: Floats
    y: Floats
    price: Floats
    series: Floats


def _centred_window(s: Sight) -> Floats:
    """A rolling mean with `center=True`."""
    padded = np.pad(s.x, 5, mode="edge")
    out: Floats = np.convolve(padded, np.ones(11) / 11, mode="valid")
    return out


def _global_z_score(s: Sight) -> Floats:
    """(x − mean) / std over the whole frame."""
    out: Floats = (s.x - s.x.mean()) / (s.x.std() + 1e-12)
    return out


def _shift_minus_one(s: Sight) -> Floats:
    """`shift(-1)` where `shift(1)` was meant."""
    return np.append(s.x[1:], s.x[-1])


def _scaler_on_all_rows(s: Sight) -> Floats:
    """A quantile scaler fitted before the split into train and test."""
    low, high = np.quantile(s.x, (0.05, 0.95))
    out: Floats = (s.x - low) / (high - low + 1e-12)
    return out


def _bars(s: Sight) -> tuple[Times, Floats, Floats]:
    """(bar of each row, its last price, its highest price), as a resample gives them."""
    bar = s.t0_ns // BAR_NS
    close, top = np.empty(len(bar)), np.empty(len(bar))
    for value in np.unique(bar):
        rows = bar == value
        close[rows], top[rows] = s.price[rows][-1], s.price[rows].max()
    return bar, close, top


def _resample_labelled_at_its_start(s: Sight) -> Floats:
    """A bar's close under the time at which the bar began: it is joined one bar too early."""
    return _bars(s)[1]


def _bar_before_it_closes(s: Sight) -> Floats:
    """The high of the bar that is still open."""
    return _bars(s)[2] - s.price


def _backfilled_gap(s: Sight) -> Floats:
    """Only every seventh value is there; the others are filled from the next."""
    out = s.x.copy()
    missing = s.t0_ns // SECOND_NS % 7 != 0
    after = np.flatnonzero(~missing)
    if len(after):
        place = np.minimum(np.searchsorted(after, np.flatnonzero(missing)), len(after) - 1)
        out[missing] = s.x[after[place]]
    return out


def _target_encoding(s: Sight) -> Floats:
    """A bucket of x told by the mean label of the bucket over all rows."""
    bucket = (s.t0_ns // SECOND_NS) % 5
    return np.array([s.y[bucket == b].mean() for b in bucket])


def _as_of(stamp: Floats, value: Floats, t0_ns: Times) -> Floats:
    """The latest value whose stamp is at or before t0; 0 before the first."""
    place = np.searchsorted(stamp, t0_ns, side="right") - 1
    out = np.zeros(len(t0_ns))
    known = place >= 0
    out[known] = value[place[known]]
    return out


def _revised_value(s: Sight) -> Floats:
    """The series as it stands today: first told values replaced by their revisions."""
    events, last = np.unique(s.series[::-1, 0], return_index=True)
    final = s.series[::-1][last]
    first_known = np.array([s.series[s.series[:, 0] == e, 1].min() for e in events])
    return _as_of(first_known, final[:, 2], s.t0_ns)


def _joined_by_event_time(s: Sight) -> Floats:
    """A value joined as of when it happened, not of when it became known."""
    order = np.argsort(s.series[:, 0], kind="stable")
    return _as_of(s.series[order, 0], s.series[order, 2], s.t0_ns)


LEAKS: Final[Mapping[str, Callable[[Sight], Floats]]] = {
    "centred_window": _centred_window,
    "global_z_score": _global_z_score,
    "shift_minus_one": _shift_minus_one,
    "scaler_on_all_rows": _scaler_on_all_rows,
    "resample_labelled_at_its_start": _resample_labelled_at_its_start,
    "bar_before_it_closes": _bar_before_it_closes,
    "backfilled_gap": _backfilled_gap,
    "target_encoding": _target_encoding,
    "revised_value": _revised_value,
    "joined_by_event_time": _joined_by_event_time,
}


def planted(build: Build, leak: str) -> Build:
    """`build` with the column of one leak behind its own."""
    make = LEAKS[leak]

    def leaky(rows: Rows, start: bytes | None) -> Matrix:
        said = build(rows, start)
        column = np.zeros(len(said.t0_ns))
        for symbol in np.unique(said.symbol).tolist():
            mine = said.symbol == symbol
            column[mine] = make(_sight(said, mine, rows, symbol))
        values = np.concatenate([said.values.astype(np.float64), column[:, None]], axis=1)
        return Matrix(said.t0_ns, said.symbol, values, (*said.names, leak))

    return leaky


def _sight(said: Matrix, mine: NDArray[Any], rows: Rows, symbol: int) -> Sight:
    told = rows[heads(rows)]
    trades = told[(told["kind"] == TRADE) & (told["symbol"] == symbol)]
    t0_ns = said.t0_ns[mine]
    stamp, ticks = trades["arrival_ns"].astype(np.float64), trades["a"].astype(np.float64)
    # Rows in [B, t0) are known at the boundary t0.
    price = _as_of(stamp, ticks, t0_ns - 1)
    ahead = np.append(price[10:], np.full(min(10, len(price)), price[-1]))
    # A slow series of this very market: an event a bar, measured until LAG_NS after it and told
    # then; measured anew until three times as long, and revised.
    series = []
    for bar in np.unique(t0_ns // BAR_NS).tolist():
        event_ns = (bar + 1) * BAR_NS
        for lag_ns in (LAG_NS, 3 * LAG_NS):
            seen = (stamp >= bar * BAR_NS) & (stamp < event_ns + lag_ns)
            if seen.any():
                value = float(ticks[seen].mean())
                series.append((float(event_ns), float(event_ns + lag_ns), value))
    return Sight(
        t0_ns,
        np.nan_to_num(said.values[mine][:, 0].astype(np.float64)),
        (ahead > price).astype(np.float64),
        price,
        np.array(series, np.float64).reshape(-1, 3),
    )
