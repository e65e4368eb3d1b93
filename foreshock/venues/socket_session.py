"""The session of venues whose book snapshots come over the socket: facts in, rows out.

What differs between such venues is their spelling, and that is a `Dialect`. What a diff does to a
book is the same everywhere:

1. A diff whose `previous_id` is where the book stands FOLLOWS.
2. One that ends at or before it says nothing new (REPEAT), unless the venue's own time says that it
   is later than what is known: then the venue counts anew, which is a BREAK.
3. Anything else is a BREAK: a new epoch, RESYNCING, and the stream is taken anew for a snapshot.
4. A snapshot of a book that waits joins it. One that is newer than a book that stands, or that says
   that the venue started again, replaces it in a new epoch: what lay between was never seen. An
   older one is a copy, of the second socket of an overlap.
5. A snapshot without both sides, or crossed, joins nothing.

Trades of these venues carry no ids that count up by one, so that a loss inside an open connection
cannot be seen; copies are known by the last REMEMBERED keys.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from foreshock.errors import InstrumentError
from foreshock.market.clock import SECOND_NS
from foreshock.market.instruments import Instrument
from foreshock.market.integrity import (
    S_BOOK_EPOCH,
    S_BOOK_STATE,
    S_LAST_ID,
    S_TAPE_EPOCH,
    S_TAPE_STATE,
)
from foreshock.market.rows import (
    ALL,
    BOOK,
    CONNECTED,
    CONNECTION,
    CONTROL,
    CUT,
    REASON_CUT,
    REASON_RESUMED,
    REASON_SILENT,
    REASON_START,
    RESYNCING,
    STALE,
    SYNCED,
    TAPE,
    TIMER,
    Rows,
    empty_rows,
)
from foreshock.venues.fact_rows import FAMILY_STREAMS, NEVER_NS, FactRows
from foreshock.venues.facts import (
    RefusedError,
)
from foreshock.venues.session import SnapshotRequest
from foreshock.venues.silence import (
    DEPTH_STREAM,
    TAPE_STREAM,
    silent,
    watch_anew,
)

ASK_AGAIN_NS: Final = 10 * SECOND_NS  # a snapshot that was asked for and did not come
MAX_FRAME_BYTES: Final = 4_000_000


class SocketSession(FactRows):
    """One market's symbols; see `foreshock.venues.session.Session`.

    Parameters
    ----------
    instruments      all of the dialect's market; their order is the rows' symbol index
    stale_after_ns   the floor of the silence of a depth stream (silence.py)
    contracts        base currency per contract by symbol, where sizes count contracts and it is
                     known; else the venue's list says it (`receive_answer`), and until then a
                     symbol's sizes cannot be read
    """

    @property
    def instruments(self) -> tuple[Instrument, ...]:
        """As the venue says they are now, in the order of the rows' symbol index."""
        return tuple(self._instruments)

    @property
    def counts(self) -> dict[str, int]:
        """Frames by what became of them."""
        return dict(self._counts)

    def states(self) -> NDArray[np.int64]:
        """Book state and epoch, tape epoch, int64 (n, 3)."""
        return self._sync[:, [S_BOOK_STATE, S_BOOK_EPOCH, S_TAPE_EPOCH]].copy()

    def streams(self) -> list[str]:
        """Names of the streams to subscribe."""
        return [stream.name for stream in self._streams]

    def book_id(self, symbol: str) -> int:
        """Last update id of a book, for tests and tools."""
        return int(self._sync[self._index[symbol], S_LAST_ID])

    # What does not come from frames

    def start(self, arrival_ns: int) -> Rows:
        """Every symbol's first epochs: the book RESYNCING, the tape SYNCED."""
        self._stamp(arrival_ns)
        for s in range(len(self._instruments)):
            self._epoch(s, BOOK, RESYNCING, REASON_START, anew=True)
            self._epoch(s, TAPE, SYNCED, REASON_START, anew=True)
        return self._page.take()

    def timer(self, arrival_ns: int) -> Rows:
        """A timer row, and STALE epochs of SYNCED books and tapes that fell silent."""
        now_ns = self._stamp(arrival_ns)
        self._page.row(now_ns, TIMER, ALL)
        now_silent = silent(self._rates, now_ns)
        now_silent[list(self._halted)] = False
        for s, kind in np.argwhere(now_silent & ~self._told_silent).tolist():
            if name := self._names.get((self._instruments[s].symbol, kind)):
                self._silent_streams.append(name)
        self._told_silent = now_silent
        for column, stream, family in (
            (S_BOOK_STATE, DEPTH_STREAM, BOOK), (S_TAPE_STATE, TAPE_STREAM, TAPE),
        ):  # fmt: skip
            stale = (self._sync[:, column] == SYNCED) & now_silent[:, stream]
            for s in np.flatnonzero(stale).tolist():
                self._epoch(s, family, STALE, REASON_SILENT, anew=False)
        return self._page.take()

    def silent(self) -> list[str]:
        """Streams that fell silent since the last call, as of the last timer."""
        out, self._silent_streams = self._silent_streams, []
        return out

    def connection(
        self, number: int, state: int, families: int, symbols: Sequence[str], offset_ns: int,
        arrival_ns: int,
    ) -> Rows:  # fmt: skip
        """A connection row. Behind a cut one, new epochs for all that nobody carries now; what is
        connected brings its snapshots by itself."""
        now_ns = self._stamp(arrival_ns)
        self._page.row(now_ns, CONNECTION, ALL, id=number, a=state, b=families, c=offset_ns)
        carried = [self._index[symbol] for symbol in symbols]
        if state == CONNECTED:
            self._carriers.connected(number, families, carried)
            for s in carried:
                self._connected(s, families)
        elif state == CUT:
            for s, family in self._carriers.cut(number, families, carried):
                watch_anew(self._rates, s, FAMILY_STREAMS[family], 0)
                if family == BOOK:
                    self._distrust(s, REASON_CUT)
                    self._due_ns[s] = NEVER_NS
                else:
                    self._epoch(s, TAPE, STALE, REASON_CUT, anew=True)
        return self._page.take()

    def _connected(self, s: int, families: int) -> None:
        for family, streams in FAMILY_STREAMS.items():
            if not families & (1 << family) or s in self._halted:
                continue
            for stream in streams:
                known = (self._instruments[s].symbol, stream) in self._names
                if known and self._rates[s, stream, 0] == 0:
                    watch_anew(self._rates, s, (stream,), self._last_ns)
            if family == BOOK and self._sync[s, S_BOOK_STATE] == RESYNCING:
                self._due_ns[s] = self._last_ns + ASK_AGAIN_NS
            elif family == TAPE and self._sync[s, S_TAPE_STATE] == STALE:
                self._epoch(s, TAPE, SYNCED, REASON_RESUMED, anew=False)

    def context(self, boundary_ns: int, known_ns: int, body: bytes, arrival_ns: int) -> Rows:
        """Context rows: what the other symbols did, or slow series (`Session.context`)."""
        self._page.context(
            self._stamp(arrival_ns), body, len(self._instruments), boundary_ns, known_ns
        )
        return self._page.take()

    def control(self, control_field: int, value: int, arrival_ns: int) -> Rows:
        """A control row (market/rows.py)."""
        self._page.row(self._stamp(arrival_ns), CONTROL, ALL, a=control_field, b=value)
        return self._page.take()

    def resync(self, symbol: str, reason: int, arrival_ns: int) -> Rows:
        """Distrust one book from outside; its stream is asked for anew."""
        s = self._index[symbol]
        self._stamp(arrival_ns)
        if self._sync[s, S_BOOK_STATE] != RESYNCING:
            self._distrust(s, reason)
        return self._page.take()

    def refresh(self, symbol: str) -> None:
        """Ask for a snapshot of a SYNCED book; it replaces the book without a new epoch."""
        s = self._index[symbol]
        if self._sync[s, S_BOOK_STATE] != RESYNCING and s not in self._refreshing:
            self._refreshing.add(s)
            self._due_ns[s] = self._last_ns

    def wanted(self) -> list[SnapshotRequest]:
        """Books whose stream must be taken anew now, to bring a snapshot. One that does not come is
        asked for again, later each time."""
        out = []
        for s, due_ns in enumerate(self._due_ns):
            if due_ns > self._last_ns or s in self._halted:
                continue
            symbol, attempt = self._instruments[s].symbol, self._attempt[s]
            out.append(SnapshotRequest(symbol, self._dialect.levels, attempt))
            self._due_ns[s] = self._last_ns + ASK_AGAIN_NS * 2 ** min(attempt, 5)
            self._attempt[s] = attempt + 1
        return out

    def snapshot_failed(self, symbol: str) -> None:
        """The stream could not be taken anew; `wanted` names it again."""
        s = self._index[symbol]
        if self._sync[s, S_BOOK_STATE] == RESYNCING or s in self._refreshing:
            self._due_ns[s] = self._last_ns

    def receive_snapshot(self, symbol: str, body: bytes, levels: int, arrival_ns: int) -> Rows:
        """No snapshot is asked for over REST: an answer is counted and dropped."""
        self._counts["unsupported"] += 1
        return empty_rows()

    def receive_answer(self, kind: str, symbol: str, body: bytes, arrival_ns: int) -> Rows:
        """Rows of the venue's list of instruments, of metrics and of history."""
        self._stamp(arrival_ns)
        try:
            facts = self._dialect.answer(kind, symbol, body)
            for fact in facts:
                self._apply(fact)
        except RefusedError as refused:
            self._counts[refused.outcome] += 1
        except (ValueError, InstrumentError, ArithmeticError):
            self._counts["malformed"] += 1
        return self._page.take()

    # Frames

    def receive(self, frames: Sequence[bytes], arrival_ns: NDArray[np.int64]) -> Rows:
        """Rows of a micro-batch of frames. Bad frames are counted and dropped, never raised."""
        for frame, stamp in zip(frames, arrival_ns.tolist(), strict=True):
            self._stamp(stamp)
            self._counts[self._frame(frame)] += 1
        return self._page.take()

    def _frame(self, frame: bytes) -> str:
        if len(frame) > MAX_FRAME_BYTES:
            return "oversized"
        try:
            facts = self._dialect.read(frame)
        except RefusedError as refused:
            return refused.outcome
        except (ValueError, RecursionError):
            return "malformed"
        outcome = ""
        for fact in facts:
            try:
                said = self._apply(fact)
            except (ValueError, InstrumentError, ArithmeticError):
                said = "bad_number"
            outcome = "ok" if "ok" in (said, outcome) else outcome or said
        return outcome or "answer"
