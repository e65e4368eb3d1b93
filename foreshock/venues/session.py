"""What every venue's session is: bytes and events in, rows out, no I/O (the shell does that).

A session owns the *sequenced input* of its symbols: everything it returns is numbered and stamped
in order, and whatever the engine is to react to goes through it, timers and cut connections too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from foreshock.market.instruments import Instrument
from foreshock.market.rows import BOOK, TAPE, Rows

# Bits of a set of stream families.
BOOK_FAMILY: Final = 1 << BOOK
TAPE_FAMILY: Final = 1 << TAPE


@dataclass(frozen=True, slots=True)
class SnapshotRequest:
    """The shell must fetch a depth snapshot of `symbol` with `levels` levels and hand the answer to
    `Session.receive_snapshot`. `attempt` counts from 0 within one epoch, for the back-off."""

    symbol: str
    levels: int
    attempt: int


class Session(Protocol):
    """The session of one venue and market."""

    @property
    def instruments(self) -> tuple[Instrument, ...]:
        """In the order of the rows' symbol index."""

    def start(self, arrival_ns: int) -> Rows:
        """The first rows of a session: every symbol's epochs."""

    def receive(self, frames: Sequence[bytes], arrival_ns: NDArray[np.int64]) -> Rows:
        """Rows of a micro-batch of frames, each with its arrival. Never raises on bad frames: they
        are counted in `counts` and dropped."""

    def receive_snapshot(self, symbol: str, body: bytes, levels: int, arrival_ns: int) -> Rows:
        """Rows of a REST depth answer: the snapshot, the held diffs that join it, and the epoch
        that becomes SYNCED; none where it cannot join (then `wanted` asks again)."""

    def timer(self, arrival_ns: int) -> Rows:
        """A timer row, and the epochs of books and tapes that fell silent."""

    def connection(
        self, number: int, state: int, families: int, symbols: Sequence[str], offset_ns: int,
        arrival_ns: int,
    ) -> Rows:  # fmt: skip
        """A connection row; behind a cut one, the epochs of all that nobody carries any more.

        CONNECTED says that connection `number` carries these families of these symbols from now on,
        CUT that it does no more. Two connections may carry the same at once, each with a number of
        its own: what both deliver is one stream of rows, and the cut of either breaks no epoch. A
        shell that changes sockets under one number need not say so at all."""

    def resync(self, symbol: str, reason: int, arrival_ns: int) -> Rows:
        """Distrust a book from outside: crossed, or out of the range that is known."""

    def refresh(self, symbol: str) -> None:
        """Ask for a snapshot of a SYNCED book, to be joined without a new epoch."""

    def wanted(self) -> list[SnapshotRequest]:
        """Snapshots to fetch now; each is named once, until it came or `snapshot_failed`."""

    def snapshot_failed(self, symbol: str) -> None:
        """The fetch came to nothing; `wanted` will name it again."""

    def streams(self) -> list[str]:
        """Names of the streams to subscribe."""

    def receive_answer(self, kind: str, symbol: str, body: bytes, arrival_ns: int) -> Rows:
        """Rows of any other REST answer (`venues.wire.Request.kind`): metrics, the venue's list of
        instruments. Rubbish is counted and dropped."""

    def context(self, boundary_ns: int, known_ns: int, body: bytes, arrival_ns: int) -> Rows:
        """CONTEXT rows of what the other symbols did, or of slow series: CONTEXT_VALUE as bytes
        (market/context.py), symbols by this session's indices. `boundary_ns` is as of when, 0 for a
        slow series; `known_ns` when it became known. Raises RowError on anything else."""

    def silent(self) -> list[str]:
        """Streams that say nothing although their own rate says that they should, as of the last
        timer; each is named once, until it spoke again. The shell takes them anew."""

    @property
    def counts(self) -> dict[str, int]:
        """Frames by what became of them (`ok`, `malformed`, …)."""
