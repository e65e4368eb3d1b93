"""The cold store: what lasts. Tables by day, appended in batches, asked in SQL or as Arrow.

One protocol, two adapters: Parquet files that DuckDB reads (the default, `cold_parquet`) and a
ClickHouse server (`cold_clickhouse`). The promises, which tests/servers/test_cold.py holds both to:

1. A batch is named by its shard and range of seqs (`schema.Batch`). Appended again, whole or cut
   otherwise, it adds nothing.
2. Any number of readers ask while one recorder per shard appends, while days are compacted and
   while they are dropped; each sees every row that was there throughout, once.
3. What `append` returned for is there after a kill of the writer or of the server.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from foreshock.errors import ConfigError, StoreError
from foreshock.stores.schema import Batch


class StoreDownError(StoreError):
    """The store cannot be reached now: what was to be written must be kept and tried again."""


@dataclass(frozen=True, slots=True)
class DayUsage:
    """What one day of one table takes.

    parts       files, or parts of the server
    compacted   whether a scan of it needs no look at what was written twice
    """

    table: str
    day: str
    rows: int
    bytes: int
    parts: int
    compacted: bool

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


class ColdStore(Protocol):
    """What both adapters do. Every method may raise StoreDownError, and StoreError where the store
    refuses."""

    def append(self, table: str, data: pa.Table, batch: Batch) -> int:
        """Keep all rows of `batch`; returns how many it has. See `schema.TABLES` for columns."""
        ...

    def scan(
        self,
        table: str,
        *,
        symbols: Sequence[str] | None = None,
        since_ns: int | None = None,
        until_ns: int | None = None,
        columns: Sequence[str] | None = None,
    ) -> pa.Table:
        """Rows with since_ns <= time < until_ns of `symbols`, by day and within a day in the order
        of the table's key: a symbol's rows come in the order of time, then seq. A column that was
        not written with a row is NaN. All in memory: ask for days, not for years."""
        ...

    def query(self, sql: str) -> pa.Table:
        """Ask in the store's own SQL; tables have their names, and rows come once."""
        ...

    def usage(self, table: str | None = None) -> list[DayUsage]:
        """Days that are there, by table and day."""
        ...

    def compact(self, table: str, day: str) -> bool:
        """Make one sorted part of a day; whether there was anything to do."""
        ...

    def drop(self, table: str, day: str) -> None:
        """Forget a day; nothing happens where it is not there."""
        ...

    def ping(self) -> None:
        """Returns where the store answers."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...


def open_cold(where: str, directory: Path, memory_limit: str = "1GB") -> ColdStore | None:
    """The store that the setting `stores.cold` names.

    where      parquet, clickhouse://user:password@host:port/database, or off (None is returned)
    directory, memory_limit   of the Parquet files
    Nothing is connected to yet. Raises ConfigError on any other word."""
    if where == "off":
        return None
    if where == "parquet":
        from foreshock.stores.cold_parquet import ParquetCold

        return ParquetCold(directory, memory_limit)
    if where.startswith(("clickhouse://", "clickhouses://")):
        from foreshock.stores.cold_clickhouse import ClickHouseCold

        return ClickHouseCold(where)
    word = where.partition("://")[0]
    raise ConfigError(f"stores.cold {word!r} is neither parquet, off nor clickhouse://…")
