"""What the indicators are called, what they mean and whose they are: see features/technical.py."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import AfterValidator, Field

from foreshock.config import Section
from foreshock.features.family import Ascending, span
from foreshock.features.vector import FeatureSpec

STALE_S: Final = 180  # behind the close of the last one-minute candle
SLOTS: Final = 256  # candles kept; windows are shorter
MOST_PERIODS: Final = 8  # of one kind


def _short(given: tuple[int, ...]) -> tuple[int, ...]:
    if len(given) > MOST_PERIODS or (given and given[-1] >= SLOTS - 2) or (given and given[0] < 2):
        raise ValueError(f"at most {MOST_PERIODS} periods from 2 to {SLOTS - 3}, got {list(given)}")
    return given


Periods = Annotated[Ascending, AfterValidator(_short)]


def _lengths(given: tuple[int, ...]) -> tuple[int, ...]:
    if not given or any(1_440 % minutes for minutes in given):
        raise ValueError(f"lengths must divide a day, got {list(given)}")
    return given


class TechnicalSettings(Section):
    """Lengths of candles, and periods in candles."""

    lengths_min: Annotated[Ascending, AfterValidator(_lengths)] = Field(
        default=(1, 5, 15, 60), description="Lengths of the candles, minutes; each divides a day."
    )
    rsi: Periods = Field(default=(7, 14, 21), description="Periods of the relative strength index.")
    ema: Periods = Field(
        default=(9, 21, 50, 200),
        description="Periods of exponential averages that the price is held to.",
    )
    cross: tuple[int, int] = Field(default=(9, 21), description="Fast and slow average that cross.")
    macd: tuple[int, int, int] = Field(
        default=(12, 26, 9),
        description="Fast, slow and signal period of the convergence-divergence.",
    )
    wma: Periods = Field(default=(20,), description="Linearly weighted averages.")
    dema: int = Field(default=21, ge=2, lt=SLOTS, description="Double and triple averages.")
    bands: int = Field(default=20, ge=2, lt=SLOTS - 2, description="Period of the Bollinger bands.")
    bands_width: float = Field(
        default=2.0, gt=0, description="How many deviations the bands are wide, to each side."
    )
    keltner: tuple[int, int] = Field(default=(20, 10), description="Average and range of Keltner.")
    atr: int = Field(
        default=14, ge=2, lt=SLOTS - 2, description="Period of the average true range."
    )
    adx: int = Field(default=14, ge=2, lt=SLOTS - 2, description="Directional movement.")
    cci: int = Field(default=20, ge=2, lt=SLOTS - 2, description="Commodity channel index.")
    stochastic: tuple[int, int, int] = Field(default=(14, 3, 3), description="%K, slowing, %D.")
    williams: int = Field(
        default=14, ge=2, lt=SLOTS - 2, description="Period of Williams' percent range."
    )
    mfi: int = Field(default=14, ge=2, lt=SLOTS - 2, description="Money flow index.")
    cmo: int = Field(default=14, ge=2, lt=SLOTS - 2, description="Chande momentum oscillator.")
    volume: int = Field(
        default=20, ge=2, lt=SLOTS - 2, description="Of on-balance volume and volume-price trend."
    )
    roc: int = Field(default=10, ge=2, lt=SLOTS - 2, description="Rate of change.")
    trix: int = Field(default=15, ge=2, lt=SLOTS - 2, description="Triple smoothed change.")
    aroon: int = Field(
        default=25, ge=2, lt=SLOTS - 2, description="Period of the Aroon oscillator."
    )
    ultimate: tuple[int, int, int] = Field(default=(7, 14, 28), description="Ultimate oscillator.")

    def each(self) -> tuple[tuple[str, str, str, int], ...]:
        """(name, formula, unit, candles until it is known) for one length of candles."""
        fast, slow, signal = self.macd
        k, slowing, d = self.stochastic
        average, reach = self.keltner
        return (
            *((f"rsi_{p}", f"TA-Lib RSI({p})", "0–100", p + 1) for p in self.rsi),
            *((f"ema_distance_{p}", f"10⁴ · (close / EMA({p}) − 1)", "bps", p) for p in self.ema),
            *((f"wma_distance_{p}", f"10⁴ · (close / WMA({p}) − 1)", "bps", p) for p in self.wma),
            ("ema_cross", f"10⁴ · (EMA({self.cross[0]}) / EMA({self.cross[1]}) − 1)", "bps",
             max(self.cross)),
            (f"dema_distance_{self.dema}", f"10⁴ · (close / DEMA({self.dema}) − 1)", "bps",
             2 * self.dema - 1),
            (f"tema_distance_{self.dema}", f"10⁴ · (close / TEMA({self.dema}) − 1)", "bps",
             3 * self.dema - 2),
            ("macd_line", f"10⁴ · TA-Lib MACD({fast}, {slow}) / close", "bps", slow),
            ("macd_signal", f"10⁴ · TA-Lib MACD histogram ({fast}, {slow}, {signal}) / close",
             "bps", slow + signal - 1),
            ("bb_position", f"(close − lower) / (upper − lower), TA-Lib BBANDS({self.bands}, "
             f"{self.bands_width:g})", "1", self.bands),
            ("bb_width", f"10⁴ · (upper − lower) / middle, BBANDS({self.bands}, "
             f"{self.bands_width:g})", "bps", self.bands),
            ("keltner_position", f"(close − lower) / (upper − lower), EMA({average}) ± 2 · "
             f"ATR({reach})", "1", max(average, reach + 1)),
            (f"natr_{self.atr}", f"10⁴ · ATR({self.atr}) / close", "bps", self.atr + 1),
            (f"plus_di_{self.adx}", f"TA-Lib PLUS_DI({self.adx})", "0–100", self.adx + 1),
            (f"minus_di_{self.adx}", f"TA-Lib MINUS_DI({self.adx})", "0–100", self.adx + 1),
            (f"adx_{self.adx}", f"TA-Lib ADX({self.adx})", "0–100", 2 * self.adx),
            (f"cci_{self.cci}", f"TA-Lib CCI({self.cci})", "1", self.cci),
            (f"stochastic_k_{k}", f"TA-Lib STOCH({k}, {slowing}, {d}), slow %K", "0–100",
             k + slowing - 1),
            (f"stochastic_d_{k}", f"TA-Lib STOCH({k}, {slowing}, {d}), slow %D", "0–100",
             k + slowing + d - 2),
            (f"williams_r_{self.williams}", f"TA-Lib WILLR({self.williams})", "−100–0",
             self.williams),
            (f"mfi_{self.mfi}", f"TA-Lib MFI({self.mfi})", "0–100", self.mfi + 1),
            (f"cmo_{self.cmo}", f"TA-Lib CMO({self.cmo})", "−100–100", self.cmo + 1),
            (f"obv_change_{self.volume}", f"(OBV − OBV {self.volume} candles before) / Σ lots",
             "1", self.volume + 1),
            (f"vpt_change_{self.volume}",
             f"10⁴ · Σ lots · (close / close before − 1) / Σ lots over {self.volume} candles",
             "bps", self.volume + 1),
            ("adosc", f"TA-Lib ADOSC(3, 10) / mean lots of {self.volume} candles", "1",
             max(10, self.volume)),
            (f"roc_{self.roc}", f"TA-Lib ROC({self.roc})", "%", self.roc + 1),
            (f"trix_{self.trix}", f"TA-Lib TRIX({self.trix})", "%", 3 * self.trix - 1),
            (f"aroon_{self.aroon}", f"TA-Lib AROONOSC({self.aroon})", "−100–100",
             self.aroon + 1),
            ("ultimate", "TA-Lib ULTOSC({}, {}, {})".format(*self.ultimate), "0–100",
             max(self.ultimate) + 1),
        )  # fmt: skip


_SOURCES: Final = {
    "rsi": "Wilder 1978, New concepts in technical trading systems, section 6",
    "natr": "Wilder 1978, New concepts in technical trading systems, section 3",
    "plus": "Wilder 1978, New concepts in technical trading systems, section 4",
    "minus": "Wilder 1978, New concepts in technical trading systems, section 4",
    "adx": "Wilder 1978, New concepts in technical trading systems, section 4",
    "macd": "Appel 1979, The moving average convergence-divergence trading method",
    "bb": "Bollinger 2001, Bollinger on Bollinger bands, chapter 7",
    "keltner": "Keltner 1960, How to make money in commodities, with Raschke's ranges",
    "cci": "Lambert 1980, Commodity channel index, Commodities magazine",
    "stochastic": "Lane 1984, Lane's stochastics",
    "cmo": "Chande, Kroll 1994, The new technical trader",
    "obv": "Granville 1963, Granville's new key to stock market profits",
    "dema": "Mulloy 1994, Smoothing data with faster moving averages",
    "tema": "Mulloy 1994, Smoothing data with faster moving averages",
    "aroon": "Chande 1995, A time price oscillator, Stocks & Commodities",
    "ultimate": "Williams 1985, The ultimate oscillator, Stocks & Commodities",
}


def specs(settings: TechnicalSettings) -> tuple[FeatureSpec, ...]:
    """Its features in the order of its columns: all of one length of candles, then the next."""
    out = []
    for minutes in settings.lengths_min:
        tail = "" if minutes == 1 else f"_{span(60 * minutes)}"
        for name, formula, unit, candles in settings.each():
            seconds = 60 * minutes * candles
            out.append(
                FeatureSpec(
                    f"{name}{tail}", "technical", f"{formula}, candles of {minutes} min", unit,
                    "bars", seconds,
                    f"fewer than {candles} whole candles of {minutes} min since the last hole, "
                    f"none for {STALE_S} s, or a quotient by nothing",
                    _SOURCES.get(name.split("_")[0], "TA-Lib"), (seconds,),
                )
            )  # fmt: skip
    return tuple(out)
