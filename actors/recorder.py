"""Recorder: writes what watchers hand it, one recording directory per watcher, off their loops."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray

from foreshock.engine.outcomes import Boundary
from foreshock.engine.provenance import features_of
from foreshock.features.vector import Layout
from foreshock.market.instruments import Instrument
from foreshock.market.rows import Rows
from foreshock.stores.cold_settings import ColdPlan
from foreshock.stores.cold_side import ColdSide
from foreshock.stores.journal import Part
from foreshock.stores.recordings import RecordingWriter


class Recorder:
    """One writer per directory. Every call is a whole batch (seconds of rows), named on disk by
    what is in it, so that a batch which is handed over twice lands on itself."""

    def __init__(self, cold: ColdPlan | None = None) -> None:
        self._writers: dict[str, RecordingWriter] = {}
        self._rows = 0
        self._cold = None if cold is None else ColdSide(cold)
        self._layouts: dict[str, Layout] = {}

    def open(self, directory: str, instruments: Sequence[Instrument], meta: dict[str, Any]) -> None:
        """Start a recording, or go on with it after the watcher came back."""
        self._writers[directory] = RecordingWriter(Path(directory), instruments, meta)
        self._layouts[directory] = features_of(meta).layout
        if self._cold is not None:
            self._cold.open(directory, instruments)

    def write(
        self,
        directory: str,
        rows: Rows,
        boundaries: Sequence[Boundary],
        probabilities: Sequence[NDArray[np.float32] | None],
        verdicts: Sequence[Sequence[Mapping[str, Any]] | None],
        policies: Sequence[bytes | None],
        journal: Part | None = None,
    ) -> int:
        """Keep a batch; returns how many rows are on disk. See `RecordingWriter`."""
        writer = self._writers[directory]
        if journal is not None:
            writer.write_journal(journal)
        writer.write(rows)
        writer.write_boundaries(boundaries, probabilities, verdicts, policies)
        self._rows += len(rows)
        if self._cold is not None:
            layout = self._layouts[directory]
            self._cold.write(directory, rows, boundaries, layout.names, layout.fingerprint)
        return self._rows

    def snapshot(self, directory: str, seq: int, blob: bytes) -> None:
        """Keep the engine's snapshot as it was after the row `seq`."""
        self._writers[directory].write_snapshot(seq, blob)

    def close(self, directory: str) -> None:
        """This is all: the recording is whole."""
        self._writers[directory].close()
        if self._cold is not None:
            self._cold.close(directory)

    def status(self) -> dict[str, Any]:
        """Directories and rows written, and how the cold store does."""
        cold = {"state": "off"} if self._cold is None else self._cold.status()
        return {"directories": sorted(self._writers), "rows": self._rows, "cold": cold}


RecorderActor = ray.remote(Recorder)
