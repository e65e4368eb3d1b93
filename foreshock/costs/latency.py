"""What the price does between our decision and our fill."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

# E[max(X, 0)] of a standard normal is 1/√(2π) per side; a round trip has two sides.
_TWO_SIDES = math.sqrt(2.0 / math.pi)


def round_trip_latency_bps(
    volatility_1s: NDArray[np.float64], latency_ms: float
) -> NDArray[np.float64]:
    """Expected adverse move during `latency_ms` at entry and again at exit, bps: the moves in our
    favour are not counted, since a limit of the venue or a faster trader takes those first."""
    return volatility_1s * (_TWO_SIDES * math.sqrt(latency_ms / 1000.0) * 1e4)
