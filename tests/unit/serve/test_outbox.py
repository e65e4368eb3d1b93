from __future__ import annotations

from pathlib import Path
from typing import Any

from foreshock.errors import StoreError
from foreshock.stores.ledger import Ledger
from serve.outbox import Outbox


def signal(i: int) -> dict[str, Any]:
    return {
        "id": f"{i:032x}", "symbol": "BTCUSDT", "boundary_ns": i, "horizon_s": 60,
        "reason": "signal", "signal": True, "probability": 0.5, "utility_bps": 1.0,
        "model_version": "m",
    }  # fmt: skip


def test_what_is_queued_is_written_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    box = Outbox(lambda: Ledger(path), every_s=60.0, capacity=1_000)
    box.add([signal(i) for i in range(450)], {"signal": 450, "cold": 3}, at_ns=7)
    assert box.facts()["queued"] == 450
    box.close()
    ledger = Ledger(path)
    assert len(ledger.signals(limit=1_000)) == 450
    assert ledger.audit_trail()[0]["detail"]["by_reason"] == {"signal": 450, "cold": 3}
    assert box.facts() == {
        "queued": 0, "spilled": 0, "written": 450, "dropped": 0, "failures": 0, "away": 0,
    }  # fmt: skip
    ledger.close()


def test_a_ledger_that_is_away_at_first_gets_everything_later(tmp_path: Path) -> None:
    tries = []

    def open_ledger() -> Ledger:
        tries.append(1)
        if len(tries) < 3:
            raise StoreError("not yet")
        return Ledger(tmp_path / "ledger.sqlite")

    box = Outbox(open_ledger, every_s=0.005, capacity=10)
    box.add([signal(1)])
    while box.facts()["written"] == 0:
        pass
    box.close()
    assert box.facts()["failures"] == 2
    ledger = Ledger(tmp_path / "ledger.sqlite")
    assert len(ledger.signals()) == 1
    (alert,) = ledger.alerts()
    assert alert["kind"] == "ledger_away" and alert["closed_ns"] >= alert["opened_ns"]
    ledger.close()


def test_beyond_its_capacity_the_oldest_are_dropped_and_counted(tmp_path: Path) -> None:
    box = Outbox(lambda: Ledger(tmp_path / "ledger.sqlite"), every_s=60.0, capacity=3)
    box.add([signal(i) for i in range(5)])
    assert (box.facts()["queued"], box.facts()["dropped"]) == (3, 2)
    box.close()
    ledger = Ledger(tmp_path / "ledger.sqlite")
    assert sorted(line["boundary_ns"] for line in ledger.signals()) == [2, 3, 4]
    ledger.close()


def test_probabilities_without_a_signal_are_kept_as_predictions(tmp_path: Path) -> None:
    box = Outbox(lambda: Ledger(tmp_path / "ledger.sqlite"), every_s=60.0, capacity=10)
    box.add([signal(1), {**signal(2), "signal": False, "reason": "below_utility"}])
    box.close()
    ledger = Ledger(tmp_path / "ledger.sqlite")
    assert [line["boundary_ns"] for line in ledger.signals()] == [1]
    assert [line["boundary_ns"] for line in ledger.predictions()] == [2, 1]
    ledger.close()
