"""The local exchange over real loopback sockets, with a real WebSocket and a real HTTP client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import orjson
import pytest
import websockets

from actors.exchange_settings import LocalExchangeSettings, make_source
from actors.exchange_sources import Delivery
from actors.local_exchange import LocalExchange
from foreshock.errors import ConfigError
from foreshock.simulation.settings import SimulationSettings
from tests.reference.venue_book import GapError, VenueBook

Client = websockets.ClientConnection


def _simulated(market: str = "binance-spot", **more: Any) -> LocalExchangeSettings:
    simulation = SimulationSettings.model_validate(
        {"market": market, "symbols": 3, "start_ns": 1_790_000_000_000_000_000}
    )
    return LocalExchangeSettings(simulation=simulation, speed=more.pop("speed", 4.0), **more)


@asynccontextmanager
async def _running(
    settings: LocalExchangeSettings, source: Any = None
) -> AsyncIterator[tuple[LocalExchange, httpx.AsyncClient]]:
    exchange = LocalExchange(settings, source)
    await exchange.start()
    try:
        async with httpx.AsyncClient(
            base_url=exchange.rest_url, timeout=30, trust_env=False
        ) as web:
            yield exchange, web
    finally:
        await exchange.stop()


def _play(scene: Callable[[], Awaitable[None]]) -> None:
    async def whole() -> None:
        async with asyncio.timeout(60):
            await scene()

    asyncio.run(whole())


def _connect(exchange: LocalExchange, path: str) -> Any:
    # Clients that leave with unread frames do not wait for the closing handshake.
    return websockets.connect(
        exchange.ws_url + path, proxy=None, compression=None, close_timeout=0.1
    )


async def _next(client: Client) -> Any:
    return orjson.loads(await client.recv())


@pytest.mark.parametrize("market", ["binance-spot", "binance-usdm"])
def test_a_client_can_build_the_book_from_the_sockets(market: str) -> None:
    async def scene() -> None:
        base = "" if market == "binance-spot" else "/public"
        rest = "/api/v3" if market == "binance-spot" else "/fapi/v1"
        async with _running(_simulated(market)) as (exchange, web):
            path = f"{base}/stream?streams=btcusdt@depth@100ms/btcusdt@bookTicker"
            async with _connect(exchange, path) as client:
                book, joined = VenueBook(market), 0
                while joined < 20:
                    frame = await _next(client)
                    if frame["stream"] == "btcusdt@depth@100ms":
                        book.diff(frame["data"])
                        joined += book.snapshot_id is not None
                        if len(book.waiting) == 2:
                            asked = {"symbol": "BTCUSDT", "limit": 1000}
                            answer = await web.get(f"{rest}/depth", params=asked)
                            book.snapshot(answer.json())
                bids, asks = book.levels()
                assert bids[0][0] < asks[0][0] and len(bids) > 50

    _play(scene)


def test_subscriptions_are_answered_and_obeyed() -> None:
    async def scene() -> None:
        async with _running(_simulated()) as (exchange, _), _connect(exchange, "/ws") as client:

            async def ask(method: str, params: list[str], number: int) -> Any:
                asked = {"method": method, "params": params, "id": number}
                await client.send(orjson.dumps(asked).decode())
                while (answer := await _next(client)).get("id") != number:
                    pass
                return answer

            streams = ["btcusdt@trade", "ethusdt@depth@100ms"]
            assert await ask("SUBSCRIBE", streams, 1) == {"result": None, "id": 1}
            assert (await ask("LIST_SUBSCRIPTIONS", [], 2))["result"] == streams
            seen = set()
            while len(seen) < 2:
                frame = await _next(client)
                seen.add((frame["e"], frame["s"]))
            assert seen == {("trade", "BTCUSDT"), ("depthUpdate", "ETHUSDT")}
            assert (await ask("UNSUBSCRIBE", streams[1:], 3))["result"] is None
            for _ in range(5):
                assert (await _next(client))["s"] == "BTCUSDT"
            assert (await ask("SING", [], 4))["error"]["code"] == 2

    _play(scene)


def test_the_old_usdm_routes_accept_and_deliver_nothing() -> None:
    async def scene() -> None:
        async with _running(_simulated("binance-usdm")) as (exchange, _):
            silent = ["/stream?streams=btcusdt@depth@100ms", "/market/ws/btcusdt@bookTicker"]
            loud = ["/public/ws/btcusdt@bookTicker", "/market/ws/btcusdt@aggTrade"]
            async with (
                _connect(exchange, silent[0]) as old,
                _connect(exchange, silent[1]) as wrong,
                _connect(exchange, loud[0]) as ticker,
                _connect(exchange, loud[1]) as tape,
            ):
                for _ in range(3):
                    assert (await _next(ticker))["e"] == "bookTicker"
                    assert (await _next(tape))["e"] == "aggTrade"
                for mute in (old, wrong):
                    await mute.send('{"method":"LIST_SUBSCRIPTIONS","id":1}')
                    assert "result" in await _next(mute)  # nothing came before the answer

    _play(scene)


def test_rest_answers_as_the_venue_does() -> None:
    async def scene() -> None:
        async with _running(_simulated()) as (exchange, web):
            assert (await web.get("/api/v3/ping")).json() == {}
            assert (await web.get("/api/v3/time")).json()["serverTime"] >= 1_790_000_000_000
            info = (await web.get("/api/v3/exchangeInfo")).json()
            assert [entry["symbol"] for entry in info["symbols"]] == list(exchange.source.symbols)
            depth = await web.get("/api/v3/depth", params={"symbol": "ETHUSDT", "limit": 5})
            assert len(depth.json()["bids"]) == 5
            used = int(depth.headers["x-mbx-used-weight-1m"])
            more = await web.get("/api/v3/depth", params={"symbol": "ETHUSDT", "limit": 1000})
            assert int(more.headers["x-mbx-used-weight-1m"]) in (used + 50, 50)
            wrong = await web.get("/api/v3/depth", params={"symbol": "NOSUCH"})
            assert wrong.status_code == 400
            assert wrong.json() == {"code": -1121, "msg": "Invalid symbol."}
            assert (await web.get("/api/v3/depth")).json()["code"] == -1102
            assert (await web.get("/fapi/v1/ping")).status_code == 404
            trades = await web.get("/api/v3/aggTrades", params={"symbol": "BTCUSDT"})
            assert isinstance(trades.json(), list)
            assert isinstance((await web.get("/foreshock/truth")).json(), list)
            assert (await web.get("/foreshock/status")).json()["market"] == "binance-spot"

    _play(scene)


def test_too_much_weight_is_refused_with_a_time_to_wait() -> None:
    async def scene() -> None:
        async with _running(_simulated()) as (_, web):
            answers = [
                await web.get("/api/v3/depth", params={"symbol": "BTCUSDT", "limit": 5000})
                for _ in range(52)
            ]
            refused = [answer for answer in answers if answer.status_code == 429]
            assert refused and all(1 <= int(a.headers["retry-after"]) <= 60 for a in refused)

    _play(scene)


def test_faults_on_demand_make_a_gap_a_silence_rubbish_and_a_cut() -> None:
    async def scene() -> None:
        async with _running(_simulated()) as (exchange, web):

            async def fault(**what: Any) -> None:
                assert (await web.post("/foreshock/fault", json=what)).status_code == 200

            async with _connect(exchange, "/ws/btcusdt@depth@100ms") as client:
                book = VenueBook("binance-spot")
                book.diff(await _next(client))
                answer = await web.get("/api/v3/depth", params={"symbol": "BTCUSDT", "limit": 1000})
                book.snapshot(answer.json())
                for _ in range(3):
                    book.diff(await _next(client))
                await fault(kind="drop_next_depth", symbol="BTCUSDT", count=1)
                with pytest.raises(GapError):
                    while True:
                        book.diff(await _next(client))
                await fault(kind="garbage", symbol="BTCUSDT", count=2)
                rubbish = 0
                while rubbish < 2:
                    try:
                        frame = await _next(client)
                        rubbish += not isinstance(frame, dict) or "b" not in frame
                    except orjson.JSONDecodeError:
                        rubbish += 1
                await fault(kind="silence", symbol="BTCUSDT", count=10**9)
                await client.send('{"method":"LIST_SUBSCRIPTIONS","id":9}')
                while "id" not in await _next(client):
                    pass
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(client.recv(), 0.3)
                await fault(kind="silence", symbol="BTCUSDT", count=0)
                assert (await _next(client))["e"] == "depthUpdate"
                await fault(kind="cut", symbol="BTCUSDT")
                with pytest.raises(websockets.ConnectionClosed):
                    while True:
                        await client.recv()
            bad = await web.post("/foreshock/fault", json={"kind": "fire"})
            assert bad.status_code == 400

    _play(scene)


class _Flood:
    """A source that always has more than anyone reads."""

    kind, market, symbols, families = "flood", "binance-spot", ("BTCUSDT",), ("trade",)
    speed, now_ns, ended = 1.0, 0, False

    def __init__(self) -> None:
        self.given = 0

    def begin(self, wall_ns: int) -> None:
        self.given = 0

    def due(self, wall_ns: int) -> list[Delivery]:
        self.given += 20
        body = b'{"e":"trade","s":"BTCUSDT","t":%d,"fill":"%s"}' % (self.given, b"x" * 20_000)
        return [Delivery("BTCUSDT", "btcusdt@trade", body)] * 20


def test_a_client_that_does_not_read_is_let_go_and_stalls_nobody() -> None:
    async def scene() -> None:
        settings = _simulated(queue_frames=300)
        async with (
            _running(settings, _Flood()) as (exchange, _),
            websockets.connect(
                exchange.ws_url + "/ws/btcusdt@trade",
                proxy=None,
                max_queue=1,
                compression=None,
                close_timeout=0.1,
            ),
            _connect(exchange, "/ws/btcusdt@trade") as quick,
        ):
            while not exchange.status()["disconnected_for_slowness"]:
                await quick.recv()
            after = (await _next(quick))["t"]
            while (await _next(quick))["t"] <= after:
                pass
            assert exchange.status()["clients"] == 1

    _play(scene)


def test_a_recording_begins_with_the_first_subscription(recordings: Any) -> None:
    async def scene() -> None:
        name = recordings / "ws_raw" / "cryptofeed" / "2021-11-03_906605df__BINANCE.0.gz"
        settings = LocalExchangeSettings(
            recording=(str(name),), speed="max", begin="first_subscriber"
        )
        async with _running(settings) as (exchange, web):
            assert not exchange.status()["begun"]
            symbol = exchange.source.symbols[0]
            early = await web.get("/api/v3/depth", params={"symbol": symbol})
            assert early.status_code == 404 and early.json()["code"] == -1
            streams = f"{symbol.lower()}@depth@100ms/{symbol.lower()}@bookTicker"
            async with _connect(exchange, f"/stream?streams={streams}") as client:
                assert (await _next(client))["data"]["s"] == symbol
                while not exchange.status()["ended"]:
                    await asyncio.sleep(0.01)
            late = await web.get("/api/v3/depth", params={"symbol": symbol})
            assert late.json()["lastUpdateId"] > 0

    _play(scene)


def test_settings_that_name_no_source_or_two_are_refused() -> None:
    with pytest.raises(ConfigError):
        make_source(LocalExchangeSettings())
    with pytest.raises(ConfigError):
        make_source(_simulated(recording=("x.gz",)))
