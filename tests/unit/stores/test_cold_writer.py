"""From rows to tables: every word kept, real units beside, nothing lost or twice on the way."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from foreshock.engine.outcomes import BILL_INPUT, Boundary
from foreshock.errors import RowError
from foreshock.market.instruments import SPOT, Instrument
from foreshock.market.rows import (
    ALL,
    BAR,
    INSTRUMENT,
    LIQUIDATION,
    MARK,
    METRIC,
    METRIC_OPEN_INTEREST,
    SELL,
    as_words,
    empty_rows,
    heads,
)
from foreshock.stores.cold_load import load_recording
from foreshock.stores.cold_parquet import ParquetCold
from foreshock.stores.cold_settings import ColdPlan, Stores
from foreshock.stores.cold_side import ColdSide, shard_of
from foreshock.stores.cold_tables import RowTables
from foreshock.stores.cold_writer import ColdWriter
from foreshock.stores.recordings import RecordingWriter, join_rows
from foreshock.stores.row_tables import from_table, pack_mask, to_table
from foreshock.stores.spill_reader import waiting
from tests.reference.make_rows import SECOND, START, RowMaker

INSTRUMENTS = [
    Instrument.of("AUSDT", SPOT, "0.05", "0.001"),
    Instrument.of("BUSDT", SPOT, "10", "1"),
]
EVERYTHING = ("rows", "trades", "bars", "metrics", "vectors")


def float_bits(value: float) -> int:
    return int(np.float64(value).view(np.int64))


def session(seconds: int = 40) -> list:
    """A batch a second: a trade a symbol, a depth frame, a timer."""
    make, out = RowMaker(), []
    for k in range(seconds):
        make.now = START + k * SECOND
        out.append(
            np.concatenate(
                [
                    make.trade(0, 1000 + k, 5, sell=bool(k % 2)),
                    make.depth(
                        1, 10 + k, bids=[(10 + i, k) for i in range(k % 13)], asks=[(99, 1)]
                    ),
                    make.trade(1, 7, 2),
                    make.timer(),
                ]
            )
        )
    return out


def draw(rows) -> dict:
    return RowTables(INSTRUMENTS, "s/0").draw(rows)


@pytest.fixture
def cold(tmp_path):
    return ParquetCold(tmp_path / "cold")


def writer(cold, shard="s/0", **options) -> ColdWriter:
    return ColdWriter(cold, INSTRUMENTS, shard, **{"tables": EVERYTHING, **options})


@pytest.mark.parametrize("seed", range(20))
def test_pack_rows_are_found_as_the_plain_walk_finds_them(seed):
    rng, make = np.random.default_rng(seed), RowMaker()
    rows = []
    for _ in range(int(rng.integers(0, 60))):
        sides = [rng.integers(0, 2**60, (int(rng.integers(0, 14)), 2)) for _ in range(2)]
        rows.append(make.depth(0, 1, *sides) if rng.random() < 0.5 else make.trade(1, 2, 3))
    whole = np.concatenate([empty_rows(), *rows])
    assert np.array_equal(np.flatnonzero(~pack_mask(as_words(whole))), heads(whole))
    assert from_table(to_table(whole)).tobytes() == whole.tobytes()


def test_rows_that_break_the_language_are_refused():
    rows = RowMaker().depth(0, 1, bids=[(1, 1)])
    with pytest.raises(RowError, match="beyond the end"):
        to_table(rows[:1])
    rows["kind"][0] = 99
    with pytest.raises(RowError, match="99"):
        to_table(rows)


def test_a_trade_has_the_public_schema_and_keeps_its_ticks_and_lots():
    make = RowMaker()
    got = draw(make.trade(0, 1001, 7, sell=True))["trades"].to_pylist()
    assert got == [
        {
            "symbol": "AUSDT",
            "shard": "s/0",
            "seq": 0,
            "ts": START // 10**6,
            "price": 50.05,
            "qty": 0.007,
            "side": "sell",
            "arrival_ns": START,
            "event_ns": START,
            "flags": SELL,
            "price_ticks": 1001,
            "size_lots": 7,
            "trade_id": 0,
        }
    ]
    assert draw(make.trade(1, 3, 2))["trades"].select(["price", "qty", "side"]).to_pylist() == [
        {"price": 30.0, "qty": 2.0, "side": "buy"}
    ]


def test_a_changed_tick_size_counts_from_its_row_on_and_for_its_symbol_alone():
    make, tables = RowMaker(), RowTables(INSTRUMENTS, "s/0")
    finer = make._row(INSTRUMENT, 0, id=2, a=3, b=1, c=0, d=5)
    rows = [make.trade(0, 100, 1), finer, make.trade(0, 100, 1), make.trade(1, 100, 1)]
    got = tables.draw(np.concatenate(rows))["trades"]
    assert got["price"].to_pylist() == [5.0, 0.1, 1000.0]
    assert got["qty"].to_pylist() == [0.001, 5.0, 1.0]
    assert tables.draw(make.trade(0, 100, 1))["trades"]["price"].to_pylist() == [0.1]


def test_closed_bars_are_kept_and_open_ones_are_not():
    make = RowMaker()

    def bar(closed: int):
        rows = make._row(BAR, 0, packs=1, id=START, id2=9, a=60 * SECOND, b=closed)
        rows[0]["count"] = 1
        words = as_words(rows)
        words[1] = [100, 120, 90, 110, 5000, 2000, float_bits(1.5), float_bits(0.5), 1, 9]
        return rows

    got = draw(np.concatenate([bar(0), make.trade(0, 1, 1), bar(1)]))["bars"].to_pylist()
    assert len(got) == 1
    wanted = {
        "symbol": "AUSDT",
        "seq": 2,
        "open_ns": START,
        "interval_ns": 60 * SECOND,
        "open": 5.0,
        "high": 6.0,
        "low": 4.5,
        "close": 5.5,
        "volume": 5.0,
        "taker_buy_volume": 2.0,
        "quote_volume": 1.5,
        "taker_buy_quote_volume": 0.5,
        "fills": 9,
    }
    assert {name: got[0][name] for name in wanted} == wanted


def test_marks_metrics_and_liquidations_become_named_numbers():
    make = RowMaker()
    rows = [
        make._row(METRIC, 1, id=START - 5, a=METRIC_OPEN_INTEREST, b=float_bits(12.5)),
        make._row(MARK, 0, id=1, a=float_bits(50.1), b=float_bits(np.nan), c=float_bits(1e-4)),
        make._row(LIQUIDATION, 0, flags=SELL, a=1000, b=3000, c=float_bits(50.0)),
        make._row(LIQUIDATION, 1, a=2, b=3),
    ]
    got = draw(np.concatenate(rows))["metrics"]
    assert [(r["seq"], r["symbol"], r["field"], r["value"]) for r in got.to_pylist()] == [
        (0, "BUSDT", "open_interest", 12.5),
        (1, "AUSDT", "mark_price", 50.1),
        (1, "AUSDT", "funding_rate_estimate", 1e-4),
        (2, "AUSDT", "liquidated_long", 150.0),
        (3, "BUSDT", "liquidated_short", 60.0),
    ]
    assert got["as_of_ns"].to_pylist() == [START - 5, START, START, START, START]


def test_all_rows_come_back_word_for_word_from_the_store(cold):
    batches = session()
    into = writer(cold, hold_rows=50)
    for rows in batches:
        into.write(rows)
    into.flush()
    for use in cold.usage("rows"):
        cold.compact("rows", use.day)
    found = cold.scan("rows")
    found = found.take(np.argsort(found["seq"].to_numpy()))
    assert from_table(found).tobytes() == np.concatenate(batches).tobytes()
    assert {ALL: ""}[ALL] in found["symbol"].unique().to_pylist()


@pytest.mark.parametrize("hold", [{"hold_rows": 40}, {"hold_s": 7.0}, {"hold_rows": 1}])
def test_however_batches_are_cut_the_store_holds_the_same(cold, tmp_path, hold):
    whole = np.concatenate(session())
    for options in ({"hold_rows": 10**6}, hold):
        into = writer(cold, **options)
        for rows in session():
            into.write(rows)
        into.flush()
        assert len(cold.scan("trades")) == 80
        assert len(cold.scan("rows")) == len(heads(whole))


def test_rows_are_held_until_there_are_enough_or_the_first_is_old(cold):
    into = writer(cold, hold_rows=10**6, hold_s=10.0)
    seen = []
    for rows in session(25):
        into.write(rows)
        seen.append(len(cold.scan("trades")) // 2)
    assert seen == [0] * 10 + [11] * 11 + [22] * 4
    into.flush()
    into.flush()
    assert len(cold.scan("trades")) == 50


def test_vectors_of_two_boundaries_that_one_row_closed_are_both_kept(cold):
    def boundary(k: int) -> Boundary:
        inputs = np.zeros(2, BILL_INPUT)
        inputs["bid"] = k
        return Boundary(
            boundary_ns=START + k * SECOND,
            closed_by_seq=5,
            closed_at_ns=0,
            vectors=np.array([[k / 7, np.nan], [1, 2]], np.float32),
            warm=np.ones((2, 2), bool),
            book_state=np.ones(2, np.uint8),
            book_epoch=np.array([1, 2], np.int32),
            tape_epoch=np.array([3, 4], np.int32),
            bill_inputs=inputs,
            rows=np.zeros(2, np.int64),
        )

    into = writer(cold)
    for group in ([boundary(0)], [boundary(1), boundary(2)], [boundary(1)]):
        into.write_boundaries(group, ["flow", "spread"], "f00d")
        into.flush()
    found = cold.scan("vectors", symbols=["AUSDT"])
    assert found["bid"].to_pylist() == [0.0, 1.0, 2.0]
    flow = np.array([k / 7 for k in range(3)], np.float32)
    assert found["feature_flow"].to_numpy().tobytes() == flow.tobytes()
    assert np.isnan(found["feature_spread"].to_numpy()).all()
    assert len(cold.scan("vectors")) == 6


def test_a_recording_fills_up_what_its_recorder_could_not_hand_over(cold, tmp_path):
    place, batches = tmp_path / "20231114T221320Z" / "watcher-0", session()
    recording = RecordingWriter(place, INSTRUMENTS, {})
    for rows in batches:
        recording.write(rows)
    live = writer(cold, shard=shard_of(place), hold_rows=100)
    for rows in batches:
        live.write(rows)  # and then it dies, with what it holds
    held = len(cold.scan("rows"))
    assert 0 < held < len(heads(join_rows(batches)))
    for _ in range(2):
        options = {"tables": EVERYTHING, "hold_rows": 64, "hold_s": 1e9}
        assert load_recording(cold, place, **options) == len(join_rows(batches))
        assert len(cold.scan("rows")) == len(heads(join_rows(batches)))
        assert len(cold.scan("trades")) == 80


def test_a_recording_keeps_its_shard_and_another_of_its_name_has_its_own(tmp_path):
    place = tmp_path / "session" / "watcher" / "0"
    place.mkdir(parents=True)
    first = shard_of(place)
    assert first.startswith("session/watcher/0@")
    assert shard_of(place) == first
    (place / "shard").unlink()
    assert shard_of(place) != first


def plan(tmp_path, **settings) -> ColdPlan:
    return ColdPlan(Stores.model_validate(settings), tmp_path)


def test_a_recorder_fills_the_store_beside_its_recording(tmp_path):
    side, place = ColdSide(plan(tmp_path, hold_rows=50)), str(tmp_path / "session" / "0")
    side.open(place, INSTRUMENTS)
    for rows in session():
        side.write(place, rows, [], [], "")
    side.close(place)
    side.close(place)
    assert side.status()["state"] == "ok"
    assert side.status()["failures"] == 0
    store = ParquetCold(tmp_path / "cold")
    assert len(store.scan("trades")) == 80
    assert load_recording_of(tmp_path, place, store) == 80
    side.end()


def load_recording_of(tmp_path, place: str, store) -> int:
    recording = RecordingWriter(Path(place), INSTRUMENTS, {})
    for rows in session():
        recording.write(rows)
    load_recording(store, Path(place), tables=EVERYTHING, hold_rows=10**6, hold_s=1e9)
    return len(store.scan("trades"))


def test_a_store_that_is_off_costs_nothing(tmp_path):
    side = ColdSide(plan(tmp_path, cold="off"))
    side.open(str(tmp_path / "x"), INSTRUMENTS)
    side.write(str(tmp_path / "x"), session()[0], [], [], "")
    side.close(str(tmp_path / "x"))
    assert side.status() == {"state": "off"}
    assert list(tmp_path.iterdir()) == []
    side.end()


def test_a_store_that_is_down_fails_no_recorder_and_gets_everything_later(tmp_path):
    nowhere = plan(tmp_path, cold="clickhouse://u:secret@127.0.0.1:1/db", hold_rows=50)
    side, place = ColdSide(nowhere), str(tmp_path / "session" / "0")
    other = ColdSide(nowhere)  # a second recorder of this machine has a spill of its own
    side.open(place, INSTRUMENTS)
    for rows in session():
        side.write(place, rows, [], [], "")
    side.close(place)
    assert "secret" not in str(side.status())
    assert waiting(tmp_path / "spill")["batches"] > 0
    side.end()
    other.end()
    later = ColdSide(plan(tmp_path))
    assert later.status()["state"] == "ok"
    later.settle()
    assert waiting(tmp_path / "spill")["batches"] == 0
    assert len(ParquetCold(tmp_path / "cold").scan("trades")) == 80
    later.end()


def test_rows_that_break_the_language_are_told_and_stop_nothing(tmp_path):
    side, place = ColdSide(plan(tmp_path, hold_rows=1)), str(tmp_path / "session" / "0")
    side.open(place, INSTRUMENTS)
    broken = RowMaker().depth(0, 1, bids=[(1, 1)])[:1]
    side.write(place, broken, [], [], "")
    side.write(place, session()[0], [], [], "")
    side.close(place)
    assert side.status()["failures"] == 1
    assert "beyond the end" in side.status()["problem"]
    assert len(ParquetCold(tmp_path / "cold").scan("trades")) == 2
    side.end()
