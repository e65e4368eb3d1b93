from __future__ import annotations

import math

import pytest

from foreshock.features import catalog
from foreshock.features.ranges import RangesSettings
from foreshock.features.settings import FeatureSettings
from tests.reference.feature_tape import boundaries_of, drive
from tests.reference.feature_walks import START, assert_equals_twin
from tests.reference.features import SECOND, Event, Trade
from tests.reference.features_ranges import ranges_features

CHOSEN = FeatureSettings(families=("ranges",))
NAMES = catalog.layout(CHOSEN).names


@pytest.mark.parametrize("seed", [1, 2])
def test_every_feature_equals_its_naive_twin(seed: int) -> None:
    asked = [*range(seed, 320, 29), *range(320, 4200, 311)]
    assert_equals_twin("ranges", ranges_features, seed, 4200, asked)


def test_other_windows_are_computed_as_well() -> None:
    more = RangesSettings(
        ranges_s=(7, 600), ratios_s=((3, 7), (300, 900)), positions_s=(60,), since_s=(299,),
        breakouts_s=((1, 2),), declines_s=(11,), bars_s=((2, 8), (60, 1200)),
    )  # fmt: skip

    def twin(events: list[Event], symbol: int, boundary: int, first: int) -> dict[str, float]:
        return ranges_features(events, symbol, boundary, first, more)

    features = FeatureSettings(families=("ranges",), ranges=more)
    assert_equals_twin("ranges", twin, 3, 1800, range(5, 1800, 173), features)


@pytest.mark.parametrize(
    "wrong",
    [
        {"bars_s": ((30, 600),)},
        {"bars_s": ((7, 300),)},
        {"ratios_s": ((301, 600),)},
        {"breakouts_s": ((10, 600),)},
        {"ranges_s": (3660,)},
        {"since_s": (301,)},
    ],
)
def test_windows_that_no_ring_keeps_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"kept|bars|minutes"):
        RangesSettings.model_validate(wrong)


def vectors(events: list[Event], seconds: int) -> list[dict[str, float]]:
    boundaries = boundaries_of(START, seconds)
    tops = {0: {b: [[], []] for b in boundaries}}
    found = drive(events, boundaries, tops, 1, features=CHOSEN)[:, 0]
    return [dict(zip(NAMES, map(float, row), strict=True)) for row in found]


def trade(second: float, ticks: int) -> Trade:
    return Trade(START + round(second * SECOND), 0, False, ticks, 1)


def test_a_spike_within_one_second_is_seen_though_the_price_came_back() -> None:
    tape = [trade(0.5, 1000), trade(30.2, 1100), trade(30.3, 900), trade(30.4, 1000)]
    found = vectors(tape, 62)[-1]
    assert math.isclose(found["price_range_60s"], 1e4 * 200 / 900)
    assert found["range_position_60s"] == 0.5
    assert math.isclose(found["drawdown_60s"], 1e4 * (1000 / 1100 - 1))
    assert found["max_drawdown_60s"] == 0.0
    assert found["since_high_60s"] == found["since_low_60s"] == 31 / 60


def test_the_price_at_the_start_of_a_window_belongs_to_it() -> None:
    found = vectors([trade(0.5, 1000), trade(55.5, 990)], 66)
    assert found[60]["drawdown_60s"] == found[65]["drawdown_60s"]
    assert found[65]["price_range_10s"] == 0.0
    assert math.isclose(found[64]["price_range_10s"], 1e4 * 10 / 990)


def test_a_price_that_stood_still_has_no_place_and_no_volatility() -> None:
    found = vectors([trade(0.5, 1000)], 301)[-1]
    assert math.isnan(found["range_position_5m"])
    assert math.isnan(found["range_ratio_10s_5m"])
    for name in ("price_range_5m", "drawdown_5m", "since_high_5m", "breakout_10s_5m",
                 "parkinson_volatility_10s_5m", "corwin_schultz_spread_10s_5m"):  # fmt: skip
        assert found[name] == 0.0


def test_a_new_high_breaks_out_by_its_distance_to_the_old_one() -> None:
    found = vectors([trade(0.5, 1000), trade(20.5, 1010), trade(58.5, 1020)], 61)[-1]
    assert math.isclose(found["breakout_5s_60s"], 1e4 * 10 / 1010)
    assert found["range_position_60s"] == 1.0


def test_bounces_between_bid_and_ask_are_told_as_a_spread() -> None:
    bounces = [trade(k * 0.5 + 0.25, 10_000 + 10 * (k % 2)) for k in range(660)]
    found = vectors(bounces, 320)[-1]
    assert math.isclose(found["corwin_schultz_spread_10s_5m"], 10, rel_tol=1e-3)
