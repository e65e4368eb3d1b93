from __future__ import annotations

import math

import pytest

from foreshock.features.catalog import FeatureSet
from foreshock.features.settings import FeatureSettings
from tests.reference.feature_tape import boundaries_of, drive
from tests.reference.feature_walks import START, assert_equals_twin
from tests.reference.features import SECOND, Event, Trade
from tests.reference.features_impact import impact_features

CHOSEN = FeatureSettings(families=("impact",))
NAMES = FeatureSet(CHOSEN).layout.names


@pytest.mark.parametrize("seed", [1, 2])
def test_every_feature_equals_its_naive_twin(seed: int) -> None:
    asked = [*range(seed, 320, 29), *range(320, 4200, 611)]
    assert_equals_twin("impact", impact_features, seed, 4200, asked)


def vectors(events: list[Event], seconds: int) -> list[dict[str, float]]:
    boundaries = boundaries_of(START, seconds)
    tops = {0: {b: [[], []] for b in boundaries}}
    found = drive(events, boundaries, tops, 1, features=CHOSEN)[:, 0]
    return [dict(zip(NAMES, map(float, row), strict=True)) for row in found]


def trade(second: float, lots: int, ticks: int = 1000, sell: bool = False) -> Trade:
    return Trade(START + round(second * SECOND), 0, sell, ticks, lots)


def test_flow_of_one_side_is_wholly_toxic_and_of_both_alike_not_at_all() -> None:
    one = [trade(k / 2, 40) for k in range(1200)]
    both = [trade(k / 2, 40, sell=k % 2 == 1) for k in range(1200)]
    assert vectors(one, 600)[-1]["vpin_20"] == 1.0
    assert vectors(both, 600)[-1]["vpin_20"] < 0.1


def test_a_bounce_between_two_prices_is_the_spread_of_roll() -> None:
    found = vectors([trade(k + 0.5, 10, 1000 + 2 * (k % 2)) for k in range(60)], 60)[-1]
    assert math.isclose(found["roll_spread_60s"], 1e4 * 2 * 2 / 1002)
    trend = vectors([trade(k + 0.5, 10, 1000 + k) for k in range(60)], 60)[-1]
    assert trend["roll_spread_60s"] == 0.0


def test_lambda_is_the_move_for_a_million_bought() -> None:
    # Each second 1 % for 10 of quote currency, up by buys and down by sells.
    events = [trade(k + 0.5, 1000, 1000 + 10 * (k % 2), sell=k % 2 == 0) for k in range(61)]
    found = vectors(events, 61)[-1]
    assert math.isclose(found["kyle_lambda_60s"], 1e4 * math.log(1.01) / 10e-6, rel_tol=0.01)
    assert found["impact_correlation_60s"] > 0.999
    assert math.isclose(found["amihud_60s"], 1e4 * math.log(1.01) / 10e-6, rel_tol=0.01)


def test_a_large_buy_that_is_given_back_has_a_reversal_above_zero() -> None:
    events = [trade(k + 0.5, 10) for k in range(60)]
    events += [trade(60.5, 500, 1010), trade(61.5, 10, 1000)]
    found = vectors(events, 62)[-1]
    assert math.isclose(found["large_trade_reversal_1s_5m"], 1e4 * (1 - 1000 / 1010))


def test_one_huge_trade_fills_every_bucket_in_bounded_time() -> None:
    events = [trade(k + 0.5, 20) for k in range(30)] + [trade(30.5, 2**40)]
    assert vectors(events, 31)[-1]["vpin_50"] == 1.0
