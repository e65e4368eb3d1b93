"""A line against a real server on loopback: spread, staged, cut, renewed before its time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest

from actors.events import Connection, Event, Frames
from actors.line import Connects, Line
from foreshock.market.clock import Clock
from foreshock.market.rows import CONNECTED, CUT
from tests.reference.loopback import Loopback, LoopbackWire, open_loopback

SYMBOLS = ("AAAUSDT", "BBBUSDT")
PATIENCE_S = 40.0


def play(scene: Callable[[], Awaitable[None]]) -> None:
    async def whole() -> None:
        async with asyncio.timeout(PATIENCE_S):
            await scene()

    asyncio.run(whole())


async def until(true: Callable[[], object]) -> None:
    while not true():
        await asyncio.sleep(0.005)


class Heard:
    """A running line and what it brought."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.line: Line

    def links(self, state: int) -> list[Connection]:
        return [e for e in self.events if isinstance(e, Connection) and e.state == state]

    def texts(self) -> list[bytes]:
        return [body for e in self.events if isinstance(e, Frames) for body in e.bodies]

    def counts(self, stream: str) -> list[int]:
        found = [json.loads(body) for body in self.texts()]
        return [one["n"] for one in found if one.get("stream") == stream]


@asynccontextmanager
async def holding(
    server: Loopback, silent_after_s: float = 20.0, clock: Clock | None = None, **wire: object
) -> AsyncIterator[Heard]:
    clock, heard = clock or Clock(), Heard()
    spoken = LoopbackWire(**wire)  # type: ignore[arg-type]
    (part,) = spoken.subscriptions(SYMBOLS, "trade", 100)
    heard.line = Line(
        3, part, spoken, server.url, clock, heard.events.append,
        Connects(spoken.connects_per_5min, clock), silent_after_s,
    )  # fmt: skip
    life = asyncio.create_task(heard.line.run())
    try:
        yield heard
    finally:
        life.cancel()
        await asyncio.gather(life, return_exceptions=True)


def test_every_stream_comes_and_messages_are_spaced_as_the_venue_wants() -> None:
    async def scene() -> None:
        async with (
            open_loopback() as server,
            holding(server, message_pause_s=0.1, per_message=1) as heard,
        ):
            await until(lambda: all(heard.counts(s) for s in heard.line.subscription.streams))
            at_s = [when for when, _ in server.said]
            assert len(at_s) == 4
            assert min(b - a for a, b in pairwise(at_s)) > 0.08
            (first,) = heard.links(CONNECTED)
            assert heard.events[0] is first and first.number == 3 and first.symbols == SYMBOLS

    play(scene)


def test_a_venue_that_wants_a_heartbeat_gets_it() -> None:
    async def scene() -> None:
        async with open_loopback() as server, holding(server, heartbeat=(0.05, "beat")):
            await until(lambda: [text for _, text in server.said].count("beat") >= 3)

    play(scene)


def test_before_the_venue_cuts_it_another_socket_takes_over_without_a_gap() -> None:
    async def scene() -> None:
        # The server cuts at 2.5 s, the line believes so too: three lifetimes, no cut reaches it.
        async with (
            open_loopback(lifetime_s=2.5) as server,
            holding(server, lifetime_s=2.5) as heard,
        ):
            await until(lambda: heard.line.renewals >= 3)
            count = max(heard.counts("aaausdt@trade"))
            await until(lambda: max(heard.counts("aaausdt@trade")) > count + 20)
            assert server.most_sockets == 2 and server.cuts == 0
            assert not heard.links(CUT) and len(heard.links(CONNECTED)) == 1
            for stream in heard.line.subscription.streams:
                seen = heard.counts(stream)
                # Not one is missing, none comes twice, none out of its turn.
                assert seen == list(range(seen[0], seen[0] + len(seen)))
            stamps = [event.arrival_ns for event in heard.events]
            assert stamps == sorted(stamps)

    play(scene)


def test_a_successor_that_fails_is_tried_again_while_the_old_socket_goes_on() -> None:
    async def scene() -> None:
        async with open_loopback() as server, holding(server, lifetime_s=2.0) as heard:
            await until(lambda: heard.texts())
            server.refuse = True
            await until(lambda: server.connects >= 4)
            assert not heard.links(CUT)
            server.refuse = False
            await until(lambda: heard.line.renewals >= 1)
            seen = heard.counts("bbbusdt@depth")
            assert seen == list(range(seen[0], seen[0] + len(seen)))

    play(scene)


def test_a_cut_is_told_and_the_first_try_comes_within_a_second() -> None:
    async def scene() -> None:
        async with open_loopback() as server, holding(server) as heard:
            await until(lambda: heard.texts())
            server.cut_all()
            await until(lambda: len(heard.links(CONNECTED)) == 2)
            (cut,) = heard.links(CUT)
            again = heard.links(CONNECTED)[1]
            assert again.arrival_ns - cut.arrival_ns < 1_000_000_000
            assert heard.line.reconnects == 1
            at = heard.events.index(again)
            await until(lambda: len(heard.events) > at + 3)
            between = heard.events[heard.events.index(cut) + 1 : at]
            assert between == []

    play(scene)


def test_a_socket_that_says_nothing_at_all_is_cut_and_a_single_stream_is_taken_anew() -> None:
    async def scene() -> None:
        async with open_loopback() as server, holding(server, silent_after_s=0.6) as heard:
            streams = heard.line.subscription.streams
            await until(lambda: all(heard.counts(s) for s in streams))
            server.quiet.add(streams[0])  # the server wakes it when it is subscribed once more
            heard.line.take_anew([streams[0], "of-another-line"])
            count = len(heard.counts(streams[0]))
            await until(lambda: len(heard.counts(streams[0])) > count + 3)
            assert heard.line.reconnects == 0
            server.quiet.update(streams)
            await until(lambda: heard.line.reconnects == 1)
            await until(lambda: len(heard.links(CONNECTED)) == 2)
            heard.line.take_anew(streams)  # all of them: another socket
            await until(lambda: heard.line.reconnects == 2)

    play(scene)


def test_a_server_that_accepts_and_cuts_meets_the_back_off() -> None:
    async def scene() -> None:
        async with open_loopback(lifetime_s=0.0) as server, holding(server):
            await asyncio.sleep(1.0)
            assert 2 <= server.connects <= 14

    play(scene)


def test_connects_keep_to_the_venues_limit() -> None:
    async def scene() -> None:
        clock = Clock()
        connects, turns = Connects(4, clock), 0

        async def all_at_once() -> None:
            nonlocal turns
            while True:
                await connects.turn()
                turns += 1

        with pytest.raises(TimeoutError):
            await asyncio.wait_for(all_at_once(), 0.6)
        assert turns == 3  # a tenth of the limit stays for others

    play(scene)
