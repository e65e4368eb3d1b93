"""The sockets of one watcher: streams spread over connections, reconnects, snapshots over REST.

Everything that arrives is stamped at once and laid in one list, in order; the watcher takes the
list in micro-batches. A feed knows no row and no book.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import httpx
import websockets
from websockets.asyncio.client import connect

from actors.plan import WatchPlan, is_loopback
from foreshock.market.clock import MS_NS, SECOND_NS, Clock
from foreshock.market.instruments import SPOT
from foreshock.market.rows import CONNECTED, CUT, OFFSET
from foreshock.venues.binance import BOOK_FAMILY, TAPE_FAMILY
from foreshock.venues.session import SnapshotRequest

log = logging.getLogger(__name__)

SYMBOLS_PER_CONNECTION: Final = 100
STREAMS_PER_SUBSCRIBE: Final = 100  # the venue takes 5 messages a second and reads them slowly
SUBSCRIBE_PAUSE_S: Final = 0.25
MAX_FRAME_BYTES: Final = 4_000_000
FIRST_BACK_OFF_S: Final = 0.2
LONGEST_BACK_OFF_S: Final = 30.0
STABLE_S: Final = 10.0  # a connection that lived so long was good: the back-off begins anew
ASKED_TO_WAIT_S: Final = 5.0  # where the venue refuses and does not say for how long
OFFSET_EVERY_S: Final = 600.0


@dataclass(frozen=True, slots=True)
class Frame:
    """A WebSocket text, as it came."""

    arrival_ns: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A REST depth answer; `body` is None where the fetch came to nothing."""

    arrival_ns: int
    symbol: str
    levels: int
    body: bytes | None


@dataclass(frozen=True, slots=True)
class Connection:
    """A socket was connected or cut, or the clock offset was measured (state OFFSET)."""

    arrival_ns: int
    number: int
    state: int
    families: int
    symbols: tuple[str, ...]
    offset_ns: int = 0


Event = Frame | Snapshot | Connection


@dataclass(slots=True)
class _Socket:
    number: int
    url: str
    streams: list[str]
    families: int
    symbols: tuple[str, ...]
    last_frame_ns: int = 0
    reconnects: int = 0


@dataclass(slots=True)
class Feed:
    """All sockets of a plan. `run` holds them open until cancelled; `take` empties the list."""

    plan: WatchPlan
    clock: Clock
    frames: int = 0
    _events: list[Event] = field(default_factory=list)
    _sockets: list[_Socket] = field(default_factory=list)
    _requests: asyncio.Queue[SnapshotRequest] = field(default_factory=asyncio.Queue)
    _asked_to_wait_until_ns: int = 0

    def take(self) -> list[Event]:
        """What arrived since the last call, in order of arrival."""
        events, self._events = self._events, []
        return events

    def request(self, requests: Sequence[SnapshotRequest]) -> None:
        """Fetch these snapshots, within the budget of the plan; call it on the loop of `run`. One
        that failed before waits its back-off first, and then its turn like any other."""
        for request in requests:
            if request.attempt:
                pause_s = min(FIRST_BACK_OFF_S * 2**request.attempt, LONGEST_BACK_OFF_S)
                asyncio.get_running_loop().call_later(
                    pause_s * random.uniform(0.5, 1.0), self._requests.put_nowait, request
                )
            else:
                self._requests.put_nowait(request)

    def status(self) -> list[dict[str, int | str | float]]:
        """One entry a socket: number, streams, seconds since its last frame, reconnects."""
        now_ns = self.clock.now_ns()
        return [
            {
                "number": socket.number,
                "streams": len(socket.streams),
                "reconnects": socket.reconnects,
                "silent_s": round((now_ns - socket.last_frame_ns) / SECOND_NS, 3)
                if socket.last_frame_ns
                else -1.0,
            }
            for socket in self._sockets
        ]

    async def run(self) -> None:
        """Open everything and keep it open. Ends only by cancellation."""
        self._sockets = list(self._spread())
        # The client is the outer one: it must outlive the tasks that use it.
        own = is_loopback(self.plan.rest_url)
        async with (
            httpx.AsyncClient(timeout=10.0, trust_env=not own) as client,
            asyncio.TaskGroup() as group,
        ):
            group.create_task(self._follow_offset(client))
            group.create_task(self._fetch_snapshots(client))
            for socket in self._sockets:
                group.create_task(self._hold(socket))
                await asyncio.sleep(0.05)  # staged: the venue counts connects by address

    def _spread(self) -> list[_Socket]:
        plan = self.plan
        routes: list[tuple[str, tuple[str, ...], int]]
        if plan.market == SPOT:
            kinds = ("depth@100ms", "bookTicker", plan.tape)
            routes = [("/stream", kinds, BOOK_FAMILY | TAPE_FAMILY)]
        else:  # since 2026 a book and its tape come over different routes
            routes = [
                ("/public/stream", ("depth@100ms", "bookTicker"), BOOK_FAMILY),
                ("/market/stream", (plan.tape,), TAPE_FAMILY),
            ]
        out: list[_Socket] = []
        for start in range(0, len(plan.symbols), SYMBOLS_PER_CONNECTION):
            symbols = plan.symbols[start : start + SYMBOLS_PER_CONNECTION]
            for route, kinds, families in routes:
                streams = [f"{symbol.lower()}@{kind}" for symbol in symbols for kind in kinds]
                out.append(_Socket(len(out), plan.ws_url + route, streams, families, symbols))
        return out

    async def _hold(self, socket: _Socket) -> None:
        """One socket for ever: connect, subscribe, read, and again after a cut. A venue that
        accepts and then cuts at once meets the back-off too: it counts connects by address."""
        back_off_s = 0.0
        loop = asyncio.get_running_loop()
        while True:
            if back_off_s:
                await asyncio.sleep(back_off_s * random.uniform(0.5, 1.0))
            began_s = loop.time()
            try:
                async with connect(
                    socket.url, max_size=MAX_FRAME_BYTES, compression=None, max_queue=1024,
                    open_timeout=10, close_timeout=1,
                    proxy=None if is_loopback(socket.url) else True,
                ) as wire:  # fmt: skip
                    self._say(socket, CONNECTED)
                    try:
                        await self._read(socket, wire)
                    finally:
                        socket.reconnects += 1
                        self._say(socket, CUT)
            except (OSError, TimeoutError, websockets.WebSocketException) as error:
                log.warning("socket %d: %s", socket.number, error)
            if loop.time() - began_s >= STABLE_S:
                back_off_s = 0.0
            back_off_s = min(max(2 * back_off_s, FIRST_BACK_OFF_S), LONGEST_BACK_OFF_S)

    def _say(self, socket: _Socket, state: int) -> None:
        self._events.append(
            Connection(self.clock.now_ns(), socket.number, state, socket.families, socket.symbols)
        )

    async def _read(self, socket: _Socket, wire: websockets.ClientConnection) -> None:
        """Read until the socket is cut, or nothing came for `silent_after_s`."""
        silent_s, loop = self.plan.silent_after_s, asyncio.get_running_loop()
        # One timer that is moved on now and then, not one per frame: it fires a quarter late.
        often_ns = int(silent_s / 4 * SECOND_NS)
        now_ns, recv = self.clock.now_ns, wire.recv
        moved_ns = now_ns()
        subscriber = asyncio.create_task(self._subscribe(socket, wire))
        try:
            async with asyncio.timeout(1.25 * silent_s) as limit:
                while True:
                    body = await recv(decode=False)
                    socket.last_frame_ns = stamp_ns = now_ns()
                    self.frames += 1
                    self._events.append(Frame(stamp_ns, body))
                    if stamp_ns - moved_ns >= often_ns:
                        limit.reschedule(loop.time() + 1.25 * silent_s)
                        moved_ns = stamp_ns
        except TimeoutError:
            log.warning("socket %d: subscribed but silent for %s s", socket.number, silent_s)
        finally:
            subscriber.cancel()
            await asyncio.gather(subscriber, return_exceptions=True)

    async def _subscribe(self, socket: _Socket, wire: websockets.ClientConnection) -> None:
        for k in range(0, len(socket.streams), STREAMS_PER_SUBSCRIBE):
            part = socket.streams[k : k + STREAMS_PER_SUBSCRIBE]
            await wire.send(json.dumps({"method": "SUBSCRIBE", "params": part, "id": k + 1}))
            await asyncio.sleep(SUBSCRIBE_PAUSE_S)

    async def _follow_offset(self, client: httpx.AsyncClient) -> None:
        """Measure the clock offset, and again now and then: clocks drift apart."""
        while True:
            offset_ns = await self._measure_offset(client)
            if offset_ns is not None:
                self._events.append(Connection(self.clock.now_ns(), -1, OFFSET, 0, (), offset_ns))
            await asyncio.sleep(LONGEST_BACK_OFF_S if offset_ns is None else OFFSET_EVERY_S)

    async def _measure_offset(self, client: httpx.AsyncClient) -> int | None:
        """Venue clock minus ours at the middle of the best of five round trips; None where the
        venue does not tell."""
        best: tuple[int, int] | None = None
        for _ in range(5):
            before_ns = self.clock.now_ns()
            try:
                answer = await client.get(f"{self.plan.rest_url}{self.plan.api_prefix}/time")
                after_ns = self.clock.now_ns()
                venue_ns = int(answer.json()["serverTime"]) * MS_NS
            except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
                log.warning("clock offset: %r", error)
                return None
            trip_ns = after_ns - before_ns
            if best is None or trip_ns < best[0]:
                best = (trip_ns, venue_ns - (before_ns + after_ns) // 2)
            await asyncio.sleep(0.1)
        return None if best is None else best[1]

    async def _fetch_snapshots(self, client: httpx.AsyncClient) -> None:
        """In turn, spaced by the budget; all of them wait where the venue asks for it."""
        async with asyncio.TaskGroup() as group:
            while True:
                request = await self._requests.get()
                while (wait_ns := self._asked_to_wait_until_ns - self.clock.now_ns()) > 0:
                    await asyncio.sleep(wait_ns / SECOND_NS)
                group.create_task(self._fetch(client, request))
                await asyncio.sleep(1.0 / self.plan.snapshots_per_s)

    async def _fetch(self, client: httpx.AsyncClient, request: SnapshotRequest) -> None:
        body: bytes | None = None
        try:
            answer = await client.get(
                f"{self.plan.rest_url}{self.plan.api_prefix}/depth",
                params={"symbol": request.symbol, "limit": request.levels},
            )
            if answer.status_code == 200:
                body = answer.content
            elif answer.status_code in (418, 429):
                wait_s = _seconds_asked(answer.headers.get("Retry-After"))
                self._asked_to_wait_until_ns = self.clock.now_ns() + int(wait_s * SECOND_NS)
                log.warning("snapshots: the venue asks to wait %s s", wait_s)
            else:
                log.info("no snapshot of %s: %d", request.symbol, answer.status_code)
        except httpx.HTTPError as error:
            log.warning("snapshot of %s: %r", request.symbol, error)
        self._events.append(Snapshot(self.clock.now_ns(), request.symbol, request.levels, body))


def _seconds_asked(header: str | None) -> float:
    """Of a Retry-After in seconds; a date, or none, is ASKED_TO_WAIT_S."""
    try:
        return max(0.0, float(header or ASKED_TO_WAIT_S))
    except ValueError:
        return ASKED_TO_WAIT_S
