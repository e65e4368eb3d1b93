"""What a watcher keeps for the recorder: rows, what the engine said and was answered, raw frames.

All of it waits in memory and goes over every `FLUSH_S`. Recording is the first thing that an
overloaded watcher gives up: the hole is counted, told, and followed by a snapshot, so that a replay
can go on behind it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import ray

from foreshock.engine.outcomes import Boundary
from foreshock.engine.step import Engine
from foreshock.market.clock import SECOND_NS, Clock
from foreshock.market.instruments import Instrument
from foreshock.market.rows import Rows, empty_rows
from foreshock.replay.tap import Tap

log = logging.getLogger(__name__)

FLUSH_S: Final = 2.0
MAX_KEPT_ROWS: Final = 2_000_000  # rows that wait for a recorder; beyond it recording is shed


@dataclass(slots=True)
class Said:
    """A boundary that waits to be recorded, until its answer came or is waited for no more."""

    boundary: Boundary
    answer: Mapping[str, Any] = field(default_factory=dict)
    settled: bool = False


class Keeper:
    """Hands what a watcher did to `recorder`, or, where that is None, keeps nothing.

    tap     the session with its journal
    meta    of the recording, asked for when it is opened
    """

    def __init__(
        self, recorder: Any, directory: Path | None, instruments: Sequence[Instrument],
        tap: Tap | None, engine: Engine, clock: Clock, meta: Callable[[], dict[str, Any]],
        snapshot_every_s: float,
    ) -> None:  # fmt: skip
        self.keeps = recorder is not None and directory is not None
        self.shedding = False
        self.shed_rows = 0
        self._recorder, self._place = recorder, str(directory)
        self._instruments, self._meta = tuple(instruments), meta
        self._tap, self._engine, self._clock = tap, engine, clock
        self._snapshot_every_ns = int(snapshot_every_s * SECOND_NS)
        self._snapshot_due_ns = 0
        self._open = False
        self._rows: list[Rows] = []
        self._n_rows = 0
        self._said: deque[Said] = deque()
        self._flushing = asyncio.Lock()

    @property
    def shed_entries(self) -> int:
        """Raw frames and other inputs that the journal has not."""
        return 0 if self._tap is None else self._tap.shed

    @property
    def _full(self) -> bool:
        return self.shedding or self._n_rows >= MAX_KEPT_ROWS

    def rows(self, batch: Rows) -> None:
        """Keep a batch that goes into the engine."""
        if not self.keeps:
            return
        if self._tap is not None:
            self._tap.keeping = not self._full
        if self._full:
            self._shed(len(batch))
        else:
            self._rows.append(batch)
            self._n_rows += len(batch)

    def boundary(self, boundary: Boundary) -> Said:
        """Keep a boundary; the caller settles it."""
        said = Said(boundary)
        if self.keeps and not self._full:
            self._said.append(said)
        return said

    async def run(self) -> None:
        """Flush now and then, for ever."""
        while True:
            await asyncio.sleep(FLUSH_S)
            await self.flush()

    async def flush(self) -> None:
        """Hand over what waits; boundaries in order, none before its answer."""
        if not self.keeps:
            return
        async with self._flushing:
            rows, n_rows = self._rows, self._n_rows
            self._rows, self._n_rows = [], 0
            part = None if self._tap is None else self._tap.take()
            said: list[Said] = []
            while self._said and self._said[0].settled:
                said.append(self._said.popleft())
            if not rows and not said and part is None:
                return
            answers = [one.answer for one in said]
            place, recorder = self._place, self._recorder
            try:
                if not self._open:
                    await recorder.open.remote(place, self._instruments, self._meta())
                    self._open = True
                await recorder.write.remote(
                    place,
                    np.concatenate([empty_rows(), *rows]),
                    [one.boundary for one in said],
                    [answer.get("scores") for answer in answers],
                    [answer.get("said") for answer in answers],
                    [answer.get("policy") for answer in answers],
                    part,
                )
                if self._clock.now_ns() >= self._snapshot_due_ns:
                    seq, blob = self._engine.last_seq, self._engine.snapshot()
                    await recorder.snapshot.remote(place, seq, blob)
                    self._snapshot_due_ns = self._clock.now_ns() + self._snapshot_every_ns
            except ray.exceptions.RayError as error:
                self._open = False  # its successor has opened nothing yet
                self._shed(n_rows)
                log.warning("recorder: %s", error)

    async def finish(self) -> None:
        """Hand over the last, and say that this is all."""
        await self.flush()
        if self.keeps and self._open and not self._rows:
            try:
                await self._recorder.close.remote(self._place)
            except ray.exceptions.RayError as error:
                log.warning("recorder: %s", error)

    def _shed(self, rows: int) -> None:
        self.shed_rows += rows
        self._snapshot_due_ns = 0
