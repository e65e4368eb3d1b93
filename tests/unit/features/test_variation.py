from __future__ import annotations

import math

import numpy as np
import pytest

from foreshock.features import catalog
from foreshock.features.settings import FeatureSettings
from foreshock.features.variation import VariationSettings
from tests.reference.feature_tape import boundaries_of, drive
from tests.reference.feature_walks import START, assert_equals_twin
from tests.reference.features import SECOND, Event, Trade
from tests.reference.features_variation import variation_features

CHOSEN = FeatureSettings(families=("variation",))
NAMES = catalog.layout(CHOSEN).names


@pytest.mark.parametrize("seed", [1, 2])
def test_every_feature_equals_its_naive_twin(seed: int) -> None:
    asked = [*range(seed, 320, 29), *range(320, 4200, 311)]
    assert_equals_twin("variation", variation_features, seed, 4200, asked)


def test_other_windows_are_computed_as_well_and_change_no_bit_of_the_others() -> None:
    more = VariationSettings(
        volatility_s=(7, 60, 120, 600), momentum_s=(10, 299), ratios_s=((3, 7),),
        zscores_s=((2, 600),), jumps_s=(5, 900), moments_s=(60,), blocks_s=((2, 8), (60, 300)),
        autocorrelation_s=(61,), efficiency_s=(11,), accelerations_s=((1, 2),),
    )  # fmt: skip

    def twin(events: list[Event], symbol: int, boundary: int, first: int) -> dict[str, float]:
        return variation_features(events, symbol, boundary, first, more)

    features = FeatureSettings(families=("variation",), variation=more)
    assert_equals_twin("variation", twin, 3, 1500, range(5, 1500, 173), features)
    events = [trade(k * 0.7, 1000 + k * k % 17) for k in range(600)]
    names = catalog.layout(features).names
    boundaries = boundaries_of(START, 400)
    tops = {0: {b: [[], []] for b in boundaries}}
    found = drive(events, boundaries, tops, 1, features=features)[:, 0]
    usual = drive(events, boundaries, tops, 1, features=CHOSEN)[:, 0]
    shared = [name for name in names if name in NAMES]
    assert len(shared) > 5
    for name in shared:
        assert found[:, names.index(name)].tobytes() == usual[:, NAMES.index(name)].tobytes()


def vectors(events: list[Event], seconds: int) -> list[dict[str, float]]:
    boundaries = boundaries_of(START, seconds)
    tops = {0: {b: [[], []] for b in boundaries}}
    found = drive(events, boundaries, tops, 1, features=CHOSEN)[:, 0]
    return [dict(zip(NAMES, map(float, row), strict=True)) for row in found]


def trade(second: float, ticks: int) -> Trade:
    return Trade(START + round(second * SECOND), 0, False, ticks, 1)


def test_momentum_compares_with_the_price_carried_to_the_start_of_its_window() -> None:
    found = vectors([trade(0.5, 1000), trade(5.5, 1010), trade(10.5, 1030)], 62)
    assert math.isnan(found[9]["momentum_10s"])
    assert math.isclose(found[10]["momentum_10s"], 300.0)
    assert math.isclose(found[15]["momentum_10s"], 1e4 * (1030 / 1010 - 1))
    assert found[21]["momentum_10s"] == 0.0
    assert math.isnan(found[59]["momentum_60s"])
    assert math.isclose(found[60]["momentum_60s"], 300.0)


def test_volatility_is_the_root_mean_square_of_one_second_returns() -> None:
    prices = [1000 + (k % 2) for k in range(61)]
    found = vectors([trade(k + 0.5, p) for k, p in enumerate(prices)], 61)[-1]
    assert math.isclose(found["realised_volatility_60s"], 1e4 * math.log(1001 / 1000))
    assert math.isclose(found["variation_ratio_10s_60s"], 1.0)


def test_a_price_that_stood_still_has_no_volatility_and_no_ratio() -> None:
    found = vectors([trade(0.5, 1000)], 61)[-1]
    assert found["realised_volatility_60s"] == 0.0
    assert found["momentum_60s"] == 0.0
    assert math.isnan(found["variation_ratio_10s_60s"])


def test_the_windows_do_not_remember_what_left_them() -> None:
    wild = [trade(k + 0.5, 1000 + 400 * (k % 3)) for k in range(40)]
    calm = [trade(40 + k + 0.5, 1000 + k % 2) for k in range(200)]
    alone = vectors(calm, 240)[-1]
    both = vectors(wild + calm, 240)[-1]
    assert [np.float64(both[n]).tobytes() for n in NAMES] == [
        np.float64(alone[n]).tobytes() for n in NAMES
    ]


def test_one_jump_in_a_calm_minute_is_told_as_a_jump_and_a_drift_is_not() -> None:
    calm = [trade(k + 0.5, 100_000 + k % 2) for k in range(310)]
    jump = [*calm[:290], *(trade(k + 0.5, 101_000 + k % 2) for k in range(290, 310))]
    one, other = vectors(calm, 310)[-1], vectors(jump, 310)[-1]
    assert one["jump_share_5m"] == 0.0
    assert other["jump_share_5m"] > 0.99
    assert math.isclose(other["largest_rise_60s"], 1e4 * math.log(101_000 / 100_001))
    assert other["realised_skewness_5m"] > 15
    assert other["signed_variation_5m"] > 0.99
    drift = [trade(k + 0.5, 100_000 + 10 * k) for k in range(310)]
    steady = vectors(drift, 310)[-1]
    assert steady["jump_share_5m"] == 0.0
    assert math.isclose(steady["path_efficiency_5m"], 1.0)
    assert math.isclose(steady["variance_ratio_10s_5m"], 10.0, rel_tol=1e-3)
    assert math.isclose(steady["return_autocorrelation_5m"], 1.0, rel_tol=1e-2)
    assert steady["volatility_of_volatility_10s_5m"] < 0.01


def test_bounces_between_two_prices_have_no_variance_over_longer_steps() -> None:
    found = vectors([trade(k + 0.5, 1000 + k % 2) for k in range(310)], 310)[-1]
    assert found["variance_ratio_10s_5m"] < 1e-9
    assert math.isclose(found["return_autocorrelation_5m"], -1.0, rel_tol=1e-2)
    assert abs(found["path_efficiency_5m"]) < 0.01
    assert abs(found["signed_variation_60s"]) < 1e-9


def test_beyond_five_minutes_windows_end_at_the_last_full_minute() -> None:
    """START is 20 s after a full minute: minutes end 40 s, 100 s … behind it."""
    tape = [trade(5, 1000), trade(50, 1010), trade(960, 1020)]
    found = vectors(tape, 1000)
    assert math.isnan(found[938]["momentum_15m"])
    assert math.isclose(found[939]["momentum_15m"], 1e4 * (1010 / 1000 - 1))  # from 40 s on
    assert math.isclose(found[998]["momentum_15m"], 1e4 * (1020 / 1000 - 1))
    assert math.isclose(found[999]["momentum_15m"], 1e4 * (1020 / 1010 - 1))  # from 100 s on
    assert found[998]["realised_volatility_15m"] == found[939]["realised_volatility_15m"]
    wanted = 1e4 * math.log(1020 / 1010) / 30  # √(r² / 900): the step up to 1010 has left
    assert math.isclose(found[999]["realised_volatility_15m"], wanted)


@pytest.mark.parametrize(
    "wrong",
    [
        {"blocks_s": ((7, 60),)},
        {"blocks_s": ((60, 600),)},
        {"ratios_s": ((60, 10),)},
        {"zscores_s": ((10, 3660),)},
        {"volatility_s": (330,)},
    ],
)
def test_windows_that_no_ring_keeps_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"kept|fill"):
        VariationSettings.model_validate(wrong)
