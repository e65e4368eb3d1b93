"""The contract of the hot store, on the embedded Redis and on a real one where it is given."""

from __future__ import annotations

import os
import secrets
import threading

import numpy as np
import pytest

from foreshock.errors import StoreError
from foreshock.market.rows import QUOTE, TRADE, empty_rows
from foreshock.stores.embedded_redis import EmbeddedRedis
from foreshock.stores.hot import RedisHot

REAL = os.environ.get("FORESHOCK_TEST_REDIS_URL")


@pytest.fixture(scope="module")
def embedded():
    with EmbeddedRedis() as server:
        yield server.url


@pytest.fixture(
    params=[
        "embedded",
        pytest.param(
            "real",
            marks=[
                pytest.mark.servers,
                pytest.mark.skipif(not REAL, reason="FORESHOCK_TEST_REDIS_URL names no server"),
            ],
        ),
    ]
)
def url(request):
    return REAL if request.param == "real" else request.getfixturevalue("embedded")


@pytest.fixture
def hot(url):
    store = RedisHot(url, prefix=f"test-{secrets.token_hex(4)}:", stream_length=200)
    yield store
    keys = store._client.keys(f"{store._prefix}*")
    if keys:
        store._client.delete(*keys)
    store.close()


def verdict(symbol: str, *, signal: bool = False, number: int = 0, reason: str = "") -> dict:
    return {
        "id": f"{symbol}-{number}",
        "symbol": symbol,
        "signal": signal,
        "reason": reason or ("signal" if signal else "below_utility"),
        "utility_bps": 1.25,
        "mid": None,
    }


def trades(n: int, seq: int = 0, arrival_ns: int = 1_700_000_000_000_000_000):
    rows = empty_rows(n)
    rows["kind"], rows["seq"] = TRADE, np.arange(seq, seq + n)
    rows["arrival_ns"] = arrival_ns + 1000 * rows["seq"]
    rows["a"], rows["b"] = 27_000 + rows["seq"], 5
    return rows


class Closed:
    """Two symbols, eleven features, one of them not a number."""

    def __init__(self, boundary_ns: int = 1_700_000_001_000_000_000):
        self.boundary_ns = boundary_ns
        self.vectors = np.arange(22, dtype=np.float32).reshape(2, 11) / 7
        self.vectors[1, 3] = np.nan
        self.warm = ~np.isnan(self.vectors)
        self.book_epoch = np.array([1, 4], np.int32)
        self.tape_epoch = np.array([2, 3], np.int32)


def test_the_latest_verdict_and_market_state_of_each_symbol_are_kept(hot):
    hot.publish(verdicts=[verdict("A"), verdict("B")], market={"A": {"bid": 1.5}})
    hot.publish(verdicts=[verdict("A", number=1)], market={"A": {"bid": 1.6}, "B": {"bid": None}})
    assert hot.verdicts() == {"A": verdict("A", number=1), "B": verdict("B")}
    assert hot.market() == {"A": {"bid": 1.6}, "B": {"bid": None}}


def test_only_signals_enter_the_stream_and_each_id_once(hot):
    batch = [verdict("A", signal=True), verdict("B")]
    hot.publish(verdicts=batch)
    hot.publish(verdicts=batch)
    hot.publish(verdicts=[verdict("A", signal=True, number=2)])
    assert [body["id"] for _, body in hot.signals()] == ["A-0", "A-2"]
    assert [body["id"] for body in hot.last_signals()] == ["A-2", "A-0"]


def test_a_duplicate_verdict_does_not_hide_the_one_it_repeats(hot):
    hot.publish(verdicts=[verdict("A", signal=True)])
    hot.publish(verdicts=[verdict("A", reason="duplicate")])
    assert hot.verdicts()["A"]["reason"] == "signal"


def test_signals_are_read_on_from_an_entry(hot):
    hot.publish(verdicts=[verdict("A", signal=True, number=n) for n in range(5)])
    first = hot.signals(count=2)
    rest = hot.signals(after=first[-1][0])
    assert [body["id"] for _, body in first + rest] == [f"A-{n}" for n in range(5)]
    assert hot.signals(after=rest[-1][0]) == []
    assert hot.signals(after=first[-1][0], block_ms=1000) == rest


def test_a_waiting_reader_is_woken_by_a_signal_and_an_idle_wait_ends_empty(hot):
    assert hot.signals(after="$", block_ms=5) == []
    said = threading.Event()
    heard = []

    def listen():
        said.set()
        heard.extend(hot.signals(block_ms=4000))

    listener = threading.Thread(target=listen)
    listener.start()
    said.wait()
    hot.publish(verdicts=[verdict("A", signal=True)])
    listener.join()
    assert [body["id"] for _, body in heard] == ["A-0"]


def test_trades_come_back_word_for_word_and_a_batch_sent_again_counts_once(hot):
    first, second = trades(3), trades(2, seq=3)
    for _ in range(2):
        hot.publish(trades={"A": first, "B": trades(0)})
    hot.publish(trades={"A": second})
    entries = hot.trades("A")
    assert len(entries) == 2
    assert np.concatenate([rows for _, rows in entries]).tobytes() == (
        np.concatenate([first, second]).tobytes()
    )
    assert hot.trades("A", after=entries[0][0])[0][1].tobytes() == second.tobytes()
    assert hot.trades("B") == []


def test_rows_of_another_kind_are_no_trades(hot):
    rows = trades(1)
    rows["kind"] = QUOTE
    with pytest.raises(StoreError, match="TRADE"):
        hot.publish(trades={"A": rows})


def test_vectors_come_back_bit_for_bit_and_once_per_boundary(hot):
    closed = Closed()
    for _ in range(2):
        hot.publish(boundary=closed, symbols=["A", "B"], fingerprint="f00d")
    hot.publish(boundary=Closed(closed.boundary_ns + 10**9), symbols=["A", "B"], fingerprint="f00d")
    stored = [vector for _, vector in hot.features("B")]
    assert [v.boundary_ns - closed.boundary_ns for v in stored] == [0, 10**9]
    assert stored[0].vector.tobytes() == closed.vectors[1].tobytes()
    assert (stored[0].warm == closed.warm[1]).all()
    assert (stored[0].book_epoch, stored[0].tape_epoch, stored[0].fingerprint) == (4, 3, "f00d")


def test_streams_are_bounded(hot):
    for n in range(0, 1000, 50):
        hot.publish(verdicts=[verdict("A", signal=True, number=n + i) for i in range(50)])
    assert len(hot.signals(count=5000)) < 400


def test_cost_tables_are_kept_by_symbol(hot):
    hot.put_costs({"A": {"total_bps": 14.5}, "B": {"total_bps": 20.0}})
    assert hot.costs()["B"] == {"total_bps": 20.0}


def test_a_lock_is_held_by_one_owner_until_given_back_or_expired(hot):
    assert hot.claim("boundary", "me", 60)
    assert not hot.claim("boundary", "you", 60)
    assert hot.claim("boundary", "me", 60)
    assert not hot.release("boundary", "you")
    assert hot.release("boundary", "me")
    assert hot.claim("boundary", "you", 60)


def test_a_server_that_is_not_there_is_a_store_error():
    store = RedisHot("redis://127.0.0.1:1/0", timeout_s=0.2)
    with pytest.raises(StoreError, match="Redis"):
        store.ping()
    with pytest.raises(StoreError, match="Redis"):
        store.publish(verdicts=[verdict("A")])
