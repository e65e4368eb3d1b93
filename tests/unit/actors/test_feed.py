"""The sockets of a watcher against the local exchange, over real loopback sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest

from actors.events import Answer, Connection, Event, Frames, Snapshot
from actors.exchange_settings import LocalExchangeSettings
from actors.feed import Feed
from actors.local_exchange import LocalExchange
from actors.plan import WatchPlan, is_loopback
from foreshock.market.clock import SECOND_NS, Clock
from foreshock.market.instruments import SPOT, Instrument, from_exchange_info
from foreshock.market.rows import CONNECTED, CUT, OFFSET
from foreshock.models.base import Domain
from foreshock.simulation.faults import Fault
from foreshock.simulation.settings import SimulationSettings
from foreshock.venues.registry import venue_of
from foreshock.venues.session import SnapshotRequest
from foreshock.venues.wire import Wire

DOMAIN = Domain(source="simulation", market=SPOT, tier="book")
PATIENCE_S = 60.0


def play(scene: Callable[[], Awaitable[None]]) -> None:
    async def whole() -> None:
        async with asyncio.timeout(PATIENCE_S):
            await scene()

    asyncio.run(whole())


class Listener:
    """A running feed, and everything that came out of it so far."""

    def __init__(self, feed: Feed) -> None:
        self.feed, self.events = feed, list[Event]()

    def take(self) -> list[Event]:
        self.events += self.feed.take()
        return self.events

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.take() if isinstance(event, kind)]

    def links(self, state: int) -> list[Connection]:
        return [link for link in self.of(Connection) if link.state == state]

    def texts(self) -> list[bytes]:
        return [body for event in self.of(Frames) for body in event.bodies]

    async def until(self, true: Callable[[], object]) -> None:
        while not true():
            await asyncio.sleep(0.01)


@asynccontextmanager
async def exchange_playing(market: str = SPOT, symbols: int = 2) -> AsyncIterator[LocalExchange]:
    simulation = SimulationSettings.model_validate(
        {"market": market, "symbols": symbols, "start_ns": Clock().now_ns()}
    )
    exchange = LocalExchange(LocalExchangeSettings(simulation=simulation))
    await exchange.start()
    try:
        yield exchange
    finally:
        await exchange.stop()


def plan_for(exchange: LocalExchange, **more: Any) -> WatchPlan:
    listed = from_exchange_info(
        orjson.loads(exchange.source.exchange_info()), exchange.source.market
    )
    urls = {"ws_url": exchange.ws_url, "rest_url": exchange.rest_url}
    given: dict[str, Any] = {"name": "w", "instruments": tuple(listed), "domain": DOMAIN, **urls}
    return WatchPlan(**{**given, **more})


@asynccontextmanager
async def listening(plan: WatchPlan, wire: Wire | None = None) -> AsyncIterator[Listener]:
    feed = Feed(plan, Clock(), venue_of(plan.market).wire() if wire is None else wire)
    life = asyncio.create_task(feed.run())
    try:
        yield Listener(feed)
    finally:
        life.cancel()
        with pytest.raises(asyncio.CancelledError):
            await life


def test_frames_of_every_stream_come_stamped_in_order() -> None:
    async def scene() -> None:
        async with exchange_playing() as exchange, listening(plan_for(exchange)) as heard:

            def kinds() -> set[bytes]:
                bodies = heard.texts()
                return {b.split(b'"')[3] for b in bodies if b.startswith(b'{"stream":"')}

            wanted = {b"depth", b"bookTicker", b"trade"}
            await heard.until(lambda: wanted <= {k.split(b"@")[1] for k in kinds()})
            stamps = [event.arrival_ns for event in heard.events]
            assert stamps == sorted(stamps)
            of_socket = [event for event in heard.events if not isinstance(event, Answer)]
            assert heard.links(CONNECTED)[0] is of_socket[0]
            assert heard.feed.status()[0]["reconnects"] == 0

    play(scene)


def test_a_usdm_book_and_its_tape_come_over_two_sockets() -> None:
    async def scene() -> None:
        async with (
            exchange_playing("binance-usdm") as exchange,
            listening(plan_for(exchange, tape="aggTrade")) as heard,
        ):
            await heard.until(lambda: any(b"@aggTrade" in text for text in heard.texts()))
            await heard.until(lambda: any(b"@depth" in text for text in heard.texts()))
            assert {link.number for link in heard.links(CONNECTED)} == {0, 1}
            assert {link.families for link in heard.links(CONNECTED)} == {1, 2}

    play(scene)


def test_a_cut_socket_says_so_and_comes_back() -> None:
    async def scene() -> None:
        async with exchange_playing() as exchange, listening(plan_for(exchange)) as heard:
            await heard.until(lambda: heard.of(Frames))
            exchange.inject(Fault(kind="cut", symbol="BTCUSDT"))
            await heard.until(lambda: len(heard.links(CONNECTED)) == 2)
            (cut,) = heard.links(CUT)
            assert set(cut.symbols) == set(exchange.source.symbols)
            again = heard.links(CONNECTED)[1].arrival_ns
            await heard.until(lambda: heard.of(Frames)[-1].arrival_ns > again)
            between = [f for f in heard.of(Frames) if cut.arrival_ns < f.arrival_ns < again]
            assert between == []
            assert heard.feed.status()[0]["reconnects"] == 1

    play(scene)


def test_a_socket_that_is_subscribed_but_silent_is_opened_anew() -> None:
    async def scene() -> None:
        async with (
            exchange_playing() as exchange,
            listening(plan_for(exchange, silent_after_s=0.5)) as heard,
        ):
            await heard.until(lambda: heard.of(Frames))
            exchange.inject(Fault(kind="silence", count=10**9))
            await heard.until(lambda: heard.links(CUT))
            exchange.inject(Fault(kind="silence", count=0))
            silent_ns = heard.links(CUT)[0].arrival_ns - max(
                f.arrival_ns for f in heard.events if isinstance(f, Frames)
            )
            assert silent_ns >= SECOND_NS // 2
            count = len(heard.texts())
            await heard.until(lambda: len(heard.texts()) > count + 20)

    play(scene)


def test_an_exchange_that_is_away_is_waited_for() -> None:
    async def scene() -> None:
        async with exchange_playing() as exchange:
            plan = plan_for(exchange)
            async with listening(plan) as heard:
                await heard.until(lambda: heard.of(Frames))
                await exchange.stop()
                await heard.until(lambda: heard.links(CUT))
                settings = exchange.settings.model_copy(update={"port": exchange.port})
                reborn = LocalExchange(settings)
                await reborn.start()
                try:
                    await heard.until(lambda: len(heard.links(CONNECTED)) > 1)
                    count = len(heard.texts())
                    await heard.until(lambda: len(heard.texts()) > count + 20)
                finally:
                    await reborn.stop()

    play(scene)


def test_the_clock_offset_is_the_distance_to_the_venue() -> None:
    async def scene() -> None:
        async with exchange_playing() as exchange, listening(plan_for(exchange)) as heard:
            await heard.until(lambda: heard.links(OFFSET))
            (offset,) = heard.links(OFFSET)
            assert offset.number == -1
            venue_ns = offset.arrival_ns + offset.offset_ns
            assert abs(exchange.source.now_ns - venue_ns) < 30 * SECOND_NS

    play(scene)


def test_a_snapshot_is_fetched_and_one_that_is_not_there_is_an_empty_answer() -> None:
    async def scene() -> None:
        async with exchange_playing() as exchange:
            plan = plan_for(exchange, snapshots_per_s=100.0)
            async with listening(plan) as heard:
                heard.feed.request([SnapshotRequest("BTCUSDT", 100, 0)])
                heard.feed.request([SnapshotRequest("NOSUCHUSDT", 100, 0)])
                await heard.until(lambda: len(heard.of(Snapshot)) == 2)
                bodies = {one.symbol: one.body for one in heard.of(Snapshot)}
                assert bodies["BTCUSDT"] is not None and b'"lastUpdateId"' in bodies["BTCUSDT"]
                assert bodies["NOSUCHUSDT"] is None

    play(scene)


class RestVenue:
    """A venue whose REST answers are what a test wants them to be, with the moments of asking."""

    def __init__(self, answers: list[bytes]) -> None:
        self.answers, self.asked_s = answers, list[float]()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        if b"/depth" in request:
            self.asked_s.append(asyncio.get_running_loop().time())
            writer.write(self.answers.pop(0) if len(self.answers) > 1 else self.answers[0])
        else:
            writer.write(_answer(404, b"{}"))
        await writer.drain()
        writer.close()


def _answer(status: int, body: bytes, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


@asynccontextmanager
async def asking(venue: RestVenue, **more: Any) -> AsyncIterator[Listener]:
    server = await asyncio.start_server(venue.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    plan = WatchPlan(
        name="w",
        instruments=(Instrument.of("AAAUSDT", SPOT, "0.01", "0.1"),),
        domain=DOMAIN,
        ws_url="ws://127.0.0.1:1",
        rest_url=f"http://127.0.0.1:{port}",
        **more,
    )
    async with server, listening(plan) as heard:
        yield heard


@pytest.mark.parametrize("status", [429, 418])
def test_a_venue_that_asks_to_wait_is_left_alone_by_every_fetch(status: int) -> None:
    async def scene() -> None:
        venue = RestVenue([_answer(status, b"{}", "Retry-After: 1"), _answer(200, b'{"a":1}')])
        async with asking(venue, snapshots_per_s=1_000.0) as heard:
            heard.feed.request([SnapshotRequest("AAAUSDT", 100, 0)])
            await heard.until(lambda: heard.of(Snapshot))
            heard.feed.request([SnapshotRequest("AAAUSDT", 100, 0)] * 3)
            await heard.until(lambda: len(heard.of(Snapshot)) == 4)
            bodies = [one.body for one in heard.of(Snapshot)]
            assert bodies == [None, b'{"a":1}', b'{"a":1}', b'{"a":1}']
            assert venue.asked_s[1] - venue.asked_s[0] >= 0.9

    play(scene)


def test_a_retry_after_that_is_no_number_does_not_end_the_feed() -> None:
    async def scene() -> None:
        date = "Retry-After: Wed, 21 Oct 2015 07:28:00 GMT"
        venue = RestVenue([_answer(429, b"{}", date), _answer(503, b"")])
        async with asking(venue) as heard:
            heard.feed.request([SnapshotRequest("AAAUSDT", 100, 0)])
            await heard.until(lambda: heard.of(Snapshot))
            assert heard.of(Snapshot)[0].body is None

    play(scene)


def test_a_failed_snapshot_backs_off_longer_with_each_attempt_and_keeps_to_the_budget() -> None:
    async def scene() -> None:
        venue = RestVenue([_answer(404, b"{}")])
        async with asking(venue, snapshots_per_s=20.0) as heard:
            loop = asyncio.get_running_loop()
            began_s = loop.time()
            heard.feed.request([SnapshotRequest("AAAUSDT", 100, 2)])
            await heard.until(lambda: heard.of(Snapshot))
            assert venue.asked_s[0] - began_s >= 0.5 * 0.2 * 2**2
            # A hundred books that failed together do not come back together.
            heard.feed.request([SnapshotRequest("AAAUSDT", 100, 1)] * 10)
            await heard.until(lambda: len(heard.of(Snapshot)) == 11)
            assert venue.asked_s[-1] - venue.asked_s[1] >= 9 / 20.0 * 0.9

    play(scene)


@pytest.mark.parametrize(
    ("url", "own"),
    [
        ("http://127.0.0.1:80", True),
        ("ws://[::1]:9", True),
        ("http://localhost", True),
        ("wss://stream.binance.com:9443", False),
        ("http://10.0.0.1", False),
    ],
)
def test_the_environments_proxy_is_for_other_machines(url: str, own: bool) -> None:
    assert is_loopback(url) is own
