"""A journal: everything that was handed to a session, in order, so that its rows can be made again.

An *entry* is one call of the session's: a raw frame as the venue sent it, with its arrival stamp,
or one of the rarer inputs (a REST answer, a timer, a connection, a distrusted book), named by the
session's method with its arguments as JSON. Entries are numbered from 0 without a gap, so that what
is missing shows: `position` jumps. Many entries make a part, and a part is one Parquet file.

column      type      meaning
position    int64     number of the entry
arrival_ns  int64     the recorder's stamp, UTC ns
call        string    "frame", or the session's method
args        string    JSON array of the arguments; BODY stands where `body` goes; null for a frame
body        binary    the venue's bytes; null where the call takes none
crc         uint32    zlib.crc32 of body, args and stamp: which entry was altered, where one was
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from foreshock.errors import RecordingError

FRAME: Final = "frame"
BODY: Final = "\0body"
ENCODINGS: Final = {
    "compression_level": 3,
    "use_dictionary": ["call"],
    "column_encoding": {
        **dict.fromkeys(("position", "arrival_ns"), "DELTA_BINARY_PACKED"),
        **dict.fromkeys(("args", "body", "crc"), "PLAIN"),
    },
    "write_page_checksum": True,
}


class Entry(NamedTuple):
    """One input of a session; see the table above."""

    position: int
    arrival_ns: int
    call: str
    args: str | None
    body: bytes | None
    crc: int

    @property
    def intact(self) -> bool:
        """Whether it is what was written."""
        return self.crc == checksum(self.arrival_ns, self.args, self.body)


def checksum(arrival_ns: int, args: str | None, body: bytes | memoryview | None) -> int:
    """The `crc` of an entry."""
    crc = zlib.crc32(body or b"", arrival_ns & 0xFFFFFFFF)
    return zlib.crc32(args.encode(), crc) if args else crc


@dataclass(slots=True)
class Part:
    """Entries that follow each other, packed for a cheap hand-over between processes: n entries.

    first       position of the first one
    arrival_ns  int64 (n,)
    data, ends  the bodies behind each other; entry k's ends at data[ends[k]], int64 (n,)
    calls       of the entries that are no frames: index → (method, arguments as JSON, has a body)
    """

    first: int
    arrival_ns: NDArray[np.int64]
    data: NDArray[np.uint8]
    ends: NDArray[np.int64]
    calls: dict[int, tuple[str, str, bool]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.arrival_ns)


def to_table(part: Part) -> pa.Table:
    """The table of a part."""
    n = len(part)
    starts = np.concatenate([np.zeros(1, np.int64), part.ends])
    offsets = starts.tolist()
    data = part.data.tobytes()
    view = memoryview(data)
    calls: list[str] = [FRAME] * n
    args: list[str | None] = [None] * n
    bodyless = []
    for k, (call, text, has_body) in part.calls.items():
        calls[k], args[k] = call, text
        if not has_body:
            bodyless.append(k)
    crcs = [
        checksum(stamp, args[k], view[offsets[k] : offsets[k + 1]])
        for k, stamp in enumerate(part.arrival_ns.tolist())
    ]
    present = np.ones(n, np.bool_)
    present[bodyless] = False
    bodies = pa.Array.from_buffers(
        pa.large_binary(),
        n,
        [
            pa.py_buffer(np.packbits(present, bitorder="little").tobytes()),
            pa.py_buffer(starts),
            pa.py_buffer(data),
        ],
    )
    return pa.table(
        {
            "position": np.arange(part.first, part.first + n),
            "arrival_ns": part.arrival_ns,
            "call": pa.array(calls, pa.string()),
            "args": pa.array(args, pa.string()),
            "body": bodies,
            "crc": pa.array(crcs, pa.uint32()),
        }
    )


def entries_of(table: pa.Table) -> Iterator[Entry]:
    """The entries of a table. Raises RecordingError where it is no journal's."""
    try:
        columns: Sequence[list[Any]] = [table.column(n).to_pylist() for n in Entry._fields]
    except KeyError as error:
        raise RecordingError(f"not a table of a journal: {error}") from error
    for values in zip(*columns, strict=True):
        yield Entry(*values)
