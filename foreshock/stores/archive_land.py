"""Land a file of the archive: a verified zip becomes judged days of a history.

Rows are read batch by batch and a day is written as soon as a later day has been entered twice
over, so that a month of ticks never stands in memory whole."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa

from foreshock.errors import ArchiveError
from foreshock.stores.archive_csv import Reading, read_csv
from foreshock.stores.archive_judge import judge
from foreshock.stores.archive_kinds import DAY_NS
from foreshock.stores.archive_plan import ArchiveFile
from foreshock.stores.archive_zip import opened_csv, verify
from foreshock.stores.history import ARCHIVE, WHOLE, History, split_days, start_ns


class _Days:
    """The days of one file, gathered and written in order."""

    def __init__(self, history: History, file: ArchiveFile, reading: Reading) -> None:
        self._history, self._file, self._reading = history, file, reading
        self._parts: dict[date, list[pa.Table]] = {}
        self._written: set[date] = set()
        self._newest = file.first
        self.rows = 0
        self.foreign = 0
        self.days: list[str] = []

    def take(self, table: pa.Table) -> None:
        """A batch of the file."""
        kind, file = self._file.series.spec, self._file
        times = table.column(kind.time).to_numpy()
        first, end = start_ns(file.first), start_ns(file.last) + DAY_NS
        # The venue's metrics of a day end with midnight; it belongs to the day it closes.
        inside = (times >= first) & ((times < end) | ((times == end) & (kind.name == "metrics")))
        if not inside.all():
            self.foreign += int((~inside).sum())
            table, times = table.filter(pa.array(inside)), times[inside]
        if not table.num_rows:
            return
        if file.monthly:
            for day, part in split_days(table, kind.time):
                self._add(day, part)
        else:
            self._add(file.first, table)
        self._newest = max(self._newest, *self._parts)
        for day in sorted(self._parts):
            if (self._newest - day).days > 1:
                self._write(day)

    def _add(self, day: date, part: pa.Table) -> None:
        if day in self._written:
            raise ArchiveError(
                "order", f"{self._file.name}: rows of {day} behind rows of {self._newest}"
            )
        self._parts.setdefault(day, []).append(part)

    def _write(self, day: date) -> None:
        series = self._file.series
        kind = series.spec
        table = pa.concat_tables(self._parts.pop(day))
        table, judged = judge(table, kind, kind.gap_limit_ns(series.interval))
        self._history.write_day(
            series,
            day,
            table,
            judged.told(units=tuple(sorted(self._reading.units))),
            source=ARCHIVE,
            origin=self._file.path,
        )
        self._written.add(day)
        self.days.append(day.isoformat())
        self.rows += judged.rows

    def finish(self) -> None:
        """Write what is left."""
        for day in sorted(self._parts):
            self._write(day)


def land(history: History, file: ArchiveFile, path: Path, sha256: str | None) -> dict[str, Any]:
    """Verify the zip at `path` and write its days; says {rows, days, sha256, …}.

    sha256   as the archive's CHECKSUM says; None where it has none (the zip's own CRC must do)
    Raises ArchiveError on a damaged file: nothing of it is then noted, and days that were written
    before the damage showed are taken back."""
    if sha256 is not None:
        verify(path, sha256)
    kind, reading = file.series.spec, Reading()
    days = _Days(history, file, reading)
    try:
        with opened_csv(path) as stream:
            for table in read_csv(stream, kind, file.series.symbol, reading):
                days.take(table)
        days.finish()
    except ArchiveError:
        for day in days.days:
            folder = history.folder(file.series) / f"date={day}"
            (folder / f"{ARCHIVE}.parquet").unlink(missing_ok=True)
        raise
    told = {
        "first": file.first.isoformat(),
        "last": file.last.isoformat(),
        "days": days.days,
        "rows": days.rows,
        "bad_rows": reading.bad_rows,
        "first_bad": reading.first_bad,
        "foreign_rows": days.foreign + reading.foreign_symbol_rows,
        "header": reading.header,
        "sha256": sha256,
    }
    history.note_file(file, WHOLE, told)
    return told
