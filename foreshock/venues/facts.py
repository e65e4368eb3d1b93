"""What venues say, whatever their spelling: a dialect reads a frame into facts, and the one session
of `socket_session.py` makes rows of them. Numbers stay the strings that were sent until they are
put on an instrument's grid, in integers.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from foreshock.market.clock import MS_NS
from foreshock.market.instruments import BYBIT, Instrument
from foreshock.market.rows import TRADING

Level = tuple[str, str]  # price, size

LATEST_MS: Final = (2**63 - 1) // MS_NS
MAX_DIGITS: Final = 18
_PLAIN: Final = re.compile(r"([0-9]{1,18})(?:\.([0-9]+))?", re.ASCII)
NAN: Final = float("nan")


class BookFact(NamedTuple):
    """A snapshot of a book, or a diff that changes it from `previous_id` to `last_id`.

    event_ns   when it was so, by the venue's matching engine: equal for every connection
    restarted  the venue counts anew from here, whatever the ids were
    checksum   of the book as it is then, by the dialect's `checksum`; None: nothing to compare
    """

    symbol: str
    event_ns: int
    snapshot: bool
    last_id: int
    previous_id: int
    bids: Sequence[Level]
    asks: Sequence[Level]
    restarted: bool = False
    checksum: int | None = None


class TradeFact(NamedTuple):
    """A trade. `key` names it for ever, `trade_id` is its number for the row; 0: it has none."""

    symbol: str
    event_ns: int
    key: str
    trade_id: int
    price: str
    size: str
    sold: bool
    fills: int = 1


class BarFact(NamedTuple):
    """A bar as far as it got; `past`: history that was asked for."""

    symbol: str
    event_ns: int
    open_ns: int
    interval_ns: int
    closed: bool
    prices: tuple[str, str, str, str]  # open, high, low, close
    volume: str
    turnover: float
    past: bool = False


class MarkFact(NamedTuple):
    """What changed of mark price, index price, funding rate and next funding time; None: not
    said."""

    symbol: str
    event_ns: int
    mark: float | None = None
    index_price: float | None = None
    rate: float | None = None
    next_funding_ns: int | None = None


class LiquidationFact(NamedTuple):
    """A position closed by force; `long`: it was a long one, so that the closing order sold."""

    symbol: str
    event_ns: int
    price: str
    size: str
    long: bool


class MetricFact(NamedTuple):
    """A value of a slow series (market/rows.py, METRIC_*)."""

    symbol: str
    field: int
    as_of_ns: int
    value: float


class ListedFact(NamedTuple):
    """An instrument as the venue lists it. `contract` is what one unit of a size is in base
    currency, as the venue spells it."""

    symbol: str
    tick_size: str
    lot_size: str
    status: int = TRADING
    contract: str = "1"


class ListFact(NamedTuple):
    """The venue's list; of a `whole` one what is missing is delisted."""

    listed: tuple[ListedFact, ...]
    whole: bool


Fact = BookFact | TradeFact | BarFact | MarkFact | LiquidationFact | MetricFact | ListFact


class RefusedError(ValueError):
    """A frame that brings no fact; `outcome` is what it is counted as."""

    def __init__(self, outcome: str, why: str) -> None:
        super().__init__(why)
        self.outcome = outcome


def digits_of(text: Any) -> tuple[int, int]:
    """(digits, decimals) of a plain decimal string: "28145.10" is (2814510, 2). Raises ValueError
    on anything else: signs, exponents, more than 18 digits without the zeros behind."""
    found = _PLAIN.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise ValueError(f"{text!r} is no plain decimal")
    fraction = (found[2] or "").rstrip("0")
    if len(found[1]) + len(fraction) > MAX_DIGITS:
        raise ValueError(f"{text!r} has more than {MAX_DIGITS} digits")
    return int(found[1] + fraction), len(fraction)


def steps(
    text: Any, decimals: int, units: int, contract: tuple[int, int] = (1, 0)
) -> tuple[int, bool]:
    """(whole steps of units·10^-decimals in text × contract, whether nothing was left over), exact.
    Raises ValueError on what is no plain decimal or too large for a row."""
    digits, places = digits_of(text)
    whole, left = divmod(
        digits * contract[0] * 10**decimals, units * int(10 ** (places + contract[1]))
    )
    if whole >= 10**MAX_DIGITS:
        raise ValueError(f"{text!r} is too large")
    return whole, left == 0


def ticks(text: Any, instrument: Instrument) -> tuple[int, bool]:
    """A price in ticks, and whether it lies on the grid."""
    return steps(text, instrument.tick_decimals, instrument.tick_units)


def lots(text: Any, instrument: Instrument, contract: tuple[int, int]) -> tuple[int, bool]:
    """A size in lots of base currency, cut to the lot below, and whether nothing was cut."""
    return steps(text, instrument.lot_decimals, instrument.lot_units, contract)


def steps_of(symbol: str, tick_size: str, lot_size: str) -> tuple[int, int, int, int]:
    """An instrument's `steps` by the venue's decimals, on whatever market. Raises
    InstrumentError."""
    return Instrument.of(symbol, BYBIT, tick_size, lot_size).steps


def real(value: Any) -> float:
    """A finite number, quoted or not. Raises ValueError."""
    if not isinstance(value, (str, int, float)) or isinstance(value, bool):
        raise ValueError(f"{value!r} is no number")
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{value!r} is not finite")
    return number


def count(value: Any, least: int = 0) -> int:
    """An integer of at least `least` that a row can hold, quoted or not. Raises ValueError."""
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,19}", value, re.ASCII):
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value < 2**63:
        raise ValueError(f"{value!r} is no integer from {least}")
    return value


def stamp_ns(value: Any) -> int:
    """Milliseconds since the epoch, quoted or not, as ns. Raises ValueError."""
    stamp_ms = count(value)
    if stamp_ms > LATEST_MS:
        raise ValueError(f"{value!r} is no time")
    return stamp_ms * MS_NS


def text(value: Any) -> str:
    """A string of 1 to 64 characters. Raises ValueError."""
    if not isinstance(value, str) or not 0 < len(value) <= 64:
        raise ValueError(f"{value!r} is no short text")
    return value


def members(value: Any) -> dict[str, Any]:
    """An object. Raises ValueError."""
    if not isinstance(value, dict):
        raise ValueError(f"{value!r:.80} is no object")
    return value


def entries(value: Any) -> list[Any]:
    """An array. Raises ValueError."""
    if not isinstance(value, list):
        raise ValueError(f"{value!r:.80} is no array")
    return value


def levels(value: Any) -> list[Level]:
    """An array of [price, size, …], both strings that are plain decimals. Raises ValueError."""
    out: list[Level] = []
    for entry in entries(value):
        if not isinstance(entry, list) or len(entry) < 2:
            raise ValueError(f"{entry!r:.80} is no level")
        digits_of(entry[0])
        digits_of(entry[1])
        out.append((entry[0], entry[1]))
    return out
