"""The cold store on a ClickHouse server: one ReplacingMergeTree a table, partitioned by day.

The SQL is what 18.16 (Debian's) and today's servers both understand; only FINAL's settings are
asked for where the server is modern. Data always travels apart from the statement, in columns: text
of the form VALUES (…) makes an 18.16 hang. Lists of levels are kept as strings of little-endian
int64, which `reinterpretAsInt64(substring(prices, 8 * i + 1, 8))` reads in SQL.

Rows of the same key are the same row. The server merges them away when it likes, and reads collapse
what it has not merged yet (FINAL), so that a batch which came twice counts once.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from threading import RLock
from typing import Any, Final
from urllib.parse import urlsplit

import clickhouse_driver
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from clickhouse_driver.errors import NetworkError, ServerException, SocketTimeoutError

from foreshock.errors import ConfigError, StoreError
from foreshock.stores.cold import DayUsage, StoreDownError
from foreshock.stores.schema import (
    LEVELS,
    TABLES,
    TEXT,
    Batch,
    Table,
    check_batch,
    day_start_ns,
    table_of,
)

# It logs a traceback for each connection that fails; the error that is raised says it too.
logging.getLogger("clickhouse_driver.connection").setLevel(logging.ERROR)

_TYPES: Final = {
    pa.int64(): "Int64",
    pa.int32(): "Int32",
    pa.int8(): "Int8",
    pa.uint8(): "UInt8",
    pa.float64(): "Float64",
    pa.float32(): "Float32",
    TEXT: "String",
    LEVELS: "String",
}
_VERSION: Final = "version"
_CONNECT_S: Final = 3
_ANSWER_S: Final = 300
# A block is what an insert keeps whole or not at all; larger ones only cost memory.
_BLOCK_ROWS: Final = 1_048_576


class ClickHouseCold:
    """`ColdStore` on the server that `url` names: clickhouse://user:password@host:port/database.

    One connection, one question at a time; made when first used, and anew after it broke."""

    def __init__(self, url: str) -> None:
        """Raises ConfigError on an address that cannot be one. Nothing is connected to yet."""
        parts = urlsplit(url)
        if parts.scheme not in ("clickhouse", "clickhouses") or not parts.hostname:
            raise ConfigError(f"{parts.scheme}://{parts.hostname} is no address of a ClickHouse")
        self._url = url
        self._database = parts.path.strip("/") or "default"
        if not re.fullmatch(r"\w+", self._database):
            raise ConfigError(f"{self._database!r} cannot be the name of a database")
        self.where = f"{parts.hostname}:{parts.port or 9000}/{self._database}"
        self._client: Any = None
        self._columns: dict[str, list[str]] = {}
        self._lock = RLock()

    # Writing

    def append(self, table: str, data: pa.Table, batch: Batch) -> int:
        """One insert; see `ColdStore.append`."""
        spec = table_of(table)
        data = check_batch(spec, data, batch)
        if not len(data):
            return 0
        data = _by_symbol(data)
        columns = [*map(_column, data.columns), np.full(len(data), batch.last_seq, np.uint64)]
        names = ", ".join([*data.column_names, _VERSION])
        with self._asking(f"{table} {batch}") as client:
            self._have(client, spec, data.column_names)
            client.execute(f"INSERT INTO {spec.name} ({names}) VALUES", columns, columnar=True)
        return len(data)

    def _have(self, client: Any, spec: Table, names: Sequence[str]) -> list[str]:
        """The table's columns, after making what is missing."""
        known = self._columns.get(spec.name)
        if known is None:
            made = ", ".join(f"{name} {_TYPES[kind]}" for name, kind in spec.columns.items())
            client.execute(
                f"CREATE TABLE IF NOT EXISTS {spec.name} ({made}, {_VERSION} UInt64) "
                f"ENGINE = ReplacingMergeTree({_VERSION}) "
                f"PARTITION BY toYYYYMMDD(toDateTime(intDiv({spec.time}, 1000000000), 'UTC')) "
                f"ORDER BY ({', '.join(spec.key)})"
            )
            known = self._columns[spec.name] = self._described(client, spec)
        for name in names:
            if name not in known:
                try:
                    client.execute(f"ALTER TABLE {spec.name} ADD COLUMN {name} Float32 DEFAULT nan")
                except ServerException:  # another recorder was first
                    if name not in self._described(client, spec):
                        raise
                known.append(name)
        return known

    def _described(self, client: Any, spec: Table) -> list[str]:
        found = client.execute(
            "SELECT name FROM system.columns WHERE database = currentDatabase() "
            f"AND table = '{spec.name}'"
        )
        return [str(name) for name in _first(found) if name != _VERSION]

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
        """See `ColdStore.scan`."""
        spec = table_of(table)
        conditions = []
        if symbols is not None:
            conditions.append(f"symbol IN ({', '.join(map(_text, symbols)) or _text('')})")
        if since_ns is not None:
            conditions.append(f"{spec.time} >= {int(since_ns)}")
        if until_ns is not None:
            conditions.append(f"{spec.time} < {int(until_ns)}")
        where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
        with self._asking(table) as client:
            self._have(client, spec, ())
            known = self._columns[spec.name] = self._described(client, spec)
            names = known if columns is None else spec.check_columns(columns)
            asked = [name if name in known else f"toFloat32(nan) AS {name}" for name in names]
            day = f"intDiv({spec.time}, 86400000000000)"
            found = client.query_arrow(
                f"SELECT {', '.join(asked)} FROM {spec.name} FINAL {where} "
                f"ORDER BY {day}, {', '.join(spec.key)}",
                field_metadata=False,
                settings={"strings_as_bytes": True},
            )
        return _typed(spec, found, names)

    def query(self, sql: str) -> pa.Table:
        """The server's SQL. Rows that came twice count once where the statement says FINAL behind
        the table's name, and sooner or later without. Raises StoreError where it is refused."""
        with self._asking(sql) as client:
            for spec in TABLES.values():
                if spec.name in sql:
                    self._have(client, spec, ())
            return client.query_arrow(sql, field_metadata=False)

    def usage(self, table: str | None = None) -> list[DayUsage]:
        """See `ColdStore.usage`. Rows are those in the parts: of a day that is not compacted, some
        may have come twice."""
        names = list(TABLES) if table is None else [table_of(table).name]
        listed = ", ".join(map(_text, names))
        with self._asking("usage") as client:
            found = client.query_arrow(
                "SELECT table, partition, toInt64(sum(rows)) AS rows, toInt64(count()) AS parts, "
                "toInt64(sum(bytes_on_disk)) AS bytes FROM system.parts "
                f"WHERE active AND database = currentDatabase() AND table IN ({listed}) "
                "GROUP BY table, partition ORDER BY table, partition",
                field_metadata=False,
            )
        out = []
        for row in found.to_pylist():
            day = f"{row['partition'][:4]}-{row['partition'][4:6]}-{row['partition'][6:8]}"
            parts = int(row["parts"])
            out.append(
                DayUsage(row["table"], day, int(row["rows"]), int(row["bytes"]), parts, parts == 1)
            )
        return out

    # Keeping house

    def compact(self, table: str, day: str) -> bool:
        """See `ColdStore.compact`: the server merges the day's parts into one."""
        spec = table_of(table)
        if not any(use.day == day and use.parts > 1 for use in self.usage(table)):
            return False
        with self._asking(f"{table} {day}") as client:
            client.execute(f"OPTIMIZE TABLE {spec.name} PARTITION {_partition(day)} FINAL")
        return True

    def drop(self, table: str, day: str) -> None:
        """See `ColdStore.drop`."""
        spec = table_of(table)
        with self._asking(f"{table} {day}") as client:
            self._have(client, spec, ())
            client.execute(f"ALTER TABLE {spec.name} DROP PARTITION {_partition(day)}")

    def ping(self) -> None:
        """Returns where the server answers."""
        with self._asking("ping") as client:
            client.execute("SELECT 1")

    def close(self) -> None:
        """Let go of the connection; the next call makes another."""
        with self._lock:
            client, self._client = self._client, None
            self._columns.clear()
            if client is not None:
                with suppress(OSError, EOFError):
                    client.disconnect()

    @contextmanager
    def _asking(self, what: str) -> Iterator[Any]:
        """The connection; what breaks it is a StoreDownError, what the server refuses another."""
        with self._lock:
            try:
                if self._client is None:
                    self._client = self._connect()
                yield self._client
            except ServerException as error:
                said = str(error.message).partition("Stack trace")[0].strip()
                self.close()  # the rest of the answer may still be on its way
                if error.code in _PASSING:
                    raise StoreDownError(f"{self.where}: {said}") from error
                raise StoreError(f"{what!r} on {self.where}: {said}") from error
            except (OSError, EOFError, NetworkError, SocketTimeoutError) as error:
                self.close()
                why = str(error).partition("\n")[0] or type(error).__name__
                raise StoreDownError(f"{self.where} does not answer: {why}") from error
            except BaseException:
                self.close()
                raise

    def _connect(self) -> Any:
        settings = {"use_numpy": True, "insert_block_size": _BLOCK_ROWS}
        parts = urlsplit(self._url)
        return clickhouse_driver.Client(
            parts.hostname,
            parts.port or 9000,
            database=self._database,
            user=parts.username or "default",
            password=parts.password or "",
            secure=parts.scheme == "clickhouses",
            connect_timeout=_CONNECT_S,
            send_receive_timeout=_ANSWER_S,
            settings=settings,
        )


# What a server says that may do it in a while: too many parts or queries, no memory, shutting down.
_PASSING: Final = (159, 202, 209, 210, 241, 242, 252, 394, 1002)


def _partition(day: str) -> str:
    day_start_ns(day)  # refuses what is no day
    return day.replace("-", "")


def _text(value: str) -> str:
    """A string literal of SQL."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _first(found: Any) -> list[Any]:
    return [row[0] for row in found]


def _by_symbol(data: pa.Table) -> pa.Table:
    """`data` in the order of its symbols, where they are coded, and else as it was: what comes in
    order the server need not sort. It took 0.39 s instead of 0.44 for 500,000 trades."""
    symbol = data.column("symbol")
    if not pa.types.is_dictionary(symbol.type):
        return data
    symbol = symbol.unify_dictionaries().combine_chunks()
    if isinstance(symbol, pa.ChunkedArray):
        symbol = symbol.chunk(0)
    place = np.argsort(np.argsort(np.array(symbol.dictionary.to_pylist())))
    codes = place[symbol.indices.to_numpy(zero_copy_only=False)]
    kind = np.uint16 if len(place) < 2**16 else np.int64  # the former is sorted by radix
    return data.take(pa.array(np.argsort(codes.astype(kind), kind="stable")))


def _column(column: pa.ChunkedArray) -> Any:
    """A column as the driver wants it: numbers as they are, words as objects."""
    if pa.types.is_dictionary(column.type):
        column = column.unify_dictionaries()
        words = np.array(
            [word.encode() for word in column.chunk(0).dictionary.to_pylist()], dtype=object
        )
        codes = [chunk.indices.to_numpy(zero_copy_only=False) for chunk in column.chunks]
        return words[np.concatenate(codes)]
    if pa.types.is_list(column.type):
        return _blobs(column.combine_chunks())
    if column.type == TEXT:
        return np.array(column.to_pylist(), dtype=object)
    return column.to_numpy()


def _blobs(lists: pa.ListArray) -> Any:
    """Each list's int64 values as one string of bytes."""
    if isinstance(lists, pa.ChunkedArray):
        lists = lists.chunk(0) if lists.num_chunks else pa.array([], LEVELS)
    ends = lists.offsets.to_numpy() * 8
    whole = lists.values.to_numpy().tobytes()
    out = np.empty(len(lists), dtype=object)
    out[:] = [whole[a:b] for a, b in zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True)]
    return out


def _typed(spec: Table, found: pa.Table, names: Sequence[str]) -> pa.Table:
    """An answer with the types of the table: words coded, levels as lists again."""
    out = []
    for name in names:
        kind = spec.columns.get(name, pa.float32())
        column = found.column(name)
        if kind == LEVELS:
            out.append(pa.chunked_array([_lists(chunk) for chunk in column.chunks], LEVELS))
        elif kind == TEXT:
            out.append(pc.dictionary_encode(column.cast(TEXT)).unify_dictionaries())
        else:
            out.append(column.cast(kind))
    return pa.table(out, names=list(names))


def _lists(blobs: pa.Array) -> pa.ListArray:
    blobs = blobs.cast(pa.large_binary())
    _, offsets, data = blobs.buffers()
    ends = np.frombuffer(offsets, np.int64)[blobs.offset : blobs.offset + len(blobs) + 1]
    values = np.frombuffer(data or b"", np.int64, (int(ends[-1]) - int(ends[0])) // 8, int(ends[0]))
    ends = ((ends - ends[0]) // 8).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(ends), pa.array(values))
