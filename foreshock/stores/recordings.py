"""A recording: the sequenced input of a session in a directory, with all that replaying it needs.

    manifest.json                     instruments and meta, written first
    rows/<first seq>-<last seq>.parquet
    snapshots/<seq>.zst               engine snapshots; rows after `seq` continue from it
    vectors/<first boundary>-<last boundary>.parquet   what the session said, to compare with
    frames/<first arrival>-<last arrival>-<n>.parquet  what the venue sent, where it is kept

Files appear whole or not at all and are named by what is in them, so that a batch which is written
again after a failure lands on itself. Each `write…` is one file: hand it seconds of rows, not one.
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
from numpy.typing import NDArray

from foreshock.errors import RecordingError
from foreshock.market.instruments import Instrument
from foreshock.market.rows import Rows, empty_rows, heads
from foreshock.stores.files import finished, read_table, whole_file, write_table
from foreshock.stores.row_tables import ENCODINGS, from_table, to_table

_VERSION: Final = 1
_MANIFEST: Final = "manifest.json"
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
            "version": _VERSION,
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
        write_table(self.directory / "rows" / name, to_table(rows), **ENCODINGS)

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
        write_table(self.directory / "vectors" / f"{first:020d}-{last:020d}.parquet", table)

    def write_frames(self, arrival_ns: Sequence[int], frames: Sequence[bytes]) -> None:
        """Keep raw frames, as the venue sent them, with their stamps."""
        if not frames:
            return
        stamps = np.asarray(arrival_ns, dtype=np.int64)
        table = pa.table({"arrival_ns": stamps, "frame": pa.array(list(frames), pa.binary())})
        name = f"{stamps[0]:020d}-{stamps[-1]:020d}-{len(frames)}.parquet"
        write_table(self.directory / "frames" / name, table, use_dictionary=False)

    def close(self) -> None:
        """Nothing is pending: every write is on disk when it returns."""


class Recording:
    """A recording on disk; see `open_recording`."""

    def __init__(
        self, directory: Path, instruments: list[Instrument], meta: dict[str, Any]
    ) -> None:
        self.directory = directory
        self.instruments = instruments
        self.meta = meta

    def rows(self, batch_rows: int = 65_536, after_seq: int = -1) -> Iterator[Rows]:
        """Batches in order, never splitting a header from its packs.

        batch_rows   about how many rows a batch has; one frame may exceed it
        after_seq    begin behind this row, as a snapshot of that seq asks
        A row that was recorded twice comes once. Raises RecordingError on a damaged file."""
        pending = empty_rows()
        for path in finished(self.directory / "rows", "*.parquet"):
            if int(path.stem.partition("-")[2]) <= after_seq:
                continue
            rows = _behind(from_table(read_table(path)), after_seq)
            after_seq = int(path.stem.partition("-")[2])
            pending = np.concatenate([pending, rows]) if len(pending) else rows
            while len(pending) >= batch_rows:
                cut = _cut(pending, batch_rows)
                yield pending[:cut]
                pending = pending[cut:]
        if len(pending):
            yield pending

    def snapshots(self) -> Iterator[tuple[int, bytes]]:
        """(seq, blob) of every engine snapshot, oldest first."""
        for path in finished(self.directory / "snapshots", "*.zst"):
            try:
                with pa.input_stream(str(path), compression="zstd") as stream:
                    blob = stream.read()
            except (OSError, pa.ArrowException) as error:
                raise RecordingError(f"{path} cannot be read: {error}") from error
            yield int(path.stem), blob

    def vectors(self) -> Iterator[RecordedBoundary]:
        """What the session said at each boundary that was recorded, in order, each once."""
        last_ns = -1
        for path in finished(self.directory / "vectors", "*.parquet"):
            for row in read_table(path).to_pylist():
                if row["boundary_ns"] > last_ns:
                    last_ns = row["boundary_ns"]
                    yield _boundary(row)

    def frames(self) -> Iterator[tuple[int, bytes]]:
        """(arrival_ns, frame) of every raw frame that was kept, in order."""
        for path in finished(self.directory / "frames", "*.parquet"):
            table = read_table(path)
            stamps, frames = table.column("arrival_ns"), table.column("frame")
            yield from zip(stamps.to_pylist(), frames.to_pylist(), strict=True)


def open_recording(directory: Path) -> Recording:
    """Open a recording for reading. Raises RecordingError where there is none, or a newer kind."""
    path = directory / _MANIFEST
    try:
        manifest = orjson.loads(path.read_bytes())
        if manifest["version"] != _VERSION:
            raise RecordingError(f"{path} is of version {manifest['version']}, not {_VERSION}")
        instruments = [Instrument.from_dict(given) for given in manifest["instruments"]]
        return Recording(directory, instruments, manifest["meta"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RecordingError(f"{directory} holds no recording: {error}") from error


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
