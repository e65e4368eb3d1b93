"""Histories have the slow series that are connected, as a watcher would have been told of them."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from foreshock.engine.step import Engine
from foreshock.errors import ArchiveError
from foreshock.features.settings import FeatureSettings
from foreshock.market.clock import SECOND_NS
from foreshock.market.rows import CONTEXT, CONTEXT_SERIES, MODELLED, Rows, as_words, heads
from foreshock.simulation.settings import SimulationSettings
from foreshock.stores.archive_judge import judge
from foreshock.stores.archive_kinds import KINDS
from foreshock.stores.archive_plan import Series
from foreshock.stores.history import History, start_ns
from foreshock.stores.recordings import join_rows, open_recording
from foreshock.stores.series import read_daily
from foreshock.stores.series_settings import SeriesSource, SeriesSources
from pipelines.backfill_history import backfill_simulation
from pipelines.history_rows import record_history

FIRST = date(2024, 3, 1)
DAYS = 2
HOURS = ((22, 23), (0, 1))  # of each day: a midnight is between them
DAY_NS = 86_400 * SECOND_NS
MINUTE_NS = 60 * SECOND_NS
BARS = Series("binance-usdm", "klines", "1m", "AUSDT")
FEATURES = FeatureSettings(families=("series",))
COLUMN = {name: k for k, name in enumerate(Engine([], FEATURES).layout.names)}


@pytest.fixture
def history(tmp_path: Path) -> History:
    """A bar an hour around a midnight."""
    made = History(tmp_path / "history")
    for n in range(DAYS):
        day = FIRST + timedelta(days=n)
        opened = start_ns(day) + 60 * MINUTE_NS * np.array(HOURS[n])
        bars = {
            "open_ns": opened,
            **{name: np.full(2, 100.25) for name in ("open", "high", "low", "close")},
            **{name: np.full(2, 7.5) for name in ("volume", "quote_volume")},
            "trades": np.arange(2),
            **{f"taker_buy_{name}volume": np.full(2, 2.5) for name in ("", "quote_")},
        }
        table, judged = judge(pa.table(bars), BARS.spec, BARS.spec.gap_limit_ns("1m"))
        made.write_day(BARS, day, table, judged, source="archive", origin="a test")
    assert KINDS["klines"] is BARS.spec
    return made


def samples(recordings: Path) -> SeriesSources:
    root = recordings / "onchain_macro"
    fear = SeriesSource(
        series="fear_greed", path=root / "lukmol" / "fear_greed.csv.gz", column="fng"
    )
    ratio = SeriesSource(series="mvrv", path=root / "sharafa32" / "mvrv.csv.gz", column="mvrv")
    return SeriesSources(sources=(fear, ratio))


def made(history: History, out: Path, slow: SeriesSources | None) -> Rows:
    record_history(
        history, [BARS], FIRST, FIRST + timedelta(days=DAYS - 1), out,
        delays="near", seed=1, features=FEATURES, slow=slow,
    )  # fmt: skip
    return join_rows(open_recording(out).rows())


def told_of(rows: Rows) -> Rows:
    single = rows[heads(rows)]
    return single[(single["kind"] == CONTEXT) & (single["a"] >= CONTEXT_SERIES)]


def test_recorded_samples_are_in_a_history_from_the_moment_they_were_known(
    history: History, tmp_path: Path, recordings: Path
) -> None:
    slow = samples(recordings)
    rows = made(history, tmp_path / "out", slow)
    meta = open_recording(tmp_path / "out").meta
    assert [one["series"] for one in meta["series"]] == ["fear_greed", "mvrv"]
    single = rows[heads(rows)]
    assert single["seq"].tolist() == list(range(len(single)))
    assert (np.diff(single["arrival_ns"]) >= 0).all()
    told = told_of(rows)
    assert (told["id"] <= told["arrival_ns"]).all() and ((told["flags"] & MODELLED) != 0).all()
    first_ns = int(single["arrival_ns"][0])
    began = told["arrival_ns"] == first_ns
    assert began.sum() == 2 * 256  # the past, as a watcher is told at its start
    assert (told["id"][~began] == told["arrival_ns"][~began]).all()

    engine = Engine(open_recording(tmp_path / "out").instruments, FEATURES, step_ns=MINUTE_NS)
    found = {b.boundary_ns: b.vectors[0] for b in engine.feed(rows)}
    values = {p.of_ns: p.value for p in read_daily(slow.sources[0].path, "fng")}
    seen = set()
    for at_ns, vector in found.items():
        known_of = (at_ns - 1) // DAY_NS * DAY_NS - DAY_NS  # of the day that ended a day ago
        assert vector[COLUMN["fear_greed_index"]] == np.float32(values[known_of])
        seen.add(known_of)
    assert len(seen) >= DAYS
    vectors = np.array(list(found.values()))
    assert np.isfinite(vectors[:, COLUMN["mvrv"]]).all()
    assert np.isnan(vectors[:, COLUMN["btc_dominance"]]).all()


def test_without_sources_a_history_is_what_it_was(
    history: History, tmp_path: Path, recordings: Path
) -> None:
    bare = made(history, tmp_path / "bare", None)
    assert (made(history, tmp_path / "empty", SeriesSources()) == bare).all()
    assert "series" not in open_recording(tmp_path / "empty").meta
    rows = made(history, tmp_path / "full", samples(recordings))
    keep = np.ones(len(rows), bool)
    at = heads(rows)
    keep[at[rows["kind"][at] == CONTEXT]] = False
    rest = rows[keep]
    rest["seq"] = bare["seq"]
    assert as_words(rest).tobytes() == as_words(bare).tobytes()


def test_a_source_that_cannot_be_read_stops_a_history(history: History, tmp_path: Path) -> None:
    absent = SeriesSource(series="mvrv", path=tmp_path / "absent.csv", column="mvrv")
    with pytest.raises(ArchiveError, match=r"absent\.csv"):
        made(history, tmp_path / "out", SeriesSources(sources=(absent,)))
    assert not (tmp_path / "out").exists()


def test_a_simulated_history_tells_of_the_past_and_of_what_comes(tmp_path: Path) -> None:
    midnight = datetime(2024, 5, 3, tzinfo=UTC)
    path = tmp_path / "fear.csv"
    path.write_text("date,fng\n2024-04-30,30\n2024-05-01,40\n2024-05-02,50\n")
    slow = SeriesSources(sources=(SeriesSource(series="fear_greed", path=path, column="fng"),))
    market = SimulationSettings.model_validate(
        {"seed": 9, "symbols": 2, "start_ns": round(midnight.timestamp() - 3) * SECOND_NS}
    )
    backfill_simulation(tmp_path / "out", market, 8, FEATURES, slow)
    recording = open_recording(tmp_path / "out")
    rows = join_rows(recording.rows())
    single = rows[heads(rows)]
    assert (np.diff(single["seq"]) == 1).all() and (np.diff(single["arrival_ns"]) >= 0).all()
    told = told_of(rows)
    assert len(told) == 2 and (told["id"] <= told["arrival_ns"]).all()
    found = [b.vectors[:, COLUMN["fear_greed_index"]] for b in
             Engine(recording.instruments, FEATURES).feed(rows)]  # fmt: skip
    assert (found[0] == 30.0).all() and (found[-1] == 40.0).all()
