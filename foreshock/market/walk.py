"""What a market order pays behind the touch: the ladder walked level by level.

The engine cannot know how large an order somebody will price, so it walks for a few sizes at once;
costs/impact.py prices what lies between two of them.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from foreshock.market.jit import in_place_kernel
from foreshock.market.ladder import (
    BID,
    I_KNOWN_HIGH,
    I_KNOWN_LOW,
    I_LOW,
    MASK,
    WINDOW,
    Ladder,
    next_down,
    next_up,
)

# Sizes in quote currency; a setting among them is priced exactly.
LADDER_NOTIONALS: Final = (1e2, 3e2, 1e3, 3e3, 1e4, 3e4, 1e5, 3e5, 1e6)


@in_place_kernel
def walk(
    ladder: Ladder, s: int, side: int, money: float, notionals: NDArray[np.float64],
    out_bps: NDArray[np.float64],
) -> None:  # fmt: skip
    """Write to `out_bps` (g,) what an order of each of `notionals` (g,), ascending, pays more than
    the best price of `side` of symbol `s`, bps of the notional: Σ lots · |price − best| / notional.

    money   quote currency per tick · lot

    The best price and its size are those of the touch, which quotes keep fresher than the levels
    behind it: what the ladder still shows in front of it has gone. NaN where the side does not hold
    so much between there and the edge of what is known. Nothing beyond the edge counts: levels
    there may be missing."""
    info = ladder.info[s]
    count = notionals.shape[0]
    for g in range(count):
        out_bps[g] = np.nan
    best, lots = ladder.touch[s, 2 * side], ladder.touch[s, 2 * side + 1]
    low = max(info[I_KNOWN_LOW], info[I_LOW], 1)
    stop = min(info[I_KNOWN_HIGH], info[I_LOW] + WINDOW - 1) + 1
    spent, over, g, ticks = 0, 0, 0, best
    while ticks > 0 and g < count:
        behind = abs(ticks - best)
        while g < count and (spent + ticks * lots) * money >= notionals[g]:
            lots_here = (notionals[g] / money - spent) / ticks
            out_bps[g] = (over + lots_here * behind) * money / notionals[g] * 1e4
            g += 1
        spent += ticks * lots
        over += lots * behind
        if side == BID:
            ticks = next_down(ladder.bits[s, BID], ticks - 1, low)
        else:
            ticks = next_up(ladder.bits[s, side], ticks + 1, stop)
        lots = ladder.lots[s, side, ticks & MASK]
