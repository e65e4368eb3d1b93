"""How far our own order moves the price against us, and how large it may be.

Per side, as far as the recorded ladder holds our notional Q, what walking it level by level pays
behind the touch. What Q exceeds the ladder by is priced by a law: with s = Q / V_60s and the
standard deviation σ_60s,

    law(s) = Y · σ_60s · s^δ   up to a minute's volume (s ≤ 1), an order taken at once
             Y · σ_60s · √s    beyond, an order that can only be worked

The square root is Almgren, Thum, Hauptmann and Li 2005 and Tóth et al. 2011, "Anomalous price
impact", eq. 1; that small orders pay in proportion to their size, and where the one becomes the
other, Bucci, Benzaquen, Lillo and Bouchaud 2019, "Crossover from linear to square-root market
impact". Y and δ are fitted to the simulated exchange (decision 0080).

At the edge of the ladder the law goes on from what the ladder paid, at the ladder's own pace.
Without a ladder (tapes, bars) the law prices all of it.

A side without a level within reach, and a Q beyond the share of the last minute's volume that is
allowed, has no price: NaN, not zero. Nor has one that the law prices where nothing moved or traded.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from foreshock.market.walk import LADDER_NOTIONALS

Floats = NDArray[np.float64]

VOLUME_WINDOW_S = 60.0
DUST = 1e-8  # quote currency; less than this is nothing
# How much the law weighs against the last piece of the ladder where it goes on from it: as this
# share of the ladder. A few levels say little of what lies behind them; fitted (decision 0080).
_LAW_WEIGHT: Final = 0.2
_SIZES = np.array(LADDER_NOTIONALS)


def law_shape(share: Floats, exponent: float) -> Floats:
    """The law over Y·σ, by size in shares of a minute's volume: share^exponent up to 1, √share
    beyond. An exponent of 0.5 is the square-root law throughout."""
    return np.where(share <= 1.0, share**exponent, np.sqrt(share))


def law_unit_bps(volatility_1s: Floats, coefficient: float) -> Floats:
    """Y·σ_60s, bps: what an order of a minute's volume pays. NaN where nothing moved: the law would
    say that any size is free."""
    moved = np.where(volatility_1s > 0.0, volatility_1s, np.nan)
    return moved * (coefficient * math.sqrt(VOLUME_WINDOW_S) * 1e4)


def traded(volume_60s: Floats) -> Floats:
    """The volume, NaN where nothing (or nothing finite) traded."""
    return np.where((volume_60s > DUST) & np.isfinite(volume_60s), volume_60s, np.nan)


def walk_bps(
    notional: float, walked_bps: Floats, unit_bps: Floats, volume_60s: Floats, exponent: float
) -> Floats:
    """One side's mean slippage behind the touch of an order of `notional`, bps (n,).

    walked_bps  (n, g): of orders of LADDER_NOTIONALS, ascending; NaN from where on the ladder does
                not hold so much
    unit_bps    (n,): of the law, `law_unit_bps`
    volume_60s  (n,): `traded`

    Between two sizes the slippage is interpolated on a straight line; at a size it is exact. Beyond
    the last that is held it goes on without a leap, and never falls."""
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

    def by_law(size: Floats) -> Floats:  # what an order of `size` pays in money, over the unit
        return size * law_shape(size / volume_60s, exponent)

    edge: Floats = sizes[held]
    paid: Floats = slip[rows, held] * edge
    lawful = by_law(edge)
    # The ladder's last piece beside the law's: money over money, the law weighing a little in both.
    last = paid - slip[rows, low] * sizes[low]
    trust = _LAW_WEIGHT * lawful
    told = paid > 0.0  # a ladder that is all best level says nothing of what lies behind it
    expected = np.where(told, lawful - by_law(sizes[low]) + trust, 1.0)
    pace: Floats = np.where(told, (last + unit_bps * trust) / expected, unit_bps)

    def beyond(size: Floats) -> Floats:
        mean: Floats = (paid + pace * (by_law(size) - lawful)) / np.maximum(size, DUST)
        return mean

    # Past a minute's volume each further unit pays less for a while than the last before it.
    whole = np.full(len(slip), notional)
    dearest = np.maximum(beyond(np.clip(volume_60s, edge, notional)), beyond(whole))
    price: Floats = np.where(notional <= edge, inside, np.maximum(slip[rows, held], dearest))
    return price


def round_trip_impact_bps(
    notional: float,
    volatility_1s: Floats,
    volume_60s: Floats,
    ask_notional: Floats,
    bid_notional: Floats,
    ask_walk_bps: Floats,
    bid_walk_bps: Floats,
    coefficient: float,
    exponent: float,
) -> Floats:
    """Impact of buying into the asks and selling into the bids, bps (n,); NaN where a side shows
    nothing. An infinite `*_notional` says that there is no ladder to walk (tapes, bars)."""
    unit, volume = law_unit_bps(volatility_1s, coefficient), traded(volume_60s)
    out = np.zeros(len(unit))
    for resting, walked in ((ask_notional, ask_walk_bps), (bid_notional, bid_walk_bps)):
        priced = walk_bps(notional, walked, unit, volume, exponent)
        out += np.where(resting > DUST, priced, np.nan)
    return out


def capacity(volume_60s: Floats, most_share: float) -> Floats:
    """The largest notional that may be traded at once, quote currency (n,): `most_share` of the
    last minute's volume. NaN where nothing traded."""
    return most_share * traded(volume_60s)
