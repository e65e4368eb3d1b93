"""What holding a perpetual costs while we wait for the surge."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def funding_bps(
    funding_rate: NDArray[np.float64],
    horizon_s: NDArray[np.float64],
    interval_h: float,
    rate_when_unknown: float | None,
) -> NDArray[np.float64]:
    """Expected funding that a long pays over each horizon, bps, shape (n, H).

    funding_rate   (n,), a fraction per interval; NaN where unknown
    horizon_s      (H,)
    interval_h     hours between payments; 0 on markets without funding
    The horizon is a fraction of the interval, so the expected share of one payment is charged. A
    negative rate would be income; income is not counted on."""
    if interval_h <= 0.0:
        return np.zeros((len(funding_rate), len(horizon_s)))
    unknown = np.nan if rate_when_unknown is None else rate_when_unknown
    rate = np.where(np.isnan(funding_rate), unknown, funding_rate)
    share = horizon_s / (interval_h * 3600.0)
    return np.maximum(rate, 0.0)[:, None] * share[None, :] * 1e4
