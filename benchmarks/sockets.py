"""One watcher process against real loopback sockets: what it sustains, how late it is, its memory.

A venue in a process of its own (`benchmarks._flood`) sends the mix, one depth diff of 20 + 20
levels to four trades, of 200 symbols over 4 sockets. The watcher is the real one, without gate,
recorder and Ray: sockets, session, books, all features at every second.

    arrival → vector    from the arrival of the row that closes a boundary to its vectors
    arrival → book      from the arrival of the oldest frame of a micro-batch to its rows' effect
    sent → book         the same from the sender's stamp (ms): what waits in the kernel counts too

FORESHOCK_SOCKETS_S sets how many seconds the paced run lasts (60; an hour is 3600).
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import httpx
import numpy as np
import uvloop
from websockets.asyncio.client import connect

from actors.events import Frames
from actors.link import open_link
from actors.plan import WatchPlan
from actors.watcher import Watcher
from benchmarks import _flood
from benchmarks.common import ROOT, Figures, arguments, finish, say  # before numpy: threads
from foreshock.engine.outcomes import Boundary
from foreshock.market.clock import MS_NS, Clock
from foreshock.market.instruments import USDM, from_exchange_info
from foreshock.market.rows import SYNCED, TRADE, Rows
from foreshock.models.base import Domain
from foreshock.replay.warm import warm_live
from foreshock.venues.binance_wire import BinanceWire
from foreshock.venues.wire import Request, Subscription

NAME = "sockets"
SYMBOLS, PER_SOCKET = 200, 50
RATE = 30_000.0
SYNC_S = 30.0


class Venue:
    """The flooding process."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks._flood", str(SYMBOLS)],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    async def flood(self, rate: float, seconds: float) -> dict[str, float]:
        """Have it play; returns what it says of it."""
        url = f"http://127.0.0.1:{self.port}/flood"
        async with httpx.AsyncClient(timeout=seconds + 60, trust_env=False) as client:
            told: dict[str, float] = (
                await client.get(url, params={"rate": rate, "seconds": seconds})
            ).json()
        return told

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(10)


class FloodWire(BinanceWire):
    """Every stream of a symbol on one socket, and no limit: the machine is measured, not one."""

    message_pause_s = 0.0
    connects_per_5min = 10**6

    def __init__(self) -> None:
        super().__init__(USDM)
        self.weight_per_minute = 10**9

    def subscriptions(
        self, symbols: Sequence[str], tape: str, per_socket: int
    ) -> list[Subscription]:
        """`per_socket` symbols each."""
        out = []
        for k in range(0, len(symbols), per_socket):
            part = tuple(symbols[k : k + per_socket])
            streams = tuple(f"{s.lower()}@{kind}" for s in part for kind in ("depth@100ms", tape))
            message = json.dumps({"method": "SUBSCRIBE", "params": streams, "id": 1})
            out.append(Subscription("/stream", (message,), streams, 3, part))
        return out

    def polls(self, symbols: Sequence[str]) -> list[Request]:
        """None."""
        return []

    def history(self, symbols: Sequence[str], venue_ns: int) -> list[Request]:
        """None."""
        return []


class Measured(Watcher):
    """A watcher that notes how late everything is."""

    def begin(self) -> None:
        """Note from now on."""
        self.vector_ms: list[float] = []
        self.book_ms: list[float] = []
        self.sent_ms: list[float] = []

    def _advance(self, batches: list[Rows]) -> list[Boundary]:
        closed = super()._advance(batches)
        now_ns = self.clock.now_ns()
        self.vector_ms += [(now_ns - boundary.closed_at_ns) / MS_NS for boundary in closed]
        for rows in batches:
            sent_ns = rows["event_ns"][rows["kind"] == TRADE]
            sent_ns = sent_ns[np.abs(sent_ns - now_ns) < 60_000 * MS_NS]  # packs have no kind
            if len(sent_ns):
                self.sent_ms.append((now_ns - int(sent_ns[0]) - MS_NS) / MS_NS)
        return closed

    def _weigh(self, now_ns: int, began_ns: int) -> None:
        self.book_ms.append((now_ns - began_ns) / MS_NS)
        super()._weigh(now_ns, began_ns)


def rss_mb() -> float:
    """Resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def _p(values: list[float], q: float) -> float:
    return round(float(np.percentile(values, q)), 2) if values else float("nan")


async def watch(venue: Venue, rate: float, seconds: float) -> Figures:
    """The real watcher under `rate` frames a second; 0: as many as it takes."""
    info = json.loads(_flood.exchange_info(SYMBOLS))
    plan = WatchPlan(
        name="w", instruments=tuple(from_exchange_info(info, USDM)),
        domain=Domain(source="simulation", market=USDM, tier="book"),
        ws_url=f"ws://127.0.0.1:{venue.port}", rest_url=f"http://127.0.0.1:{venue.port}",
        snapshots_per_s=200.0, symbols_per_socket=PER_SOCKET, silent_after_s=60.0,
        stale_after_s=60.0,
    )  # fmt: skip
    watcher = Measured(plan, wire=FloodWire())
    watcher.begin()
    life = asyncio.create_task(watcher.run())
    try:
        async with asyncio.timeout(SYNC_S):
            while True:
                await venue.flood(2_000.0, 0.5)
                if (watcher.session.states()[:, 0] == SYNCED).all():
                    break
        epochs = watcher.session.states()[:, 1:].copy()
        watcher.begin()
        frames, cpu, began = watcher.feed.frames, time.process_time(), time.perf_counter()
        playing = asyncio.create_task(venue.flood(rate, seconds))
        memory = [rss_mb()]
        while not playing.done():
            await asyncio.wait([playing], timeout=min(5.0, seconds / 4))
            memory.append(rss_mb())
        told = playing.result()
        until = frames + told["sent"]
        while watcher.feed.frames < until and time.perf_counter() - began < seconds + 30:
            await asyncio.sleep(0.01)
        wall, cpu = time.perf_counter() - began, time.process_time() - cpu
        status = watcher.status()
        got = watcher.feed.frames - frames
        bad = {
            k: n
            for k, n in status["frames_by_outcome"].items()
            if n and k != "ok" and k != "answer"
        }
        cuts = sum(socket["reconnects"] for socket in status["sockets"])
        states = watcher.session.states()
        if got != told["sent"] or (states[:, 1:] != epochs).any() or cuts or bad:
            raise AssertionError(f"{got} of {told['sent']:.0f} frames, {cuts} cuts, {bad}")
        if not (states[:, 0] == SYNCED).all():
            raise AssertionError("a book was lost")
        return {
            "frames_per_s": round(got / wall),
            "frames_per_cpu_s": round(got / cpu),
            "arrival_to_vector_p50_ms": _p(watcher.vector_ms, 50),
            "arrival_to_vector_p99_ms": _p(watcher.vector_ms, 99),
            "arrival_to_book_p99_ms": _p(watcher.book_ms, 99),
            "sent_to_book_p99_ms": _p(watcher.sent_ms, 99),
            "sender_late_ms": round(told["late_s"] * 1000, 1),
            "rss_mb": round(memory[-1], 1),
            "rss_growth_mb": round(memory[-1] - memory[len(memory) // 4], 1),
        }
    finally:
        life.cancel()
        await asyncio.gather(life, return_exceptions=True)


async def receive(venue: Venue, ours: bool, seconds: float) -> Figures:
    """Receiving alone, as fast as it goes: CPU per frame of the transport."""
    url, texts = f"ws://127.0.0.1:{venue.port}/stream", 0
    parts = FloodWire().subscriptions(_flood.names(SYMBOLS), "trade", PER_SOCKET)
    clock = Clock()
    events: list[Frames] = []

    async def read(part: Subscription) -> None:
        nonlocal texts
        async with connect(url, compression=None, max_queue=1024, proxy=None) as socket:
            await socket.send(part.messages[0])
            while True:
                body = await socket.recv(decode=False)
                events.append(Frames(clock.now_ns(), 0, [body]))
                texts += 1
                if texts % 4096 == 0:
                    events.clear()

    async def listen(part: Subscription) -> None:
        link = await open_link(url)

        def take(bodies: list[bytes]) -> None:
            nonlocal texts
            events.append(Frames(clock.now_ns(), 0, bodies))
            texts += len(bodies)
            if len(events) >= 64:
                events.clear()

        link.listen(take)
        await link.send(part.messages[0])
        try:
            await asyncio.Event().wait()
        finally:
            link.cut()

    tasks = [asyncio.create_task(listen(p) if ours else read(p)) for p in parts]
    try:
        await asyncio.sleep(0.5)
        cpu, before = time.process_time(), texts
        told = await venue.flood(0.0, seconds)
        while texts - before < told["sent"]:
            await asyncio.sleep(0.01)
        cpu = time.process_time() - cpu
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return {
        "frames_per_s": round((texts - before) / told["seconds"]),
        "frames_per_cpu_s": round((texts - before) / cpu),
    }


def main() -> None:
    """Run it."""
    given = arguments(__doc__)
    seconds = float(os.environ.get("FORESHOCK_SOCKETS_S", 8 if given.quick else 60))
    short = 2.0 if given.quick else 8.0
    warm_live()
    venue = Venue()
    results: dict[str, Figures] = {}
    try:
        for name, ours in (("websockets recv()", False), ("foreshock link", True)):
            say(f"{name}, receiving only")
            results[f"{name}, receiving only"] = uvloop.run(receive(venue, ours, short))
        say(f"watcher at {RATE:,.0f} frames/s for {seconds:.0f} s")
        paced = f"watcher, paced at {RATE:,.0f}/s for {seconds:.0f} s"
        results[paced] = uvloop.run(watch(venue, RATE, seconds))
        say("watcher, flat out")
        results["watcher, flat out"] = uvloop.run(watch(venue, 0.0, short))
    finally:
        venue.close()
    link, library = (
        results[f"{name}, receiving only"]["frames_per_cpu_s"]
        for name in ("foreshock link", "websockets recv()")
    )
    ratios = {
        "receiving: link / websockets recv()": float(link) / float(library),
        "sustained / goal of 30,000 frames/s": float(results[paced]["frames_per_s"]) / RATE,
        "arrival → vector p99 / goal of 20 ms": float(results[paced]["arrival_to_vector_p99_ms"])
        / 20,
    }
    finish(NAME, given, results, ratios, "Sockets to vectors")


if __name__ == "__main__":
    main()
