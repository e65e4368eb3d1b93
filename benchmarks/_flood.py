"""The other side of `benchmarks.sockets`: a venue in a process of its own that floods one watcher.

    python -m benchmarks._flood SYMBOLS      prints its port, then plays what it is told

It speaks as much of USD-M futures as a watcher needs: WebSocket, depth snapshots and the time over
REST, on one port. What it sends is the mix (one depth diff of 20 + 20 levels to four trades), made
beforehand as templates that only get ids and times, so that it may run for hours and costs less
than what is measured. Each symbol's mid walks up and down a small cycle; levels that it crosses are
deleted in the same diff, ids are continuous: a reader that checks finds nothing wrong.

GET /flood?rate=R&seconds=S plays R frames a second over all sockets (0: as fast as they are taken)
for S seconds and answers {"sent", "seconds", "late_s"}.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import sys
import time
from contextlib import suppress
from urllib.parse import parse_qs, urlsplit

import numpy as np

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
TICK_S = 0.005
SIDE, TRADES, REACH = 20, 4, 60
CYCLE = 40  # diffs until a symbol's mid is back
MOST_AT_ONCE = 2048


def names(symbols: int) -> list[str]:
    """The symbols."""
    return [f"F{k:03d}USDT" for k in range(symbols)]


def exchange_info(symbols: int) -> bytes:
    """What the venue lists: ticks of 0.01, lots of 0.001."""
    filters = [
        {"filterType": "PRICE_FILTER", "tickSize": "0.01"},
        {"filterType": "LOT_SIZE", "stepSize": "0.001"},
    ]
    listed = [
        {"symbol": n, "status": "TRADING", "contractType": "PERPETUAL", "baseAsset": n[:4],
         "quoteAsset": "USDT", "filters": filters}
        for n in names(symbols)
    ]  # fmt: skip
    return json.dumps({"symbols": listed}).encode()


def _price(ticks: int) -> str:
    return f"{ticks // 100}.{ticks % 100:02d}"


def _levels(levels: dict[int, int]) -> str:
    return ",".join(f'["{_price(t)}","{q // 1000}.{q % 1000:03d}"]' for t, q in levels.items())


class _Symbol:
    """One symbol's templates and where it stands."""

    def __init__(self, name: str, rng: np.random.Generator) -> None:
        self.name, self.mid0 = name, int(rng.integers(20_000, 5_000_000))
        self.update_id, self.trade_id, self.step = 1_000, 5_000, 0
        half = [int(k) for k in rng.integers(-3, 4, CYCLE // 2)]
        moves = [*half, *(-k for k in reversed(half))]
        self.mids = [self.mid0 + int(k) for k in np.cumsum(moves)]
        self.diffs: list[bytes] = []
        before = self.mids[-1]
        for mid in self.mids:
            bids = dict.fromkeys(range(mid, before), 0)  # the mid fell: these bids are crossed
            asks = dict.fromkeys(range(before + 1, mid + 1), 0)
            self._fill(bids, mid, -1, rng)
            self._fill(asks, mid, 1, rng)
            low = name.lower()
            head = f'{{"stream":"{low}@depth@100ms","data":{{"e":"depthUpdate","E":%d,"T":%d,'
            ids = f'"s":"{name}","U":%d,"u":%d,"pu":%d,"b":[{_levels(bids)}],"a":[{_levels(asks)}]'
            self.diffs.append(f"{head}{ids}}}}}".encode())
            before = mid
        self.trades = [
            (
                f'{{"stream":"{name.lower()}@trade","data":{{"e":"trade","E":%d,"T":%d,'
                f'"s":"{name}","t":%d,"p":"{_price(mid + (1 if k % 2 else -1))}",'
                f'"q":"{1 + k % 4}.{k % 1000:03d}","X":"MARKET","m":{str(k % 2 == 0).lower()}}}}}'
            ).encode()
            for k, mid in enumerate(self.mids)
        ]

    @staticmethod
    def _fill(levels: dict[int, int], mid: int, sign: int, rng: np.random.Generator) -> None:
        levels[mid + sign] = int(rng.integers(1, 10**5))
        for offset in rng.permutation(np.arange(1, REACH)).tolist():
            if len(levels) >= SIDE:
                return
            empty = rng.random() < 0.2
            lots = 0 if empty else int(rng.integers(1, 10**5))
            levels.setdefault(mid + sign * (1 + offset), lots)

    def frames(self, now_ms: int) -> list[bytes]:
        """One diff and its trades, as WebSocket frames."""
        k = self.step = (self.step + 1) % CYCLE
        first, previous = self.update_id + 1, self.update_id
        self.update_id += 100
        out = [self.diffs[k] % (now_ms, now_ms - 1, first, self.update_id, previous)]
        for _ in range(TRADES):
            self.trade_id += 1
            out.append(self.trades[k] % (now_ms, now_ms - 1, self.trade_id))
        return [_framed(body) for body in out]

    def snapshot(self) -> bytes:
        """1000 levels a side around where it stands."""
        mid = self.mids[self.step]
        bids = _levels({mid - k: 1000 + k for k in range(1, 1001)})
        asks = _levels({mid + k: 1000 + k for k in range(1, 1001)})
        return f'{{"lastUpdateId":{self.update_id},"bids":[{bids}],"asks":[{asks}]}}'.encode()


def _framed(body: bytes) -> bytes:
    if len(body) < 126:
        return b"\x81" + bytes([len(body)]) + body
    return b"\x81\x7e" + len(body).to_bytes(2, "big") + body


class Flood:
    """The venue. A symbol's frames go to the socket that subscribed to it last."""

    def __init__(self, symbols: int) -> None:
        rng = np.random.default_rng(7)
        self.symbols = [_Symbol(name, rng) for name in names(symbols)]
        self.by_name = {symbol.name: symbol for symbol in self.symbols}
        self.info = exchange_info(symbols)
        self.lane_of: dict[str, asyncio.StreamWriter] = {}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection: a socket, or REST requests one after the other."""
        try:
            while True:
                request = await reader.readuntil(b"\r\n\r\n")
                if b"upgrade: websocket" in request.lower():
                    await self._socket(request, reader, writer)
                    return
                url = urlsplit(request.split(b" ", 2)[1].decode())
                asked = {key: found[0] for key, found in parse_qs(url.query).items()}
                body = await self._answer(url.path, asked)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            return

    async def _socket(
        self, request: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        at = request.lower().index(b"sec-websocket-key: ") + 19
        accept = base64.b64encode(hashlib.sha1(request[at : at + 24] + GUID).digest())
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
        )
        while True:
            head = await reader.readexactly(2)
            length = head[1] & 127
            if length == 126:
                length = int.from_bytes(await reader.readexactly(2), "big")
            mask = await reader.readexactly(4)
            data = await reader.readexactly(length)
            text = bytes(b ^ mask[k % 4] for k, b in enumerate(data))
            if head[0] & 15 == 8:
                writer.close()
                return
            if head[0] & 15 == 9:
                writer.write(bytes([0x8A, length]) + text)
            if head[0] & 15 == 1:
                for stream in json.loads(text)["params"]:
                    self.lane_of[stream.partition("@")[0].upper()] = writer

    async def _answer(self, path: str, asked: dict[str, str]) -> bytes:
        if path.endswith("/depth"):
            return self.by_name[asked["symbol"]].snapshot()
        if path.endswith("/exchangeInfo"):
            return self.info
        if path.endswith("/time"):
            return b'{"serverTime":%d}' % (time.time_ns() // 1_000_000)
        if path == "/flood":
            told = await self.play(float(asked["rate"]), float(asked["seconds"]))
            return json.dumps(told).encode()
        return b"[]"

    async def play(self, rate: float, seconds: float) -> dict[str, float]:
        """See the top."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        sent, at, late_s = 0, 0, 0.0
        while (since := loop.time() - began) < seconds:
            due = sent + MOST_AT_ONCE if not rate else min(int(since * rate), sent + MOST_AT_ONCE)
            bursts: dict[asyncio.StreamWriter, list[bytes]] = {}
            now_ms = time.time_ns() // 1_000_000
            while sent < due:
                symbol = self.symbols[at]
                at = (at + 1) % len(self.symbols)
                writer = self.lane_of.get(symbol.name)
                if writer is not None and not writer.is_closing():
                    bursts.setdefault(writer, []).extend(symbol.frames(now_ms))
                sent += 1 + TRADES
            for writer, frames in bursts.items():
                writer.write(b"".join(frames))
            for writer in bursts:
                with suppress(ConnectionError):
                    await writer.drain()
            if rate:
                late_s = max(late_s, since - sent / rate)
                if sent / rate > loop.time() - began:
                    await asyncio.sleep(TICK_S)
            else:
                await asyncio.sleep(0)
        return {"sent": sent, "seconds": loop.time() - began, "late_s": late_s}


async def main() -> None:
    """Serve until the standard input closes."""
    flood = Flood(int(sys.argv[1]))
    server = await asyncio.start_server(flood.serve, "127.0.0.1", 0, backlog=512)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    import uvloop

    uvloop.run(main())
