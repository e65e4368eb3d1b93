"""The bill: everything a round trip would cost, in basis points, before a signal may leave."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from foreshock.costs.fees import round_trip_fees_bps
from foreshock.costs.funding import funding_bps
from foreshock.costs.impact import round_trip_impact_bps
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
    ]
)
COMPONENTS: Final = tuple(name for name in BILL.names or () if name != "total_bps")

_FORMULA_VERSION = 1  # raise it when a formula of this room changes, so that labels know


class CostSettings(BaseModel):
    """What a trade is assumed to look like. Its `version` is part of a label's fingerprint."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    taker_fee_bps: float = Field(
        default=5.0,
        ge=0.0,
        description="The venue's taker fee per side, in bps of notional. Binance USD-M charges 5 at"
        " the entry tier, spot 10; a discount belongs here too.",
    )
    notional: float = Field(
        default=1_000.0,
        gt=0.0,
        description="Size of one trade in quote currency. Impact is priced for exactly this size.",
    )
    impact_coefficient: float = Field(
        default=1.0,
        ge=0.0,
        description="Y of the square-root impact law; published estimates lie between 0.5 and 1.5.",
    )
    depth_bps: float = Field(
        default=10.0,
        gt=0.0,
        description="How far from the mid the engine sums the ladder's resting notional, in bps. It"
        " must be what the engine uses.",
    )
    latency_ms: float = Field(
        default=100.0,
        ge=0.0,
        description="Time from decision to fill, per side. The price drifts against us meanwhile.",
    )
    funding_interval_h: float = Field(
        default=8.0,
        ge=0.0,
        description="Hours between funding payments of a perpetual. 0 on markets without funding,"
        " such as spot: then funding costs nothing and its rate need not be known.",
    )
    funding_rate_when_unknown: float | None = Field(
        default=0.0001,
        description="The rate per interval that is charged while the venue's rate is not known: by"
        " default the venue's own base rate of 1 bp. null refuses to price such a symbol.",
    )

    @classmethod
    def for_market(cls, market: str, **changes: Any) -> CostSettings:
        """The defaults of a market, with changes: spot has a dearer taker fee and no funding."""
        spot = {"taker_fee_bps": 10.0, "funding_interval_h": 0.0}
        return cls.model_validate({**(spot if market == SPOT else {}), **changes})

    @property
    def version(self) -> str:
        """'bill-' and 12 hex digits that change with any setting and with the formulas."""
        body = f"{_FORMULA_VERSION}:{self.model_dump_json()}"
        return "bill-" + hashlib.sha256(body.encode()).hexdigest()[:12]


def bill(
    bill_inputs: NDArray[np.void],
    settings: CostSettings,
    horizon_s: float | Sequence[float] | NDArray[np.float64],
) -> NDArray[np.void]:
    """Price a round trip for every symbol.

    bill_inputs   BILL_INPUT (n,), as a boundary of the engine carries them
    horizon_s     seconds the position is held: a number, or H of them
    returns       BILL (n,) for a number, (n, H) for several; all in bps of notional. A component
                  that cannot be known is NaN, and so is then the total: the caller refuses."""
    horizons = np.atleast_1d(np.asarray(horizon_s, dtype=np.float64))
    out = np.zeros((len(bill_inputs), len(horizons)), dtype=BILL)
    volatility = bill_inputs["volatility_1s"]
    out["fees_bps"] = round_trip_fees_bps(settings.taker_fee_bps)
    out["spread_bps"] = round_trip_spread_bps(bill_inputs["bid"], bill_inputs["ask"])[:, None]
    out["impact_bps"] = round_trip_impact_bps(
        settings.notional,
        volatility,
        bill_inputs["volume_60s"],
        bill_inputs["ask_notional"],
        bill_inputs["bid_notional"],
        settings.impact_coefficient,
        settings.depth_bps,
    )[:, None]
    out["funding_bps"] = funding_bps(
        bill_inputs["funding_rate"],
        horizons,
        settings.funding_interval_h,
        settings.funding_rate_when_unknown,
    )
    out["latency_bps"] = round_trip_latency_bps(volatility, settings.latency_ms)[:, None]
    total = out["fees_bps"] + out["spread_bps"]
    for name in COMPONENTS[2:]:
        total = total + out[name]
    out["total_bps"] = total
    return out if np.ndim(horizon_s) else out[:, 0]
