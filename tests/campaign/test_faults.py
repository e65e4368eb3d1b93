"""The fault campaign in short: every fault, real sockets, and no book that lies about it."""

from __future__ import annotations

from foreshock.simulation.faults import KINDS


def test_no_fault_makes_a_book_lie_and_all_books_come_back() -> None:
    from cluster.audit_faults import campaign

    found = campaign(symbols=20, seconds=10.0, market="binance-spot", seed=1, per_second=1.0)
    assert found["failures"] == []
    assert set(found["by_kind"]) == set(KINDS)
    assert all(entry["hits"] for entry in found["by_kind"].values())
    assert found["compared"] > 100 and found["final_equal"] == 20
    assert found["bystanders"] > 0 and found["epochs"] > 0
    assert found["cut_for_age"] + found["renewals"] > 0
