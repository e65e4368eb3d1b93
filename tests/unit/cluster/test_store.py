"""`foreshock store …` over files on disk."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from cluster import store as verbs
from cluster.main import build_app
from foreshock.market.instruments import SPOT, Instrument
from foreshock.stores.cold_parquet import ParquetCold
from foreshock.stores.recordings import RecordingWriter
from foreshock.stores.schema import DAY_NS, TABLES, Batch, day_start_ns
from tests.reference.make_rows import RowMaker

TODAY = "2024-03-02"


def bars(day: str, first: int, count: int) -> tuple[pa.Table, Batch]:
    columns = {}
    for name, kind in TABLES["bars"].columns.items():
        if kind == pa.string():
            columns[name] = ["s"] * count
        elif name in ("seq", "open_ns"):
            start = day_start_ns(day) if name == "open_ns" else 0
            columns[name] = start + np.arange(first, first + count)
        else:
            columns[name] = pa.array(np.zeros(count)).cast(kind)
    return pa.table(columns), Batch("s", first, first + count - 1)


@pytest.fixture
def cold(tmp_path, monkeypatch):
    monkeypatch.setattr(verbs, "_today", lambda: TODAY)
    store = ParquetCold(tmp_path / "cold")
    for k, day in enumerate(("2024-02-01", "2024-03-01", TODAY)):
        for part in (0, 10):
            store.append("bars", *bars(day, 100 * k + part, 10))
    return store


@pytest.fixture
def foreshock(tmp_path, capfd):
    """What `foreshock store WORDS --json` says."""

    def ask(*words: str, code: int = 0):
        asked = ["store", *words, "--json", "--set", f"paths.var_dir={tmp_path}"]
        done = CliRunner().invoke(build_app(), asked)
        assert done.exit_code == code, done.output
        return json.loads(capfd.readouterr().out)

    return ask


def test_status_tells_days_bytes_and_what_waits(cold, foreshock, tmp_path):
    said = foreshock("status")
    assert (said["state"], said["rows"], len(said["days"])) == ("ok", 60, 3)
    assert said["days"][0]["parts"] == 2
    assert said["bytes"] == sum(path.stat().st_size for path in tmp_path.rglob("*.parquet"))
    (tmp_path / "spill" / "cold-0").mkdir(parents=True)
    (tmp_path / "spill" / "cold-0" / "0~bars~s~0-1.parquet").write_bytes(b"12")
    said = foreshock("status")
    assert (said["state"], said["waiting"]["batches"]) == ("degraded", 1)


def test_compacting_leaves_today_unless_all_is_asked_and_does_nothing_twice(
    cold, foreshock, tmp_path
):
    assert [d["day"] for d in foreshock("compact")["compacted"]] == [
        "2024-02-01",
        "2024-03-01",
    ]
    assert foreshock("compact")["compacted"] == []
    assert [d["day"] for d in foreshock("compact", "--all")["compacted"]] == [TODAY]
    assert foreshock("status")["rows"] == 60


def test_retention_follows_the_settings_and_can_be_asked_first(cold, foreshock, tmp_path):
    keep = ("--set", "stores.keep_days.bars=2")
    would = foreshock("retain", "--dry-run", *keep)
    assert len(foreshock("status")["days"]) == 3
    did = foreshock("retain", *keep)
    assert [(d["day"], d["reason"]) for d in did["dropped"]] == [("2024-02-01", "age")]
    assert did["dropped"] == would["dropped"]
    assert foreshock("retain", *keep)["dropped"] == []
    assert foreshock("retain")["dropped"] == []


def test_days_before_one_are_dropped_by_hand(cold, foreshock, tmp_path):
    did = foreshock("retain", "--before", TODAY, "--table", "bars")
    assert [d["day"] for d in did["dropped"]] == ["2024-02-01", "2024-03-01"]
    assert foreshock("status")["rows"] == 20


def test_a_question_is_answered_in_sql(cold, foreshock, tmp_path):
    said = foreshock("query", "SELECT day, count(*) AS n FROM bars GROUP BY 1 ORDER BY 1")
    assert said["columns"] == ["day", "n"]
    assert [row["n"] for row in said["rows"]] == [20, 20, 20]


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("query", "SELEKT"), 1),
        (("compact", "--table", "trads"), 2),
        (("retain", "--before", "yesterday"), 2),
        (("retain", "--table", "bars"), 2),
        (("status", "--set", "stores.cold=off"), 2),
        (("status", "--set", "stores.cold=mongodb"), 2),
        (("status", "--set", "stores.cold=clickhouse://127.0.0.1:1/x"), 1),
        (("load", "no/such/recording"), 1),
    ],
)
def test_wrong_use_and_failures_have_their_codes(foreshock, words, code):
    assert "message" in foreshock(*words, code=code)["error"]


def test_a_recording_is_loaded_once_however_often_it_is_asked_for(foreshock, tmp_path):
    place, make = tmp_path / "recordings" / "session" / "0", RowMaker(10 * DAY_NS)
    recording = RecordingWriter(place, [Instrument.of("AUSDT", SPOT, "0.1", "1")], {})
    recording.write(np.concatenate([make.trade(0, k, 1) for k in range(30)]))
    for _ in range(2):
        assert foreshock("load", str(place))["loaded"][0]["rows"] == 30
        assert foreshock("query", "SELECT count(*) AS n FROM trades")["rows"] == [{"n": 30}]
