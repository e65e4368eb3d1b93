"""A real WebSocket server on loopback, and the wire of the little protocol that it speaks.

{"method": "SUBSCRIBE", "params": ["aaausdt@depth", …]} is answered, and then every stream counts:
{"stream": "aaausdt@depth", "n": 17}, the same texts on every socket that subscribes to it.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from foreshock.venues.wire import Request, Subscription


@dataclass
class Loopback:
    """The server; `async with open_loopback() as server`."""

    every_s: float = 0.01
    lifetime_s: float = 1e9
    port: int = 0
    connects: int = 0
    cuts: int = 0
    said: list[tuple[float, str]] = field(default_factory=list)
    quiet: set[str] = field(default_factory=set)
    counted: Counter[str] = field(default_factory=Counter)
    sockets: dict[ServerConnection, set[str]] = field(default_factory=dict)
    most_sockets: int = 0
    refuse: bool = False

    @property
    def url(self) -> str:
        """ws://host:port."""
        return f"ws://127.0.0.1:{self.port}"

    async def serve(self, socket: ServerConnection) -> None:
        """One connection's life."""
        self.connects += 1
        if self.refuse:
            await socket.close(1008, "not now")
            return
        self.sockets[socket] = set()
        self.most_sockets = max(self.most_sockets, len(self.sockets))
        loop = asyncio.get_running_loop()
        death = loop.call_later(self.lifetime_s, self._cut, socket)
        try:
            async for text in socket:
                assert isinstance(text, str)
                self.said.append((loop.time(), text))
                if text == "beat":
                    continue
                asked = json.loads(text)
                streams = set(asked["params"])
                if asked["method"] == "SUBSCRIBE":
                    self.sockets[socket] |= streams
                    self.quiet -= streams
                else:
                    self.sockets[socket] -= streams
                await socket.send(json.dumps({"result": None, "id": asked["id"]}))
        except ConnectionClosed:
            pass
        finally:
            death.cancel()
            self.sockets.pop(socket, None)

    def _cut(self, socket: ServerConnection) -> None:
        self.cuts += 1
        socket.transport.abort()

    def cut_all(self) -> None:
        """Every connection, now."""
        for socket in list(self.sockets):
            self._cut(socket)

    async def play(self) -> None:
        """Let every stream that somebody listens to count on."""
        while True:
            await asyncio.sleep(self.every_s)
            heard = sorted({stream for streams in self.sockets.values() for stream in streams})
            for stream in heard:
                if stream in self.quiet:
                    continue
                self.counted[stream] += 1
                text = json.dumps({"stream": stream, "n": self.counted[stream]})
                for socket, streams in list(self.sockets.items()):
                    if stream in streams:
                        try:
                            await socket.send(text)
                        except ConnectionClosed:
                            continue


@asynccontextmanager
async def open_loopback(**how: float) -> AsyncIterator[Loopback]:
    """A server that plays until the block is left."""
    loopback = Loopback(**how)  # type: ignore[arg-type]
    server: Server
    async with serve(loopback.serve, "127.0.0.1", 0, compression=None) as server:
        loopback.port = next(iter(server.sockets)).getsockname()[1]
        player = asyncio.create_task(loopback.play())
        try:
            yield loopback
        finally:
            player.cancel()
            await asyncio.gather(player, return_exceptions=True)


@dataclass
class LoopbackWire:
    """How to talk to `Loopback`."""

    market: str = "loopback"
    ws_url: str = ""
    rest_url: str = "http://127.0.0.1:1"
    heartbeat: tuple[float, str] | None = None
    message_pause_s: float = 0.01
    lifetime_s: float = 1e9
    weight_per_minute: int = 1000
    connects_per_5min: int = 300
    per_message: int = 10

    def subscriptions(
        self, symbols: Sequence[str], tape: str, per_socket: int
    ) -> list[Subscription]:
        """A depth and a tape stream a symbol."""
        out = []
        for k in range(0, len(symbols), per_socket):
            part = tuple(symbols[k : k + per_socket])
            streams = [f"{s.lower()}@{kind}" for s in part for kind in ("depth", tape)]
            messages = [
                json.dumps({"method": "SUBSCRIBE", "params": streams[i : i + self.per_message],
                            "id": i})
                for i in range(0, len(streams), self.per_message)
            ]  # fmt: skip
            out.append(Subscription("/s", tuple(messages), tuple(streams), 3, part))
        return out

    def snapshot(self, symbol: str, levels: int) -> Request | None:
        """GET /depth."""
        return Request("depth", symbol, "/depth", {"symbol": symbol, "limit": levels}, 10)

    def resubscribe(self, subscription: Subscription, streams: Sequence[str]) -> tuple[str, ...]:
        """Off and on again."""
        return tuple(
            json.dumps({"method": method, "params": list(streams), "id": 99})
            for method in ("UNSUBSCRIBE", "SUBSCRIBE")
        )

    def instruments(self) -> Request:
        """GET /instruments."""
        return Request("instruments", "", "/instruments", {}, 10)

    def polls(self, symbols: Sequence[str]) -> list[Request]:
        """Open interest, ten times a second."""
        return [Request("oi", s, "/oi", {"symbol": s}, 1, every_s=0.1) for s in symbols]

    def history(self, symbols: Sequence[str], venue_ns: int) -> list[Request]:
        """Two pages of the past."""
        return [Request("past", s, "/past", {"symbol": s, "of": venue_ns}, 1) for s in symbols]

    def later(self, request: Request, body: bytes) -> Request | None:
        """The second."""
        if request.kind == "later":
            return None
        return Request("later", request.symbol, request.path, request.params, 1)

    def time(self) -> Request:
        """GET /time."""
        return Request("time", "", "/time", {}, 1)

    def venue_ns(self, body: bytes) -> int:
        """{"ns": …}."""
        try:
            return int(json.loads(body)["ns"])
        except (KeyError, TypeError) as error:
            raise ValueError(f"no time in {body!r}") from error

    def used_weight(self, headers: Mapping[str, str]) -> int | None:
        """Of X-Used."""
        text = headers.get("X-Used")
        return None if text is None else int(text)
