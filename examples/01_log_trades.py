"""Log every trade that a running system publishes, and say where some are missing.

    python examples/01_log_trades.py --redis redis://127.0.0.1:6379/0 --symbols BTCUSDT,ETHUSDT

It reads in a consumer group of its own, so that other consumers get every trade too. Killed and
started again it goes on where it was; an entry that it had not acknowledged comes again.
"""

from __future__ import annotations

import argparse
import contextlib
import time
from collections.abc import Sequence

from foreshock.errors import StoreError
from foreshock.stores.bus import stream_name
from foreshock.stores.bus_consumer import Consumer, Entry


def lines(entry: Entry) -> list[str]:
    """What to write of one entry."""
    out = [f"{entry.stream}: {entry.lost} trades are missing here"] if entry.lost else []
    for trade in entry.trades():
        at = time.strftime("%H:%M:%S", time.gmtime(trade.ts / 1000)) + f".{trade.ts % 1000:03d}"
        out.append(f"{at} {entry.stream} {trade.side:4} {trade.qty:g} at {trade.price:g}")
    return out


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns how many trades were logged."""
    parser = argparse.ArgumentParser(description="Log the trades that a running system publishes.")
    parser.add_argument("--redis", default="redis://127.0.0.1:6379/0")
    parser.add_argument("--symbols", default="BTCUSDT")
    parser.add_argument("--prefix", default="", help="redis.prefix of the system")
    parser.add_argument("--group", default="logger")
    parser.add_argument("--name", default="logger-1", help="of this member of the group")
    parser.add_argument("--start", default="$", help="where a new group begins: 0 or $")
    parser.add_argument("--idle-s", type=float, help="end after so long without a trade")
    given = parser.parse_args(arguments)
    streams = [stream_name("trades", s, given.prefix) for s in given.symbols.split(",")]
    consumer = Consumer(given.redis, streams, given.group, given.name, start=given.start)
    logged, heard_s = 0, time.monotonic()
    while given.idle_s is None or time.monotonic() - heard_s < given.idle_s:
        try:
            entries = consumer.read(block_ms=100)
            for entry in entries:
                print(*lines(entry), sep="\n", flush=True)
            consumer.acknowledge(entries)
        except StoreError as error:
            print(f"waiting: {error}", flush=True)
            time.sleep(1.0)
            continue
        if entries:
            heard_s = time.monotonic()
            logged += sum(len(entry.trades()) for entry in entries)
    consumer.close()
    return logged


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
