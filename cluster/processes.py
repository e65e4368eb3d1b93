"""Processes below this one: what they are, and their end for certain.

Ray's own shutdown may leave some of them to themselves: agents whose raylet was killed, what a
crashed worker had started, a job that runs on."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

# Process id → start time in ticks since boot: an id alone may be another's by now.
Family = Mapping[int, int]

_PARENT, _STARTED = 1, 19  # fields of /proc/<pid>/stat behind the name
_LOOK_EVERY_S: Final = 0.05
_KILL_S: Final = 5.0  # even that takes the kernel a moment


def descendants(root: int | None = None) -> dict[int, int]:
    """Every process below `root`, or below this one. Linux only: elsewhere there is none."""
    below: dict[int, list[tuple[int, int]]] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        fields = _stat(int(entry.name))
        if fields:
            parent, started = int(fields[_PARENT]), int(fields[_STARTED])
            below.setdefault(parent, []).append((int(entry.name), started))
    found: dict[int, int] = {}
    waiting = [os.getpid() if root is None else root]
    while waiting:
        for pid, started in below.get(waiting.pop(), []):
            found[pid] = started
            waiting.append(pid)
    return found


def living(family: Family) -> list[int]:
    """Those of them that still run; one that is dead and not yet fetched does not."""
    found = []
    for pid, started in family.items():
        fields = _stat(pid)
        if fields and int(fields[_STARTED]) == started and fields[0] not in "ZX":
            found.append(pid)
    return found


def end(family: Family, patience_s: float) -> list[int]:
    """Wait until they have ended, then kill what has not. Returns whom it had to kill."""
    left = _wait(family, patience_s)
    for pid in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    _wait(family, _KILL_S)
    return left


def _wait(family: Family, patience_s: float) -> list[int]:
    until_s = time.monotonic() + patience_s
    while (left := living(family)) and time.monotonic() < until_s:
        time.sleep(_LOOK_EVERY_S)
    return left


def _stat(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
