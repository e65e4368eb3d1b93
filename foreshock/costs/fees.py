"""What the venue takes: fee tiers as data, and what a mix of maker's and taker's fills pays.

The tables are Binance's published schedules (https://www.binance.com/en/fee/schedule, spot, and
https://www.binance.com/en/fee/futureFee, USD-M) as retold in several places that agree with each
other, looked at on AS_OF; discounts for paying in BNB as in its FAQ 360033544231 (10 % on USD-M)
and its notice of 2022-05-31 (25 % on spot). Venues change them, and grant others: a setting
overrides any of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

from foreshock.market.instruments import SPOT, USDM

AS_OF: Final = "2026-11-21"

Tier = Literal["vip0", "vip1", "vip2", "vip3", "vip4", "vip5", "vip6", "vip7", "vip8", "vip9"]


class Fees(NamedTuple):
    """Per side, bps of notional."""

    maker_bps: float
    taker_bps: float


class Schedule(NamedTuple):
    """A market's tiers, vip0 first, and the share of a fee that paying in BNB spares."""

    tiers: tuple[Fees, ...]
    bnb_discount: float


SCHEDULES: Final[Mapping[str, Schedule]] = {
    SPOT: Schedule(
        (
            Fees(10.0, 10.0), Fees(9.0, 10.0), Fees(8.0, 10.0), Fees(4.2, 6.0), Fees(4.2, 5.4),
            Fees(3.6, 4.8), Fees(3.0, 4.2), Fees(2.4, 3.6), Fees(1.8, 3.0), Fees(1.2, 2.4),
        ),
        0.25,
    ),
    USDM: Schedule(
        (
            Fees(2.0, 5.0), Fees(1.6, 4.0), Fees(1.4, 3.5), Fees(1.2, 3.2), Fees(1.0, 3.0),
            Fees(0.8, 2.7), Fees(0.6, 2.5), Fees(0.4, 2.2), Fees(0.2, 2.0), Fees(0.0, 1.7),
        ),
        0.10,
    ),
}  # fmt: skip


def fees_of(market: str, tier: Tier = "vip0", pays_in_bnb: bool = False) -> Fees:
    """Both fees of a market and tier. A market without a table has Binance USD-M's: the other
    perpetual venues' entry tiers are within a bp of it, and a setting overrides it."""
    schedule = SCHEDULES.get(market, SCHEDULES[USDM])
    fees = schedule.tiers[int(tier.removeprefix("vip"))]
    keep = 1.0 - schedule.bnb_discount if pays_in_bnb and market in SCHEDULES else 1.0
    return Fees(fees.maker_bps * keep, fees.taker_bps * keep)


def round_trip_fees_bps(fees: Fees, maker_share: float = 0.0) -> float:
    """Fees in bps of notional of an entry and an exit, each filled as a maker for `maker_share` of
    it and as a taker for the rest."""
    return 2.0 * (maker_share * fees.maker_bps + (1.0 - maker_share) * fees.taker_bps)
