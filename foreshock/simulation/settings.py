"""What a simulated exchange is made of: settings, and the profile of each symbol."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from foreshock.market.instruments import USDM, Instrument, canonical_symbol

StreamName = Literal[
    "trade", "aggTrade", "depth", "bookTicker", "kline_1m", "markPrice", "forceOrder"
]
STREAMS: tuple[StreamName, ...] = ("trade", "aggTrade", "depth", "bookTicker")
DERIVED: tuple[StreamName, ...] = ("kline_1m", "markPrice", "forceOrder")  # at whole seconds


def streams_of(market: str) -> tuple[StreamName, ...]:
    """All streams of a market: spot has neither mark prices nor liquidations."""
    return STREAMS + (DERIVED if market == USDM else DERIVED[:1])


class Profile(NamedTuple):
    """What one symbol is like. Rates are per second, sizes in quote currency."""

    price: float
    tick: str
    lot: str
    trades_per_s: float
    volatility_bps: float  # of the fair price, over one second
    spread_bps: float
    level_notional: float
    trade_notional: float


_TIERS = {
    "major": (4.0, 0.55, 0.03, 9000.0, 450.0),
    "large": (2.0, 0.75, 0.8, 4000.0, 260.0),
    "small": (1.0, 0.95, 1.6, 2200.0, 140.0),
}
_KNOWN: dict[str, tuple[float, str, str, str]] = {
    "BTCUSDT": (64210.0, "0.01", "0.00001", "major"),
    "ETHUSDT": (3105.0, "0.01", "0.0001", "major"),
    "BNBUSDT": (612.0, "0.01", "0.001", "large"),
    "SOLUSDT": (148.0, "0.01", "0.001", "major"),
    "XRPUSDT": (0.6180, "0.0001", "0.1", "large"),
    "DOGEUSDT": (0.1415, "0.00001", "1", "large"),
    "ADAUSDT": (0.4520, "0.00001", "0.1", "large"),
    "AVAXUSDT": (34.10, "0.001", "0.01", "large"),
    "LINKUSDT": (14.52, "0.001", "0.01", "large"),
    "DOTUSDT": (7.215, "0.001", "0.01", "large"),
    "LTCUSDT": (82.40, "0.01", "0.001", "large"),
    "TRXUSDT": (0.1232, "0.00001", "0.1", "small"),
    "NEARUSDT": (6.830, "0.001", "0.1", "small"),
    "APTUSDT": (8.91, "0.001", "0.01", "small"),
    "ARBUSDT": (1.0420, "0.0001", "0.1", "small"),
    "OPUSDT": (2.447, "0.0001", "0.01", "small"),
    "INJUSDT": (24.31, "0.001", "0.01", "small"),
    "SUIUSDT": (1.1360, "0.0001", "0.1", "small"),
    "FILUSDT": (5.872, "0.001", "0.01", "small"),
    "ATOMUSDT": (8.604, "0.001", "0.01", "small"),
}
DEFAULT_SYMBOLS: tuple[str, ...] = tuple(_KNOWN)


def _ordered(low_high: tuple[float, float]) -> tuple[float, float]:
    low, high = low_high
    if not 0 < low <= high:
        raise ValueError(f"{low_high} is not a range above zero")
    return low_high


class Scheduled(BaseModel):
    """Something that happens to a symbol at a known moment. A symbol with a `list` is not there
    before it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    symbol: str = Field(description="Which of the symbols.")
    action: Literal["halt", "list", "delist"] = Field(description="What happens.")
    at_s: float = Field(ge=0, description="When, in seconds from the start.")
    seconds: float = Field(0.0, ge=0, description="How long a halt lasts.")


class SimulationSettings(BaseModel):
    """A seeded exchange. The same settings give the same bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: Annotated[int, Field(ge=0, lt=2**63)] = Field(
        7, description="Everything random follows from it; another seed is another market."
    )
    market: Literal["binance-spot", "binance-usdm"] = Field(
        "binance-spot", description="Whose frames, update-id rules and decimals are spoken."
    )
    symbols: tuple[str, ...] = Field(
        DEFAULT_SYMBOLS,
        description="Names of the pairs, or a number n for the first n (beyond 20: SIM21USDT …). "
        "The names are real, the prices and everything else invented.",
    )
    start_ns: int = Field(
        1_790_000_000_000_000_000, ge=0, description="UTC ns at which the simulation begins."
    )
    depth_interval_ms: int = Field(
        100, ge=10, le=1000, description="Every so often a symbol tells its changed levels."
    )
    activity: float = Field(
        1.0, gt=0, le=20, description="Multiplies the rates of trades and quotes of every symbol."
    )
    surge_interval_s: float = Field(
        240.0, ge=60, description="Mean time between the starts of two surges of one symbol."
    )
    surge_bps: tuple[float, float] = Field(
        (60.0, 150.0), description="A surge's size is drawn evenly from this range."
    )
    surge_s: tuple[float, float] = Field(
        (15.0, 60.0), description="A foreseeable surge takes so long, drawn evenly."
    )
    precursor_s: tuple[float, float] = Field(
        (10.0, 25.0), description="Its order flow tilts for so long before it starts."
    )
    edge: float = Field(
        1.0,
        ge=0,
        le=1,
        description="Share of surges that are foreseeable: a precursor, then a ramp. The others "
        "are jumps out of nowhere, downwards as often as upwards, after which nothing follows. 0 "
        "is a null market: the price is a martingale but for quote noise below any fee.",
    )
    false_precursor_share: float = Field(
        0.25, ge=0, lt=1, description="Share of precursors after which no surge comes."
    )
    reveal_truth: bool = Field(
        True, description="Whether the times of the surges may be asked for, once they started."
    )
    streams: tuple[StreamName, ...] = Field(
        ("trade", "depth", "bookTicker"),
        description="Which frames are made. The market itself does not depend on it.",
    )

    branching: float = Field(
        0.35,
        ge=0,
        lt=1,
        description="How many market orders one market order brings about on average, directly: "
        "the branching ratio of the Hawkes-like clock.",
    )
    regime_s: float = Field(
        0.0,
        ge=0,
        description="Mean length of a symbol's regimes (calm, trending, stressed); 0: none, each "
        "symbol keeps its nature.",
    )
    schedule: tuple[Scheduled, ...] = Field(
        (), description="Halts, listings and delistings at known moments."
    )
    funding_interval_s: int = Field(
        28_800, ge=1, description="USD-M: time between two settlements of funding."
    )

    _ranges = field_validator("surge_bps", "surge_s", "precursor_s")(_ordered)

    @field_validator("symbols", mode="before")
    @classmethod
    def _named(cls, given: Any) -> Any:
        if isinstance(given, int) and not isinstance(given, bool):
            extra = tuple(f"SIM{i + 1}USDT" for i in range(len(DEFAULT_SYMBOLS), given))
            return (DEFAULT_SYMBOLS + extra)[:given]
        return given

    @model_validator(mode="after")
    def _usable(self) -> SimulationSettings:
        if not self.symbols or len(set(self.symbols)) != len(self.symbols):
            raise ValueError(f"symbols must be named once each: {self.symbols}")
        for entry in self.schedule:
            if entry.symbol not in self.symbols:
                raise ValueError(f"the schedule names {entry.symbol!r}, which is no symbol here")
        for stream in self.streams:
            if stream not in streams_of(self.market):
                raise ValueError(f"{self.market} has no stream {stream!r}")
        for symbol in self.symbols:
            if symbol != canonical_symbol(symbol) or not symbol.isalnum() or len(symbol) > 24:
                raise ValueError(f"{symbol!r} is not a plain upper-case symbol")
        return self


def profile_of(symbol: str) -> Profile:
    """The profile of a symbol; one that is not in the table gets one that follows from its name."""
    if symbol in _KNOWN:
        price, tick, lot, tier = _KNOWN[symbol]
    else:
        random = np.random.default_rng(list(symbol.encode()))
        price, tick, lot, tier = float(random.uniform(1.0, 9.0)), "0.001", "0.1", "small"
    rate, volatility, spread, level, trade = _TIERS[tier]
    return Profile(price, tick, lot, rate, volatility, spread, level, trade)


def instrument_of(symbol: str, market: str) -> Instrument:
    """The instrument behind a profile."""
    profile = profile_of(symbol)
    lot = profile.lot
    if market == USDM and float(lot) < 0.001:
        lot = "0.001"
    return Instrument.of(symbol, market, profile.tick, lot)
