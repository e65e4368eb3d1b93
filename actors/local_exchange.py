"""An exchange on loopback that speaks Binance's protocol over real WebSocket and REST sockets.

It plays one source (`exchange_sources.py`): the seeded simulation or a recording. One port serves
WebSocket (`/ws`, `/ws/<stream>`, `/stream?streams=a/b`; on USD-M these below `/public` and
`/market`) and REST (`/api/v3/…` or `/fapi/v1/…`). `/foreshock/…` is ours: the truth, the state,
faults on demand.

On a USD-M source the old routes without `/public` or `/market` accept a subscription and deliver
nothing, as the venue's do; so does a stream asked for on the wrong one of the two.

Run alone: `python -m actors.local_exchange --port 9443`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import socket
import sys
from collections import Counter, deque
from typing import Any

import orjson
import ray
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from actors.exchange_settings import FaultRequest, LocalExchangeSettings, make_source
from actors.exchange_sources import (
    Delivery,
    Source,
    Speed,
    weight_of,
)
from foreshock.errors import InstrumentError
from foreshock.market.clock import MS_NS, Clock
from foreshock.market.instruments import USDM
from foreshock.simulation.settings import SimulationSettings

log = logging.getLogger(__name__)

_TICK_S = 0.01
_MARKET_STREAMS = ("aggTrade", "kline", "markPrice", "forceOrder", "ticker", "miniTicker")
_GARBAGE = (
    b'{"stream":"%s@trade","data":{"e":"trade","E":17',
    b"\x7f\x00 not json at all",
    b'{"stream":"%s@depth@100ms","data":{"e":"depthUpdate","s":"","U":-1,"u":"x"}}',
    b"[]",
)


def _key(stream: str) -> tuple[str, str]:
    """(symbol, family): `btcusdt@depth@100ms` and `btcusdt@depth@0ms` are one subscription, since a
    recording has only the interval that it was recorded with."""
    parts = stream.split("@")
    return parts[0].upper(), parts[1] if len(parts) > 1 else ""


class _Client:
    """One WebSocket connection: what it asked for, and what waits to be sent."""

    def __init__(self, socket: WebSocket, combined: bool, route: str) -> None:
        self.socket, self.combined, self.route = socket, combined, route
        self.streams: dict[tuple[str, str], str] = {}
        self.waiting: deque[bytes] = deque()
        self.wake = asyncio.Event()
        self.task: asyncio.Task[None] | None = None

    def offer(self, frame: bytes) -> None:
        self.waiting.append(frame)
        self.wake.set()

    async def write(self) -> None:
        """Send what waits, for ever."""
        send = self.socket.send
        while True:
            await self.wake.wait()
            self.wake.clear()
            while self.waiting:
                text = self.waiting.popleft().decode("utf-8", "replace")
                await send({"type": "websocket.send", "text": text})


class LocalExchange:
    """The server: `await start()`, use `rest_url` and `ws_url`, `await stop()`."""

    def __init__(self, settings: LocalExchangeSettings, source: Source | None = None) -> None:
        self.settings = settings
        self.source = source if source is not None else make_source(settings)
        self._clock = Clock()
        self._clients: set[_Client] = set()
        self._subscribers: dict[tuple[str, str], set[_Client]] = {}
        self._faults: dict[str, Counter[str]] = {}
        self._weight = (0, 0)  # minute, used
        self._begun = False
        self._frames = self._overrun = 0
        self._tasks: list[asyncio.Task[Any]] = []
        self._server: uvicorn.Server | None = None
        self.port = settings.port

    @property
    def rest_url(self) -> str:
        """http://host:port, the base of `/api/v3` or `/fapi/v1`."""
        return f"http://{self.settings.host}:{self.port}"

    @property
    def ws_url(self) -> str:
        """ws://host:port, the base of `/stream` and so on."""
        return f"ws://{self.settings.host}:{self.port}"

    # ---- life -------------------------------------------------------------------------------

    async def start(self) -> dict[str, Any]:
        """Listen and play. Returns `status()`. Raises OSError where the port is taken."""
        listener = socket.create_server((self.settings.host, self.settings.port), backlog=512)
        self.port = listener.getsockname()[1]
        config = uvicorn.Config(
            self._app(),
            log_level="error",
            access_log=False,
            lifespan="off",
            ws="websockets-sansio",
            ws_per_message_deflate=False,
            ws_ping_interval=20.0,
            ws_ping_timeout=60.0,
            timeout_graceful_shutdown=1,
        )
        self._server = _Server(config)
        self._tasks = [
            asyncio.create_task(self._server.serve(sockets=[listener])),
            asyncio.create_task(self._play()),
        ]
        while not self._server.started:
            await asyncio.sleep(0.005)
            if self._tasks[0].done():
                await self._tasks[0]
        if self.settings.begin == "at_once":
            self._begin()
        return self.status()

    async def stop(self) -> None:
        """Close every connection and the port."""
        for client in list(self._clients):
            self._forget(client)
        if self._server is not None:
            self._server.should_exit = True
        for task in self._tasks[1:]:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    def status(self) -> dict[str, Any]:
        """What is played, where, and to whom. JSON-ready."""
        source = self.source
        return {
            "kind": source.kind,
            "market": source.market,
            "symbols": list(source.symbols),
            "families": list(source.families),
            "speed": source.speed,
            "now_ns": source.now_ns,
            "begun": self._begun,
            "ended": source.ended,
            "clients": len(self._clients),
            "streams": sum(len(client.streams) for client in self._clients),
            "frames_delivered": self._frames,
            "disconnected_for_slowness": self._overrun,
            "rest_url": self.rest_url,
            "ws_url": self.ws_url,
        }

    def truth(self) -> list[dict[str, Any]] | None:
        """Planted surges that have started, or None where the source knows none."""
        return self.source.truth()

    # ---- play -------------------------------------------------------------------------------

    def _begin(self) -> None:
        if not self._begun:
            self._begun = True
            self.source.begin(self._clock.now_ns())

    async def _play(self) -> None:
        while True:
            if not self._begun or self.source.ended:
                await asyncio.sleep(_TICK_S)
                continue
            due = self.source.due(self._clock.now_ns())
            for delivery in due:
                self._deliver(delivery)
            if self.source.speed == "max":
                await self._room()
            else:
                await asyncio.sleep(0 if len(due) >= 512 else _TICK_S)

    async def _room(self) -> None:
        """At top speed the clients set the pace; one that reads nothing for 5 s is let go."""
        half = self.settings.queue_frames // 2
        await asyncio.sleep(0)
        waited_s = 0.0
        while full := [client for client in self._clients if len(client.waiting) > half]:
            await asyncio.sleep(0.001)
            waited_s += 0.001
            if waited_s > 5.0:
                for client in full:
                    self._overrun += 1
                    self._forget(client)

    def _deliver(self, delivery: Delivery) -> None:
        key = _key(delivery.stream)
        if key[1] == "depth" and self._spend("drop_next_depth", key[0]):
            return
        clients = self._subscribers.get(key)
        if not clients or self._spend("silence", key[0]):
            return
        garbage = self._spend("garbage", key[0])
        wrapped: dict[str, bytes] = {}
        for client in list(clients):
            stream = client.streams[key]
            if client.route and client.route != _route_of(key[1]) and key[1] != "trade":
                continue
            if self.source.market == USDM and not client.route:
                continue
            if garbage:
                text = _GARBAGE[self._frames % len(_GARBAGE)]
                client.offer(text.replace(b"%s", key[0].lower().encode()))
            frame = delivery.body
            if client.combined:
                if stream not in wrapped:
                    wrapped[stream] = b'{"stream":"%s","data":%s}' % (stream.encode(), frame)
                frame = wrapped[stream]
            client.offer(frame)
            self._frames += 1
            if len(client.waiting) > self.settings.queue_frames:
                self._overrun += 1
                log.warning("a client is %d frames behind: disconnected", len(client.waiting))
                self._forget(client)

    def _spend(self, kind: str, symbol: str) -> bool:
        """Whether a fault of this kind hits this symbol now; uses one of its count up."""
        counts = self._faults.get(kind)
        if not counts:
            return False
        for name in (symbol, ""):
            if counts.get(name, 0) > 0:
                counts[name] -= 1
                return True
        return False

    def _forget(self, client: _Client) -> None:
        """Drop a client and its connection at once."""
        self._clients.discard(client)
        for key in client.streams:
            self._subscribers.get(key, set()).discard(client)
        client.waiting.clear()
        if client.task is not None:
            client.task.cancel()

    # ---- WebSocket ----------------------------------------------------------------------------

    async def _socket(self, websocket: WebSocket) -> None:
        path = websocket.url.path
        route = next((name for name in ("public", "market") if path.startswith(f"/{name}/")), "")
        combined = path.endswith("/stream")
        client = _Client(websocket, combined, route)
        if combined:
            streams = websocket.query_params.get("streams", "").split("/")
        else:
            streams = websocket.path_params.get("streams", "").split("/")
        await websocket.accept()
        self._clients.add(client)
        self._subscribe(client, [stream for stream in streams if stream])
        client.task = asyncio.current_task()
        writer = asyncio.create_task(client.write())
        try:
            await self._listen(client)
        except (WebSocketDisconnect, RuntimeError):
            log.debug("a client left")
        except asyncio.CancelledError:
            with contextlib.suppress(Exception):
                await asyncio.wait_for(websocket.close(1008), 0.5)
        finally:
            writer.cancel()
            client.task = None
            self._forget(client)
            await asyncio.gather(writer, return_exceptions=True)

    async def _listen(self, client: _Client) -> None:
        while True:
            message = await client.socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            text = message.get("text") or (message.get("bytes") or b"").decode("utf-8", "replace")
            client.offer(orjson.dumps(self._answer(client, text)))

    def _answer(self, client: _Client, text: str) -> dict[str, Any]:
        try:
            asked = orjson.loads(text)
            method, given, number = asked["method"], asked.get("params", []), asked.get("id")
        except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
            return {"error": {"code": 3, "msg": "Invalid JSON"}}
        if method == "LIST_SUBSCRIPTIONS":
            return {"result": list(client.streams.values()), "id": number}
        if method == "SET_PROPERTY" and given == ["combined", given[-1]]:
            client.combined = bool(given[1])
            return {"result": None, "id": number}
        streams = given if isinstance(given, list) else []
        if method not in ("SUBSCRIBE", "UNSUBSCRIBE") or not all(
            isinstance(stream, str) and "@" in stream for stream in streams
        ):
            message = f"Invalid request: {method} {given}"
            return {"error": {"code": 2, "msg": message}, "id": number}
        if method == "SUBSCRIBE":
            self._subscribe(client, streams)
        else:
            for key in map(_key, streams):
                client.streams.pop(key, None)
                self._subscribers.get(key, set()).discard(client)
        return {"result": None, "id": number}

    def _subscribe(self, client: _Client, streams: list[str]) -> None:
        for stream in streams:
            client.streams[_key(stream)] = stream
            self._subscribers.setdefault(_key(stream), set()).add(client)
        if streams:
            self._begin()

    # ---- REST -----------------------------------------------------------------------------------

    def _app(self) -> Starlette:
        prefix = "/fapi/v1" if self.source.market == USDM else "/api/v3"
        routes: list[Route | WebSocketRoute] = [
            Route(f"{prefix}/{{path}}", self._rest, methods=["GET"]),
            Route("/foreshock/truth", self._truth_route, methods=["GET"]),
            Route("/foreshock/status", self._status_route, methods=["GET"]),
            Route("/foreshock/fault", self._fault_route, methods=["POST"]),
        ]
        for base in ("", "/public", "/market") if self.source.market == USDM else ("",):
            routes += [
                WebSocketRoute(f"{base}/ws", self._socket),
                WebSocketRoute(f"{base}/ws/{{streams:path}}", self._socket),
                WebSocketRoute(f"{base}/stream", self._socket),
            ]
        return Starlette(routes=routes)

    async def _rest(self, request: Request) -> Response:
        path, query = request.path_params["path"], request.query_params
        try:
            limit = int(query.get("limit", "500" if path == "aggTrades" else "100"))
            start, end = (int(query[k]) if k in query else None for k in ("startTime", "endTime"))
        except ValueError:
            return self._refuse(400, -1100, "Illegal characters found in a parameter.")
        most = 2400 if self.source.market == USDM else 6000
        minute = int(asyncio.get_running_loop().time() // 60)
        used = self._weight[1] if self._weight[0] == minute else 0
        self._weight = (minute, used + weight_of(self.source.market, path, limit))
        if self._weight[1] > most:
            return self._refuse(429, -1003, f"Too much request weight used; {most} a minute.")
        if path == "ping":
            return self._json(b"{}")
        if path == "time":
            return self._json(orjson.dumps({"serverTime": self.source.now_ns // MS_NS}))
        if path == "exchangeInfo":
            return self._json(self.source.exchange_info())
        if path not in ("depth", "aggTrades"):
            return self._refuse(404, -1, "There is nothing at this path.")
        if not query.get("symbol"):
            return self._refuse(400, -1102, "Mandatory parameter 'symbol' was not sent.")
        try:
            if path == "depth":
                body = self.source.depth(query["symbol"], limit)
            else:
                body = self.source.agg_trades(query["symbol"], start, end, limit)
        except InstrumentError:
            return self._refuse(400, -1121, "Invalid symbol.")
        if body is None:
            what = "snapshot" if path == "depth" else "history"
            return self._refuse(404, -1, f"no {what} in this recording, or not yet")
        return self._json(body)

    def _json(self, body: bytes, status: int = 200) -> Response:
        headers = {"X-MBX-USED-WEIGHT-1M": str(self._weight[1])}
        if status == 429:
            headers["Retry-After"] = str(60 - int(asyncio.get_running_loop().time() % 60))
        return Response(body, status, headers, media_type="application/json")

    def _refuse(self, status: int, code: int, message: str) -> Response:
        return self._json(orjson.dumps({"code": code, "msg": message}), status)

    async def _truth_route(self, request: Request) -> Response:
        truth = self.truth()
        if truth is None:
            return self._refuse(404, -1, "this source does not tell")
        return self._json(orjson.dumps(truth))

    async def _status_route(self, request: Request) -> Response:
        return self._json(orjson.dumps(self.status()))

    async def _fault_route(self, request: Request) -> Response:
        try:
            fault = FaultRequest.model_validate_json(await request.body())
        except ValueError as error:
            return self._refuse(400, -1100, str(error))
        self.inject(fault)
        return self._json(b"{}")

    def inject(self, fault: FaultRequest) -> None:
        """Play a fault."""
        if fault.kind == "cut":
            for client in list(self._clients):
                if not fault.symbol or any(key[0] == fault.symbol for key in client.streams):
                    self._forget(client)
            return
        self._faults.setdefault(fault.kind, Counter())[fault.symbol] = fault.count


class _Server(uvicorn.Server):
    """uvicorn, without taking the process's signals."""

    @contextlib.contextmanager
    def capture_signals(self) -> Any:
        yield


def _route_of(family: str) -> str:
    """Where USD-M serves a stream; raw trades come on both (the venue's documents disagree)."""
    return "market" if family.startswith(_MARKET_STREAMS) else "public"


LocalExchangeActor = ray.remote(num_cpus=0, max_concurrency=64)(LocalExchange)


async def _serve(settings: LocalExchangeSettings) -> None:
    exchange = LocalExchange(settings)
    status = await exchange.start()
    sys.stdout.write(f"{status['kind']} of {status['market']} at {exchange.ws_url}\n")
    sys.stdout.flush()
    try:
        await asyncio.Event().wait()
    finally:
        await exchange.stop()


def _speed(text: str) -> Speed:
    return "max" if text == "max" else float(text)


def main() -> None:
    """The command line; Ctrl-C ends it."""
    parser = argparse.ArgumentParser(prog="python -m actors.local_exchange", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9443)
    parser.add_argument("--market", default="binance-spot", help="of the simulation")
    parser.add_argument("--seed", type=int, default=7, help="of the simulation")
    parser.add_argument("--recording", nargs="*", default=[], help="files to play instead")
    parser.add_argument("--speed", type=_speed, default=1.0, help='a number, or "max"')
    given = parser.parse_args()
    simulation = None
    if not given.recording:
        simulation = SimulationSettings(
            seed=given.seed, market=given.market, start_ns=Clock().now_ns()
        )
    settings = LocalExchangeSettings(
        simulation=simulation,
        recording=tuple(given.recording),
        speed=given.speed,
        begin="first_subscriber" if given.recording else "at_once",
        host=given.host,
        port=given.port,
    )
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(settings))


if __name__ == "__main__":
    main()
