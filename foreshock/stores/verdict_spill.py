"""Verdicts on disk, while the ledger is away: lines of JSON, in the order in which they came.

Each owner appends to a file of its own, locked as long as it lives, and synced before `append`
returns. Whoever delivers takes the files of dead owners too, the oldest first: so what one process
spilled reaches the ledger through the next. A file goes when all of it was taken; what is handed
out twice does no harm to a ledger that counts an id once.
"""

from __future__ import annotations

import fcntl
import logging
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import orjson

from foreshock.errors import StoreError

_LOG = logging.getLogger(__name__)


class VerdictSpill:
    """The spill in a folder, made when it is first needed. For one thread."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._own: IO[bytes] | None = None
        self._path = folder
        self.waiting = sum(1 for path in self._paths() for _ in _bodies(path))

    def append(self, bodies: Iterable[Mapping[str, Any]]) -> None:
        """Keep them until they are delivered. Raises StoreError where the disk refuses, and then
        none of them counts as kept."""
        lines = [orjson.dumps(body) + b"\n" for body in bodies]
        try:
            own = self._own or self._open()
            start = own.tell()
            try:
                own.write(b"".join(lines))
                own.flush()
                os.fsync(own.fileno())
            except OSError:
                os.ftruncate(own.fileno(), start)
                raise
        except OSError as error:
            raise StoreError(f"{self._folder} cannot be written: {error}") from error
        self.waiting += len(lines)

    def batches(self, size: int) -> Iterator[list[dict[str, Any]]]:
        """What waits, oldest first, at most `size` at a time. Asking for the next says that the
        last was delivered."""
        for path in self._paths():
            ours = path == self._path
            held = self._own if ours else _locked(path)
            if held is None:
                continue  # its owner lives and delivers it
            try:
                batch: list[dict[str, Any]] = []
                for body in _bodies(path):
                    batch.append(body)
                    if len(batch) == size:
                        yield batch
                        self.waiting -= len(batch)
                        batch = []
                if batch:
                    yield batch
                    self.waiting -= len(batch)
                path.unlink(missing_ok=True)
                if ours:
                    self._own, self._path = None, self._folder
                    held.close()
            finally:
                if not ours:
                    held.close()
        if not self._paths():
            self.waiting = 0

    def close(self) -> None:
        """Leave what waits to the next owner."""
        if self._own is not None:
            self._own.close()
            self._own = None

    def _paths(self) -> list[Path]:
        return sorted(self._folder.glob("*.jsonl"))

    def _open(self) -> IO[bytes]:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._path = self._folder / f"{time.time_ns()}-{os.getpid()}.jsonl"
        self._own = self._path.open("ab")
        fcntl.flock(self._own, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return self._own


def _locked(path: Path) -> IO[bytes] | None:
    """The file of a dead owner, ours as long as it is open; None where its owner lives."""
    try:
        found = path.open("rb")
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(found, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        found.close()
        return None
    return found


def _bodies(path: Path) -> Iterator[dict[str, Any]]:
    """The whole lines of a file; its owner may have died in the middle of the last one."""
    try:
        with path.open("rb") as lines:
            for line in lines:
                try:
                    if line.endswith(b"\n"):
                        yield orjson.loads(line)
                except orjson.JSONDecodeError:
                    _LOG.warning("%s holds a damaged line: %r", path, line[:80])
    except FileNotFoundError:
        return
