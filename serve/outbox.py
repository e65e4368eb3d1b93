"""What must reach the ledger, on its way there: off the path of the verdicts, in batches, at least
once under stable ids."""

from __future__ import annotations

import logging
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from foreshock.errors import StoreError
from foreshock.market.clock import SECOND_NS
from foreshock.stores.ledger import Ledger

_LOG = logging.getLogger(__name__)
_COUNTS_EVERY_NS = 60 * SECOND_NS
_BATCH = 200  # signals a statement; SQLite takes 32,766 parameters, a signal is nine


class Outbox:
    """Signals and counts of refusals for the ledger. One thread writes; `add` never waits.

    A signal leaves the queue only once the ledger has taken it. The ledger counts an id once, so
    that whatever is added again after a death (from the stream of signals) does no harm. Counts are
    kept per minute in the audit log and may lose their last minute."""

    def __init__(self, open_ledger: Callable[[], Ledger], every_s: float, capacity: int) -> None:
        """`open_ledger` is called by the writing thread, again and again until it succeeds."""
        self._open_ledger = open_ledger
        self._every_s = every_s
        self._queue: deque[Mapping[str, Any]] = deque()
        self._capacity = capacity
        self._counts: Counter[str] = Counter()
        self._counted_ns = (0, 0)
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._written = self._dropped = self._failures = 0
        self._thread = threading.Thread(target=self._run, name="outbox", daemon=True)
        self._thread.start()

    def add(
        self,
        signals: Iterable[Mapping[str, Any]],
        reasons: Mapping[str, int] | None = None,
        at_ns: int = 0,
    ) -> None:
        """Queue `Verdict.as_dict()`s of signals, and count verdicts by reason at a moment."""
        with self._lock:
            self._queue.extend(signals)
            while len(self._queue) > self._capacity:
                self._queue.popleft()
                self._dropped += 1
            if reasons:
                self._counts.update(reasons)
                self._counted_ns = (self._counted_ns[0] or at_ns, at_ns)

    def facts(self) -> dict[str, int]:
        """{queued, written, dropped, failures}."""
        with self._lock:
            return {
                "queued": len(self._queue),
                "written": self._written,
                "dropped": self._dropped,
                "failures": self._failures,
            }

    def close(self, timeout_s: float = 5.0) -> None:
        """Write what is queued, then end; waits at most so long."""
        self._stop.set()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        ledger: Ledger | None = None
        ended = False
        while not ended:
            ended = self._stop.wait(self._every_s)
            try:
                ledger = ledger or self._open_ledger()
                self._write_signals(ledger)
                self._write_counts(ledger, ended)
            except StoreError as error:
                with self._lock:
                    self._failures += 1
                    first = self._failures == 1
                _LOG.log(logging.WARNING if first else logging.DEBUG, "ledger: %s", error)
        if ledger is not None:
            ledger.close()

    def _write_signals(self, ledger: Ledger) -> None:
        while True:
            with self._lock:
                batch = list(self._queue)[:_BATCH]
            if not batch:
                return
            ledger.record(batch)
            with self._lock:
                self._written += len(batch)
                for signal in batch:
                    if self._queue and self._queue[0] is signal:
                        self._queue.popleft()

    def _write_counts(self, ledger: Ledger, ended: bool) -> None:
        with self._lock:
            since_ns, until_ns = self._counted_ns
            counts = dict(self._counts)
            if not counts or not (ended or until_ns - since_ns >= _COUNTS_EVERY_NS):
                return
        detail = {"since_ns": since_ns, "until_ns": until_ns, "by_reason": counts}
        ledger.audit(until_ns, "gate", "verdicts", detail)
        with self._lock:
            self._counts.subtract(counts)
            self._counts = +self._counts
            self._counted_ns = (0, self._counted_ns[1])
