"""Instruments: what a symbol's ticks and lots are, and how people spell it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from foreshock.errors import InstrumentError
from foreshock.market.rows import TRADING

SPOT, USDM = "binance-spot", "binance-usdm"
BYBIT, OKX = "bybit-linear", "okx-swap"
MARKETS = (SPOT, USDM, BYBIT, OKX)

_PERP_SUFFIX = re.compile(r":[A-Z0-9]+$|[-_]?PERP$")


def canonical_symbol(text: str) -> str:
    """BTCUSDT, btc/usdt, BTC-USDT and BTC/USDT:USDT all name BTCUSDT. Raises InstrumentError."""
    symbol = _PERP_SUFFIX.sub("", text.strip().upper())
    symbol = symbol.replace("/", "").replace("-", "").replace("_", "")
    if not re.fullmatch(r"[A-Z0-9]{2,32}", symbol):
        raise InstrumentError(f"{text!r} is not a symbol")
    return symbol


def _units(size: str, what: str, symbol: str) -> tuple[int, int]:
    """'0.05000000' → (2, 5): the step is 5·10⁻². Raises InstrumentError unless it is above zero."""
    try:
        value = Decimal(size).normalize()
    except InvalidOperation as error:
        raise InstrumentError(f"{symbol}: {what} {size!r} is not a number") from error
    if not value.is_finite() or value <= 0:
        raise InstrumentError(f"{symbol}: {what} {size!r} is not above zero")
    _, digits, exponent = value.as_tuple()
    units = int("".join(map(str, digits)))
    power = int(exponent)
    if power > 0:
        units, power = units * 10**power, 0
    if -power > 12 or units >= 10**18:
        raise InstrumentError(f"{symbol}: {what} {size!r} has more than 12 decimals or 18 digits")
    return -power, units


@dataclass(frozen=True, slots=True)
class Instrument:
    """One symbol of one market. A price is `ticks · tick_units · 10^-tick_decimals` in quote
    currency, a size `lots · lot_units · 10^-lot_decimals` in base currency.

    `version` counts from 1 whenever the venue changes any of it within a session; an INSTRUMENT row
    says from where on. `status` is TRADING, HALTED or DELISTED."""

    symbol: str
    market: str
    tick_decimals: int
    tick_units: int
    lot_decimals: int
    lot_units: int
    status: int = TRADING
    version: int = 1

    @classmethod
    def of(cls, symbol: str, market: str, tick_size: str, lot_size: str) -> Instrument:
        """From the venue's own decimal strings. Raises InstrumentError."""
        if market not in MARKETS:
            raise InstrumentError(f"{symbol}: unknown market {market!r}, one of {MARKETS}")
        return cls(
            canonical_symbol(symbol),
            market,
            *_units(tick_size, "tick size", symbol),
            *_units(lot_size, "lot size", symbol),
        )

    @property
    def tick_size(self) -> float:
        """One tick in quote currency."""
        return float(self.tick_units / 10**self.tick_decimals)

    @property
    def lot_size(self) -> float:
        """One lot in base currency."""
        return float(self.lot_units / 10**self.lot_decimals)

    def price(self, ticks: int) -> float:
        """The price of `ticks`, correctly rounded (one division of integers)."""
        return float(ticks * self.tick_units / 10**self.tick_decimals)

    def as_dict(self) -> dict[str, Any]:
        """A JSON-ready description; `from_dict` reads it. The first version of an instrument that
        trades is described by its steps alone, as ever."""
        told = {name: getattr(self, name) for name in self.__slots__}
        if (self.status, self.version) == (TRADING, 1):
            del told["status"], told["version"]
        return told

    @property
    def steps(self) -> tuple[int, int, int, int]:
        """tick_decimals, tick_units, lot_decimals, lot_units: what kernels scale by."""
        return self.tick_decimals, self.tick_units, self.lot_decimals, self.lot_units

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> Instrument:
        """The inverse of `as_dict`."""
        return cls(**given)


def from_exchange_info(body: Mapping[str, Any], market: str) -> list[Instrument]:
    """All instruments of a Binance exchangeInfo answer that carry a tick and a lot size."""
    out = []
    for entry in body.get("symbols", []):
        filters = {f.get("filterType"): f for f in entry.get("filters", [])}
        price, lot = filters.get("PRICE_FILTER"), filters.get("LOT_SIZE")
        if price is None or lot is None:
            continue
        if Decimal(price["tickSize"]) <= 0 or Decimal(lot["stepSize"]) <= 0:
            continue
        if re.fullmatch(r"[A-Z0-9]{2,32}", entry["symbol"]) is None:
            continue  # dated contracts such as BTCUSDT_210625 are not pairs
        out.append(Instrument.of(entry["symbol"], market, price["tickSize"], lot["stepSize"]))
    return out


def by_symbol(instruments: Iterable[Instrument]) -> dict[str, Instrument]:
    """Instruments keyed by symbol."""
    return {instrument.symbol: instrument for instrument in instruments}
