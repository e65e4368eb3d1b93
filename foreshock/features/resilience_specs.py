"""What the resilience family computes: its parameters, and each feature in words."""

from __future__ import annotations

from typing import Final

from pydantic import Field

from foreshock.config import Section
from foreshock.features.family import Seconds, span, union
from foreshock.features.vector import FeatureSpec

LEAST_CLOSES: Final = 10  # a mean spread is believed from so many closes on
_SIDES: Final = ("bid", "ask")


class ResilienceSettings(Section):
    """Windows in seconds, and what counts as a sweep and as wide."""

    replenishment_s: Seconds = Field(
        default=(10, 60), description="Windows of what is added against what is taken."
    )
    cancels_s: Seconds = Field(default=(60,), description="Windows of the share of cancels.")
    refills_s: Seconds = Field(default=(60,), description="Windows of the share of refills.")
    sweeps_s: Seconds = Field(default=(60,), description="Windows in which sweeps are counted.")
    widenings_s: Seconds = Field(default=(60,), description="Windows of widenings of the spread.")
    recovery_s: Seconds = Field(default=(300,), description="Windows of the recovery of spreads.")
    usual_s: int = Field(
        default=60, ge=10, le=300, description="Window of the mean spread and depth before."
    )
    wide_multiple: int = Field(
        default=2, ge=2, description="A spread is wide from so many times its mean on."
    )
    sweep_percent: int = Field(
        default=50,
        ge=1,
        description="A sweep: within a second takers hit a side for this part of its mean depth.",
    )
    sweep_memory_s: int = Field(
        default=60, ge=1, le=300, description="How long after a sweep its recovery is told."
    )  # fmt: skip

    def windows_s(self) -> tuple[int, ...]:
        """Every window of one-second buckets that is in use."""
        return union(
            self.replenishment_s, self.cancels_s, self.refills_s, self.sweeps_s, self.widenings_s,
            self.recovery_s, (self.usual_s,),
        )  # fmt: skip


_LARGE = "Large 2007, Measuring the resiliency of an electronic limit order book"
_FOUCAULT = "Foucault, Kadan, Kandel 2005, Limit order book as a market for liquidity"
_HASBROUCK = "Hasbrouck, Saar 2009, Technology and liquidity provision"
_FREY = "Frey, Sandas 2009, The impact of iceberg orders in limit order books"
_YOUNG = "the epoch of book or tape is younger than that"


def specs(settings: ResilienceSettings) -> tuple[FeatureSpec, ...]:
    """Its features in the order of its columns."""

    def each(
        windows: tuple[int, ...], name: str, formula: str, nan_rule: str, source: str,
        unit: str = "1",
    ) -> list[FeatureSpec]:  # fmt: skip
        return [
            FeatureSpec(
                f"{name}_{span(w)}", "resilience", f"{formula} in {w} s", unit, "book", w,
                nan_rule, source, (w,),
            )
            for w in windows
        ]  # fmt: skip

    wide = (
        f"spread at least {settings.wide_multiple} times its mean at the closes of the last "
        f"{settings.usual_s} s"
    )
    out: list[FeatureSpec] = []
    for side in _SIDES:
        taker = "sold" if side == "bid" else "bought"
        sweep = f"takers {taker} {settings.sweep_percent} % of that, or more, within a second"
        out += each(
            settings.replenishment_s, f"replenishment_{side}",
            f"lots added / (lots added + lots taken) in the queue of the best {side}",
            "nothing was added or taken", _FOUCAULT,
        )  # fmt: skip
        out += each(
            settings.cancels_s, f"cancel_share_{side}",
            f"share of the lots taken from the best {side} that takers did not fill, at least 0,",
            f"nothing was taken, or {_YOUNG}", _HASBROUCK,
        )  # fmt: skip
        out += each(
            settings.refills_s, f"refilled_share_{side}",
            f"share of the lots {taker} at the best {side} beyond the most that it had shown at "
            "that price: hidden or refilled orders, a hint of icebergs,",
            f"nothing was {taker} there, or {_YOUNG}", _FREY,
        )  # fmt: skip
        out += each(
            settings.sweeps_s,
            f"sweeps_{side}",
            f"number of sweeps of the mean lots of the best five {side}s ({sweep})",
            _YOUNG,
            _LARGE,
        )
        out.append(
            FeatureSpec(
                f"depth_recovery_{side}", "resilience",
                f"lots of the best five {side}s / their mean at the closes of the "
                f"{settings.usual_s} s before the last sweep ({sweep}), until "
                f"{settings.sweep_memory_s} s after it", "1", "book", 1,
                "no such sweep, or an empty ladder", _LARGE, (settings.sweep_memory_s,),
            )
        )  # fmt: skip
    out += each(
        settings.widenings_s, "spread_widenings",
        f"number of times the spread became wide ({wide})",
        f"fewer than {LEAST_CLOSES} closes with a touch", _FOUCAULT,
    )  # fmt: skip
    out += each(
        settings.recovery_s, "spread_recovery",
        f"mean time from a widening of the spread until it is no longer wide ({wide}), of those "
        "that ended",
        "none ended", _FOUCAULT, unit="ms",
    )  # fmt: skip
    return tuple(out)
