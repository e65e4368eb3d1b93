"""The first two stages of a reconciliation: are the raw frames what was written, and does the
session make of them the rows that were recorded?

Recorded and remade rows are walked in step as the words that they are; only where they differ is it
looked up which row, symbol and field that is. The engine is then fed the recorded rows, so that a
difference here is told here and not once more in every later stage.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from foreshock.errors import RecordingError
from foreshock.market.clock import SECOND_NS
from foreshock.market.rows import KIND_NAMES, ROW, WORDS, Rows, as_words, empty_rows, heads
from foreshock.replay.compare import FRAMES, ROWS, Difference, Reconciliation
from foreshock.replay.tap import rows_of_journal
from foreshock.stores.journal import Entry
from foreshock.stores.recordings import Recording
from foreshock.venues.registry import venue_of


def compare_journal(recording: Recording, session: Any, found: Reconciliation) -> None:
    """Remake the rows of `recording` from its journal with a fresh `session`, and note in `found`
    what differs. Behind a hole in the journal nothing is compared: the session's state is not
    known there, and `found.words` says so."""
    symbols = [instrument.symbol for instrument in recording.instruments]
    walk = _Walk(recording.rows(), symbols, found)
    holes: list[int] = []
    try:
        for _, rows in rows_of_journal(session, _sound(recording, found, holes)):
            if not walk.take(rows):
                return
        if not holes:
            walk.end(recording.closed)
    except RecordingError as error:
        stage = ROWS if str(recording.directory / "rows") in str(error) else FRAMES
        found.differ(Difference(stage, -1, walk.at_ns, None, "file", str(error), "unreadable"))


def session_like(recording: Recording) -> Any:
    """A fresh session like the one that was recorded. Raises InstrumentError on a market that
    nobody here speaks."""
    meta, instruments = recording.meta, recording.instruments
    return venue_of(instruments[0].market).session(
        instruments,
        tape=str(meta.get("tape", "trade")),
        stale_after_ns=int(meta.get("stale_after_ns", 15 * SECOND_NS)),
    )


class FromFrames(Recording):
    """The same recording, its rows made anew from the journal instead of read.

    make_session   a fresh session like the recorded one
    """

    def __init__(self, recording: Recording, make_session: Callable[[], Any]) -> None:
        super().__init__(
            recording.directory, recording.instruments, recording.meta, recording.version
        )
        self._make_session = make_session

    def rows(self, batch_rows: int = 65_536, after_seq: int = -1) -> Iterator[Rows]:
        """As `Recording.rows`. Raises RecordingError where raw frames are missing or damaged."""
        waiting: list[Rows] = []
        for _, rows in rows_of_journal(self._make_session(), self._whole()):
            waiting.append(rows[_behind(rows, after_seq) :])
            if sum(map(len, waiting)) >= batch_rows:
                yield np.concatenate(waiting)
                waiting.clear()
        if rest := [rows for rows in waiting if len(rows)]:
            yield np.concatenate(rest)

    def _whole(self) -> Iterator[Entry]:
        for position, entry in enumerate(self.journal()):
            if entry.position != position or not entry.intact:
                raise RecordingError(
                    f"{self.directory}: raw frames are missing or damaged at entry {position}:"
                    " replay its rows instead"
                )
            yield entry


def _behind(rows: Rows, seq: int) -> int:
    """Index of the first row behind `seq`."""
    at = heads(rows)
    later = at[rows["seq"][at] > seq]
    return int(later[0]) if len(later) else len(rows)


def _sound(recording: Recording, found: Reconciliation, holes: list[int]) -> Iterator[Entry]:
    """The entries up to the first hole, each looked at."""
    for position, entry in enumerate(recording.journal()):
        if entry.position != position:
            missing = entry.position - position
            holes.append(missing)
            found.differ(
                Difference(
                    FRAMES, position, entry.arrival_ns, None,
                    f"{missing} in front of entry {entry.position}", "missing", "needed",
                ),
                missing,
            )  # fmt: skip
            found.words.append(
                f"{missing} raw frames are missing at entry {position}: behind it the session's"
                " rows are taken as recorded"
            )
            return
        found.compared[FRAMES] += 1
        if not entry.intact:
            found.differ(
                Difference(
                    FRAMES, entry.position, entry.arrival_ns, None, entry.call,
                    f"checksum {entry.crc}", "altered since",
                )
            )  # fmt: skip
        yield entry


class _Walk:
    """Recorded and remade rows in step."""

    def __init__(self, recorded: Iterator[Rows], symbols: list[str], found: Reconciliation) -> None:
        self._recorded, self._symbols, self._found = recorded, symbols, found
        self._was = empty_rows()
        self._more = 0  # remade behind the last recorded one
        self.at_ns = 0

    def take(self, now: Rows) -> bool:
        """Compare the next remade rows; False where the two can be compared no further."""
        while len(now):
            if not len(self._was):
                self._was = next(self._recorded, self._was)
                if not len(self._was):
                    self._more += len(now)
                    return True
            n = min(len(now), len(self._was))
            was_words, now_words = as_words(self._was[:n]), as_words(now[:n])
            unequal = (was_words != now_words).any(axis=1)
            k = int(np.argmax(unequal)) if unequal.any() else n
            if k == n:
                self.at_ns = int(now["arrival_ns"][n - 1]) if n == len(now) else self.at_ns
                self._found.compared[ROWS] += n
                self._was, now = self._was[n:], now[n:]
                continue
            at = heads(now)
            head = int(at[np.searchsorted(at, k, side="right") - 1])
            self._found.compared[ROWS] += head
            if not self._aligned(head, now):
                hole = self._behind_hole(head, now)
                if hole is None:
                    return False
                now = hole
                continue
            stop = head + 1 + int(now["count"][head])
            self._tell(head, k, now)
            self._was, now = self._was[stop:], now[stop:]
        return True

    def end(self, closed: bool) -> None:
        """Rows that only one of the two has. A recorder that was killed may have kept rows whose
        frames are lost, or the other way round; one that closed its recording has not."""
        left = len(self._was) + sum(map(len, self._recorded))
        if (left or self._more) and closed:
            self._found.differ(
                Difference(
                    ROWS, -1, self.at_ns, None, "rows at the end", str(left), str(self._more)
                ),
                left + self._more,
            )
        elif left:
            self._found.words.append(f"the raw frames of the last {left} rows are lost")
        elif self._more:
            self._found.words.append(
                f"the last {self._more} rows are lost; their raw frames are not"
            )

    def _aligned(self, head: int, now: Rows) -> bool:
        """Whether both have the same row there, but for its payload; the whole of it at hand."""
        if head >= len(self._was):
            return False
        was = self._was[head]
        return bool(
            was["seq"] == now["seq"][head]
            and was["count"] == now["count"][head]
            and head + int(was["count"]) < len(self._was)
        )

    def _behind_hole(self, head: int, now: Rows) -> Rows | None:
        """The remade rows from where the recorded ones go on, where these have a hole (which the
        engine's stages tell); None where the two lost each other."""
        seq = int(self._was["seq"][head]) if head < len(self._was) else -1
        if seq > int(now["seq"][head]):
            at = heads(now)
            self._was = self._was[head:]
            later = at[(at >= head) & (now["seq"][at] >= seq)]
            return now[later[0] :] if len(later) else now[:0]
        self._tell(head, head, now)
        self._found.words.append(
            "recorded and remade rows lost each other: rows behind it are not compared"
        )
        return None

    def _tell(self, head: int, k: int, now: Rows) -> None:
        was_row, now_row = self._was[k], now[k]
        if k == head:
            name = next(n for n in ROW.names or () if was_row[n] != now_row[n])
            recorded, replayed = was_row[name], now_row[name]
        else:
            was_words = as_words(self._was[k : k + 1]).reshape(WORDS)
            now_words = as_words(now[k : k + 1]).reshape(WORDS)
            column = int(np.flatnonzero(was_words != now_words)[0])
            name = f"level {(k - head - 1) * WORDS // 2 + column // 2}"
            name += " size" if column % 2 else " price"
            recorded, replayed = was_words[column], now_words[column]
        row = now[head]
        s = int(row["symbol"])
        kind = KIND_NAMES.get(int(row["kind"]), str(row["kind"]))
        self._found.differ(
            Difference(
                ROWS, int(row["seq"]), int(row["arrival_ns"]),
                self._symbols[s] if 0 <= s < len(self._symbols) else None,
                f"{kind} {name}", str(recorded), str(replayed),
            )
        )  # fmt: skip
