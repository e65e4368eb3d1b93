"""The bill against what round trips cost on a simulated exchange: small, seeded."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks._costs_law import beyond, capacities, hidden, waited
from benchmarks._costs_play import Played, compare, fill_bps, play, round_trips
from foreshock.costs.total import CostSettings, bill
from foreshock.market.instruments import USDM

LATENCY_MS = 100
NOTIONALS = (1_000.0, 20_000.0)


@pytest.fixture(scope="module")
def played() -> Played:
    return play(3, USDM, 6, 420, LATENCY_MS, NOTIONALS)


def trips(played: Played, notional: float) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    settings = CostSettings(notional=notional, latency_ms=LATENCY_MS, max_volume_share=1e12)
    return round_trips(played, settings)


@pytest.mark.parametrize("name", ["fees", "spread", "impact", "funding", "latency", "total"])
def test_no_component_is_surely_off_by_more_than_a_tenth(played, name):
    found = compare([trips(played, 20_000.0)[name]])
    assert found.trips > 1_500
    assert found.lower < 1.1 and found.upper > 0.9, found


@pytest.mark.parametrize(("name", "most"), [("fees", 0.01), ("spread", 0.05), ("funding", 0.01)])
def test_what_is_known_at_the_moment_is_met_closely(played, name, most):
    assert compare([trips(played, 1_000.0)[name]]).ratio == pytest.approx(1.0, abs=most)


@pytest.mark.parametrize("notional", NOTIONALS)
def test_the_components_add_up_to_the_money_that_was_lost(played, notional):
    pairs = trips(played, notional)
    parts = sum(
        pairs[name][1] for name in ("fees", "spread", "impact", "funding", "latency, signed")
    )
    # Returns multiply and costs are added: a hundredth of a bp apart at most, here.
    np.testing.assert_allclose(parts, pairs["total"][1], atol=0.2)
    assert abs(np.nanmean(parts - pairs["total"][1])) < 0.02


def test_the_signed_drift_of_a_moment_nobody_chose_is_nothing(played):
    found = compare([trips(played, 1_000.0)["latency, signed"]])
    assert abs(found.realised) < 2 * found.reach_bps
    assert found.billed > found.reach_bps  # so that the reserve is one


@pytest.mark.parametrize("levels", [None, 1, 5])
def test_hiding_the_ladder_changes_what_lies_beyond_it_alone(played, levels):
    settings = CostSettings(notional=20_000.0, max_volume_share=1e12)
    shown = hidden(played, levels)
    (billed, paid), _ = beyond(shown, settings)
    whole, part = (
        bill(each.inputs.reshape(-1), settings, 60)["impact_bps"].reshape(played.mid.shape)[70:-60]
        for each in (played, shown)
    )
    larger = np.isfinite(billed)
    assert larger.any() and np.isfinite(paid[larger]).mean() > 0.9
    if levels is not None:
        known = (played.worth[levels] >= 30_000.0).all(axis=0)[70:-60]
        np.testing.assert_array_equal(whole[known], part[known])
    assert (whole[larger] != part[larger]).mean() > 0.9


def test_the_fees_of_orders_of_which_a_share_waits_are_met(played):
    settings = CostSettings(notional=1_000.0, max_volume_share=1e12)
    for patience_s in (5, 30):
        found = waited(played, settings, patience_s)
        assert 0.05 < found.share < 0.95
        maker, taker = settings.fees
        expected = 2 * (found.share * maker + (1 - found.share) * taker)
        np.testing.assert_allclose(found.fees[0], expected)
        assert compare([found.fees]).ratio == pytest.approx(1.0, abs=0.02)
    assert waited(played, settings, 30).share > waited(played, settings, 5).share


def test_capacity_is_the_stated_share_of_what_the_exchange_says_it_traded():
    ours, theirs = capacities(5, USDM, 4, 90)
    known = np.isfinite(ours)
    assert known.mean() > 0.9
    np.testing.assert_allclose(ours[known], theirs[known], rtol=1e-9)


def test_a_fill_is_what_the_money_buys():
    rng = np.random.default_rng(2)
    for _ in range(50):
        ticks = 10_000 + np.cumsum(rng.integers(1, 9, 30))
        levels = np.stack([ticks, rng.integers(1, 400, 30)], axis=1)
        notional = float(rng.uniform(1, 90_000)) * 0.1
        left, bought = notional, 0.0
        for price, lots in levels.tolist():
            spent = min(left, price * lots * 1e-3)
            left, bought = left - spent, bought + spent / price
        expected = np.nan if left > 1e-9 else (notional - bought * levels[0, 0]) / notional * 1e4
        assert fill_bps(levels, 1e-3, notional) == pytest.approx(expected, nan_ok=True, abs=1e-9)
