"""What holding a perpetual costs while we wait for the surge."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def funding_bps(
    funding_rate: Floats,
    funding_in_s: Floats,
    horizon_s: Floats,
    interval_h: float,
    rate_when_unknown: float | None,
) -> Floats:
    """Funding that a long pays over each horizon, bps, shape (n, H).

    funding_rate   (n,), a fraction, of the next payment; NaN where unknown
    funding_in_s   (n,), seconds until that payment; NaN where unknown
    horizon_s      (H,)
    interval_h     hours between payments; 0 on markets without funding

    A payment falls due where its time lies within the holding span (t0, t0 + horizon]: nothing is
    paid a second after it, all of it a second before. Payments behind the first one are charged at
    its rate. Where the time is unknown, the expected share of a payment is charged: horizon over
    interval. A negative rate would be income; income is not counted on, since a position that is
    left early does not get it."""
    if interval_h <= 0.0:
        return np.zeros((len(funding_rate), len(horizon_s)))
    unknown = np.nan if rate_when_unknown is None else rate_when_unknown
    rate = np.where(np.isnan(funding_rate), unknown, funding_rate)
    interval_s = interval_h * 3600.0
    behind_s = horizon_s[None, :] - funding_in_s[:, None]
    due = np.where(behind_s >= 0.0, 1.0 + np.floor(behind_s / interval_s), 0.0)
    payments = np.where(np.isnan(behind_s), horizon_s[None, :] / interval_s, due)
    # Nothing due costs nothing, whether or not the rate is known.
    return np.where(payments > 0.0, np.maximum(rate, 0.0)[:, None], 0.0) * payments * 1e4
