from __future__ import annotations

import math

import numpy as np
import pytest

from foreshock.features.catalog import FeatureSet
from foreshock.features.settings import FeatureSettings
from tests.reference.feature_tape import boundaries_of, drive
from tests.reference.feature_walks import START, assert_equals_twin
from tests.reference.features import SECOND, Event, Trade
from tests.reference.features_arrivals import arrivals_features

CHOSEN = FeatureSettings(families=("arrivals",))
NAMES = FeatureSet(CHOSEN).layout.names


@pytest.mark.parametrize("seed", [1, 2])
def test_every_feature_equals_its_naive_twin(seed: int) -> None:
    asked = [*range(seed, 320, 29), *range(320, 4200, 611)]
    assert_equals_twin("arrivals", arrivals_features, seed, 4200, asked)


def vectors(times: list[tuple[float, bool]], seconds: int) -> list[dict[str, float]]:
    events: list[Event] = [
        Trade(START + round(at * SECOND), 0, sell, 100, 1) for at, sell in sorted(times)
    ]
    boundaries = boundaries_of(START, seconds)
    tops = {0: {b: [[], []] for b in boundaries}}
    found = drive(events, boundaries, tops, 1, features=CHOSEN)[:, 0]
    return [dict(zip(NAMES, map(float, row), strict=True)) for row in found]


def test_independent_arrivals_branch_little_and_a_hawkes_process_near_its_own_ratio() -> None:
    rng = np.random.default_rng(5)
    poisson = [(float(t), False) for t in rng.uniform(0, 1200, 6000)]
    told = [v["branching_ratio_10s_5m"] for v in vectors(poisson, 1200)[300::30]]
    assert np.mean(told) < 0.15
    waiting = [float(t) for t in rng.uniform(0, 1200, 2400)]
    clustered: list[tuple[float, bool]] = []
    while waiting:  # each trade has 0.6 children on average, a quarter of a second later
        at = waiting.pop()
        clustered.append((at, False))
        waiting += [at + float(rng.exponential(0.25)) for _ in range(rng.poisson(0.6))]
    told = [v["branching_ratio_10s_5m"] for v in vectors(clustered, 1200)[300::30]]
    assert 0.45 < np.mean(told) < 0.7


def test_a_kernel_halves_with_each_half_life_of_silence() -> None:
    found = vectors([(0.5, False)], 8)
    rates = [math.expm1(v["hawkes_buy_intensity_1s"]) for v in found]
    assert math.isclose(rates[0], math.log(2) * 2**-0.5)
    assert math.isclose(rates[3], rates[0] / 8)
    assert found[0]["hawkes_sell_intensity_1s"] == 0.0
    assert found[0]["hawkes_imbalance_1s"] == 1.0
    assert math.isclose(found[7]["trade_silence"], math.log(1 + 7.5))


def test_a_clock_is_not_bursty_and_sells_that_follow_buys_are_seen() -> None:
    clock = vectors([(k + 0.5, False) for k in range(300)], 300)[-1]
    assert clock["burstiness_5m"] < -0.999
    assert clock["fano_factor_1s_5m"] == 0.0
    rng = np.random.default_rng(2)
    starts = rng.choice(299, 90, replace=False)
    pairs = [(float(k) + 0.5, False) for k in starts] + [(float(k) + 1.5, True) for k in starts]
    found = vectors(pairs, 300)[-1]
    assert found["excitation_buy_sell_5m"] > 0.95
    assert abs(found["excitation_sell_buy_5m"]) < 0.3


def test_trades_of_one_instant_are_counted_as_such() -> None:
    found = vectors([(0.5, False)] * 4 + [(0.7, True)], 1)[0]
    assert found["same_instant_share_60s"] == 3 / 4
