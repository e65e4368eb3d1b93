"""Forms of data that others recorded: what their columns are called, and what they become.

A form is recognised by its columns, never by a file's name; names help only where a file does not
say its own symbol or market. What a file does not say is not guessed: the importer refuses, and
says which option tells it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from foreshock.market.clock import SECOND_NS
from foreshock.stores.archive_kinds import DAY_NS, HOUR_NS, Column, Kind, Nature


@dataclass(frozen=True, slots=True)
class Form:
    """A layout of columns.

    kind        the columns, ours and as they are spelled; `symbol` and `market` of nature text
    becomes     kind of series in a history
    interval    of the rows; "" where the kind has none, "?" where the rows tell it
    known       what is known, and what is not, of every file of this form
    by_one      ids leave none out
    headless    True where files have no header and are told by the number of columns
    market      of every file of this form; "" where rows, name or caller must say it
    """

    kind: Kind
    becomes: str
    interval: str = ""
    known: tuple[str, ...] = ()
    by_one: bool = True
    headless: bool = False
    market: str = ""


def _column(name: str, nature: Nature, *spelled: str, nullable: bool = False) -> Column:
    return Column(name, nature, spelled or (name.replace("_", ""),), nullable=nullable)


_SYMBOL: Final = _column("symbol", "text", "symbol", "coin", "pair")
_MARKET: Final = _column("market", "text", "venue", "exchange")
_DATE: Final = _column("event_ns", "stamp", "date", "timestamp", "time")
_OPEN: Final = _column("open_ns", "stamp", "date", "timestamp", "time")
_OHLC: Final = tuple(
    _column(name, "float", name, name[0]) for name in ("open", "high", "low", "close")
)
_VOLUME: Final = _column("volume", "float", "volume", "v")
_RATE: Final = _column("rate", "float", "fundingrate")
_RECEIVED: Final = _column("arrival_ns", "stamp", "timestampofreceive")
_EVENT: Final = _column("event_ns", "stamp", "transactiontime")
_MAKER: Final = _column("buyer_is_maker", "bool", "isbuyermarketmaker")
_LEVEL: Final = (
    _column("is_ask", "bool"),
    _column("price", "float"),
    _column("size", "float", "quantity"),
)
_BAR_FACTS: Final = ("no taker-buy volume and no trade counts: the bars tier",)
_VENUE_FACTS: Final = ("symbols are coins, of a contract that is not named",)

FORMS: Final[Mapping[str, Form]] = {
    "bars": Form(
        Kind("bars", (_SYMBOL, _OPEN, *_OHLC, _VOLUME), ("open_ns",)), "klines", "?", _BAR_FACTS
    ),
    "venue bars": Form(
        Kind("venue bars", (_MARKET, _SYMBOL, _OPEN, *_OHLC, _VOLUME), ("open_ns",)),
        "klines",
        "?",
        (*_BAR_FACTS, *_VENUE_FACTS, "the unit of volume is not said"),
    ),
    "contract bars": Form(
        Kind(
            "contract bars",
            (
                _MARKET,
                _column("symbol", "text", "pair"),
                _column("contract", "text"),
                _OPEN,
                *_OHLC,
                _VOLUME,
                _column("rate", "float", "fundingrate", nullable=True),
            ),
            ("open_ns",),
        ),
        "klines",
        "?",
        (*_BAR_FACTS, "funding stands on the bar that opens when it is settled"),
    ),
    "funding": Form(Kind("funding", (_SYMBOL, _DATE, _RATE), ("event_ns",)), "fundingRate"),
    "venue funding": Form(
        Kind("venue funding", (_MARKET, _SYMBOL, _DATE, _RATE), ("event_ns",)),
        "fundingRate",
        known=(
            *_VENUE_FACTS,
            "rates are per the venue's own interval, which differs and is not said",
        ),
    ),
    "open interest": Form(
        Kind(
            "open interest",
            (
                _SYMBOL,
                _DATE,
                _column("open_interest", "float", "sumopeninterest"),
                _column("open_interest_value", "float", "sumopeninterestvalue"),
            ),
            ("event_ns",),
        ),
        "metrics",
        "?",
        ("no long/short ratios",),
    ),
    "venue open interest": Form(
        Kind(
            "venue open interest",
            (_MARKET, _SYMBOL, _DATE, _column("open_interest_value", "float", "oiusd")),
            ("event_ns",),
        ),
        "metrics",
        "?",
        (*_VENUE_FACTS, "in USD only: base units are not known"),
    ),
    "liquidation volume": Form(
        Kind(
            "liquidation volume",
            (
                _SYMBOL,
                _DATE,
                *(_column(n, "float") for n in ("total_usd", "long_usd", "short_usd")),
                _column("count", "int", "liqcount"),
            ),
            ("event_ns",),
        ),
        "liquidationVolume",
        "?",
        ("summed over venues that are not named", "long and short do not add up to the total"),
        market="venues",
    ),
    "rest trades": Form(
        Kind(
            "rest trades",
            (
                _column("id", "int"),
                _column("price", "float"),
                _column("size", "float", "qty"),
                _column("quote_size", "float", "quoteqty"),
                _column("event_ns", "stamp", "time"),
                _column("buyer_is_maker", "bool", "isbuyermaker"),
            ),
            ("id",),
            id_step=True,
        ),
        "trades",
    ),
    "public trades": Form(
        Kind(
            "public trades",
            (
                _column("event_ns", "stamp", "timestamp"),
                _column("id", "int"),
                _column("side", "text"),
                _column("price", "float"),
                _column("size", "float", "amount"),
                _column("quote_size", "float", "cost"),
            ),
            ("id",),
            id_step=True,
        ),
        "trades",
    ),
    "stream trades": Form(
        Kind(
            "stream trades",
            (
                _RECEIVED,
                _EVENT,
                _SYMBOL,
                _column("id", "int", "tradeid"),
                _column("price", "float"),
                _column("size", "float", "quantity"),
                _MAKER,
            ),
            ("id",),
            id_step=True,
        ),
        "trades",
    ),
    "stream depth": Form(
        Kind(
            "stream depth",
            (
                _RECEIVED,
                _column("event_ns", "stamp", "eventtime"),
                _SYMBOL,
                _column("first_id", "int", "firstupdateid"),
                _column("last_id", "int", "finalupdateid"),
                *_LEVEL,
            ),
            ("last_id", "is_ask", "price"),
        ),
        "depth",
        by_one=False,
    ),
    "depth snapshots": Form(
        Kind(
            "depth snapshots",
            (
                _RECEIVED,
                _column("event_ns", "stamp", "timestampofrequest"),
                _column("last_id", "int", "lastupdateid"),
                *_LEVEL,
            ),
            ("last_id", "is_ask", "price"),
        ),
        "depthSnapshots",
        known=(
            "event_ns is when the snapshot was asked for: the venue's own time is not recorded",
        ),
        by_one=False,
    ),
    "liquidations": Form(
        Kind(
            "liquidations",
            (
                _SYMBOL,
                *(_column(n, "text") for n in ("side", "order_type", "time_in_force")),
                _column("size", "float"),
                _column("price", "float"),
                _column("average_price", "float"),
                _column("status", "text"),
                _column("last_filled", "float"),
                _column("filled", "float"),
                _column("event_ns", "stamp"),
                _column("quote_size", "float"),
            ),
            ("event_ns", "price", "size"),
        ),
        "liquidations",
        known=(
            "the venue's stream is a sample: the latest liquidation per symbol and second",
            "the order of the two prices is taken from the stream's fields (price, average price)",
        ),
        by_one=False,
        headless=True,
    ),
    "large trades": Form(
        Kind(
            "large trades",
            (
                _column("arrival_ns", "stamp"),
                _SYMBOL,
                _column("id", "int"),
                _column("price", "float"),
                _column("size", "float"),
                _column("event_ns", "stamp"),
                _column("buyer_is_maker", "bool"),
            ),
            ("id",),
            id_step=True,
        ),
        "largeTrades",
        known=("only trades above a size: what lies between two ids is not known",),
        by_one=False,
        headless=True,
    ),
}
EVERY_NS: Final[Mapping[str, int]] = {"fundingRate": 8 * HOUR_NS + 60 * SECOND_NS}
SERIES_LAG_NS: Final = DAY_NS  # publication of daily series is not recorded: assumed a full day
