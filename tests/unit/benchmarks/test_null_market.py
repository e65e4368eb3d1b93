"""benchmarks.null_market: the whole way on two seeds of each market; a full run takes 100."""

from __future__ import annotations

import pytest

from benchmarks import null_market
from benchmarks._null_exchange import exchange_set, exchange_settings
from benchmarks._null_markets import EDGES, NULLS, STATED
from benchmarks.null_market import MONEY, gate_alone, interval, page, passed, run_one, told

TRADING = ("ended edge", "free coin", "common drift", "other outcomes")


@pytest.mark.parametrize("kind", NULLS)
def test_markets_that_do_not_pay_are_not_promoted(kind: str) -> None:
    runs = [run_one(kind, seed) for seed in range(2)]
    assert not any(run["promoted"] for run in runs)
    for run in runs:
        for tests in run["tests"]:
            assert set(MONEY) < set(tests)
            assert set(tests.values()) != {"passed"}
        assert run["reason"].startswith("not promoted; 900 s: ")
        assert run["cpu_seconds"] < 20.0
    if kind in TRADING:
        # Money has something to weigh here.
        assert sum(run["trades"] for run in runs) > 100
        assert passed(runs)["sample"] > 0
    if kind == "other outcomes":
        # And here nothing but money can tell.
        assert passed(runs)["skill"] == passed(runs)["horizons"]


def test_an_edge_of_the_stated_size_is_promoted() -> None:
    runs = [run_one(STATED, seed) for seed in range(2)]
    assert all(run["promoted"] for run in runs), [run["reason"] for run in runs]
    assert told(runs)["traded"] == 2.0
    text = page(
        {STATED: runs}, {"plain luck": gate_alone(5)}, {"cores": 2, "cpu": "x", "load_1min": 0}
    )
    assert f"| {STATED} | 2 | 2 | 15.8% to 100.0% |" in text
    assert "exchange" not in text


def test_markets_of_the_exchange_go_through_books_and_features() -> None:
    null, edge = (exchange_set(share, 0, symbols=3, seconds=240) for share in (0.0, 1.0))
    for data in (null, edge):
        assert data.check().horizons_s == (30, 60, 120)
        assert data.manifest["domain"]["tier"] == "book"
        assert len(data.feature_names) == 20
        assert len(data) > 200
    assert null.bill_bps.max() < 5.0 < edge.bill_bps.min()
    assert exchange_settings().rule.period_s == 15


def test_intervals_of_shares_are_exact() -> None:
    assert interval(0, 100) == (0.0, pytest.approx(0.0362, abs=1e-4))
    assert interval(1, 100)[1] == pytest.approx(0.0545, abs=1e-4)
    assert interval(100, 100) == (pytest.approx(0.9638, abs=1e-4), 1.0)


def share(text: float | str) -> float:
    return float(str(text).rstrip("%")) / 100.0


@pytest.mark.parametrize("lasts", [False, True])
def test_the_gate_alone_lets_few_records_through(lasts: bool) -> None:
    found = gate_alone(150, lasts=lasts)
    bound, whole = share(found["bound alone"]), share(found["whole gate"])
    # Luck that outlasts the bound's blocks deceives it, not the rest of the gate.
    assert bound <= (0.1 if lasts else 0.04)
    assert whole <= min(bound, 0.02)


def test_the_stated_edge_is_the_last_of_the_curve() -> None:
    assert list(EDGES)[-1] == STATED
    assert null_market.SEEDS == 100
