"""How good probabilities are, with bounds that know that labels of one hour are not independent.

Throughout: p float (n,) in [0, 1], y int or float (n,) in {0, 1}, censored rows already left out.
A measure that the data cannot give (one class only, nothing above the threshold) is NaN.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm, t
from sklearn.metrics import average_precision_score

Floats = NDArray[np.float64]
CLIP: Final = 1e-9
MIN_BLOCKS: Final = 6


def brier(y: ArrayLike, p: ArrayLike) -> float:
    """Mean squared error of the probabilities (Brier 1950); 0 is perfect."""
    return float(np.mean((_f(p) - _f(y)) ** 2))


def brier_skill(y: ArrayLike, p: ArrayLike, base_rate: float | None = None) -> float:
    """1 − Brier / Brier of always saying `base_rate`; above 0 beats the constant.

    Without `base_rate` the constant is the sample's own mean, the best one in hindsight: the
    strictest reference, against which no constant forecast has a skill above 0.
    """
    target = _f(y)
    reference = brier(
        target, np.full(len(target), target.mean() if base_rate is None else base_rate)
    )
    return 1.0 - brier(target, p) / reference if reference > 0 else float("nan")


def log_loss(y: ArrayLike, p: ArrayLike) -> float:
    """Mean negative log likelihood, nats, probabilities clipped at 1e-9."""
    target, q = _f(y), np.clip(_f(p), CLIP, 1.0 - CLIP)
    return float(-np.mean(target * np.log(q) + (1.0 - target) * np.log1p(-q)))


def expected_calibration_error(y: ArrayLike, p: ArrayLike, bins: int = 10) -> float:
    """Mean |rate − mean p| over `bins` groups of equally many rows by p (Naeini et al. 2015, with
    equal counts), weighted by rows. Rows with the same p are never parted."""
    target, q = _f(y), _f(p)
    values, where, counts = np.unique(q, return_inverse=True, return_counts=True)
    group = np.minimum((np.cumsum(counts) - 1) * bins // max(len(q), 1), bins - 1)[where]
    total = np.bincount(group, minlength=bins)
    gap = np.abs(np.bincount(group, target, bins) - np.bincount(group, q, bins))
    return float(gap[total > 0].sum() / len(values[where]))


def calibration_line(y: ArrayLike, p: ArrayLike) -> tuple[float, float]:
    """(slope, intercept) of a logistic regression of y on logit p (Cox 1958); (1, 0) is ideal, a
    slope below 1 says that the probabilities are too extreme. NaN where p or y is constant."""
    target, q = _f(y), np.clip(_f(p), CLIP, 1.0 - CLIP)
    x = np.log(q / (1.0 - q))
    if target.min() == target.max() or x.min() == x.max():
        return float("nan"), float("nan")
    design = np.stack([x, np.ones_like(x)], axis=1)
    theta = np.array([1.0, 0.0])
    for _ in range(100):
        fitted = 1.0 / (1.0 + np.exp(-np.clip(design @ theta, -40.0, 40.0)))
        curve = (design * (fitted * (1.0 - fitted))[:, None]).T @ design + 1e-9 * np.eye(2)
        step = np.clip(np.linalg.solve(curve, design.T @ (target - fitted)), -2.0, 2.0)
        theta = theta + step
        if np.abs(step).max() < 1e-10:
            break
    return float(theta[0]), float(theta[1])


def pr_auc(y: ArrayLike, p: ArrayLike) -> float:
    """Average precision; the base rate is what a coin gives."""
    target = _f(y)
    return float(average_precision_score(target, _f(p))) if target.any() else float("nan")


def precision_above(y: ArrayLike, p: ArrayLike, threshold: float) -> tuple[float, int]:
    """(share of surges among rows with p ≥ threshold, number of such rows)."""
    chosen = _f(p) >= threshold
    count = int(chosen.sum())
    return (float(_f(y)[chosen].mean()) if count else float("nan")), count


def speaks(
    p: ArrayLike, far_bps: ArrayLike, near_bps: ArrayLike, bill_bps: ArrayLike, threshold: float
) -> NDArray[np.bool_]:
    """The rule of the utility measure, which is the gate's, bool (n,): p ≥ threshold and
    p·far − (1 − p)·near ≥ bill."""
    q = _f(p)
    hope = q * _f(far_bps) - (1.0 - q) * _f(near_bps)
    out: NDArray[np.bool_] = (q >= threshold) & (hope >= _f(bill_bps))
    return out


@dataclass(frozen=True, slots=True)
class Utility:
    """What speaking would have earned: one unit at each row that `speaks`, held to the end of its
    span, its whole bill paid. `mean_bps` per row spoken at, 0 where none is."""

    mean_bps: float
    total_bps: float
    count: int


def utility(spoken: NDArray[np.bool_], outcome_bps: ArrayLike, bill_bps: ArrayLike) -> Utility:
    """Utility after costs of the rows chosen by `spoken`, bool (n,)."""
    net = (_f(outcome_bps) - _f(bill_bps))[spoken]
    return Utility(float(net.mean()) if len(net) else 0.0, float(net.sum()), len(net))


def block_bootstrap(
    measure: Callable[[NDArray[np.int64]], float],
    t0_ns: NDArray[np.int64],
    block_ns: int,
    *,
    alpha: float,
    draws: int = 400,
    seed: int = 7,
) -> float:
    """A lower bound that `measure` exceeds with confidence 1 − alpha, from samples of whole blocks
    of time drawn with replacement (Künsch 1989).

    measure   of row numbers (m,), with repetitions, into arrays ordered like t0_ns (n,)
    block_ns  some horizons long, so that blocks share few labels; all symbols of a block of time
              are drawn together, because they move together

    A bootstrap of few blocks is too sure of itself: the distance to the bound is widened as
    Student's t is wider than the normal. NaN with fewer than MIN_BLOCKS blocks, where the measure
    of all rows is not finite, or where that of more than a tenth of the draws is not.
    """
    block = t0_ns // block_ns
    numbers = np.unique(block)
    count = len(numbers)
    if count < MIN_BLOCKS:
        return float("nan")
    rows = [np.flatnonzero(block == number) for number in numbers]
    random = np.random.default_rng(seed)
    found = np.array(
        [
            measure(np.concatenate([rows[i] for i in random.integers(count, size=count)]))
            for _ in range(draws)
        ]
    )
    estimate = measure(np.arange(len(t0_ns)))
    known = found[np.isfinite(found)]
    if len(known) < 0.9 * draws or not np.isfinite(estimate):
        return float("nan")
    wider = float(t.ppf(alpha, count - 1) / norm.ppf(alpha)) * (count / (count - 1)) ** 0.5
    return float(estimate - wider * (estimate - np.quantile(known, alpha)))


def _f(values: ArrayLike) -> Floats:
    return np.asarray(values, dtype=np.float64)
