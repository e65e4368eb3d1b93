"""A recording: the sequenced input of a session in a directory, with all that replaying it needs.

    manifest.json                     instruments and meta, written first
    rows/<first seq>-<last seq>.parquet
    snapshots/<seq>.zst               engine snapshots; rows after `seq` continue from it
    vectors/<first boundary>-<last boundary>.parquet   what the session said, to compare with
    journal/<first position>-<last position>.parquet   raw frames and all else that was handed to
                                      the session (stores/journal.py), where it is kept
    end.json                          there once the recording was closed

Files appear whole or not at all and are named by what is in them, so that a batch which is written
again after a failure lands on itself. Each `write…` is one file: hand it seconds of rows, not one.
Whoever is killed in the middle leaves whole files and no end: at most what was not handed over yet
is lost, and the missing end says so. Pages carry checksums: a damaged file is an error, not data.

Format versions: 1 had no journal, no end and no checksums; 2 is this one. A newer one is refused.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from foreshock.errors import RecordingError, RowError
from foreshock.market.instruments import Instrument
from foreshock.market.rows import Rows, empty_rows, heads
from foreshock.stores import journal
from foreshock.stores.files import finished, whole_file, write_table
from foreshock.stores.row_tables import ENCODINGS, from_table, to_table

VERSION: Final = 2
_MANIFEST: Final = "manifest.json"
_END: Final = "end.json"
_CHECKED: Final = {"write_page_checksum": True}
_ARRAYS: Final = (
    "vectors",
    "warm",
    "book_state",
    "book_epoch",
    "tape_epoch",
    "bill_inputs",
    "rows",
)


@dataclass(frozen=True, slots=True)
class RecordedBoundary:
    """What a session said at a boundary: the fields of the engine's Boundary, then its scores
    float32 (n, H), its verdicts as JSON objects and the gate's state before them (the bytes of
    `signals.policy.PolicyState`), None where they were not recorded."""

    boundary_ns: int
    closed_by_seq: int
    closed_at_ns: int
    vectors: NDArray[np.float32]
    warm: NDArray[np.bool_]
    book_state: NDArray[np.uint8]
    book_epoch: NDArray[np.int32]
    tape_epoch: NDArray[np.int32]
    bill_inputs: NDArray[np.void]
    rows: NDArray[np.int64]
    probabilities: NDArray[np.float32] | None
    verdicts: list[dict[str, Any]] | None
    policy: bytes | None = None


class RecordingWriter:
    """Writes one recording; one writer per directory."""

    def __init__(
        self, directory: Path, instruments: Sequence[Instrument], meta: Mapping[str, Any]
    ) -> None:
        """Starts the recording, or goes on with one of the same instruments and meta. Raises
        RecordingError where the directory holds another one."""
        self.directory = directory
        manifest = {
            "version": VERSION,
            "instruments": [instrument.as_dict() for instrument in instruments],
            "meta": dict(meta),
        }
        body = orjson.dumps(manifest, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS)
        path = directory / _MANIFEST
        if path.exists() and path.read_bytes() != body:
            raise RecordingError(f"{directory} holds another recording")
        with whole_file(path) as temporary:
            temporary.write_bytes(body)

    def write(self, rows: Rows) -> None:
        """Keep a batch of rows in their order, headers with their packs. Raises RowError on rows
        that break the data language and StoreError where the disk refuses."""
        if not len(rows):
            return
        seqs = rows["seq"][heads(rows)]
        name = f"{int(seqs[0]):020d}-{int(seqs[-1]):020d}.parquet"
        write_table(self.directory / "rows" / name, to_table(rows), **ENCODINGS, **_CHECKED)

    def write_snapshot(self, seq: int, blob: bytes) -> None:
        """Keep the engine's snapshot as it was after the row `seq`."""
        with (
            whole_file(self.directory / "snapshots" / f"{seq:020d}.zst") as temporary,
            pa.output_stream(str(temporary), compression="zstd") as stream,
        ):
            stream.write(blob)

    def write_boundaries(
        self,
        boundaries: Sequence[Any],
        probabilities: Sequence[NDArray[np.float32] | None] | None = None,
        verdicts: Sequence[Sequence[Mapping[str, Any]] | None] | None = None,
        policies: Sequence[bytes | None] | None = None,
    ) -> None:
        """Keep what was said, for a later comparison.

        boundaries      `foreshock.engine.outcomes.Boundary`s in order
        probabilities, verdicts, policies   one entry per boundary, or None for none at all"""
        if not boundaries:
            return
        scores = probabilities if probabilities is not None else [None] * len(boundaries)
        spoken = verdicts if verdicts is not None else [None] * len(boundaries)
        states = policies if policies is not None else [None] * len(boundaries)
        table = pa.table(
            {
                **{
                    name: pa.array([int(getattr(b, name)) for b in boundaries], pa.int64())
                    for name in ("boundary_ns", "closed_by_seq", "closed_at_ns")
                },
                **{
                    name: pa.array([_blob(getattr(b, name)) for b in boundaries], pa.binary())
                    for name in _ARRAYS
                },
                "probabilities": pa.array([_blob(p) for p in scores], pa.binary()),
                "verdicts": pa.array(
                    [None if v is None else orjson.dumps([dict(one) for one in v]) for v in spoken],
                    pa.binary(),
                ),
                "policy": pa.array(list(states), pa.binary()),
            }
        )
        first, last = int(boundaries[0].boundary_ns), int(boundaries[-1].boundary_ns)
        name = f"{first:020d}-{last:020d}.parquet"
        write_table(self.directory / "vectors" / name, table, **_CHECKED)

    def write_journal(self, part: journal.Part) -> None:
        """Keep raw frames and the other inputs of the session between them."""
        if not len(part):
            return
        last = part.first + len(part) - 1
        path = self.directory / "journal" / f"{part.first:020d}-{last:020d}.parquet"
        write_table(path, journal.to_table(part), **journal.ENCODINGS)

    def close(self) -> None:
        """Say that this is all: nothing was pending. Without it a reader must think that the
        recorder was killed."""
        with whole_file(self.directory / _END) as temporary:
            temporary.write_bytes(b'{"closed": true}')


class Recording:
    """A recording on disk; see `open_recording`."""

    def __init__(
        self,
        directory: Path,
        instruments: list[Instrument],
        meta: dict[str, Any],
        version: int = VERSION,
    ) -> None:
        self.directory = directory
        self.instruments = instruments
        self.meta = meta
        self.version = version

    @property
    def closed(self) -> bool:
        """Whether its writer said that this is all; False of a session that is still recorded, or
        whose recorder was killed. Recordings of version 1 never say."""
        return (self.directory / _END).exists()

    @property
    def has_journal(self) -> bool:
        """Whether raw frames were kept."""
        return bool(finished(self.directory / "journal", "*.parquet"))

    def rows(self, batch_rows: int = 65_536, after_seq: int = -1) -> Iterator[Rows]:
        """Batches in order, never splitting a header from its packs.

        batch_rows   about how many rows a batch has; one frame may exceed it
        after_seq    begin behind this row, as a snapshot of that seq asks
        A row that was recorded twice comes once. Raises RecordingError on a damaged file."""
        pending = empty_rows()
        for path in finished(self.directory / "rows", "*.parquet"):
            if int(path.stem.partition("-")[2]) <= after_seq:
                continue
            rows = _behind(_known(from_table(_read(path)), path), after_seq)
            after_seq = int(path.stem.partition("-")[2])
            pending = np.concatenate([pending, rows]) if len(pending) else rows
            while len(pending) >= batch_rows:
                cut = _cut(pending, batch_rows)
                yield pending[:cut]
                pending = pending[cut:]
        if len(pending):
            yield pending

    def snapshot_seqs(self) -> list[int]:
        """After which rows a snapshot of the engine was kept, oldest first."""
        return [int(path.stem) for path in finished(self.directory / "snapshots", "*.zst")]

    def snapshot(self, seq: int) -> bytes:
        """The engine as it was after the row `seq`. Raises RecordingError where it cannot be
        read."""
        path = self.directory / "snapshots" / f"{seq:020d}.zst"
        try:
            with pa.input_stream(str(path), compression="zstd") as stream:
                blob: bytes = stream.read()
        except (OSError, pa.ArrowException) as error:
            raise RecordingError(f"{path} cannot be read: {error}") from error
        return blob

    def snapshots(self) -> Iterator[tuple[int, bytes]]:
        """(seq, blob) of every engine snapshot, oldest first."""
        for seq in self.snapshot_seqs():
            yield seq, self.snapshot(seq)

    def vectors(self) -> Iterator[RecordedBoundary]:
        """What the session said at each boundary that was recorded, in order, each once."""
        last_ns = -1
        for path in finished(self.directory / "vectors", "*.parquet"):
            for row in _read(path).to_pylist():
                if row["boundary_ns"] > last_ns:
                    last_ns = row["boundary_ns"]
                    yield _boundary(row)

    def journal(self) -> Iterator[journal.Entry]:
        """Every raw frame and other input that was kept, in order, each once. Where `position`
        jumps some are missing. Raises RecordingError on a damaged file."""
        last = -1
        for path in finished(self.directory / "journal", "*.parquet"):
            for entry in journal.entries_of(_read(path)):
                if entry.position > last:
                    last = entry.position
                    yield entry


def open_recording(directory: Path) -> Recording:
    """Open a recording for reading. Raises RecordingError where there is none, or a newer kind."""
    path = directory / _MANIFEST
    try:
        manifest = orjson.loads(path.read_bytes())
        version = int(manifest["version"])
        if version > VERSION:
            raise RecordingError(
                f"{path} is of format {version}; this version reads up to {VERSION}: replay it with"
                " the version that recorded it, or a later one"
            )
        instruments = [Instrument.from_dict(given) for given in manifest["instruments"]]
        return Recording(directory, instruments, manifest["meta"], version)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RecordingError(f"{directory} holds no recording: {error}") from error


def _read(path: Path) -> pa.Table:
    """Like `read_table`, page checksums verified where there are any."""
    try:
        file = pq.ParquetFile(path, page_checksum_verification=True)
        return file.read(use_threads=False)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise RecordingError(f"{path} cannot be read: {error}") from error


def _known(rows: Rows, path: Path) -> Rows:
    """`rows`. Raises RecordingError where they break the data language as we know it."""
    try:
        heads(rows)
    except RowError as error:
        raise RecordingError(
            f"{path}: {error}: damaged, or recorded by a newer version with rows that this one does"
            " not know"
        ) from error
    return rows


def _cut(rows: Rows, at_most: int) -> int:
    """Where to cut: the last head at or before `at_most`, or behind the first frame."""
    at = np.append(heads(rows), len(rows))
    return int(max(at[np.searchsorted(at, at_most, side="right") - 1], at[1]))


def _behind(rows: Rows, after_seq: int) -> Rows:
    at = heads(rows)
    later = at[rows["seq"][at] > after_seq]
    return rows[later[0] :] if len(later) else rows[:0]


def _blob(array: NDArray[Any] | None) -> bytes | None:
    """An array with its dtype and shape, as NumPy's own format writes it: NaN bits included."""
    if array is None:
        return None
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.ascontiguousarray(array), allow_pickle=False)
    return stream.getvalue()


def _array(blob: bytes | None) -> Any:
    if blob is None:
        return None
    return np.lib.format.read_array(io.BytesIO(blob), allow_pickle=False)


def _boundary(row: dict[str, Any]) -> RecordedBoundary:
    blobs = {*_ARRAYS, "probabilities"}
    values: dict[str, Any] = {
        each.name: _array(row[each.name]) if each.name in blobs else row.get(each.name)
        for each in fields(RecordedBoundary)
    }
    spoken = values["verdicts"]
    return RecordedBoundary(
        **{**values, "verdicts": None if spoken is None else orjson.loads(spoken)}
    )


def join_rows(batches: Iterable[Rows]) -> Rows:
    """All batches as one array; for tests and tools, whose recordings are small."""
    return np.concatenate([empty_rows(), *batches])
