"""Which features there are and with which parameters: data, in configs or here by default."""

from __future__ import annotations

from typing import Any

from pydantic import Field, field_validator

from foreshock.config import Section
from foreshock.features.arrivals import ArrivalsSettings
from foreshock.features.bars import BarsSettings
from foreshock.features.calendar import CalendarSettings
from foreshock.features.context import ContextSettings
from foreshock.features.depth_specs import DepthSettings
from foreshock.features.derivatives_specs import DerivativesSettings
from foreshock.features.flow import FlowSettings
from foreshock.features.impact import ImpactSettings
from foreshock.features.ladder_shape_specs import LadderShapeSettings
from foreshock.features.ranges import RangesSettings
from foreshock.features.resilience_specs import ResilienceSettings
from foreshock.features.series import SeriesSettings
from foreshock.features.technical_specs import TechnicalSettings
from foreshock.features.ticks import TicksSettings
from foreshock.features.variation import VariationSettings
from foreshock.features.volume_specs import VolumeSettings

FAMILY_NAMES: tuple[str, ...] = (
    "flow",
    "volume",
    "impact",
    "arrivals",
    "depth",
    "ladder_shape",
    "resilience",
    "variation",
    "ranges",
    "ticks",
    "derivatives",
    "series",
    "bars",
    "technical",
    "context",
    "calendar",
)


class FeatureSettings(Section):
    """One set of features. The order of the columns is the order of the families here."""

    families: tuple[str, ...] = Field(
        default=FAMILY_NAMES,
        description="The families that are computed. A set without the book's families runs where "
        "no book is recorded.",
    )
    flow: FlowSettings = Field(default=FlowSettings(), description="Who hit whom (tape).")
    volume: VolumeSettings = Field(
        default=VolumeSettings(), description="Cumulative delta, trade sizes, the session (tape)."
    )
    impact: ImpactSettings = Field(
        default=ImpactSettings(), description="What trading does to the price (tape)."
    )
    arrivals: ArrivalsSettings = Field(
        default=ArrivalsSettings(), description="When trades come and how they cluster (tape)."
    )
    depth: DepthSettings = Field(default=DepthSettings(), description="The touch (book).")
    ladder_shape: LadderShapeSettings = Field(
        default=LadderShapeSettings(), description="How depth lies behind the touch (book)."
    )
    resilience: ResilienceSettings = Field(
        default=ResilienceSettings(), description="How queues, depth and spread recover (book)."
    )
    variation: VariationSettings = Field(
        default=VariationSettings(), description="How far and how roughly prices moved (tape)."
    )
    derivatives: DerivativesSettings = Field(
        default=DerivativesSettings(),
        description="Funding, basis, open interest, liquidations (derivatives).",
    )
    bars: BarsSettings = Field(
        default=BarsSettings(), description="Candles of the last minutes to the last day (bars)."
    )
    technical: TechnicalSettings = Field(
        default=TechnicalSettings(), description="Indicators as TA-Lib defines them (bars)."
    )
    series: SeriesSettings = Field(
        default=SeriesSettings(),
        description="Slow series as of when they became known (series).",
    )
    context: ContextSettings = Field(
        default=ContextSettings(), description="What the other symbols do (context, tape)."
    )
    ranges: RangesSettings = Field(
        default=RangesSettings(), description="Highs and lows, and the price between them (tape)."
    )
    ticks: TicksSettings = Field(
        default=TicksSettings(), description="The walk from trade to trade, round numbers (tape)."
    )
    calendar: CalendarSettings = Field(
        default=CalendarSettings(),
        description="Where a boundary lies in the cycles of the clock (time).",
    )

    @field_validator("families")
    @classmethod
    def _known(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        unknown = sorted(set(given) - set(FAMILY_NAMES))
        if unknown or len(set(given)) != len(given) or not given:
            raise ValueError(f"families must be some of {list(FAMILY_NAMES)}, each once: {given}")
        return tuple(name for name in FAMILY_NAMES if name in given)

    def of(self, family: str) -> Any:
        """The settings of one family."""
        return getattr(self, family)
