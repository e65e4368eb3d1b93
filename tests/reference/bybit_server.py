"""A small Bybit on loopback: order books (snapshot, then deltas) and trades over a real WebSocket,
its clock over REST on the same port."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response


@dataclass
class BybitServer:
    """`async with open_bybit() as server`."""

    every_s: float = 0.05
    port: int = 0
    pings: int = 0
    subscribed: int = 0
    skip: set[str] = field(default_factory=set)  # symbols whose next delta is lost
    ids: dict[str, int] = field(default_factory=dict)
    sockets: dict[ServerConnection, set[str]] = field(default_factory=dict)

    @property
    def ws_url(self) -> str:
        """ws://host:port."""
        return f"ws://127.0.0.1:{self.port}"

    @property
    def rest_url(self) -> str:
        """http://host:port."""
        return f"http://127.0.0.1:{self.port}"

    def rest(self, socket: ServerConnection, request: Request) -> Response | None:
        """Answers what is no WebSocket."""
        if "Upgrade" in request.headers:
            return None
        found = request.path.startswith("/v5/market/time")
        result = {"timeNano": str(time.time_ns())} if found else {"list": []}
        body = json.dumps({"retCode": 0, "result": result, "time": 1}).encode()
        headers = Headers({"Content-Length": str(len(body)), "Connection": "close"})
        return Response(HTTPStatus.OK, "OK", headers, body)

    async def serve(self, socket: ServerConnection) -> None:
        """One connection's life."""
        mine = self.sockets[socket] = set()
        try:
            async for message in socket:
                asked = json.loads(message)
                if asked["op"] == "ping":
                    self.pings += 1
                elif asked["op"] == "subscribe":
                    self.subscribed += 1
                    mine.update(asked["args"])
                    for topic in asked["args"]:
                        if topic.startswith("orderbook"):
                            await socket.send(self.book(topic, "snapshot"))
                else:
                    mine.difference_update(asked["args"])
                answer = {"success": True, "ret_msg": "", "op": asked["op"]}
                await socket.send(json.dumps(answer))
        except ConnectionClosed:
            pass
        finally:
            self.sockets.pop(socket, None)

    def book(self, topic: str, kind: str) -> str:
        """The whole book, or a level that changed."""
        symbol, now_ms = topic.rpartition(".")[2], time.time_ns() // 1_000_000
        u = self.ids.setdefault(symbol, 100)
        depth = 20 if kind == "snapshot" else 1
        data: dict[str, Any] = {
            "s": symbol, "u": u, "seq": u,
            "b": [[f"{100 - k / 10:.1f}", f"{1 + u % 7}.5"] for k in range(depth)],
            "a": [[f"{100.1 + k / 10:.1f}", f"{1 + u % 5}.5"] for k in range(depth)],
        }  # fmt: skip
        return json.dumps({"topic": topic, "type": kind, "ts": now_ms, "data": data, "cts": now_ms})

    def trade(self, topic: str) -> str:
        """A trade at the ask."""
        symbol, now_ms = topic.rpartition(".")[2], time.time_ns() // 1_000_000
        data = {"T": now_ms, "s": symbol, "S": "Buy", "v": "1.5", "p": "100.1",
                "i": f"id-{self.ids[symbol]}", "seq": self.ids[symbol]}  # fmt: skip
        return json.dumps({"topic": topic, "type": "snapshot", "ts": now_ms, "data": [data]})

    async def play(self) -> None:
        """A delta and a trade of every symbol, again and again."""
        while True:
            await asyncio.sleep(self.every_s)
            for symbol in self.ids:
                self.ids[symbol] += 1
            lost, self.skip = self.skip, set()
            for socket, topics in list(self.sockets.items()):
                for topic in sorted(topics):
                    symbol = topic.rpartition(".")[2]
                    try:
                        if topic.startswith("orderbook") and symbol not in lost:
                            await socket.send(self.book(topic, "delta"))
                        elif topic.startswith("publicTrade"):
                            await socket.send(self.trade(topic))
                    except ConnectionClosed:
                        break


@asynccontextmanager
async def open_bybit() -> AsyncIterator[BybitServer]:
    """A server that plays until the block is left."""
    bybit = BybitServer()
    async with serve(
        bybit.serve, "127.0.0.1", 0, compression=None, process_request=bybit.rest
    ) as server:
        bybit.port = next(iter(server.sockets)).getsockname()[1]
        player = asyncio.create_task(bybit.play())
        try:
            yield bybit
        finally:
            player.cancel()
            await asyncio.gather(player, return_exceptions=True)
