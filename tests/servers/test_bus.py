"""The bus and its consumers, on the embedded Redis and on a real one: what enters the streams, what
a consumer that dies, sleeps or comes late gets, and what everybody is told of a hole."""

from __future__ import annotations

import secrets
import struct
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import redis

from foreshock.errors import StoreError
from foreshock.market.rows import FALLBACK, INSTRUMENT
from foreshock.stores.bus import Bus
from foreshock.stores.bus_consumer import Consumer, Entry
from foreshock.stores.hot import RedisHot
from foreshock.stores.hot_layout import read_trades, unpack_trades, unpack_vector
from tests.reference.bus import (
    FEATURES,
    INSTRUMENTS,
    among_depth,
    boundary,
    plain_fields,
    some_trades,
)
from tests.servers.redis_server import RedisServer

BusOf = Callable[..., Bus]


@pytest.fixture
def prefix(redis_url: str) -> Iterator[str]:
    """A part of the server for this test alone."""
    own = f"test-{secrets.token_hex(4)}:"
    yield own
    with redis.Redis.from_url(redis_url) as client:
        if keys := client.keys(f"{own}*"):
            client.delete(*keys)


@pytest.fixture
def client(redis_url: str) -> Iterator[Any]:
    with redis.Redis.from_url(redis_url) as found:
        yield found


@pytest.fixture
def bus_of(redis_url: str, prefix: str) -> Iterator[BusOf]:
    made: list[Bus] = []

    def make(form: str = "plain", **more: Any) -> Bus:
        more = {"features": FEATURES, "fingerprint": "f00d", **more}
        made.append(Bus(redis_url, INSTRUMENTS, form=form, prefix=prefix, **more))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for bus in made:
        bus.close()


@pytest.fixture
def member(redis_url: str, prefix: str) -> Iterator[Callable[..., Consumer]]:
    made: list[Consumer] = []

    def make(group: str = "g", name: str = "a", symbol: str = "btcusdt", **more: Any) -> Consumer:
        made.append(Consumer(redis_url, [f"{prefix}trades:{symbol}"], group, name, **more))
        return made[-1]

    yield make
    for consumer in made:
        consumer.close()


def numbers(entries: list[Entry]) -> list[int]:
    return [trade.no for entry in entries for trade in entry.trades()]


# What enters


def test_plain_entries_hold_every_trade_as_exact_decimals(
    bus_of: BusOf, client: Any, prefix: str
) -> None:
    rows = some_trades(20)
    bus_of().publish(among_depth(rows))
    for symbol, name in enumerate(("btcusdt", "ethusdt")):
        entries = client.xrange(f"{prefix}trades:{name}")
        assert [fields for _, fields in entries] == plain_fields(rows, symbol)
        assert [entry for entry, _ in entries] == [
            f"{int(row['arrival_ns']) // 1_000_000}-{int(row['seq'])}".encode()
            for row in rows
            if row["symbol"] == symbol
        ]


def test_packed_entries_hold_the_rows_word_for_word(
    bus_of: BusOf, client: Any, prefix: str
) -> None:
    rows = some_trades(20)
    bus = bus_of("packed")
    bus.publish(among_depth(rows[:7]))
    bus.publish(rows[7:])
    entries = client.xrange(f"{prefix}trades:ethusdt")
    packed = [unpack_trades(fields[b"p"]) for _, fields in entries]
    assert [part.first_no for part in packed] == [1, 4]
    found = np.concatenate([part.rows for part in packed])
    assert found.tobytes() == rows[rows["symbol"] == 1].tobytes()


def test_both_forms_tell_the_same_trades(bus_of: BusOf, client: Any, prefix: str) -> None:
    rows = some_trades(9)
    rows["flags"][4] |= FALLBACK
    told = []
    for form in ("plain", "packed"):
        bus_of(form).publish(rows)
        stream = f"{prefix}trades:btcusdt"
        told.append([t for _, fields in client.xrange(stream) for t in read_trades(fields)])
        client.delete(stream)
    assert told[0] == told[1]
    assert [trade.fallback for trade in told[0]] == [False, False, True, False, False]
    assert (told[0][1].price, told[0][1].qty, told[0][1].side) == (1350.1, 0.003, "buy")


def test_the_documented_layout_reads_packed_trades_without_our_code(
    bus_of: BusOf, client: Any, prefix: str
) -> None:
    rows = some_trades(4)
    bus_of("packed").publish(rows)
    ((_, fields),) = client.xrange(f"{prefix}trades:btcusdt")
    blob = fields[b"p"]
    magic, size, tick_decimals, _, n, _, first, ticks, _ = struct.unpack_from("<4sHBBIIQqq", blob)
    assert (magic, size, n, first) == (b"FSR1", 80, 2, 1)
    price_ticks = struct.unpack_from("<q", blob, 40 + 80 + 48)[0]  # the second row's word 6
    assert price_ticks * ticks / 10**tick_decimals == pytest.approx(27_002 * 0.05)


def test_vectors_come_back_bit_for_bit_in_both_forms_and_once(
    bus_of: BusOf, client: Any, prefix: str
) -> None:
    stream, closed = f"{prefix}features:ethusdt", [boundary(1), boundary(2)]
    packed = bus_of("packed")
    for _ in range(2):
        packed.publish(boundaries=closed)
    stored = [unpack_vector(fields) for _, fields in client.xrange(stream)]
    assert [v.boundary_ns for v in stored] == [b.boundary_ns for b in closed]
    assert stored[1].vector.tobytes() == closed[1].vectors[1].tobytes()
    assert (stored[1].warm == closed[1].warm[1]).all()
    assert (stored[0].book_epoch, stored[0].tape_epoch, stored[0].fingerprint) == (4, 3, "f00d")
    client.delete(stream)
    bus_of("plain").publish(boundaries=closed)
    _, fields = client.xrange(stream)[0]
    assert fields[b"ts"] == str(closed[0].boundary_ns // 1_000_000).encode()
    assert b"volatility" not in fields  # it is not warm
    found = np.array([float(fields[name.encode()]) for name in FEATURES[:2]], np.float32)
    assert found.tobytes() == closed[0].vectors[1, :2].tobytes()


def test_streams_are_bounded_and_packed_ones_by_as_many_trades(
    bus_of: BusOf, client: Any, prefix: str
) -> None:
    plain, packed = bus_of(trades_length=500), bus_of("packed", trades_length=500)
    for k in range(20):
        plain.publish(some_trades(400, 400 * k))
    assert 500 <= client.xlen(f"{prefix}trades:btcusdt") < 700
    for k in range(400):
        packed.publish(some_trades(2, 8000 + 2 * k))
    assert client.xlen(f"{prefix}trades:ethusdt") < 250


@pytest.mark.parametrize("form", ["plain", "packed"])
def test_prices_follow_a_tick_size_that_changes_between_two_trades(
    bus_of: BusOf, client: Any, prefix: str, form: str
) -> None:
    rows, bus = some_trades(8, symbols=1), bus_of(form)
    change = rows[3:4].copy()
    change["kind"] = INSTRUMENT
    for name, value in zip("abcd", (3, 2, 0, 10), strict=True):  # ticks of 0.002, lots of 10
        change[name] = value
    foreign = rows[:1].copy()
    foreign["symbol"] = 7  # listed while running: another watcher's
    bus.publish(np.concatenate([rows[:3], change, rows[3:6], foreign]))
    bus.publish(rows[6:])
    entries = client.xrange(f"{prefix}trades:btcusdt")
    told = [trade for _, fields in entries for trade in read_trades(fields)]
    steps = [(0.05, 0.001)] * 3 + [(0.002, 10.0)] * 5
    assert [trade.price for trade in told] == pytest.approx(
        [(27_000 + k) * tick for k, (tick, _) in enumerate(steps)]
    )
    assert [trade.qty for trade in told] == pytest.approx(
        [(1 + k % 5) * lot for k, (_, lot) in enumerate(steps)]
    )
    assert [trade.no for trade in told] == list(range(1, 9))


def test_off_publishes_nothing(bus_of: BusOf, client: Any, prefix: str) -> None:
    bus_of("off").publish(some_trades(4), [boundary(1)])
    assert client.keys(f"{prefix}*") == []


@pytest.mark.parametrize("form", ["plain", "packed"])
def test_a_batch_sent_again_counts_once_and_an_older_one_is_told(
    bus_of: BusOf, client: Any, prefix: str, form: str
) -> None:
    bus, rows = bus_of(form), some_trades(8)
    first = bus.publish(rows)
    assert first.refused == 0 and first.entries == (8 if form == "plain" else 2)
    assert bus.publish(rows).refused == first.entries
    assert sum(client.xlen(f"{prefix}trades:{s}") for s in ("btcusdt", "ethusdt")) == first.entries


def test_numbers_go_on_where_the_last_writer_ended(bus_of: BusOf, client: Any, prefix: str) -> None:
    bus_of("plain").publish(some_trades(6))
    bus_of("packed").publish(some_trades(4, 6))
    bus_of("plain").publish(some_trades(2, 10))
    entries = client.xrange(f"{prefix}trades:btcusdt")
    assert [t.no for _, fields in entries for t in read_trades(fields)] == [1, 2, 3, 4, 5, 6]


def test_a_stream_of_another_kind_is_a_store_error_and_the_next_call_works(
    bus_of: BusOf, client: Any, prefix: str
) -> None:
    client.set(f"{prefix}trades:btcusdt", "taken")
    bus = bus_of()
    with pytest.raises(StoreError, match="WRONGTYPE"):
        bus.publish(some_trades(4))
    client.delete(f"{prefix}trades:btcusdt")
    bus.publish(some_trades(4))
    assert client.xlen(f"{prefix}trades:btcusdt") == 2


@pytest.mark.parametrize("blob", [b"", b"FSR1", b"FSR2" + bytes(36), b"FSR1" + bytes(36)])
def test_damaged_packs_are_refused(blob: bytes) -> None:
    with pytest.raises(StoreError):
        unpack_trades(blob)


def test_an_entry_that_is_no_trade_tells_none_and_a_damaged_one_is_refused() -> None:
    assert read_trades({b"hello": b"there"}) == []
    with pytest.raises(StoreError):
        read_trades({b"price": b"1.0", b"ts": b"soon"})
    with pytest.raises(StoreError):
        unpack_vector({b"b": b"1"})


def test_any_chunking_makes_the_same_entries_as_a_replay_does(
    bus_of: BusOf, client: Any, prefix: str
) -> None:
    rows, closed = among_depth(some_trades(60)), [boundary(k) for k in range(4)]
    whole = np.arange(0, len(rows), 4)  # a header, its packs, a trade
    streams = [f"{prefix}{kind}:btcusdt" for kind in ("trades", "features")]
    held = []
    for cuts in ([], sorted(np.random.default_rng(3).choice(whole, 9, replace=False).tolist())):
        bus = bus_of()
        for k, part in enumerate(np.split(rows, cuts)):
            bus.publish(part, closed[k::10] if cuts else closed)
        held.append([client.xrange(stream) for stream in streams])
        client.delete(*streams, f"{prefix}trades:ethusdt", f"{prefix}features:ethusdt")
    assert held[0] == held[1] and len(held[0][0]) == 30 and len(held[0][1]) == 4


# What consumers get


def test_groups_read_everything_independently_of_one_another(
    bus_of: BusOf, member: Callable[..., Consumer]
) -> None:
    bus = bus_of()
    logger, features = member("logger"), member("features", count=2)
    bus.publish(some_trades(10))
    assert numbers(logger.read()) == [1, 2, 3, 4, 5]
    assert numbers(features.read()) == [1, 2]
    bus.publish(some_trades(4, 10))
    assert numbers(features.read()) == [3, 4]
    late = member("late", start="0")
    assert numbers(late.read()) == [1, 2, 3, 4, 5, 6, 7]
    assert numbers(logger.read()) == [6, 7]


def test_members_of_a_group_share_its_entries(
    bus_of: BusOf, member: Callable[..., Consumer]
) -> None:
    one, two = (member("g", name, count=3, alone=False) for name in ("one", "two"))
    bus_of().publish(some_trades(12))
    shares = numbers(one.read()), numbers(two.read())
    assert shares == ([1, 2, 3], [4, 5, 6])


def test_a_member_that_dies_in_mid_batch_gets_it_again_under_its_name(
    bus_of: BusOf, member: Callable[..., Consumer]
) -> None:
    bus_of().publish(some_trades(20))
    first = member(count=6)
    taken = first.read()
    first.acknowledge(taken[:2])
    first.close()  # dies with four of six in its hands
    again = member(count=6)
    back = again.read()
    assert numbers(back) == [3, 4, 5, 6] and all(entry.again for entry in back)
    again.acknowledge(back)
    rest = again.read()
    assert numbers(rest) == [7, 8, 9, 10] and not any(entry.again for entry in rest)
    assert [entry.lost for entry in back + rest] == [0] * 8
    assert again.pending() == 4


def test_what_a_dead_member_left_is_taken_over_by_another(
    bus_of: BusOf, member: Callable[..., Consumer]
) -> None:
    bus_of().publish(some_trades(20))
    dead = member("g", "dead", count=6, alone=False)
    assert len(dead.read()) == 6
    heir = member("g", "heir", idle_ms=0, alone=False)
    taken = heir.read()
    assert numbers(taken) == [1, 2, 3, 4, 5, 6] and all(entry.again for entry in taken)
    heir.acknowledge(taken)
    assert numbers(heir.read()) == [7, 8, 9, 10]


@pytest.mark.parametrize("form", ["plain", "packed"])
def test_a_slow_consumer_is_told_how_much_was_trimmed_before_it_came(
    bus_of: BusOf, member: Callable[..., Consumer], client: Any, prefix: str, form: str
) -> None:
    bus, slow = bus_of(form), member()
    bus.publish(some_trades(10))
    slow.acknowledge(slow.read())
    for k in range(10):
        bus.publish(some_trades(100, 10 + 100 * k))
    client.xtrim(f"{prefix}trades:btcusdt", maxlen=1 if form == "packed" else 50, approximate=False)
    found = slow.read()
    assert found[0].lost == 450 and numbers(found) == list(range(456, 506))
    assert [entry.lost for entry in found[1:]] == [0] * (len(found) - 1)


def test_entries_that_are_trimmed_while_pending_are_told_too(
    bus_of: BusOf, member: Callable[..., Consumer], client: Any, prefix: str
) -> None:
    bus_of().publish(some_trades(20))
    member(count=6).read()
    client.xtrim(f"{prefix}trades:btcusdt", maxlen=2, approximate=False)
    found = member(count=6).read()
    assert numbers(found) == [9, 10]
    heir = member("h", "dead", alone=False, count=1)
    assert numbers(heir.read()) == [9]
    client.xtrim(f"{prefix}trades:btcusdt", maxlen=1, approximate=False)
    found = member("h", "heir", alone=False, idle_ms=0).read()
    assert numbers(found) == [10] and found[0].lost == 1


def test_what_a_writer_gave_up_is_a_hole_in_the_numbers(
    bus_of: BusOf, member: Callable[..., Consumer]
) -> None:
    bus, reader = bus_of(), member()
    bus.publish(some_trades(4))
    reader.acknowledge(reader.read())
    bus.give_up(some_trades(10, 4))
    bus.publish(some_trades(4, 14))
    found = reader.read()
    assert [entry.lost for entry in found] == [5, 0] and numbers(found) == [8, 9]
    fresh = bus_of()
    fresh.give_up(some_trades(2, 18))
    fresh.publish(some_trades(2, 20))
    assert [entry.lost for entry in reader.read()] == [1]


def test_signals_are_consumed_like_any_stream(redis_url: str, prefix: str) -> None:
    hot = RedisHot(redis_url, prefix=prefix)
    said = {"id": "x", "symbol": "A", "signal": True, "reason": "signal"}
    hot.publish(verdicts=[said, {**said, "id": "y"}, said])
    reader = Consumer(redis_url, [f"{prefix}signals"], "desk", "a")
    assert [entry.fields[b"no"] for entry in reader.read()] == [b"1", b"2"]
    reader.close()
    hot.close()


# Death of the server


def test_a_killed_server_costs_what_it_held_and_nothing_else(redis_server: RedisServer) -> None:
    bus = Bus(redis_server.url, INSTRUMENTS)
    reader = Consumer(redis_server.url, ["trades:btcusdt"], "g", "a")
    bus.publish(some_trades(10))
    reader.acknowledge(reader.read())
    redis_server.kill()
    rows = some_trades(10, 10)
    with pytest.raises(StoreError):
        bus.publish(rows)
    with pytest.raises(StoreError):
        reader.read()
    redis_server.start()
    assert bus.publish(rows).refused == 0
    found = [entry for _ in range(2) for entry in reader.read(100)]
    assert numbers(found) == [6, 7, 8, 9, 10] and [entry.lost for entry in found] == [0] * 5
    bus.close()
    reader.close()


def test_a_server_that_hangs_is_a_store_error_within_the_timeout_and_nothing_comes_twice(
    redis_server: RedisServer,
) -> None:
    bus = Bus(redis_server.url, INSTRUMENTS, timeout_s=0.2)
    bus.publish(some_trades(10))
    redis_server.pause()
    rows = some_trades(10, 10)
    with pytest.raises(StoreError):
        bus.publish(rows)
    redis_server.resume()
    assert bus.publish(rows).refused == 0  # of a batch in doubt, what is there already is its own
    with redis.Redis.from_url(redis_server.url) as client:
        entries = client.xrange("trades:btcusdt")
    assert [int(fields[b"no"]) for _, fields in entries] == list(range(1, 11))
    bus.close()


def test_a_full_server_is_a_store_error(redis_server: RedisServer) -> None:
    bus = Bus(redis_server.url, INSTRUMENTS)
    with redis.Redis.from_url(redis_server.url) as client:
        client.config_set("maxmemory", "1")
        with pytest.raises(StoreError, match=r"OOM|memory"):
            bus.publish(some_trades(4))
        client.config_set("maxmemory", "0")
        bus.publish(some_trades(4))
        assert client.xlen("trades:btcusdt") == 2
    bus.close()
