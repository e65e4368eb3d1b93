"""What the price does between our decision and our fill.

Over a moment the price has no direction that we could know: at a random time the mean of what it
does to a taker is 0. What is charged is the *adverse half*, E[max(move against us, 0)] per side:
what the delay costs while moves in our favour are not counted on, because a decision that was right
is one that others take too. It is a reserve above the mean, not an estimate of it (docs/costs.md).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

SHORT_S, LONG_S = 0.1, 1.0
# E|X| of a normal is √(2/π)·σ; half of it per side, two sides.
_OF_NORMAL = math.sqrt(2.0 / math.pi)


def mean_move_bps(over_100ms: Floats, over_1s: Floats, latency_s: float) -> Floats:
    """Mean absolute move of the mid over `latency_s`, bps, from those over 100 ms and a second: on
    the straight line through the two in logarithms. 0 where none was seen; never less over a
    longer time."""
    moved = over_100ms > 0.0
    base = np.where(moved, over_100ms, 1.0)
    ratio = np.where(moved, np.maximum(over_1s / base, 1.0), 1.0)
    slope = np.log(ratio) / math.log(LONG_S / SHORT_S)
    return np.where(moved, base * (latency_s / SHORT_S) ** slope, over_100ms)


def round_trip_latency_bps(
    volatility_1s: Floats, over_100ms: Floats, over_1s: Floats, latency_ms: float,
    maker_share: float = 0.0,
) -> Floats:  # fmt: skip
    """The adverse half of the mid's move during `latency_ms`, at entry and again at exit, bps (n,):
    together the mean absolute move. What waits as a maker does not hurry and pays none.

    volatility_1s          (n,): used where no book was seen: √(2/π)·σ·√latency, too much where
                           last prices bounce between the touches
    over_100ms, over_1s    (n,): mean absolute moves of the mid, bps; NaN where no book was seen"""
    latency_s = latency_ms / 1000.0
    if latency_s <= 0.0:
        return np.zeros(len(volatility_1s))
    law = volatility_1s * (_OF_NORMAL * math.sqrt(latency_s) * 1e4)
    seen = mean_move_bps(over_100ms, over_1s, latency_s)
    return np.where(np.isnan(seen), law, seen) * (1.0 - maker_share)
