"""How far our own order moves the price against us, and how large it may be.

Per side, as far as the recorded ladder holds our notional Q, what walking it level by level pays
behind the touch. What Q exceeds the ladder by is priced by the square-root law, Y·σ_T·√(Q/V_T) with
T = 60 s (Almgren, Thum, Hauptmann, Li 2005; Tóth et al. 2011, "Anomalous price impact", eq. 1),
V_T what traded, but never below what the last of the ladder was. Without a ladder (tapes, bars) the
law prices all of it.

A side without a level within reach, and a Q beyond the share of the last minute's volume that is
allowed, has no price: NaN, not zero.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from foreshock.market.walk import LADDER_NOTIONALS

Floats = NDArray[np.float64]

VOLUME_WINDOW_S = 60.0
DUST = 1e-8  # quote currency; less than this is nothing
_SIZES = np.array(LADDER_NOTIONALS)


def square_root_bps(
    notional: float, volatility_1s: Floats, volume_60s: Floats, coefficient: float
) -> Floats:
    """One side's impact by the square-root law, bps; NaN where nothing traded in the window."""
    volume = np.where(volume_60s > DUST, volume_60s, np.nan)
    sigma_bps = volatility_1s * (math.sqrt(VOLUME_WINDOW_S) * 1e4)
    return coefficient * sigma_bps * np.sqrt(np.divide(notional, volume))


def walk_bps(notional: float, walked_bps: Floats, law_bps: Floats) -> Floats:
    """One side's mean slippage behind the touch of an order of `notional`, bps (n,).

    walked_bps  (n, g): of orders of LADDER_NOTIONALS, ascending; NaN from where on the ladder does
                not hold so much
    law_bps     (n,): what the part that the ladder does not hold pays

    Between two sizes the slippage is interpolated on a straight line; at a size it is exact."""
    sizes = np.concatenate([[0.0], _SIZES])
    slip = np.zeros((len(walked_bps), len(sizes)))  # nothing for nothing
    slip[:, 1:] = walked_bps
    held = np.isfinite(walked_bps).sum(axis=1)  # the column of the last size that is held
    rows = np.arange(len(slip))
    # The piece that prices it, or the last that is held.
    above = int(np.clip(np.searchsorted(sizes, notional), 1, len(_SIZES)))
    high = np.minimum(above, held)
    low = np.maximum(high - 1, 0)
    width = np.where(high > low, sizes[high] - sizes[low], 1.0)
    share = (notional - sizes[low]) / width
    inside = slip[rows, low] + share * (slip[rows, high] - slip[rows, low])
    # What the last of the ladder paid at the margin: money over money.
    last = (slip[rows, high] * sizes[high] - slip[rows, low] * sizes[low]) / width
    rest = notional - sizes[held]
    beyond: Floats = slip[rows, held] * sizes[held] + np.maximum(last, law_bps) * rest
    return np.where(rest <= 0.0, inside, beyond / max(notional, DUST))


def round_trip_impact_bps(
    notional: float,
    volatility_1s: Floats,
    volume_60s: Floats,
    ask_notional: Floats,
    bid_notional: Floats,
    ask_walk_bps: Floats,
    bid_walk_bps: Floats,
    coefficient: float,
) -> Floats:
    """Impact of buying into the asks and selling into the bids, bps (n,); NaN where a side shows
    nothing. An infinite `*_notional` says that there is no ladder to walk (tapes, bars)."""
    law = square_root_bps(notional, volatility_1s, volume_60s, coefficient)
    out = np.zeros(len(law))
    for resting, walked in ((ask_notional, ask_walk_bps), (bid_notional, bid_walk_bps)):
        out += np.where(resting > DUST, walk_bps(notional, walked, law), np.nan)
    return out


def capacity(volume_60s: Floats, most_share: float) -> Floats:
    """The largest notional that may be traded at once, quote currency (n,): `most_share` of the
    last minute's volume. NaN where nothing traded."""
    return most_share * np.where(volume_60s > DUST, volume_60s, np.nan)
