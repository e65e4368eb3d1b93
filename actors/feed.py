"""The connections of one watcher to one venue: its sockets (`line.py`) and its REST (`rest.py`).

Everything that arrives is stamped at once and laid in one list, in order; the watcher takes the
list in micro-batches. A feed follows a venue's `Wire` and knows no row and no book.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import Any

from actors.budget import Budget, OwnBudget
from actors.events import Answer, Event
from actors.line import Connects, Line
from actors.plan import WatchPlan
from actors.rest import Rest
from foreshock.market.clock import Clock
from foreshock.venues.session import SnapshotRequest
from foreshock.venues.socket_wire import SocketWire
from foreshock.venues.weights import WeightBudget, back_off_s
from foreshock.venues.wire import Wire


class Feed:
    """All connections of a plan. `run` holds them open until cancelled; `take` empties the list.

    wire     of the venue; its addresses are used where the plan names none
    budget   of REST weight; None: one of its own, the plan's share of the venue's limit
    number   of its first socket
    """

    def __init__(
        self, plan: WatchPlan, clock: Clock, wire: Wire, budget: Budget | None = None,
        number: int = 0,
    ) -> None:  # fmt: skip
        self.plan, self.wire, self._clock = plan, wire, clock
        self._events: list[Event] = []
        share = max(1, plan.watchers)
        if budget is None:
            budget = OwnBudget(WeightBudget(max(1, wire.weight_per_minute // share)), clock)
        self.budget = budget
        connects = Connects(wire.connects_per_5min // share, clock)
        parts = wire.subscriptions(plan.symbols, plan.tape, plan.symbols_per_socket)
        ws_url = plan.ws_url or wire.ws_url
        self.lines = [
            Line(number + k, part, wire, ws_url, clock, self._put, connects, plan.silent_after_s)
            for k, part in enumerate(parts)
        ]
        self.rest = Rest(
            wire, plan.rest_url or wire.rest_url, clock, budget, self._put, plan.snapshots_per_s
        )

    def _put(self, event: Event) -> None:
        self._events.append(event)

    @property
    def frames(self) -> int:
        """How many texts came."""
        return sum(line.frames for line in self.lines)

    def take(self) -> list[Event]:
        """What arrived since the last call, in order of arrival."""
        events, self._events = self._events, []
        return events

    def oldest_ns(self, default_ns: int) -> int:
        """Arrival of the oldest thing that was not taken yet; the default where there is none."""
        return self._events[0].arrival_ns if self._events else default_ns

    def request(self, requests: Sequence[SnapshotRequest]) -> None:
        """Fetch these snapshots; where they come over the socket, take those streams anew."""
        for request in requests:
            asked = self.wire.snapshot(request.symbol, request.levels)
            if asked is not None:
                self.rest.snapshot(request, asked)
            elif isinstance(self.wire, SocketWire):
                self._take_book_anew(self.wire.book_stream(request.symbol), request.attempt)

    def _take_book_anew(self, stream: str, attempt: int) -> None:
        """Have its snapshot sent over the socket; after a failure not at once."""
        pause_s = back_off_s(attempt, random.uniform(0.5, 1.0)) if attempt else 0.0
        loop = asyncio.get_running_loop()
        for line in self.lines:
            if stream in line.subscription.streams:
                loop.call_later(pause_s, line.resubscribe, [stream])

    def wake(self, streams: Sequence[str]) -> None:
        """Streams that are subscribed but silent (`Session.silent`)."""
        if streams:
            for line in self.lines:
                line.take_anew(streams)

    def learn(self, body: bytes) -> None:
        """The venue's list of instruments, which somebody else fetched for all watchers."""
        kind = self.wire.instruments().kind
        self._put(Answer(self._clock.now_ns(), kind, "", body))

    def status(self) -> list[dict[str, Any]]:
        """One entry a socket, see `Line.status`."""
        return [line.status() for line in self.lines]

    async def run(self) -> None:
        """Open everything and keep it open. Ends only by cancellation."""
        async with asyncio.TaskGroup() as group:
            symbols = self.plan.symbols
            group.create_task(
                self.rest.run(
                    self.wire.polls(symbols), lambda at_ns: self.wire.history(symbols, at_ns)
                )
            )
            for line in self.lines:
                group.create_task(line.run())
