"""The sequenced input that a history makes: what a watcher would have been fed, days of it.

Rows of all symbols in order of their modelled arrival, a timer row every second, and an epoch for
each tape, anew where ids are missing. There is no book in an archive: it stays RESYNCING.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from foreshock.errors import ArchiveError
from foreshock.market.clock import SECOND_NS, boundary_after
from foreshock.market.instruments import Instrument
from foreshock.market.rows import (
    ALL,
    BOOK,
    EPOCH,
    MODELLED,
    REASON_GAP,
    REASON_START,
    RESYNCING,
    SYNCED,
    TAPE,
    TIMER,
    Rows,
    empty_rows,
)
from foreshock.stores.archive_delays import Delays
from foreshock.stores.archive_plan import Series
from foreshock.stores.archive_rows import bar_rows, instrument_of, metric_rows, trade_rows
from foreshock.stores.history import History, start_ns

TAPES: Final = ("trades", "aggTrades")
TELLING: Final = (*TAPES, "klines")  # kinds that tell tick and lot
SPOKEN: Final = (*TELLING, "metrics", "fundingRate")  # kinds that have rows in the data language


class _Batch(NamedTuple):
    """Rows, and which of them are no pack rows."""

    rows: Rows
    is_head: NDArray[np.bool_]


@dataclass(slots=True)
class _Tape:
    """Where a symbol's tape stands at the end of a day."""

    last_id: int = -1
    last_ns: int = 0
    epoch: int = 1


class ArchiveInput:
    """Days of a history as rows.

    Parameters
    ----------
    history       where the days are
    series        of one market; trades *or* aggTrades of a symbol, since both would count twice
    first, last   days, inclusive
    delays, seed  of the modelled arrival
    timer_ns      how far apart the timer rows are

    Raises ArchiveError where they do not go together, or a symbol has no rows that tell its tick
    and lot."""

    def __init__(
        self,
        history: History,
        series: Sequence[Series],
        first: date,
        last: date,
        delays: Delays,
        seed: int,
        *,
        timer_ns: int = SECOND_NS,
    ) -> None:
        tapes = [s.symbol for s in series if s.kind in TAPES]
        if len({s.market for s in series}) != 1 or len(set(tapes)) != len(tapes):
            raise ArchiveError(
                "series", "one market, and trades or aggTrades of a symbol, not both"
            )
        mute = sorted({s.kind for s in series} - set(SPOKEN))
        if mute:
            raise ArchiveError("kind", f"{', '.join(mute)}: no rows in the data language")
        self._history, self._first, self._last = history, first, last
        self._delays, self._seed, self._timer_ns = delays, seed, timer_ns
        self._series = sorted(series)
        self._next_seq = 0
        self.instruments = [
            self._instrument(symbol) for symbol in sorted({s.symbol for s in series})
        ]
        self._tapes = [_Tape() for _ in self.instruments]

    def _instrument(self, symbol: str) -> Instrument:
        telling = [s for s in self._series if s.symbol == symbol and s.kind in TELLING]
        if not telling:
            raise ArchiveError("empty", f"{symbol}: neither tape nor bars tell tick and lot")
        days = (self._history.read(s, self._first, self._last) for s in telling)
        return instrument_of(telling[0], (table for read in days for _, table in read))

    def rows(self) -> Iterator[Rows]:
        """A batch for each day, in (arrival_ns, seq) order; a day without rows has none."""
        carried = _whole(empty_rows())  # what arrives behind its day's midnight
        started = False
        for number in range(self._first.toordinal(), self._last.toordinal() + 2):
            day = date.fromordinal(number)
            parts = [carried]
            if day <= self._last:
                parts += self._of_day(day)
            batch = _in_order(parts)
            carried = _whole(empty_rows())
            if day <= self._last:
                batch, carried = _cut(batch, start_ns(day + timedelta(days=1)))
            if not len(batch.rows):
                continue
            stamps = batch.rows["arrival_ns"][batch.is_head]
            opening = [] if started else [self._opening(int(stamps[0]))]
            timers = _timers(int(stamps[0]), int(stamps[-1]), self._timer_ns)
            started = True
            yield self._numbered(_in_order([*opening, _whole(timers), batch]))

    def _of_day(self, day: date) -> list[_Batch]:
        out = []
        for symbol, instrument in enumerate(self.instruments):
            for series in self._series:
                if series.symbol == instrument.symbol:
                    for _, table in self._history.read(series, day, day):
                        out += self._converted(series, table, symbol)
        return out

    def _converted(self, series: Series, table: pa.Table, symbol: int) -> list[_Batch]:
        instrument = self.instruments[symbol]
        if series.kind in TAPES:
            tape = self._tapes[symbol]
            rows = trade_rows(table, instrument, symbol, self._delays, self._seed, tape.last_ns)
            return [_whole(_epochs(rows, symbol, tape)), _whole(rows)]
        if series.kind == "klines":
            rows = bar_rows(table, series, instrument, symbol, self._delays, self._seed)
            return [_Batch(rows, np.arange(len(rows)) % 2 == 0)]
        return [_whole(metric_rows(table, symbol, series.symbol, self._delays, self._seed))]

    def _opening(self, arrival_ns: int) -> _Batch:
        rows = empty_rows(2 * len(self.instruments))
        rows["arrival_ns"], rows["kind"], rows["flags"] = arrival_ns, EPOCH, MODELLED
        rows["symbol"] = np.arange(len(rows)) // 2
        rows["b"], rows["d"] = 1, REASON_START
        rows["a"][::2], rows["c"][::2] = RESYNCING, BOOK
        rows["a"][1::2], rows["c"][1::2] = SYNCED, TAPE
        return _whole(rows)

    def _numbered(self, batch: _Batch) -> Rows:
        n = int(batch.is_head.sum())
        batch.rows["seq"][batch.is_head] = np.arange(self._next_seq, self._next_seq + n)
        self._next_seq += n
        return batch.rows


def _whole(rows: Rows) -> _Batch:
    return _Batch(rows, np.ones(len(rows), np.bool_))


def _in_order(parts: Sequence[_Batch]) -> _Batch:
    """All rows by arrival; equal ones in the order of `parts`, packs behind their headers."""
    rows = np.concatenate([part.rows for part in parts])
    is_head = np.concatenate([part.is_head for part in parts])
    # A pack is sorted by its header's arrival, and a stable sort keeps it behind it.
    header = np.maximum.accumulate(np.where(is_head, np.arange(len(rows)), 0))
    order = np.argsort(rows["arrival_ns"][header], kind="stable")
    return _Batch(rows[order], is_head[order])


def _cut(batch: _Batch, end_ns: int) -> tuple[_Batch, _Batch]:
    """(what arrives before `end_ns`, the rest)."""
    late = batch.is_head & (batch.rows["arrival_ns"] >= end_ns)
    at = int(np.argmax(late)) if late.any() else len(late)
    return (
        _Batch(batch.rows[:at], batch.is_head[:at]),
        _Batch(batch.rows[at:], batch.is_head[at:]),
    )


def _timers(first_ns: int, last_ns: int, step_ns: int) -> Rows:
    at = np.arange(boundary_after(first_ns, step_ns), last_ns + step_ns, step_ns)
    rows = empty_rows(len(at))
    rows["arrival_ns"], rows["kind"], rows["symbol"], rows["flags"] = at, TIMER, ALL, MODELLED
    return rows


def _epochs(rows: Rows, symbol: int, tape: _Tape) -> Rows:
    """A new epoch where ids are missing, in front of the first trade behind the gap; `tape` is
    moved to the end of `rows`."""
    if not len(rows):
        return rows
    before = tape.last_id if tape.last_id >= 0 else int(rows["id"][0]) - 1
    broken = np.flatnonzero(np.diff(rows["id"], prepend=before) != 1)
    out = empty_rows(len(broken))
    out["arrival_ns"] = rows["arrival_ns"][broken]
    out["kind"], out["symbol"], out["flags"] = EPOCH, symbol, MODELLED
    out["a"], out["c"], out["d"] = SYNCED, TAPE, REASON_GAP
    out["b"] = tape.epoch + 1 + np.arange(len(broken))
    tape.epoch += len(broken)
    tape.last_id, tape.last_ns = int(rows["id"][-1]), int(rows["arrival_ns"][-1])
    return out
