"""Cut a sequenced input into the rows of one symbol and one day.

    WORK/<session>/cut/<group>.json     what the group was made of, and its files
    WORK/<session>/cut/symbol=BTCUSDT/day=2024-07-18/<group>-<first seq>.parquet

A symbol's rows are its own and those of ALL (timers, connections, context); it becomes symbol 0. A
group is a run of a recording's files, or all of a symbol's history: the unit of work and of
resuming. The same group gives the same files.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

import numpy as np

from foreshock.errors import RecordingError, RowError
from foreshock.market.instruments import Instrument, by_symbol
from foreshock.market.rows import ALL, META, Rows, as_rows, as_words
from foreshock.stores.archive_delays import recorded
from foreshock.stores.archive_input import ArchiveInput
from foreshock.stores.archive_plan import Series
from foreshock.stores.files import finished, read_table, whole_file, write_table
from foreshock.stores.history import History
from foreshock.stores.recordings import open_recording
from foreshock.stores.row_tables import ENCODINGS, from_table, pack_mask, to_table
from pipelines.dataset_play import check_market
from pipelines.dataset_settings import DAY_NS

FILES_PER_GROUP: Final = 8
PENDING_ROWS: Final = 1_000_000  # kept in memory while cutting, 80 bytes each
_HIGH: Final = np.int64(-1) << 32


@dataclass(frozen=True, slots=True)
class Cut:
    """Rows of one symbol and day: the file, its first and last arrival and a digest of the rows;
    `instrument` as its `as_dict` says it."""

    symbol: str
    instrument: dict[str, Any]
    day: int
    path: str
    first_ns: int
    last_ns: int
    rows: int
    digest: str


@dataclass(frozen=True, slots=True)
class Group:
    """A piece of work: `inputs` say what it is made of (changed inputs are cut anew)."""

    name: str
    inputs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RecordingSession:
    """A recording as a source of rows."""

    directory: str

    @property
    def name(self) -> str:
        """Unlike that of any other recording."""
        manifest = (Path(self.directory) / "manifest.json").read_bytes()
        digest = blake2b(manifest + self.directory.encode(), digest_size=4).hexdigest()
        return f"{Path(self.directory).name}-{digest}"

    def domain(self) -> tuple[str, str]:
        """(source, market). Raises RecordingError."""
        recording = open_recording(Path(self.directory))
        return str(recording.meta.get("source")), recording.instruments[0].market

    def groups(self) -> list[Group]:
        """Runs of its files."""
        files = [p.name for p in finished(Path(self.directory) / "rows", "*.parquet")]
        runs = [files[i : i + FILES_PER_GROUP] for i in range(0, len(files), FILES_PER_GROUP)]
        return [Group(f"{number:06d}", tuple(run)) for number, run in enumerate(runs)]

    def rows(self, group: Group) -> Iterator[tuple[Rows, list[Instrument]]]:
        """Batches of a group. A row that the files before it hold too is left out."""
        instruments = open_recording(Path(self.directory)).instruments
        folder = Path(self.directory) / "rows"
        names = [p.name for p in finished(folder, "*.parquet")]
        before = names[: names.index(group.inputs[0])]
        last = max((int(name.split("-")[1].split(".")[0]) for name in before), default=-1)
        for name in group.inputs:
            rows = from_table(read_table(folder / name))
            try:
                head = np.flatnonzero(~pack_mask(as_words(rows)))
            except RowError as error:
                raise RecordingError(f"{folder / name}: {error}") from error
            later = head[rows["seq"][head] > last]
            if len(later):
                last = int(rows["seq"][head[-1]])
                yield rows[later[0] :], instruments


@dataclass(frozen=True, slots=True)
class HistorySession:
    """Days of a history as a source of rows; every symbol by itself, arrival modelled."""

    directory: str
    series: tuple[Series, ...]
    first: str
    last: str
    delays: str
    seed: int
    step_ns: int

    @property
    def name(self) -> str:
        """Unlike that of any other."""
        told = json.dumps(asdict(self), sort_keys=True)
        return f"history-{blake2b(told.encode(), digest_size=4).hexdigest()}"

    def domain(self) -> tuple[str, str]:
        """(source, market)."""
        return "binance", self.series[0].market

    def groups(self) -> list[Group]:
        """One for each symbol, made of its day files."""
        history, out = History(Path(self.directory)), []
        for symbol in sorted({s.symbol for s in self.series}):
            files = [
                f"{f.path.relative_to(history.directory)} {f.path.stat().st_mtime_ns}"
                for s in self.series if s.symbol == symbol for f in history.days(s)
            ]  # fmt: skip
            out.append(Group(symbol, tuple(files)))
        return out

    def rows(self, group: Group) -> Iterator[tuple[Rows, list[Instrument]]]:
        """Batches of a symbol's history, a day each."""
        source = self._input(group.name)
        for rows in source.rows():
            yield rows, source.instruments

    def _input(self, symbol: str) -> ArchiveInput:
        mine = [s for s in self.series if s.symbol == symbol]
        return ArchiveInput(
            History(Path(self.directory)), mine, date.fromisoformat(self.first),
            date.fromisoformat(self.last), recorded(self.delays, mine[0].market), self.seed,
            timer_ns=self.step_ns,
        )  # fmt: skip


Session = RecordingSession | HistorySession


def cut_group(session: Session, group: Group, work: Path) -> list[Cut]:
    """Cut one group, or read what was cut of the same inputs before. Raises DatasetError on rows
    that cannot be true, naming symbol and seq."""
    folder = work / session.name / "cut"
    marker = folder / f"{group.name}.json"
    found = read_marker(marker, group)
    if found is not None:
        return found
    out: list[Cut] = []
    pending: dict[tuple[str, int], list[Rows]] = {}
    held, known = 0, dict[str, Instrument]()
    for rows, instruments in session.rows(group):
        check_market(rows, instruments)
        known = by_symbol(instruments)
        for key, mine in _split(rows, instruments):
            pending.setdefault(key, []).append(mine)
            held += len(mine)
        if held >= PENDING_ROWS:
            out += _write(pending, known, folder, group.name)
            pending, held = {}, 0
    out += _write(pending, known, folder, group.name)
    body = {"inputs": group.inputs, "files": [asdict(cut) for cut in out]}
    with whole_file(marker) as temporary:
        temporary.write_text(json.dumps(body))
    return out


def read_marker(marker: Path, group: Group) -> list[Cut] | None:
    """What was cut of this group, None where it was not, or of other inputs, or is gone."""
    try:
        body = json.loads(marker.read_text())
        files = [Cut(**each) for each in body["files"]]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    whole = all((marker.parent / cut.path).exists() for cut in files)
    return files if whole and tuple(body["inputs"]) == group.inputs else None


def read_cut(folder: Path, files: Sequence[Mapping[str, Any]]) -> Iterator[Rows]:
    """The rows of `Cut`s (as dicts) below `folder`. Raises RecordingError on a damaged file."""
    for each in files:
        yield from_table(read_table(folder / each["path"]))


def _split(rows: Rows, instruments: Sequence[Instrument]) -> Iterator[tuple[tuple[str, int], Rows]]:
    """((symbol, day), its rows, with those of ALL) for each that has rows of its own or of ALL."""
    words = as_words(rows)
    is_head = ~pack_mask(words)
    header = np.maximum.accumulate(np.where(is_head, np.arange(len(words)), 0))
    symbol = (words[:, META] >> 32)[header]
    day = rows["arrival_ns"][header] // DAY_NS
    for number in np.unique(day):
        today = np.flatnonzero(day == number)
        by_symbol = today[np.argsort(symbol[today], kind="stable")]
        edges = np.searchsorted(symbol[by_symbol], np.arange(ALL, len(instruments) + 1))
        common = by_symbol[edges[0] : edges[1]]
        for s, instrument in enumerate(instruments):
            own = by_symbol[edges[s + 1] : edges[s + 2]]
            if not len(own) and not len(common):
                continue
            chosen = np.sort(np.concatenate([own, common]))
            mine = words[chosen]
            # The symbol is the upper half of the word: 0 from here on.
            mine[is_head[chosen] & (symbol[chosen] == s), META] &= ~_HIGH
            yield (instrument.symbol, int(number)), as_rows(mine)


def _write(
    pending: Mapping[tuple[str, int], list[Rows]], known: Mapping[str, Instrument], folder: Path,
    group: str,
) -> list[Cut]:  # fmt: skip
    out = []
    for (symbol, day), parts in sorted(pending.items()):
        rows = np.concatenate(parts)
        first, last = int(rows["seq"][0]), int(rows["arrival_ns"][_last_head(rows)])
        where = f"symbol={symbol}/day={np.datetime64(day, 'D')}/{group}-{first:020d}.parquet"
        write_table(folder / where, to_table(rows), **ENCODINGS)
        digest = blake2b(rows.tobytes(), digest_size=8).hexdigest()
        started = int(rows["arrival_ns"][0])
        told = known[symbol].as_dict()
        out.append(Cut(symbol, told, day, where, started, last, len(rows), digest))
    return out


def upto(rows: Rows, limit_ns: int) -> tuple[Rows, bool]:
    """(rows up to and with the first that arrives behind `limit_ns`, whether there was one): it
    closes the last boundary."""
    head = np.flatnonzero(~pack_mask(as_words(rows)))
    late = head[rows["arrival_ns"][head] > limit_ns]
    if not len(late):
        return rows, False
    return rows[: int(late[0]) + 1 + int(rows["count"][late[0]])], True


def _last_head(rows: Rows) -> int:
    return int(np.flatnonzero(~pack_mask(as_words(rows)))[-1])
