"""How far our own order moves the price against us.

Per side, the larger of two estimates:

* the square-root law: Y · σ_T · √(Q / V_T) with T = 60 s (Almgren, Thum, Hauptmann, Li 2005;
  Tóth et al. 2011, "Anomalous price impact", eq. 1), Q our notional, V_T what traded;
* walking the resting ladder as if it were evenly filled: half the depth that Q eats.

A minute without a trade, or a side without a level within reach, has no price: NaN, not zero.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

VOLUME_WINDOW_S = 60.0
DUST = 1e-8  # quote currency; less than this is nothing


def square_root_bps(
    notional: float,
    volatility_1s: NDArray[np.float64],
    volume_60s: NDArray[np.float64],
    coefficient: float,
) -> NDArray[np.float64]:
    """One side's impact by the square-root law, bps; NaN where nothing traded in the window."""
    volume = np.where(volume_60s > DUST, volume_60s, np.nan)
    sigma_bps = volatility_1s * (math.sqrt(VOLUME_WINDOW_S) * 1e4)
    return coefficient * sigma_bps * np.sqrt(np.divide(notional, volume))


def ladder_bps(
    notional: float, resting_notional: NDArray[np.float64], depth_bps: float
) -> NDArray[np.float64]:
    """One side's mean slippage when `resting_notional` (quote currency) lies evenly within
    `depth_bps` of the mid; NaN where nothing rests there."""
    resting = np.where(resting_notional > DUST, resting_notional, np.nan)
    return notional / resting * depth_bps / 2.0


def round_trip_impact_bps(
    notional: float,
    volatility_1s: NDArray[np.float64],
    volume_60s: NDArray[np.float64],
    ask_notional: NDArray[np.float64],
    bid_notional: NDArray[np.float64],
    coefficient: float,
    depth_bps: float,
) -> NDArray[np.float64]:
    """Impact of buying into the asks and selling into the bids, bps, shape of the inputs."""
    law = square_root_bps(notional, volatility_1s, volume_60s, coefficient)
    entry = np.maximum(law, ladder_bps(notional, ask_notional, depth_bps))
    leave = np.maximum(law, ladder_bps(notional, bid_notional, depth_bps))
    return entry + leave
