"""Judge a day of rows: in order, each once, and what is missing. Nothing is invented or smoothed.

A repeated row is dropped and counted; two rows of one key that differ are a *conflict*: the first
in the file stays. Rows out of order are put in order. Missing ids, or missing bars, are listed.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from foreshock.stores.archive_kinds import Kind

LISTED: Final = 1_000  # gaps that a judgement lists at most


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a day (or any span) of a series is like.

    rows            kept
    first_ns, last_ns   times of the first and last row; 0 without rows
    first_id, last_id   where rows are named by an id; else 0
    duplicates, conflicts, out_of_order, bad_rows, foreign_rows   what was found in the file(s);
                    foreign rows belong to another day or symbol and were left out
    gaps            [from_ns, to_ns] between rows further apart than the kind allows: the times of
                    the rows on either side
    missing_ids     [first, last] of ids that are not there, and when: [first, last, from_ns, to_ns]
    gaps_left_out   how many of either are not listed
    gap_ns          what was taken for a gap; 0 where silence proves nothing
    units           of the stamps as printed
    known           other facts about the source, for people
    """

    rows: int = 0
    first_ns: int = 0
    last_ns: int = 0
    first_id: int = 0
    last_id: int = 0
    duplicates: int = 0
    conflicts: int = 0
    out_of_order: int = 0
    bad_rows: int = 0
    foreign_rows: int = 0
    gaps: list[list[int]] = field(default_factory=list)
    missing_ids: list[list[int]] = field(default_factory=list)
    gaps_left_out: int = 0
    gap_ns: int = 0
    units: tuple[str, ...] = ()
    known: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)

    @classmethod
    def from_dict(cls, given: dict[str, Any]) -> Judgement:
        """The inverse of `as_dict`."""
        return cls(**{**given, "units": tuple(given["units"]), "known": tuple(given["known"])})

    def told(self, **changes: Any) -> Judgement:
        """With other fields."""
        return replace(self, **changes)


def judge(
    table: pa.Table, kind: Kind, gap_ns: int, *, counts_by_one: bool | None = None
) -> tuple[pa.Table, Judgement]:
    """(the table in order and each row once, the judgement of it).

    gap_ns          rows further apart are a gap; 0 where silence proves nothing
    counts_by_one   whether ids must leave none out; by default as the kind says"""
    if not table.num_rows:
        return table, Judgement()
    keys = [table.column(name).to_numpy() for name in kind.key]
    order = np.lexsort(keys[::-1])
    moved = int((np.diff(keys[0]) < 0).sum())
    if (order != np.arange(len(order))).any():
        table = table.take(pa.array(order))
        keys = [key[order] for key in keys]
    table, duplicates, conflicts = _once(table, keys)
    times = table.column(kind.time).to_numpy()
    ids = table.column(kind.key[0]).to_numpy() if kind.id_step else None
    by_one = kind.id_step if counts_by_one is None else counts_by_one
    gaps, missing, left_out = _gaps(times, ids if by_one else None, gap_ns)
    return table, Judgement(
        rows=table.num_rows,
        first_ns=int(times.min()),
        last_ns=int(times.max()),
        first_id=0 if ids is None else int(ids[0]),
        last_id=0 if ids is None else int(ids[-1]),
        duplicates=duplicates,
        conflicts=conflicts,
        out_of_order=moved,
        gaps=gaps,
        missing_ids=missing,
        gaps_left_out=left_out,
        gap_ns=gap_ns,
    )


def _once(table: pa.Table, keys: list[NDArray[Any]]) -> tuple[pa.Table, int, int]:
    """(rows of distinct keys, first of each; duplicates; conflicts) of a table sorted by key."""
    same = np.ones(table.num_rows - 1, dtype=np.bool_)
    for key in keys:
        same &= key[1:] == key[:-1]
    if not same.any():
        return table, 0, 0
    equal = np.ones(table.num_rows - 1, dtype=np.bool_)
    for column in table.columns:
        whole = column.combine_chunks()
        a, b = whole[1:], whole[:-1]
        alike = pc.or_(pc.fill_null(pc.equal(a, b), False), pc.and_(pc.is_null(a), pc.is_null(b)))
        equal &= alike.to_numpy(zero_copy_only=False)
    keep = np.concatenate([[True], ~same])
    return table.filter(pa.array(keep)), int((same & equal).sum()), int((same & ~equal).sum())


def _gaps(
    times: NDArray[Any], ids: NDArray[Any] | None, gap_ns: int
) -> tuple[list[list[int]], list[list[int]], int]:
    wide = np.flatnonzero(np.diff(times) > gap_ns) if gap_ns else np.zeros(0, np.int64)
    gaps = [[int(times[i]), int(times[i + 1])] for i in wide[:LISTED]]
    missing: list[list[int]] = []
    left_out = max(len(wide) - LISTED, 0)
    if ids is not None:
        jumps = np.flatnonzero(np.diff(ids) > 1)
        left_out += max(len(jumps) - LISTED, 0)
        missing = [
            [int(ids[i]) + 1, int(ids[i + 1]) - 1, int(times[i]), int(times[i + 1])]
            for i in jumps[:LISTED]
        ]
    return gaps, missing, left_out
