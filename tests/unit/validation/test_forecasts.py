"""foreshock.validation.forecasts: against definitions at sight, and bounds that hold."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foreshock.validation import measures
from foreshock.validation.bounds import skill_lower
from foreshock.validation.forecasts import equal_groups, pinball, ratio_bounds, squared

SECOND_NS = 1_000_000_000


@pytest.mark.parametrize("level", [0.1, 0.5, 0.9])
def test_the_quantile_loses_least_pinball_and_the_mean_least_square(level: float) -> None:
    outcome = np.random.default_rng(1).standard_t(4, 4001)
    grid = np.linspace(-3, 3, 601)
    best = grid[np.argmin([pinball(outcome, each, level).mean() for each in grid])]
    assert best == pytest.approx(np.quantile(outcome, level), abs=0.02)
    best = grid[np.argmin([squared(outcome, each).mean() for each in grid])]
    assert best == pytest.approx(outcome.mean(), abs=0.02)
    assert pinball(outcome, outcome + 1.0, level) == pytest.approx(1.0 - level)


def test_bounds_are_those_of_the_bootstrap_that_counts_rows() -> None:
    random = np.random.default_rng(2)
    n = 3_000
    t0_ns = np.sort(random.integers(0, 40, n)) * 60 * SECOND_NS
    hit = (random.random(n) < 0.3 + 0.2 * np.sin(t0_ns / 6e11)).astype(np.float64)
    low, high = ratio_bounds(hit, np.ones(n), t0_ns, 120 * SECOND_NS, 0.05)

    def share(i: np.ndarray) -> float:
        return float(hit[i].mean())

    naive = measures.block_bootstrap(share, t0_ns, 120 * SECOND_NS, alpha=0.05, draws=4000)
    spread = hit.mean() - naive
    assert low == pytest.approx(naive, abs=0.1 * spread)
    assert high == pytest.approx(hit.mean() + spread, abs=0.25 * spread)
    y = hit.astype(np.int8)
    p = np.clip(0.3 + 0.1 * random.normal(size=n) + 0.2 * hit, 0, 1)
    ours = 1.0 - ratio_bounds((p - y) ** 2, (y - y.mean()) ** 2, t0_ns, 120 * SECOND_NS, 0.05)[1]
    theirs = skill_lower(y, p, t0_ns, 120 * SECOND_NS, 0.05)
    assert ours == pytest.approx(theirs, abs=0.01)


def test_an_interval_holds_the_truth_as_often_as_it_says() -> None:
    """300 samples of 40 blocks whose rows share their block's luck."""
    random, inside = np.random.default_rng(3), 0
    t0_ns = np.repeat(np.arange(40), 25) * SECOND_NS
    for _ in range(300):
        chance = np.repeat(np.clip(random.normal(0.8, 0.1, 40), 0, 1), 25)
        hit = random.random(1000) < chance
        low, high = ratio_bounds(hit, np.ones(1000), t0_ns, SECOND_NS, 0.025, draws=500)
        inside += low <= 0.7985 <= high  # the clipped normal's mean
    assert 0.91 <= inside / 300 <= 0.985


def test_too_few_blocks_and_nothing_to_divide_by_give_no_bound() -> None:
    t0_ns = np.repeat(np.arange(5), 10) * SECOND_NS
    assert all(map(math.isnan, ratio_bounds(np.ones(50), np.ones(50), t0_ns, SECOND_NS, 0.05)))
    t0_ns = np.arange(50) * SECOND_NS
    assert all(map(math.isnan, ratio_bounds(np.ones(50), np.zeros(50), t0_ns, SECOND_NS, 0.05)))


@settings(deadline=None, max_examples=100)
@given(st.lists(st.integers(-5, 5), min_size=1, max_size=60), st.integers(1, 12))
def test_groups_hold_each_row_once_and_never_part_equals(values: list[int], count: int) -> None:
    x = np.array(values, np.float64)
    groups = equal_groups(x, count)
    assert sorted(np.concatenate(groups).tolist()) == list(range(len(x)))
    assert 1 <= len(groups) <= count
    for one, two in pairwise(groups):
        assert x[one].max() < x[two].min()
