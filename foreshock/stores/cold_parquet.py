"""The cold store as files: Parquet by day, one writer per shard, any number of readers by DuckDB.

    <directory>/<table>/day=YYYY-MM-DD/<shard>~<first seq>-<last seq>.parquet   a batch
    <directory>/<table>/day=YYYY-MM-DD/~compacted-<n>.parquet   a day, sorted by key

Files appear whole or not at all. A file's name, or a compacted one's footer, says which seqs of
which shard it holds; what an earlier file holds already is left out when reading, so that a batch
that came twice, or that was compacted a moment ago and not yet removed, counts once. A reader whose
file vanishes under it (compacted, dropped) looks again.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import duckdb
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from foreshock.errors import StoreError
from foreshock.stores.cold import DayUsage, StoreDownError
from foreshock.stores.files import finished, whole_file, write_table
from foreshock.stores.schema import (
    DAY_NS,
    TABLES,
    TEXT,
    Batch,
    Table,
    by_day,
    check_batch,
    day_of,
    day_start_ns,
    table_of,
)
from foreshock.stores.spans import Spans, take_new

_COMPACTED: Final = "~compacted-"  # no shard is called nothing
_COVERS: Final = b"foreshock.covers"
_LOOKS: Final = 8  # how often a reader looks again whose files vanish
_RISING: Final = ("arrival_ns", "event_ns", "seq", "ts", "trade_id", "boundary_ns", "t0_ns")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Piece:
    """A file and what of it counts: everything, or only the rows of `only`."""

    path: Path
    only: Spans | None
    compacted: bool


class ParquetCold:
    """`ColdStore` below `directory`.

    memory_limit   what a compaction or a query may hold before it goes to disk, as DuckDB says it
    threads        of a query
    """

    def __init__(self, directory: Path, memory_limit: str = "1GB", threads: int = 1) -> None:
        self.directory = directory
        self._limits: dict[str, Any] = {"memory_limit": memory_limit, "threads": threads}
        self._footers: dict[tuple[Path, int], Spans] = {}

    # Writing

    def append(self, table: str, data: pa.Table, batch: Batch) -> int:
        """One file a day; see `ColdStore.append`. On disk when it returns."""
        spec = table_of(table)
        data = check_batch(spec, data, batch)
        for day, part in by_day(spec, data).items():
            try:
                write_table(
                    self._folder(table, day) / f"{batch.name}.parquet", part, **_encodings(part)
                )
            except StoreError as error:
                raise StoreDownError(str(error)) from error
        return len(data)

    # Reading

    def scan(
        self,
        table: str,
        *,
        symbols: Sequence[str] | None = None,
        since_ns: int | None = None,
        until_ns: int | None = None,
        columns: Sequence[str] | None = None,
    ) -> pa.Table:
        """See `ColdStore.scan`. A compacted day is read as it lies, others are sorted first."""
        spec = table_of(table)
        if columns is not None:
            columns = spec.check_columns(columns)

        def read(day: str) -> pa.Table:
            pieces = self._plan(table, day)
            if not pieces:  # dropped meanwhile
                return _empty(spec, columns)
            read_too = None
            if columns is not None:
                read_too = [*columns, *(k for k in spec.key if k not in columns)]
            in_order = len(pieces) == 1 and pieces[0].compacted
            wanted = columns if in_order and pieces[0].only is None else read_too
            keep = _condition(spec, day, symbols, since_ns, until_ns)
            parts = [_read(spec, piece, wanted, keep) for piece in pieces]
            found = pa.concat_tables(parts, promote_options="default").unify_dictionaries()
            if not in_order:
                found = found.take(_in_order(found, spec))
            return _with(found, columns) if columns is not None else found

        days = [day for day in self._days(table) if _meets(day, since_ns, until_ns)]
        parts = [self._steadily(read, day) for day in days if self._plan(table, day)]
        found = pa.concat_tables([_empty(spec, columns), *parts], promote_options="default")
        return _nothing_null(found.unify_dictionaries())

    def query(self, sql: str) -> pa.Table:
        """DuckDB's SQL; each table has its columns and `day`. It reaches no file outside the store.
        Raises StoreError where it cannot be answered."""

        def ask(_: str) -> pa.Table:
            with duckdb.connect(config=self._limits) as connection:
                for name, spec in TABLES.items():
                    if name in sql:
                        self._view(connection, spec)
                connection.execute(f"SET allowed_directories = [{_text(str(self.directory))}]")
                connection.execute("SET enable_external_access = false")
                return connection.execute(sql).to_arrow_table()

        return self._steadily(ask, sql)

    def usage(self, table: str | None = None) -> list[DayUsage]:
        """See `ColdStore.usage`; bytes are those on disk, of files that no longer count too."""
        names = TABLES if table is None else (table_of(table).name,)
        return [
            self._steadily(lambda day, name=name: self._use(name, day), day)  # type: ignore[misc]
            for name in names
            for day in self._days(name)
        ]

    def _use(self, table: str, day: str) -> DayUsage:
        files, pieces = self._files(table, day), self._plan(table, day)
        rows = 0
        for piece in pieces:
            if piece.only is None:
                rows += pq.read_metadata(piece.path).num_rows
            else:
                rows += len(_read(TABLES[table], piece, ["seq", "shard"], None))
        return DayUsage(
            table=table,
            day=day,
            rows=rows,
            bytes=sum(path.stat().st_size for path in files),
            parts=len(files),
            compacted=len(files) == 1 and bool(pieces) and pieces[0].compacted,
        )

    # Keeping house

    def compact(self, table: str, day: str) -> bool:
        """See `ColdStore.compact`. Sorted outside memory where it must. Raises StoreError where
        another compaction is at it."""
        spec = table_of(table)
        with self._alone():
            files, pieces = self._files(table, day), self._plan(table, day)
            if not pieces or (len(files) == 1 and pieces[0].compacted):
                return False
            whole_day = pieces[0]
            if len(pieces) > 1 or not whole_day.compacted:
                self._sort(spec, self._folder(table, day), files, pieces)
            for path in files:
                if path != whole_day.path or not (len(pieces) == 1 and whole_day.compacted):
                    path.unlink(missing_ok=True)
            return True

    def _sort(self, spec: Table, folder: Path, files: list[Path], pieces: list[Piece]) -> None:
        covered: Spans = {}
        for path in files:
            take_new(covered, self._spans(path))
        numbers = [_number(path) for path in files if _is_compacted(path)]
        target = folder / f"{_COMPACTED}{max(numbers, default=-1) + 1:010d}.parquet"
        covers = _text(orjson.dumps(covered).decode())
        order = ", ".join(spec.key)
        spill = _text(str(self.directory / ".sorting"))
        with whole_file(target) as temporary, duckdb.connect(config=self._limits) as connection:
            try:
                connection.execute(f"SET temp_directory = {spill}")
                connection.execute(
                    f"COPY (SELECT * FROM ({_select(pieces, hive=False)}) ORDER BY {order}) "
                    f"TO {_text(str(temporary))} (FORMAT parquet, COMPRESSION zstd, "
                    f"KV_METADATA {{{_text(_COVERS.decode())}: {covers}}})"
                )
            except duckdb.Error as error:
                raise StoreError(f"{folder} cannot be compacted: {error}") from error

    def drop(self, table: str, day: str) -> None:
        """See `ColdStore.drop`. The day goes at once, its files right after."""
        day_start_ns(day)  # refuses what is no day
        folder = self._folder(table_of(table).name, day)
        gone = folder.with_name(f".dropped-{os.getpid()}-{folder.name}")
        with self._alone():
            try:
                folder.rename(gone)
            except FileNotFoundError:
                return
            shutil.rmtree(gone, ignore_errors=True)

    def ping(self) -> None:
        """Raises StoreDownError where the directory cannot be written to."""
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreDownError(f"{self.directory}: {error}") from error
        if not os.access(self.directory, os.W_OK):
            raise StoreDownError(f"{self.directory} cannot be written to")

    def close(self) -> None:
        """Nothing is held open."""

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One compaction or removal at a time, on this machine."""
        self.ping()
        with (self.directory / ".lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise StoreError(f"{self.directory} is being compacted by another") from error
            yield

    # Files

    def _folder(self, table: str, day: str) -> Path:
        return self.directory / table / f"day={day}"

    def _days(self, table: str) -> list[str]:
        return [path.name[4:] for path in sorted((self.directory / table).glob("day=*"))]

    def _files(self, table: str, day: str) -> list[Path]:
        """Compacted files first, the newest before; then batches, the wider before."""
        paths = finished(self._folder(table, day), "*.parquet")
        compacted = [path for path in paths if _is_compacted(path)]
        batches = [path for path in paths if not _is_compacted(path)]
        batches.sort(key=_batch_order)
        return [*sorted(compacted, reverse=True), *batches]

    def _plan(self, table: str, day: str) -> list[Piece]:
        """The files of a day with what of each counts, each row once."""
        covered: Spans = {}
        out = []
        for path in self._files(table, day):
            spans = self._spans(path)
            new = take_new(covered, spans)
            if new:
                only = None if new == {k: v for k, v in spans.items() if v} else new
                out.append(Piece(path, only, _is_compacted(path)))
        return out

    def _spans(self, path: Path) -> Spans:
        if not _is_compacted(path):
            batch = _batch_of(path)
            return {batch.shard: [(batch.first_seq, batch.last_seq)]}
        try:
            key = path, path.stat().st_mtime_ns  # a day that came again may have this name again
            if key not in self._footers:
                said = orjson.loads(pq.read_metadata(path).metadata[_COVERS])
                self._footers[key] = {k: [(a, b) for a, b in spans] for k, spans in said.items()}
        except FileNotFoundError:
            return {}  # compacted again meanwhile: whoever reads it looks again
        return self._footers[key]

    def _view(self, connection: Any, spec: Table) -> None:
        pieces = [p for day in self._days(spec.name) for p in self._plan(spec.name, day)]
        if pieces:
            connection.execute(f"CREATE VIEW {spec.name} AS {_select(pieces, hive=True)}")
        else:
            empty = spec.schema().append(pa.field("day", pa.date32())).empty_table()
            connection.register(spec.name, empty)

    def _steadily(self, ask: Callable[[str], T], what: str) -> T:
        """`ask(what)`, again where a file went away under it."""
        for look in range(_LOOKS):
            try:
                return ask(what)
            except (OSError, duckdb.IOException, pa.ArrowException) as error:
                gone = isinstance(error, FileNotFoundError) or "No such file" in str(error)
                gone = gone or "No files found" in str(error)
                if not gone or look == _LOOKS - 1:
                    raise StoreError(f"{what!r}: {error}") from error
            except duckdb.Error as error:
                raise StoreError(f"{what!r}: {error}") from error
        raise AssertionError("unreachable")


def _is_compacted(path: Path) -> bool:
    return path.name.startswith(_COMPACTED)


def _number(path: Path) -> int:
    return int(path.stem.removeprefix(_COMPACTED))


def _batch_of(path: Path) -> Batch:
    return Batch.of_name(path.stem)


def _batch_order(path: Path) -> tuple[str, int, int]:
    batch = _batch_of(path)
    return batch.shard, batch.first_seq, -batch.last_seq


def _text(value: str) -> str:
    """A string literal of SQL."""
    return "'" + value.replace("'", "''") + "'"


def _select(pieces: Sequence[Piece], *, hive: bool) -> str:
    """The SQL of all rows of `pieces`: whole files in one go, others each with its condition."""
    options = "union_by_name = true, hive_partitioning = " + (
        "true, hive_types = {'day': DATE}" if hive else "false"
    )
    whole = [_text(str(piece.path)) for piece in pieces if piece.only is None]
    parts = [f"SELECT * FROM read_parquet([{', '.join(whole)}], {options})"] if whole else []
    for piece in pieces:
        if piece.only is not None:
            counts = " OR ".join(
                f"(shard = {_text(shard)} AND seq BETWEEN {low} AND {high})"
                for shard, spans in piece.only.items()
                for low, high in spans
            )
            source = f"read_parquet([{_text(str(piece.path))}], {options})"
            parts.append(f"SELECT * FROM {source} WHERE {counts}")
    return " UNION ALL BY NAME ".join(parts)


def _read(
    spec: Table, piece: Piece, columns: Sequence[str] | None, keep: pc.Expression | None
) -> pa.Table:
    """The rows of a piece that count and that `keep` keeps."""
    texts = [name for name, kind in spec.columns.items() if kind == TEXT]
    if piece.only is not None:
        counts = None
        for shard, spans in piece.only.items():
            for low, high in spans:
                seq = pc.field("seq")
                here = (pc.field("shard") == shard) & (seq >= low) & (seq <= high)
                counts = here if counts is None else counts | here
        keep = counts if keep is None else keep & counts
    with pq.ParquetFile(piece.path) as file:
        names = None
        if columns is not None:
            names = [name for name in columns if name in file.schema_arrow.names] or ["seq"]
    texts = [name for name in texts if names is None or name in names]
    found = pq.read_table(
        piece.path,
        columns=names,
        filters=keep,
        partitioning=None,
        read_dictionary=texts,
        use_threads=False,
    )
    return found.replace_schema_metadata(None)


def _condition(
    spec: Table,
    day: str,
    symbols: Sequence[str] | None,
    since_ns: int | None,
    until_ns: int | None,
) -> pc.Expression | None:
    start_ns, time = day_start_ns(day), pc.field(spec.time)
    parts = []
    if symbols is not None:
        parts.append(pc.field("symbol").isin(pa.array(symbols, TEXT)))
    if since_ns is not None and since_ns > start_ns:
        parts.append(time >= since_ns)
    if until_ns is not None and until_ns < start_ns + DAY_NS:
        parts.append(time < until_ns)
    out = None
    for part in parts:
        out = part if out is None else out & part
    return out


def _meets(day: str, since_ns: int | None, until_ns: int | None) -> bool:
    late_enough = since_ns is None or day >= day_of(since_ns)
    return late_enough and (until_ns is None or day <= day_of(until_ns))


def _in_order(found: pa.Table, spec: Table) -> pa.Array:
    plain = {
        name: found.column(name).cast(TEXT)
        if pa.types.is_dictionary(found.schema.field(name).type)
        else found.column(name)
        for name in spec.key
    }
    return pc.sort_indices(pa.table(plain), sort_keys=[(name, "ascending") for name in spec.key])


def _empty(spec: Table, columns: Sequence[str] | None) -> pa.Table:
    coded = pa.dictionary(pa.int32(), TEXT)
    schema = spec.schema(list(columns or ()))
    fields = [pa.field(f.name, coded if f.type == TEXT else f.type) for f in schema]
    made = pa.schema(fields).empty_table()
    return made.select(columns) if columns is not None else made


def _with(found: pa.Table, columns: Sequence[str]) -> pa.Table:
    """`columns` of `found`; one that no file has is added, null."""
    for name in columns:
        if name not in found.column_names:
            found = found.append_column(name, pa.nulls(len(found), pa.float32()))
    return found.select(columns)


def _nothing_null(found: pa.Table) -> pa.Table:
    """Columns that a file did not have, as NaN."""
    for i, field in enumerate(found.schema):
        if pa.types.is_floating(field.type) and found.column(i).null_count:
            found = found.set_column(i, field.name, pc.fill_null(found.column(i), float("nan")))
    return found


def _encodings(data: pa.Table) -> dict[str, Any]:
    """Chosen as in `row_tables`: delta for what rises, dictionaries for words, the rest plain."""
    coded = [
        f.name
        for f in data.schema
        if pa.types.is_dictionary(f.type) or f.type in (TEXT, pa.uint8(), pa.int8())
    ]
    encoding = {}
    for field in data.schema:
        if field.name in _RISING:
            encoding[field.name] = "DELTA_BINARY_PACKED"
        elif pa.types.is_list(field.type):
            encoding[f"{field.name}.list.element"] = "PLAIN"
        elif field.name not in coded:
            encoding[field.name] = "PLAIN"
    return {"compression_level": 1, "use_dictionary": coded, "column_encoding": encoding}
