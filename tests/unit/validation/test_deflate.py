from __future__ import annotations

from itertools import combinations
from math import sqrt
from statistics import NormalDist

import numpy as np
import pytest

from foreshock.errors import ForeshockError
from foreshock.validation.deflate import (
    TooShortError,
    deflated_sharpe,
    effective_trials,
    expected_best,
    overfitting_probability,
    probabilistic_sharpe,
    sharpe,
)


def test_a_sharpe_ratio_is_the_mean_over_the_deviation() -> None:
    returns = np.array([0.01, -0.02, 0.03, 0.0, 0.01, 0.02, -0.01, 0.01])
    assert sharpe(returns) == pytest.approx(np.mean(returns) / np.std(returns, ddof=1))
    assert sharpe(np.full(10, 0.01)) == 0.0


def test_the_probability_of_a_normal_record_is_that_of_its_t_statistic() -> None:
    rng = np.random.default_rng(1)
    returns = rng.normal(0.02, 1.0, 4_000)
    ratio = sharpe(returns)
    wanted = NormalDist().cdf(ratio * sqrt(len(returns) - 1) / sqrt(1 + ratio**2 / 2))
    assert probabilistic_sharpe(returns) == pytest.approx(wanted, abs=0.01)


def test_losses_in_one_stroke_make_the_same_ratio_less_believable() -> None:
    steady = np.array([0.9, 1.1] * 50)
    crooked = np.concatenate([np.full(95, 1.2), np.full(5, -3.0)])
    crooked = crooked / crooked.std(ddof=1)
    smooth = np.random.default_rng(2).normal(size=100)
    smooth = (smooth - smooth.mean()) / smooth.std(ddof=1) + sharpe(crooked)
    assert sharpe(smooth) == pytest.approx(sharpe(crooked))
    assert probabilistic_sharpe(crooked, 0.5) < probabilistic_sharpe(smooth, 0.5)
    assert probabilistic_sharpe(steady) > 0.999


def test_the_best_of_many_by_luck_is_what_drawing_many_gives() -> None:
    rng = np.random.default_rng(3)
    drawn = rng.normal(0.0, 0.1, (4_000, 50)).max(axis=1).mean()
    assert expected_best(rng.normal(0.0, 0.1, 5_000), 50) == pytest.approx(drawn, rel=0.05)
    assert expected_best(np.array([0.3]), 1) == 0.0


def test_the_best_of_noise_is_not_believed_and_an_edge_is() -> None:
    rng = np.random.default_rng(4)
    believed = naive = 0
    for _ in range(300):
        trials = rng.normal(size=(250, 40))
        ratios = np.array([sharpe(column) for column in trials.T])
        best = trials[:, int(np.argmax(ratios))]
        naive += probabilistic_sharpe(best) > 0.95
        believed += deflated_sharpe(best, ratios, 40) > 0.95
    assert naive > 200  # what deflating is for
    assert believed <= 15
    edge = rng.normal(size=(250, 40))
    edge[:, 7] += 0.5
    ratios = np.array([sharpe(column) for column in edge.T])
    assert int(np.argmax(ratios)) == 7
    assert deflated_sharpe(edge[:, 7], ratios, 40) > 0.95


def test_copies_of_one_trial_count_once_and_strangers_each() -> None:
    rng = np.random.default_rng(5)
    one = rng.normal(size=(500, 1))
    assert effective_trials(np.repeat(one, 10, axis=1)) == pytest.approx(1.0)
    assert effective_trials(rng.normal(size=(5_000, 10))) == pytest.approx(10.0, abs=0.2)
    assert effective_trials(np.hstack([one, np.zeros((500, 2))])) == 3.0


def naive_overfitting(returns: np.ndarray, blocks: int) -> float:
    parts = np.array_split(np.arange(len(returns)), blocks)
    worse, splits = 0, 0
    for inside in combinations(range(blocks), blocks // 2):
        here = np.concatenate([parts[k] for k in inside])
        there = np.concatenate([parts[k] for k in range(blocks) if k not in inside])
        ratio = [c.mean() / c.std() for c in returns[here].T]
        other = np.array([c.mean() / c.std() for c in returns[there].T])
        best = int(np.argmax(ratio))
        rank = (other < other[best]).sum() + 0.5
        worse += rank / returns.shape[1] <= 0.5
        splits += 1
    return worse / splits


def test_overfitting_is_counted_as_a_naive_twin_counts_it() -> None:
    rng = np.random.default_rng(6)
    for blocks in (4, 6, 8):
        returns = rng.normal(size=(blocks * 12, 9))
        assert overfitting_probability(returns, blocks) == pytest.approx(
            naive_overfitting(returns, blocks)
        )


def test_noise_is_overfitted_about_every_other_time_and_a_true_edge_hardly_ever() -> None:
    rng = np.random.default_rng(7)
    noise = [overfitting_probability(rng.normal(size=(200, 20)), 8) for _ in range(40)]
    assert 0.35 < float(np.mean(noise)) < 0.65
    edge = rng.normal(size=(200, 20))
    edge[:, 3] += 0.6
    assert overfitting_probability(edge, 8) < 0.05
    assert overfitting_probability(edge[:, :1], 8) == 0.0


def test_what_is_too_short_or_not_finite_is_refused() -> None:
    with pytest.raises(TooShortError, match="7 periods"):
        sharpe(np.zeros(7))
    with pytest.raises(TooShortError, match="15 periods"):
        overfitting_probability(np.zeros((15, 3)), 8)
    with pytest.raises(ForeshockError, match="not finite"):
        sharpe(np.array([np.nan] * 10))
    with pytest.raises(ForeshockError, match="not finite"):
        overfitting_probability(np.full((40, 2), np.inf), 8)
    for blocks in (3, 5, 2, 22):
        with pytest.raises(ForeshockError, match="even"):
            overfitting_probability(np.zeros((100, 2)), blocks)
