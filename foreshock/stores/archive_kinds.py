"""What the venue's public archive holds: kinds of files, their columns, and how they are judged.

    data/<market>/<daily|monthly>/<kind>/<SYMBOL>/[<interval>/]<SYMBOL>-<kind or interval>-DATE.zip

Each zip holds one CSV and has a sibling `….zip.CHECKSUM` (SHA-256). Files come with a header or
without one; stamps are ms, or µs (spot, from 2025 on), or text (metrics, bookDepth). A table of
ours has the same columns whatever the file looked like: stamps int64 ns, prices and sizes float64
as printed (correctly rounded, so that ticks are recovered exactly), flags bool.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

import pyarrow as pa

from foreshock.errors import ArchiveError
from foreshock.market.clock import SECOND_NS
from foreshock.market.instruments import SPOT, USDM

HOUR_NS: Final = 3_600 * SECOND_NS
DAY_NS: Final = 24 * HOUR_NS
MARKET_PATHS: Final[Mapping[str, str]] = {SPOT: "spot", USDM: "futures/um"}

INTERVALS_NS: Final[Mapping[str, int]] = {
    "1s": SECOND_NS,
    **{f"{n}m": n * 60 * SECOND_NS for n in (1, 3, 5, 15, 30)},
    **{f"{n}h": n * HOUR_NS for n in (1, 2, 4, 6, 8, 12)},
    "1d": DAY_NS,
}

Nature = Literal["stamp", "int", "float", "bool", "text", "symbol", "ignored"]
ARROW: Final[Mapping[str, pa.DataType]] = {
    "stamp": pa.int64(),
    "int": pa.int64(),
    "float": pa.float64(),
    "bool": pa.bool_(),
    "text": pa.string(),
}


@dataclass(frozen=True, slots=True)
class Column:
    """A column: our name, its nature, the venue's spellings in headers (lower case, letters and
    digits only), whether files without it are read too, and whether an empty cell
    is a null; elsewhere it makes a bad row."""

    name: str
    nature: Nature
    spelled: tuple[str, ...] = ()
    optional: bool = False
    nullable: bool = False


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of file.

    columns    in the order of files without a header; optional ones stand last
    key        columns that name a row: two rows of one key are one row, or contradict each other
    id_step    True where `key[0]` is an id that counts by one, so that missing rows are known
    gap_ns     rows of `key[0]` further apart than this are a gap; 0: silence proves nothing, and
               -1: the interval of the file
    markets    markets that have it
    periods    which of "daily" and "monthly" files there are
    interval   True where files are kept by interval
    rest       the venue's REST path behind the market's prefix, "" where there is none
    """

    name: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    id_step: bool = False
    gap_ns: int = 0
    markets: tuple[str, ...] = (SPOT, USDM)
    periods: tuple[str, ...] = ("daily", "monthly")
    interval: bool = False
    rest: str = ""

    @property
    def time(self) -> str:
        """The column of the rows' time, UTC ns."""
        return next(c.name for c in self.columns if c.nature == "stamp")

    @property
    def schema(self) -> pa.Schema:
        """Of our tables."""
        return pa.schema([(c.name, ARROW[c.nature]) for c in self.columns if c.nature in ARROW])

    def gap_limit_ns(self, interval: str) -> int:
        """Rows further apart than this are a gap; 0 where silence proves nothing."""
        return INTERVALS_NS[interval] if self.gap_ns < 0 else self.gap_ns


_BARS: Final = (
    Column("open_ns", "stamp", ("opentime",)),
    *(Column(name, "float", (name,)) for name in ("open", "high", "low", "close", "volume")),
    Column("", "ignored", ("closetime",)),  # 1 ms or 1 µs short of the next bar: nothing new
    Column("quote_volume", "float", ("quotevolume", "quoteassetvolume")),
    Column("trades", "int", ("count", "numberoftrades", "trades")),
    Column("taker_buy_volume", "float", ("takerbuyvolume", "takerbuybaseassetvolume")),
    Column("taker_buy_quote_volume", "float", ("takerbuyquotevolume", "takerbuyquoteassetvolume")),
    Column("", "ignored", ("ignore",), optional=True),
)
_MAKER: Final = Column("buyer_is_maker", "bool", ("isbuyermaker", "wasthebuyerthemaker"))
_BEST: Final = Column("", "ignored", ("isbestmatch", "wasthetradethebestpricematch"), True)


def _bars(name: str, markets: tuple[str, ...]) -> Kind:
    return Kind(name, _BARS, ("open_ns",), gap_ns=-1, markets=markets, interval=True, rest=name)


KINDS: Final[Mapping[str, Kind]] = {
    kind.name: kind
    for kind in (
        _bars("klines", (SPOT, USDM)),
        _bars("premiumIndexKlines", (USDM,)),
        _bars("markPriceKlines", (USDM,)),
        _bars("indexPriceKlines", (USDM,)),
        Kind(
            "aggTrades",
            (
                Column("id", "int", ("aggtradeid", "aggregatetradeid")),
                Column("price", "float", ("price",)),
                Column("size", "float", ("quantity", "qty")),
                Column("first_id", "int", ("firsttradeid",)),
                Column("last_id", "int", ("lasttradeid",)),
                Column("event_ns", "stamp", ("transacttime", "timestamp", "time")),
                _MAKER,
                _BEST,
            ),
            ("id",),
            id_step=True,
            rest="aggTrades",
        ),
        Kind(
            "trades",
            (
                Column("id", "int", ("id", "tradeid")),
                Column("price", "float", ("price",)),
                Column("size", "float", ("qty", "quantity")),
                Column("quote_size", "float", ("quoteqty",)),
                Column("event_ns", "stamp", ("time", "timestamp")),
                _MAKER,
                _BEST,
            ),
            ("id",),
            id_step=True,
        ),
        Kind(
            "bookDepth",
            (
                Column("event_ns", "stamp", ("timestamp",)),
                Column("percentage", "float", ("percentage",)),
                Column("depth", "float", ("depth",)),
                Column("notional", "float", ("notional",)),
            ),
            ("event_ns", "percentage"),
            gap_ns=300 * SECOND_NS,  # every 30 s or 60 s, never quite evenly
            markets=(USDM,),
            periods=("daily",),
        ),
        Kind(
            "metrics",
            (
                Column("event_ns", "stamp", ("createtime",)),
                Column("", "symbol", ("symbol",)),
                Column("open_interest", "float", ("sumopeninterest",)),
                *(
                    Column(name, "float", (spelled,), nullable=True)
                    for name, spelled in (
                        ("open_interest_value", "sumopeninterestvalue"),
                        ("top_long_short_accounts", "counttoptraderlongshortratio"),
                        ("top_long_short_positions", "sumtoptraderlongshortratio"),
                        ("long_short_accounts", "countlongshortratio"),
                        ("taker_buy_sell", "sumtakerlongshortvolratio"),
                    )
                ),
            ),
            ("event_ns",),
            gap_ns=450 * SECOND_NS,  # every 5 min, stamped a few seconds late at times
            markets=(USDM,),
            periods=("daily",),
        ),
        Kind(
            "fundingRate",
            (
                Column("event_ns", "stamp", ("calctime", "fundingtime")),
                Column("interval_h", "int", ("fundingintervalhours",)),
                Column("rate", "float", ("lastfundingrate", "fundingrate")),
            ),
            ("event_ns",),
            gap_ns=8 * HOUR_NS + 60 * SECOND_NS,  # 8 h, or less; stamped some ms late
            markets=(USDM,),
            periods=("monthly",),
            rest="fundingRate",
        ),
    )
}


def kind_of(name: str, market: str, interval: str = "") -> Kind:
    """The kind called `name`. Raises ArchiveError where the market has no such files, or the
    interval does not fit."""
    kind = KINDS.get(name)
    if kind is None:
        raise ArchiveError("kind", f"{name!r} is none of {', '.join(KINDS)}")
    if market not in kind.markets:
        raise ArchiveError("kind", f"{market} has no {name}: {', '.join(kind.markets)} has")
    if kind.interval and interval not in INTERVALS_NS:
        raise ArchiveError("kind", f"{name} of {interval!r}: one of {', '.join(INTERVALS_NS)}")
    return kind
