"""The spill: nothing lost, nothing twice, in order, whatever the store does meanwhile."""

from __future__ import annotations

import threading

import numpy as np
import pyarrow as pa
import pytest

from foreshock.errors import StoreError
from foreshock.stores.cold import StoreDownError
from foreshock.stores.cold_clickhouse import ClickHouseCold
from foreshock.stores.schema import Batch
from foreshock.stores.spill import Spill
from foreshock.stores.spill_reader import waiting
from tests.servers.test_cold import own_server, some


class Store:
    """A sink that can be down, can refuse, and can die between taking a batch and saying so."""

    def __init__(self) -> None:
        self.down = self.mute = False
        self.refused: set[int] = set()
        self.taken: list[tuple[str, Batch]] = []

    def append(self, table, data, batch):
        if self.down:
            raise StoreDownError("nobody answers")
        if batch.first_seq in self.refused:
            raise StoreError("not this one")
        self.taken.append((table, batch))
        if self.mute:
            raise StoreDownError("the answer was lost")
        return len(data)

    @property
    def firsts(self) -> list[int]:
        return [batch.first_seq for _, batch in self.taken]


def put(spill: Spill, *firsts: int, table: str = "trades") -> None:
    for first in firsts:
        spill.append(table, *some(table, first, 10))


def drain(spill: Spill) -> None:
    while spill.step():
        pass


@pytest.fixture
def store():
    return Store()


@pytest.fixture
def spill(store, tmp_path):
    made = Spill(store, tmp_path / "spill", now_s=lambda: 7.0)
    yield made
    made.close()


def test_while_the_store_is_well_nothing_touches_the_disk(spill, store, tmp_path):
    put(spill, 0, 10, 20)
    drain(spill)
    assert store.firsts == [0, 10, 20]
    assert spill.status()["state"] == "ok"
    assert waiting(tmp_path) == {"batches": 0, "bytes": 0, "since_s": None}
    assert not list(tmp_path.rglob("*.parquet"))


def test_what_came_while_the_store_was_down_is_delivered_in_order(spill, store, tmp_path):
    put(spill, 0)
    drain(spill)
    store.down = True
    put(spill, 10, 20)
    assert not spill.step()
    put(spill, 30, 40)
    said = spill.status()
    assert (said["state"], said["down_since_s"], said["spilled_batches"]) == ("degraded", 7.0, 4)
    assert "nobody answers" in said["problem"]
    assert waiting(tmp_path)["batches"] == 4
    store.down = False
    assert spill.step()
    put(spill, 50)  # what waits goes before what comes
    drain(spill)
    assert store.firsts == [0, 10, 20, 30, 40, 50]
    said = spill.status()
    assert (said["state"], said["waiting_batches"], said["delivered_rows"]) == ("ok", 0, 60)
    assert said["problem"] == ""


def test_a_new_life_delivers_what_the_old_one_left(store, tmp_path):
    store.down = True
    first = Spill(store, tmp_path)
    put(first, 0, 10)
    first.step()
    put(first, 20)
    first.close()
    second = Spill(store, tmp_path)
    put(second, 30)
    assert second.status()["spilled_batches"] == 4
    store.down = False
    drain(second)
    second.close()
    assert store.firsts == [0, 10, 20, 30]


def test_what_only_memory_had_is_on_disk_after_a_close(store, tmp_path):
    first = Spill(store, tmp_path)
    put(first, 0, 10)
    first.close()
    second = Spill(store, tmp_path)
    drain(second)
    second.close()
    assert store.firsts == [0, 10]


def test_a_batch_whose_answer_was_lost_is_delivered_again_under_the_same_name(spill, store):
    put(spill, 0, 10)
    store.mute = True
    spill.step()
    store.mute = False
    drain(spill)
    assert store.firsts == [0, 0, 10]
    assert store.taken[0] == store.taken[1]


def test_rows_come_back_from_disk_as_they_went(store, tmp_path):
    got = []
    store.append = lambda table, data, batch: got.append((table, data, batch)) or len(data)
    spill = Spill(store, tmp_path, memory_bytes=0)
    sent = [("rows", *some("rows", 0, 9, shard="a/b~c-1")), ("vectors", *some("vectors", 3, 5))]
    for each in sent:
        spill.append(*each)
    spill.close()
    spill = Spill(store, tmp_path)
    drain(spill)
    spill.close()
    assert [(table, batch) for table, _, batch in got] == [(t, b) for t, _, b in sent]
    for (_, data, _), (_, back, _) in zip(sent, got, strict=True):
        for name in data.column_names:
            ours, theirs = (t.column(name).combine_chunks() for t in (data, back))
            if pa.types.is_floating(ours.type):
                assert np.array_equal(ours.to_numpy(), theirs.to_numpy(), equal_nan=True)
            else:
                assert ours.to_pylist() == theirs.to_pylist()


def test_memory_is_bounded_while_the_store_is_only_slow(store, tmp_path):
    size = some("trades", 0, 10)[0].nbytes
    spill = Spill(store, tmp_path, memory_bytes=3 * size)
    put(spill, *range(0, 200, 10))
    assert spill.status()["waiting_batches"] == 20
    assert spill.status()["spilled_batches"] == 17
    drain(spill)
    spill.close()
    assert store.firsts == list(range(0, 200, 10))


def test_beyond_the_disk_budget_the_named_tables_give_way_oldest_first(store, tmp_path):
    store.down = True
    spill = Spill(store, tmp_path, disk_bytes=1, drop_order=("rows", "vectors"))
    put(spill, 0)
    spill.step()
    put(spill, 10, 20, table="rows")
    put(spill, 30, table="vectors")
    put(spill, 40)
    said = spill.status()
    assert (said["shed_batches"], said["spilled_batches"]) == (3, 2)
    store.down = False
    drain(spill)
    spill.close()
    assert store.taken == [("trades", Batch("s/w-0", 0, 9)), ("trades", Batch("s/w-0", 40, 49))]


def test_a_batch_that_the_store_will_never_take_is_set_aside_and_the_rest_goes_by(
    spill, store, tmp_path
):
    store.refused = {10, 30}
    put(spill, 0, 10, 20)
    drain(spill)
    store.down = True
    put(spill, 30, 40)
    spill.step()
    store.down = False
    drain(spill)
    assert store.firsts == [0, 20, 40]
    assert spill.status()["refused_batches"] == 2
    assert len(list(tmp_path.rglob("refused/*.parquet"))) == 2
    assert waiting(tmp_path)["batches"] == 0


def test_a_spilled_file_that_is_damaged_is_set_aside_and_the_rest_goes_by(store, tmp_path):
    spill = Spill(store, tmp_path, memory_bytes=0)
    put(spill, 0, 10, 20)
    spill.close()
    next(tmp_path.glob("*~00000000000000000010-*.parquet")).write_bytes(b"not a table")
    spill = Spill(store, tmp_path)
    drain(spill)
    spill.close()
    assert store.firsts == [0, 20]
    assert spill.status()["refused_batches"] == 1


def test_two_processes_do_not_share_a_spill(spill, tmp_path):
    with pytest.raises(StoreError, match="another"):
        Spill(Store(), tmp_path / "spill")


def test_the_thread_delivers_and_wakes_up_again(store, tmp_path):
    with Spill(store, tmp_path, retry_s=0.01, retry_most_s=0.02) as spill:
        put(spill, 0, 10)
        assert spill.drained(20)
        store.down = True
        put(spill, 20, 30)
        reached = threading.Event()
        while spill.status()["state"] == "ok":
            reached.wait(0.005)
        store.down = False
        assert spill.drained(20)
    assert store.firsts == [0, 10, 20, 30]


@pytest.mark.servers
def test_a_real_server_that_is_killed_and_comes_back_has_every_row_once(tmp_path):
    with own_server(tmp_path / "server") as server:
        cold = ClickHouseCold(server.url)
        with Spill(cold, tmp_path / "spill", retry_s=0.02, retry_most_s=0.05) as spill:
            put(spill, *range(0, 100, 10))
            assert spill.drained(60)
            server.kill()
            put(spill, *range(100, 300, 10))
            while spill.status()["state"] == "ok":
                threading.Event().wait(0.01)
            put(spill, *range(300, 400, 10))
            assert waiting(tmp_path / "spill")["batches"] == 30
            server.start()
            assert spill.drained(60)
            assert spill.status()["state"] == "ok"
        assert sorted(cold.scan("trades")["seq"].to_pylist()) == list(range(400))
        assert sum(use.rows for use in cold.usage("trades")) == 400  # not even in the parts
        cold.close()
