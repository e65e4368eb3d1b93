"""A session that keeps a journal of all that is handed to it, and a session driven by one.

    shell ──▶ Tap ──▶ session ──▶ rows              live: the shell sees a session
               └──▶ journal (stores/journal.py)     recorded
    rows_of_journal ──▶ session ──▶ the same rows   replayed: frames, timers, answers, cuts …

A session reads no clock and draws no random number, so the same calls give the same rows, numbers
included; `foreshock reconcile` checks that they did.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

from foreshock.errors import RecordingError
from foreshock.market.rows import Rows
from foreshock.stores.journal import BODY, FRAME, Entry, Part

# Methods of a session whose calls decide which rows it gives. `receive` and `receive_buffer` are
# kept frame by frame; all others of a session only tell what it knows.
CALLS: Final = (
    "start", "receive_snapshot", "receive_answer", "snapshot_failed", "timer", "connection",
    "control", "resync", "refresh", "context",
)  # fmt: skip
MOST_BYTES: Final = 256_000_000  # kept until somebody takes them; beyond it frames are shed


class Tap:
    """`session`, and a journal of its inputs that `take` empties.

    most_bytes   how much the journal may hold: what comes beyond it is not kept, and counted in
                 `shed`. Positions go on, so that the hole is seen
    """

    def __init__(self, session: Any, most_bytes: int = MOST_BYTES) -> None:
        self.session = session
        self.shed = 0
        self.keeping = True
        self._most_bytes = most_bytes
        self._next = 0
        self._last_ns = 0
        self._clear()
        for name in CALLS:
            if hasattr(session, name):
                setattr(self, name, self._tapped(name))

    def __getattr__(self, name: str) -> Any:
        if name == "session":  # asked for before __init__, by copy or pickle
            raise AttributeError(name)
        return getattr(self.session, name)

    def _clear(self) -> None:
        self._first = self._next
        self._bodies: list[Any] = []
        self._lengths: list[NDArray[np.int64]] = []
        self._stamps: list[NDArray[np.int64]] = []
        self._calls: dict[int, tuple[str, str, bool]] = {}
        self._bytes = self._kept = 0

    def _tapped(self, name: str) -> Any:
        method = getattr(self.session, name)
        signature = inspect.signature(method)

        def tapped(*args: Any, **kwargs: Any) -> Any:
            self._note(name, signature.bind(*args, **kwargs).args)
            return method(*args, **kwargs)

        return tapped

    def _note(self, name: str, args: tuple[Any, ...]) -> None:
        body = next((arg for arg in args if isinstance(arg, bytes)), None)
        # By convention the last argument of a call that takes a time is arrival_ns.
        if name not in ("snapshot_failed", "refresh"):
            self._last_ns = max(self._last_ns, int(args[-1]))
        plain = [BODY if isinstance(arg, bytes) else arg for arg in args]
        text = orjson.dumps(plain, option=orjson.OPT_SERIALIZE_NUMPY).decode()
        if self._room(1, len(body or b"")):
            self._calls[self._next - self._first] = (name, text, body is not None)
            self._keep([body or b""], np.array([self._last_ns], np.int64))
        self._next += 1

    def receive(self, frames: Sequence[bytes], arrival_ns: NDArray[np.int64]) -> Rows:
        """`Session.receive`, kept."""
        if len(frames):
            if self._room(len(frames), sum(map(len, frames))):
                self._keep(frames, arrival_ns)
            self._next += len(frames)
            self._last_ns = max(self._last_ns, int(arrival_ns[-1]))
        rows: Rows = self.session.receive(frames, arrival_ns)
        return rows

    def receive_buffer(
        self, buf: NDArray[np.uint8], starts: NDArray[np.int64], arrival_ns: NDArray[np.int64]
    ) -> Rows:
        """`BinanceSession.receive_buffer`, kept."""
        n = len(arrival_ns)
        if n:
            lo, hi = int(starts[0]), int(starts[-1])
            if self._room(n, hi - lo):
                self._bodies.append(bytes(buf[lo:hi]))
                self._lengths.append(np.diff(starts))
                self._stamps.append(np.array(arrival_ns, np.int64))
                self._bytes += hi - lo
                self._kept += n
            self._next += n
            self._last_ns = max(self._last_ns, int(arrival_ns[-1]))
        rows: Rows = self.session.receive_buffer(buf, starts, arrival_ns)
        return rows

    def _room(self, entries: int, size: int) -> bool:
        """Whether they can be kept. A part has no hole inside: what is shed, all of what follows is
        shed with it until the part is taken."""
        whole = self._first + self._kept == self._next
        if self.keeping and whole and self._bytes + size <= self._most_bytes:
            return True
        self.shed += entries
        return False

    def _keep(self, bodies: Sequence[bytes], arrival_ns: NDArray[np.int64]) -> None:
        self._bodies.extend(bodies)
        lengths = np.fromiter(map(len, bodies), np.int64, len(bodies))
        self._lengths.append(lengths)
        self._stamps.append(np.array(arrival_ns, np.int64))
        self._bytes += int(lengths.sum())
        self._kept += len(bodies)

    def take(self) -> Part | None:
        """What was kept since the last call, or None for nothing."""
        if not self._stamps:
            self._clear()
            return None
        part = Part(
            self._first,
            np.concatenate(self._stamps),
            np.frombuffer(b"".join(self._bodies), np.uint8),
            np.cumsum(np.concatenate(self._lengths)),
            self._calls,
        )
        self._clear()
        return part


def rows_of_journal(
    session: Any, entries: Iterable[Entry], batch: int = 512
) -> Iterator[tuple[Entry, Rows]]:
    """(the last entry handed over, rows) of a fresh session that is given what `entries` say: the
    same rows for any `batch`, the most frames in one call. Nothing for calls without rows. Raises
    RecordingError on a call that a session does not have."""
    frames: list[bytes] = []
    stamps: list[int] = []
    last: Entry | None = None

    def flush() -> Iterator[tuple[Entry, Rows]]:
        if frames and last is not None:
            rows = session.receive(frames, np.array(stamps, np.int64))
            frames.clear()
            stamps.clear()
            if len(rows):
                yield last, rows

    for entry in entries:
        if entry.call == FRAME:
            frames.append(entry.body or b"")
            stamps.append(entry.arrival_ns)
            last = entry
            if len(frames) >= batch:
                yield from flush()
            continue
        yield from flush()
        rows = _call(session, entry)
        if rows is not None and len(rows):
            yield entry, rows
    yield from flush()


def _call(session: Any, entry: Entry) -> Rows | None:
    method = getattr(session, entry.call, None) if entry.call in CALLS else None
    try:
        args = [entry.body if arg == BODY else arg for arg in orjson.loads(entry.args or "")]
    except orjson.JSONDecodeError as error:
        raise RecordingError(f"entry {entry.position} cannot be read: {error}") from error
    if method is None:
        raise RecordingError(
            f"entry {entry.position} of the journal is a call of {entry.call!r}, which"
            f" {type(session).__name__} does not have: a newer version recorded it"
        )
    if entry.call == "receive_snapshot":
        session.wanted()  # it was asked for, or it would not have come
    rows: Rows | None = method(*args)
    return rows
