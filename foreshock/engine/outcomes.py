"""What the engine says when a sampling boundary closes: one matrix for all its symbols."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from foreshock.market.walk import LADDER_NOTIONALS

# What a bill and a barrier need to know at the boundary, a record per symbol.
# Prices are in quote currency (float64), depths in quote currency (notional), volatility as the
# standard deviation of log returns over one second (NaN until known).
BILL_INPUT: Final = np.dtype(
    [
        ("bid", "<f8"),
        ("ask", "<f8"),
        ("last", "<f8"),  # last traded price
        ("bid_notional", "<f8"),  # within DEPTH_BPS of the mid
        ("ask_notional", "<f8"),
        ("volatility_1s", "<f8"),
        ("volume_60s", "<f8"),  # traded notional over 60 s, quote currency
        ("funding_rate", "<f8"),  # due at the next payment, a fraction; NaN where unknown
        ("funding_in_s", "<f8"),  # from the boundary to that payment; NaN where unknown
        ("mid_move_100ms_bps", "<f8"),  # mean absolute move of the mid in the last minute, bps
        ("mid_move_1s_bps", "<f8"),
        # Mean slippage behind the touch, bps of the notional, of a market order of each of
        # LADDER_NOTIONALS that walks the asks (bids) level by level; NaN where the ladder, as far
        # as it is known, does not hold so much.
        ("ask_walk_bps", "<f8", (len(LADDER_NOTIONALS),)),
        ("bid_walk_bps", "<f8", (len(LADDER_NOTIONALS),)),
    ]
)
DEPTH_BPS: Final = 10.0  # how far from the mid the ladder is summed for `*_notional`


@dataclass(frozen=True, slots=True)
class Boundary:
    """All symbols of one engine at one sampling boundary. n symbols, k features.

    boundary_ns   the boundary; rows with arrival_ns < boundary_ns are in, later ones are not
    closed_by_seq, closed_at_ns   seq and arrival_ns of the row that closed it
    vectors       float32 (n, k); NaN where not warm
    warm          bool (n, k)
    book_state    uint8 (n,), RESYNCING | SYNCED | STALE
    book_epoch, tape_epoch   int32 (n,)
    bill_inputs   BILL_INPUT (n,)
    rows          market rows applied per symbol since the start, int64 (n,)
    """

    boundary_ns: int
    closed_by_seq: int
    closed_at_ns: int
    vectors: NDArray[np.float32]
    warm: NDArray[np.bool_]
    book_state: NDArray[np.uint8]
    book_epoch: NDArray[np.int32]
    tape_epoch: NDArray[np.int32]
    bill_inputs: NDArray[np.void]
    rows: NDArray[np.int64]
