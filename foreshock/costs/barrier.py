"""How far away the barriers of a surge are: one formula for labels, gate and backtest.

It lives with the costs because the bill is part of it and because the gate, which may not import
labels, must use the very same numbers that the labels were made with.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, Field

BPS: Final = 1e4


class BarrierSettings(BaseModel):
    """Distances of the two barriers; `foreshock.labels.barriers.LabelSettings` extends it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    k_far: float = Field(
        default=2.0,
        gt=0,
        description="Far barrier in standard deviations of the return over the horizon. Larger "
        "means rarer and bigger surges.",
    )
    k_near: float = Field(
        default=1.0,
        gt=0,
        description="Near barrier, on the other side, in standard deviations of the return over "
        "the horizon: where the position would be given up.",
    )
    c_bill: float = Field(
        default=1.5,
        ge=0,
        description="Neither barrier is nearer than this many bills, so that a surge is always "
        "worth more than it costs to trade.",
    )
    floor_bps: float = Field(
        default=10.0,
        gt=0,
        description="Neither barrier is nearer than this many basis points, however quiet the "
        "market: below it, ticks and stale quotes decide.",
    )


def barrier_bps(
    volatility_1s: ArrayLike,
    horizon_s: ArrayLike,
    bill_bps: ArrayLike,
    settings: BarrierSettings,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(far, near) in bps: max(k·σ·√h, c·bill, floor) with k_far and k_near.

    volatility_1s  standard deviation of log returns over one second, known at t0
    horizon_s      seconds
    bill_bps       the whole bill in bps, as priced at t0

    The three broadcast against each other: for n symbols and H horizons pass shapes (n, 1), (H,)
    and (n, 1), and get two float64 arrays of shape (n, H). NaN where the volatility or the bill is
    NaN: there is no barrier, hence no label and no verdict but a refusal. Never raises.
    """
    sigma_bps = (
        np.asarray(volatility_1s, dtype=np.float64)
        * np.sqrt(np.asarray(horizon_s, dtype=np.float64))
        * BPS
    )
    least_bps = np.maximum(
        settings.c_bill * np.asarray(bill_bps, dtype=np.float64), settings.floor_bps
    )
    far = np.maximum(settings.k_far * sigma_bps, least_bps)
    near = np.maximum(settings.k_near * sigma_bps, least_bps)
    return far, near
