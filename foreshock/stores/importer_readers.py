"""Read a file of another recorder's into tables whose columns have our names."""

from __future__ import annotations

import gzip
import io
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from foreshock.errors import ArchiveError
from foreshock.stores.archive_csv import Reading, columns_of, read_csv, stamps_ns
from foreshock.stores.archive_kinds import ARROW, KINDS, Column, Kind
from foreshock.stores.importer_forms import FORMS, SERIES_LAG_NS, Form
from foreshock.stores.importer_sessions import session_tables

_SHAPE: Final = re.compile(r"DataFrame shape: (\d+) x")
_STATUS: Final = re.compile(r"Report Status: (\w+)")
_RECORD: Final = {
    "TRADE_STREAM": "stream trades",
    "DIFFERENCE_DEPTH_STREAM": "stream depth",
    "FINAL_DEPTH_SNAPSHOT": "stream depth",
    "DEPTH_SNAPSHOT": "depth snapshots",
}
_STAMPED: Final = re.compile(  # `stamp frame`, `stamp: frame`, `URL -> stamp`, `URL <-> stamp`
    rb"\d{16,19} \{|\d{10}\.?\d*: |(https?|wss?)://\S+ <?-> |configuration: "
)
_LIST_TRADE: Final = 7  # cells of a trade as [ms, id, type, side, price, amount, cost]


@dataclass(slots=True)
class Told:
    """Rows of one form, and what reading them told. `market` is "" where the rows do not say."""

    form: Form
    table: pa.Table
    reading: Reading
    known: list[str] = field(default_factory=list)
    market: str = ""


def read_file(path: Path) -> list[Told]:
    """Everything in a file. Raises ArchiveError on a file of no known form."""
    try:
        if path.suffix == ".parquet":
            return [_parquet(path)]
        if path.suffix in (".zst", ".dat"):
            return _session(path)
        body = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, pa.ArrowException) as error:
        raise ArchiveError("unreadable", f"{path} cannot be read: {error}") from error
    start = body.lstrip()[:1]
    if not start:
        raise ArchiveError("empty", f"{path.name} is empty")
    if _STAMPED.match(body):
        return _session(path)
    if start in (b"[", b"{"):
        return _json(body, path)
    return _csv(body, path)


def _session(path: Path) -> list[Told]:
    tables, known, market = session_tables(path)
    return [Told(form, table, reading, [*known], market) for form, table, reading in tables]


def _recognised(names: list[str], path: Path) -> Form:
    """The form of the most columns, all of whose columns are there."""
    best: tuple[int, Form] | None = None
    for form in FORMS.values():
        if form.headless:
            continue
        spelled = ["".join(c for c in name.lower() if c.isalnum()) for name in names]
        needed = [c for c in form.kind.columns if not c.optional]
        if all(any(s in spelled for s in c.spelled) for c in needed) and (
            best is None or len(needed) > best[0]
        ):
            best = (len(needed), form)
    if best is None:
        raise ArchiveError("format", f"{path.name}: columns {names} are of no known form")
    return best[1]


def _parquet(path: Path) -> Told:
    table = pq.ParquetFile(path).read(use_threads=False)
    form, reading = _recognised(table.column_names, path), Reading()
    found, _ = columns_of(",".join(table.column_names).encode(), form.kind)
    arrays = {}
    for values, column in zip(table.columns, found, strict=True):
        if column is not None:
            arrays[column.name] = _of_parquet(values, column, reading)
    reading.rows = table.num_rows
    return Told(form, pa.table(arrays), reading)


def _of_parquet(values: pa.ChunkedArray, column: Column, reading: Reading) -> Any:
    if column.nature == "stamp":
        if pa.types.is_timestamp(values.type):
            reading.units.add(values.type.unit)
            return values.cast(pa.timestamp("ns", values.type.tz)).cast(pa.int64())
        stamps, units = stamps_ns(values.to_numpy())
        reading.units |= units
        return pa.array(stamps)
    return values.cast(ARROW[column.nature])


def _csv(body: bytes, path: Path) -> list[Told]:
    known, body = _report_on_top(body)
    if not body.strip():
        raise ArchiveError("empty", f"{path.name} holds a report and no rows")
    first_line = body.split(b"\n", 1)[0]
    names = [cell.strip() for cell in first_line.decode("utf-8", "replace").split(",")]
    if "StreamType" in names:
        return _merged(body, names, path, known)
    if names[0] == "date" and len(names) >= 2 and "symbol" not in names:
        return [_daily(body, names, path)]
    form = _headless(body)
    headless = form is not None
    if form is None:
        form = _recognised(names, path)
    told = _rows(body, form, headless)
    told.known += [*known, *_continuity(told, body)]
    if not headless and "isBestMatch" in names:
        told.market = "binance-spot"  # USD-M files have no such column
    if form.kind.name == "liquidations":
        _one_spelling(told)
    if told.reading.bad_rows:
        told.known.append(f"rows that cannot be read, such as {told.reading.first_bad!r}")
    return [told]


def _rows(body: bytes, form: Form, headless: bool = False) -> Told:
    reading = Reading()
    tables = list(read_csv(io.BytesIO(body), form.kind, "", reading, headless))
    table = pa.concat_tables(tables) if tables else form.kind.schema.empty_table()
    told = Told(form, table.combine_chunks(), reading)
    return told


def _headless(body: bytes) -> Form | None:
    """The form of a file without a header, told by most of its first lines."""
    lines = body.split(b"\n", 40)[:40]
    widths = [len(line.split(b",")) for line in lines if line]
    commonest = max(set(widths), key=widths.count)
    sample = next(line for line in lines if len(line.split(b",")) == commonest).split(b",")
    if commonest == 12 and sample[1] in (b"BUY", b"SELL"):
        return FORMS["liquidations"]
    if commonest == 7 and sample[0].strip().isdigit() and len(sample[0].strip()) == 13:
        return FORMS["large trades"]
    return None


def _report_on_top(body: bytes) -> tuple[list[str], bytes]:
    """(what a text report above the rows claims, the rows)."""
    lines = body.split(b"\n")
    at = next((i for i, line in enumerate(lines) if line and not line.startswith(b"#")), len(lines))
    if not at:
        return [], body
    text = b"\n".join(lines[:at]).decode("utf-8", "replace")
    shapes, states = _SHAPE.findall(text), _STATUS.findall(text)
    claimed = f"a report on top calls it {'/'.join(sorted(set(states))) or 'nothing'}"
    if shapes:
        claimed += f" and speaks of {shapes[0]} rows"
    here = sum(bool(line) for line in lines[at:]) - 1
    known = [f"{claimed}; {here} are here"]
    if shapes and here < int(shapes[0]):
        known.append("an excerpt: what the report claims of the whole cannot be checked")
    return known, b"\n".join(lines[at:])


def _merged(body: bytes, names: list[str], path: Path, known: list[str]) -> list[Told]:
    """Streams that were merged into one file, apart again."""
    at = names.index("StreamType")
    header, *lines = body.split(b"\n")
    parts: dict[str, list[bytes]] = {}
    for line in lines:
        cells = line.split(b",")
        if len(cells) == len(names):
            parts.setdefault(cells[at].decode("utf-8", "replace"), []).append(line)
    out = []
    for name, rows in parts.items():
        if name not in _RECORD:
            raise ArchiveError("format", f"{path.name}: rows of an unknown stream {name!r}")
        told = _rows(b"\n".join([header, *rows]), FORMS[_RECORD[name]])
        told.known = [*known, f"{name} out of a merged file"]
        if name == "FINAL_DEPTH_SNAPSHOT":
            told.known.append("a book carried over, level by level: ids go back in time by design")
        else:
            told.known += _continuity(told, b"\n".join([header, *rows]))
        out.append(told)
    return out


def _continuity(told: Told, body: bytes) -> list[str]:
    """How a depth stream's ids hang together: spot `U` follows `u`, futures name the one before."""
    table = told.table
    if told.form.kind.name != "stream depth" or not table.num_rows:
        return []
    first, last = (table.column(n).to_numpy() for n in ("first_id", "last_id"))
    heads = np.flatnonzero(np.diff(last, prepend=last[0] - 1))
    names = body.split(b"\n", 1)[0].split(b",")
    if b"FinalUpdateIdInLastStream" in names:
        at = names.index(b"FinalUpdateIdInLastStream")
        cells = [line.split(b",") for line in body.split(b"\n")[1:] if line]
        previous = np.array([int(row[at] or 0) for row in cells], np.int64)
        if len(previous) != len(last):
            return []
        breaks = int((previous[heads][1:] != last[heads][:-1]).sum())
    else:
        breaks = int((first[heads][1:] != last[heads][:-1] + 1).sum())
    return [f"{len(heads)} depth frames, {breaks} breaks of their sequence"]


def _one_spelling(told: Told) -> None:
    """ZRO and ZROUSDT are one pair: the stream's names end with the quote currency, a bare coin had
    it cut off."""
    names = told.table.column("symbol")
    bare = pc.invert(pc.ends_with(names, "USDT"))
    count = pc.sum(bare).as_py() or 0
    if count:
        whole = pc.if_else(bare, pc.binary_join_element_wise(names, "USDT", ""), names)
        at = told.table.column_names.index("symbol")
        told.table = told.table.set_column(at, "symbol", whole)
        told.known.append(f"{count} rows name a coin alone: its USDT pair is assumed")
    told.market = "binance-usdm"  # spot has no liquidations


def _daily(body: bytes, names: list[str], path: Path) -> Told:
    """A daily series: date and numbers; known a day after the day that it speaks of has ended."""
    values = tuple(
        Column(re.sub(r"\W+", "_", name), "float", (re.sub(r"[^a-z0-9]", "", name.lower()),))
        for name in names[1:]
    )
    kind = Kind("daily series", (Column("event_ns", "stamp", ("date",)), *values), ("event_ns",))
    reading = Reading()
    tables = list(read_csv(io.BytesIO(body), kind, "", reading))
    table = pa.concat_tables(tables) if tables else kind.schema.empty_table()
    known_ns = table.column("event_ns").to_numpy() + 2 * SERIES_LAG_NS
    name = path.name.partition(".")[0].upper().replace("_", "")
    rows = table.append_column("known_ns", pa.array(known_ns))
    rows = rows.append_column("symbol", pa.array([name] * table.num_rows, pa.string()))
    form = Form(kind, "series", "1d", ("publication is not recorded: known a full day after",))
    return Told(form, rows, reading, market="macro")


def _json(body: bytes, path: Path) -> list[Told]:
    try:
        entries = orjson.loads(body)
        if not isinstance(entries, list) or not entries:
            raise ArchiveError("format", f"{path.name}: no list of rows")
        if isinstance(entries[0], list):
            columns = _listed_trades(entries)
        elif "info" in entries[0]:
            columns = _unified_trades(entries)
        else:
            raise ArchiveError("format", f"{path.name}: entries {list(entries[0])[:8]} are unknown")
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise ArchiveError("format", f"{path.name}: {error!r}") from error
    form = Form(KINDS["aggTrades"], "aggTrades")
    reading = Reading(rows=len(entries), units={"ms"})
    symbols = columns.pop("symbol", None)
    schema = form.kind.schema
    table = pa.table(
        {f.name: pa.array(columns.get(f.name, [None] * len(entries)), f.type) for f in schema}
    )
    known = []
    if symbols is not None:
        table = table.append_column("symbol", pa.array(symbols, pa.string()))
    if "first_id" not in columns:
        known.append("aggregate trades without the ids of their fills")
    return [Told(form, table, reading, known, "binance-spot")]


def _unified_trades(entries: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """Trades as a library unified them, the venue's own answer beside each."""
    told = [entry["info"] for entry in entries]
    return {
        "id": [int(t["a"]) for t in told],
        "price": [float(t["p"]) for t in told],
        "size": [float(t["q"]) for t in told],
        "first_id": [int(t["f"]) for t in told],
        "last_id": [int(t["l"]) for t in told],
        "event_ns": [int(t["T"]) * 1_000_000 for t in told],
        "buyer_is_maker": [bool(t["m"]) for t in told],
        "symbol": [entry["symbol"] for entry in entries],
    }


def _listed_trades(entries: list[list[Any]]) -> dict[str, list[Any]]:
    """Trades as [ms, id, type, side, price, amount, cost]."""
    if any(len(entry) != _LIST_TRADE for entry in entries):
        raise ArchiveError("format", f"lists of {len(entries[0])} cells, not {_LIST_TRADE}")
    return {
        "id": [int(e[1]) for e in entries],
        "price": [float(e[4]) for e in entries],
        "size": [float(e[5]) for e in entries],
        "event_ns": [int(e[0]) * 1_000_000 for e in entries],
        "buyer_is_maker": [e[3] == "sell" for e in entries],
    }
