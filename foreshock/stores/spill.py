"""What a store that is down would have got: kept on disk, delivered in order when it is back.

    put ──▶ memory (a few batches) ──▶ sink            while the store answers
      └───▶ <directory>/<n>~<table>~<shard>~<seqs>.parquet ──▶ sink   while it does not, and until
                                                         what waits has gone before

`put` returns at once and never waits for the store; one thread delivers. A batch leaves the disk
only after the sink took it; a crash between the two delivers it again, and sinks take the same
batch twice without adding anything: none lost, none twice. Memory holds `memory_bytes` at most, the
disk `disk_bytes`: beyond that the tables of `drop_order` give up their oldest batches, counted.
"""

from __future__ import annotations

import fcntl
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import pyarrow as pa

from foreshock.errors import RecordingError, StoreError
from foreshock.stores.cold import StoreDownError
from foreshock.stores.files import finished, read_table, write_table
from foreshock.stores.schema import Batch

log = logging.getLogger(__name__)

OK: Final = "ok"
DEGRADED: Final = "degraded"


class Sink(Protocol):
    """Whatever takes batches, such as a cold store. The same batch twice adds nothing. Raises
    StoreDownError where it cannot take any now, another StoreError where it never will."""

    def append(self, table: str, data: pa.Table, batch: Batch) -> int:
        """Keep the batch; how many rows it has."""
        ...


@dataclass(frozen=True, slots=True)
class _Waiting:
    number: int
    table: str
    data: pa.Table
    batch: Batch


@dataclass(frozen=True, slots=True)
class _Spilled:
    number: int
    table: str
    bytes: int
    path: Path


class Spill:
    """Stands before a sink. Start it (`start`, or a `with`) for the thread; without, `step`.

    retry_s      how long to wait after the first failure; it doubles up to `retry_most_s`
    Raises StoreError where another process spills to `directory`."""

    def __init__(
        self,
        sink: Sink,
        directory: Path,
        *,
        memory_bytes: int = 64 << 20,
        disk_bytes: int = 8 << 30,
        drop_order: Sequence[str] = (),
        retry_s: float = 0.5,
        retry_most_s: float = 15.0,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self._sink, self._directory, self._now_s = sink, directory, now_s
        self._memory_most, self._disk_most = memory_bytes, disk_bytes
        self._drop_order = tuple(drop_order)
        self._retry_s, self._retry_most_s = retry_s, retry_most_s
        directory.mkdir(parents=True, exist_ok=True)
        self._held = (directory / ".lock").open("w")
        try:
            fcntl.flock(self._held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._held.close()
            raise StoreError(f"another process spills to {directory}") from error
        self._change = threading.Condition()
        self._memory: deque[_Waiting] = deque()
        self._memory_bytes = 0
        self._disk = deque(sorted(map(_spilled, finished(directory, "*.parquet")), key=_number))
        self._disk_bytes = sum(each.bytes for each in self._disk)
        self._next = self._disk[-1].number + 1 if self._disk else 0
        self._delivered = self._refused = self._shed = 0
        self._down_since_s: float | None = None
        self._problem = ""
        self._ending = False
        self._thread: threading.Thread | None = None

    # For the one who writes

    def append(self, table: str, data: pa.Table, batch: Batch) -> int:
        """Take a batch on; never waits for the sink. On disk when it returns, unless the store is
        well and little waits. Raises StoreError where the local disk refuses too."""
        with self._change:
            waiting = _Waiting(self._next, table, data, batch)
            self._next += 1
            room = self._memory_bytes + data.nbytes <= self._memory_most or not self._memory
            if self._down_since_s is None and not self._disk and room:
                self._memory.append(waiting)
                self._memory_bytes += data.nbytes
            else:
                self._keep(waiting)
            self._change.notify_all()
        return len(data)

    def status(self) -> dict[str, Any]:
        """JSON-ready: `state` is ok or degraded; how much waits, since when, and why."""
        with self._change:
            waits = len(self._memory) + len(self._disk)
            return {
                "state": OK if self._down_since_s is None else DEGRADED,
                "down_since_s": self._down_since_s,
                "problem": self._problem,
                "waiting_batches": waits,
                "spilled_batches": len(self._disk),
                "spilled_bytes": self._disk_bytes,
                "delivered_rows": self._delivered,
                "refused_batches": self._refused,
                "shed_batches": self._shed,
            }

    def drained(self, timeout_s: float) -> bool:
        """Wait until nothing waits any more; False where that takes longer."""
        with self._change:
            return self._change.wait_for(lambda: not (self._memory or self._disk), timeout_s)

    # Delivery

    def step(self) -> bool:
        """Deliver the oldest batch; False where nothing waits or the store is down."""
        with self._change:
            entry: _Waiting | _Spilled | None = None
            if self._memory:  # what is in memory is older than what is on disk
                entry = self._memory[0]
            elif self._disk:
                entry = self._disk[0]
        if entry is None:
            return False
        try:
            found = entry if isinstance(entry, _Waiting) else _read(entry)
            rows = self._sink.append(found.table, found.data, found.batch)
        except StoreDownError as error:
            self._down(str(error))
            return False
        except (StoreError, RecordingError) as error:  # never to be taken, or damaged on the disk
            self._refuse(entry, str(error))
            return True
        with self._change:
            self._delivered += rows
            self._forget(entry)
            if self._down_since_s is not None:
                log.info("the store is back; %d batches wait", len(self._disk))
            self._down_since_s, self._problem = None, ""
            self._change.notify_all()
        return True

    def _down(self, why: str) -> None:
        with self._change:
            if self._down_since_s is None:
                log.warning("the store is down, batches are kept on disk: %s", why)
                self._down_since_s = self._now_s()
            self._problem = why
            self._put_down()

    def _keep(self, waiting: _Waiting) -> None:
        name = f"{waiting.number:016d}~{waiting.table}~{waiting.batch.name}.parquet"
        path = self._directory / name
        write_table(path, waiting.data, compression_level=1)
        size = path.stat().st_size
        self._disk.append(_Spilled(waiting.number, waiting.table, size, path))
        self._disk_bytes += size
        self._shed_beyond_budget()

    def _shed_beyond_budget(self) -> None:
        for table in self._drop_order:
            for entry in [each for each in self._disk if each.table == table]:
                if self._disk_bytes <= self._disk_most:
                    return
                self._forget(entry)
                self._shed += 1

    def _refuse(self, entry: _Waiting | _Spilled, why: str) -> None:
        """Set aside what the store will never take, so that the rest can go by."""
        aside = self._directory / "refused"
        with self._change:
            if isinstance(entry, _Spilled) and entry not in self._disk:
                return  # given up for the budget meanwhile
            log.error("a batch of %s is set aside: %s", entry.table, why)
            if isinstance(entry, _Waiting):
                write_table(aside / f"{entry.number:016d}.parquet", entry.data)
            else:
                aside.mkdir(exist_ok=True)
                with suppress(FileNotFoundError):
                    entry.path.replace(aside / entry.path.name)
            self._forget(entry)
            self._refused += 1
            self._problem = why
            self._change.notify_all()

    def _forget(self, entry: _Waiting | _Spilled) -> None:
        if isinstance(entry, _Waiting):
            if self._memory and self._memory[0] is entry:
                self._memory.popleft()
                self._memory_bytes -= entry.data.nbytes
        elif entry in self._disk:
            self._disk.remove(entry)
            self._disk_bytes -= entry.bytes
            entry.path.unlink(missing_ok=True)

    # The thread

    def start(self) -> Spill:
        """Deliver from now on, in a thread of its own."""
        self._thread = threading.Thread(target=self._run, name="spill", daemon=True)
        self._thread.start()
        return self

    def _run(self) -> None:
        wait_s = self._retry_s
        while True:
            try:
                delivered = self.step()
            except Exception as error:  # the disk refuses: nothing is forgotten, and tried again
                log.error("spill: %r", error)
                self._problem, delivered = str(error), False
            with self._change:
                if self._ending:
                    return
                if delivered:
                    wait_s = self._retry_s
                elif self._down_since_s is not None or self._problem:
                    self._change.wait_for(lambda: self._ending, wait_s)
                    wait_s = min(2 * wait_s, self._retry_most_s)
                else:
                    self._change.wait_for(
                        lambda: self._ending or bool(self._memory) or bool(self._disk)
                    )

    def close(self, timeout_s: float = 5.0) -> None:
        """Deliver what waits while the store takes it, for a moment; the rest stays on disk for the
        next life."""
        if self._thread is not None:
            self.drained(timeout_s if self._down_since_s is None else 0.0)
            with self._change:
                self._ending = True
                self._change.notify_all()
            self._thread.join(timeout_s)
        self._put_down()
        self._held.close()

    def settle(self, timeout_s: float) -> None:
        """Wait a moment for delivery; what still waits then is on disk and outlives the process."""
        if self._down_since_s is not None or not self.drained(timeout_s):
            self._put_down()

    def _put_down(self) -> None:
        """What is in memory goes to disk, before what is there: it is older."""
        with self._change:
            kept, self._memory = list(self._memory), deque()
            self._memory_bytes = 0
            newer, self._disk = self._disk, deque()
            for waiting in kept:
                self._keep(waiting)
            self._disk.extend(newer)

    def __enter__(self) -> Spill:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()


def _number(entry: _Spilled) -> int:
    return entry.number


def _spilled(path: Path) -> _Spilled:
    number, table, _ = path.stem.split("~", 2)
    return _Spilled(int(number), table, path.stat().st_size, path)


def _read(entry: _Spilled) -> _Waiting:
    batch = Batch.of_name(entry.path.stem.split("~", 2)[2])
    return _Waiting(entry.number, entry.table, read_table(entry.path), batch)
