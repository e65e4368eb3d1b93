"""What a watcher listens to: one venue, or a primary one and those that stand in for it.

Each venue has its feed, its session and a span of the engine's symbols; nothing of two venues is
ever merged (`foreshock/venues/fallback.py`). The primary's connections are always open, a
fallback's while it is listened to.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np

from actors.budget import Budget
from actors.events import Answer, Connection, Event, Frames
from actors.feed import Feed
from actors.plan import WatchPlan
from foreshock.engine.outcomes import Boundary
from foreshock.engine.step import Engine
from foreshock.market.clock import SECOND_NS, Clock
from foreshock.market.instruments import Instrument
from foreshock.market.rows import REASON_CROSSED, REASON_RANGE, STATE_NAMES, Rows
from foreshock.venues.fallback import FallbackSession, SwitchRule
from foreshock.venues.registry import venue_of
from foreshock.venues.session import Session
from foreshock.venues.wire import Wire

log = logging.getLogger(__name__)

NUMBERS_A_VENUE: Final = 1_000  # of connections

Budgets = Callable[[WatchPlan, Wire], Budget | None]


@dataclass(slots=True)
class Ear:
    """One venue: `session` is what events go to, `inner` the venue's own (the same where there is
    one venue only)."""

    plan: WatchPlan
    session: Any
    inner: Any
    feed: Feed
    span: slice
    offset_ns: int = 0

    def take(self) -> list[Rows]:
        """Rows of what arrived, in order: runs of frames in one call, the rest one by one."""
        out: list[Rows] = []
        frames: list[bytes] = []
        stamps: list[int] = []

        def flush() -> None:
            if frames:
                out.append(self.session.receive(frames, np.array(stamps, np.int64)))
                frames.clear()
                stamps.clear()

        for event in self.feed.take():
            if isinstance(event, Frames):
                frames += event.bodies
                stamps += [event.arrival_ns] * len(event.bodies)
                continue
            flush()
            rows = self._other(event)
            if rows is not None:
                out.append(rows)
        flush()
        return [rows for rows in out if len(rows)]

    def _other(self, event: Event) -> Rows | None:
        session: Any = self.session
        rows: Rows | None = None
        if isinstance(event, Connection):
            if event.number < 0:
                self.offset_ns = event.offset_ns
            rows = session.connection(
                event.number, event.state, event.families, event.symbols, event.offset_ns,
                event.arrival_ns,
            )  # fmt: skip
        elif isinstance(event, Answer):
            rows = session.receive_answer(event.kind, event.symbol, event.body, event.arrival_ns)
        elif not isinstance(event, Frames) and event.body is not None:
            rows = session.receive_snapshot(
                event.symbol, event.body, event.levels, event.arrival_ns
            )
        elif not isinstance(event, Frames):
            session.snapshot_failed(event.symbol)
        return rows

    def books(self) -> dict[str, dict[str, Any]]:
        """State and epochs by symbol, for the status."""
        states = self.inner.states()
        return {
            symbol: {
                "book": STATE_NAMES[int(states[s, 0])],
                "book_epoch": int(states[s, 1]),
                "tape_epoch": int(states[s, 2]),
            }
            for s, symbol in enumerate(self.plan.symbols)
        }


@dataclass(slots=True)
class Ears:
    """All venues of a plan; `whole` is the session that they are together."""

    whole: Any
    ears: tuple[Ear, ...]
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def instruments(self) -> tuple[Instrument, ...]:
        """What the engine is made of."""
        return tuple(i for ear in self.ears for i in ear.plan.instruments)

    @property
    def active(self) -> Ear:
        """Who is listened to."""
        return self.ears[self.whole.active if len(self.ears) > 1 else 0]

    @property
    def open(self) -> tuple[Ear, ...]:
        """Whose connections are open."""
        if len(self.ears) == 1:
            return self.ears
        return tuple(self.ears[k] for k in self.whole.open_legs)

    def oldest_ns(self, default_ns: int) -> int:
        """Arrival of the oldest thing that nobody took yet, or the default where it is earlier."""
        return min(default_ns, *(ear.feed.oldest_ns(default_ns) for ear in self.ears))

    def take(self) -> list[Rows]:
        """Rows of all that arrived, venue by venue."""
        return [rows for ear in self.ears for rows in ear.take()]

    def timer(self, now_ns: int) -> Rows:
        """The timer row and what follows from it: silent streams, another venue."""
        before = self.active
        rows: Rows = self.whole.timer(now_ns)
        for ear in self.open:
            ear.feed.wake(ear.session.silent())
        if self.active is not before:
            log.warning("%s: listening to %s", before.plan.name, self.active.plan.domain)
            self._changed.set()
        return rows

    def ask(self) -> None:
        """Fetch the snapshots that the sessions want."""
        for ear in self.open:
            ear.feed.request(ear.session.wanted())

    def distrust(self, engine: Engine, now_ns: int) -> list[Rows]:
        """Rows that open a new epoch for every book which the engine distrusts; books that only run
        out of what is known are refreshed."""
        out = []
        for index, crossed in engine.distrusted():
            reason = REASON_CROSSED if crossed else REASON_RANGE
            ear = self._of(index)
            rows = ear.session.resync(engine.instruments[index].symbol, reason, now_ns)
            if len(rows):
                out.append(rows)
        for index in engine.narrow():
            self._of(index).session.refresh(engine.instruments[index].symbol)
        return out

    def _of(self, index: int) -> Ear:
        return next(ear for ear in self.ears if ear.span.start <= index < ear.span.stop)

    def said_by(self, ear: Ear, boundary: Boundary) -> Boundary:
        """A venue's part of a boundary."""
        if len(self.ears) == 1:
            return boundary
        names = ("vectors", "warm", "book_state", "book_epoch", "tape_epoch", "bill_inputs", "rows")
        return replace(boundary, **{name: getattr(boundary, name)[ear.span] for name in names})

    async def run(self) -> None:
        """Hold the connections open of who is listened to. Ends only by cancellation."""
        running: dict[int, asyncio.Task[None]] = {}
        try:
            while True:
                wanted = {id(ear): ear for ear in self.open}
                for key, ear in wanted.items():
                    if key not in running:
                        running[key] = asyncio.create_task(ear.feed.run())
                for key in [key for key in running if key not in wanted]:
                    task = running.pop(key)
                    task.cancel()
                    await asyncio.gather(task, return_exceptions=True)
                self._changed.clear()
                changed = asyncio.create_task(self._changed.wait())
                await asyncio.wait(
                    [changed, *running.values()], return_when=asyncio.FIRST_COMPLETED
                )
                changed.cancel()
                for task in running.values():
                    if task.done():
                        task.result()
        finally:
            for task in running.values():
                task.cancel()
            await asyncio.gather(*running.values(), return_exceptions=True)


def _session(plan: WatchPlan) -> Session:
    return venue_of(plan.market).session(
        plan.instruments, tape=plan.tape, stale_after_ns=int(plan.stale_after_s * SECOND_NS)
    )


def listen(
    plan: WatchPlan, clock: Clock, budgets: Budgets, tapped: Callable[[Any], Any],
    wire: Wire | None = None, rule: SwitchRule | None = None,
) -> Ears:  # fmt: skip
    """The ears of a plan and its fallbacks. `tapped` wraps the one session of a plan without
    fallbacks; of several venues there is no journal."""
    plans: Sequence[WatchPlan] = (plan, *plan.fallbacks)
    inners = [_session(one) for one in plans]
    whole: Any
    if len(plans) == 1:
        whole = tapped(inners[0])
        sessions: Sequence[Any] = [whole]
    else:
        whole = FallbackSession(inners[0], inners[1:], rule)
        sessions = whole.legs
    ears = []
    for k, (one, session, inner) in enumerate(zip(plans, sessions, inners, strict=True)):
        spoken = wire if wire is not None and k == 0 else venue_of(one.market).wire()
        feed = Feed(one, clock, spoken, budgets(one, spoken), k * NUMBERS_A_VENUE)
        n = len(one.instruments)
        ears.append(Ear(one, session, inner, feed, slice(k * n, (k + 1) * n)))
    return Ears(whole, tuple(ears))
