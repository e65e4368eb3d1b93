"""The rules of fees, spread, funding, impact and latency, one by one."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foreshock.costs.fees import SCHEDULES, fees_of, round_trip_fees_bps
from foreshock.costs.funding import funding_bps
from foreshock.costs.impact import capacity, law_shape, law_unit_bps, traded, walk_bps
from foreshock.costs.latency import mean_move_bps, round_trip_latency_bps
from foreshock.costs.total import CostSettings
from foreshock.market.instruments import BYBIT, SPOT, USDM
from foreshock.market.walk import LADDER_NOTIONALS

SIZES = np.array(LADDER_NOTIONALS)
ONE = np.ones(1)


def walked_for(
    notional: float, walked: np.ndarray, unit: float = 1.0, volume: float = 1e5, exponent=1.1
) -> float:
    """One symbol's slippage on one side."""
    return float(walk_bps(notional, walked, unit * ONE, volume * ONE, exponent)[0])


def paid(rate: float, in_s: float, horizon_s: float, unknown: float | None = 1e-4) -> float:
    given = (np.array([rate]), np.array([in_s]), np.array([horizon_s]))
    return float(funding_bps(*given, 8.0, unknown)[0, 0])


# Fees


@pytest.mark.parametrize("market", [SPOT, USDM])
def test_no_tier_is_dearer_than_the_one_below_it(market):
    tiers = SCHEDULES[market].tiers
    assert len(tiers) == 10
    for lower, higher in pairwise(tiers):
        assert higher.maker_bps <= lower.maker_bps and higher.taker_bps <= lower.taker_bps
        assert higher.maker_bps <= higher.taker_bps


def test_the_tables_are_read_and_overridden():
    assert fees_of(SPOT) == (10.0, 10.0) and fees_of(USDM) == (2.0, 5.0)
    assert fees_of(USDM, "vip9") == (0.0, 1.7)
    assert fees_of(SPOT, "vip0", True) == (7.5, 7.5)
    assert fees_of(USDM, "vip0", True) == pytest.approx((1.8, 4.5))
    assert fees_of(BYBIT, "vip0", True) == fees_of(USDM)
    assert CostSettings.for_market(SPOT, fee_tier="vip3").fees == (4.2, 6.0)
    mine = CostSettings(taker_fee_bps=3.0, maker_fee_bps=-0.5, pays_in_bnb=True)
    assert mine.fees == (-0.5, 3.0)


def test_a_mix_pays_between_the_two_fees():
    fees = fees_of(USDM)
    assert round_trip_fees_bps(fees) == 10.0 and round_trip_fees_bps(fees, 1.0) == 4.0
    assert round_trip_fees_bps(fees, 0.5) == 7.0


# Funding


def test_a_payment_falls_due_within_the_span_or_not_at_all():
    assert paid(4e-4, 60.0, 60.0) == pytest.approx(4.0)
    assert paid(4e-4, 60.001, 60.0) == 0.0
    assert paid(4e-4, 10.0, 8 * 3600 + 9.0) == pytest.approx(4.0)
    assert paid(4e-4, 10.0, 8 * 3600 + 10.0) == pytest.approx(8.0)


def test_a_time_that_is_not_known_charges_the_share_of_a_payment():
    assert paid(4e-4, math.nan, 900.0) == pytest.approx(4.0 / 32)
    assert paid(math.nan, math.nan, 8 * 3600.0) == pytest.approx(1.0)


def test_a_rate_that_is_not_known_is_assumed_refused_or_of_no_matter():
    assert paid(math.nan, 30.0, 60.0) == pytest.approx(1.0)
    assert math.isnan(paid(math.nan, 30.0, 60.0, None))
    assert paid(math.nan, 90.0, 60.0, None) == 0.0
    nothing = (np.array([np.nan]), np.array([np.nan]), np.array([60.0]))
    assert funding_bps(*nothing, 0.0, None).tolist() == [[0.0]]


def test_income_is_not_counted_on():
    assert paid(-0.01, 30.0, 60.0) == 0.0


# Impact


def test_a_walked_size_is_priced_exactly():
    walked = np.array([[0.0, 0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0]])
    for size, expected in zip(LADDER_NOTIONALS, walked[0].tolist(), strict=True):
        assert walked_for(size, walked) == pytest.approx(expected)


@settings(deadline=None)
@given(
    levels=st.lists(st.tuples(st.integers(1, 50), st.floats(10, 1e5)), min_size=3, max_size=40),
    notional=st.floats(10, 1e6),
)
def test_between_walked_sizes_it_lies_between_their_prices_as_the_true_walk_does(levels, notional):
    """A ladder of (gap in bps, money) levels, walked by hand."""
    far = np.cumsum([0.0] + [gap for gap, _ in levels[1:]])
    worth = np.array([money for _, money in levels])

    def true(size: float) -> float:
        if size > worth.sum():
            return math.nan
        before = np.concatenate([[0.0], np.cumsum(worth)[:-1]])
        return float((np.clip(size - before, 0.0, worth) * far).sum() / size)

    walked = np.array([true(size) for size in LADDER_NOTIONALS])
    got = walked_for(notional, walked[None, :], unit=1e9)
    sizes, around = (np.concatenate([[0.0], each]) for each in (SIZES, walked))
    k = int(np.searchsorted(sizes, notional))
    if not math.isnan(around[k]):
        for price in (got, true(notional)):
            assert around[k - 1] - 1e-9 <= price <= around[k] + 1e-9


@settings(deadline=None)
@given(
    held=st.integers(0, 9),
    steps=st.lists(st.floats(0, 9), min_size=9, max_size=9),
    small=st.floats(10, 3e6),
    more=st.floats(1, 30),
    unit=st.floats(1e-2, 300),
    volume=st.floats(10, 1e7),
    exponent=st.sampled_from([0.5, 1.0, 1.1, 2.0]),
)
def test_a_larger_order_never_pays_less_and_the_edge_of_the_ladder_is_no_cliff(
    held, steps, small, more, unit, volume, exponent
):
    walked = np.where(np.arange(9) < held, np.cumsum(steps), np.nan)[None, :]

    def price(size: float) -> float:
        return walked_for(size, walked, unit, volume, exponent)

    assert price(small) <= price(small * more) * (1 + 1e-9)
    assert price(small * more) > 0.0 or held  # what is not known is not free
    if held:
        edge = SIZES[held - 1]
        assert price(edge * (1 + 1e-9)) == pytest.approx(price(edge), rel=1e-6, abs=1e-5)


@given(held=st.integers(0, 9), share=st.floats(1e-4, 20), exponent=st.sampled_from([0.5, 1.1]))
def test_a_ladder_that_pays_what_the_law_says_is_gone_on_from_as_the_law_goes(
    held, share, exponent
):
    volume = 2e5
    lawful = 7.0 * law_shape(SIZES / volume, exponent)
    walked = np.where(np.arange(9) < held, lawful, np.nan)[None, :]
    got = walked_for(share * volume, walked, 7.0, volume, exponent)
    expected = 7.0 * float(law_shape(np.array(share), exponent))
    if not held or share * volume > SIZES[held - 1]:  # within the ladder it is interpolated
        assert got == pytest.approx(expected, rel=1e-9)


def test_a_dear_ladder_makes_what_lies_behind_it_dear_and_a_cheap_one_cheap():
    cheap, usual, dear = (
        walked_for(
            2e4, np.where(np.arange(9) < 5, k * 7 * (SIZES / 1e5) ** 1.1, np.nan)[None, :], 7
        )
        for k in (0.2, 1.0, 5.0)
    )
    assert 0.2 * usual < cheap < 0.5 * usual and 3.0 * usual < dear < 5.0 * usual


def test_a_ladder_of_the_best_level_alone_says_nothing_of_what_lies_behind_it():
    flat = np.where(np.arange(9) < 3, 0.0, np.nan)[None, :]
    assert walked_for(1e3, flat) == 0.0
    assert walked_for(1e5, flat) == pytest.approx(1.0, rel=0.01)


def test_the_law_is_the_square_root_beyond_a_minutes_volume_and_at_an_exponent_of_a_half():
    shares = np.geomspace(1e-4, 1e2, 61)
    assert law_shape(shares, 0.5) == pytest.approx(np.sqrt(shares))
    assert law_shape(shares[shares > 1], 1.1) == pytest.approx(np.sqrt(shares[shares > 1]))
    assert law_shape(shares[shares <= 1], 1.1) == pytest.approx(shares[shares <= 1] ** 1.1)


def test_the_law_has_no_price_where_nothing_moved_or_traded():
    assert np.isnan(law_unit_bps(np.array([0.0, -1.0, np.nan]), 1.35)).all()
    assert np.isnan(traded(np.array([0.0, -5.0, np.nan, np.inf, 1e-9]))).all()
    none = np.full((1, 9), np.nan)
    assert math.isnan(walked_for(1e3, none, unit=math.nan))
    assert math.isnan(walked_for(1e3, none, volume=math.nan))


def test_capacity_is_a_share_of_the_minute_and_unknown_without_trades():
    known, *unknown = capacity(np.array([8_000.0, 0.0, -1.0, np.nan, np.inf]), 0.25).tolist()
    assert known == 2_000.0 and np.isnan(unknown).all()


# Latency


def test_the_measured_moves_are_met_at_their_own_times():
    short, long = np.array([0.2, 0.0, 0.5]), np.array([1.1, 0.0, 0.3])
    assert mean_move_bps(short, long, 0.1) == pytest.approx(short)
    assert mean_move_bps(short, long, 1.0) == pytest.approx([1.1, 0.0, 0.5])


@given(st.floats(0.001, 2), st.floats(0.001, 2), st.floats(1, 1000), st.floats(1, 5))
def test_a_longer_way_never_costs_less(short, long, latency_ms, times):
    given = (np.array([1e-4]), np.array([short]), np.array([long]))
    one, two = (round_trip_latency_bps(*given, ms)[0] for ms in (latency_ms, latency_ms * times))
    assert one <= two * (1 + 1e-12)


def test_no_way_costs_nothing_and_what_is_not_seen_follows_the_law():
    nan = np.array([math.nan])
    assert round_trip_latency_bps(nan, nan, nan, 0.0).tolist() == [0.0]
    sigma = np.array([1e-4])
    law = round_trip_latency_bps(sigma, nan, nan, 250.0)[0]
    draws = np.random.default_rng(1).normal(0.0, 0.5, 400_000)  # σ·√0.25 s in bps
    assert law == pytest.approx(2 * np.maximum(draws, 0.0).mean(), rel=0.01)
