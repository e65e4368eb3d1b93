"""What is left of a result once it is known how many were tried.

The best of many trials looks good by luck alone. The deflated Sharpe ratio asks how likely a true
Sharpe ratio above zero is, given the number of trials, how they scattered, how long the record is
and how crooked its returns are (Bailey, López de Prado 2014, The deflated Sharpe ratio). The
probability of backtest overfitting asks how often the trial that was best on one half of time is
below the median on the other half (Bailey, Borwein, López de Prado, Zhu 2017, sections 2–3).

Sharpe ratios here are per period of the returns that are given, never annualised.
"""

from __future__ import annotations

from itertools import combinations
from math import comb, e, sqrt
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import NDArray

from foreshock.errors import ForeshockError

Floats = NDArray[np.float64]

_NORMAL: Final = NormalDist()
_EULER: Final = 0.5772156649015329
LEAST_PERIODS: Final = 8  # below this neither skewness nor a ratio says anything
MOST_SPLITS: Final = 20_000


class TooShortError(ForeshockError):
    """The record has too few periods for the question."""


def sharpe(returns: Floats) -> float:
    """Mean over standard deviation of one record (T,); 0 where it never moved. Raises
    TooShortError below LEAST_PERIODS periods, ForeshockError where a return is not finite."""
    _check(returns)
    if not _moves(returns):
        return 0.0
    return float(returns.mean()) / float(returns.std(ddof=1))


def probabilistic_sharpe(returns: Floats, above: float = 0.0) -> float:
    """Probability that the true Sharpe ratio exceeds `above`, from one record (T,), with its
    skewness and kurtosis. 0.5 where the record never moved and `above` is 0. Raises as `sharpe`."""
    ratio = sharpe(returns)
    if not _moves(returns):
        return 0.5 if above == 0.0 else float(above < 0.0)
    centred = returns - returns.mean()
    variance = float((centred**2).mean())
    skew = float((centred**3).mean()) / variance**1.5
    kurtosis = float((centred**4).mean()) / variance**2
    spread = 1.0 - skew * ratio + (kurtosis - 1.0) / 4.0 * ratio**2
    # A sample's kurtosis is at least 1 + skew², which keeps this above zero.
    return _NORMAL.cdf((ratio - above) * sqrt((len(returns) - 1) / spread))


def expected_best(sharpes: Floats, trials: float) -> float:
    """The Sharpe ratio that the best of `trials` independent trials reaches by luck, when trials
    scatter as `sharpes` (m,) do. 0 for a single trial."""
    if trials <= 1.0 or len(sharpes) < 2:
        return 0.0
    deviation = float(np.std(sharpes, ddof=1))
    high = _NORMAL.inv_cdf(1.0 - 1.0 / trials)
    higher = _NORMAL.inv_cdf(1.0 - 1.0 / (trials * e))
    return deviation * ((1.0 - _EULER) * high + _EULER * higher)


def effective_trials(returns: Floats) -> float:
    """How many independent trials (T, n) of correlated ones amount to, between 1 and n: by the mean
    correlation ρ̄, ρ̄ + (1 − ρ̄) · n (Bailey, López de Prado 2014, appendix A.3). A trial that never
    moved counts as one of its own."""
    n = int(returns.shape[1])
    moving = returns[:, np.ptp(returns, axis=0) > 0.0]
    if moving.shape[1] < 2:
        return float(max(1, n))
    correlation = np.corrcoef(moving, rowvar=False)
    m = int(moving.shape[1])
    mean = float((correlation.sum() - m) / (m * (m - 1)))
    mean = min(1.0, max(0.0, mean))
    return mean + (1.0 - mean) * m + float(n - m)


def deflated_sharpe(returns: Floats, sharpes: Floats, trials: float) -> float:
    """Probability that the true Sharpe ratio of the chosen record (T,) is above what the best of
    `trials` would reach by luck; `sharpes` are those of all trials. Raises as `sharpe`."""
    return probabilistic_sharpe(returns, expected_best(sharpes, trials))


def overfitting_probability(returns: Floats, blocks: int = 10) -> float:
    """Share of the ways to put half of `blocks` equal stretches of time in the sample in which the
    trial that is best there is at or below the median of the rest of time.

    returns   (T, n): n trials over the same periods, T ≥ blocks · 2
    blocks    even, at least 4

    With one trial nothing was chosen: 0. Raises TooShortError, ForeshockError."""
    if blocks < 4 or blocks % 2 or comb(blocks, blocks // 2) > MOST_SPLITS:
        raise ForeshockError(f"blocks must be even, from 4 to 16, got {blocks}")
    periods, n = returns.shape
    if not np.isfinite(returns).all():
        raise ForeshockError("a return is not finite")
    if periods < 2 * blocks:
        raise TooShortError(f"{periods} periods are too few for {blocks} blocks of two")
    if n < 2:
        return 0.0
    edges = np.linspace(0, periods, blocks + 1).astype(np.int64)
    size = np.diff(edges).astype(np.float64)
    sums = np.add.reduceat(returns, edges[:-1], axis=0)
    squares = np.add.reduceat(returns**2, edges[:-1], axis=0)
    worse = splits = 0
    for inside in combinations(range(blocks), blocks // 2):
        chosen = np.zeros(blocks, np.bool_)
        chosen[list(inside)] = True
        here = _ratios(sums[chosen], squares[chosen], size[chosen])
        there = _ratios(sums[~chosen], squares[~chosen], size[~chosen])
        best = int(np.argmax(here))
        below = np.count_nonzero(there < there[best]) + 0.5 * np.count_nonzero(there == there[best])
        worse += below / n <= 0.5
        splits += 1
    return worse / splits


def _ratios(sums: Floats, squares: Floats, size: Floats) -> Floats:
    n = float(size.sum())
    mean = sums.sum(axis=0) / n
    variance = np.maximum(squares.sum(axis=0) / n - mean**2, 0.0)
    out: Floats = np.divide(mean, np.sqrt(variance), out=np.zeros_like(mean), where=variance > 0.0)
    return out


def _moves(returns: Floats) -> bool:
    # The deviation of equal floats is not exactly zero: a mean over it would be a huge ratio.
    return float(np.ptp(returns)) > 0.0


def _check(returns: Floats) -> None:
    if returns.ndim != 1 or len(returns) < LEAST_PERIODS:
        raise TooShortError(f"{len(returns)} periods are fewer than {LEAST_PERIODS}")
    if not np.isfinite(returns).all():
        raise ForeshockError("a return is not finite")
