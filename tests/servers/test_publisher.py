"""The publisher over a Redis that dies, hangs and comes back."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import redis

from actors.publisher import BusPlan, Publisher
from foreshock.stores.bus_consumer import Consumer
from foreshock.stores.hot_layout import read_trades
from tests.reference.bus import FEATURES, INSTRUMENTS, boundary, plain_fields, some_trades
from tests.servers.redis_server import RedisServer

PATIENCE_S = 20.0


def until(true: Callable[[], bool]) -> None:
    """Waits for it; fails after PATIENCE_S."""
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def publisher_of(server: RedisServer, **changes: Any) -> Publisher:
    plan = replace(BusPlan(server.url, every_ms=2.0), **changes)
    return Publisher(plan, INSTRUMENTS, FEATURES, "f00d")


def stream_of(server: RedisServer, name: str) -> list[dict[bytes, bytes]]:
    with redis.Redis.from_url(server.url) as client:
        return [fields for _, fields in client.xrange(name)]


def test_everything_offered_is_published_in_order(redis_server: RedisServer) -> None:
    publisher, rows = publisher_of(redis_server), some_trades(300)
    for k in range(0, 300, 10):
        publisher.offer(rows[k : k + 10], [boundary(k)] if k % 100 == 0 else ())
    publisher.close()
    for symbol, name in enumerate(("btcusdt", "ethusdt")):
        assert stream_of(redis_server, f"trades:{name}") == plain_fields(rows, symbol)
    assert len(stream_of(redis_server, "features:btcusdt")) == 3
    facts = publisher.facts()
    assert (facts["state"], facts["trades"], facts["vectors"], facts["waiting"]) == (
        "ok", 300, 6, 0,
    )  # fmt: skip
    assert set(facts["lost"].values()) == {0}


def test_a_dead_server_stalls_nobody_and_gets_everything_in_order_when_it_is_back(
    redis_server: RedisServer,
) -> None:
    publisher, rows = publisher_of(redis_server), some_trades(1000)
    publisher.offer(rows[:100], [boundary(1)])
    until(lambda: publisher.facts()["trades"] == 100)
    redis_server.kill()
    publisher.offer(rows[100:200])
    until(lambda: bool(publisher.facts()["state"] == "degraded"))
    started = time.monotonic()
    for k in range(200, 1000, 10):
        publisher.offer(rows[k : k + 10], [boundary(k)])
    assert time.monotonic() - started < 1.0  # it only notes them
    redis_server.start()  # and it forgot everything
    until(lambda: bool(publisher.facts()["state"] == "ok"))
    publisher.close()
    wanted = [f for f in plain_fields(rows, 0) if int(f[b"no"]) > 50]
    assert stream_of(redis_server, "trades:btcusdt") == wanted
    assert publisher.facts()["lost"]["trades"] == 0


def test_a_hanging_server_is_left_waiting_and_nothing_enters_twice(
    redis_server: RedisServer,
) -> None:
    publisher, rows = publisher_of(redis_server, form="packed"), some_trades(400)
    publisher.offer(rows[:10])
    until(lambda: publisher.facts()["trades"] == 10)
    redis_server.pause()
    for k in range(10, 400, 10):
        publisher.offer(rows[k : k + 10])
        time.sleep(0.001)
    until(lambda: bool(publisher.facts()["state"] == "degraded"))
    redis_server.resume()
    until(lambda: publisher.facts()["trades"] == 400)
    publisher.close()
    told = [t for f in stream_of(redis_server, "trades:ethusdt") for t in read_trades(f)]
    assert [trade.no for trade in told] == list(range(1, 201))
    assert [trade.id for trade in told] == rows["id"][rows["symbol"] == 1].tolist()


def test_beyond_the_backlog_the_oldest_are_given_up_counted_and_seen_by_readers(
    redis_server: RedisServer,
) -> None:
    publisher = publisher_of(redis_server, backlog_trades=100)
    reader = Consumer(redis_server.url, ["trades:btcusdt"], "g", "a")
    rows = some_trades(1000)
    publisher.offer(rows[:10])
    until(lambda: publisher.facts()["trades"] == 10)
    reader.acknowledge(reader.read())
    redis_server.kill()
    for k in range(10, 1000, 10):
        publisher.offer(rows[k : k + 10])
        until(lambda: not publisher._offered)
    redis_server.start()
    until(lambda: bool(publisher.facts()["state"] == "ok"))
    publisher.close()
    facts = publisher.facts()
    lost = facts["lost"]["trades"]  # at the end: what is offered is counted a moment later
    assert lost > 0 and facts["trades"] + lost == 1000
    told = [t for f in stream_of(redis_server, "trades:btcusdt") for t in read_trades(f)]
    assert told[-1].no == 500 and told[-1].id == 1998
    missing = 495 - len(told)
    assert missing == lost // 2 and told[0].no == 6 + missing
    reader.close()


def test_off_starts_nothing(redis_server: RedisServer) -> None:
    publisher = publisher_of(redis_server, form="off")
    publisher.offer(some_trades(10))
    publisher.close()
    assert publisher.facts()["state"] == "off" and stream_of(redis_server, "trades:btcusdt") == []


def test_boundaries_alone_do_not_pile_up_without_end(redis_server: RedisServer) -> None:
    redis_server.kill()
    publisher = publisher_of(redis_server, features_length=120)
    for k in range(300):
        publisher.offer(some_trades(0), [boundary(k)])
        until(lambda: not publisher._offered)
    assert publisher._backlog_boundaries <= 120 + 60
    assert publisher.facts()["lost"]["boundaries"] >= 100
    publisher.close()
