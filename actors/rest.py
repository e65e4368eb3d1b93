"""What a watcher asks over REST, all of it through one budget: snapshots first, then the past once,
and after it polls and the clock. An answer becomes an event; 429 and 418 stop everybody who shares
the budget.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import random
from collections import deque
from collections.abc import Callable, Sequence
from itertools import count
from typing import Final

import httpx

from actors.budget import Budget
from actors.events import Answer, Connection, Event, Snapshot
from actors.plan import is_loopback
from foreshock.market.clock import SECOND_NS, Clock
from foreshock.market.rows import OFFSET
from foreshock.venues.session import SnapshotRequest
from foreshock.venues.weights import UNDER_WAY_NS, back_off_s
from foreshock.venues.wire import Request, Wire

log = logging.getLogger(__name__)

URGENT, PATIENT = 0, 1
TIMEOUT_S: Final = UNDER_WAY_NS / SECOND_NS
ASKED_TO_WAIT_S: Final = 5.0  # where the venue refuses and does not say for how long
LOOK_AGAIN_S: Final = 0.25  # how long a request that must wait keeps others from overtaking it
OFFSET_EVERY_S: Final = 600.0
OFFSET_AGAIN_S: Final = 30.0
ROUND_TRIPS: Final = 5
PASTS_AT_ONCE: Final = 4
PAST_TRIES: Final = 3

_Asked = tuple[int, int, Request, SnapshotRequest | None]


class Rest:
    """The REST side of a feed. `run` is its life."""

    def __init__(
        self, wire: Wire, rest_url: str, clock: Clock, budget: Budget,
        emit: Callable[[Event], None], snapshots_per_s: float,
    ) -> None:  # fmt: skip
        self._wire, self._url, self._clock = wire, rest_url, clock
        self._budget, self._emit = budget, emit
        self._spacing_s = 1.0 / snapshots_per_s
        self._queue: asyncio.PriorityQueue[_Asked] = asyncio.PriorityQueue()
        self._number = count()
        self._waiting: set[tuple[str, str]] = set()  # polls in the queue: none twice
        self._offset_ns = 0
        self._tried_offset = asyncio.Event()
        self.polling = True  # off while the watcher is overloaded
        self.asked = self.refused = 0

    @property
    def waiting(self) -> int:
        """How many requests wait for their turn."""
        return self._queue.qsize()

    def snapshot(self, wanted: SnapshotRequest, request: Request) -> None:
        """Fetch a snapshot; one that failed before waits its back-off first, and then its turn like
        any other."""
        asked = (URGENT, next(self._number), request, wanted)
        if wanted.attempt:
            pause_s = back_off_s(wanted.attempt, random.uniform(0.5, 1.0))
            asyncio.get_running_loop().call_later(pause_s, self._queue.put_nowait, asked)
        else:
            self._queue.put_nowait(asked)

    async def run(
        self, polls: Sequence[Request], history: Callable[[int], Sequence[Request]] | None = None
    ) -> None:
        """Ask what is in the queue; `history`, once the venue's clock is known, which it is given;
        and then the polls, again and again. Ends only by cancellation."""
        own = is_loopback(self._url)
        # The client is the outer one: it must outlive the tasks that use it.
        async with (
            httpx.AsyncClient(timeout=TIMEOUT_S, trust_env=not own) as client,
            asyncio.TaskGroup() as group,
        ):
            group.create_task(self._follow_offset(client))
            group.create_task(self._ask_by_itself(client, polls, history))
            while True:
                asked = await self._queue.get()
                urgency, _, request, wanted = asked
                wait_s = await self._budget.take(request.weight, urgency == URGENT)
                if wait_s:
                    self._queue.put_nowait(asked)
                    await asyncio.sleep(min(wait_s, LOOK_AGAIN_S))
                    continue
                self._waiting.discard((request.kind, request.symbol))
                group.create_task(self._fetch(client, request, wanted))
                if wanted is not None:
                    await asyncio.sleep(self._spacing_s)

    async def _ask_by_itself(
        self, client: httpx.AsyncClient, polls: Sequence[Request],
        history: Callable[[int], Sequence[Request]] | None,
    ) -> None:  # fmt: skip
        """The past, a few symbols at a time, then the polls: a session takes values in the order of
        their time."""
        if history is not None:
            await self._tried_offset.wait()
            waiting = deque(history(self._clock.now_ns() + self._offset_ns))

            async def some() -> None:
                while waiting:
                    await self._fetch_past(client, waiting.popleft())

            async with asyncio.TaskGroup() as group:
                for _ in range(min(PASTS_AT_ONCE, len(waiting))):
                    group.create_task(some())
        if polls:
            await self._poll(polls)

    async def _fetch_past(self, client: httpx.AsyncClient, first: Request) -> None:
        """All pages of it, and then their answers, at one moment, so that nothing lies between
        them. What does not come after some tries is done without."""
        pages: list[tuple[str, bytes]] = []
        wanted: Request | None = first
        tries = 0
        while wanted is not None and tries < PAST_TRIES:
            while wait_s := await self._budget.take(wanted.weight, False):
                await asyncio.sleep(wait_s)
            body = await self._get(client, wanted)
            if body is None:
                tries += 1
                await asyncio.sleep(back_off_s(tries, random.uniform(0.5, 1.0)))
                continue
            pages.append((wanted.kind, body))
            tries = 0
            try:
                wanted = self._wire.later(wanted, body)
            except ValueError as error:
                log.warning("%s of %s: %r", wanted.kind, wanted.symbol, error)
                wanted = None
        now_ns = self._clock.now_ns()
        for kind, body in pages:
            self._emit(Answer(now_ns, kind, first.symbol, body))

    async def _poll(self, polls: Sequence[Request]) -> None:
        """Put each poll into the queue when it is due, the first time at a moment of its own."""
        loop, start = asyncio.get_running_loop(), count()
        due = [(loop.time() + p.every_s * random.random(), next(start), p) for p in polls]
        heapq.heapify(due)
        while True:
            at_s, number, request = due[0]
            await asyncio.sleep(max(0.0, at_s - loop.time()))
            if self.polling and (request.kind, request.symbol) not in self._waiting:
                self._waiting.add((request.kind, request.symbol))
                self._queue.put_nowait((PATIENT, next(self._number), request, None))
            heapq.heapreplace(due, (loop.time() + request.every_s, number, request))

    async def _get(self, client: httpx.AsyncClient, request: Request) -> bytes | None:
        """The body of a good answer; None, and a line in the log, where there is none."""
        self.asked += 1
        try:
            async with asyncio.timeout(TIMEOUT_S):
                answer = await client.get(self._url + request.path, params=dict(request.params))
        except (httpx.HTTPError, TimeoutError) as error:
            log.warning("%s of %s: %r", request.kind, request.symbol or "the venue", error)
            return None
        if (used := self._wire.used_weight(answer.headers)) is not None:
            await self._budget.correct(used)
        if answer.status_code == 200:
            return answer.content
        self.refused += 1
        if answer.status_code in (418, 429):
            wait_s = _seconds_asked(answer.headers.get("Retry-After"))
            await self._budget.stop(wait_s)
            log.warning("%s: the venue asks everybody to wait %s s", request.kind, wait_s)
        else:
            log.info("no %s of %s: %d", request.kind, request.symbol, answer.status_code)
        return None

    async def _fetch(
        self, client: httpx.AsyncClient, request: Request, wanted: SnapshotRequest | None
    ) -> None:
        body = await self._get(client, request)
        now_ns = self._clock.now_ns()
        if wanted is not None:
            self._emit(Snapshot(now_ns, wanted.symbol, wanted.levels, body))
        elif body is not None:
            self._emit(Answer(now_ns, request.kind, request.symbol, body))

    # The clock of the venue

    async def _follow_offset(self, client: httpx.AsyncClient) -> None:
        """Measure the clock offset, and again now and then: clocks drift apart."""
        while True:
            offset_ns = await self._measure_offset(client)
            if offset_ns is not None:
                self._offset_ns = offset_ns
            self._tried_offset.set()
            if offset_ns is not None:
                self._emit(Connection(self._clock.now_ns(), -1, OFFSET, 0, (), offset_ns))
            await asyncio.sleep(OFFSET_AGAIN_S if offset_ns is None else OFFSET_EVERY_S)

    async def _measure_offset(self, client: httpx.AsyncClient) -> int | None:
        """Venue clock minus ours at the middle of the shortest of some round trips, whose error is
        at most half that trip; None where the venue does not tell."""
        request, best = self._wire.time(), (2**63, 0)
        for _ in range(ROUND_TRIPS):
            while wait_s := await self._budget.take(request.weight, False):
                await asyncio.sleep(wait_s)
            before_ns = self._clock.now_ns()
            body = await self._get(client, request)
            after_ns = self._clock.now_ns()
            if body is None:
                return None
            try:
                venue_ns = self._wire.venue_ns(body)
            except ValueError as error:
                log.warning("clock offset: %r", error)
                return None
            best = min(best, (after_ns - before_ns, venue_ns - (before_ns + after_ns) // 2))
            await asyncio.sleep(0.1)
        return best[1]


def _seconds_asked(header: str | None) -> float:
    """Of a Retry-After in seconds; a date, or none, is ASKED_TO_WAIT_S."""
    try:
        return max(0.0, float(header or ASKED_TO_WAIT_S))
    except ValueError:
        return ASKED_TO_WAIT_S
