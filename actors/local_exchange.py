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
from collections import deque
from typing import Any

import orjson
import ray
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from actors.exchange_client import Client, stream_key
from actors.exchange_rest import RestDoor
from actors.exchange_settings import LocalExchangeSettings, make_source
from actors.exchange_sources import Delivery, Source, Speed
from foreshock.market.clock import Clock
from foreshock.market.instruments import USDM
from foreshock.simulation.faults import FRAME_KINDS, Fault, Faults, Told
from foreshock.simulation.settings import SimulationSettings

log = logging.getLogger(__name__)

_TICK_S = 0.01
_MARKET_STREAMS = ("aggTrade", "kline", "markPrice", "forceOrder", "ticker", "miniTicker")


class LocalExchange:
    """The server: `await start()`, use `rest_url` and `ws_url`, `await stop()`."""

    def __init__(self, settings: LocalExchangeSettings, source: Source | None = None) -> None:
        self.settings = settings
        self.source = source if source is not None else make_source(settings)
        self._clock = Clock()
        self._clients: set[Client] = set()
        self._subscribers: dict[tuple[str, str], set[Client]] = {}
        self.faults = Faults(settings.fault_seed)
        self.rest = RestDoor(self.source, self.faults, self._clock.now_ns)
        self._unrouted_silent = self.source.market == USDM and settings.unrouted == "silent"
        self._connects: dict[str, deque[float]] = {}
        self._accepted = self._refused_connects = self._aged = 0
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
            "connects": self._accepted,
            "refused_connects": self._refused_connects,
            "cut_for_age": self._aged,
            "rest": self.rest.status(),
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
        key = stream_key(delivery.stream)
        clients = self._subscribers.get(key)
        if not clients:
            return
        struck: list[Told] = []
        if self.faults.active:
            struck = self.faults.strike(FRAME_KINDS, *key, self._clock.now_ns())
        wrapped: dict[str, bytes] = {}
        for client in list(clients):
            stream = client.streams[key]
            if client.route and client.route != _route_of(key[1]) and key[1] != "trade":
                continue
            if self._unrouted_silent and not client.route:
                continue
            frame = delivery.body
            if client.combined:
                if stream not in wrapped:
                    wrapped[stream] = b'{"stream":"%s","data":%s}' % (stream.encode(), frame)
                frame = wrapped[stream]
            self._frames += 1
            if struck or client.held:
                self._shaped(client, key, frame, struck)
            else:
                client.offer(frame)
            if len(client.waiting) > self.settings.queue_frames:
                self._overrun += 1
                log.warning("a client is %d frames behind: disconnected", len(client.waiting))
                self._forget(client)

    def _shaped(
        self, client: Client, key: tuple[str, str], frame: bytes, struck: list[Told]
    ) -> None:
        """Give a frame to a client, or what faults make of it."""
        frames, target = [frame], client
        for told in struck:
            kind = told.fault.kind
            if told.fault.socket not in (-1, client.number):
                continue
            if kind in ("drop", "drop_next_depth", "silence"):
                frames = []
            elif kind == "duplicate":
                frames = frames * 2
            elif kind in ("truncate", "corrupt"):
                frames = [self.faults.damaged(kind, one) for one in frames]
            elif kind == "garbage":
                frames = [self.faults.rubbish(key[0]), *frames]
            elif kind == "split" and told.hits % 2:
                target = self._other(client)
            elif kind == "reorder" and key not in client.held:
                client.held[key] = frames
                return
            elif kind == "delay":
                loop = asyncio.get_running_loop()
                for one in frames:
                    loop.call_later(told.fault.seconds, client.offer, one)
                frames = []
        for one in frames:
            target.offer(one)
        for one in client.held.pop(key, ()):
            target.offer(one)

    def _other(self, client: Client) -> Client:
        """Another socket of the same address, or the same where it has no other."""
        others = [one for one in self._clients if one is not client and one.host == client.host]
        return min(others, key=lambda one: one.number, default=client)

    def _forget(self, client: Client) -> None:
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
        if not self._may_connect(websocket.client.host if websocket.client else ""):
            await websocket.close(1008)
            return
        client = Client(websocket, combined, route, self._accepted)
        self._accepted += 1
        if combined:
            streams = websocket.query_params.get("streams", "").split("/")
        else:
            streams = websocket.path_params.get("streams", "").split("/")
        await websocket.accept()
        self._clients.add(client)
        self._subscribe(client, [stream for stream in streams if stream])
        client.task = asyncio.current_task()
        writer = asyncio.create_task(client.write())
        loop = asyncio.get_running_loop()
        death = loop.call_later(self.settings.lifetime_s, self._age, client)
        try:
            await self._listen(client)
        except (WebSocketDisconnect, RuntimeError):
            log.debug("a client left")
        except asyncio.CancelledError:
            with contextlib.suppress(Exception):
                await asyncio.wait_for(websocket.close(1008), 0.5)
        finally:
            writer.cancel()
            death.cancel()
            client.task = None
            self._forget(client)
            await asyncio.gather(writer, return_exceptions=True)

    def _may_connect(self, host: str) -> bool:
        """Whether the venue's limit lets this address connect once more."""
        now_s = asyncio.get_running_loop().time()
        before = self._connects.setdefault(host, deque())
        while before and before[0] < now_s - 300:
            before.popleft()
        if len(before) >= self.settings.connects_per_5min:
            self._refused_connects += 1
            return False
        before.append(now_s)
        return True

    def _age(self, client: Client) -> None:
        """The cut that every connection meets in the end."""
        self._aged += 1
        self._forget(client)

    async def _listen(self, client: Client) -> None:
        most = self.settings.messages_per_s * (2 if self.source.market == USDM else 1)
        clock = asyncio.get_running_loop().time
        while True:
            message = await client.socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            client.said.append(clock())
            if sum(at > client.said[-1] - 1.0 for at in client.said) > most:
                await client.socket.close(1008, "Too many requests")
                return
            text = message.get("text") or (message.get("bytes") or b"").decode("utf-8", "replace")
            client.offer(orjson.dumps(self._answer(client, text)))

    def _answer(self, client: Client, text: str) -> dict[str, Any]:
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
        limit = self.settings.streams_per_socket
        if method not in ("SUBSCRIBE", "UNSUBSCRIBE") or not all(
            isinstance(stream, str) and "@" in stream for stream in streams
        ):
            message = f"Invalid request: {method} {given}"
            return {"error": {"code": 2, "msg": message}, "id": number}
        if method == "SUBSCRIBE":
            if len(set(map(stream_key, streams)) | set(client.streams)) > limit:
                message = f"Invalid request: more than {limit} streams"
                return {"error": {"code": 2, "msg": message}, "id": number}
            self._subscribe(client, streams)
        else:
            for key in map(stream_key, streams):
                client.streams.pop(key, None)
                self._subscribers.get(key, set()).discard(client)
        return {"result": None, "id": number}

    def _subscribe(self, client: Client, streams: list[str]) -> None:
        for stream in streams:
            client.streams[stream_key(stream)] = stream
            self._subscribers.setdefault(stream_key(stream), set()).add(client)
        if streams:
            self._begin()

    # ---- REST -----------------------------------------------------------------------------------

    def _app(self) -> Starlette:
        prefix = "/fapi/v1" if self.source.market == USDM else "/api/v3"
        routes: list[Route | WebSocketRoute] = [
            Route(f"{prefix}/{{path:path}}", self.rest.answer, methods=["GET"]),
            Route("/futures/data/{path}", self.rest.answer, methods=["GET"]),
            Route("/foreshock/faults", self._faults_route, methods=["GET"]),
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

    async def _truth_route(self, request: Request) -> Response:
        truth = self.truth()
        if truth is None:
            return _json({"code": -1, "msg": "this source does not tell"}, 404)
        return _json(truth)

    async def _faults_route(self, request: Request) -> Response:
        return _json(self.faults.facts())

    async def _status_route(self, request: Request) -> Response:
        return _json(self.status())

    async def _fault_route(self, request: Request) -> Response:
        try:
            fault = Fault.model_validate_json(await request.body())
        except ValueError as error:
            return _json({"code": -1100, "msg": str(error)}, 400)
        self.inject(fault)
        return _json({})

    def inject(self, fault: Fault) -> None:
        """Play a fault from now on. Raises InstrumentError where a halt names no known symbol."""
        now_ns = self._clock.now_ns()
        told = self.faults.tell(fault, now_ns)
        self.rest.told(fault)
        if fault.kind == "halt":
            for symbol in [fault.symbol] if fault.symbol else self.source.symbols:
                self.source.halt(symbol, fault.seconds)
                told.hits += 1
        elif fault.kind == "cut":
            for client in list(self._clients):
                if fault.socket in (-1, client.number) and (
                    not fault.symbol or any(key[0] == fault.symbol for key in client.streams)
                ):
                    told.hits += 1
                    told.touched |= {key[0] for key in client.streams}
                    self._forget(client)


def _json(told: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(told), status, media_type="application/json")


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
