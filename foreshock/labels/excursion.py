"""What happened between entry and exit: excursions, the onset, the time that was left.

MFE and MAE are the best and worst that the position stood at, in bps of its entry price at the
prices it could have left at (Sweeney, Maximum Adverse Excursion, 1997). The *onset* of a surge is
the last moment before the touch at which the position stood worst: there the move began. A signal's
lead time is counted to the touch, and to a planted onset where the market is simulated.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from foreshock.costs.barrier import BPS
from foreshock.labels.barriers import LONG, SURGE, Labels
from foreshock.labels.touch import extremes_between, path_of
from foreshock.market.clock import SECOND_NS

Floats = NDArray[np.float64]
Times = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Excursions:
    """Per label, shape (n,) each; NaN where the label is censored or has no row.

    mfe_bps, mae_bps   float64: best and worst standing, plus is a gain; the entry itself counts as
                       the cost of entering only through its price
    mfe_row, mae_row   int64: the first row of each, -1 where there is none
    """

    mfe_bps: Floats
    mae_bps: Floats
    mfe_row: Times
    mae_row: Times


def excursions(labels: Labels, high: Floats, low: Floats, side: int = LONG) -> Excursions:
    """Excursions of labels over the path that they were made on.

    high, low  float64 (m,): on quotes the leaving price twice (bid of a long, ask of a short)
    """
    highest, lowest, high_at, low_at = extremes_between(
        np.where(labels.label < 0, 0, labels.first),
        np.where(labels.label < 0, -1, labels.last),
        path_of(high, low),
    )
    best, worst = (highest, lowest) if side == LONG else (lowest, highest)
    best_at, worst_at = (high_at, low_at) if side == LONG else (low_at, high_at)
    return Excursions(
        side * (best / labels.entry - 1.0) * BPS,
        side * (worst / labels.entry - 1.0) * BPS,
        best_at,
        worst_at,
    )


def onset_ns(labels: Labels, low_row: Times, path_time_ns: Times) -> Times:
    """int64 (n,): when each surge began, -1 for whatever is none.

    low_row  `Excursions.mae_row`
    """
    surge = (labels.label == SURGE) & (low_row >= 0)
    if len(path_time_ns) == 0:
        return np.full(len(surge), -1, np.int64)
    return np.where(surge, path_time_ns[np.maximum(low_row, 0)], -1)


def lead_s(said_ns: Times, event_ns: Times, within_s: float) -> Floats:
    """float64 (k,): seconds from each signal to the first event at or after it, NaN where none
    comes within `within_s`. Both in UTC ns; events in any order."""
    events = np.sort(event_ns)
    place = np.searchsorted(events, said_ns, side="left")
    found = place < len(events)
    wait = np.full(len(said_ns), np.nan)
    wait[found] = (events[place[found]] - said_ns[found]) / SECOND_NS
    return np.where(wait <= within_s, wait, np.nan)


def meta_labels(side: NDArray[np.int8], long: Labels, short: Labels) -> NDArray[np.int8]:
    """int8 (n,): whether the side that a first model took was right (López de Prado 2018, 3.6).

    side  +1, -1, or 0 where it stood aside: those are censored, there is nothing to learn from
    """
    out = np.where(side > 0, long.label, short.label)
    return np.where(side == 0, np.int8(-1), out).astype(np.int8)
