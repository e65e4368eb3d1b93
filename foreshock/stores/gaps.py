"""The gaps of a recording, read from the record: epochs that broke, rows that are missing.

A session writes an EPOCH row wherever the continuity of a stream is lost and another where it is
back, so that a gap is a span between two rows and has a reason. Rows that the recorder never got
show as a jump in `seq`. Only the columns that tell this are read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from foreshock.errors import RecordingError
from foreshock.market.rows import (
    BOOK,
    EPOCH,
    REASON_NAMES,
    REASON_START,
    SYNCED,
    Rows,
    as_words,
    heads,
)
from foreshock.stores.files import finished
from foreshock.stores.row_tables import COLUMNS

FAMILIES: Final = ("book", "tape")
NOT_RECORDED: Final = "not_recorded"
_READ: Final = ("arrival_ns", "seq", "meta", "a", "c", "d")


@dataclass(frozen=True, slots=True)
class Gap:
    """Something that is missing from a recording.

    symbol     None where it concerns all of them
    family     "book", "tape", or "rows" for rows that were not recorded
    from_ns    arrival of the row that told of it
    until_ns   when it was over; None where the recording ended in it. A tape's gap has no length:
               what was lost is behind `from_ns`, and it goes on at once
    reason     of `market.rows.REASON_NAMES`, or "not_recorded"
    """

    symbol: str | None
    family: str
    from_ns: int
    until_ns: int | None
    reason: str

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


class Gaps:
    """Finds them while rows go by; `found` afterwards."""

    def __init__(self, symbols: Sequence[str]) -> None:
        self._symbols = symbols
        self._gaps: list[Gap] = []
        self._broken: dict[int, tuple[int, int]] = {}  # symbol → since when, why, it is not SYNCED
        self._next_seq, self._last_ns = 0, 0

    def take(self, columns: Mapping[str, NDArray[np.int64]]) -> None:
        """The next header rows, as columns of their words."""
        seqs, stamps, meta = columns["seq"], columns["arrival_ns"], columns["meta"]
        for k in np.flatnonzero(np.diff(seqs, prepend=self._next_seq - 1) > 1).tolist():
            before_ns = int(stamps[k - 1]) if k else self._last_ns
            self._gaps.append(Gap(None, "rows", before_ns, int(stamps[k]), NOT_RECORDED))
        self._next_seq, self._last_ns = int(seqs[-1]) + 1, int(stamps[-1])
        for k in np.flatnonzero((meta & 0xFF) == EPOCH).tolist():
            s, reason, at_ns = int(meta[k] >> 32), int(columns["d"][k]), int(stamps[k])
            if columns["c"][k] != BOOK:
                self._add(s, 1, at_ns, at_ns, reason)
            elif columns["a"][k] != SYNCED:
                self._broken.setdefault(s, (at_ns, reason))
            elif s in self._broken:
                since_ns, why = self._broken.pop(s)
                self._add(s, 0, since_ns, at_ns, why)

    def take_rows(self, rows: Rows) -> None:
        """The same of whole rows."""
        words = as_words(rows)[heads(rows)]
        if len(words):
            self.take({name: words[:, COLUMNS.index(name)] for name in _READ})

    def found(self) -> list[Gap]:
        """In the order in which they began; a book that is still broken has a gap without end."""
        lasting = Gaps(self._symbols)
        for s, (since_ns, reason) in self._broken.items():
            lasting._add(s, 0, since_ns, None, reason)
        return sorted([*self._gaps, *lasting._gaps], key=lambda gap: gap.from_ns)

    def _add(self, s: int, family: int, from_ns: int, until_ns: int | None, reason: int) -> None:
        if reason != REASON_START:
            symbol = self._symbols[s] if 0 <= s < len(self._symbols) else None
            name = REASON_NAMES.get(reason, str(reason))
            self._gaps.append(Gap(symbol, FAMILIES[family], from_ns, until_ns, name))


def gaps_of(directory: Path, symbols: Sequence[str]) -> list[Gap]:
    """The gaps of the recording in `directory`, of these symbols. How a session starts is none.
    Raises RecordingError on a damaged file."""
    gaps = Gaps(symbols)
    for columns in _columns(directory):
        gaps.take(columns)
    return gaps.found()


def _columns(directory: Path) -> Iterator[dict[str, NDArray[np.int64]]]:
    for path in finished(directory / "rows", "*.parquet"):
        try:
            table = pq.ParquetFile(path).read(columns=list(_READ), use_threads=False)
        except (OSError, ValueError, pa.ArrowException) as error:
            raise RecordingError(f"{path} cannot be read: {error}") from error
        if len(table):
            yield {name: table.column(name).to_numpy() for name in _READ}
