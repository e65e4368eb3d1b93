"""Bounds of what a test part shows: of a mean, a share, a skill, and how far chances are off."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, t

from foreshock.validation import measures

Floats = NDArray[np.float64]
NAN: Final = float("nan")


def mean_lower_bound(
    returns: Floats, alpha: float, *, draws: int = 4000, block: int = 0, seed: int = 7
) -> float:
    """A number that the true mean of `returns` (T,) exceeds with confidence 1 − alpha.

    Circular blocks of `block` neighbours (⌈T^⅓⌉ by default) are drawn with replacement; each draw's
    distance from the mean is measured in its own standard error, so that a crooked distribution
    (many small losses, few gains) moves the bound to where it belongs. NaN below eight blocks."""
    count = len(returns)
    block = block or math.ceil(count ** (1 / 3)) if count else 1
    blocks = -(-count // block)
    if blocks < 8 or not np.isfinite(returns).all():
        return NAN
    twice = np.concatenate([returns, returns[: block - 1]])
    means = np.lib.stride_tricks.sliding_window_view(twice, block).mean(axis=1)  # of every start
    mean = float(returns.mean())
    error = float(means.std()) * math.sqrt(block / count) * math.sqrt(blocks / (blocks - 1))
    if error == 0.0:
        return NAN
    drawn = means[np.random.default_rng(seed).integers(count, size=(draws, blocks))]
    spread = drawn.std(axis=1, ddof=1) / math.sqrt(blocks)
    away = drawn.mean(axis=1) - mean
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(spread > 0, away / spread, np.sign(away) * np.inf)
    at = float(np.quantile(ratio, 1.0 - alpha, method="higher"))
    return mean - at * error


def precision_interval(share: float, rows: float, confidence: float) -> tuple[float, float]:
    """(low, high) of a share among `rows` independent ones (Wilson 1927)."""
    z = NormalDist().inv_cdf(0.5 + confidence / 2.0)
    centre = (share + z * z / (2.0 * rows)) / (1.0 + z * z / rows)
    half = z / (1.0 + z * z / rows) * math.sqrt(share * (1 - share) / rows + (z / (2 * rows)) ** 2)
    return centre - half, centre + half


def skill_lower(
    y: NDArray[np.int8],
    p: Floats,
    t0_ns: NDArray[np.int64],
    block_ns: int,
    alpha: float,
    draws: int = 4000,
) -> float:
    """`measures.block_bootstrap` of the Brier skill against the sample's own base rate, from sums
    by block: many draws cost nothing. NaN as there."""
    _, block = np.unique(t0_ns // block_ns, return_inverse=True)
    count = int(block.max(initial=-1)) + 1
    if count < measures.MIN_BLOCKS:
        return NAN
    rows = np.bincount(block).astype(np.float64)
    ones = np.bincount(block, y)
    error = np.bincount(block, (p - y) ** 2)
    drawn = np.random.default_rng(7).integers(count, size=(draws, count))

    def skill(n: Floats, k: Floats, e: Floats) -> Floats:
        with np.errstate(divide="ignore", invalid="ignore"):
            rate = k / n
            out: Floats = 1.0 - e / n / (rate * (1.0 - rate))
        return out

    found = skill(*(values[drawn].sum(axis=1) for values in (rows, ones, error)))
    estimate = float(skill(*(np.array(values.sum()) for values in (rows, ones, error))))
    sure = found[np.isfinite(found)]
    if len(sure) < 0.9 * draws or not math.isfinite(estimate):
        return NAN
    wider = float(t.ppf(alpha, count - 1) / norm.ppf(alpha)) * (count / (count - 1)) ** 0.5
    return float(estimate - wider * (estimate - np.quantile(sure, alpha)))


def calibration_shift(y: NDArray[np.int8], p: Floats) -> float:
    """The log-odds to be added to every probability so that their mean is the share of surges; 0 is
    ideal, below 0 too much was promised. NaN with one class."""
    rate = float(y.mean())
    if rate in (0.0, 1.0):
        return NAN
    q = np.clip(p, measures.CLIP, 1.0 - measures.CLIP)
    logit = np.log(q / (1.0 - q))
    low, high = -30.0, 30.0
    for _ in range(60):
        middle = (low + high) / 2.0
        mean = float((1.0 / (1.0 + np.exp(-(logit + middle)))).mean())
        low, high = (middle, high) if mean < rate else (low, middle)
    return (low + high) / 2.0
