"""Features of a perpetual's funding, basis, open interest, positioning and liquidations: what each
is, and its parameters. `derivatives` computes them."""

from __future__ import annotations

from typing import Final

from pydantic import Field

from foreshock.config import Section
from foreshock.features.family import RING_S, Windows, span
from foreshock.features.vector import FeatureSpec

LEAST_SCORED: Final = 10  # values that a z-score needs
HOUR_S: Final = 3_600
DAY_S: Final = 86_400


class DerivativesSettings(Section):
    """Windows, and for how long what was said last is taken to hold."""

    mark_stale_s: int = Field(default=60, gt=0, description="A mark older than this is unknown.")
    metric_stale_s: int = Field(
        default=900, gt=0,
        description="A metric whose own time is further back is unknown; a change looks back to a "
        "value at most this much older than its window.",
    )  # fmt: skip
    funding_days: int = Field(
        default=30, gt=0, le=30, description="Settled rates by which the current one is scored."
    )
    funding_mean_h: int = Field(
        default=72, gt=0, le=720, description="Window of the mean settled funding, hours."
    )
    funding_interval_h: int = Field(
        default=8, gt=0, le=24, description="By which a rate or a basis is annualised."
    )
    basis_minutes: tuple[int, ...] = Field(
        default=(5, 60), max_length=8,
        description="Windows of the change of the basis and of the mark, minutes.",
    )  # fmt: skip
    liquidations_s: Windows = Field(default=(60, 300, 3600), description="Windows of liquidations.")


def specs(settings: DerivativesSettings) -> tuple[FeatureSpec, ...]:
    """Its features in the order of its columns."""
    hours, days = settings.funding_interval_h, settings.funding_days
    no_mark = f"no mark within {settings.mark_stale_s} s"
    no_metric = f"the newest is of more than {settings.metric_stale_s} s ago"
    no_past = f"{no_metric}, or none of the time before"
    few = f"fewer than {LEAST_SCORED} values, or all alike"

    def spec(
        name: str, formula: str, nan_rule: str, unit: str = "1", warmup_s: int = 1,
        windows_s: tuple[int, ...] = (), source: str = "definition",
    ) -> FeatureSpec:  # fmt: skip
        return FeatureSpec(
            name, "derivatives", formula, unit, "derivatives", warmup_s, nan_rule, source, windows_s
        )

    carry = "Schmeling, Schrimpf, Todorov 2023, Crypto carry, section 2"
    perpetual = "He, Manela, Ross, von Wachter 2022, Fundamentals of perpetual futures, section 2"
    crowd = "Bessembinder, Seguin 1993, Price volatility, trading volume, and market depth"
    month_s, mean_s = days * DAY_S, settings.funding_mean_h * HOUR_S
    windows = settings.basis_minutes
    hour, day = (HOUR_S,), (DAY_S,)
    return (
        spec("funding_rate", "rate that is to be paid next, of one interval", no_mark),
        spec("funding_annualized", f"funding rate · 365 · 24 / {hours}", no_mark, source=carry),
        spec("funding_zscore",
             f"(funding rate − mean) / standard deviation of the rates settled within {days} d",
             f"{no_mark}, {few}", "1", month_s, (month_s,), perpetual),
        spec("funding_change", "funding rate − the rate settled last", f"{no_mark}, none settled"),
        spec(f"funding_mean_{settings.funding_mean_h}h",
             f"mean of the rates settled within {settings.funding_mean_h} h of the last one",
             "none settled", "1", mean_s, (mean_s,)),
        spec("time_to_funding", "until the next funding", f"{no_mark}, or it has passed", "s"),
        spec("basis", "10⁴ · (mark / index − 1), the perpetual's premium", no_mark, "bps",
             source=perpetual),
        spec("basis_annualized",
             f"(mark / index − 1) · 365 · 24 / {hours}: a perpetual never expires, so its premium "
             f"is taken as earned once per funding interval of {hours} h",
             no_mark, source=carry),
        *(spec(f"basis_change_{span(60 * m)}",
               f"basis − basis as of the last mark of {m} whole minutes before",
               f"{no_mark}, or in that minute", "bps", 60 * m, (60 * m,)) for m in windows),
        *(spec(f"mark_return_{span(60 * m)}",
               f"10⁴ · log(mark / last mark of {m} whole minutes before)",
               f"{no_mark}, or in that minute", "bps", 60 * m, (60 * m,)) for m in windows),
        spec("basis_zscore_1h",
             "(basis − mean) / standard deviation of the last basis of each of the 60 whole "
             "minutes before", f"{no_mark}, {few}", "1", HOUR_S, hour),
        spec("oi_change_1h", "open interest / open interest 1 h before − 1", no_past, "1",
             HOUR_S, hour, crowd),
        spec("oi_change_24h", "open interest / open interest 24 h before − 1", no_past, "1",
             DAY_S, day, crowd),
        spec("oi_zscore_24h",
             "(open interest − mean) / standard deviation of its five-minute values of 24 h",
             f"{no_metric}, {few}", "1", DAY_S, day),
        spec("long_short_ratio", "accounts that are long / accounts that are short", no_metric),
        spec("top_long_short_accounts", "the same of the largest accounts", no_metric),
        spec("top_long_short_positions", "long / short positions of the largest accounts",
             no_metric),
        spec("taker_buy_sell_ratio", "volume bought / sold by takers", no_metric),
        spec("top_against_all", "log(top_long_short_positions / long_short_ratio)", no_metric),
        spec("long_short_change_1h", "long_short_ratio / itself 1 h before − 1", no_past, "1",
             HOUR_S, hour),
        spec("top_positions_change_1h", "top_long_short_positions / itself 1 h before − 1",
             no_past, "1", HOUR_S, hour),
        spec("long_short_zscore_24h",
             "(long_short_ratio − mean) / standard deviation of its five-minute values of 24 h",
             f"{no_metric}, {few}", "1", DAY_S, day),
        spec("taker_zscore_24h",
             "(taker_buy_sell_ratio − mean) / standard deviation of its five-minute values of 24 h",
             f"{no_metric}, {few}", "1", DAY_S, day),
        *(spec(f"liq_imbalance_{span(w)}",
               "(longs − shorts) / (longs + shorts) liquidated, by price · size, of the public "
               f"sample, {_reach(w)}", "none in the window", "1", w, (w,)) for w in
          settings.liquidations_s),
        *(spec(f"liq_count_{span(w)}", f"log(1 + liquidations of the public sample), {_reach(w)}",
               "none was ever seen", "log", w, (w,)) for w in settings.liquidations_s),
        *(spec(f"liq_notional_{span(w)}",
               "log₁₀(1 + price · size liquidated in quote currency) of the public sample, "
               f"{_reach(w)}", "none was ever seen", "log", w, (w,)) for w in
          settings.liquidations_s),
    )  # fmt: skip


def _reach(window_s: int) -> str:
    if window_s <= RING_S:
        return f"{window_s} s up to the boundary"
    return f"this minute and the {window_s // 60 - 1} before"
