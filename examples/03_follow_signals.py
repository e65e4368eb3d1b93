"""Follow the signals of a running system: each with its probability and its bill.

    python examples/03_follow_signals.py --redis redis://127.0.0.1:6379/0

A signal enters the stream once under its id, and this group hears it at least once: whoever acts
on it keeps the ids of the last hour.
"""

from __future__ import annotations

import argparse
import contextlib
import time
from collections.abc import Sequence

import orjson

from foreshock.errors import StoreError
from foreshock.stores.bus_consumer import Consumer, Entry


def line(entry: Entry) -> str:
    """What to write of one signal."""
    said = orjson.loads(entry.fields[b"verdict"])
    bill = said.get("bill") or {}
    missed = f" ({entry.lost} before it were missed)" if entry.lost else ""
    return (
        f"{said['symbol']} within {said['horizon_s']} s: probability {said['probability']:.3f}, "
        f"costs {bill.get('total_bps', float('nan')):.1f} bps, "
        f"worth {said['utility_bps']:.1f} bps{missed}"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns how many signals were heard."""
    parser = argparse.ArgumentParser(description="Follow the signals of a running system.")
    parser.add_argument("--redis", default="redis://127.0.0.1:6379/0")
    parser.add_argument("--prefix", default="", help="redis.prefix of the system")
    parser.add_argument("--start", default="$", help="where a new group begins: 0 or $")
    parser.add_argument("--idle-s", type=float, help="end after so long without a signal")
    given = parser.parse_args(arguments)
    consumer = Consumer(
        given.redis, [f"{given.prefix}signals"], "followers", "follower-1", start=given.start
    )
    heard, heard_s = 0, time.monotonic()
    while given.idle_s is None or time.monotonic() - heard_s < given.idle_s:
        try:
            entries = consumer.read(block_ms=100)
            for entry in entries:
                print(line(entry), flush=True)
            consumer.acknowledge(entries)
        except StoreError as error:
            print(f"waiting: {error}", flush=True)
            time.sleep(1.0)
            continue
        if entries:
            heard, heard_s = heard + len(entries), time.monotonic()
    consumer.close()
    return heard


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
