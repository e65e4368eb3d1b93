"""Books that wait for a snapshot: the diffs held for it, the requests, and the join.

One request at a time for a book. Whatever comes to nothing (a fetch that failed, an answer too old
for what was held, as a cache gives again and again) raises the attempt, by which the shell backs
off; a book that breaks as soon as it was joined goes on with the back-off of the last time.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from foreshock.market.clock import SECOND_NS
from foreshock.market.integrity import BREAK, REPEAT, follow
from foreshock.market.rows import HELD, REJOINED, Rows, as_words
from foreshock.venues.binance_frames import held_heads
from foreshock.venues.session import SnapshotRequest

MAX_HELD: Final = 4_096  # diffs kept of a symbol while its snapshot is on its way (7 min at 10/s)
SHORT_LIVED_NS: Final = 60 * SECOND_NS


@dataclass(slots=True)
class Wait:
    """A book that waits: the diffs since, and the state of its request. `refresh_id` is where the
    book stood when it asked for a snapshot although nothing broke; -1 for a broken book."""

    held: list[Rows] = field(default_factory=list)
    asked: bool = False
    attempt: int = 0
    refresh_id: int = -1


class Resyncs:
    """The waiting books of a session, by symbol index. All of them wait at the start."""

    def __init__(self, n_symbols: int, rule: int) -> None:
        self._rule = rule
        self._n = n_symbols
        self._waits: dict[int, Wait] = {s: Wait() for s in range(n_symbols)}
        self._joined: dict[int, tuple[int, int]] = {}  # when a book was, and its next attempt

    def __contains__(self, s: int) -> bool:
        return s in self._waits

    def __len__(self) -> int:
        return len(self._waits)

    def __getitem__(self, s: int) -> Wait:
        return self._waits[s]

    def begin(self, s: int, arrival_ns: int, refresh_id: int = -1) -> Wait:
        """A fresh wait, with nothing held."""
        joined_ns, attempt = self._joined.get(s, (0, 0))
        lived_ns = arrival_ns - joined_ns
        if refresh_id >= 0 or lived_ns >= SHORT_LIVED_NS:
            attempt = 0
        self._waits[s] = Wait(attempt=attempt, refresh_id=refresh_id)
        return self._waits[s]

    def hold(self, rows: Rows, arrival_ns: int) -> None:
        """Keep the diffs of books that wait, and of those that broke in these rows."""
        keep = np.zeros(self._n, np.bool_)
        keep[list(self._waits)] = True
        for head in held_heads(as_words(rows), keep).tolist():
            s = int(rows["symbol"][head])
            wait = self._waits[s] if s in self._waits else self.begin(s, arrival_ns)
            wait.held.append(rows[head : head + 1 + int(rows["count"][head])].copy())
            if len(wait.held) > MAX_HELD:
                del wait.held[: MAX_HELD // 2]

    def wanted(
        self, symbols: Sequence[str], levels: int, but: Container[int]
    ) -> list[SnapshotRequest]:
        """Snapshots to fetch now: of books that have held a diff since (an earlier snapshot could
        not be joined), or that stand and want a fresh one."""
        out = []
        for s, wait in self._waits.items():
            if s in but or wait.asked or not (wait.held or wait.refresh_id >= 0):
                continue
            wait.asked = True
            out.append(SnapshotRequest(symbols[s], levels, wait.attempt))
        return out

    def failed(self, s: int) -> None:
        """The request came to nothing: it will be named again, with the next attempt."""
        if s in self._waits:
            self._waits[s].asked = False
            self._waits[s].attempt += 1

    def join(self, s: int, snapshot: Rows, arrival_ns: int) -> tuple[list[Rows], int, int] | None:
        """(the snapshot and the held diffs that follow it, the id where the book stands, 1 if the
        next diff is the first behind the snapshot); None where it cannot be joined."""
        wait = self._waits[s]
        known, first = int(snapshot["id"][0]), 1
        if known < wait.refresh_id:  # the diffs between the two were not kept
            self.failed(s)
            return None
        blocks = [snapshot]
        for position, held in enumerate(wait.held):
            head = held[0]
            verdict = follow(
                first, known, int(head["id2"]), int(head["id"]), int(head["a"]), self._rule
            )
            if verdict == BREAK:
                # Too old for what was held, or a gap in what was held: only what came behind the
                # break can still join the next snapshot.
                del wait.held[:position]
                self.failed(s)
                return None
            if verdict != REPEAT:
                again = held.copy()
                again["flags"][0] = (int(again["flags"][0]) & ~HELD) | REJOINED
                blocks.append(again)
                known, first = int(head["id"]), 0
        del self._waits[s]
        self._joined[s] = (arrival_ns, wait.attempt + 1)
        return blocks, known, first
