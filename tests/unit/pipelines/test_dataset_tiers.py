"""Tiers without a book: datasets out of a history's bars or tape."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from foreshock.costs.total import CostSettings
from foreshock.errors import DatasetError
from foreshock.features import catalog
from foreshock.labels.barriers import CENSORED, LabelSettings
from foreshock.market.instruments import USDM
from foreshock.stores.archive_judge import judge
from foreshock.stores.archive_kinds import KINDS
from foreshock.stores.archive_plan import Series
from foreshock.stores.history import History, start_ns
from pipelines.dataset_cut import HistorySession
from pipelines.dataset_labels import VOLATILITY_BARS
from pipelines.dataset_settings import DatasetSettings
from pipelines.dataset_store import build_store
from pipelines.datasets import read_dataset, read_manifest
from tests.reference import barriers

FIRST = date(2024, 3, 1)
DAYS = 2
MINUTE_NS = 60_000_000_000
SECOND_NS = 1_000_000_000
HOLE = range(1_500, 1_530)  # minutes without a bar, on the second day
WHOLE = np.setdiff1d(np.arange(DAYS * 1_440), HOLE)  # the minutes that have one
COSTS = CostSettings.for_market(USDM)
BARS = DatasetSettings(
    tier="bars", labels=LabelSettings(horizons_s=(300, 900)), costs=COSTS, half_spread_bps=2.0
)
TAPE = DatasetSettings(tier="tape", labels=LabelSettings(horizons_s=(20,), c_bill=0), costs=COSTS)


def walk(symbol: str, minutes: int = DAYS * 1_440) -> dict[str, np.ndarray]:
    """Bars on a grid of 0.01."""
    random = np.random.default_rng(len(symbol))
    close = 10_000 + np.cumsum(random.integers(-30, 31, minutes))
    opened = np.concatenate([[10_000], close[:-1]])
    high = np.maximum(opened, close) + random.integers(0, 20, minutes)
    low = np.minimum(opened, close) - random.integers(0, 20, minutes)
    return {"open": opened, "high": high, "low": low, "close": close}


def put(history: History, series: Series, table: pa.Table) -> None:
    stamps = table.column("open_ns" if series.interval else "event_ns").to_numpy()
    for n in range(DAYS + 1):
        day = FIRST + timedelta(days=n)
        here = (stamps >= start_ns(day)) & (stamps < start_ns(day + timedelta(days=1)))
        if here.any():
            part = table.filter(pa.array(here))
            part, judged = judge(part, series.spec, series.spec.gap_limit_ns("1m"))
            history.write_day(series, day, part, judged, source="archive", origin="a test")


def put_bars(
    history: History, symbol: str, prices: dict[str, np.ndarray], keep: np.ndarray
) -> None:
    n = len(prices["open"])
    columns = {name: values / 100 for name, values in prices.items()}
    columns |= {
        "open_ns": start_ns(FIRST) + MINUTE_NS * np.arange(n),
        "volume": np.full(n, 50_000.0),
    }
    schema = KINDS["klines"].schema
    lacking = {f.name: pa.nulls(n, f.type) for f in schema if f.name not in columns}
    table = pa.table({**columns, **lacking}).select(schema.names).cast(schema)
    put(history, Series(USDM, "klines", "1m", symbol), table.take(pa.array(keep)))


def session(history: History, kind: str, *symbols: str, step_s: int = 60) -> HistorySession:
    interval = "1m" if kind == "klines" else ""
    series = tuple(Series(USDM, kind, interval, symbol) for symbol in symbols)
    last = FIRST + timedelta(days=DAYS)
    return HistorySession(
        str(history.directory), series, FIRST.isoformat(), last.isoformat(), "near", 1,
        step_s * SECOND_NS,
    )  # fmt: skip


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> History:
    made = History(tmp_path_factory.mktemp("history"))
    for symbol in ("AUSDT", "BBUSDT"):
        put_bars(made, symbol, walk(symbol), WHOLE)
    put_bars(made, "TINYUSDT", walk("TINYUSDT"), np.arange(3))
    return made


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, history: History) -> Path:
    place = tmp_path_factory.mktemp("store") / "bars"
    given = session(history, "klines", "AUSDT", "BBUSDT", "TINYUSDT")
    build_store(place, [given], BARS, use_ray=False)
    return place


def test_the_tier_leaves_out_what_it_has_nothing_for() -> None:
    assert BARS.layout.tier == "bars" and TAPE.layout.tier == "tape"
    assert len(TAPE.layout) > len(BARS.layout) > 0
    assert len(DatasetSettings().layout) == len(catalog.layout())
    assert BARS.manifest("binance", USDM)["domain"]["tier"] == "bars"


def test_bars_are_labelled_from_the_next_open_and_a_hole_censors(store: Path) -> None:
    data = read_dataset(store)
    mine = data.take(np.flatnonzero(data.symbol == data.symbols.index("AUSDT")))
    first_ns = start_ns(FIRST)
    assert ((mine.t0_ns - first_ns) % MINUTE_NS == SECOND_NS).all()
    minute = (mine.t0_ns - first_ns) // MINUTE_NS  # the bar before it is known
    bars = np.stack(list(walk("AUSDT").values()), axis=1) / 100
    for k in range(0, len(mine), 7):
        near_by = [m for m in WHOLE.tolist() if minute[k] - 2 <= m <= minute[k] + 20]
        path = [(first_ns + m * MINUTE_NS, *bars[m].tolist()) for m in near_by]
        if minute[k] - 2 < HOLE[0] < minute[k] + 20:  # what comes behind the hole
            path.append((first_ns + (HOLE[-1] + 1) * MINUTE_NS, *bars[HOLE[-1] + 1].tolist()))
        for h, horizon_s in enumerate(data.horizons_s):
            label, t1_ns, outcome = barriers.bars(
                int(mine.t0_ns[k]), float(mine.far_bps[k, h]), float(mine.near_bps[k, h]), path,
                bar_s=60, half_spread_bps=2.0, horizon_s=horizon_s, side=1,
            )  # fmt: skip
            assert (mine.labels[k, h], mine.t1_ns[k, h]) == (label, t1_ns), (k, h)
            if label != CENSORED:
                assert mine.outcome_bps[k, h] == pytest.approx(outcome, rel=1e-4, abs=1e-3)
    # An hour of bars is needed for the volatility, from the start and again behind the hole.
    known = (mine.labels != CENSORED).any(axis=1)
    assert known.all() and minute.min() == VOLATILITY_BARS + 1
    gone = np.setdiff1d(np.arange(VOLATILITY_BARS + 1, DAYS * 1_440 - 15), minute)
    assert HOLE[0] - 5 <= gone.min() <= HOLE[0] - 3
    assert gone.max() == HOLE[-1] + VOLATILITY_BARS + 1
    assert np.unique(mine.labels).tolist() == [-1, 0, 1]


def test_a_symbol_of_three_bars_is_told_of_and_has_no_row(store: Path) -> None:
    body = read_manifest(store)
    assert body["coverage"]["TINYUSDT"]["rows"] == 0
    assert body["coverage"]["AUSDT"]["rows"] > 2_000
    assert "TINYUSDT" in body["symbols"]
    hole = [start_ns(FIRST) + m * MINUTE_NS for m in (HOLE[0], HOLE[-1] + 1)]
    assert body["coverage"]["AUSDT"]["gaps"] == [hole]


def test_a_bar_is_no_feature_before_it_has_closed(history: History, store: Path) -> None:
    """The bill of a boundary is priced by bars that had come: altering all later ones moves none
    of what is known at t0."""
    place = store.parent / "altered"
    other = History(place / "history")
    prices = walk("AUSDT")
    cut = 2_000
    for values in prices.values():
        values[cut:] += 500
    put_bars(other, "AUSDT", prices, WHOLE)
    build_store(place / "store", [session(other, "klines", "AUSDT")], BARS, use_ray=False)
    mine, theirs = read_dataset(store, ["AUSDT"]), read_dataset(place / "store")
    until_ns = start_ns(FIRST) + cut * MINUTE_NS + SECOND_NS
    a, b = (d.take(np.flatnonzero(d.t0_ns <= until_ns)) for d in (mine, theirs))
    assert len(a) == len(b) > 1_500
    for name in ("X", "far_bps", "bill_bps", "t0_ns"):
        assert a.arrays()[name].tobytes() == b.arrays()[name].tobytes(), name
    assert (a.labels != b.labels).any()


def test_a_tape_alone_is_labelled_by_its_prices(tmp_path: Path) -> None:
    made, n = History(tmp_path / "history"), 3_000
    random = np.random.default_rng(5)
    at = start_ns(FIRST) + 86_000 * SECOND_NS + np.sort(random.integers(0, 800, n)) * SECOND_NS
    ids = np.arange(n)
    ids[2_000:] += 1  # one is missing: a new epoch
    table = pa.table(
        {
            "id": ids,
            "price": (10_000 + np.cumsum(random.integers(-8, 9, n))) / 100,
            "size": random.integers(1, 500, n) * 1.0,
            "first_id": ids,
            "last_id": ids,
            "event_ns": at,
            "buyer_is_maker": random.integers(0, 2, n).astype(bool),
        },
        schema=KINDS["aggTrades"].schema,
    )
    put(made, Series(USDM, "aggTrades", "", "AUSDT"), table)
    given = session(made, "aggTrades", "AUSDT", step_s=1)
    built = build_store(tmp_path / "store", [given], TAPE, use_ray=False)
    data = read_dataset(tmp_path / "store")
    assert built.planned == 2 and data.manifest["domain"]["tier"] == "tape"
    gap_ns = int(at[2_000])
    # Whoever asked within the horizon before the missing trade has no answer.
    assert not ((data.t0_ns > gap_ns - 19 * SECOND_NS) & (data.t0_ns < gap_ns)).any()
    assert built.document["coverage"]["AUSDT"]["epochs"] == 2
    assert {0, 1} == set(data.labels.ravel().tolist()) and np.isfinite(data.X).any()
    fees_and_spread = 2 * 5.0 + 2 * 1.0
    assert (data.bill_bps > fees_and_spread).all()


def test_settings_that_make_no_sense_are_refused(history: History, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no whole bar"):
        DatasetSettings(tier="bars", labels=LabelSettings(horizons_s=(60, 300)))
    with pytest.raises(ValueError, match="longer than half a day"):
        DatasetSettings(labels=LabelSettings(horizons_s=(50_000,)))
    with pytest.raises(ValueError, match="none of the features"):
        BARS.model_validate({**BARS.model_dump(), "features": {"families": ["flow", "depth"]}})
    tiny = session(history, "klines", "TINYUSDT")
    with pytest.raises(DatasetError, match="can be labelled"):
        build_store(tmp_path / "store", [tiny], BARS, use_ray=False)
