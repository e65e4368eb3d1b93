"""CSV of the venue → Arrow tables of a kind's schema, batch by batch; bad rows are counted.

Every cell is read as text and cast a column at a time; only a column that holds a bad cell is
looked at cell by cell. Stamps tell their unit by their digits (s, ms, µs, ns), each for itself,
since no date tells it: spot files changed from ms to µs in 2025, USD-M files did not.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import IO, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from foreshock.errors import ArchiveError
from foreshock.stores.archive_kinds import ARROW, Column, Kind

BLOCK_BYTES: Final = 16 << 20
_FLAGS: Final = {"true": True, "1": True, "false": False, "0": False}
_TEXT_STAMP: Final = r"^(19|20|21)\d\d-\d\d-\d\d([ T]\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+]00:?00)?)?$"
# A stamp below a bound is in that unit; above, the next. The bounds are the year 2261, so that
# whatever a damaged cell holds, ns of it are an int64.
_YEAR_2261_S: Final = 9_200_000_000
_UNITS: Final = (
    (_YEAR_2261_S, 10**9, "s"),
    (_YEAR_2261_S * 10**3, 10**6, "ms"),
    (_YEAR_2261_S * 10**6, 10**3, "us"),
)


@dataclass(slots=True)
class Reading:
    """What reading a file found beside its rows."""

    rows: int = 0
    bad_rows: int = 0
    first_bad: str = ""
    foreign_symbol_rows: int = 0
    header: bool = False
    units: set[str] = field(default_factory=set)

    def bad(self, count: int, example: str) -> None:
        """Count rows that cannot be read."""
        self.bad_rows += count
        self.first_bad = self.first_bad or example[:120]


def read_csv(
    stream: IO[bytes], kind: Kind, symbol: str, reading: Reading, headless: bool = False
) -> Iterator[pa.Table]:
    """Tables of `kind.schema` in the order of the file; `reading` is filled meanwhile.

    headless   there is no header, whatever the first line looks like
    Raises ArchiveError on text that is none and on columns that are not the kind's."""
    start = stream.read(1 << 16)
    if not start.strip():
        return
    first_line = start.split(b"\n", 1)[0]
    columns, reading.header = (
        (list(kind.columns), False) if headless else columns_of(first_line, kind)
    )
    names = [f"c{i}" for i in range(len(columns))]

    def skip(row: Any) -> str:
        reading.bad(1, row.text or f"{row.actual_columns} columns")
        return "skip"

    try:
        batches = pa_csv.open_csv(
            pa.PythonFile(_Rejoined(start, stream), mode="r"),
            read_options=pa_csv.ReadOptions(
                column_names=names,
                skip_rows=int(reading.header),
                block_size=BLOCK_BYTES,
                use_threads=False,
            ),
            parse_options=pa_csv.ParseOptions(invalid_row_handler=skip),
            convert_options=pa_csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False
            ),
        )
        for batch in batches:
            yield _typed(batch, columns, kind, symbol, reading)
    except pa.ArrowInvalid as error:
        if "Empty CSV" in str(error):
            return  # a header alone
        raise ArchiveError("text", f"{symbol} {kind.name}: {error}") from error


class _Rejoined(io.RawIOBase):
    """A stream with the bytes that were read off its start put back."""

    def __init__(self, start: bytes, rest: IO[bytes]) -> None:
        self._start, self._rest = start, rest

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        if self._start:
            out, self._start = self._start, b""
            return out if size < 0 or len(out) <= size else self._split(out, size)
        return self._rest.read(size)

    def _split(self, out: bytes, size: int) -> bytes:
        self._start = out[size:]
        return out[:size]


def columns_of(first_line: bytes, kind: Kind) -> tuple[Sequence[Column | None], bool]:
    """(the column of each cell, None where we do not keep it; whether the line is a header)."""
    cells = [cell.strip().strip('"') for cell in first_line.decode("utf-8", "replace").split(",")]
    spelled = ["".join(c for c in cell.lower() if c.isalnum()) for cell in cells]
    known = {name: column for column in kind.columns for name in column.spelled}
    found = [known.get(name) for name in spelled]
    needed = [column for column in kind.columns if not column.optional]
    if sum(column is not None for column in found) >= len(needed) / 2:
        missing = [c.spelled[0] for c in needed if c not in found]
        if missing:
            raise ArchiveError("columns", f"{kind.name}: header {cells} lacks {missing}")
        return found, True
    if not any(cell[:1].isdigit() for cell in cells):
        raise ArchiveError("columns", f"{kind.name}: {first_line[:80]!r}: neither header nor row")
    if not len(needed) <= len(cells) <= len(kind.columns):
        raise ArchiveError(
            "columns", f"{kind.name}: {len(cells)} columns, expected {len(kind.columns)}"
        )
    return list(kind.columns[: len(cells)]), False


def _typed(
    batch: pa.RecordBatch,
    columns: Sequence[Column | None],
    kind: Kind,
    symbol: str,
    reading: Reading,
) -> pa.Table:
    reading.rows += batch.num_rows
    arrays: dict[str, pa.Array] = {}
    good = np.ones(batch.num_rows, dtype=np.bool_)
    ours = np.ones(batch.num_rows, dtype=np.bool_)
    for text, column in zip(batch.columns, columns, strict=True):
        if column is None or column.nature == "ignored":
            continue
        if column.nature == "symbol":
            ours = pc.equal(pc.utf8_trim_whitespace(text), symbol).to_numpy(zero_copy_only=False)
            continue
        values, fine = _cast(text, column, reading)
        arrays[column.name] = values
        if fine is not None:
            good &= fine
    if not good.all():
        at = int(np.flatnonzero(~good)[0])
        row = ",".join(str(array[at]) for array in batch.columns)
        reading.bad(int((~good).sum()), row)
    if not ours.all():
        reading.foreign_symbol_rows += int((~ours & good).sum())
    out = pa.table({f.name: arrays.get(f.name, _nulls(f, batch)) for f in kind.schema})
    keep = good & ours
    return out if keep.all() else out.filter(pa.array(keep))


def _nulls(field_: pa.Field, batch: pa.RecordBatch) -> pa.Array:
    return pa.nulls(batch.num_rows, field_.type)


def _cast(text: pa.Array, column: Column, reading: Reading) -> tuple[pa.Array, Any]:
    """(values, mask of the good cells or None where all are good)."""
    if column.nature == "stamp":
        return _stamps(text, reading)
    if column.nature == "text":
        return pc.utf8_trim_whitespace(text), None
    if column.nature == "bool":
        lowered = pc.utf8_lower(pc.utf8_trim_whitespace(text))
        index = pc.index_in(lowered, value_set=pa.array(list(_FLAGS)))
        values = pc.take(pa.array(list(_FLAGS.values())), index)
        return values, values.is_valid().to_numpy(zero_copy_only=False)
    values, good = _numbers(text, ARROW[column.nature])
    if good is not None and column.nullable:  # the venue leaves a ratio out at times
        good |= pc.equal(pc.utf8_trim_whitespace(text), "").to_numpy(zero_copy_only=False)
    return values, good


def _numbers(text: pa.Array, target: pa.DataType) -> tuple[pa.Array, Any]:
    """(int64 or float64 of decimal numbers, mask of the cells that are one or None for all)."""
    try:
        values = text.cast(target)
        if _decimal(text, values):
            return values, None
    except pa.ArrowInvalid:
        pass
    trimmed = pc.utf8_trim_whitespace(text)
    plain = pc.match_substring_regex(trimmed, r"^-?\d{1,15}$")
    values = pc.if_else(plain, trimmed, None).cast(target).to_numpy(zero_copy_only=False).copy()
    good = plain.to_numpy(zero_copy_only=False).copy()
    out = np.where(good, values, 0).astype(target.to_pandas_dtype())
    for at in np.flatnonzero(~good):
        try:
            one = trimmed[int(at) : int(at) + 1]
            value = one.cast(target)
        except pa.ArrowInvalid:
            continue
        if _decimal(one, value):
            out[at], good[at] = value[0].as_py(), True
    return pa.array(out, mask=~good), good


def _decimal(text: pa.Array, values: pa.Array) -> bool:
    """False where Arrow read more than decimal numbers: nan, infinity, 0x1."""
    if pa.types.is_floating(values.type):
        return bool(pc.all(pc.is_finite(values)).as_py())
    return not any(pc.any(pc.match_substring(text, x)).as_py() for x in ("x", "X"))


def _stamps(text: pa.Array, reading: Reading) -> tuple[pa.Array, Any]:
    numbers, whole = _numbers(text, pa.int64())
    if whole is None:
        values, units = stamps_ns(numbers.to_numpy())
        reading.units |= units
        return pa.array(values), None
    trimmed = pc.utf8_trim_whitespace(text)
    out = np.zeros(len(text), dtype=np.int64)
    if whole.any():
        out[whole], units = stamps_ns(numbers.drop_null().to_numpy())
        reading.units |= units
    spelled = pc.match_substring_regex(trimmed, _TEXT_STAMP).to_numpy(zero_copy_only=False)
    if spelled.any():
        out[spelled], possible = _spelled_ns(trimmed.filter(pa.array(spelled)))
        spelled[spelled] = possible
        reading.units.add("text")
    return pa.array(out), whole | spelled


def _spelled_ns(text: pa.Array) -> tuple[Any, Any]:
    """(UTC ns of dates and times spelled out, mask of those that there are: no 31st of June)."""
    iso = pc.replace_substring_regex(pc.replace_substring(text, " ", "T"), "(Z|[+]00:?00)$", "")
    try:
        values = iso.cast(pa.timestamp("ns")).cast(pa.int64()).to_numpy()
        return values, np.ones(len(values), dtype=np.bool_)
    except pa.ArrowInvalid:
        pass
    values, possible = np.zeros(len(iso), dtype=np.int64), np.ones(len(iso), dtype=np.bool_)
    for at, one in enumerate(iso.to_pylist()):
        try:
            values[at] = np.datetime64(one, "ns").astype(np.int64)
        except ValueError:
            possible[at] = False
    return values, possible


def stamps_ns(numbers: Any) -> tuple[Any, set[str]]:
    """(UTC ns, the units found) of whole numbers, each of which tells its unit by its digits."""
    numbers = np.asarray(numbers, dtype=np.int64)
    factor = np.ones(len(numbers), dtype=np.int64)
    units: set[str] = set()
    size = np.abs(numbers)
    below = np.int64(0)
    for limit, scale, name in _UNITS:
        here = (size >= below) & (size < limit)
        if here.any():
            factor[here] = scale
            units.add(name)
        below = np.int64(limit)
    if (size >= below).any():
        units.add("ns")
    return numbers * factor, units
