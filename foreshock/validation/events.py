"""Event studies: what features look like around moments that are known afterwards.

Values are told in standard deviations of quiet times, averaged over events by their distance from
the event, with bounds from the spread between events (MacKinlay, Journal of Economic Literature
1997, sections 3-5). Events are hindsight: this explains a market, it never trains anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t

from foreshock.errors import DatasetError
from foreshock.market.clock import SECOND_NS

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

LEAST_EVENTS: Final = 8
LEAST_QUIET: Final = 30  # boundaries


@dataclass(frozen=True, slots=True)
class EventStudy:
    """Around events; o offsets, k features.

    offsets_s          float64 (o,): seconds from the event, minus is before
    events             int64 (o, k): events that had a value there
    mean, lower, upper float64 (o, k): in standard deviations of quiet times; bounds hold for all
                       features of one offset together (Bonferroni). NaN with fewer than
                       LEAST_EVENTS events or where quiet times know no spread
    """

    offsets_s: Floats
    events: Ints
    mean: Floats
    lower: Floats
    upper: Floats

    def first_told_s(self) -> Floats:
        """float64 (k,): the earliest offset from which on, up to the event, the bounds leave out
        0; NaN where they hold it right before the event."""
        before = self.offsets_s <= 0
        told = ((self.lower > 0) | (self.upper < 0))[before]
        run = np.logical_and.accumulate(told[::-1], axis=0).sum(axis=0)
        offsets = self.offsets_s[before]
        return np.where(run > 0, offsets[len(offsets) - np.maximum(run, 1)], np.nan)


def standard_scores(values: Floats, at_ns: Ints, events_ns: Ints, quiet_s: float) -> Floats:
    """`values` (b, k) of one symbol at boundaries `at_ns` (b,), in standard deviations from the
    mean of the boundaries that are further than `quiet_s` from every event. NaN where those are
    fewer than LEAST_QUIET or do not differ."""
    events = np.sort(events_ns)
    place = np.searchsorted(events, at_ns)
    away = np.full(len(at_ns), np.iinfo(np.int64).max)
    if len(events):
        later = np.abs(events[np.minimum(place, len(events) - 1)] - at_ns)
        earlier = np.abs(events[np.maximum(place - 1, 0)] - at_ns)
        away = np.minimum(later, earlier)
    quiet = values[away > quiet_s * SECOND_NS]
    known = np.isfinite(quiet)
    count = known.sum(axis=0)
    mean = np.where(known, quiet, 0.0).sum(axis=0) / np.maximum(count, 1)
    spread = np.sqrt((np.where(known, quiet - mean, 0.0) ** 2).sum(axis=0) / np.maximum(count, 1))
    can = (count >= LEAST_QUIET) & (spread > 1e-12 * np.maximum(1.0, np.abs(mean)))
    with np.errstate(invalid="ignore"):
        return np.where(can, (values - mean) / np.where(can, spread, 1.0), np.nan)


def around(scores: Floats, at_ns: Ints, events_ns: Ints, offsets_s: Floats) -> Floats:
    """float64 (e, o, k): the scores at the last boundary at or before each event + offset, NaN
    where that is more than a second old. `at_ns` (b,) in order."""
    wanted = events_ns[:, None] + (offsets_s * SECOND_NS).astype(np.int64)[None, :]
    place = np.searchsorted(at_ns, wanted, side="right") - 1
    there = (place >= 0) & (wanted - at_ns[np.maximum(place, 0)] < SECOND_NS)
    return np.where(there[:, :, None], scores[np.maximum(place, 0)], np.nan)


def event_study(seen: Floats, offsets_s: Floats, alpha: float = 0.05) -> EventStudy:
    """Of what was seen `around` all events of all symbols, (e, o, k). Raises DatasetError where
    the offsets do not ascend."""
    if (np.diff(offsets_s) <= 0).any():
        raise DatasetError(f"offsets must ascend, got {offsets_s.tolist()}")
    known = np.isfinite(seen)
    count = known.sum(axis=0)
    mean = np.where(known, seen, 0.0).sum(axis=0) / np.maximum(count, 1)
    squares = np.where(known, (seen - mean) ** 2, 0.0).sum(axis=0)
    error = np.sqrt(squares / np.maximum(count - 1, 1) / np.maximum(count, 1))
    enough = count >= LEAST_EVENTS
    reach = t.isf(alpha / 2 / max(seen.shape[2], 1), np.maximum(count - 1, 1)) * error
    mean = np.where(enough, mean, np.nan)
    return EventStudy(offsets_s, count.astype(np.int64), mean, mean - reach, mean + reach)
