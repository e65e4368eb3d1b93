"""The ledger of trials on disk: JSON lines, appended and never altered.

A line is a JSON object and tells of one trial; the caller says what is in it. Several processes may
append: a lock is held for the time of one write. A line that was cut off by a crash is the last
one, is skipped when read, and is ended before the next is written.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from foreshock.errors import StoreError


class TrialStore:
    """The file at `path`; it and its directory come into being with the first line."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, lines: Iterable[Mapping[str, Any]]) -> int:
        """Write lines at the end, on disk when this returns; says how many. Raises StoreError."""
        bodies = [json.dumps(line, sort_keys=True).encode() + b"\n" for line in lines]
        if not bodies:
            return 0
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a+b") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                size = file.seek(0, os.SEEK_END)
                if size:
                    file.seek(size - 1)
                    if file.read(1) != b"\n":
                        bodies.insert(0, b"\n")
                file.write(b"".join(bodies))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise StoreError(f"the trials in {self.path} cannot be written: {error}") from error
        return len(bodies) - (bodies[0] == b"\n")

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """All lines, oldest first; none where nothing was tried. Raises StoreError."""
        try:
            text = self.path.read_bytes() if self.path.exists() else b""
        except OSError as error:
            raise StoreError(f"the trials in {self.path} cannot be read: {error}") from error
        for line in text.split(b"\n"):
            if not line:
                continue
            try:
                yield json.loads(line)
            except ValueError:
                # Cut off by a crash; what came after it was written on a line of its own.
                continue
