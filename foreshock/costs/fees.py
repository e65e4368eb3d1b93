"""What the venue takes for a round trip."""

from __future__ import annotations


def round_trip_fees_bps(taker_fee_bps: float) -> float:
    """Fees in bps of notional for a taker's entry and a taker's exit."""
    return 2.0 * taker_fee_bps
