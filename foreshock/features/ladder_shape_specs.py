"""What the ladder shape family computes: its parameters, and each feature in words."""

from __future__ import annotations

from typing import Final

from pydantic import Field, field_validator

from foreshock.config import Section
from foreshock.features.family import Ascending, union
from foreshock.features.vector import FeatureSpec

_SIDES: Final = ("bid", "ask")


class LadderShapeSettings(Section):
    """Reaches around the mid in bps, levels, and sizes of orders in quote currency."""

    imbalance_bps: Ascending = Field(
        default=(5, 10, 20, 50, 100, 200), description="Reaches of the depth imbalance."
    )
    slope_bps: Ascending = Field(
        default=(5, 10, 20, 50, 100, 200), description="Reaches of the slope of each side."
    )
    asymmetry_bps: Ascending = Field(
        default=(50, 100, 200), description="Reaches that `order_book_slope` is the mean of."
    )
    levels: int = Field(
        default=20, ge=2, le=200, description="Best levels of a side that are looked at one by one."
    )
    cost_quote: Ascending = Field(
        default=(1_000, 10_000, 100_000),
        description="Sizes of a market order, quote currency, of which the cost is told.",
    )
    cost_levels: int = Field(
        default=500, ge=1, le=5_000, description="Levels that such an order may walk at most."
    )

    @field_validator("imbalance_bps", "slope_bps", "asymmetry_bps")
    @classmethod
    def _near(cls, given: tuple[int, ...]) -> tuple[int, ...]:
        if given and given[-1] >= 10_000:
            raise ValueError(f"a reach must be below 10000 bps, got {given[-1]}")
        return given

    def reaches_bps(self) -> tuple[int, ...]:
        """Every reach that is in use."""
        return union(self.imbalance_bps, self.slope_bps, self.asymmetry_bps)


def _money(quote: int) -> str:
    return f"{quote // 1000}k" if quote % 1000 == 0 else f"{quote}"


_DEEP = "the known ladder does not reach that far"
_NAES = "Naes, Skjeltorp 2006, Order book characteristics and the volume–volatility relation"
_CAO = "Cao, Hansch, Wang 2009, The information content of an open limit-order book"
_IRVINE = "Irvine, Benston, Kandel 2000, Liquidity beyond the inside spread"
_FARMER = "Farmer et al. 2004, What really causes large price changes? section 3"


def specs(settings: LadderShapeSettings) -> tuple[FeatureSpec, ...]:
    """Its features in the order of its columns."""

    def spec(
        name: str, formula: str, nan_rule: str, source: str, unit: str = "1"
    ) -> FeatureSpec:  # fmt: skip
        return FeatureSpec(name, "ladder_shape", formula, unit, "book", 1, nan_rule, source)

    best = f"best {settings.levels} levels that the ladder knows"
    wide = ", ".join(map(str, settings.asymmetry_bps))
    out = [
        spec(
            f"depth_imbalance_{r}bps",
            f"(bid lots − ask lots) / (bid lots + ask lots) within {r} bps of the mid",
            f"{_DEEP}, or holds nothing there",
            _CAO,
        )
        for r in settings.imbalance_bps
    ]
    out += [
        spec(
            f"book_slope_{side}_{r}bps",
            f"ln of the mean slope of cumulative depth: {side} lots within {r} bps · mid / {r}, in "
            "quote currency per bp",
            f"{_DEEP}, or holds nothing there",
            _NAES,
            unit="log",
        )
        for side in _SIDES
        for r in settings.slope_bps
    ]
    out += [
        spec(
            "order_book_slope",
            f"depth asymmetry: mean of the depth imbalances within {wide} bps of the mid",
            f"{_DEEP}, or holds nothing there",
            _NAES,
        ),
        spec(
            "bid_ask_imbalance",
            f"(bid lots − ask lots) / (bid lots + ask lots) over the {best}",
            "no ladder",
            _CAO,
        ),
    ]
    out += [
        spec(
            f"{way}_cost_{_money(q)}_bps",
            f"10⁴ · distance of the mean price of a market {way} of {q} quote currency from the mid"
            " / mid",
            f"it would eat more than is known, or more than {settings.cost_levels} levels",
            _IRVINE,
            unit="bps",
        )
        for way in ("sell", "buy")
        for q in settings.cost_quote
    ]
    for side in _SIDES:
        out += [
            spec(
                f"first_gap_{side}_bps",
                f"10⁴ · distance from the first to the second {side} level / mid",
                "fewer than two levels",
                _FARMER,
                unit="bps",
            ),
            spec(
                f"level_gap_{side}_bps",
                f"10⁴ · mean distance between neighbours of the {best}, {side}s, / mid",
                "fewer than two levels",
                _FARMER,
                unit="bps",
            ),
            spec(
                f"concentration_{side}",
                f"Herfindahl index of the lots of the {best}, {side}s: Σ share²",
                "no ladder",
                "Hirschman 1964, The paternity of an index",
            ),
            spec(
                f"wall_distance_{side}_bps",
                f"10⁴ · distance of the largest of the {best}, {side}s, from the mid / mid; the "
                "nearer of equals",
                "no ladder",
                "definition",
                unit="bps",
            ),
        ]
    return tuple(out)
