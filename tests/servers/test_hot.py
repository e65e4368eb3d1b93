"""The contract of the hot store, on the embedded Redis and on a real one, kill -9 included."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from foreshock.errors import StoreError
from foreshock.stores.hot import RedisHot
from tests.servers.redis_server import RedisServer


@pytest.fixture
def hot(redis_url: str) -> Iterator[RedisHot]:
    store = RedisHot(redis_url, prefix=f"test-{secrets.token_hex(4)}:", stream_length=200)
    yield store
    keys = store._client.keys(f"{store._prefix}*")
    if keys:
        store._client.delete(*keys)
    store.close()


def verdict(
    symbol: str, *, signal: bool = False, number: int = 0, reason: str = ""
) -> dict[str, Any]:
    return {
        "id": f"{symbol}-{number}",
        "symbol": symbol,
        "signal": signal,
        "reason": reason or ("signal" if signal else "below_utility"),
        "utility_bps": 1.25,
        "mid": None,
    }


def test_the_latest_verdict_and_market_state_of_each_symbol_are_kept(hot: RedisHot) -> None:
    hot.publish(verdicts=[verdict("A"), verdict("B")], market={"A": {"bid": 1.5}})
    hot.publish(verdicts=[verdict("A", number=1)], market={"A": {"bid": 1.6}, "B": {"bid": None}})
    assert hot.verdicts() == {"A": verdict("A", number=1), "B": verdict("B")}
    assert hot.market() == {"A": {"bid": 1.6}, "B": {"bid": None}}


def test_only_signals_enter_the_stream_and_each_id_once(hot: RedisHot) -> None:
    batch = [verdict("A", signal=True), verdict("B")]
    hot.publish(verdicts=batch)
    hot.publish(verdicts=batch)
    hot.publish(verdicts=[verdict("A", signal=True, number=2)])
    assert [body["id"] for _, body in hot.signals()] == ["A-0", "A-2"]
    assert [body["id"] for body in hot.last_signals()] == ["A-2", "A-0"]


def test_signals_are_numbered_without_a_hole(hot: RedisHot) -> None:
    for number in (0, 1, 0, 2):
        hot.publish(verdicts=[verdict("A", signal=True, number=number)])
    entries = hot._client.xrange(f"{hot._prefix}signals")
    assert [fields[b"no"] for _, fields in entries] == [b"1", b"2", b"3"]


def test_a_duplicate_verdict_does_not_hide_the_one_it_repeats(hot: RedisHot) -> None:
    hot.publish(verdicts=[verdict("A", signal=True)])
    hot.publish(verdicts=[verdict("A", reason="duplicate")])
    assert hot.verdicts()["A"]["reason"] == "signal"


def test_signals_are_read_on_from_an_entry(hot: RedisHot) -> None:
    hot.publish(verdicts=[verdict("A", signal=True, number=n) for n in range(5)])
    first = hot.signals(count=2)
    rest = hot.signals(after=first[-1][0])
    assert [body["id"] for _, body in first + rest] == [f"A-{n}" for n in range(5)]
    assert hot.signals(after=rest[-1][0]) == []
    assert hot.signals(after=first[-1][0], block_ms=1000) == rest


def test_a_waiting_reader_is_woken_by_a_signal_and_an_idle_wait_ends_empty(hot: RedisHot) -> None:
    assert hot.signals(after="$", block_ms=5) == []
    said = threading.Event()
    heard: list[tuple[str, dict[str, Any]]] = []

    def listen() -> None:
        said.set()
        heard.extend(hot.signals(block_ms=4000))

    listener = threading.Thread(target=listen)
    listener.start()
    said.wait()
    hot.publish(verdicts=[verdict("A", signal=True)])
    listener.join()
    assert [body["id"] for _, body in heard] == ["A-0"]


def test_the_stream_of_signals_is_bounded(hot: RedisHot) -> None:
    for n in range(0, 1000, 50):
        hot.publish(verdicts=[verdict("A", signal=True, number=n + i) for i in range(50)])
    assert len(hot.signals(count=5000)) < 400


def test_notes_come_back_as_they_were_written(hot: RedisHot) -> None:
    assert hot.note("gate") is None
    hot.publish(notes={"gate": b"\x00\xff", "other": b""})
    assert (hot.note("gate"), hot.note("other")) == (b"\x00\xff", b"")


def test_cost_tables_are_kept_by_symbol_and_tier(hot: RedisHot) -> None:
    hot.put_costs({"A": {"taker_fee_bps": 5.0}, "B": {"taker_fee_bps": 4.0}})
    hot.put_costs({"A": {"taker_fee_bps": 3.0}}, tier="VIP 3")
    hot.put_costs({})
    assert hot.costs() == {"A": {"taker_fee_bps": 5.0}, "B": {"taker_fee_bps": 4.0}}
    assert hot.costs("VIP 3") == {"A": {"taker_fee_bps": 3.0}}
    assert hot.costs("VIP") == {}


def test_a_lock_is_held_by_one_owner_until_given_back(hot: RedisHot) -> None:
    mine = hot.claim("boundary", "me", 60)
    assert mine is not None and hot.claim("boundary", "you", 60) is None
    assert hot.claim("boundary", "me", 60) == mine
    assert not hot.release("boundary", "you")
    assert hot.release("boundary", "me")
    assert not hot.release("boundary", "me")
    yours = hot.claim("boundary", "you", 60)
    assert yours is not None and yours > mine


def test_a_lock_expires_and_its_old_holder_can_write_no_more(hot: RedisHot) -> None:
    slept = hot.claim("gate", "me", 0.001)
    assert slept is not None
    taken = None
    while taken is None:
        taken = hot.claim("gate", "you", 60)
    assert taken > slept
    assert hot.put_note_fenced("policy", b"yours", "gate", taken)
    assert not hot.put_note_fenced("policy", b"mine", "gate", slept)
    assert hot.note("policy") == b"yours"


def test_of_many_that_claim_at_once_one_gets_the_lock(redis_url: str, hot: RedisHot) -> None:
    tokens: list[int] = []
    gate = threading.Barrier(8)

    def claim(owner: str) -> None:
        store = RedisHot(redis_url, prefix=hot._prefix)
        gate.wait()
        if (token := store.claim("one", owner, 60)) is not None:
            tokens.append(token)
        store.close()

    threads = [threading.Thread(target=claim, args=(f"owner{k}",)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(tokens) == 1


def test_a_server_that_is_not_there_is_a_store_error() -> None:
    store = RedisHot("redis://127.0.0.1:1/0", timeout_s=0.2)
    with pytest.raises(StoreError, match="Redis"):
        store.ping()
    with pytest.raises(StoreError, match="Redis"):
        store.publish(verdicts=[verdict("A")])
    with pytest.raises(StoreError, match="Redis"):
        store.claim("one", "me", 1)


def test_a_store_that_was_killed_is_used_again_when_it_is_back(redis_server: RedisServer) -> None:
    hot = RedisHot(redis_server.url, timeout_s=1.0)
    hot.publish(verdicts=[verdict("A", signal=True)])
    before = hot.claim("gate", "me", 60)
    redis_server.kill()
    with pytest.raises(StoreError):
        hot.publish(verdicts=[verdict("A", signal=True, number=1)])
    redis_server.start()
    hot.publish(verdicts=[verdict("A", signal=True, number=1)])
    assert [body["id"] for _, body in hot.signals()] == ["A-1"]
    after = hot.claim("gate", "you", 60)
    assert before is not None and after is not None and after > before  # though it forgot all
    hot.close()


def test_a_signal_said_again_after_a_death_enters_a_kept_stream_once(
    redis_server: RedisServer,
) -> None:
    redis_server.kill()
    redis_server.start(keeping=True)
    hot = RedisHot(redis_server.url, timeout_s=1.0)
    said = [verdict("A", signal=True, number=n) for n in range(50)]
    hot.publish(verdicts=said[:30])
    redis_server.kill()
    redis_server.start(keeping=True)
    hot.publish(verdicts=said)
    assert [body["id"] for _, body in hot.signals()] == [body["id"] for body in said]
    hot.close()
