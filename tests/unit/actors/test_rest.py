"""REST against a real server that counts what it is asked and refuses what is too much."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from urllib.parse import parse_qs, urlsplit

import pytest

from actors.budget import OwnBudget
from actors.events import Answer, Event, Snapshot
from actors.rest import Rest
from foreshock.market.clock import MS_NS, SECOND_NS, Clock
from foreshock.venues.session import SnapshotRequest
from foreshock.venues.weights import WeightBudget
from foreshock.venues.wire import Request
from tests.reference.loopback import LoopbackWire

PATIENCE_S = 40.0


def play(scene: Callable[[], Awaitable[None]]) -> None:
    async def whole() -> None:
        async with asyncio.timeout(PATIENCE_S):
            await scene()

    asyncio.run(whole())


class Counting:
    """A venue that allows `limit` weight in any `window_s`; a snapshot weighs 10, all else 1."""

    def __init__(self, limit: int = 10**9, window_s: float = 1.0) -> None:
        self.limit, self.window_s = limit, window_s
        self.counted: deque[tuple[float, int]] = deque()
        self.asked: list[str] = []
        self.fullest = self.refused = self.others = 0
        self.port = 0
        self.missing = "nobody"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                url = urlsplit(head.split(b" ", 2)[1].decode())
                now_s = asyncio.get_running_loop().time()
                self.counted.append((now_s, 10 if url.path == "/depth" else 1))
                while self.counted[0][0] <= now_s - self.window_s:
                    self.counted.popleft()
                used = sum(weight for _, weight in self.counted)
                self.fullest = max(self.fullest, used)
                symbol = parse_qs(url.query).get("symbol", [""])[0]
                self.asked.append(f"{url.path} {symbol}".strip())
                body, status = b'{"ns": 5000000000}', b"200 OK"
                if symbol == self.missing:
                    status = b"404 Not Found"
                if used > self.limit:
                    self.refused += 1
                    status = b"429 Too Many\r\nRetry-After: 1"
                writer.write(
                    b"HTTP/1.1 %s\r\nX-Used: %d\r\nContent-Length: %d\r\n\r\n"
                    % (status, used + self.others, len(body)) + body
                )  # fmt: skip
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


@asynccontextmanager
async def asking(
    venue: Counting, budget: WeightBudget, per_s: float = 1e6, polls: int = 0, past: int = 0
) -> AsyncIterator[tuple[Rest, list[Event]]]:
    server = await asyncio.start_server(venue.serve, "127.0.0.1", 0, backlog=512)
    venue.port = server.sockets[0].getsockname()[1]
    events: list[Event] = []
    clock, wire = Clock(), LoopbackWire()
    rest = Rest(wire, venue.url, clock, OwnBudget(budget, clock), events.append, per_s)
    async with server:
        again = wire.polls([f"P{k}" for k in range(polls)])
        symbols = [f"H{k}" for k in range(past)]
        life = asyncio.create_task(rest.run(again, lambda at_ns: wire.history(symbols, at_ns)))
        try:
            yield rest, events
        finally:
            life.cancel()
            await asyncio.gather(life, return_exceptions=True)


def want(rest: Rest, symbols: int, attempt: int = 0) -> None:
    wire = LoopbackWire()
    for k in range(symbols):
        request = wire.snapshot(f"S{k}", 100)
        assert isinstance(request, Request)
        rest.snapshot(SnapshotRequest(f"S{k}", 100, attempt), request)


async def until(true: Callable[[], object]) -> None:
    while not true():
        await asyncio.sleep(0.005)


def snapshots(events: list[Event]) -> list[Snapshot]:
    return [event for event in events if isinstance(event, Snapshot)]


def test_four_hundred_resyncs_at_once_never_exceed_the_limit() -> None:
    async def scene() -> None:
        venue = Counting(limit=2_000, window_s=1.0)
        budget = WeightBudget(2_000, window_ns=SECOND_NS, under_way_ns=400 * MS_NS)
        async with asking(venue, budget) as (rest, events):
            want(rest, 400)
            await until(lambda: len(snapshots(events)) == 400)
            assert venue.refused == 0 and 1_000 < venue.fullest <= 2_000
            assert all(one.body is not None for one in snapshots(events))
            assert {one.symbol for one in snapshots(events)} == {f"S{k}" for k in range(400)}

    play(scene)


def test_what_others_use_of_the_address_is_seen_and_left_to_them() -> None:
    async def scene() -> None:
        venue = Counting()
        venue.others = 1_700
        budget = WeightBudget(2_000, window_ns=SECOND_NS, under_way_ns=400 * MS_NS)
        async with asking(venue, budget) as (rest, events):
            await until(lambda: venue.asked)  # the clock's first question tells
            await until(lambda: budget.used(Clock().now_ns()) >= 1_700)
            want(rest, 60)
            await until(lambda: len(snapshots(events)) == 60)
            assert venue.fullest < 300

    play(scene)


def test_a_refusal_stops_everybody_who_shares_the_budget() -> None:
    async def scene() -> None:
        venue = Counting(limit=50, window_s=0.5)
        budget = WeightBudget(10_000)  # which believes in a limit that is not the venue's
        async with asking(venue, budget) as (rest, events):
            want(rest, 10)
            await until(lambda: venue.refused)
            await until(lambda: budget.stopped_s(Clock().now_ns()) > 0)
            asked = len(venue.asked)
            await until(lambda: budget.stopped_s(Clock().now_ns()) == 0)
            assert len(venue.asked) <= asked + 9  # those that were under way already
            want(rest, 1)
            await until(lambda: any(one.body for one in snapshots(events)[-1:]))

    play(scene)


def test_snapshots_do_not_wait_for_polls_that_wait() -> None:
    async def scene() -> None:
        venue, budget = Counting(), WeightBudget(100)
        async with asking(venue, budget, polls=60) as (rest, events):
            await until(lambda: budget.wait_ns(Clock().now_ns(), 1, False) and rest.waiting)
            want(rest, 4)
            await until(lambda: len(snapshots(events)) == 4)  # in milliseconds, not in a minute
            answers = [event for event in events if isinstance(event, Answer)]
            assert 30 < len(answers) <= 45
            assert {(a.kind, a.body[:5]) for a in answers} == {("oi", b'{"ns"')}

    play(scene)


def test_polls_wait_at_most_once_each_and_can_be_paused() -> None:
    async def scene() -> None:
        venue = Counting()
        async with asking(venue, WeightBudget(10**6), polls=3) as (rest, _):
            await until(lambda: {"/oi P0", "/oi P1", "/oi P2"} <= set(venue.asked))
            rest.polling = False
            await until(lambda: not rest.waiting)
            await asyncio.sleep(0.1)
            at = len(venue.asked)
            await asyncio.sleep(0.4)
            assert not any(one.startswith("/oi") for one in venue.asked[at:])
            rest.polling = True
            await until(lambda: any(one.startswith("/oi") for one in venue.asked[at:]))

    play(scene)


@pytest.mark.parametrize("attempt", [1, 3])
def test_a_failed_snapshot_backs_off_longer_with_each_attempt(attempt: int) -> None:
    async def scene() -> None:
        venue = Counting()
        async with asking(venue, WeightBudget(1_000)) as (rest, events):
            began_s = asyncio.get_running_loop().time()
            want(rest, 1, attempt)
            await until(lambda: snapshots(events))
            assert asyncio.get_running_loop().time() - began_s >= 0.5 * 0.2 * 2**attempt

    play(scene)


def answers(events: list[Event]) -> list[tuple[str, str]]:
    return [(event.kind, event.symbol) for event in events if isinstance(event, Answer)]


def test_the_past_is_asked_for_once_before_the_polls_and_told_page_by_page() -> None:
    async def scene() -> None:
        venue = Counting()
        async with asking(venue, WeightBudget(10**9), polls=2, past=9) as (_, events):
            await until(lambda: [a for a in answers(events) if a[0] == "oi"])
            told = answers(events)
            first_poll = next(k for k, (kind, _) in enumerate(told) if kind == "oi")
            past = told[:first_poll]
            assert len(past) == 18 and {kind for kind, _ in past} == {"past", "later"}
            for k in range(0, 18, 2):
                (first, of), (second, same) = past[k : k + 2]
                assert (first, second) == ("past", "later") and of == same
            assert {symbol for _, symbol in past} == {f"H{k}" for k in range(9)}
            assert venue.asked.count("/past H0") == 2

    play(scene)


def test_a_past_that_does_not_come_is_done_without() -> None:
    async def scene() -> None:
        venue = Counting()
        venue.missing = "H1"
        async with asking(venue, WeightBudget(10**9), polls=1, past=3) as (_, events):
            await until(lambda: [a for a in answers(events) if a[0] == "oi"])
            assert {s for kind, s in answers(events) if kind != "oi"} == {"H0", "H2"}
            assert venue.asked.count("/past H1") == 3

    play(scene)
