"""foreshock.validation.bounds: how sure one may be."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from foreshock.validation.bounds import (
    calibration_shift,
    mean_lower_bound,
    precision_interval,
    skill_lower,
)
from foreshock.validation.measures import block_bootstrap, brier_skill


def test_the_bound_lets_through_as_many_as_it_says_even_of_crooked_dependent_returns() -> None:
    random = np.random.default_rng(11)
    hits = 0
    for _ in range(400):
        steps = random.exponential(1.0, 121) - 1.0
        hits += mean_lower_bound(steps[1:] + 0.5 * steps[:-1], 0.05, draws=400) > 0
    # Gains are the rare ones here, which makes a plain bound too sure; 5 % of 400 is 20.
    assert hits <= 34


def test_the_bound_is_below_the_mean_and_known_only_with_enough_blocks() -> None:
    returns = np.random.default_rng(2).normal(1.0, 1.0, 60)
    bound = mean_lower_bound(returns, 0.01)
    assert 0.0 < bound < returns.mean()
    assert bound == mean_lower_bound(returns, 0.01)
    assert np.isnan(mean_lower_bound(returns[:10], 0.01))
    assert np.isnan(mean_lower_bound(np.zeros(60), 0.01))
    assert np.isnan(mean_lower_bound(np.array([]), 0.01))


def test_a_share_lies_within_its_interval() -> None:
    low, high = precision_interval(0.4, 100, 0.95)
    assert (low, high) == (pytest.approx(0.3094, abs=1e-3), pytest.approx(0.4980, abs=1e-3))
    assert precision_interval(0.0, 5, 0.95)[0] == pytest.approx(0.0, abs=1e-12)


def forecasts(skilled: bool) -> tuple[NDArray[np.int8], NDArray[np.float64], NDArray[np.int64]]:
    random = np.random.default_rng(6)
    truth = random.beta(1.0, 4.0, 3000)
    y = (random.random(3000) < truth).astype(np.int8)
    return y, truth if skilled else random.permutation(truth), np.arange(3000) // 3


@pytest.mark.parametrize("skilled", [True, False])
def test_the_skills_bound_is_that_of_the_slow_bootstrap(skilled: bool) -> None:
    y, p, t0 = forecasts(skilled)
    slow = block_bootstrap(lambda i: brier_skill(y[i], p[i]), t0, 20, alpha=0.05, draws=2000)
    fast = skill_lower(y, p, t0, 20, 0.05, draws=2000)
    assert fast == pytest.approx(slow, abs=0.006)
    assert (fast > 0) == skilled
    assert np.isnan(skill_lower(y, p, t0, 400, 0.05))
    assert np.isnan(skill_lower(np.zeros_like(y), p, t0, 20, 0.05))


def test_the_shift_is_what_was_promised_too_much() -> None:
    y, p, _ = forecasts(skilled=True)
    assert calibration_shift(y, p) == pytest.approx(0.0, abs=0.12)
    logit = np.log(p / (1 - p)) + 0.7
    assert calibration_shift(y, 1 / (1 + np.exp(-logit))) == pytest.approx(
        calibration_shift(y, p) - 0.7, abs=1e-6
    )
    assert np.isnan(calibration_shift(np.zeros_like(y), p))
