"""What is learned of columns before a model is: fills, centres, scales, which are worth keeping.

All of it from training rows alone. Centre and scale are the median and the distance between the
quartiles, as of scikit-learn's RobustScaler: one print of 900 % must not set the scale.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float32]
CHUNK: Final = 64  # columns at a time: a quarter of a gigabyte of float64 at half a million rows


@dataclass(frozen=True, slots=True)
class Scaling:
    """How k columns are imputed and scaled; float32 (k,) each.

    centre, fill   the median; 0 where the column was never known
    scale          quartile distance / 1.349, which is the standard deviation of a normal column; 1
                   where the column does not move
    useful         bool (k,): the column moves
    """

    centre: Rows
    fill: Rows
    scale: Rows
    useful: NDArray[np.bool_]

    def apply(self, X: Rows, limit: float) -> NDArray[np.float64]:
        """(n, k) imputed, scaled and clipped to ±limit; 0 in columns that are of no use."""
        filled = np.where(np.isnan(X), self.fill, X).astype(np.float64)
        z = (filled - self.centre.astype(np.float64)) / self.scale.astype(np.float64)
        out: NDArray[np.float64] = np.clip(z, -limit, limit)
        out[:, ~self.useful] = 0.0
        return out


def fit_scaling(X: Rows) -> Scaling:
    """Learn it from training rows (n, k)."""
    k = X.shape[1]
    centre, scale = np.zeros(k, np.float32), np.ones(k, np.float32)
    useful = np.zeros(k, np.bool_)
    for begin in range(0, k, CHUNK):
        part = X[:, begin : begin + CHUNK].astype(np.float64)
        for j in range(part.shape[1]):
            column = part[:, j]
            known = column[np.isfinite(column)]
            if len(known) == 0:
                continue
            low, middle, high = np.quantile(known, (0.25, 0.5, 0.75))
            spread = (high - low) / 1.349
            if spread <= 0.0:  # mostly one value: its deviation, if it has one
                spread = float(known.std())
            at = begin + j
            centre[at] = middle
            # Below the smallest normal float32 a scale would turn quotients into infinities.
            if spread > 1e-30 and np.isfinite(spread):
                scale[at], useful[at] = spread, True
    return Scaling(centre, centre.copy(), scale, useful)


def strongest(X: Rows, label: NDArray[np.int8], count: int) -> NDArray[np.int64]:
    """The `count` columns with the largest |correlation| with the label, ascending column numbers.

    X, label   training rows (n, k), labels (n,) in {-1, 0, 1}; -1 rows are left out
    A missing value is read as the column's median, a column that does not move has correlation 0;
    of equals the earlier column is kept.
    """
    rows = label >= 0
    scaling = fit_scaling(X[rows])
    y = label[rows].astype(np.float64)
    y = y - y.mean()
    strength = np.zeros(X.shape[1])
    for begin in range(0, X.shape[1], CHUNK):
        part = slice(begin, begin + CHUNK)
        cut = Scaling(
            scaling.centre[part], scaling.fill[part], scaling.scale[part], scaling.useful[part]
        )
        z = cut.apply(X[rows][:, part], 10.0)
        z = z - z.mean(axis=0)
        size = np.sqrt((z**2).sum(axis=0) * (y**2).sum())
        found = np.abs(z.T @ y)
        strength[part] = np.divide(found, size, out=np.zeros_like(found), where=size > 0.0)
    order = np.lexsort((np.arange(len(strength)), -strength))
    return np.sort(order[: min(count, len(order))]).astype(np.int64)
