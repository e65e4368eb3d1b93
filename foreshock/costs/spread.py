"""What crossing the book costs: a taker buys at the ask and sells at the bid."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def mid_price(bid: NDArray[np.float64], ask: NDArray[np.float64]) -> NDArray[np.float64]:
    """Halfway between the touches, quote currency; NaN where a side is missing or they cross."""
    usable = (bid > 0.0) & (ask >= bid)
    return np.where(usable, (bid + ask) / 2.0, np.nan)


def round_trip_spread_bps(
    bid: NDArray[np.float64], ask: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The whole spread in bps of the mid, half of it at entry, half at exit; NaN without a mid."""
    return (ask - bid) / mid_price(bid, ask) * 1e4
