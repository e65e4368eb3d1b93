"""What a tick times a lot is worth in quote currency, as an instrument stands at a row."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from foreshock.market.instruments import Instrument
from foreshock.market.jit import in_place
from foreshock.market.rows import A, B, C, D, Words


def money_of(instruments: Sequence[Instrument]) -> NDArray[np.float64]:
    """Quote currency per tick · lot of each instrument, float64 (n,)."""
    found = [
        i.tick_units / 10.0**i.tick_decimals * (i.lot_units / 10.0**i.lot_decimals)
        for i in instruments
    ]
    return np.array(found, np.float64)


@in_place
def money_at(words: Words, i: int) -> float:
    """The same of the INSTRUMENT row `i`."""
    return float(words[i, B] / 10.0 ** words[i, A] * (words[i, D] / 10.0 ** words[i, C]))
