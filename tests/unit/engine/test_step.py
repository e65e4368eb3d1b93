"""The engine: boundaries, health, bill inputs, refusals, snapshots."""

from __future__ import annotations

import io
import random
import zlib

import numpy as np
import pytest

from foreshock.engine.outcomes import DEPTH_BPS
from foreshock.engine.step import Engine
from foreshock.errors import RowError, SequenceError, SnapshotError
from foreshock.features import catalog
from foreshock.features.vector import WITH_EPOCHS
from foreshock.market import ladder as books
from foreshock.market.instruments import SPOT, USDM, Instrument
from foreshock.market.rows import (
    DEPTH,
    RESYNCING,
    STALE,
    SYNCED,
    TAPE,
    Rows,
    heads,
)
from tests.reference.make_rows import SECOND, START, RowMaker
from tests.reference.tape import a_session_of_rows, bits, cut_anywhere, run

BTC = Instrument.of("BTCUSDT", SPOT, "0.01", "0.001")
# Those whose windows an input of some minutes fills; the rest look back hours, or have no epoch.
EARLY = np.array([s.needs in WITH_EPOCHS and s.warmup_s <= 310 for s in catalog.specs()])
LONGEST = max(spec.warmup_s for spec, early in zip(catalog.specs(), EARLY, strict=True) if early)
ETH = Instrument.of("ETHUSDT", SPOT, "0.05", "0.1")


def begun(make: RowMaker, symbol: int = 0, epoch: int = 1) -> list[Rows]:
    """Rows that join a book of twenty levels a side around 10 000 ticks, and start the tape."""
    bids = [(9_999 - k, 10) for k in range(20)]
    asks = [(10_001 + k, 30) for k in range(20)]
    return [
        make.epoch(symbol, RESYNCING, epoch),
        make.epoch(symbol, SYNCED, epoch, TAPE),
        make.snapshot(symbol, 100, bids, asks),
        make.epoch(symbol, SYNCED, epoch),
    ]


def seconds(make: RowMaker, n: int, symbol: int = 0) -> list[Rows]:
    """n seconds of a trade and a timer each."""
    out = []
    for _ in range(n):
        make.now = (make.now // SECOND + 1) * SECOND
        out += [make.timer(), make.trade(symbol, 10_001, 5)]
    return out


def feed(engine: Engine, rows: list[Rows]) -> list:
    return engine.feed(np.concatenate(rows))


def test_a_boundary_closes_with_the_first_row_at_or_behind_it() -> None:
    make, engine = RowMaker(START + 1), Engine([BTC])
    assert engine.feed(make.trade(0, 5, 1)) == []
    make.now = START + SECOND - 1
    assert engine.feed(make.timer()) == []
    make.now = START + SECOND
    (boundary,) = engine.feed(make.trade(0, 5, 1))
    assert boundary.boundary_ns == START + SECOND
    assert (boundary.closed_by_seq, boundary.closed_at_ns) == (2, START + SECOND)
    assert boundary.rows.tolist() == [1]  # the trade at the boundary belongs to the next
    assert engine.last_seq == 2


def test_a_first_row_on_a_boundary_belongs_to_the_step_behind_it() -> None:
    make, engine = RowMaker(START), Engine([BTC])
    assert engine.feed(make.trade(0, 5, 1)) == []
    make.now = START + SECOND
    assert [b.boundary_ns for b in engine.feed(make.timer())] == [START + SECOND]


def test_a_long_silence_is_caught_up_with_every_boundary() -> None:
    make, engine = RowMaker(), Engine([BTC])
    feed(engine, begun(make) + seconds(make, 20))
    make.now += 1_000 * SECOND + 5
    closed = engine.feed(make.timer())
    assert [b.boundary_ns for b in closed] == [START + (20 + k) * SECOND for k in range(1, 1_001)]
    assert {b.closed_at_ns for b in closed} == {make.now}
    names = engine.layout.names
    intensity = [float(b.vectors[0, names.index("trade_intensity_10s")]) for b in closed]
    assert intensity[0] > 0 and set(intensity[10:]) == {0.0}
    spread = [float(b.vectors[0, names.index("spread_bps")]) for b in closed]
    assert spread == [2.0] * 1_000
    # A window is as it would have been, had each boundary been closed in its own time.
    late, other = RowMaker(), Engine([BTC])
    feed(other, begun(late) + seconds(late, 20))
    one_by_one = []
    for _ in range(1_000):
        late.now = (late.now // SECOND + 1) * SECOND
        one_by_one += other.feed(late.timer())
    assert [b.vectors.tobytes() for b in closed] == [b.vectors.tobytes() for b in one_by_one]


def test_values_appear_when_their_epoch_is_old_enough_and_not_before() -> None:
    make, engine = RowMaker(), Engine([BTC])
    closed = feed(engine, begun(make) + seconds(make, LONGEST + 2))
    for k, boundary in enumerate(closed):
        expected = [k >= spec.warmup_s for spec in engine.layout]
        aged = [spec.needs in WITH_EPOCHS for spec in engine.layout]
        assert boundary.warm[0][aged].tolist() == np.array(expected)[aged].tolist()
        assert np.isnan(boundary.vectors[0][~boundary.warm[0]]).all()
    assert closed[-1].warm[0][EARLY].all()


def test_a_new_epoch_of_one_family_makes_that_family_cold_and_no_other() -> None:
    make, engine = RowMaker(), Engine([BTC, ETH])
    feed(engine, begun(make, 0) + begun(make, 1) + seconds(make, LONGEST + 2))
    make.now += 5
    feed(engine, [make.epoch(0, RESYNCING, 2)])
    make.now += SECOND
    (boundary,) = engine.feed(make.timer())
    needs = np.array([spec.needs for spec in engine.layout])
    assert not boundary.warm[0][needs == "book"].any()
    assert boundary.warm[0][(needs == "tape") & EARLY].all()
    assert boundary.warm[1][EARLY].all()
    assert boundary.book_state.tolist() == [RESYNCING, SYNCED]
    assert boundary.book_epoch.tolist() == [2, 1]
    assert boundary.tape_epoch.tolist() == [1, 1]
    assert np.isnan(boundary.bill_inputs["bid"][0]) and boundary.bill_inputs["last"][0] == 100.01


def test_a_stale_book_is_told_and_starts_cold_when_it_resumes() -> None:
    make, engine = RowMaker(), Engine([BTC])
    feed(engine, begun(make) + seconds(make, 30) + [make.epoch(0, STALE, 1)])
    make.now += SECOND
    (boundary,) = engine.feed(make.timer())
    book = np.array([spec.needs == "book" and spec.warmup_s <= 10 for spec in engine.layout])
    assert boundary.book_state.tolist() == [STALE] and boundary.book_epoch.tolist() == [1]
    assert not boundary.warm[0][book].any()
    assert np.isnan(boundary.bill_inputs["bid"][0])
    feed(engine, [make.depth(0, 101, [(9_999, 12)]), make.epoch(0, SYNCED, 1)])
    warm = [bool(b.warm[0][book].all()) for b in feed(engine, seconds(make, 12))]
    assert warm == [False] * 10 + [True] * 2


def test_bill_inputs_are_in_quote_currency() -> None:
    make, engine = RowMaker(), Engine([BTC, ETH])
    feed(engine, begun(make, 0) + begun(make, 1) + seconds(make, 70, 1))
    make.now += SECOND
    inputs = engine.feed(make.timer())[0].bill_inputs
    assert (inputs["bid"][1], inputs["ask"][1]) == (9_999 * 0.05, 10_001 * 0.05)
    assert inputs["last"][1] == 10_001 * 0.05 and np.isnan(inputs["last"][0])
    assert inputs["volume_60s"][1] == pytest.approx(60 * 5 * 10_001 * 0.05 * 0.1)
    reach = 10_000 * DEPTH_BPS * 1e-4
    near = [t for t in range(9_980, 10_000) if 9_999 - t <= reach]
    assert inputs["bid_notional"][1] == pytest.approx(sum(near) * 10 * 0.05 * 0.1)
    assert inputs["volatility_1s"][1] == 0.0
    assert np.isnan(inputs["volatility_1s"][0])  # no trade: no price whose returns were known
    assert np.isnan(inputs["funding_rate"]).all()


def test_books_that_must_be_joined_anew_are_named() -> None:
    make, engine = RowMaker(), Engine([BTC, ETH])
    feed(engine, begun(make, 0) + begun(make, 1))
    assert engine.distrusted() == []
    engine.feed(make.depth(1, 101, [(10_001, 5)]))
    engine.feed(make.depth(0, 101, [(t, 0) for t in range(9_980, 10_000)]))
    assert engine.distrusted() == [(0, False), (1, True)]
    feed(engine, [make.epoch(1, RESYNCING, 2), make.epoch(0, RESYNCING, 2)])
    assert engine.distrusted() == []


def test_new_steps_of_an_instrument_count_from_their_row_on_and_survive_a_snapshot() -> None:
    make, engine = RowMaker(), Engine([BTC])
    closed = feed(engine, begun(make) + seconds(make, 3) + [make.instrument(0, (3, 1, 1, 1))])
    later = feed(engine, seconds(make, 1))
    assert closed[-1].bill_inputs["bid"].tolist() == [pytest.approx(99.99)]
    assert later[-1].bill_inputs["bid"].tolist() == [pytest.approx(9.999)]
    assert later[-1].bill_inputs["volume_60s"][0] == pytest.approx(
        closed[-1].bill_inputs["volume_60s"][0] * 10 * 3 / 2
    )
    other = Engine([BTC])
    other.restore(engine.snapshot())
    rows = seconds(make, 1)
    assert bits(feed(other, rows)) == bits(feed(engine, rows))


def test_a_jump_of_years_closes_one_boundary_and_leaves_every_window_cold() -> None:
    make, engine = RowMaker(), Engine([BTC, ETH])
    feed(engine, begun(make) + seconds(make, 30))
    make.now += 40 * 365 * 86_400 * SECOND
    (last,) = engine.feed(make.timer())
    assert last.warm.any() and last.boundary_ns == START + 31 * SECOND
    (behind,) = feed(engine, seconds(make, 1)[:1])
    assert behind.boundary_ns == make.now
    waits = np.array([spec.warmup_s > 0 for spec in engine.layout])
    assert waits.any() and not behind.warm[:, waits].any()


# Refusals: the engine is then as it was.


def unchanged(engine: Engine, rows: Rows, error: type[Exception], word: str) -> None:
    before = engine.snapshot()
    with pytest.raises(error, match=word):
        engine.feed(rows)
    assert engine.snapshot() == before


def test_rows_that_were_fed_before_are_refused() -> None:
    make, engine = RowMaker(), Engine([BTC])
    first, second, third = (make.trade(0, 5, 1) for _ in range(3))
    engine.feed(np.concatenate([first, second]))
    unchanged(engine, second, SequenceError, "seq 1")
    unchanged(engine, np.concatenate([second, third]), SequenceError, "had to start at seq 2")
    engine.feed(third)


def test_rows_out_of_order_within_a_batch_are_refused() -> None:
    make, engine = RowMaker(), Engine([BTC])
    first, second = make.trade(0, 5, 1), make.depth(0, 4, [(5, 1)] * 7)
    third = make.trade(0, 5, 1)
    unchanged(engine, np.concatenate([first, third, second]), SequenceError, "row 2 of the batch")
    unchanged(engine, np.concatenate([first, first]), SequenceError, "row 1")
    third["arrival_ns"] -= 1
    unchanged(engine, np.concatenate([first, second, third]), SequenceError, "row 4")


def test_rows_that_arrive_before_those_fed_are_refused() -> None:
    make, engine = RowMaker(), Engine([BTC])
    engine.feed(make.timer())
    make.now -= 1
    unchanged(engine, make.timer(), SequenceError, "arrival")


@pytest.mark.parametrize(
    ("field", "value", "word"),
    [("kind", 0, "kind"), ("kind", 15, "kind"), ("kind", 10, "bar"), ("symbol", 2, "symbol"),
     ("symbol", -2, "symbol"), ("count", 3, "beyond the end"), ("b", -1, "levels"),
     ("b", 11, "levels"), ("c", 4, "levels"), ("c", 2**62, "levels"), ("c", -(2**62), "levels")],
)  # fmt: skip
def test_rows_that_break_the_data_language_are_refused(field: str, value: int, word: str) -> None:
    make, engine = RowMaker(), Engine([BTC, ETH])
    feed(engine, begun(make))
    rows = np.concatenate([make.trade(0, 5, 1), make.depth(1, 101, [(5, 1)] * 7)])
    assert heads(rows).tolist() == [0, 1] and rows["kind"][1] == DEPTH
    rows[1][field] = value
    unchanged(engine, rows, RowError, f"row 1 .*{word}")


def test_no_rows_are_no_news() -> None:
    make, engine = RowMaker(), Engine([BTC])
    assert engine.feed(make.timer()[:0]) == []
    assert engine.last_seq == -1


def test_rows_that_may_not_be_written_are_read() -> None:
    _, rows = a_session_of_rows(5)
    frozen = np.frombuffer(rows.tobytes(), rows.dtype)
    instruments = [BTC, ETH, BTC]
    assert bits(Engine(instruments).feed(frozen)) == bits(Engine(instruments).feed(rows))


# Snapshots.


def test_a_restored_engine_goes_on_with_the_same_bits() -> None:
    venue, rows = a_session_of_rows(80, seed=4)
    whole = bits(Engine(venue.instruments()).feed(rows))
    rng = random.Random(9)
    pieces = list(cut_anywhere(rows, rng, 300))
    engine, found = Engine(venue.instruments()), []
    for piece in pieces:
        found += engine.feed(piece)
        blob, engine = engine.snapshot(), Engine(venue.instruments())
        engine.restore(blob)
    assert bits(found) == whole
    assert len(pieces) > 3


def test_a_snapshot_is_a_function_of_the_rows_not_of_their_cuts() -> None:
    venue, rows = a_session_of_rows(20)
    one, other = Engine(venue.instruments()), Engine(venue.instruments())
    one.feed(rows)
    run(other, cut_anywhere(rows, random.Random(1)))
    assert [a.tobytes() for a in one._arrays().values()] == [
        a.tobytes() for a in other._arrays().values()
    ]


def npz(**arrays: object) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)  # type: ignore[arg-type]
    return zlib.compress(file.getvalue())


def test_a_snapshot_that_is_damaged_or_of_another_engine_is_refused_and_changes_nothing() -> None:
    venue, rows = a_session_of_rows(20)
    engine = Engine(venue.instruments())
    engine.feed(rows)
    before = engine.snapshot()
    foreign = Engine([Instrument.of(i.symbol, USDM, "0.01", "0.001") for i in engine.instruments])
    other_tick = Engine([BTC, ETH, BTC])
    file = io.BytesIO()
    np.save(file, np.zeros(3))
    bad = [
        b"", b"junk", zlib.compress(b""), zlib.compress(b"junk"), zlib.compress(b"PK\x03\x04junk"),
        before[:-20], before[: len(before) // 2], before[:200] + b"\0\0\0" + before[203:],
        zlib.compress(file.getvalue()), npz(x=np.zeros(2)),
        npz(identity=np.array(engine._identity())),
        foreign.snapshot(), other_tick.snapshot(), Engine([BTC]).snapshot(),
        npz(**{n: (a[..., :-1] if n == "health" else a) for n, a in engine._arrays().items()},
            identity=np.array(engine._identity())),
    ]  # fmt: skip
    for blob in bad:
        with pytest.raises(SnapshotError):
            engine.restore(blob)
        assert engine.snapshot() == before


def test_an_engine_holds_what_its_symbols_take_and_not_more_with_time() -> None:
    venue, rows = a_session_of_rows(60)
    engine = Engine(venue.instruments())
    sizes = set()
    for piece in cut_anywhere(rows, random.Random(2), 200):
        engine.feed(piece)
        sizes.add(sum(array.nbytes for array in engine._arrays().values()))
    assert len(sizes) == 1
    assert sizes.pop() / len(engine.instruments) < 2 * 1024 * 1024


def test_the_columns_are_those_of_the_catalog() -> None:
    engine = Engine([BTC])
    assert engine.layout.names == tuple(spec.name for spec in catalog.specs())
    assert books.levels(engine.ladder, 0, books.BID).shape == (0, 2)
