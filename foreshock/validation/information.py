"""What single features tell of labels: rank correlation and average precision, with bounds.

1.  Rows are parted into blocks of time (days); all symbols of a block are one draw.
2.  The information coefficient is Spearman's ρ between feature and outcome within a block, averaged
    over the blocks (Grinold and Kahn, Active Portfolio Management, 2000, ch. 6). Ranks are taken
    within the block, so that a level that drifts from day to day is no information.
3.  Average precision is that of all rows; a draw of blocks weighs its rows by how often they came.
    Told as lift: over the base rate of the same draw. A coin has 1.
4.  Bounds come from draws of whole blocks (Künsch 1989). With 150 features some look good by
    chance: `simultaneous` bounds are as wide as the largest studentized deviation over *all* of
    them in a draw (Romano and Wolf, Econometrica 2005), widened for few blocks as Student's t is.

Whether a large or a small value speaks for a surge is for earlier rows to decide (`direction`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, rankdata, t

from foreshock.errors import DatasetError
from foreshock.market.jit import kernel
from foreshock.validation.measures import MIN_BLOCKS

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

LEAST_ROWS: Final = 10  # of a block, for a correlation


@dataclass(frozen=True, slots=True)
class Draws:
    """Bootstrap draws of blocks.

    block    int64 (n,): block of each row, 0 … b−1 in order of time
    counts   int64 (d, b): how often each block came in each draw; draw 0 is the sample itself
    """

    block: Ints
    counts: Ints

    @property
    def blocks(self) -> int:
        """How many there are."""
        return int(self.counts.shape[1])


def draw_blocks(t0_ns: Ints, block_ns: int, *, draws: int = 400, seed: int = 7) -> Draws:
    """Of rows at t0 (n,), in any order. Raises DatasetError where there are no rows."""
    if not len(t0_ns):
        raise DatasetError("no rows to draw from")
    numbers, block = np.unique(t0_ns // block_ns, return_inverse=True)
    b = len(numbers)
    random = np.random.Generator(np.random.PCG64(seed))
    drawn = random.multinomial(b, np.full(b, 1.0 / b), size=draws)
    counts = np.concatenate([np.ones((1, b), np.int64), drawn])
    return Draws(block.astype(np.int64), counts)


def rank_ic(x: Floats, y: Floats) -> float:
    """Spearman's ρ of x and y (n,) over rows where both are finite; NaN with fewer than LEAST_ROWS
    of them or where either is constant. Ties get their mean rank."""
    known = np.isfinite(x) & np.isfinite(y)
    if known.sum() < LEAST_ROWS:
        return float("nan")
    a, b = rankdata(x[known]), rankdata(y[known])
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / scale if scale > 0 else float("nan")


def block_ics(x: Floats, y: Floats, draws: Draws) -> Floats:
    """`rank_ic` of each block, float64 (b,)."""
    order = np.argsort(draws.block, kind="stable")
    parts = np.split(order, np.cumsum(np.bincount(draws.block, minlength=draws.blocks))[:-1])
    return np.array([rank_ic(x[rows], y[rows]) for rows in parts])


def ic_draws(ics: Floats, draws: Draws) -> Floats:
    """Mean information coefficient of each draw, float64 (d,): of the blocks that have one."""
    known = np.isfinite(ics)
    weight = draws.counts * known
    total = weight.sum(axis=1)
    summed = weight @ np.where(known, ics, 0.0)
    return np.where(total > 0, summed / np.maximum(total, 1), np.nan)


@kernel
def _precision(
    order: Ints, new: NDArray[np.bool_], y: NDArray[np.bool_], block: Ints, counts: Ints
) -> tuple[Floats, Floats]:
    """(average precision, base rate) of each draw. Rows `order` by falling score; `new` (n,) says
    where another score begins: rows of one score are taken together."""
    draws, n = counts.shape[0], len(order)
    found, base = np.full(draws, np.nan), np.full(draws, np.nan)
    for d in range(draws):
        rows = hits = area = 0.0
        before = 0.0
        for k in range(n):
            i = order[k]
            weight = counts[d, block[i]]
            rows += weight
            if y[i]:
                hits += weight
            if (k + 1 == n or new[k + 1]) and hits > before:
                area += (hits - before) * hits / rows
                before = hits
        if hits > 0:
            found[d] = area / hits
            base[d] = hits / rows
    return found, base


def lift_draws(score: Floats, surge: NDArray[np.bool_], draws: Draws) -> tuple[Floats, Floats]:
    """(average precision, its lift over the base rate) of each draw, float64 (d,) each.

    score  float64 (n,): higher speaks for a surge; rows where it is NaN are left out, of the base
           rate too. NaN where a draw holds no surge.
    """
    known = np.flatnonzero(np.isfinite(score))
    order = known[np.argsort(-score[known], kind="stable")]
    new = np.ones(len(order), np.bool_)
    new[1:] = score[order][1:] != score[order][:-1]
    found, base = _precision(order, new, surge, draws.block, draws.counts)
    return found, found / base


def direction(x: Floats, y: Floats, draws: Draws) -> int:
    """1 where large values of x went with large outcomes y in these (earlier) rows, −1 where small
    ones did, 1 where nothing can be said."""
    mean = float(ic_draws(block_ics(x, y, draws), draws)[0])
    return -1 if mean < 0 else 1


@dataclass(frozen=True, slots=True)
class Bounds:
    """Estimates and two-sided bounds, float64 (k,) each; NaN where none can be given."""

    estimate: Floats
    lower: Floats
    upper: Floats


def pointwise(drawn: Floats, blocks: int, alpha: float = 0.05) -> Bounds:
    """Bounds that each hold with confidence 1 − alpha, from the draws' standard error and Student's
    t of `blocks` − 1 degrees of freedom.

    drawn  float64 (d, k), row 0 the sample itself. NaN with fewer than MIN_BLOCKS blocks, or where
           more than a tenth of the draws have no value
    """
    estimate, error = _errors(drawn, blocks)
    reach = float(t.ppf(1 - alpha / 2, max(blocks - 1, 1))) * error
    return Bounds(estimate, estimate - reach, estimate + reach)


def simultaneous(drawn: Floats, blocks: int, alpha: float = 0.05) -> Bounds:
    """Bounds that *all* hold together with confidence 1 − alpha; arguments as of `pointwise`."""
    estimate, error = _errors(drawn, blocks)
    can = np.isfinite(error) & (error > 0)
    if not can.any():
        return Bounds(estimate, np.full_like(estimate, np.nan), np.full_like(estimate, np.nan))
    away = np.abs(drawn[1:, can] - estimate[can]) / error[can]
    largest = np.nanmax(away, axis=1)
    quantile = float(np.quantile(largest[np.isfinite(largest)], 1 - alpha))
    tail = 2 * float(norm.sf(quantile))
    reach = float(t.isf(tail / 2, blocks - 1)) * error
    return Bounds(estimate, estimate - reach, estimate + reach)


def _errors(drawn: Floats, blocks: int) -> tuple[Floats, Floats]:
    """(estimate, standard error) with the small-sample factor of a bootstrap of `blocks`."""
    estimate = drawn[0]
    known = np.isfinite(drawn[1:])
    enough = known.mean(axis=0) >= 0.9
    enough &= np.isfinite(estimate) & (blocks >= MIN_BLOCKS)
    error = np.full(len(estimate), np.nan)
    if enough.any():
        error[enough] = np.nanstd(drawn[1:, enough], axis=0, ddof=1)
    factor = (blocks / (blocks - 1)) ** 0.5 if blocks > 1 else np.nan
    return np.where(enough, estimate, np.nan), error * factor
