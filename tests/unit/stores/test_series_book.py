"""What is connected is told when it becomes known, once, and in that order."""

from __future__ import annotations

import gzip
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from foreshock.errors import ArchiveError, ConfigError
from foreshock.market.clock import SECOND_NS
from foreshock.market.context import CONTEXT_VALUE
from foreshock.market.rows import ALL, CONTEXT_SERIES
from foreshock.settings import load
from foreshock.stores.series_book import SeriesBook, calls
from foreshock.stores.series_settings import SeriesSource, SeriesSources

NAMES = ("mvrv", "fear_greed", "dxy")
DAY_S = 86_400
DAY_NS = DAY_S * SECOND_NS
FIRST = datetime(2024, 5, 1, tzinfo=UTC)


def end_of(day: int) -> int:
    """Of the day-th day, from 0: what its value is of."""
    return round((FIRST + timedelta(days=day + 1)).timestamp()) * SECOND_NS


def put(path: Path, values: dict[int, float], version: int = 0) -> Path:
    lines = [f"{FIRST + timedelta(days=day):%Y-%m-%d},{value}" for day, value in values.items()]
    path.write_text("\n".join(["date,v", *lines]) + "\n")
    os.utime(path, ns=(version + 1, version + 1))
    return path


def source(path: Path, series: str = "fear_greed", lag_s: int = DAY_S) -> SeriesSource:
    return SeriesSource(series=series, path=path, column="v", lag_s=lag_s)


def looked(*sources: SeriesSource, most: int = 256) -> SeriesBook:
    book = SeriesBook(sources, NAMES, most)
    book.look()
    return book


def test_values_come_when_they_become_known_whatever_the_order_of_sources(tmp_path: Path) -> None:
    slow = source(put(tmp_path / "a", {0: 1.0, 1: 2.0}), "dxy", 3 * DAY_S)
    quick = source(put(tmp_path / "b", {0: 10.0, 1: 20.0, 2: 30.0}))
    book = looked(slow, quick)
    every = book.between(0, end_of(99))
    assert [(one.position, one.value) for one in every] == [
        (1, 10.0), (1, 20.0), (2, 1.0), (1, 30.0), (2, 2.0),
    ]  # fmt: skip
    assert [one.known_ns for one in every] == sorted(one.known_ns for one in every)
    for cut in range(end_of(0), end_of(6), DAY_NS // 2):
        parts = book.between(0, cut) + book.between(cut, end_of(99))
        assert parts == every
    assert book.by(end_of(1) - 1) == [] and len(book.by(end_of(1))) == 1


def test_calls_are_what_the_door_takes(tmp_path: Path) -> None:
    one, two = put(tmp_path / "a", {0: 1.0, 1: 2.0}), put(tmp_path / "b", {1: 20.0})
    found = list(calls(looked(source(one), source(two, "dxy")).between(0, end_of(99))))
    assert [(of, known) for of, known, _ in found] == [
        (end_of(0), end_of(1)), (end_of(1), end_of(2)),
    ]  # fmt: skip
    values = np.frombuffer(found[1][2], CONTEXT_VALUE)
    assert values.tolist() == [(ALL, CONTEXT_SERIES + 1, 2.0), (ALL, CONTEXT_SERIES + 2, 20.0)]


def test_at_a_start_only_the_newest_times_count(tmp_path: Path) -> None:
    many = put(tmp_path / "a", {day: float(day) for day in range(40)})
    few = put(tmp_path / "b", {0: 7.0})
    book = looked(source(many), source(few, "dxy"), most=5)
    found = book.by(end_of(30))
    assert [one.value for one in found if one.position == 1] == [25.0, 26.0, 27.0, 28.0, 29.0]
    assert [one.value for one in found if one.position == 2] == [7.0]


def test_a_revision_is_known_when_it_was_seen_and_what_was_told_stays(tmp_path: Path) -> None:
    path = put(tmp_path / "a", {0: 1.0, 1: 2.0})
    book = looked(source(path))
    now_ns = end_of(5)
    told = book.between(0, now_ns)
    put(path, {0: 1.0, 1: 2.5, 2: 3.0}, version=1)
    book.look(lambda: now_ns + 7)
    assert book.between(0, now_ns) == told
    fresh = book.between(now_ns, end_of(99))
    assert [(one.known_ns, one.of_ns, one.value) for one in fresh] == [
        (now_ns + 7, end_of(1), 2.5), (now_ns + 7, end_of(2), 3.0),
    ]  # fmt: skip


def test_a_value_that_is_there_before_its_lag_waits_for_it(tmp_path: Path) -> None:
    path = put(tmp_path / "a", {0: 1.0})
    book = looked(source(path))
    put(path, {0: 1.0, 1: 2.0}, version=1)
    book.look(lambda: end_of(1) + 5)
    (late,) = book.between(end_of(1), end_of(99))
    assert (late.known_ns, late.value) == (end_of(2), 2.0)


def test_what_cannot_be_read_is_said_and_read_later(tmp_path: Path) -> None:
    whole = gzip.compress(b"date,v\n2024-05-01,4\n" + b"2024-05-02,5\n")
    broken = tmp_path / "broken.csv.gz"
    broken.write_bytes(whole[:-9])
    absent = tmp_path / "absent.csv"
    good = put(tmp_path / "good", {0: 9.0})
    book = looked(source(broken), source(absent, "mvrv"), source(good, "dxy"))
    assert set(book.problems) == {str(broken), str(absent)}
    assert [one.value for one in book.by(end_of(9))] == [9.0]
    broken.write_bytes(whole)
    book.look(lambda: end_of(9))
    assert set(book.problems) == {str(absent)}
    assert sorted(one.value for one in book.by(end_of(9))) == [4.0, 5.0, 9.0]
    late = book.between(end_of(9) - 1, end_of(9))  # told now, but not as if it were fresh
    assert [(one.known_ns, one.value) for one in late] == [(end_of(1), 4.0), (end_of(2), 5.0)]


def test_a_series_that_nobody_names_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="no series are called"):
        SeriesBook([source(tmp_path / "a", "moon")], NAMES, 5)
    moon = {"series.sources": [{"series": "moon", "path": "a.csv", "column": "v"}]}
    with pytest.raises(ConfigError, match="moon"):
        load(moon, environment={}, dotenv=tmp_path / "absent")


def test_by_default_nothing_is_connected_and_paths_are_meant_from_a_place() -> None:
    assert load(environment={}, dotenv=Path("absent.env")).tree.series.sources == ()
    two = SeriesSources(sources=(source(Path("a.csv")), source(Path("/b.csv"))))
    assert [s.path for s in two.below(Path("/home")).sources] == [
        Path("/home/a.csv"), Path("/b.csv"),
    ]  # fmt: skip
