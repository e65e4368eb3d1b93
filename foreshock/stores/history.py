"""History on disk: market data of the past, a directory for each series, a Parquet file for a day.

    <market>/<kind>[-<interval>]/symbol=BTCUSDT/
        date=2024-03-01/archive.parquet        also rest.parquet, import-<name>.parquet
        files/BTCUSDT-1m-2024-03-01.zip.json   what became of a file of the archive

The files are the state: a day that is there is whole, because files appear by a rename. Each
carries the judgement of its rows, where they came from and how their arrival is known, in its
schema's metadata, so that listing reads no rows. Where sources overlap, the archive wins over REST,
and REST over what was imported.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from foreshock.errors import ArchiveError, RecordingError, StoreError
from foreshock.market.clock import SECOND_NS
from foreshock.stores.archive_judge import Judgement
from foreshock.stores.archive_kinds import DAY_NS
from foreshock.stores.archive_plan import ArchiveFile, Series
from foreshock.stores.files import finished, read_table, whole_file, write_table

_META: Final = b"foreshock"
WHOLE, ABSENT, DAMAGED = "whole", "absent", "damaged"
ARCHIVE, REST, IMPORT = "archive", "rest", "import"
_RANK: Final = (ARCHIVE, REST, IMPORT)


@dataclass(frozen=True, slots=True)
class DayFile:
    """A day of a series from one source.

    day, last the days that it holds: one, but for sparse imports
    source    "archive", "rest" or "import"
    origin    the file it came from: path below the archive's address, REST path, name of the import
    arrival   "modelled" where rows have the venue's time only, "recorded" where the table has a
              column `arrival_ns`
    """

    path: Path
    day: date
    last: date
    source: str
    origin: str
    arrival: str
    judgement: Judgement


def day_of(stamp_ns: int) -> date:
    """The UTC day of a stamp."""
    return datetime.fromtimestamp(stamp_ns // SECOND_NS, UTC).date()


def start_ns(day: date) -> int:
    """The first ns of a UTC day."""
    return (day - date(1970, 1, 1)).days * DAY_NS


class History:
    """All series below `directory`. One process writes at a time; any number read."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def folder(self, series: Series) -> Path:
        """The directory of a series."""
        return self.directory / series.folder

    def write_day(
        self,
        series: Series,
        day: date,
        table: pa.Table,
        judgement: Judgement,
        *,
        source: str,
        origin: str,
        name: str = "",
        last: date | None = None,
    ) -> Path:
        """Keep a day (or all up to `last`), in the place of what the same source said before; the
        archive's word takes the place of REST's. Same rows, same bytes. Raises StoreError."""
        recorded = "arrival_ns" in table.column_names
        meta = {
            "source": source,
            "origin": origin,
            "last": (last or day).isoformat(),
            "arrival": "recorded" if recorded else "modelled",
            "judgement": judgement.as_dict(),
        }
        folder = self.folder(series) / f"date={day.isoformat()}"
        path = folder / (f"{source}-{name}.parquet" if name else f"{source}.parquet")
        body = orjson.dumps(meta, option=orjson.OPT_SORT_KEYS)
        write_table(path, table.combine_chunks().replace_schema_metadata({_META: body}))
        if source == ARCHIVE:
            (folder / f"{REST}.parquet").unlink(missing_ok=True)
        return path

    def note_file(self, file: ArchiveFile, state: str, told: Mapping[str, Any]) -> None:
        """Remember what became of a file of the archive: WHOLE, ABSENT or DAMAGED."""
        with whole_file(self._note(file)) as temporary:
            body = {"state": state, **told}
            temporary.write_bytes(orjson.dumps(body, option=orjson.OPT_INDENT_2))

    def noted(self, series: Series) -> dict[str, dict[str, Any]]:
        """Name of each file that was asked for → {state, first, last, …}."""
        out = {}
        for path in finished(self.folder(series) / "files", "*.zip.json"):
            try:
                out[path.name.removesuffix(".json")] = orjson.loads(path.read_bytes())
            except (OSError, ValueError) as error:
                raise RecordingError(f"{path} cannot be read: {error}") from error
        return out

    def covered(self, series: Series) -> set[date]:
        """Days that the archive has told all about: of files that are WHOLE, where every day that
        they held is still there."""
        at_hand = {path.parent.name for path in self._days(series, ARCHIVE)}
        out: set[date] = set()
        for note in self.noted(series).values():
            if note["state"] == WHOLE and all(f"date={day}" in at_hand for day in note["days"]):
                first, last = date.fromisoformat(note["first"]), date.fromisoformat(note["last"])
                out |= {date.fromordinal(n) for n in range(first.toordinal(), last.toordinal() + 1)}
        return out

    def series(self) -> list[Series]:
        """Every series that is there, in order."""
        out = set()
        for folder in self.directory.glob("*/*/symbol=*"):
            kind, _, interval = folder.parent.name.partition("-")
            symbol = folder.name.removeprefix("symbol=")
            out.add(Series(folder.parent.parent.name, kind, interval, symbol))
        return sorted(out)

    def days(self, series: Series) -> list[DayFile]:
        """Every day file of a series, by day, the source that wins first. Reads no rows. Raises
        RecordingError naming a damaged file."""
        found = [_described(path) for path in self._days(series)]
        return sorted(found, key=lambda f: (f.day, _RANK.index(f.source), f.path.name))

    def read(self, series: Series, first: date, last: date) -> Iterator[tuple[date, pa.Table]]:
        """(day, its rows by key, each once) for the days of [first, last] that are there.

        Where several sources have a day, rows of the one that wins come first; others fill in.
        Raises RecordingError naming a damaged file."""
        by_day: dict[date, list[tuple[str, pa.Table]]] = {}
        for file in self.days(series):
            if file.last < first or file.day > last:
                continue
            table = read_table(file.path).replace_schema_metadata(None)
            for day, rows in _days_of(file, table):
                if first <= day <= last:
                    by_day.setdefault(day, []).append((file.source, rows))
        for day in sorted(by_day):
            parts = by_day[day]
            whole = parts[:1] if parts[0][0] == ARCHIVE else parts
            yield day, _joined([rows for _, rows in whole], series)

    def _days(self, series: Series, source: str = "") -> list[Path]:
        pattern = f"date=*/{source}*.parquet"
        return [p for p in sorted(self.folder(series).glob(pattern)) if p.name[0] != "."]

    def _note(self, file: ArchiveFile) -> Path:
        return self.folder(file.series) / "files" / f"{file.name}.json"


def _described(path: Path) -> DayFile:
    try:
        metadata = pq.read_schema(path).metadata or {}
        told = orjson.loads(metadata[_META])
        day = date.fromisoformat(path.parent.name.removeprefix("date="))
        judgement = Judgement.from_dict(told["judgement"])
        last = date.fromisoformat(told["last"])
        return DayFile(path, day, last, told["source"], told["origin"], told["arrival"], judgement)
    except (OSError, KeyError, ValueError, TypeError, pa.ArrowException) as error:
        raise RecordingError(f"{path} is no day of a history: {error!r}") from error


def _days_of(file: DayFile, table: pa.Table) -> Iterable[tuple[date, pa.Table]]:
    if file.day == file.last:
        return [(file.day, table)]
    time = "open_ns" if "open_ns" in table.column_names else "event_ns"
    return split_days(table, time)


def _joined(tables: list[pa.Table], series: Series) -> pa.Table:
    if len(tables) == 1:
        return tables[0]
    table = pa.concat_tables(tables, promote_options="default")
    try:
        key = list(series.spec.key)
    except ArchiveError:
        return table
    columns = [table.column(name).to_numpy() for name in key]
    order = np.lexsort([np.arange(len(table)), *columns[::-1]])
    same = np.ones(max(len(order) - 1, 0), dtype=np.bool_)
    for column in columns:
        same &= np.diff(column[order]) == 0
    return table.take(pa.array(order[np.concatenate([[True], ~same])]))


def split_days(table: pa.Table, column: str) -> Iterable[tuple[date, pa.Table]]:
    """(day, rows) by the UTC day of a stamp, days in order, rows as they stood. Raises StoreError
    on stamps that are no day of this era."""
    numbers = table.column(column).to_numpy() // DAY_NS
    if len(numbers) and not 0 <= numbers.min() <= numbers.max() < 47_482:  # the year 2100
        raise StoreError(f"{column} holds stamps outside 1970 … 2099")
    for number in np.unique(numbers):
        yield date.fromordinal(719_163 + int(number)), table.filter(pa.array(numbers == number))
