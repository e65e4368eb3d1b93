"""Publisher: what a watcher tells the bus, on a thread of its own.

`offer` takes a reference and returns; the thread looks every `every_ms`, picks out the trades and
sends. While Redis is away it keeps up to `backlog_trades`, and sends them in order when Redis is
back. Beyond that the oldest are given up and counted: what is published is a copy for whoever
listens now, the recording is what lasts. Readers see the hole in the entries' numbers.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from foreshock.engine.outcomes import Boundary
from foreshock.errors import StoreError
from foreshock.market.instruments import Instrument
from foreshock.market.rows import Rows, empty_rows
from foreshock.stores.bus import Bus
from foreshock.stores.hot_layout import Form, tape_in

log = logging.getLogger(__name__)

MAX_OFFERED_ROWS: Final = 500_000  # rows of any kind that wait for the thread to look at them
MAX_BATCH_TRADES: Final = 20_000
MAX_BATCH_BOUNDARIES: Final = 60
FIRST_WAIT_S, LONGEST_WAIT_S = 0.1, 2.0


@dataclass(frozen=True, slots=True)
class BusPlan:
    """Where and how a watcher publishes; plain values that travel to its process. See the settings
    of the same names in `redis`."""

    url: str
    form: Form = "plain"
    prefix: str = ""
    trades_length: int = 10_000
    features_length: int = 600
    every_ms: float = 50.0
    backlog_trades: int = 200_000


@dataclass(slots=True)
class _Batch:
    """What is sent in one piece, and again in the same piece where that failed: TRADE rows, with
    the rare INSTRUMENT row among them, and boundaries."""

    trades: Rows
    boundaries: list[Boundary]


class Publisher:
    """The thread, and what it has still to say. `offer` is for one thread, `facts` for any."""

    def __init__(
        self,
        plan: BusPlan,
        instruments: Sequence[Instrument],
        features: Sequence[str] = (),
        fingerprint: str = "",
    ) -> None:
        """instruments in the order of the rows' symbol index; features and fingerprint as in
        `Bus`. The thread starts at once; with form "off" there is none."""
        self._plan = plan
        self._bus = Bus(
            plan.url, instruments, form=plan.form, prefix=plan.prefix,
            trades_length=plan.trades_length, features_length=plan.features_length,
            features=features, fingerprint=fingerprint,
        )  # fmt: skip
        tape_in(empty_rows())  # compiled before the first rows wait for it
        self._offered: deque[tuple[Rows, Sequence[Boundary]]] = deque()
        self._offered_rows = 0
        self._lock = threading.Lock()
        self._backlog: deque[_Batch] = deque()
        self._backlog_trades = self._backlog_boundaries = 0
        self._said = {"entries": 0, "trades": 0, "vectors": 0}
        self._lost = {"trades": 0, "boundaries": 0, "unseen_rows": 0, "refused": 0}
        self._failures = 0
        self._problem: str | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)
        if plan.form != "off":
            self._thread.start()

    def offer(self, rows: Rows, boundaries: Sequence[Boundary] = ()) -> None:
        """Whole rows and the boundaries that they closed. Never waits; rows must not be changed
        afterwards."""
        if self._plan.form == "off":
            return
        with self._lock:
            if self._offered_rows + len(rows) > MAX_OFFERED_ROWS:
                self._lost["unseen_rows"] += len(rows)
                self._lost["boundaries"] += len(boundaries)
                return
            self._offered.append((rows, boundaries))
            self._offered_rows += len(rows)

    def facts(self) -> dict[str, Any]:
        """JSON-ready: {state: ok | degraded | off, entries, trades, vectors, waiting, lost: {…},
        failures, problem}."""
        state = "off" if self._plan.form == "off" else "degraded" if self._problem else "ok"
        return {
            "state": state,
            **self._said,
            "waiting": self._backlog_trades,
            "lost": dict(self._lost),
            "failures": self._failures,
            "problem": self._problem,
        }

    def close(self, timeout_s: float = 2.0) -> None:
        """Send what is waiting, once, and end; waits at most so long."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def _run(self) -> None:
        ended, in_a_row, due_s = False, 0, 0.0
        while not ended:
            ended = self._stop.wait(self._plan.every_ms / 1000)
            self._sift()
            if time.monotonic() < due_s and not ended:
                continue
            try:
                while self._backlog:
                    self._send(self._backlog[0])
                in_a_row, self._problem = 0, None
            except StoreError as error:
                in_a_row += 1
                self._failed(str(error), first=in_a_row == 1)
                due_s = time.monotonic() + min(FIRST_WAIT_S * 2 ** min(in_a_row, 8), LONGEST_WAIT_S)
            except Exception as error:  # a batch that nobody can send must not stop those behind it
                self._failed(f"{type(error).__name__}: {error}", first=True)
                self._give_up()
        self._bus.close()

    def _failed(self, problem: str, first: bool) -> None:
        self._failures += 1
        self._problem = problem
        log.log(logging.WARNING if first else logging.DEBUG, "the bus waits: %s", problem)

    def _sift(self) -> None:
        """Pick the trades out of what was offered; keep no more than the backlog holds."""
        with self._lock:
            offered, self._offered = self._offered, deque()
            self._offered_rows = 0
        if offered:
            trades = np.concatenate([tape_in(rows) for rows, _ in offered])
            self._keep(trades, [each for _, closed in offered for each in closed])
        while len(self._backlog) > 1 and (
            self._backlog_trades > self._plan.backlog_trades
            or self._backlog_boundaries > self._plan.features_length
        ):
            self._give_up()

    def _keep(self, trades: Rows, boundaries: list[Boundary]) -> None:
        """Behind the backlog: in its last batch, unless that may be under way or is full."""
        if not len(trades) and not boundaries:
            return
        self._backlog_trades += len(trades)
        self._backlog_boundaries += len(boundaries)
        if len(self._backlog) > 1:
            last = self._backlog[-1]
            if (
                len(last.trades) + len(trades) <= MAX_BATCH_TRADES
                and len(last.boundaries) + len(boundaries) <= MAX_BATCH_BOUNDARIES
            ):
                last.trades = np.concatenate([last.trades, trades])
                last.boundaries += boundaries
                return
        self._backlog.append(_Batch(trades, boundaries))

    def _give_up(self) -> None:
        """The oldest batch will not be sent; its trades' numbers are passed over."""
        oldest = self._taken()
        self._bus.give_up(oldest.trades)
        self._lost["trades"] += len(oldest.trades)
        self._lost["boundaries"] += len(oldest.boundaries)

    def _taken(self) -> _Batch:
        oldest = self._backlog.popleft()
        self._backlog_trades -= len(oldest.trades)
        self._backlog_boundaries -= len(oldest.boundaries)
        return oldest

    def _send(self, batch: _Batch) -> None:
        done = self._bus.publish(batch.trades, batch.boundaries)
        self._taken()
        self._said["entries"] += done.entries
        self._said["trades"] += len(batch.trades)
        self._said["vectors"] += sum(len(boundary.vectors) for boundary in batch.boundaries)
        self._lost["refused"] += done.refused
