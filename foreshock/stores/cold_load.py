"""A recording into the cold store: what a recorder that died held, or a store that came later."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from foreshock.stores.cold_side import shard_of
from foreshock.stores.cold_writer import ROW_TABLES, ColdWriter
from foreshock.stores.recordings import open_recording
from foreshock.stores.spill import Sink


def load_recording(
    sink: Sink, directory: Path, *, tables: Sequence[str], hold_rows: int, hold_s: float
) -> int:
    """Append all rows of the recording in `directory`; how many it has, packs among them. Under the
    name that its recorder used, so that what went to the store then is not added again. Vectors are
    not in it: a replay makes them. Raises RecordingError where there is no recording."""
    recording = open_recording(directory)
    writer = ColdWriter(
        sink,
        recording.instruments,
        shard_of(directory),
        tables=[name for name in tables if name in ROW_TABLES],
        hold_rows=hold_rows,
        hold_s=hold_s,
    )
    count = 0
    for rows in recording.rows():
        writer.write(rows)
        count += len(rows)
    writer.flush()
    return count
