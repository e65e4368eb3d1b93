"""What is known of the slow series that are connected, and from when on.

    files ──look──▶ SeriesBook ──by, between──▶ Known ──calls──▶ Session.context     live, simulated
                                                     └──rows───▶ replay/context.py   archives

The book reads no clock: whoever holds it says what time it is.
"""

from __future__ import annotations

import csv
import zlib
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Final

import numpy as np

from foreshock.errors import ArchiveError
from foreshock.market.context import CONTEXT_VALUE
from foreshock.market.rows import ALL, CONTEXT_SERIES
from foreshock.stores.series import Known, read_daily
from foreshock.stores.series_settings import SeriesSource

_UNREADABLE: Final = (OSError, EOFError, UnicodeDecodeError, zlib.error, csv.Error, ArchiveError)


class SeriesBook:
    """The values of `sources`, and of the versions of each when it became known.

    names   the series by position (SeriesSettings.names)
    most    how many values of a series count: those of the newest times (features/series.py, SLOTS)

    Raises ArchiveError on a source of a series that `names` lacks."""

    def __init__(self, sources: Sequence[SeriesSource], names: Sequence[str], most: int) -> None:
        if unknown := sorted({source.series for source in sources} - set(names)):
            raise ArchiveError("series", f"no series are called {unknown}")
        self.sources = tuple(sources)
        self.problems: dict[str, str] = {}  # why the last look could not read a path
        self._position = [names.index(source.series) for source in sources]
        self._most = most
        self._stamps: list[tuple[int, int] | None] = [None] * len(sources)
        self._latest: list[dict[int, float]] = [{} for _ in sources]
        self._known: list[Known] = []  # in order; replaced, never changed

    def look(self, now_ns: Callable[[], int] | None = None) -> None:
        """Read the files that changed. What is read of a file for the first time became known after
        its lag; what was not there when it was read before, not before `now_ns` either. Nothing
        that is found after the first look is told before `now_ns`. What cannot be read is said in
        `problems`, by path, and is tried again. Without a clock it is the first look."""
        found: list[Known] = []
        problems: dict[str, str] = {}
        for k, source in enumerate(self.sources):
            try:
                stat = source.path.stat()
                stamp = (stat.st_mtime_ns, stat.st_size)
                if stamp == self._stamps[k]:
                    continue
                points = read_daily(source.path, source.column, source.lag_s)
            except _UNREADABLE as error:
                problems[str(source.path)] = str(error)
                continue
            seen_ns = now_ns() if now_ns is not None else 0
            fresh_ns = 0 if self._stamps[k] is None else seen_ns
            latest, position = self._latest[k], self._position[k]
            for point in points:
                if latest.get(point.of_ns) != point.value:
                    known_ns = max(point.known_ns, fresh_ns)
                    told_ns = max(known_ns, seen_ns)
                    found.append(Known(told_ns, known_ns, point.of_ns, position, point.value))
            latest.update((point.of_ns, point.value) for point in points)
            self._stamps[k] = stamp
        self.problems = problems
        if found:
            self._known = sorted([*self._known, *found])

    def by(self, now_ns: int) -> list[Known]:
        """What is told by `now_ns`, as much of it as counts, in that order."""
        known = self.between(0, now_ns)
        times: defaultdict[int, set[int]] = defaultdict(set)
        for one in known:
            times[one.position].add(one.of_ns)
        since = {k: sorted(of)[-self._most :][0] for k, of in times.items()}
        return [one for one in known if one.of_ns >= since[one.position]]

    def between(self, after_ns: int, until_ns: int) -> list[Known]:
        """What is told later than `after_ns` and not later than `until_ns`, in that order."""
        known = self._known
        lo, hi = (bisect_right(known, at_ns, key=_told_ns) for at_ns in (after_ns, until_ns))
        return known[lo:hi]


def _told_ns(one: Known) -> int:
    return one.told_ns


def calls(known: Sequence[Known]) -> Iterator[tuple[int, int, bytes]]:
    """(the time they are of, when they became known, CONTEXT_VALUE as bytes): what
    `Session.context` takes, call by call."""
    for (known_ns, of_ns), some in groupby(known, lambda one: (one.known_ns, one.of_ns)):
        values = [(ALL, CONTEXT_SERIES + one.position, one.value) for one in some]
        yield of_ns, known_ns, np.array(values, CONTEXT_VALUE).tobytes()
