from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from foreshock.engine.step import Engine
from foreshock.errors import ArchiveError
from foreshock.features.series import SeriesSettings
from foreshock.features.settings import FeatureSettings
from foreshock.market.clock import SECOND_NS
from foreshock.market.rows import ALL, METRIC_OPEN_INTEREST, as_words
from foreshock.stores.series import DAY_S, metric_rows, read_daily, series_rows
from tests.reference.feature_tape import instruments

NAMES = SeriesSettings().names


def ns(*day: int) -> int:
    return round(datetime(*day, tzinfo=UTC).timestamp()) * SECOND_NS  # type: ignore[misc,arg-type]


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "some.csv"
    path.write_text(text)
    return path


def test_a_daily_value_is_of_the_days_end_and_known_a_full_day_later(tmp_path: Path) -> None:
    path = written(tmp_path, "date,fng\n2024-05-02,40\n2024-05-01,30\n2024-05-03,\n2024-05-04,nan")
    points = read_daily(path, "fng")
    assert [p.value for p in points] == [30.0, 40.0]
    assert points[0].of_ns == ns(2024, 5, 2)
    assert points[0].known_ns == ns(2024, 5, 3)
    assert read_daily(path, "fng", 0)[0].known_ns == ns(2024, 5, 2)


@pytest.mark.parametrize(
    ("text", "column", "lag_s"),
    [
        ("date,fng\n2024-05-01,30\n2024-05-01,31\n", "fng", 0),
        ("date,fng\n01.05.2024,30\n", "fng", 0),
        ("date,fng\n2024-05-01,30\n", "other", 0),
        ("date,fng\n2024-05-01,30\n", "fng", -1),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, text: str, column: str, lag_s: int) -> None:
    with pytest.raises(ArchiveError):
        read_daily(written(tmp_path, text), column, lag_s)


def test_rows_come_as_they_became_known_and_a_strange_series_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, "date,v\n2024-05-01,1\n2024-05-02,2\n")
    points = {"mvrv": read_daily(path, "v"), "dxy": read_daily(path, "v", 3 * DAY_S)}
    rows = series_rows(points, NAMES)
    assert (np.diff(rows["arrival_ns"]) >= 0).all()
    assert (rows["id"] == rows["arrival_ns"]).all()
    assert (rows["symbol"] == ALL).all()
    assert len(series_rows({}, NAMES)) == 0
    with pytest.raises(ArchiveError):
        series_rows({"nothing": []}, NAMES)


def test_recorded_samples_reach_the_vector_a_day_after_their_day(recordings: Path) -> None:
    root = recordings / "onchain_macro" / "lukmol"
    fear = [p for p in read_daily(root / "fear_greed.csv.gz", "fng") if p.of_ns > ns(2026, 1, 1)]
    rows = series_rows({"fear_greed": fear}, NAMES)
    rows["seq"] = np.arange(len(rows))
    chosen = FeatureSettings(families=("series",))
    engine = Engine(instruments(1), chosen, step_ns=60 * SECOND_NS)
    found = {b.boundary_ns: b.vectors[0] for b in engine.feed(rows)}
    at = engine.layout.names.index("fear_greed_index")
    for point in fear[:-1]:
        assert found[point.known_ns + 60 * SECOND_NS][at] == np.float32(point.value)


def test_recorded_funding_and_open_interest_are_metrics_of_their_symbol(recordings: Path) -> None:
    root = recordings / "derivs"
    funding = metric_rows(
        root / "usdm_funding_2023-07_2023-08_61sym.parquet", {"1INCHUSDT": 0, "ADAUSDT": 1}
    )
    assert set(funding["symbol"]) == {0, 1}
    assert (np.diff(funding["arrival_ns"]) >= 0).all()
    first = funding[funding["symbol"] == 0][0]
    assert int(first["id"]) == ns(2023, 7, 17, 16)
    assert as_words(funding[funding["symbol"] == 0][:1])[0, 7:8].view(np.float64)[0] == -9.089e-05
    interest = metric_rows(root / "usdm_open_interest_4h_2026q1_539.parquet", {"0GUSDT": 3})
    oldest = interest[interest["a"] == METRIC_OPEN_INTEREST][0]
    assert int(oldest["id"]) + 60 * SECOND_NS == int(oldest["arrival_ns"])
    with pytest.raises(ArchiveError):
        metric_rows(root / "usdm_mark8h_2023-07_2023-08_61sym.parquet", {"ADAUSDT": 0})
