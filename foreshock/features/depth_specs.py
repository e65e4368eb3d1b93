"""What the depth family computes: its parameters, and each feature in words."""

from __future__ import annotations

from typing import Final

from pydantic import Field, field_validator

from foreshock.config import Section
from foreshock.features.family import Ascending, Seconds, span, union
from foreshock.features.vector import FeatureSpec
from foreshock.market.touch import OFI_LEVELS

_SCORED: Final = (
    ("spread", "the spread in ticks"),
    ("depth", "ln lots of the best five levels of both sides"),
    ("bid_depth", "ln lots of the best five bids"),
    ("ask_depth", "ln lots of the best five asks"),
)  # in the order of the samples


class DepthSettings(Section):
    """Levels and windows, windows in seconds."""

    levels: Ascending = Field(
        default=(2, 3, 5), description="Levels of a side that a depth imbalance adds up; 2 to 5."
    )
    ofi_s: Seconds = Field(
        default=(1, 5, 10, 30, 60, 300), description="Windows of the imbalance at the touch."
    )
    mlofi_s: Seconds = Field(
        default=(1, 10, 60, 300), description="Windows of the imbalance of five levels."
    )
    level_ofi_s: Seconds = Field(
        default=(10,), description="Windows of the imbalances of level 2, 3, 4 and 5, each alone."
    )
    queue_s: Seconds = Field(default=(10, 60), description="Windows of the mean queue imbalance.")
    returns_s: Seconds = Field(default=(1, 10, 60, 300), description="Spans of the mid's returns.")
    volatility_s: Seconds = Field(
        default=(10, 60, 300), description="Windows of the mid's realised volatility."
    )
    moves_s: Seconds = Field(
        default=(10, 60), description="Windows of the imbalance of the mid's moves."
    )
    updates_s: Seconds = Field(
        default=(10, 60), description="Windows of the intensity of the book's rows."
    )
    changes_s: Seconds = Field(
        default=(60,), description="Windows of the share of rows that change the touch."
    )
    spread_s: Seconds = Field(
        default=(60,), description="Windows of the mean and the standard deviation of the spread."
    )
    zscores_s: Seconds = Field(
        default=(60, 300), description="Windows of the z-scores of spread and depth."
    )

    @field_validator("levels")
    @classmethod
    def _of_the_top(cls, given: tuple[int, ...]) -> tuple[int, ...]:
        if given and not 2 <= given[0] <= given[-1] <= OFI_LEVELS:
            raise ValueError(f"levels must be 2 to {OFI_LEVELS}, got {list(given)}")
        return given

    def windows_s(self) -> tuple[int, ...]:
        """Every window of one-second buckets that is in use."""
        return union(
            self.ofi_s, self.mlofi_s, self.level_ofi_s, self.moves_s, self.updates_s, self.changes_s
        )


_NO_TOUCH = "no touch in this epoch"
_NO_LADDER = "no touch in this epoch, or an empty ladder"
_SOME_CLOSE = "no touch at one of the closes"
_OFI = "Cont, Kukanov, Stoikov 2014, The price impact of order book events"
_XU = "Xu, Gould, Howison 2019, Multi-level order-flow imbalance in a limit order book"
_GOULD = "Gould, Bonart 2016, Queue imbalance as a one-tick-ahead price predictor"
_CAO = "Cao, Hansch, Wang 2009, The information content of an open limit-order book"
_STOIKOV = "Stoikov 2018, The micro-price: a high-frequency estimator of future prices"
_FIVE = "mean lots of a side of the best five levels, sampled at the closes of the same"


def specs(settings: DepthSettings) -> tuple[FeatureSpec, ...]:
    """Its features in the order of its columns."""

    def spec(
        name: str, formula: str, nan_rule: str, source: str, unit: str = "1",
        windows_s: tuple[int, ...] = (),
    ) -> FeatureSpec:  # fmt: skip
        warmup_s = max(windows_s, default=1)
        return FeatureSpec(
            name, "depth", formula, unit, "book", warmup_s, nan_rule, source, windows_s
        )

    def each(
        windows: tuple[int, ...], name: str, formula: str, nan_rule: str, source: str,
        unit: str = "1",
    ) -> list[FeatureSpec]:  # fmt: skip
        """One feature a window; W in name and formula stands for it."""
        return [
            spec(name.replace("W", span(w)), formula.replace("W", f"{w} s"), nan_rule, source, unit,
                 (w,))
            for w in windows
        ]  # fmt: skip

    return (
        spec("spread_bps", "10⁴ · (ask − bid) / mid", _NO_TOUCH, "definition", unit="bps"),
        spec(
            "queue_imbalance",
            "(bid lots − ask lots) / (bid lots + ask lots) at the touch",
            _NO_TOUCH,
            _GOULD,
        ),
        *(
            spec(
                f"depth_imbalance_{n}",
                f"(Σ bid lots − Σ ask lots) / (Σ bid lots + Σ ask lots) over the ladder's best {n} "
                "levels",
                _NO_LADDER,
                _CAO,
            )
            for n in settings.levels
        ),
        spec(
            "microprice_deviation_bps",
            "10⁴ · (weighted mid − mid) / mid, weighted mid = (bid · ask lots + ask · bid lots) / "
            "(bid lots + ask lots), the first-order microprice",
            _NO_TOUCH,
            _STOIKOV,
            unit="bps",
        ),
        spec(
            "weighted_mid_5_bps",
            "10⁴ · (weighted mid of five levels − mid) / mid: the mean price of the best five bids "
            "weighs the asks' lots and the other way round",
            _NO_LADDER,
            _CAO,
            unit="bps",
        ),
        spec(
            "last_deviation_bps",
            "10⁴ · (last trade price / mid − 1)",
            "no touch in this epoch, or no trade in the tape's",
            "definition",
            unit="bps",
        ),
        *each(
            settings.ofi_s, "ofi_W",
            "Σ order-flow imbalance at the touch over W / mean lots of a side of the touch, sampled"
            " at the closes of the same W",
            "no touch at any of the closes", _OFI,
        ),
        *each(
            settings.mlofi_s, "mlofi_5_W",
            f"Σ order-flow imbalance of levels 1 to 5 over W / {_FIVE} W",
            "no ladder at any of the closes", _XU,
        ),
        *(
            one
            for level in range(2, OFI_LEVELS + 1)
            for one in each(
                settings.level_ofi_s, f"ofi_level_{level}_W",
                f"Σ order-flow imbalance of level {level} over W / {_FIVE} W / 5",
                "no ladder at any of the closes", _XU,
            )
        ),
        *each(
            settings.queue_s, "queue_imbalance_mean_W",
            "mean queue imbalance at the closes of W", _SOME_CLOSE, _GOULD,
        ),
        *each(
            settings.returns_s, "mid_return_W", "10⁴ · (mid / mid W ago − 1)",
            "no touch then or now", "definition", unit="bps",
        ),
        *each(
            settings.volatility_s, "mid_volatility_W",
            "10⁴ · root mean square of the mid's log returns by the second over W",
            _SOME_CLOSE, "Andersen, Bollerslev 1998, Answering the skeptics", unit="bps",
        ),
        *each(
            settings.moves_s, "mid_move_imbalance_W",
            "(moves up − moves down) / moves of the mid from row to row over W",
            "the mid did not move", "definition",
        ),
        *each(
            settings.updates_s, "quote_intensity_W", "ln(1 + rows of the book in W / W)",
            _NO_TOUCH, "definition", unit="log",
        ),
        *each(
            settings.changes_s, "touch_change_share_W",
            "share of the book's rows in W that change a price or a size of the touch",
            "no row of the book", "definition",
        ),
        *each(
            settings.spread_s, "spread_mean_W", "10⁴ · mean spread at the closes of W / mid now",
            _SOME_CLOSE, "definition", unit="bps",
        ),
        *each(
            settings.spread_s, "spread_deviation_W",
            "10⁴ · standard deviation of the spread at the closes of W / mid now",
            _SOME_CLOSE, "definition", unit="bps",
        ),
        *(
            one
            for w in settings.zscores_s
            for name, what in _SCORED
            for one in each(
                (w,), f"{name}_zscore_W",
                f"(x − mean) / standard deviation over the closes of W, x = {what}",
                "not known at one of the closes, or it never changed", "definition",
            )
        ),
    )  # fmt: skip
