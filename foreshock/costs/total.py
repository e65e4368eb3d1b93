"""The bill: everything a round trip would cost, in basis points, before a signal may leave.

docs/costs.md tells each component's formula, source, and how far it is validated."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from foreshock.costs.fees import Fees, Tier, fees_of, round_trip_fees_bps
from foreshock.costs.funding import funding_bps
from foreshock.costs.impact import capacity, round_trip_impact_bps
from foreshock.costs.latency import round_trip_latency_bps
from foreshock.costs.spread import round_trip_spread_bps
from foreshock.market.instruments import SPOT

BILL: Final = np.dtype(
    [
        ("fees_bps", "<f8"),
        ("spread_bps", "<f8"),
        ("impact_bps", "<f8"),
        ("funding_bps", "<f8"),
        ("latency_bps", "<f8"),
        ("total_bps", "<f8"),
        ("capacity", "<f8"),  # the largest notional that may be traded now, quote currency
    ]
)
COMPONENTS: Final = tuple(
    name for name in BILL.names or () if name not in ("total_bps", "capacity")
)

_FORMULA_VERSION = 3  # raise it when a formula of this room changes, so that labels know


class CostSettings(BaseModel):
    """What a trade is assumed to look like. Its `version` is part of a label's fingerprint."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    fee_market: Literal["binance-usdm", "binance-spot", "bybit-linear", "okx-swap"] = Field(
        default="binance-usdm",
        description="Whose table of fees is read. Only Binance's are there: the others are charged "
        "binance-usdm's unless the two fees below are set.",
    )
    fee_tier: Tier = Field(
        default="vip0", description="The account's tier in that table, vip0 (everybody) to vip9."
    )
    pays_in_bnb: bool = Field(
        default=False,
        description="Whether fees are paid in BNB, which the venue rewards with a discount.",
    )
    taker_fee_bps: float | None = Field(
        default=None,
        ge=0.0,
        description="Taker fee per side in bps of notional, where the account's is not the table's."
        " null takes the table's.",
    )
    maker_fee_bps: float | None = Field(
        default=None,
        description="Maker fee per side, likewise; below zero is a rebate. null takes the table's.",
    )
    maker_share: float = Field(
        default=0.0,
        ge=0.0,
        le=1.0,
        description="Share of each fill that waits at the touch as a maker: it pays the maker fee, "
        "crosses no spread, walks no ladder and does not hurry. That it is filled is assumed.",
    )
    maker_capture: float = Field(
        default=0.0,
        ge=-4.0,
        le=1.0,
        description="Share of the half spread that a maker's fill keeps. 0: what it earns it loses "
        "to those who know more; 1: all of it; below 0: more than all is lost.",
    )
    notional: float = Field(
        default=1_000.0,
        gt=0.0,
        description="Size of one trade in quote currency. Impact is priced for exactly this size.",
    )
    impact_coefficient: float = Field(
        default=1.35,
        ge=0.0,
        description="Y of the impact law, which prices what the ladder does not hold. Fitted to the"
        " simulated exchange; published estimates lie between 0.5 and 1.5.",
    )
    impact_exponent: float = Field(
        default=1.1,
        ge=0.5,
        le=2.0,
        description="How the law grows with size up to a minute's volume, fitted like Y; beyond, it"
        " grows with the square root. 0.5 is the square-root law at every size.",
    )
    max_volume_share: float = Field(
        default=0.25,
        gt=0.0,
        description="The most that one trade may be of the volume of the last minute. A larger "
        "notional has no bill: nobody knows what it would cost.",
    )
    latency_ms: float = Field(
        default=100.0,
        ge=0.0,
        description="Time from decision to fill, per side; what the price does against us "
        "meanwhile is charged.",
    )
    funding_interval_h: float = Field(
        default=8.0,
        ge=0.0,
        description="Hours between funding payments of a perpetual. 0 on markets without funding,"
        " such as spot: then funding costs nothing and its rate need not be known. It tells when "
        "payments behind the next one fall due; when that is, the venue tells.",
    )
    funding_rate_when_unknown: float | None = Field(
        default=0.0001,
        description="The rate per interval that is charged while the venue's rate is not known: by"
        " default the venue's own base rate of 1 bp. null refuses to price such a symbol.",
    )

    @classmethod
    def for_market(cls, market: str, **changes: Any) -> CostSettings:
        """The defaults of a market, with changes: its own table of fees, and no funding on spot."""
        funding = {"funding_interval_h": 0.0} if market == SPOT else {}
        return cls.model_validate({"fee_market": market, **funding, **changes})

    @property
    def fees(self) -> Fees:
        """What is charged per side: the table's fees, or those that were set."""
        table = fees_of(self.fee_market, self.fee_tier, self.pays_in_bnb)
        return Fees(
            table.maker_bps if self.maker_fee_bps is None else self.maker_fee_bps,
            table.taker_bps if self.taker_fee_bps is None else self.taker_fee_bps,
        )

    @property
    def fees_bps(self) -> float:
        """Fees of a round trip, as every bill has them."""
        return round_trip_fees_bps(self.fees, self.maker_share)

    @property
    def table(self) -> dict[str, Any]:
        """JSON-ready: the settings, the bill's version, and what tier, discount and mix come to."""
        resolved = {**self.fees._asdict(), "round_trip_bps": self.fees_bps}
        return {"bill_version": self.version, **self.model_dump(mode="json"), "fees": resolved}

    @property
    def version(self) -> str:
        """'bill-' and 12 hex digits that change with any setting, the fees' table and formulas."""
        body = f"{_FORMULA_VERSION}:{tuple(self.fees)}:{self.model_dump_json()}"
        return "bill-" + hashlib.sha256(body.encode()).hexdigest()[:12]


@np.errstate(over="ignore", invalid="ignore")  # what comes of absurd inputs is made NaN
def bill(
    bill_inputs: NDArray[np.void],
    settings: CostSettings,
    horizon_s: float | Sequence[float] | NDArray[np.float64],
) -> NDArray[np.void]:
    """Price a round trip for every symbol.

    bill_inputs   BILL_INPUT (n,), as a boundary of the engine carries them
    horizon_s     seconds the position is held: a number, or H of them
    returns       BILL (n,) for a number, (n, H) for several; all in bps of notional but `capacity`.
                  A component that cannot be known is NaN, and so is then the total: the caller
                  refuses. The impact of a notional beyond `capacity` cannot be known."""
    horizons = np.atleast_1d(np.asarray(horizon_s, dtype=np.float64))
    out = np.zeros((len(bill_inputs), len(horizons)), dtype=BILL)
    given = {name: bill_inputs[name] for name in bill_inputs.dtype.names or ()}
    makers, takers = settings.maker_share, 1.0 - settings.maker_share
    most = capacity(given["volume_60s"], settings.max_volume_share)
    out["fees_bps"] = settings.fees_bps
    out["spread_bps"] = round_trip_spread_bps(
        given["bid"], given["ask"], makers, settings.maker_capture
    )[:, None]
    impact = round_trip_impact_bps(
        settings.notional * takers,
        given["volatility_1s"],
        given["volume_60s"],
        given["ask_notional"],
        given["bid_notional"],
        given["ask_walk_bps"],
        given["bid_walk_bps"],
        settings.impact_coefficient,
        settings.impact_exponent,
    )
    out["impact_bps"] = np.where(settings.notional <= most, impact * takers, np.nan)[:, None]
    out["funding_bps"] = funding_bps(
        given["funding_rate"],
        given["funding_in_s"],
        horizons,
        settings.funding_interval_h,
        settings.funding_rate_when_unknown,
    )
    out["latency_bps"] = round_trip_latency_bps(
        given["volatility_1s"],
        given["mid_move_100ms_bps"],
        given["mid_move_1s_bps"],
        settings.latency_ms,
        makers,
    )[:, None]
    for name in COMPONENTS:  # an input that is infinite is as good as none
        out[name] = np.where(np.isfinite(out[name]), out[name], np.nan)
    total = out["fees_bps"] + out["spread_bps"]
    for name in COMPONENTS[2:]:
        total = total + out[name]
    out["total_bps"], out["capacity"] = total, most[:, None]
    return out if np.ndim(horizon_s) else out[:, 0]


def why_unpriced(row: np.void, settings: CostSettings) -> str:
    """A sentence on a bill without a total, one element of BILL: by how much the notional exceeds
    the capacity, and what else is not known. Empty where there is nothing to say."""
    notional, most = settings.notional, float(row["capacity"])
    unknown = [name for name in COMPONENTS if np.isnan(row[name])]
    said = []
    if notional > most:
        unknown.remove("impact_bps")
        share = f"{settings.max_volume_share:g} of the last minute's volume"
        said.append(
            f"notional {notional:,.10g} exceeds the capacity {most:,.10g} ({share}) by "
            f"{notional - most:,.10g}"
        )
    elif np.isnan(most):
        unknown.append("capacity (nothing traded in the last minute)")
    if unknown:
        said.append(f"not known: {', '.join(unknown)}")
    return "; ".join(said)
