"""The hot store's part of `benchmarks.stores`: stream entries and packed rows a second.

Wall-clock time, since most of the work is the server's; writer and server share the machine. Every
contestant writes the same trades of 20 symbols in micro-batches, of which the server keeps the
last 10,000 a stream, and they take turns.

    plain     an entry a trade, by the bus
    packed    an entry a micro-batch and symbol, by the bus
    redis-py  the same plain entries through a pipeline of the client library
    read …    the same streams through a consumer group, acknowledged
"""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import numpy as np
import redis

from benchmarks.common import Figures, say
from foreshock.market.clock import MS_NS
from foreshock.market.instruments import SPOT, Instrument
from foreshock.market.rows import SELL, TRADE, Rows, empty_rows
from foreshock.stores.bus import Bus, stream_name
from foreshock.stores.bus_consumer import Consumer
from foreshock.stores.embedded_redis import EmbeddedRedis
from foreshock.stores.hot_layout import plain_trades

FLOORS: Final = {"plain": 50_000, "packed": 1_000_000}  # entries/s and rows/s
SYMBOLS: Final = 20
INSTRUMENTS: Final = tuple(
    Instrument.of(f"PAIR{k}USDT", SPOT, "0.01", "0.001") for k in range(SYMBOLS)
)
PLAIN_BATCH, PACKED_BATCH = 2_000, 10_000  # rows a call
_START_NS: Final = 1_700_000_000_000_000_000


def trades(n: int) -> Rows:
    """n trades of all symbols in turn, 20 µs apart."""
    rows = empty_rows(n)
    k = np.arange(n)
    rows["kind"], rows["seq"], rows["symbol"] = TRADE, k, k % SYMBOLS
    rows["arrival_ns"] = _START_NS + 20_000 * k
    rows["event_ns"] = rows["arrival_ns"] - 2 * MS_NS
    rows["id"], rows["a"], rows["b"] = k, 6_700_000 + k % 997, 1 + k % 313
    rows["flags"] = np.where(k % 2 == 0, SELL, 0)
    return rows


def _by_bus(url: str, form: str, rows: Rows, batch: int) -> float:
    bus = Bus(url, INSTRUMENTS, form=form)  # type: ignore[arg-type]
    bus.publish(empty_rows())  # the kernel is loaded
    started = time.perf_counter()
    for first in range(0, len(rows), batch):
        bus.publish(rows[first : first + batch])
    spent = time.perf_counter() - started
    bus.close()
    return len(rows) / spent


def _by_pipeline(url: str, rows: Rows) -> float:
    streams = [stream_name("trades", instrument.symbol) for instrument in INSTRUMENTS]
    with redis.Redis.from_url(url) as client:
        started = time.perf_counter()
        for first in range(0, len(rows), PLAIN_BATCH):
            pipe = client.pipeline(transaction=False)
            part = rows[first : first + PLAIN_BATCH]
            for symbol, stream in enumerate(streams):
                mine = part[part["symbol"] == symbol]
                for entry, fields in plain_trades(mine, INSTRUMENTS[symbol], 1):
                    pairs = dict(zip(fields[::2], fields[1::2], strict=True))
                    pipe.xadd(stream, pairs, id=entry, maxlen=10_000, approximate=True)
            pipe.execute()
        return len(rows) / (time.perf_counter() - started)


def _read(url: str) -> float:
    """Trades a second of what the streams hold."""
    streams = [stream_name("trades", instrument.symbol) for instrument in INSTRUMENTS]
    reader = Consumer(url, streams, "benchmark", "one", count=500)
    started, read = time.perf_counter(), 0
    while entries := reader.read(block_ms=1):
        read += sum(len(entry.trades()) for entry in entries)
        reader.acknowledge(entries)
    spent = time.perf_counter() - started
    reader.close()
    return read / spent


@contextmanager
def _servers() -> Iterator[dict[str, str]]:
    """Addresses of the servers at hand: the embedded one, and an installed one."""
    with EmbeddedRedis() as embedded, tempfile.TemporaryDirectory() as home:
        found = {"embedded": embedded.url}
        installed = shutil.which("redis-server")
        if installed is None:
            yield found
            return
        place = Path(home) / "redis.sock"
        command = [installed, "--port", "0", "--unixsocket", str(place), "--save", ""]
        server = subprocess.Popen(
            [*command, "--dir", home], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            until_s = time.monotonic() + 10.0
            while not place.exists() and time.monotonic() < until_s:
                time.sleep(0.02)
            yield {**found, "installed": f"unix://{place}"}
        finally:
            server.terminate()
            server.wait()


def hot(quick: bool) -> tuple[dict[str, Figures], dict[str, float]]:
    """(results by contestant, ratios): medians of turns, against the floors and redis-py."""
    rounds, plain, packed = (1, 40_000, 400_000) if quick else (3, 100_000, 2_000_000)
    plain_rows, packed_rows = trades(plain), trades(packed)
    contestants: dict[str, tuple[str, Callable[[str], float]]] = {
        "plain": ("entries/s", lambda url: _by_bus(url, "plain", plain_rows, PLAIN_BATCH)),
        "read plain": ("rows/s", _read),
        "packed": ("rows/s", lambda url: _by_bus(url, "packed", packed_rows, PACKED_BATCH)),
        "read packed": ("rows/s", _read),
        "redis-py": ("entries/s", lambda url: _by_pipeline(url, plain_rows)),
    }
    seen: dict[str, list[float]] = {}
    with _servers() as servers:
        for turn in range(rounds):
            for server, url in servers.items():
                for name, (_, work) in contestants.items():
                    if not name.startswith("read"):
                        with redis.Redis.from_url(url) as client:
                            client.flushall()
                    seen.setdefault(f"hot {server}: {name}", []).append(work(url))
            say(f"hot: round {turn + 1} of {rounds}")
        middle = {name: statistics.median(rates) for name, rates in seen.items()}
        results: dict[str, Figures] = {
            name: {contestants[name.partition(": ")[2]][0]: rate} for name, rate in middle.items()
        }
        ratios = {}
        for server in servers:
            own = {name: middle[f"hot {server}: {name}"] for name in contestants}
            ratios[f"hot {server}: plain over redis-py"] = own["plain"] / own["redis-py"]
            for name, floor in FLOORS.items():
                ratios[f"hot {server}: {name} over its floor"] = own[name] / floor
    return results, ratios


if __name__ == "__main__":
    print(json.dumps(dict(zip(("results", "ratios"), hot("--quick" in sys.argv), strict=True))))
