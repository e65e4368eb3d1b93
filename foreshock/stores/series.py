"""Recorded samples of slow series and of derivatives as rows: what was known, from when on.

A daily file says what a day was, not when that was published. A value dated D is taken to be of the
end of D (UTC) and to become known `lag_s` later, by default a full day. Two files of one series
that differ keep both values: the later known one is a revision. Rows come in the order in which
they became known and carry no `seq`; whoever joins them to other rows numbers them.
"""

from __future__ import annotations

import csv
import gzip
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from foreshock.errors import ArchiveError
from foreshock.market.clock import SECOND_NS
from foreshock.market.rows import (
    ALL,
    CONTEXT,
    CONTEXT_SERIES,
    METRIC,
    METRIC_FUNDING_RATE,
    METRIC_OPEN_INTEREST,
    METRIC_OPEN_INTEREST_VALUE,
    MODELLED,
    Rows,
    empty_rows,
)

DAY_S: Final = 86_400
# Columns of recorded tables that are metrics, and which.
_METRICS: Final = {
    "funding_rate": METRIC_FUNDING_RATE,
    "sum_open_interest": METRIC_OPEN_INTEREST,
    "sum_open_interest_value": METRIC_OPEN_INTEREST_VALUE,
}


class Point(NamedTuple):
    """One value of a series: the time that it is of, and when it became known, UTC ns."""

    of_ns: int
    known_ns: int
    value: float


class Known(NamedTuple):
    """A value of the series at `position`, in the order in which they are told: told_ns is
    known_ns, or later where the value was found later. UTC ns."""

    told_ns: int
    known_ns: int
    of_ns: int
    position: int
    value: float


def read_daily(path: Path, column: str, lag_s: int = DAY_S) -> list[Point]:
    """The values of a column of a daily CSV (gzip or not) with a column `date`, in order of their
    days. What is no finite number is left out. Raises ArchiveError where a column is missing, a
    date cannot be read, a day is there twice, or `lag_s` is below zero."""
    if lag_s < 0:
        raise ArchiveError("lag", f"{path.name}: a lag is not below zero, got {lag_s} s")
    opened = gzip.open if path.suffix == ".gz" else open
    found: dict[int, Point] = {}
    with opened(path, "rt", encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        if missing := {"date", column} - set(reader.fieldnames or ()):
            raise ArchiveError("columns", f"{path.name} lacks the columns {sorted(missing)}")
        for row in reader:
            of_ns = _end_of_day_ns(path, row["date"])
            if of_ns in found:
                raise ArchiveError("twice", f"{path.name} has {row['date']} twice")
            value = _number(row[column])
            found[of_ns] = Point(of_ns, of_ns + lag_s * SECOND_NS, value)
    return [found[of_ns] for of_ns in sorted(found) if math.isfinite(found[of_ns].value)]


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _end_of_day_ns(path: Path, text: str) -> int:
    try:
        day = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError as error:
        raise ArchiveError("date", f"{path.name}: no date: {text!r}") from error
    return (round(day.timestamp()) + DAY_S) * SECOND_NS


def series_rows(points: Mapping[str, Sequence[Point]], names: Sequence[str]) -> Rows:
    """CONTEXT rows of all points, in the order in which they became known. `names` are the series
    by position (SeriesSettings.names). Raises ArchiveError for a series that it does not name."""
    if unknown := sorted(set(points) - set(names)):
        raise ArchiveError("series", f"no series are called {unknown}")
    return known_rows(
        sorted(
            Known(point.known_ns, point.known_ns, point.of_ns, names.index(name), point.value)
            for name, some in points.items()
            for point in some
        )
    )


def known_rows(told: Sequence[Known]) -> Rows:
    """CONTEXT rows of values in the order in which they are told, which is when they arrive."""
    rows = empty_rows(len(told))
    if told:
        at, known, of, position, value = (np.array(column) for column in zip(*told, strict=True))
        rows["arrival_ns"], rows["event_ns"] = at, of
        rows["kind"], rows["flags"], rows["symbol"] = CONTEXT, MODELLED, ALL
        rows["id"], rows["id2"] = known, of
        rows["a"], rows["b"] = CONTEXT_SERIES + position, value.astype(np.float64).view(np.int64)
    return rows


def metric_rows(path: Path, symbols: Mapping[str, int], lag_s: int = 60) -> Rows:
    """METRIC rows of a recorded Parquet table of funding or open interest, of the symbols that
    `symbols` numbers, in order of time. A value is known `lag_s` after the time that it is of.
    Raises ArchiveError where the table has no symbol, no time or no column that is a metric."""
    table = pq.read_table(path)
    times = [name for name in ("timestamp", "date") if name in table.column_names]
    columns = [name for name in _METRICS if name in table.column_names]
    if not times or not columns or "symbol" not in table.column_names or lag_s < 0:
        raise ArchiveError("columns", f"{path.name}: {table.column_names} is no table of metrics")
    table = table.filter(pc.is_in(table["symbol"], value_set=pa.array(list(symbols), pa.string())))
    time = table[times[0]]
    if pa.types.is_timestamp(time.type):
        of_ns = pc.cast(pc.cast(time, pa.timestamp("ns", "UTC")), pa.int64()).to_numpy()
    else:
        of_ns = time.to_numpy() * 1_000_000
    numbers = np.array([symbols[name] for name in table["symbol"].to_pylist()], np.int32)
    parts = []
    for name in columns:
        rows = empty_rows(len(table))
        rows["arrival_ns"], rows["event_ns"] = of_ns + lag_s * SECOND_NS, of_ns
        rows["kind"], rows["flags"], rows["symbol"] = METRIC, MODELLED, numbers
        rows["id"], rows["a"] = of_ns, _METRICS[name]
        values = table[name].to_numpy().astype(np.float64)
        rows["b"] = values.view(np.int64)
        parts.append(rows[np.isfinite(values)])
    whole = np.concatenate(parts)
    return whole[np.lexsort((whole["a"], whole["symbol"], whole["arrival_ns"]))]
