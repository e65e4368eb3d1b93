"""One WebSocket connection of a local exchange: what it asked for, and what waits to be sent."""

from __future__ import annotations

import asyncio
from collections import deque

from starlette.websockets import WebSocket


def stream_key(stream: str) -> tuple[str, str]:
    """(symbol, family): `btcusdt@depth@100ms` and `btcusdt@depth@0ms` are one subscription, since a
    recording has only the interval that it was recorded with."""
    parts = stream.split("@")
    return parts[0].upper(), parts[1] if len(parts) > 1 else ""


class Client:
    """One WebSocket connection: what it asked for, and what waits to be sent."""

    def __init__(self, socket: WebSocket, combined: bool, route: str, number: int) -> None:
        self.socket, self.combined, self.route, self.number = socket, combined, route, number
        self.host = socket.client.host if socket.client is not None else ""
        self.held: dict[tuple[str, str], list[bytes]] = {}  # frames that the next ones overtake
        self.said: deque[float] = deque(maxlen=64)  # when it said something
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
