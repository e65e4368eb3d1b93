"""The contract of the ledger, on SQLite and on PostgreSQL."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import inspect, select, text

from foreshock.errors import StoreError
from foreshock.stores.ledger import Ledger
from foreshock.stores.ledger_tables import METADATA, SIGNALS, UtcTime
from tests.reference.ledger import verdict
from tests.servers.postgres_server import PostgresServer


@pytest.fixture
def ledger(ledger_where: str | Path) -> Iterator[Ledger]:
    store = Ledger(ledger_where)
    yield store
    store.close()


def test_signals_are_kept_once_however_often_they_are_told(ledger: Ledger) -> None:
    told = [verdict(1), verdict(2, signal=False), verdict(3, symbol="BUSDT")]
    assert ledger.record(told) == 2
    assert ledger.record(told) == 0
    assert ledger.record([*told, verdict(4)]) == 1
    assert ledger.signals() == [verdict(4), verdict(3, symbol="BUSDT"), verdict(1)]
    assert ledger.signals("BUSDT") == [verdict(3, symbol="BUSDT")]
    assert ledger.signals(limit=1) == [verdict(4)]


def test_a_batch_of_any_size_is_taken(ledger: Ledger) -> None:
    told = [verdict(number) for number in range(2_500)]
    assert ledger.record(told) == 2_500
    assert ledger.record([*told, verdict(2_500)]) == 1


def test_predictions_are_kept_on_request_where_there_is_a_probability(ledger: Ledger) -> None:
    told = [verdict(1), verdict(2, signal=False), verdict(3, signal=False, probability=None)]
    ledger.record(told)
    assert ledger.predictions() == []
    ledger.record(told, predictions=True)
    assert [each["id"] for each in ledger.predictions()] == [told[1]["id"], told[0]["id"]]


def test_a_duplicate_is_not_recorded(ledger: Ledger) -> None:
    assert ledger.record([verdict(1, signal=False, reason="duplicate")], predictions=True) == 0
    assert ledger.predictions() == []


def test_a_model_version_is_never_rewritten(ledger: Ledger) -> None:
    card: dict[str, Any] = {
        "version": "1.0.0", "name": "simulation", "promoted": True, "metrics": {"x": 1.0},
    }  # fmt: skip
    assert ledger.record_model(card, known_ns=5)
    assert not ledger.record_model({**card, "promoted": False}, known_ns=6)
    ledger.record_model({**card, "version": "1.0.1", "metrics": {"x": float("nan")}}, known_ns=9)
    assert ledger.models() == [{**card, "version": "1.0.1", "metrics": {"x": None}}, card]


def test_the_audit_trail_grows(ledger: Ledger) -> None:
    for number in range(3):
        ledger.audit(number, "operator", "kill_switch", {"symbol": "AUSDT", "value": number})
    assert [entry["detail"]["value"] for entry in ledger.audit_trail(2)] == [2, 1]


def test_an_alert_is_kept_once_by_kind_and_moment(ledger: Ledger) -> None:
    assert ledger.alert("ledger_down", "warning", 5, {"waiting": 3}, closed_ns=9)
    assert not ledger.alert("ledger_down", "critical", 5, {})
    assert ledger.alert("ledger_down", "warning", 6, {})
    newest, oldest = ledger.alerts()
    assert (newest["opened_ns"], newest["closed_ns"]) == (6, None)
    assert (oldest["severity"], oldest["detail"]) == ("warning", {"waiting": 3})


def test_stamps_of_64_bits_survive(ledger: Ledger) -> None:
    ledger.record([verdict(1, boundary_ns=2**62)])
    assert ledger.signals()[0]["boundary_ns"] == 2**62
    assert set(inspect(ledger._engine).get_table_names()) >= set(METADATA.tables)


def test_moments_come_back_in_utc_and_one_without_a_zone_is_refused(ledger: Ledger) -> None:
    before = datetime.now(UTC)
    ledger.record([verdict(1)])
    with ledger._engine.connect() as connection:
        found = connection.scalar(select(SIGNALS.c.recorded_at))
    assert found is not None and found.utcoffset() == timedelta(0)
    assert before <= found <= datetime.now(UTC)
    dialect, column = ledger._engine.dialect, UtcTime()
    noon = datetime(2026, 1, 1, 12, tzinfo=timezone(timedelta(hours=5)))
    bound = column.process_bind_param(noon, dialect)
    assert column.process_result_value(bound, dialect) == noon
    with pytest.raises(ValueError, match="time zone"):
        column.process_bind_param(datetime(2026, 1, 1), dialect)


def test_status_tells_step_rows_and_no_password(ledger: Ledger) -> None:
    ledger.record([verdict(1), verdict(2)])
    found = ledger.status()
    assert found["current"] and found["revision"] == found["head"]
    assert found["rows"] == {
        "alerts": 0, "audit": 0, "model_versions": 0, "predictions": 0, "signals": 2,
    }  # fmt: skip
    closed = Ledger("postgresql+psycopg://me:secret@127.0.0.1:1/x", upgrade=False)
    assert "secret" not in closed._engine.url.render_as_string(hide_password=True)
    with pytest.raises(StoreError):
        closed.status()


def test_sqlite_is_in_write_ahead_mode_and_survives_reopening(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    first = Ledger(path)
    first.record([verdict(1)])
    with first._engine.connect() as connection:
        assert connection.execute(text("PRAGMA journal_mode")).scalar() == "wal"
    first.close()
    again = Ledger(path)
    assert again.signals() == [verdict(1)]
    again.close()


def test_a_ledger_that_cannot_be_opened_or_written_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "not.db").write_bytes(b"this is no database at all" * 100)
    with pytest.raises(StoreError, match="ledger"):
        Ledger(tmp_path / "not.db")
    store = Ledger(tmp_path / "ledger.db")
    with sqlite3.connect(tmp_path / "ledger.db") as other:
        other.execute("DROP TABLE signals")
    other.close()
    with pytest.raises(StoreError, match="signals"):
        store.record([verdict(1)])
    store.close()


@pytest.mark.servers
def test_a_postgresql_that_was_killed_is_used_again_with_all_it_had_taken(
    postgres_server: PostgresServer,
) -> None:
    ledger = Ledger(postgres_server.url)
    ledger.record([verdict(n) for n in range(100)])
    postgres_server.kill()
    with pytest.raises(StoreError):
        ledger.record([verdict(100)])
    postgres_server.start()
    assert ledger.record([verdict(n) for n in range(90, 120)]) == 20
    assert len(ledger.signals(limit=1000)) == 120
    ledger.close()
