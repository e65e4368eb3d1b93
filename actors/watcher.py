"""Watcher: the sockets, books and rings of its share of symbols, and the shell of the live engine.

    feed (sockets, REST) ──▶ session ──▶ rows ──▶ engine ──▶ boundaries ──▶ gate (one message each)
                               ▲ timer rows          │
                               └── resync ◀── distrust
                                 frames, rows, boundaries, verdicts ──▶ recorder, every 2 s
                                 trades, vectors ──▶ bus, on a thread of its own

One loop does all of it. Every `batch_ms` it takes what arrived and runs it through the compiled
code in one call each; no Python runs per message except the receiving itself, and no Ray call is
made per message at all.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import ray

from actors.asking import Asking, serve_gate
from actors.budget import SharedBudget
from actors.ears import listen
from actors.keeper import Keeper, Said
from actors.plan import WatchPlan
from actors.publisher import Publisher
from foreshock.engine.message import BoundaryMessage
from foreshock.engine.outcomes import Boundary
from foreshock.engine.provenance import made_with
from foreshock.engine.step import Engine
from foreshock.market.clock import MS_NS, SECOND_NS, Clock, boundary_after
from foreshock.market.context import facts_of
from foreshock.market.overload import (
    LEVEL_NAMES,
    RECORDING,
    SLOW,
    Overload,
    OverloadSettings,
    judge,
)
from foreshock.market.rows import Rows
from foreshock.replay.tap import Tap
from foreshock.venues.fallback import SwitchRule
from foreshock.venues.wire import Wire

log = logging.getLogger(__name__)


class Watcher:
    """One watcher. `run` is its life; `status` may be asked meanwhile.

    recorder   handle of who keeps its recording; None keeps none
    keeper     handle of who keeps the weight budget of this address and gathers what all symbols
               do (the supervisor); None: a budget of its own, and no context
    gate       finds the gate; None: that of the plan's Serve application
    wire       how to ask the venue; None: the wire of the plan's market
    rule       when a fallback is listened to, where the plan has any
    """

    def __init__(
        self, plan: WatchPlan, recorder: Any = None, keeper: Any = None,
        gate: Callable[[], Any] | None = None, wire: Wire | None = None,
        rule: SwitchRule | None = None,
    ) -> None:  # fmt: skip
        self.plan = plan
        self.clock = Clock()
        recorded = recorder is not None and plan.recording_dir is not None
        self.ears = listen(
            plan, self.clock,
            lambda one, asked: None if keeper is None else SharedBudget(
                keeper, one.rest_url or asked.rest_url, asked.weight_per_minute
            ),
            Tap if recorded else lambda session: session,
            wire, rule,
        )  # fmt: skip
        self.session: Any = self.ears.whole
        self.feed = self.ears.ears[0].feed
        self.engine = Engine(self.ears.instruments, plan.features)
        self.keeper = Keeper(
            recorder, plan.recording_dir, self.ears.instruments,
            self.session if isinstance(self.session, Tap) else None, self.engine, self.clock,
            self._meta, plan.snapshot_every_s,
        )  # fmt: skip
        self.asking: Asking | None = None
        if plan.gate is not None:
            self.asking = Asking(gate or partial(serve_gate, plan.gate), self._message, self.clock)
        self.publisher: Publisher | None = None
        if plan.bus is not None and not plan.fallbacks:  # a stream is of one venue
            layout = self.engine.layout
            self.publisher = Publisher(plan.bus, plan.instruments, layout.names, layout.fingerprint)
        self._supervisor = keeper
        self._context: list[tuple[int, int, bytes, int]] = []  # told, and not yet made rows
        self._overload, self._patience = Overload(), OverloadSettings()
        self._ending = False
        self._rows = self._boundaries = 0
        self._worst_batch_ms = self._lag_ms = 0.0

    async def run(self) -> None:
        """Watch until cancelled (or killed: its recordings and the gate's state outlive it)."""
        self._advance([self.session.start(self.clock.now_ns())])
        async with asyncio.TaskGroup() as group:
            group.create_task(self.ears.run())
            group.create_task(self._pump())
            group.create_task(self.keeper.run())

    def _meta(self) -> dict[str, Any]:
        plan = self.plan
        return {
            **made_with(self.engine.features),
            "watcher": plan.name,
            "domain": plan.domain.model_dump(),
            "source": plan.domain.source,
            "market": plan.market,
            "tape": plan.tape,
            "stale_after_ns": int(plan.stale_after_s * SECOND_NS),
            "judged": plan.gate is not None,
        }

    async def _pump(self) -> None:
        boundary_ns = boundary_after(self.clock.now_ns(), SECOND_NS)
        batch_ns = int(self.plan.batch_ms * MS_NS)
        while True:
            now_ns = self.clock.now_ns()
            due_ns = min(now_ns + batch_ns, max(boundary_ns, now_ns))
            await asyncio.sleep((due_ns - now_ns) / SECOND_NS)
            if self._ending:
                return
            began_ns = self.ears.oldest_ns(due_ns)
            rows = self.ears.take()
            rows += self._take_context()
            now_ns = self.clock.now_ns()
            if now_ns >= boundary_ns:
                rows.append(self.ears.timer(now_ns))
                boundary_ns = boundary_after(now_ns, SECOND_NS)
            closed = self._advance(rows)
            if closed:
                # What the engine distrusts now it distrusted in these rows: the session opens the
                # new epochs, and they enter as rows like anything else.
                self._advance(self.ears.distrust(self.engine, self.clock.now_ns()))
            self.ears.ask()
            for boundary in closed:
                self._tell(boundary)
                self._judge(boundary)
            self._weigh(self.clock.now_ns(), began_ns)

    def _advance(self, batches: list[Rows]) -> list[Boundary]:
        rows = [batch for batch in batches if len(batch)]
        if not rows:
            return []
        batch = rows[0] if len(rows) == 1 else np.concatenate(rows)
        self._rows += len(batch)
        closed = self.engine.feed(batch)
        self.keeper.rows(batch)
        if self.publisher is not None:
            self.publisher.offer(batch, closed)
        return closed

    # What the other symbols do (foreshock/market/context.py), and slow series

    def context(self, boundary_ns: int, known_ns: int, body: bytes) -> None:
        """CONTEXT_VALUE as bytes, of a boundary that was gathered or of a slow series: rows of the
        next micro-batch."""
        self._hear(boundary_ns, known_ns, body)

    def series(self, told: Sequence[tuple[int, int, bytes]]) -> None:
        """What is known of slow series: (the time they are of, when they became known, body) each,
        in the order they became known. It is as if `context` had been told one by one."""
        for one in told:
            self._hear(*one)

    def _hear(self, boundary_ns: int, known_ns: int, body: bytes) -> None:
        """What comes is known, whatever another machine's clock says."""
        now_ns = self.clock.now_ns()
        self._context.append((boundary_ns, min(known_ns, now_ns), body, now_ns))

    def _take_context(self) -> list[Rows]:
        told, self._context = self._context, []
        return [self.session.context(*one) for one in told]

    def _tell(self, boundary: Boundary) -> None:
        """Tell the supervisor the facts of a boundary; nobody waits for an answer."""
        if self._supervisor is not None and self.plan.gathers:
            ear = self.ears.active
            facts = facts_of(self.ears.said_by(ear, boundary).bill_inputs)
            self._supervisor.tell.remote(ear.plan.symbols, boundary.boundary_ns, facts)

    def _judge(self, boundary: Boundary) -> None:
        self._boundaries += 1
        said = self.keeper.boundary(boundary)
        if self.asking is None:
            said.settled = True
        else:
            self.asking.ask(said)

    def _message(self, said: Said) -> BoundaryMessage:
        ear = self.ears.active
        return BoundaryMessage(
            watcher=self.plan.name,
            symbols=ear.plan.symbols,
            domain=ear.plan.domain,
            boundary=self.ears.said_by(ear, said.boundary),
            sent_ns=self.clock.now_ns(),
            layout_fingerprint=self.engine.layout.fingerprint,
            live=self.plan.live,
            tell_all=self.keeper.keeps and not self.plan.fallbacks,
            health=self._health(),
        )

    # How it goes

    def _weigh(self, now_ns: int, began_ns: int) -> None:
        """How late this micro-batch was, and what must be given up for it, or taken back."""
        self._lag_ms = (now_ns - began_ns) / MS_NS
        self._worst_batch_ms = max(self._worst_batch_ms, self._lag_ms)
        was, self._overload = (
            self._overload,
            judge(self._overload, now_ns, now_ns - began_ns, self._patience),
        )
        level = self._overload.level
        if level != was.level:
            self.keeper.shedding = level >= RECORDING
            for ear in self.ears.ears:
                ear.feed.rest.polling = level < SLOW
            log.warning(
                "%s: %.0f ms behind, gives up %s", self.plan.name, self._lag_ms, LEVEL_NAMES[level]
            )

    def _health(self) -> dict[str, float]:
        """What the metrics tell of it."""
        return {
            "clock_offset_s": self.ears.active.offset_ns / SECOND_NS,
            "lag_s": self._lag_ms / 1000,
            "shedding": float(self._overload.level),
        }

    async def finish(self) -> None:
        """Take nothing more in, wait a moment for the gate's last answers, and return when
        everything is recorded. Sockets stay open: the caller ends the actor next."""
        self._ending = True
        if self.asking is not None:
            await self.asking.finish()
        await self.keeper.finish()
        if self.publisher is not None:
            await asyncio.to_thread(self.publisher.close)

    def learn(self, body: bytes) -> None:
        """The venue's list of instruments, fetched once for all watchers."""
        self.feed.learn(body)

    def ping(self) -> int:
        """Now, by this watcher's clock."""
        return self.clock.now_ns()

    def status(self) -> dict[str, Any]:
        """JSON-ready: what it watches, how it goes, how late it is."""
        asking, ear, ears = self.asking, self.ears.active, self.ears.ears
        fates: Counter[str] = Counter()
        for one in ears:
            fates.update(one.inner.counts)
        return {
            "name": self.plan.name,
            "domain": str(ear.plan.domain),
            "fallback": ear is not ears[0],
            "now_ns": self.clock.now_ns(),
            "symbols": ear.books(),
            "frames": sum(one.feed.frames for one in ears),
            "frames_by_outcome": dict(fates),
            "rows": self._rows,
            "boundaries": self._boundaries,
            "vectors": self._boundaries * len(self.plan.symbols),
            "verdicts": dict(asking.verdicts) if asking else {},
            "given_up": asking.given_up if asking else 0,
            "shed_rows": self.keeper.shed_rows,
            "shedding": LEVEL_NAMES[self._overload.level],
            "first_verdict_ns": asking.first_verdict_ns if asking else 0,
            "first_probability_ns": asking.first_probability_ns if asking else 0,
            "latency_ms": asking.latency() if asking else {"p50": None, "p99": None, "n": 0},
            "lag_ms": round(self._lag_ms, 3),
            "worst_batch_ms": round(self._worst_batch_ms, 3),
            "clock_offset_ms": ear.offset_ns / MS_NS,
            "sockets": [socket for one in self.ears.open for socket in one.feed.status()],
            "rest": {
                "asked": sum(one.feed.rest.asked for one in ears),
                "refused": sum(one.feed.rest.refused for one in ears),
            },
            "bus": self.publisher.facts() if self.publisher else None,
            "problem": asking.problem if asking else None,
        }


class _WatcherActor(Watcher):
    """The same, hosted by Ray: warm before the first frame."""

    def __init__(self, plan: WatchPlan, recorder: Any = None, keeper: Any = None) -> None:
        from foreshock.replay.warm import warm_live

        warm_live()
        if plan.gate is not None:  # seconds of import that must not stop the loop later
            importlib.import_module("ray.serve")
        super().__init__(plan, recorder, keeper)

    async def status(self) -> dict[str, Any]:  # type: ignore[override]
        return super().status()

    async def ping(self) -> int:  # type: ignore[override]
        return super().ping()

    async def learn(self, body: bytes) -> None:  # type: ignore[override]
        super().learn(body)

    async def context(self, boundary_ns: int, known_ns: int, body: bytes) -> None:  # type: ignore[override]
        super().context(boundary_ns, known_ns, body)

    async def series(self, told: Sequence[tuple[int, int, bytes]]) -> None:  # type: ignore[override]
        super().series(told)


WatcherActor = ray.remote(_WatcherActor)

__all__ = ["Watcher", "WatcherActor"]
