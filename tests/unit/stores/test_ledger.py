"""The contract of the ledger, on SQLite and on a server where one is given."""

from __future__ import annotations

import os
import sqlite3

import pytest
from sqlalchemy import inspect, text

from foreshock.errors import StoreError
from foreshock.stores.ledger import METADATA, Ledger

REAL = os.environ.get("FORESHOCK_TEST_LEDGER_URL")


@pytest.fixture(
    params=[
        "sqlite",
        pytest.param(
            "server",
            marks=[
                pytest.mark.servers,
                pytest.mark.skipif(not REAL, reason="FORESHOCK_TEST_LEDGER_URL names no server"),
            ],
        ),
    ]
)
def ledger(request, tmp_path):
    store = Ledger(tmp_path / "new" / "ledger.db" if request.param == "sqlite" else REAL)
    yield store
    if request.param == "server":
        METADATA.drop_all(store._engine)
    store.close()


def verdict(number: int, *, signal: bool = True, symbol: str = "AUSDT", **changes) -> dict:
    return {
        "id": f"{number:032x}",
        "symbol": symbol,
        "boundary_ns": 1_700_000_000_000_000_000 + number,
        "horizon_s": 60,
        "reason": "signal" if signal else "below_utility",
        "signal": signal,
        "probability": 0.75,
        "utility_bps": 1.5,
        "model_version": "1.0.0+abc",
        "bill": {"total_bps": 12.5},
        **changes,
    }


def test_signals_are_kept_once_however_often_they_are_told(ledger):
    told = [verdict(1), verdict(2, signal=False), verdict(3, symbol="BUSDT")]
    assert ledger.record(told) == 2
    assert ledger.record(told) == 0
    assert ledger.record([*told, verdict(4)]) == 1
    assert ledger.signals() == [verdict(4), verdict(3, symbol="BUSDT"), verdict(1)]
    assert ledger.signals("BUSDT") == [verdict(3, symbol="BUSDT")]
    assert ledger.signals(limit=1) == [verdict(4)]


def test_a_batch_of_any_size_is_taken(ledger):
    told = [verdict(number) for number in range(5_000)]
    assert ledger.record(told) == 5_000
    assert ledger.record([*told, verdict(5_000)]) == 1


def test_predictions_are_kept_on_request_where_there_is_a_probability(ledger):
    told = [verdict(1), verdict(2, signal=False), verdict(3, signal=False, probability=None)]
    ledger.record(told)
    assert ledger.predictions() == []
    ledger.record(told, predictions=True)
    assert [each["id"] for each in ledger.predictions()] == [told[1]["id"], told[0]["id"]]


def test_a_duplicate_is_not_recorded(ledger):
    assert ledger.record([verdict(1, signal=False, reason="duplicate")], predictions=True) == 0
    assert ledger.predictions() == []


def test_a_model_version_is_never_rewritten(ledger):
    card = {"version": "1.0.0", "name": "simulation", "promoted": True, "metrics": {"x": 1.0}}
    assert ledger.record_model(card, known_ns=5)
    assert not ledger.record_model({**card, "promoted": False}, known_ns=6)
    ledger.record_model({**card, "version": "1.0.1", "metrics": {"x": float("nan")}}, known_ns=9)
    assert ledger.models() == [{**card, "version": "1.0.1", "metrics": {"x": None}}, card]


def test_the_audit_trail_grows(ledger):
    for number in range(3):
        ledger.audit(number, "operator", "kill_switch", {"symbol": "AUSDT", "value": number})
    assert [entry["detail"]["value"] for entry in ledger.audit_trail(2)] == [2, 1]


def test_stamps_of_64_bits_survive(ledger):
    ledger.record([verdict(1, boundary_ns=2**62)])
    assert ledger.signals()[0]["boundary_ns"] == 2**62
    assert set(inspect(ledger._engine).get_table_names()) >= set(METADATA.tables)


def test_sqlite_is_in_write_ahead_mode_and_survives_reopening(tmp_path):
    path = tmp_path / "ledger.db"
    first = Ledger(path)
    first.record([verdict(1)])
    with first._engine.connect() as connection:
        assert connection.execute(text("PRAGMA journal_mode")).scalar() == "wal"
    first.close()
    again = Ledger(path)
    assert again.signals() == [verdict(1)]
    again.close()


def test_a_ledger_that_cannot_be_opened_or_written_is_a_store_error(tmp_path):
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
