"""The tables of the cold store, as data: columns, what places a row in time, what makes it itself.

Both adapters, the contract suite and the benchmark read this one list. Each table has three columns
beside its own: `symbol`, `shard` (who wrote it: one life of one recorder) and `seq` (its place in
that shard's sequenced input). Times are UTC nanoseconds, except a trade's `ts`, which is the public
schema {ts in ms, price, qty, side}. Floats are NaN where a value is unknown; nothing is null.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, unquote

import numpy as np
import pyarrow as pa

from foreshock.errors import StoreError
from foreshock.market.clock import SECOND_NS

DAY_NS: Final = 86_400 * SECOND_NS
I64, F64, F32, U8, TEXT = pa.int64(), pa.float64(), pa.float32(), pa.uint8(), pa.string()
LEVELS: Final = pa.list_(pa.int64())


@dataclass(frozen=True, slots=True)
class Table:
    """One table.

    columns   name → Arrow type, in order
    time      the column that places a row in a day and in order
    extra_key what tells two rows of one seq apart, beside the symbol
    open      prefix of further float32 columns that may come with any batch ("" for none)
    """

    name: str
    columns: dict[str, pa.DataType]
    time: str
    extra_key: tuple[str, ...] = ()
    open: str = ""

    @property
    def key(self) -> tuple[str, ...]:
        """The columns that make a row itself, and the order in which days are kept."""
        return ("symbol", self.time, "shard", "seq", *self.extra_key)

    def schema(self, names: list[str] | None = None) -> pa.Schema:
        """Arrow schema of the columns that `names` has, all of the fixed ones by default."""
        wide = [(n, F32) for n in names or () if n not in self.columns]
        return pa.schema([*self.columns.items(), *wide])

    def check_columns(self, names: Iterable[str]) -> list[str]:
        """`names` where this table may have them all. Raises StoreError naming one it cannot."""
        asked = list(names)
        for name in asked:
            wide = self.open and re.fullmatch(rf"{self.open}\w+", name)
            if name not in self.columns and not wide:
                raise StoreError(f"table {self.name} has no column {name!r}")
        return asked

    def conform(self, data: pa.Table) -> pa.Table:
        """`data` with exactly this table's columns and types. Raises StoreError naming the column
        that is missing, unknown, null or of a type that does not fit."""
        names = data.column_names
        self.check_columns(names)
        for name in self.columns:
            if name not in names:
                raise StoreError(f"table {self.name} needs the column {name!r}")
        wanted = self.schema(names)
        arrays = []
        for field in wanted:
            column = data.column(field.name)
            if pa.types.is_dictionary(column.type) and column.type.value_type == field.type:
                pass  # strings stay coded: it is how they are fast on both sides
            elif column.type != field.type:
                try:
                    column = column.cast(field.type)
                except pa.ArrowException as error:
                    raise StoreError(f"{self.name}.{field.name}: {error}") from error
            if column.null_count:
                raise StoreError(f"{self.name}.{field.name} is null in {column.null_count} rows")
            arrays.append(column)
        return pa.table(arrays, names=wanted.names)


_PLACE: Final = {"symbol": TEXT, "shard": TEXT, "seq": I64}
_ARRIVED: Final = {"arrival_ns": I64, "event_ns": I64, "flags": U8}

TABLES: Final[dict[str, Table]] = {
    table.name: table
    for table in (
        # Word for word what the engine was fed, headers with the levels of their packs.
        Table(
            "rows",
            {
                **_PLACE,
                "arrival_ns": I64,
                "event_ns": I64,
                **dict.fromkeys(("meta", "id", "id2", "a", "b", "c", "d"), I64),
                "prices": LEVELS,
                "sizes": LEVELS,
            },
            time="arrival_ns",
        ),
        Table(
            "trades",
            {
                **_PLACE,
                "ts": I64,  # event time, ms
                "price": F64,
                "qty": F64,
                "side": TEXT,  # the aggressor's: buy or sell
                **_ARRIVED,
                "price_ticks": I64,
                "size_lots": I64,
                "trade_id": I64,
            },
            time="arrival_ns",
        ),
        Table(
            "bars",
            {
                **_PLACE,
                "open_ns": I64,
                "interval_ns": I64,
                **dict.fromkeys(("open", "high", "low", "close", "volume"), F64),
                **dict.fromkeys(("taker_buy_volume", "quote_volume"), F64),
                "taker_buy_quote_volume": F64,
                "fills": I64,
                **_ARRIVED,
            },
            time="open_ns",
        ),
        Table(
            "metrics",  # open interest, ratios, funding, marks, liquidations: a number and its name
            {**_PLACE, "field": TEXT, "value": F64, "as_of_ns": I64, **_ARRIVED},
            time="arrival_ns",
            extra_key=("field",),
        ),
        Table(
            "vectors",
            {
                **_PLACE,
                "boundary_ns": I64,
                "fingerprint": TEXT,
                "book_state": U8,
                "book_epoch": pa.int32(),
                "tape_epoch": pa.int32(),
                **dict.fromkeys(("bid", "ask", "volatility_1s", "volume_60s"), F64),
            },
            time="boundary_ns",
            open="feature_",
        ),
        Table(
            "labels",
            {
                **_PLACE,
                "t0_ns": I64,
                "t1_ns": I64,
                "horizon_s": I64,
                "fingerprint": TEXT,
                "label": pa.int8(),
                **dict.fromkeys(("outcome_bps", "far_bps", "near_bps", "bill_bps"), F64),
            },
            time="t0_ns",
            extra_key=("horizon_s", "fingerprint"),
        ),
    )
}


@dataclass(frozen=True, slots=True, order=True)
class Batch:
    """What a batch is called: *all* rows that `shard` has for a table from `first_seq` to
    `last_seq`. A retry bears the same name or one that overlaps it; a seq never changes content."""

    shard: str
    first_seq: int
    last_seq: int

    def __post_init__(self) -> None:
        if not self.shard or self.last_seq < self.first_seq:
            raise StoreError(f"{self} names no batch")

    @property
    def name(self) -> str:
        """What files of this batch are called; without `/` and with one `~`. `of_name` reads it."""
        shard = quote(self.shard, safe="").replace("~", "%7E")
        return f"{shard}~{self.first_seq:020d}-{self.last_seq:020d}"

    @classmethod
    def of_name(cls, name: str) -> Batch:
        """The inverse of `name`. Raises StoreError."""
        shard, _, seqs = name.partition("~")
        first, _, last = seqs.partition("-")
        try:
            return cls(unquote(shard), int(first), int(last))
        except ValueError as error:
            raise StoreError(f"{name!r} is not the name of a batch") from error


def table_of(name: str) -> Table:
    """The table called `name`. Raises StoreError."""
    if name not in TABLES:
        raise StoreError(f"no table {name!r}: there are {', '.join(TABLES)}")
    return TABLES[name]


def day_of(time_ns: int) -> str:
    """The UTC day of a time as YYYY-MM-DD."""
    return str(np.datetime64(time_ns // DAY_NS, "D"))


def day_start_ns(day: str) -> int:
    """Where a day YYYY-MM-DD begins. Raises StoreError where it is none."""
    try:
        return int(np.datetime64(day, "D").astype(np.int64)) * DAY_NS
    except ValueError as error:
        raise StoreError(f"{day!r} is no day, write YYYY-MM-DD") from error


def check_batch(table: Table, data: pa.Table, batch: Batch) -> pa.Table:
    """`data` fit for `table`. Raises StoreError where rows are not the batch's own."""
    data = table.conform(data)
    if not len(data):
        return data
    seqs = data.column("seq").to_numpy()
    low, high = int(seqs.min()), int(seqs.max())
    if low < batch.first_seq or high > batch.last_seq:
        raise StoreError(f"{batch} has rows of seq {low} to {high}")
    shards = set(data.column("shard").unique().to_pylist())
    if shards != {batch.shard}:
        raise StoreError(f"{batch} has rows of {sorted(shards)}")
    return data


def by_day(table: Table, data: pa.Table) -> dict[str, pa.Table]:
    """`data` cut by the UTC day of the table's time; days in order."""
    days = data.column(table.time).to_numpy() // DAY_NS
    if not len(days):
        return {}
    if days[0] == days[-1] and (days == days[0]).all():
        return {day_of(int(days[0]) * DAY_NS): data}
    return {
        day_of(int(day) * DAY_NS): data.filter(pa.array(days == day)) for day in np.unique(days)
    }
