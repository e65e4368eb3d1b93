"""What the volume's features are, and their parameters (the kernels: volume.py)."""

from __future__ import annotations

from typing import Final

from pydantic import Field, field_validator

from foreshock.config import Section
from foreshock.features.family import RING_S, Seconds, Windows, span, union
from foreshock.features.vector import FeatureSpec
from foreshock.market.minutes import MINUTE_S

SESSION_WARM_S: Final = 300

Pairs = tuple[tuple[int, int], ...]


class VolumeSettings(Section):
    """Windows of volume, and what is a large trade."""

    cvd_s: Windows = Field(
        default=(300, 3600), description="Windows of the cumulative volume delta."
    )
    cvd_slopes_s: Windows = Field(
        default=(60, 300, 3600), description="Windows of the slope of the cumulative delta."
    )
    large_s: Seconds = Field(
        default=(300,),
        max_length=1,
        description="The one window of `large_trade_ratio` and `large_trade_imbalance`.",
    )
    large_quote: float = Field(
        default=100_000.0, gt=0, description="A trade above so much quote currency is large."
    )
    vwap_gaps_s: Seconds = Field(
        default=(60, 300), description="Windows of the gap between the buys' and sells' prices."
    )
    sizes_s: Seconds = Field(
        default=(60, 300), description="Windows of trade size, its mean and dispersion."
    )
    size_ratios_s: Pairs = Field(
        default=((10, 300),), description="Pairs of windows whose mean trade sizes are compared."
    )
    volume_ratios_s: Pairs = Field(
        default=((5, 60), (10, 300)), description="Pairs of windows whose volumes are compared."
    )
    persistence_s: Seconds = Field(
        default=(60, 300), description="Windows of the share of trades on the side before."
    )
    silence_s: Seconds = Field(
        default=(60, 300), description="Windows of the share of seconds without a trade."
    )

    @field_validator("size_ratios_s", "volume_ratios_s")
    @classmethod
    def _pairs(cls, given: Pairs) -> Pairs:
        for short, long in given:
            if not 0 < short < long <= RING_S:
                raise ValueError(f"a short window and a longer one, to {RING_S} s: {short, long}")
        return given

    def windows_s(self) -> tuple[int, ...]:
        """Every window of one-second buckets that is summed."""
        pairs = [window for pair in (*self.size_ratios_s, *self.volume_ratios_s) for window in pair]
        return union(
            (w for w in (*self.cvd_s, *self.cvd_slopes_s) if w <= RING_S), self.large_s,
            self.vwap_gaps_s, self.sizes_s, pairs, self.persistence_s, self.silence_s,
        )  # fmt: skip


_QUIET = "no trade in the window"
_DELTA = "Harris 2003, Trading and Exchanges, chapter 4 (order imbalance); cumulative volume delta"
_SIZES = "Easley, O'Hara 1987, Price, trade size, and information in securities markets"
_ORDER = "Lillo, Farmer 2004, The long memory of the efficient market (signs of trades)"
_VWAP = "Berkowitz, Logue, Noser 1988, The total cost of transactions on the NYSE (VWAP)"
_VOLUME = "Karpoff 1987, The relation between price changes and trading volume"


def _slope_span(w: int) -> str:
    return f"{w} s, by seconds" if w <= RING_S else f"{w // MINUTE_S} full minutes, by minutes"


def specs(settings: VolumeSettings) -> tuple[FeatureSpec, ...]:
    """Its features in the order of its columns."""
    found: list[FeatureSpec] = []

    def add(
        name: str, formula: str, source: str, windows_s: tuple[int, ...], unit: str = "1",
        nan_rule: str = _QUIET, warmup_s: int = 0,
    ) -> None:  # fmt: skip
        longest = max(windows_s, default=0)
        warmup_s = warmup_s or (longest if longest <= RING_S else longest + MINUTE_S)
        found.append(
            FeatureSpec(
                name, "volume", formula, unit, "tape", warmup_s, nan_rule, source, windows_s
            )
        )

    for w in settings.cvd_s:
        over = f"{w} s" if w <= RING_S else f"{w // MINUTE_S} full minutes"
        add(f"cvd_{span(w)}", f"Σ price · size of buys − Σ of sells over {over}: by how much the "
            "cumulative volume delta has moved", _DELTA, (w,), "quote", "never")  # fmt: skip
    for w in settings.cvd_slopes_s:
        add(f"cvd_slope_{span(w)}", "least-squares slope of the cumulative volume delta over "
            f"{_slope_span(w)} / mean volume of one of them", _DELTA, (w,))  # fmt: skip
    for w in settings.large_s:
        above = f"trades above {settings.large_quote:g} of quote currency"
        add("large_trade_ratio", f"Σ price · size of {above} / Σ price · size over {w} s",
            _SIZES, (w,))  # fmt: skip
        add("large_trade_imbalance", f"(bought − sold) / (bought + sold) price · size of {above} "
            f"over {w} s", _SIZES, (w,), nan_rule="no such trade in the window")  # fmt: skip
    for w in settings.vwap_gaps_s:
        add(f"buy_sell_vwap_gap_{span(w)}", "10⁴ · (mean price of what was bought / mean price of "
            f"what was sold − 1), weighted by size, over {w} s", _VWAP, (w,), "bps",
            "no buy or no sell in the window")  # fmt: skip
    add("vwap_deviation", "10⁴ · (last price / volume-weighted mean price of the UTC day so far − "
        "1); of the part of the day that the epoch has seen", _VWAP, (), "bps",
        "no trade since 00:00 UTC", SESSION_WARM_S)  # fmt: skip
    for w in settings.sizes_s:
        add(f"trade_size_mean_{span(w)}", f"ln(Σ price · size / trades) over {w} s", _SIZES, (w,),
            "log quote")  # fmt: skip
    for w in settings.sizes_s:
        add(f"trade_size_dispersion_{span(w)}",
            f"standard deviation / mean of the trades' sizes over {w} s", _SIZES, (w,))  # fmt: skip
    for short, long in settings.size_ratios_s:
        add(f"trade_size_ratio_{span(short)}_{span(long)}",
            f"ln(mean size over {short} s / mean size over {long} s)", _SIZES, (short, long), "log",
            f"no trade in {short} s")  # fmt: skip
    for short, long in settings.volume_ratios_s:
        add(f"volume_ratio_{span(short)}_{span(long)}",
            f"volume per second over {short} s / volume per second over {long} s", _VOLUME,
            (short, long), nan_rule=f"no trade in {long} s")  # fmt: skip
    add("one_sided_run", "± ln(1 + n), n the trades since the side last changed, + for buys",
        _ORDER, (), "log", "no trade in this epoch", 60)  # fmt: skip
    for w in settings.persistence_s:
        add(
            f"side_persistence_{span(w)}",
            f"share of the trades over {w} s that are on the side of the trade before",
            _ORDER,
            (w,),
            nan_rule="no trade in the window that has one before it in this epoch",
        )
    for w in settings.silence_s:
        add(f"silent_share_{span(w)}", f"share of the seconds without a trade over {w} s",
            "Lesmond, Ogden, Trzcinka 1999, A new estimate of transaction costs", (w,),
            nan_rule="never")  # fmt: skip
    return tuple(found)
