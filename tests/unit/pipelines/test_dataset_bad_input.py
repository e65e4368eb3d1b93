"""Rows that cannot be true become errors that name them, never numbers of a dataset."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from foreshock.errors import ArchiveError, DatasetError
from foreshock.labels.barriers import LabelSettings
from foreshock.market.instruments import USDM
from foreshock.market.rows import BAR, TRADE, Rows, as_words, empty_rows
from foreshock.stores.archive_judge import judge
from foreshock.stores.archive_kinds import KINDS
from foreshock.stores.archive_plan import Series
from foreshock.stores.history import History
from pipelines.dataset_cut import HistorySession, RecordingSession
from pipelines.dataset_play import check_market, play
from pipelines.dataset_settings import DatasetSettings
from pipelines.dataset_store import build_store
from tests.reference.days import around_midnights, instruments, record

SETTINGS = DatasetSettings(labels=LabelSettings(horizons_s=(5, 20)))
MINUTE_NS = 60_000_000_000


@pytest.fixture(scope="module")
def rows() -> Rows:
    return around_midnights(1)[0]


def trades_of(rows: Rows) -> np.ndarray:
    found = np.flatnonzero((rows["kind"] == TRADE) & (rows["symbol"] == 1))
    return found[rows["seq"][found] > 100]  # behind the packs of the snapshots


def _price(rows: Rows, at: int) -> None:
    rows["a"][at] = 0


def _negative(rows: Rows, at: int) -> None:
    rows["a"][at] = -5


def _size(rows: Rows, at: int) -> None:
    rows["b"][at] = 0


def _repeated(rows: Rows, at: int) -> None:
    rows["id"][at] = rows["id"][trades_of(rows)[9]]


@pytest.mark.parametrize(
    ("spoil", "word"),
    [
        (_price, "a trade's price 0"),
        (_negative, "a trade's price -5"),
        (_size, "a trade's size 0"),
        (_repeated, "said twice running: trade id"),
    ],
)
def test_a_trade_that_cannot_be_is_named(
    rows: Rows, tmp_path: Path, spoil: Callable[[Rows, int], None], word: str
) -> None:
    bad = rows.copy()
    at = int(trades_of(bad)[10])
    spoil(bad, at)
    path = record(tmp_path / "session", [bad])
    with pytest.raises(DatasetError, match=f"BBBUSDT, row with seq {bad['seq'][at]}: {word}"):
        build_store(tmp_path / "store", [RecordingSession(str(path))], SETTINGS, use_ray=False)
    assert not list((tmp_path / "store").glob("symbol=*"))


def test_time_that_runs_backwards_is_named(rows: Rows, tmp_path: Path) -> None:
    bad = rows.copy()
    at = int(trades_of(bad)[-10])
    bad["arrival_ns"][at] -= 60_000_000_000
    path = record(tmp_path / "session", [bad])
    with pytest.raises(
        DatasetError, match=rf"BBBUSDT 2024-07-\d\d: row .* has seq {bad['seq'][at]}"
    ):
        build_store(tmp_path / "store", [RecordingSession(str(path))], SETTINGS, use_ray=False)


def bar(open_: int, high: int, low: int, close: int, lots: int = 5) -> Rows:
    rows = empty_rows(2)
    rows[0]["kind"], rows[0]["count"], rows[0]["symbol"] = BAR, 1, 0
    rows[0]["arrival_ns"] = 2 * MINUTE_NS
    rows[0]["id"], rows[0]["a"], rows[0]["b"] = MINUTE_NS, MINUTE_NS, 1
    as_words(rows)[1, :5] = [open_, high, low, close, lots]
    return rows


@pytest.mark.parametrize(
    ("rows", "word"),
    [
        (bar(0, 10, 0, 9), "no price in the bar opened at"),
        (bar(9, 10, -8, 9), "no price in the bar opened at"),
        (bar(9, 8, 7, 8), "high and low do not hold the bar"),
        (bar(9, 10, 9, 8), "high and low do not hold the bar"),
        (bar(9, 10, 8, 9, lots=-1), "negative volume in the bar"),
    ],
)
def test_a_bar_that_cannot_be_is_named(rows: Rows, word: str) -> None:
    with pytest.raises(DatasetError, match=word):
        check_market(rows, instruments())


def test_a_bar_that_can_be_is_not_refused_and_packs_are_no_rows() -> None:
    good = bar(9, 10, 8, 9)
    as_words(good)[1, 3] = 9
    check_market(good, instruments())
    # A pack whose words look like a trade without a price.
    as_words(good)[1, 3] = 10
    as_words(good)[1, 6] = 0
    check_market(good, instruments())


def test_three_rows_are_no_dataset_and_no_rows_are_none(rows: Rows, tmp_path: Path) -> None:
    nothing = play(instruments(), [], settings=SETTINGS)
    assert nothing.vectors.shape == (0, 2, len(SETTINGS.layout)) and len(nothing.path) == 0
    path = record(tmp_path / "session", [rows[-3:]])
    with pytest.raises(DatasetError, match="can be labelled"):
        build_store(tmp_path / "store", [RecordingSession(str(path))], SETTINGS, use_ray=False)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 0.0, -1.0])
def test_a_price_in_an_archive_that_is_none_never_becomes_a_label(
    tmp_path: Path, value: float
) -> None:
    """NaN and infinity have no place on the grid; zero and below are named by symbol and bar."""
    history = History(tmp_path / "history")
    n, series = 90, Series(USDM, "klines", "1m", "AUSDT")
    prices = np.full(n, 100.25)
    prices[70] = value
    columns = {
        "open_ns": 1_709_251_200_000_000_000 + MINUTE_NS * np.arange(n),
        **{name: prices for name in ("open", "high", "low", "close")},
        "volume": np.full(n, 5.0),
    }
    schema = KINDS["klines"].schema
    lacking = {f.name: pa.nulls(n, f.type) for f in schema if f.name not in columns}
    table = pa.table({**columns, **lacking}).select(schema.names).cast(schema)
    _, told = judge(table, series.spec, MINUTE_NS)
    history.write_day(series, date(2024, 3, 1), table, told, source="archive", origin="a test")
    session = HistorySession(
        str(history.directory), (series,), "2024-03-01", "2024-03-01", "near", 1, MINUTE_NS
    )
    settings = DatasetSettings(tier="bars", labels=LabelSettings(horizons_s=(300,)))
    with pytest.raises((ArchiveError, DatasetError), match=r"is no number|no price in the bar"):
        build_store(tmp_path / "store", [session], settings, use_ray=False)
