from __future__ import annotations

import math

import numpy as np
import pytest

from foreshock.market.jit import in_place_kernel
from foreshock.market.moments import (
    MISSING,
    MOMENTS,
    PAIRS,
    add_pair,
    beta_of,
    correlation_of,
    whole_return,
)


@in_place_kernel
def roll(y: np.ndarray, x: np.ndarray, window: int, out: np.ndarray) -> None:
    sums = out[len(y), :MOMENTS].view(np.int64)
    for k in range(len(y)):
        add_pair(sums, y[k], x[k], 1)
        if k >= window:
            add_pair(sums, y[k - window], x[k - window], -1)
        out[k, 0] = beta_of(sums, window)
        out[k, 1] = correlation_of(sums, window)
        out[k, 2] = sums[PAIRS]


def rolled(y: np.ndarray, x: np.ndarray, window: int) -> np.ndarray:
    out = np.zeros((len(y) + 1, MOMENTS))
    roll(y, x, window, out)
    return out[:-1, :3]


def test_beta_and_correlation_of_a_rolling_window_are_those_of_numpy() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(0, 20_000, 1000).astype(np.int64)
    y = (1.5 * x + rng.normal(0, 30_000, 1000)).astype(np.int64)
    x[rng.random(1000) < 0.1] = MISSING
    y[rng.random(1000) < 0.1] = MISSING
    found = rolled(y, x, 60)
    for k in range(60, 1000, 37):
        part = slice(k - 59, k + 1)
        known = (x[part] != MISSING) & (y[part] != MISSING)
        cov = np.cov(x[part][known], y[part][known])
        assert found[k].tolist() == pytest.approx(
            [cov[0, 1] / cov[0, 0], np.corrcoef(x[part][known], y[part][known])[0, 1], known.sum()]
        )


def test_the_largest_returns_of_a_whole_window_do_not_overflow() -> None:
    big = whole_return(1e300, 1.0)
    assert big == 50_000_000 == -whole_return(1.0, 1e300)
    x = np.where(np.arange(900) % 2, big, -big).astype(np.int64)
    found = rolled(x, x, 300)
    assert found[400:, 0] == pytest.approx(1.0) and found[400:, 1] == pytest.approx(1.0)


def test_with_too_few_pairs_or_without_variation_nothing_is_said() -> None:
    x = np.arange(40)
    assert np.isnan(rolled(x, x, 100)).any(axis=1).all()
    still = np.full(100, 7)
    found = rolled(np.arange(100), still, 50)
    assert np.isnan(found[60:, :2]).all()
    assert math.isclose(rolled(still, np.arange(100), 50)[80, 0], 0.0)
