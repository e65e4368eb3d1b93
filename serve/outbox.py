"""What must reach the ledger, on its way there: off the path of the verdicts, in batches, at least
once under stable ids.

While the ledger is away signals go to disk, in order, and from there to the ledger when it is back;
should this process die meanwhile, its successor delivers them.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from foreshock.errors import StoreError
from foreshock.market.clock import SECOND_NS
from foreshock.stores.ledger import Ledger
from foreshock.stores.verdict_spill import VerdictSpill

_LOG = logging.getLogger(__name__)
_COUNTS_EVERY_NS = 60 * SECOND_NS
_MODELS_EVERY_S = 60.0
_BATCH = 200  # signals a transaction


class Outbox:
    """Signals and counts of refusals for the ledger. One thread writes; `add` never waits.

    A signal leaves the queue only once the ledger, or the disk, has taken it. The ledger counts an
    id once, so that whatever is added again after a death (from the stream of signals) does no
    harm. Counts are kept per minute in the audit log and may lose their last minute. How long the
    ledger was away is an alert in it."""

    def __init__(
        self,
        open_ledger: Callable[[], Ledger],
        every_s: float,
        capacity: int,
        spill: VerdictSpill | None = None,
        keep_models: Callable[[Ledger], None] | None = None,
    ) -> None:
        """`open_ledger` is called by the writing thread, again and again until it succeeds.
        `capacity` bounds what is in memory; without a `spill` the oldest go beyond it.
        `keep_models` writes what models there are, at the start and every minute."""
        self._open_ledger = open_ledger
        self._every_s = every_s
        self._spill = spill
        self._keep_models = keep_models
        self._models_due_s = 0.0
        self._away_since_ns = 0
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
        """Queue `Verdict.as_dict()`s of signals, and of others whose probability is to be kept;
        count verdicts by reason at a moment."""
        with self._lock:
            self._queue.extend(signals)
            while len(self._queue) > self._capacity:
                self._queue.popleft()
                self._dropped += 1
            if reasons:
                self._counts.update(reasons)
                self._counted_ns = (self._counted_ns[0] or at_ns, at_ns)

    def facts(self) -> dict[str, int]:
        """{queued, spilled, written, dropped, failures, away}: `away` is 1 while the ledger is."""
        with self._lock:
            return {
                "queued": len(self._queue),
                "spilled": self._spill.waiting if self._spill is not None else 0,
                "written": self._written,
                "dropped": self._dropped,
                "failures": self._failures,
                "away": int(self._away_since_ns > 0),
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
                self._write_spilled(ledger)
                self._write_signals(ledger)
                self._write_counts(ledger, ended)
                self._write_models(ledger)
                self._tell_absence(ledger)
            except StoreError as error:
                self._failed(error)
        if ledger is not None:
            ledger.close()
        if self._spill is not None:
            self._spill.close()

    def _failed(self, error: StoreError) -> None:
        """The ledger is away: what waits goes to disk, so that memory holds little and a death
        loses nothing."""
        with self._lock:
            self._failures += 1
            first = not self._away_since_ns
            self._away_since_ns = self._away_since_ns or time.time_ns()
            waiting = list(self._queue)
        _LOG.log(logging.WARNING if first else logging.DEBUG, "ledger: %s", error)
        if self._spill is None or not waiting:
            return
        try:
            self._spill.append(waiting)
        except StoreError as full:
            _LOG.warning("signals wait in memory: %s", full)
            return
        with self._lock:
            self._forget(waiting)

    def _forget(self, taken: Sequence[Mapping[str, Any]]) -> None:
        """These lead the queue, less what was dropped for want of room, and are safe."""
        for signal in taken:
            if self._queue and self._queue[0] is signal:
                self._queue.popleft()

    def _tell_absence(self, ledger: Ledger) -> None:
        if not self._away_since_ns:
            return
        detail = {"failures": self._failures}
        ledger.alert("ledger_away", "warning", self._away_since_ns, detail, time.time_ns())
        with self._lock:
            self._away_since_ns = 0

    def _write_spilled(self, ledger: Ledger) -> None:
        if self._spill is None:
            return
        for batch in self._spill.batches(_BATCH):
            ledger.record(batch, predictions=True)
            with self._lock:
                self._written += len(batch)

    def _write_models(self, ledger: Ledger) -> None:
        if self._keep_models is not None and time.monotonic() >= self._models_due_s:
            self._keep_models(ledger)
            self._models_due_s = time.monotonic() + _MODELS_EVERY_S

    def _write_signals(self, ledger: Ledger) -> None:
        while True:
            with self._lock:
                batch = list(self._queue)[:_BATCH]
            if not batch:
                return
            ledger.record(batch, predictions=True)
            with self._lock:
                self._written += len(batch)
                self._forget(batch)

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
