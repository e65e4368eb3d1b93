"""foreshock.stores.archive_input: archives as the sequenced input that the engine takes."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from foreshock.engine.step import Engine
from foreshock.errors import ArchiveError
from foreshock.features import catalog
from foreshock.market.clock import SECOND_NS
from foreshock.market.instruments import USDM, Instrument
from foreshock.market.rows import (
    BAR,
    EPOCH,
    METRIC,
    MODELLED,
    REASON_GAP,
    SELL,
    TAPE,
    TIMER,
    TRADE,
    Rows,
    as_words,
    heads,
)
from foreshock.stores.archive_delays import recorded
from foreshock.stores.archive_input import ArchiveInput
from foreshock.stores.archive_judge import judge
from foreshock.stores.archive_kinds import KINDS
from foreshock.stores.archive_plan import Series
from foreshock.stores.archive_rows import decimals_of, instrument_of, trade_rows
from foreshock.stores.history import History, start_ns
from foreshock.stores.recordings import join_rows, open_recording
from pipelines.history_rows import record_history

FIRST = date(2024, 3, 1)
DELAYS = recorded("near", USDM)
PER_DAY = 4_000


def tape(day: date, seed: int, span_s: int = 900) -> pa.Table:
    """Trades of the last `span_s` seconds of a day, so that some arrive on the next."""
    rng = np.random.default_rng([seed, day.toordinal()])
    end = start_ns(day + timedelta(days=1))
    at = np.sort(end - 1 - rng.integers(0, span_s * SECOND_NS // 10**6, PER_DAY) * 10**6)
    at[-1] = end - 1
    first = (day - FIRST).days * PER_DAY
    ids = np.arange(first, first + PER_DAY)
    return pa.table(
        {
            "id": ids,
            "price": np.round(100 + np.cumsum(rng.integers(-2, 3, PER_DAY)) / 100, 2),
            "size": rng.integers(1, 500, PER_DAY) / 1000,
            "first_id": 2 * ids,
            "last_id": 2 * ids + 1,
            "event_ns": at,
            "buyer_is_maker": rng.integers(0, 2, PER_DAY).astype(bool),
        },
        schema=KINDS["aggTrades"].schema,
    )


def put(history: History, series: Series, day: date, table: pa.Table) -> None:
    table, judged = judge(table, series.spec, series.spec.gap_limit_ns(series.interval or "1m"))
    history.write_day(series, day, table, judged, source="archive", origin="a test")


@pytest.fixture
def history(tmp_path: Path) -> History:
    made = History(tmp_path / "history")
    for seed, symbol in enumerate(("AUSDT", "BUSDT")):
        for n in range(2):
            day = FIRST + timedelta(days=n)
            put(made, Series(USDM, "aggTrades", "", symbol), day, tape(day, seed))
    opened = start_ns(FIRST) + 60 * SECOND_NS * np.arange(1_380, 1_440)
    bars = {
        "open_ns": opened,
        **{name: np.full(60, 100.25) for name in ("open", "high", "low", "close")},
        "volume": np.arange(60) / 1000,
        "quote_volume": np.full(60, 7.5),
        "trades": np.arange(60),
        "taker_buy_volume": pa.nulls(60, pa.float64()),
        "taker_buy_quote_volume": np.full(60, 2.5),
    }
    put(made, Series(USDM, "klines", "1m", "AUSDT"), FIRST, pa.table(bars))
    metrics = {"event_ns": opened[::5], "open_interest": np.arange(12) + 0.5}
    metrics |= {
        f.name: pa.nulls(12, f.type) for f in KINDS["metrics"].schema if f.name not in metrics
    }
    put(made, Series(USDM, "metrics", "", "AUSDT"), FIRST, pa.table(metrics))
    return made


def every_series(*kinds: str) -> list[Series]:
    tapes = [Series(USDM, "aggTrades", "", symbol) for symbol in ("AUSDT", "BUSDT")]
    others = {
        "klines": Series(USDM, "klines", "1m", "AUSDT"),
        "metrics": Series(USDM, "metrics", "", "AUSDT"),
    }
    return [*tapes, *(others[kind] for kind in kinds)]


def source(history: History, *kinds: str, seed: int = 1, days: int = 2) -> ArchiveInput:
    last = FIRST + timedelta(days=days - 1)
    return ArchiveInput(history, every_series(*kinds), FIRST, last, DELAYS, seed)


def test_the_input_is_in_order_marked_and_loses_no_row(history: History) -> None:
    made = source(history, "klines", "metrics")
    batches = list(made.rows())
    assert len(batches) == 3  # what arrives behind the last midnight comes last
    rows = join_rows(batches)
    at = heads(rows)
    single = rows[at]
    assert (single["seq"] == np.arange(len(at))).all()
    assert (np.diff(single["arrival_ns"]) >= 0).all()
    assert (single["flags"] & MODELLED > 0).all()
    counts = {kind: int((single["kind"] == kind).sum()) for kind in (TRADE, BAR, METRIC)}
    assert counts == {TRADE: 4 * PER_DAY, BAR: 60, METRIC: 12}
    trades = single[single["kind"] == TRADE]
    assert (trades["arrival_ns"] > trades["event_ns"]).all()
    for symbol in (0, 1):
        assert (np.diff(trades["id"][trades["symbol"] == symbol]) == 1).all()
    timers = single["arrival_ns"][single["kind"] == TIMER]
    assert (timers % SECOND_NS == 0).all() and (np.diff(timers) > 0).all()


def test_trades_are_exact_in_ticks_and_lots(history: History) -> None:
    made = source(history)
    a = made.instruments[0]
    assert (a.symbol, a.tick_decimals, a.lot_decimals) == ("AUSDT", 2, 3)
    trades = [r[r["kind"] == TRADE] for r in made.rows()]
    mine = np.concatenate([t[t["symbol"] == 0] for t in trades])
    truth = pa.concat_tables([tape(FIRST + timedelta(days=n), 0) for n in range(2)])
    assert (mine["a"] / 100 == truth.column("price").to_numpy()).all()
    assert (mine["b"] / 1000 == truth.column("size").to_numpy()).all()
    assert (mine["id2"] == 2).all()
    maker = truth.column("buyer_is_maker").to_numpy(zero_copy_only=False)
    assert ((mine["flags"] & SELL > 0) == maker).all()


def test_bars_are_known_when_they_have_closed(history: History) -> None:
    rows = join_rows(source(history, "klines").rows())
    at = heads(rows)
    bars = at[rows["kind"][at] == BAR]
    assert (rows["event_ns"][bars] == rows["id"][bars] + 60 * SECOND_NS).all()
    assert (rows["arrival_ns"][bars] > rows["event_ns"][bars]).all()
    packs = as_words(rows[bars + 1])
    assert (packs[:, :4] == 10_025).all()
    assert (packs[:, 4] == np.arange(60)).all() and (packs[:, 5] == 0).all()
    assert (packs[:, 6].copy().view(np.float64) == 7.5).all()


def test_the_engine_runs_over_an_archive_and_any_cut_gives_the_same_bits(
    history: History,
) -> None:
    made = source(history, days=1)
    batches = list(made.rows())
    one = Engine(made.instruments)
    closed = [b for batch in batches for b in one.feed(batch)]
    tape_only = [i for i, spec in enumerate(catalog.layout()) if spec.needs == "tape"]
    warm = np.stack([b.warm for b in closed])[:, :, tape_only]
    assert warm.any(axis=(0, 1)).mean() > 0.8  # fifteen minutes warm most of the tape's features
    other = Engine(made.instruments)
    rows = join_rows(batches)
    again = [b for piece in np.array_split(rows, 57) for b in other.feed(piece)]
    assert len(again) == len(closed) > 900
    for a, b in zip(closed, again, strict=True):
        assert a.vectors.tobytes() == b.vectors.tobytes()
    with_bars = source(history, "klines", "metrics", days=1)
    third = Engine(with_bars.instruments)
    assert len([b for batch in with_bars.rows() for b in third.feed(batch)]) >= len(closed)


def test_missing_ids_open_a_new_epoch_of_that_tape_alone(history: History) -> None:
    series = Series(USDM, "aggTrades", "", "BUSDT")
    day = tape(FIRST, 1)
    put(history, series, FIRST, pa.concat_tables([day.slice(0, 1_000), day.slice(1_010)]))
    rows = join_rows(source(history).rows())
    epochs = rows[(rows["kind"] == EPOCH) & (rows["d"] == REASON_GAP)]
    assert [(int(e["symbol"]), int(e["c"]), int(e["b"])) for e in epochs] == [(1, TAPE, 2)]
    at = int(np.flatnonzero((rows["kind"] == EPOCH) & (rows["d"] == REASON_GAP))[0])
    later = rows[at:]
    first = later[(later["kind"] == TRADE) & (later["symbol"] == 1)][0]
    assert int(first["id"]) == 1_010


def test_the_seed_moves_arrivals_and_nothing_else(history: History) -> None:
    def trades(rows: Rows) -> Rows:
        mine = rows[(rows["kind"] == TRADE) & (rows["symbol"] == 0)].copy()
        mine["seq"] = 0
        return mine

    one, same, other = (trades(join_rows(source(history, seed=seed).rows())) for seed in (1, 1, 2))
    assert (one == same).all()
    assert (one["arrival_ns"] != other["arrival_ns"]).mean() > 0.9
    other["arrival_ns"] = one["arrival_ns"]
    assert (one == other).all()


def test_a_recording_out_of_history_says_that_its_arrival_is_modelled(
    history: History, tmp_path: Path
) -> None:
    last = FIRST + timedelta(days=1)
    done = record_history(
        history, every_series(), FIRST, last, tmp_path / "out", delays="near", seed=1
    )
    recording = open_recording(tmp_path / "out")
    assert recording.meta["arrival"] == "modelled" and recording.meta["delays"] == "near"
    assert len(join_rows(recording.rows())) == done["rows"]
    assert (join_rows(recording.rows()) == join_rows(source(history).rows())).all()


def test_what_cannot_go_together_is_refused(history: History) -> None:
    last = FIRST
    twice = [*every_series(), Series(USDM, "trades", "", "AUSDT")]
    for given, reason in (
        (twice, "series"),
        ([Series(USDM, "bookDepth", "", "AUSDT")], "kind"),
        ([Series(USDM, "metrics", "", "AUSDT")], "empty"),
        ([Series(USDM, "aggTrades", "", "NONEUSDT")], "empty"),
    ):
        with pytest.raises(ArchiveError) as caught:
            ArchiveInput(history, given, FIRST, last, DELAYS, 1)
        assert caught.value.reason == reason


def test_decimals_are_the_fewest_that_print_every_value() -> None:
    assert decimals_of(np.array([1.0, 20.0])) == 0
    assert decimals_of(np.array([0.1, 64_210.07, 3.00000001])) == 8
    with pytest.raises(ArchiveError, match="12 decimals"):
        decimals_of(np.array([1 / 3]))


def test_prices_off_the_grid_are_refused() -> None:
    table = tape(FIRST, 0)
    coarse = Instrument.of("AUSDT", USDM, "0.1", "0.001")
    with pytest.raises(ArchiveError, match="off the grid") as caught:
        trade_rows(table, coarse, 0, DELAYS, 1)
    assert caught.value.reason == "grid"
    series = Series(USDM, "aggTrades", "", "AUSDT")
    with pytest.raises(ArchiveError, match="no rows"):
        instrument_of(series, [table.slice(0, 0)])
