"""One open WebSocket: `websockets` does the handshake, TLS, proxies, pings and the close; what is
read by the thousand, whole text frames, is cut out of what the socket gave in one go.

The cutting is what makes the difference: a frame costs a tenth of what `recv()` costs, because no
task wakes per message (docs/decisions/0026-reading-sockets.md). A frame that is anything but a
whole unmasked text (pings, fragments, binary, rubbish) goes through the library's own parser.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from websockets.asyncio.client import ClientConnection, connect
from websockets.frames import Frame, Opcode
from websockets.protocol import Event, State

from actors.plan import is_loopback

MAX_FRAME_BYTES: Final = 4_000_000
OPEN_TIMEOUT_S: Final = 10.0
CLOSE_TIMEOUT_S: Final = 1.0

_WHOLE_TEXT: Final = 0x81  # final, opcode text, no extension bits
_DATA: Final = (Opcode.TEXT, Opcode.BINARY, Opcode.CONT)

Sink = Callable[[list[bytes]], None]


class Link(ClientConnection):
    """A connection that hands the texts of each read to `sink`, all at once, on the event loop.
    Nothing is kept back: a sink that is slow slows the reading, and the sender waits."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._sink: Sink | None = None
        self._early: list[bytes] = []
        self._kept = b""
        self._texts: list[bytes] = []
        self._parts: list[bytes] = []
        self._upgraded = self._refused = self._ending = False

    def listen(self, sink: Sink) -> None:
        """Texts go to `sink` from now on, first those that came already."""
        self._sink = sink
        if self._early:
            early, self._early = self._early, []
            sink(early)

    def data_received(self, data: bytes) -> None:
        """Cut what came into frames; asyncio calls it."""
        if self._kept:
            data = self._kept + data
            self._kept = b""
        if not self._upgraded:
            end = len(data) if self._refused else data.find(b"\r\n\r\n") + 4
            if end < 4:
                self._kept = data
                return
            self._upgraded = data[:end].split(None, 2)[1:2] == [b"101"] and not self._refused
            self._refused = not self._upgraded
            if self._refused:
                super().data_received(data)  # the library says why
                return
            super().data_received(data[:end])
            data = data[end:]
        self._cut(data)
        if self.protocol.state is not State.OPEN and not self._ending:
            # The library now waits for the other side to close: not for ever.
            self._ending = True
            self.loop.call_later(CLOSE_TIMEOUT_S, self.cut)
        if self._texts:
            texts, self._texts = self._texts, []
            if self._sink is None:
                self._early += texts
            else:
                self._sink(texts)

    def _cut(self, data: bytes) -> None:
        texts, at, size = self._texts, 0, len(data)
        while size - at >= 2:
            length, start = data[at + 1] & 0x7F, at + 2
            if length == 126:
                start = at + 4
                length = int.from_bytes(data[at + 2 : start], "big")
            elif length == 127:
                start = at + 10
                length = int.from_bytes(data[at + 2 : start], "big")
            end = start + length
            plain = data[at] == _WHOLE_TEXT and data[at + 1] < 128 and length <= MAX_FRAME_BYTES
            if end > size or start > size:
                if not plain and length > MAX_FRAME_BYTES and start <= size:
                    super().data_received(data[at:])  # which refuses it and closes
                    return
                break
            if plain and not self._parts:
                texts.append(data[start:end])
            else:
                super().data_received(data[at:end])
            at = end
        self._kept = data[at:]

    def process_event(self, event: Event) -> None:
        """What the library's parser found: the answer to the handshake, pongs, other data."""
        if isinstance(event, Frame) and event.opcode in _DATA:
            self._parts.append(bytes(event.data))
            if event.fin:
                self._texts.append(b"".join(self._parts))
                self._parts.clear()
            return
        super().process_event(event)

    def cut(self) -> None:
        """End it at once, without a word."""
        self.transport.abort()


async def open_link(url: str) -> Link:
    """Connect. Raises OSError, TimeoutError, websockets.WebSocketException."""
    link = await connect(
        url,
        create_connection=Link,
        max_size=MAX_FRAME_BYTES,
        compression=None,
        open_timeout=OPEN_TIMEOUT_S,
        close_timeout=CLOSE_TIMEOUT_S,
        proxy=None if is_loopback(url) else True,
    )
    assert isinstance(link, Link)
    return link


async def ended(link: Link) -> None:
    """Return when the link is gone, whoever ended it."""
    await asyncio.shield(link.wait_closed())
