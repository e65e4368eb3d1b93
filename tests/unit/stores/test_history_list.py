"""foreshock.stores.history_list: what is there, what is not, and why."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from foreshock.market.clock import SECOND_NS
from foreshock.market.instruments import SPOT
from foreshock.stores.archive_judge import judge
from foreshock.stores.archive_kinds import KINDS
from foreshock.stores.archive_plan import ArchiveFile, Series, plan
from foreshock.stores.history import ABSENT, DAMAGED, History, start_ns
from foreshock.stores.history_list import Listed, as_object, list_history

FIRST = date(2024, 3, 1)
HOUR_NS = 3_600 * SECOND_NS
MINUTE_NS = 60 * SECOND_NS


def bars(day: date, missing: range = range(0)) -> pa.Table:
    at = start_ns(day) + MINUTE_NS * np.array([m for m in range(1440) if m not in missing])
    columns = {"open_ns": at}
    for field in KINDS["klines"].schema:
        columns.setdefault(field.name, np.ones(len(at), field.type.to_pandas_dtype()))
    return pa.table(columns)


def put(history: History, symbol: str, n: int, missing: range = range(0)) -> None:
    series = Series(SPOT, "klines", "1m", symbol)
    day = FIRST + timedelta(days=n)
    table, judged = judge(bars(day, missing), series.spec, MINUTE_NS)
    history.write_day(series, day, table, judged, source="archive", origin="a test")


def listed(history: History) -> dict[str, Listed]:
    return {entry.series.symbol: entry for entry in list_history(history)}


@pytest.fixture
def history(tmp_path: Path) -> History:
    return History(tmp_path)


def causes(entry: Listed) -> list[tuple[str, int]]:
    return [(gap.cause, gap.rows) for gap in entry.gaps]


def test_minutes_that_all_pairs_lack_are_an_outage_and_one_pair_s_are_not(
    history: History,
) -> None:
    for symbol in ("AUSDT", "BUSDT", "CUSDT", "DUSDT"):
        put(history, symbol, 0, range(100, 130))
        put(history, symbol, 1, range(500, 510) if symbol == "DUSDT" else range(0))
    found = listed(history)
    assert causes(found["AUSDT"]) == [("outage", 30)]
    assert causes(found["DUSDT"]) == [("outage", 30), ("absent_rows", 10)]
    gap = found["AUSDT"].gaps[0]
    assert gap.from_ns == start_ns(FIRST) + 100 * MINUTE_NS
    assert gap.to_ns == start_ns(FIRST) + 130 * MINUTE_NS


def test_two_pairs_are_too_few_to_tell_an_outage(history: History) -> None:
    for symbol in ("AUSDT", "BUSDT"):
        put(history, symbol, 0, range(100, 130))
    assert causes(listed(history)["AUSDT"]) == [("absent_rows", 30)]


def test_a_gap_over_midnight_is_one_gap(history: History) -> None:
    put(history, "AUSDT", 0, range(1430, 1440))
    put(history, "AUSDT", 1, range(0, 5))
    assert causes(listed(history)["AUSDT"]) == [("absent_rows", 15)]


@pytest.mark.parametrize(
    ("state", "cause"),
    [(ABSENT, "absent_file"), (DAMAGED, "damaged_file"), (None, "not_downloaded")],
)
def test_days_without_a_file_say_why(history: History, state: str | None, cause: str) -> None:
    put(history, "AUSDT", 0)
    put(history, "AUSDT", 2)
    if state is not None:
        day = FIRST + timedelta(days=1)
        file = ArchiveFile(Series(SPOT, "klines", "1m", "AUSDT"), day, day)
        history.note_file(file, state, {"first": str(day), "last": str(day), "asked": str(day)})
    entry = listed(history)["AUSDT"]
    assert causes(entry) == [(cause, 1440)]
    told = as_object(entry)
    assert told["gaps"][0]["from"] == "2024-03-02T00:00:00.000Z"
    assert told["gaps"][0]["to"] == "2024-03-03T00:00:00.000Z"
    assert told["span"] == ["2024-03-01T00:00:00.000Z", "2024-03-03T23:59:00.000Z"]


def test_a_damaged_day_is_the_problem_of_its_series_alone(history: History) -> None:
    put(history, "AUSDT", 0)
    put(history, "BUSDT", 0)
    next(history.directory.rglob("symbol=AUSDT/*/archive.parquet")).write_bytes(b"PAR1 torn")
    found = listed(history)
    assert "archive.parquet" in found["AUSDT"].problem
    assert found["BUSDT"].rows == 1440 and found["BUSDT"].problem == ""


def test_files_that_are_being_written_are_not_seen(history: History) -> None:
    put(history, "AUSDT", 0)
    folder = next(history.directory.rglob("date=*"))
    (folder / ".unfinished-1-archive.parquet").write_bytes(b"half")
    assert listed(history)["AUSDT"].rows == 1440


def test_the_plan_takes_whole_months_and_leaves_out_what_is_there() -> None:
    series = Series(SPOT, "klines", "1m", "AUSDT")
    today = date(2024, 5, 10)
    names = [f.name for f in plan(series, date(2024, 3, 30), today, today)]
    assert names[:3] == [
        "AUSDT-1m-2024-03-30.zip",
        "AUSDT-1m-2024-03-31.zip",
        "AUSDT-1m-2024-04.zip",
    ]
    assert names[3:] == [f"AUSDT-1m-2024-05-{n:02d}.zip" for n in range(1, 10)]
    april = [date(2024, 4, n) for n in range(1, 31)]
    left = plan(series, april[0], april[-1], today, april[2:])
    assert [f.name for f in left] == ["AUSDT-1m-2024-04-01.zip", "AUSDT-1m-2024-04-02.zip"]
    assert plan(series, april[0], april[-1], today, april) == []
    assert left[0].path == "data/spot/daily/klines/AUSDT/1m/AUSDT-1m-2024-04-01.zip"
