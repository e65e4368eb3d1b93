"""The twin of `foreshock.stores.archive_csv`, believable at sight: one row at a time, in Python."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from typing import Any

from foreshock.stores.archive_kinds import Column, Kind

_TEXT = re.compile(r"(19|20|21)\d\d-\d\d-\d\d([ T]\d\d:\d\d:\d\d(\.\d{1,9})?)?")


class BadCellError(ValueError):
    """The cell cannot be read."""


def read_rows(text: str, kind: Kind, symbol: str) -> tuple[list[tuple[Any, ...]], int]:
    """(rows in the order of `kind.schema`, how many rows are bad) of a file without a header."""
    rows, bad = [], 0
    for line in text.split("\n"):
        if not line:
            continue
        cells = line.split(",")
        if len(cells) != len(kind.columns):
            bad += 1
            continue
        try:
            values = [
                _value(cell.strip(" "), column)
                for cell, column in zip(cells, kind.columns, strict=True)
            ]
        except BadCellError:
            bad += 1
            continue
        if any(
            c.nature == "symbol" and cell.strip(" ") != symbol
            for cell, c in zip(cells, kind.columns, strict=True)
        ):
            continue
        kept = [c.nature not in ("symbol", "ignored") for c in kind.columns]
        rows.append(tuple(v for v, keep in zip(values, kept, strict=True) if keep))
    return rows, bad


def _value(cell: str, column: Column) -> Any:
    if column.nature == "stamp":
        return _stamp(cell)
    if column.nature == "int":
        return _whole(cell)
    if column.nature == "float":
        if cell == "" and column.nullable:
            return None
        if not re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", cell):
            raise BadCellError
        if not math.isfinite(float(cell)):
            raise BadCellError
        return float(cell)
    if column.nature == "bool":
        if cell.lower() not in ("true", "false", "1", "0"):
            raise BadCellError
        return cell.lower() in ("true", "1")
    return cell


def _whole(cell: str) -> int:
    if not re.fullmatch(r"-?\d+", cell) or not -(2**63) <= int(cell) < 2**63:
        raise BadCellError
    return int(cell)


def _stamp(cell: str) -> int:
    if _TEXT.fullmatch(cell):
        whole, _, part = cell.partition(".")
        try:
            moment = datetime.fromisoformat(whole).replace(tzinfo=UTC)
        except ValueError as error:
            raise BadCellError from error
        return int(moment.timestamp()) * 10**9 + int((part or "0").ljust(9, "0"))
    number = _whole(cell)
    for scale in (10**9, 10**6, 10**3):
        if abs(number) * scale < 9_200_000_000 * 10**9:  # the year 2261
            return number * scale
    return number
