"""The cutting of frames against a server that sends every kind of frame, in pieces of any size."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import random
from collections.abc import Awaitable, Callable

import pytest
import websockets

from actors.link import MAX_FRAME_BYTES, Link, ended, open_link

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
TEXT, BINARY, CONT, CLOSE, PING, PONG = 1, 2, 0, 8, 9, 10


def frame(opcode: int, body: bytes, final: bool = True, first: int = 0) -> bytes:
    head = bytes([(0x80 if final else 0) | opcode | first])
    if len(body) < 126:
        return head + bytes([len(body)]) + body
    if len(body) < 65536:
        return head + b"\x7e" + len(body).to_bytes(2, "big") + body
    return head + b"\x7f" + len(body).to_bytes(8, "big") + body


def play(scene: Callable[[], Awaitable[None]]) -> None:
    async def whole() -> None:
        async with asyncio.timeout(30):
            await scene()

    asyncio.run(whole())


class RawServer:
    """Answers the handshake and sends given bytes in pieces; keeps what the client says."""

    def __init__(self, pieces: list[bytes], status: bytes = b"101 Switching Protocols") -> None:
        self.pieces, self.status = pieces, status
        self.heard = bytearray()
        self.sent = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        key = request.lower().split(b"sec-websocket-key: ")[1].split(b"\r\n")[0]
        key = request[request.lower().index(key) : request.lower().index(key) + len(key)]
        accept = base64.b64encode(hashlib.sha1(key + GUID).digest())
        head = b"HTTP/1.1 %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" % self.status
        if not self.status.startswith(b"101"):
            head += b"Content-Length: 2\r\n"
        head += b"Sec-WebSocket-Accept: %s\r\n\r\n" % accept
        # What is sent with the handshake's answer belongs to the stream.
        self.pieces[:1] = [head + (self.pieces[0] if self.pieces else b"")]
        for piece in self.pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
        self.sent.set()
        while more := await reader.read(4096):
            self.heard += more
        writer.close()


async def read_all(server: RawServer, expected: int) -> list[bytes]:
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    texts: list[bytes] = []
    async with listener:
        link = await open_link(f"ws://127.0.0.1:{port}/s")
        link.listen(texts.extend)
        await server.sent.wait()
        while len(texts) < expected and link.state.name == "OPEN":
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.01)
        link.cut()
        await ended(link)
    return texts


def cut_up(data: bytes, rng: random.Random) -> list[bytes]:
    pieces, at = [], 0
    while at < len(data):
        size = rng.choice([1, 2, 3, 7, 130, 4096, 70_000])
        pieces.append(data[at : at + size])
        at += size
    return pieces


@pytest.mark.parametrize("seed", range(6))
def test_texts_come_whole_and_in_order_however_the_stream_is_cut(seed: int) -> None:
    rng = random.Random(seed)
    stream, expected = bytearray(), []
    for k in range(120):
        size = rng.choice([0, 1, 5, 125, 126, 127, 300, 65_535, 65_536, 90_000])
        body = bytes([97 + k % 26]) * size
        kind = rng.random()
        if kind < 0.1:
            stream += frame(rng.choice([PING, PONG]), b"p" * rng.randrange(100))
        if kind < 0.2 and size > 2:  # in three parts, with a ping between two of them
            third = size // 3
            stream += frame(TEXT, body[:third], final=False)
            stream += frame(CONT, body[third : 2 * third], final=False)
            stream += frame(PING, b"between") + frame(CONT, body[2 * third :])
        elif kind < 0.3:
            stream += frame(BINARY, body)
        else:
            stream += frame(TEXT, body)
        expected.append(body)

    async def scene() -> None:
        assert await read_all(RawServer(cut_up(bytes(stream), rng)), len(expected)) == expected

    play(scene)


def test_a_ping_is_answered_and_a_close_ends_it() -> None:
    async def scene() -> None:
        server = RawServer([frame(TEXT, b"a") + frame(PING, b"hello") + frame(CLOSE, b"\x03\xe8")])
        listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
        async with listener:
            port = listener.sockets[0].getsockname()[1]
            link = await open_link(f"ws://127.0.0.1:{port}")
            texts: list[bytes] = []
            link.listen(texts.extend)
            while len(server.heard) < 19:  # pong: 2 + 4 + 5, close: 2 + 4 + 2
                await asyncio.sleep(0.001)
            assert server.heard[0] == 0x80 | PONG and server.heard[11] == 0x80 | CLOSE
            assert texts == [b"a"]
            link.cut()
            await ended(link)

    play(scene)


@pytest.mark.parametrize(
    "rubbish",
    [
        frame(TEXT, b"x", first=0x40),  # compressed, which nobody agreed on
        b"\x81\x81\0\0\0\0x",  # masked, which a server must not
        b"\x83\x01x",  # no such opcode
        b"\x81\x7f" + (MAX_FRAME_BYTES + 1).to_bytes(8, "big"),
    ],
)
def test_what_breaks_the_protocol_ends_the_connection_and_what_came_before_counts(
    rubbish: bytes,
) -> None:
    async def scene() -> None:
        server = RawServer([frame(TEXT, b"good") + rubbish])
        listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
        async with listener:
            link = await open_link(f"ws://127.0.0.1:{listener.sockets[0].getsockname()[1]}")
            texts: list[bytes] = []
            link.listen(texts.extend)
            await ended(link)
            assert texts == [b"good"] and isinstance(link, Link)

    play(scene)


@pytest.mark.parametrize("status", [b"403 Forbidden", b"200 OK"])
def test_a_server_that_refuses_is_an_error_with_its_answer(status: bytes) -> None:
    async def scene() -> None:
        server = RawServer([b"no"], status)
        listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
        async with listener:
            port = listener.sockets[0].getsockname()[1]
            with pytest.raises(websockets.InvalidStatus):
                await asyncio.wait_for(open_link(f"ws://127.0.0.1:{port}"), 2)

    play(scene)
