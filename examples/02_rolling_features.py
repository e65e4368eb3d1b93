"""A feature engine in a hundred lines: a rolling window of trades in, features out.

    python examples/02_rolling_features.py --redis redis://127.0.0.1:6379/0 --symbols BTCUSDT

From trades:btcusdt it makes, an entry for each entry of trades, in features:btcusdt:

    ts          ms of the newest trade
    trades      how many are in the window
    ofi         (buys − sells) / trades, of the window, between −1 and 1
    volatility  standard deviation of log returns from trade to trade
    vwap        volume-weighted average price

It may be killed at any moment. An entry of features carries the id of the entry of trades that it
follows from, which Redis takes once, and a member that comes back fills its window from the stream
before it goes on: the features are the same as if it had never died.

A system that publishes its own vectors writes features:<symbol> too: beside it, give this one
another name with --to.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import statistics
import time
from collections import deque
from collections.abc import Sequence
from itertools import pairwise

import redis

from foreshock.errors import StoreError
from foreshock.stores.bus import stream_name
from foreshock.stores.bus_consumer import Consumer, Entry
from foreshock.stores.hot_layout import Trade, read_trades

LATE_MS = 5_000  # how much later than it happened a trade may reach the stream


class Window:
    """The trades of the last `window_ms`, by the venue's clock."""

    def __init__(self, window_ms: int) -> None:
        self.window_ms = window_ms
        self.trades: deque[Trade] = deque()

    def add(self, trades: Sequence[Trade]) -> None:
        """Newer trades; those that fall out at the other end go."""
        self.trades.extend(trades)
        while self.trades and self.trades[0].ts < self.trades[-1].ts - self.window_ms:
            self.trades.popleft()

    def features(self) -> dict[str, float]:
        """What is published of the window."""
        buys = sum(trade.side == "buy" for trade in self.trades)
        n = len(self.trades)
        returns = [math.log(b.price / a.price) for a, b in pairwise(self.trades)]
        volume = sum(trade.qty for trade in self.trades)
        return {
            "ts": self.trades[-1].ts,
            "trades": n,
            "ofi": (2 * buys - n) / n,
            "volatility": statistics.pstdev(returns) if returns else 0.0,
            "vwap": sum(trade.price * trade.qty for trade in self.trades) / volume,
        }


def filled(client: redis.Redis, entry: Entry, window_ms: int) -> Window:
    """A window as it was right before `entry`, from what the stream still holds."""
    window = Window(window_ms)
    since_ms = int(entry.id.partition("-")[0]) - window_ms - LATE_MS
    for _, fields in client.xrange(entry.stream, max(0, since_ms), f"({entry.id}"):
        window.add(read_trades(fields))
    return window


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns how many entries of features were published."""
    parser = argparse.ArgumentParser(description="Features of a rolling window of trades.")
    parser.add_argument("--redis", default="redis://127.0.0.1:6379/0")
    parser.add_argument("--symbols", default="BTCUSDT")
    parser.add_argument("--prefix", default="", help="redis.prefix of the system")
    parser.add_argument("--to", default="features", help="name before the colon of what it writes")
    parser.add_argument("--window-s", type=float, default=30.0)
    parser.add_argument("--start", default="$", help="where a new group begins: 0 or $")
    parser.add_argument("--idle-s", type=float, help="end after so long without a trade")
    parser.add_argument("--count", type=int, default=100, help="entries a read")
    given = parser.parse_args(arguments)
    targets = {
        stream_name("trades", symbol, given.prefix): stream_name(given.to, symbol, given.prefix)
        for symbol in given.symbols.split(",")
    }
    client = redis.Redis.from_url(given.redis)
    consumer = Consumer(
        given.redis, targets, "features", "features-1", start=given.start, count=given.count
    )
    windows: dict[str, Window] = {}
    published, heard_s = 0, time.monotonic()
    while given.idle_s is None or time.monotonic() - heard_s < given.idle_s:
        try:
            entries = consumer.read(block_ms=100)
            for entry in entries:
                if entry.stream not in windows or entry.lost:
                    windows[entry.stream] = filled(client, entry, int(given.window_s * 1000))
                window = windows[entry.stream]
                window.add(entry.trades())
                try:
                    client.xadd(
                        targets[entry.stream], dict(window.features()), id=entry.id, maxlen=10_000
                    )
                    published += 1
                except redis.ResponseError as error:
                    if not entry.again:
                        print(f"{targets[entry.stream]}: {error} (another writer? see --to)")
            consumer.acknowledge(entries)
        except (StoreError, redis.RedisError) as error:
            print(f"waiting: {error}", flush=True)
            windows.clear()
            time.sleep(1.0)
            continue
        if entries:
            heard_s = time.monotonic()
    consumer.close()
    client.close()
    return published


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
