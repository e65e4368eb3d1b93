"""benchmarks.null_market: the whole way on two seeds of each market; a full run takes 100."""

from __future__ import annotations

import pytest

from benchmarks import null_market
from benchmarks.null_market import EDGES, NULLS, STATED, gate_alone, interval, page, run_one, told


@pytest.mark.parametrize("kind", NULLS)
def test_markets_that_do_not_pay_are_not_promoted(kind: str) -> None:
    runs = [run_one(kind, seed) for seed in range(2)]
    assert not any(run["promoted"] for run in runs)
    for run in runs:
        assert run["failed"]
        assert run["reason"].startswith("not promoted; 900 s: ")
        assert run["cpu_seconds"] < 20.0


def test_an_edge_of_the_stated_size_is_promoted() -> None:
    runs = [run_one(STATED, seed) for seed in range(2)]
    assert all(run["promoted"] for run in runs), [run["reason"] for run in runs]
    text = page(
        {STATED: told(STATED, runs)}, gate_alone(5), {"cores": 2, "cpu": "x", "load_1min": 0}
    )
    assert f"| {STATED} | 2 | 2 | 15.8% to 100.0% |" in text


def test_intervals_of_shares_are_exact() -> None:
    assert interval(0, 100) == (0.0, pytest.approx(0.0362, abs=1e-4))
    assert interval(1, 100)[1] == pytest.approx(0.0545, abs=1e-4)
    assert interval(100, 100) == (pytest.approx(0.9638, abs=1e-4), 1.0)


def test_the_gate_alone_lets_few_records_through() -> None:
    found = gate_alone(150)
    assert found["bound"] <= 0.04
    assert found["whole"] <= found["bound"]


def test_the_stated_edge_is_the_last_of_the_curve() -> None:
    assert list(EDGES)[-1] == STATED
    assert null_market.SEEDS == 100
