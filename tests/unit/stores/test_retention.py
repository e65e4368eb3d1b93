"""What goes first: by age, then by a budget; never today, never what is not named."""

from __future__ import annotations

import os

import pyarrow as pa
import pytest

from foreshock.stores.cold import DayUsage
from foreshock.stores.cold_parquet import ParquetCold
from foreshock.stores.retention import FrameShelf, by_age, by_budget, keep_within
from foreshock.stores.schema import Batch, day_start_ns

TODAY = "2024-03-02"
ORDER = ("frames", "rows", "vectors", "bars")


def days(table: str, *found: str, size: int = 10) -> list[DayUsage]:
    return [DayUsage(table, day, 1, size, 1, True) for day in found]


def names(dropped) -> list[tuple[str, str]]:
    return [(each.table, each.day) for each in dropped]


@pytest.mark.parametrize(
    ("keep", "stays"),
    [(1, 1), (2, 2), (3, 3), (4, 3), (None, 3)],
)
def test_a_table_keeps_its_last_days_over_a_leap_day(keep, stays):
    usage = days("rows", "2024-02-29", "2024-03-01", "2024-03-02")
    assert len(by_age(usage, TODAY, {"rows": keep})) == 3 - stays


def test_a_table_without_a_number_keeps_everything():
    assert by_age(days("bars", "2001-01-01"), TODAY, {"rows": 1, "bars": None}) == []
    assert by_age(days("labels", "2001-01-01"), TODAY, {"rows": 1}) == []


def test_the_budget_drops_in_the_given_order_oldest_first_and_no_more_than_it_must():
    usage = [
        *days("bars", "2024-02-01"),
        *days("vectors", "2024-02-02", "2024-02-01"),
        *days("rows", "2024-02-01", "2024-02-02"),
        *days("frames", "2024-02-03"),
    ]
    assert by_budget(usage, TODAY, 60, ORDER) == []
    assert names(by_budget(usage, TODAY, 59, ORDER)) == [("frames", "2024-02-03")]
    assert names(by_budget(usage, TODAY, 25, ORDER)) == [
        ("frames", "2024-02-03"),
        ("rows", "2024-02-01"),
        ("rows", "2024-02-02"),
        ("vectors", "2024-02-01"),
    ]
    assert len(by_budget(usage, TODAY, 0, ORDER)) == 6
    assert by_budget(usage, TODAY, None, ORDER) == []


def test_neither_today_nor_what_is_not_named_is_dropped_for_the_budget():
    usage = [*days("rows", TODAY, "2024-03-09"), *days("trades", "2024-01-01")]
    assert by_budget(usage, TODAY, 0, ORDER) == []


def test_keeping_within_bounds_twice_drops_once(tmp_path):
    cold, shelf = ParquetCold(tmp_path / "cold"), FrameShelf(tmp_path / "recordings")
    for k, day in enumerate(("2024-02-20", "2024-02-27", "2024-03-01", TODAY)):
        at = day_start_ns(day)
        for table in ("bars", "metrics"):
            cold.append(table, _rows(table, at, k), Batch("s", k, k))
        journal = tmp_path / "recordings" / day / "watcher" / "journal"
        journal.mkdir(parents=True)
        (journal / "0-1.parquet").write_bytes(b"x" * 1000)
        os.utime(journal / "0-1.parquet", (at / 1e9, at / 1e9))
        (journal.parent / "rows.parquet").write_bytes(b"stays")
    options = {
        "keep_days": {"frames": 5, "metrics": 2, "bars": None},
        "budget_bytes": 1500,
        "drop_first": ("frames", "metrics"),
    }
    would = keep_within(cold, shelf, TODAY, **options, dry_run=True)
    assert len(cold.usage()) == 8
    went = keep_within(cold, shelf, TODAY, **options)
    assert went == would
    assert names(went)[:4] == [
        ("metrics", "2024-02-20"),
        ("metrics", "2024-02-27"),
        ("frames", "2024-02-20"),
        ("frames", "2024-02-27"),
    ]
    assert {(each.table, each.reason) for each in went[4:]} == {
        ("frames", "budget"),
        ("metrics", "budget"),
    }
    assert keep_within(cold, shelf, TODAY, **options) == []
    assert [use.day for use in shelf.usage()] == [TODAY]
    assert len(cold.usage("bars")) == 4
    assert len(list(tmp_path.rglob("rows.parquet"))) == 4


def _rows(table: str, at: int, seq: int) -> pa.Table:
    from foreshock.stores.schema import TABLES

    made = {}
    for name, kind in TABLES[table].columns.items():
        if kind == pa.string():
            made[name] = ["s"]
        else:
            value = at if name == TABLES[table].time else seq if name == "seq" else 0
            made[name] = pa.array([value], pa.int64()).cast(kind)
    return pa.table(made)
