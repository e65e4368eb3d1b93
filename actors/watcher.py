"""Watcher: the sockets, books and rings of its share of symbols, and the shell of the live engine.

    feed (sockets, REST) ──▶ session ──▶ rows ──▶ engine ──▶ boundaries ──▶ gate (one message each)
                               ▲ timer rows          │
                               └── resync ◀── distrust
                                             rows, boundaries, verdicts ──▶ recorder, every 2 s

One loop does all of it. Every `batch_ms` it takes what arrived and runs it through the compiled
code in one call each; no Python runs per message except the receiving itself, and no Ray call is
made per message at all.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import ray

from actors.feed import Connection, Event, Feed, Frame, Snapshot
from actors.plan import WatchPlan
from foreshock.engine.message import BoundaryMessage
from foreshock.engine.outcomes import Boundary
from foreshock.engine.step import Engine
from foreshock.market.clock import MS_NS, SECOND_NS, Clock, boundary_after
from foreshock.market.rows import STATE_NAMES, Rows, empty_rows
from foreshock.replay.driver import distrust
from foreshock.venues.binance import BinanceSession

log = logging.getLogger(__name__)

FLUSH_S: Final = 2.0
LAST_ANSWERS_S: Final = 1.0  # how long an ending watcher waits for the gate
MAX_PENDING: Final = 8  # boundaries in flight to the gate; beyond it the oldest is given up
MAX_KEPT_ROWS: Final = 2_000_000  # rows that wait for a recorder; beyond it recording is shed
LATENCIES: Final = 4096


@dataclass(slots=True)
class _Kept:
    """Rows that wait to be recorded."""

    rows: list[Rows] = field(default_factory=list)
    n_rows: int = 0
    shed_rows: int = 0


@dataclass(slots=True)
class _Said:
    """A boundary that waits to be recorded, until its answer came or is waited for no more."""

    boundary: Boundary
    answer: Mapping[str, Any] = field(default_factory=dict)
    settled: bool = False


class Watcher:
    """One watcher. `run` is its life; `status` may be asked meanwhile."""

    def __init__(self, plan: WatchPlan, recorder: Any = None) -> None:
        self.plan = plan
        self.clock = Clock()
        self.session = BinanceSession(
            plan.instruments, tape=plan.tape, stale_after_ns=int(plan.stale_after_s * SECOND_NS)
        )
        self.engine = Engine(plan.instruments)
        self.feed = Feed(plan, self.clock)
        self._recorder = recorder
        self._recorder_open = False
        self._gate: Any = None
        self._kept = _Kept()
        self._said: deque[_Said] = deque()
        self._flushing = asyncio.Lock()
        self._ending = False
        self._pending: deque[asyncio.Task[None]] = deque()
        self._latency_ms: deque[float] = deque(maxlen=LATENCIES)
        self._verdicts: Counter[str] = Counter()
        self._rows = self._boundaries = self._given_up = 0
        self._first_verdict_ns = self._first_probability_ns = 0
        self._worst_batch_ms = 0.0
        self._offset_ns = 0
        self._snapshot_due_ns = 0
        self._seq = -1
        self._problem: str | None = None

    async def run(self) -> None:
        """Watch until cancelled (or killed: its recordings and the gate's state outlive it)."""
        self._advance([self.session.start(self.clock.now_ns())])
        async with asyncio.TaskGroup() as group:
            group.create_task(self.feed.run())
            group.create_task(self._pump())
            group.create_task(self._keep())

    def _meta(self) -> dict[str, Any]:
        return {
            "watcher": self.plan.name,
            "domain": self.plan.domain.model_dump(),
            "source": self.plan.domain.source,
            "market": self.plan.market,
            "tape": self.plan.tape,
            "layout": self.engine.layout.fingerprint,
            "judged": self.plan.gate is not None,
        }

    async def _pump(self) -> None:
        boundary_ns = boundary_after(self.clock.now_ns(), SECOND_NS)
        self._snapshot_due_ns = boundary_ns
        batch_s = self.plan.batch_ms / 1000
        while True:
            until_boundary_s = (boundary_ns - self.clock.now_ns()) / SECOND_NS
            await asyncio.sleep(min(batch_s, max(until_boundary_s, 0.0)))
            if self._ending:
                return
            started_ns = self.clock.now_ns()
            rows = self._take(self.feed.take())
            now_ns = self.clock.now_ns()
            if now_ns >= boundary_ns:
                rows.append(self.session.timer(now_ns))
                boundary_ns = boundary_after(now_ns, SECOND_NS)
            closed = self._advance(rows)
            if closed:
                # What the engine distrusts now it distrusted in these rows: the session opens the
                # new epochs, and they enter as rows like anything else.
                self._advance(distrust(self.engine, self.session, self.clock.now_ns()))
            self.feed.request(self.session.wanted())
            for boundary in closed:
                self._judge(boundary)
            spent_ms = (self.clock.now_ns() - started_ns) / MS_NS
            self._worst_batch_ms = max(self._worst_batch_ms, spent_ms)

    def _take(self, events: list[Event]) -> list[Rows]:
        """Rows of what arrived, in order: runs of frames in one call, the rest one by one."""
        out: list[Rows] = []
        frames: list[bytes] = []
        stamps: list[int] = []

        def flush() -> None:
            if frames:
                out.append(self.session.receive(frames, np.array(stamps, np.int64)))
                frames.clear()
                stamps.clear()

        for event in events:
            if isinstance(event, Frame):
                frames.append(event.body)
                stamps.append(event.arrival_ns)
                continue
            flush()
            if isinstance(event, Snapshot):
                if event.body is None:
                    self.session.snapshot_failed(event.symbol)
                else:
                    out.append(
                        self.session.receive_snapshot(
                            event.symbol, event.body, event.levels, event.arrival_ns
                        )
                    )
            else:
                out.append(self._connection(event))
        flush()
        return out

    def _connection(self, event: Connection) -> Rows:
        if event.number < 0:
            self._offset_ns = event.offset_ns
        return self.session.connection(
            event.number, event.state, event.families, event.symbols, event.offset_ns,
            event.arrival_ns,
        )  # fmt: skip

    def _advance(self, batches: list[Rows]) -> list[Boundary]:
        rows = [batch for batch in batches if len(batch)]
        if not rows:
            return []
        batch = rows[0] if len(rows) == 1 else np.concatenate(rows)
        self._rows += len(batch)
        closed = self.engine.feed(batch)
        if self._recorder is not None:
            if self._kept.n_rows < MAX_KEPT_ROWS:
                self._kept.rows.append(batch)
                self._kept.n_rows += len(batch)
            else:
                self._shed(len(batch))
        return closed

    # To the gate and back

    def _judge(self, boundary: Boundary) -> None:
        self._boundaries += 1
        said = _Said(boundary)
        if self._recorder is not None and self._kept.n_rows < MAX_KEPT_ROWS:
            self._said.append(said)
        if self.plan.gate is None:
            said.settled = True
            return
        while self._pending and self._pending[0].done():
            self._pending.popleft()
        if self._pending and not self._first_verdict_ns:
            # The gate is still coming up: one question waits for it, not a queue of stale ones.
            self._given_up += 1
            said.settled = True
            return
        if len(self._pending) >= MAX_PENDING:
            self._given_up += 1
            self._pending.popleft().cancel()
        self._pending.append(asyncio.create_task(self._ask(said)))

    async def _ask(self, said: _Said) -> None:
        boundary = said.boundary
        try:
            said.answer = summary = await self._send(boundary)
        except Exception as error:  # the gate may be away for seconds; the books go on
            self._problem = f"{type(error).__name__}: {error}"
            self._gate = None
            return
        finally:  # cancelled too
            said.settled = True
        self._problem = summary["problem"]
        self._verdicts.update(summary["reasons"])
        now_ns = self.clock.now_ns()
        if summary["published_ns"] is not None:
            if self._first_verdict_ns:  # the first one also waited for the gate to come up
                self._latency_ms.append((summary["published_ns"] - boundary.closed_at_ns) / MS_NS)
            self._first_verdict_ns = self._first_verdict_ns or now_ns
            if summary["probabilities"]:
                self._first_probability_ns = self._first_probability_ns or now_ns

    async def _send(self, boundary: Boundary) -> dict[str, Any]:
        from ray import serve as ray_serve  # imported by the host before the first frame

        if self._gate is None:
            self._gate = ray_serve.get_deployment_handle("Gate", self.plan.gate)
        message = BoundaryMessage(
            watcher=self.plan.name,
            symbols=self.plan.symbols,
            domain=self.plan.domain,
            boundary=boundary,
            control_rows=empty_rows(),
            sent_ns=self.clock.now_ns(),
            layout_fingerprint=self.engine.layout.fingerprint,
            live=self.plan.live,
            tell_all=self._recorder is not None,
        )
        summary: dict[str, Any] = await self._gate.judge.remote(message)
        return summary

    # To the recorder

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_S)
            await self._flush()

    async def _flush(self) -> None:
        """Hand what was kept to the recorder; boundaries in order, none before its answer."""
        if self._recorder is None or self.plan.recording_dir is None:
            return
        async with self._flushing:
            kept, self._kept = self._kept, _Kept(shed_rows=self._kept.shed_rows)
            said: list[_Said] = []
            while self._said and self._said[0].settled:
                said.append(self._said.popleft())
            if not kept.rows and not said:
                return
            place, answers = str(self.plan.recording_dir), [one.answer for one in said]
            try:
                if not self._recorder_open:
                    await self._recorder.open.remote(place, self.plan.instruments, self._meta())
                    self._recorder_open = True
                await self._recorder.write.remote(
                    place,
                    np.concatenate([empty_rows(), *kept.rows]),
                    [one.boundary for one in said],
                    [answer.get("scores") for answer in answers],
                    [answer.get("said") for answer in answers],
                    [answer.get("policy") for answer in answers],
                )
                if self.clock.now_ns() >= self._snapshot_due_ns:
                    seq, blob = self.engine.last_seq, self.engine.snapshot()
                    await self._recorder.snapshot.remote(place, seq, blob)
                    self._snapshot_due_ns = self.clock.now_ns() + int(
                        self.plan.snapshot_every_s * SECOND_NS
                    )
            except ray.exceptions.RayError as error:
                self._recorder_open = False  # its successor has opened nothing yet
                self._shed(kept.n_rows)
                log.warning("recorder: %s", error)

    def _shed(self, rows: int) -> None:
        """Recording is the first thing to be given up, and says so. The hole is followed by a
        snapshot, so that a replay can go on behind it."""
        self._kept.shed_rows += rows
        self._snapshot_due_ns = 0

    async def finish(self) -> None:
        """Take nothing more in, wait a moment for the gate's last answers, and return when
        everything is recorded. Sockets stay open: the caller ends the actor next."""
        self._ending = True
        if self._pending:
            await asyncio.wait(self._pending, timeout=LAST_ANSWERS_S)
        for task in self._pending:
            task.cancel()
        await asyncio.gather(*self._pending, return_exceptions=True)
        await self._flush()

    # For the supervisor

    def ping(self) -> int:
        """Now, by this watcher's clock."""
        return self.clock.now_ns()

    def status(self) -> dict[str, Any]:
        """JSON-ready: what it watches, how it goes, how late it is."""
        latency = np.array(self._latency_ms)
        p50, p99 = np.percentile(latency, (50, 99)).tolist() if len(latency) else (None, None)
        states = self.session.states()
        return {
            "name": self.plan.name,
            "domain": str(self.plan.domain),
            "now_ns": self.clock.now_ns(),
            "symbols": {
                symbol: {
                    "book": STATE_NAMES[int(states[s, 0])],
                    "book_epoch": int(states[s, 1]),
                    "tape_epoch": int(states[s, 2]),
                }
                for s, symbol in enumerate(self.plan.symbols)
            },
            "frames": self.feed.frames,
            "frames_by_outcome": self.session.counts,
            "rows": self._rows,
            "boundaries": self._boundaries,
            "vectors": self._boundaries * len(self.plan.symbols),
            "verdicts": dict(self._verdicts),
            "given_up": self._given_up,
            "shed_rows": self._kept.shed_rows,
            "first_verdict_ns": self._first_verdict_ns,
            "first_probability_ns": self._first_probability_ns,
            "latency_ms": {"p50": p50, "p99": p99, "n": len(latency)},
            "worst_batch_ms": round(self._worst_batch_ms, 3),
            "clock_offset_ms": self._offset_ns / MS_NS,
            "sockets": self.feed.status(),
            "problem": self._problem,
        }


class _WatcherActor(Watcher):
    """The same, hosted by Ray: warm before the first frame."""

    def __init__(self, plan: WatchPlan, recorder: Any = None) -> None:
        from foreshock.replay.warm import warm_live

        warm_live()
        if plan.gate is not None:  # seconds of import that must not stop the loop later
            importlib.import_module("ray.serve")
        super().__init__(plan, recorder)

    async def status(self) -> dict[str, Any]:  # type: ignore[override]
        return super().status()

    async def ping(self) -> int:  # type: ignore[override]
        return super().ping()


WatcherActor = ray.remote(_WatcherActor)

__all__ = ["Watcher", "WatcherActor"]
