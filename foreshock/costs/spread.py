"""What crossing the book costs: a taker buys at the ask and sells at the bid."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def mid_price(bid: NDArray[np.float64], ask: NDArray[np.float64]) -> NDArray[np.float64]:
    """Halfway between the touches, quote currency; NaN where a side is missing or they cross."""
    usable = (bid > 0.0) & (ask >= bid)
    return np.where(usable, (bid + ask) / 2.0, np.nan)


def round_trip_spread_bps(
    bid: NDArray[np.float64],
    ask: NDArray[np.float64],
    maker_share: float = 0.0,
    maker_capture: float = 0.0,
) -> NDArray[np.float64]:
    """The spread of the moment in bps of the mid, half of it at entry, half at exit; NaN without a
    mid.

    maker_share     of each fill waits at the touch instead of crossing
    maker_capture   of the half spread is what such a fill keeps: 1 would be all of it, 0 none,
                    because the price tends to go on against whoever was filled (Glosten and
                    Milgrom, Journal of Financial Economics 1985: competition leaves a maker
                    nothing); below 0, more than all
    """
    crossed = 1.0 - maker_share * (1.0 + maker_capture)
    return (ask - bid) / mid_price(bid, ask) * (crossed * 1e4)
