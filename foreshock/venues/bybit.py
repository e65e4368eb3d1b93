"""Bybit v5 linear perpetuals: its frames and answers → facts (field names: its public docs, v5).

Book rules: a `snapshot` replaces; each `delta` has u = previous u + 1; u = 1 says that the service
restarted, whatever came before. `cts` is the matching engine's time, the same on every connection;
`ts` is the pusher's. The side of a liquidation is that of the position: Buy was a long one.
Trades are named by UUIDs; `seq` orders them across streams, and several may share one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import orjson

from foreshock.market.clock import SECOND_NS
from foreshock.market.instruments import BYBIT, Instrument, canonical_symbol
from foreshock.market.rows import (
    DELISTED,
    HALTED,
    METRIC_FUNDING_RATE,
    METRIC_OPEN_INTEREST,
    METRIC_OPEN_INTEREST_VALUE,
    TRADING,
)
from foreshock.venues.dialect import Stream
from foreshock.venues.facts import (
    BarFact,
    BookFact,
    Fact,
    LiquidationFact,
    ListedFact,
    ListFact,
    MarkFact,
    MetricFact,
    RefusedError,
    TradeFact,
    count,
    digits_of,
    entries,
    levels,
    members,
    real,
    stamp_ns,
    text,
)
from foreshock.venues.silence import (
    BAR_STREAM,
    DEPTH_STREAM,
    LIQUIDATION_STREAM,
    MARK_STREAM,
    TAPE_STREAM,
)
from foreshock.venues.socket_session import SocketSession
from foreshock.venues.text_book import TextBook

BOOK_LEVELS: Final = 200
_TOPICS: Final = (
    (f"orderbook.{BOOK_LEVELS}", DEPTH_STREAM),
    ("publicTrade", TAPE_STREAM),
    ("kline.1", BAR_STREAM),
    ("tickers", MARK_STREAM),
    ("allLiquidation", LIQUIDATION_STREAM),
)
MINUTE_NS: Final = 60 * SECOND_NS
_STATUS: Final = {"Trading": TRADING, "Closed": DELISTED}


class Bybit:
    """The dialect (`dialect.Dialect`)."""

    market = BYBIT
    levels = BOOK_LEVELS
    in_contracts = False

    def streams(self, symbols: Sequence[str]) -> list[Stream]:
        """Five topics of each symbol."""
        return [Stream(f"{topic}.{s}", s, kind) for s in symbols for topic, kind in _TOPICS]

    def read(self, frame: bytes) -> list[Fact]:
        """Facts of a frame."""
        message = members(orjson.loads(frame))
        topic = message.get("topic")
        if topic is None:
            if "op" in message or "success" in message:
                raise RefusedError("answer", "an answer to what we sent")
            raise RefusedError("malformed", "no topic")
        name, _, rest = text(topic).partition(".")
        symbol = rest.rpartition(".")[2]
        data = message.get("data")
        if name == "orderbook":
            return [_book(message, members(data), symbol)]
        if name == "publicTrade":
            return [_trade(members(one)) for one in entries(data)]
        if name == "kline":
            return [_bar(members(one), symbol) for one in entries(data)]
        if name == "tickers":
            return _ticker(message, members(data))
        if name == "allLiquidation":
            return [_liquidation(members(one)) for one in entries(data)]
        raise RefusedError("unsupported", f"topic {topic}")

    def answer(self, kind: str, symbol: str, body: bytes) -> list[Fact]:
        """Facts of the answers to `BybitWire`'s requests."""
        if kind not in _ANSWERS:
            raise RefusedError("unsupported", f"an answer of kind {kind}")
        return _ANSWERS[kind](result(body), symbol)

    def checksum(self, book: TextBook) -> int:
        """There is none."""
        return 0


def bybit_session(
    instruments: Sequence[Instrument], *, tape: str = "trade", stale_after_ns: int = 15 * SECOND_NS
) -> SocketSession:
    """A session of Bybit's linear perpetuals; there is one tape, whatever `tape` says."""
    return SocketSession(Bybit(), instruments, stale_after_ns=stale_after_ns)


def bybit_instruments(body: bytes) -> list[Instrument]:
    """All perpetuals that an instruments-info answer lists as trading. Raises ValueError."""
    return [
        Instrument.of(one.symbol, BYBIT, one.tick_size, one.lot_size)
        for one in _listed(result(body))
        if one.status == TRADING
    ]


def result(body: bytes) -> dict[str, Any]:
    """What is inside an answer that went well. Raises ValueError."""
    answer = members(orjson.loads(body))
    if answer.get("retCode") != 0:
        raise ValueError(f"refused: {answer.get('retCode')} {answer.get('retMsg')!r:.80}")
    return members(answer.get("result"))


def _book(message: dict[str, Any], data: dict[str, Any], symbol: str) -> BookFact:
    kind, last_id = message.get("type"), count(data.get("u"), 1)
    if kind not in ("snapshot", "delta") or text(data.get("s")) != symbol:
        raise ValueError(f"a book of type {kind!r}, {symbol} or {data.get('s')!r}")
    event_ns = stamp_ns(message["cts"] if "cts" in message else message.get("ts"))
    bids, asks = levels(data.get("b")), levels(data.get("a"))
    # u = 1 is the service's restart and brings the whole book, whatever its type says.
    snapshot = kind == "snapshot" or (last_id == 1 and bool(bids) and bool(asks))
    return BookFact(
        symbol, event_ns, snapshot, last_id, last_id - 1, bids, asks, restarted=last_id == 1
    )


def _trade(data: dict[str, Any]) -> TradeFact:
    side, price, size = data.get("S"), data.get("p"), data.get("v")
    digits_of(price), digits_of(size)
    if side not in ("Buy", "Sell"):
        raise ValueError(f"a trade of side {side!r}")
    return TradeFact(
        text(data.get("s")), stamp_ns(data.get("T")), text(data.get("i")),
        count(data.get("seq", 0)), str(price), str(size), side == "Sell",
    )  # fmt: skip


def _bar(data: dict[str, Any], symbol: str) -> BarFact:
    if data.get("interval") != "1" or not isinstance(data.get("confirm"), bool):
        raise ValueError("a kline that is no minute")
    prices = tuple(text(data.get(name)) for name in ("open", "high", "low", "close"))
    return BarFact(
        symbol, stamp_ns(data.get("timestamp")), stamp_ns(data.get("start")), MINUTE_NS,
        bool(data["confirm"]), (prices[0], prices[1], prices[2], prices[3]),
        text(data.get("volume")), real(data.get("turnover")),
    )  # fmt: skip


def _ticker(message: dict[str, Any], data: dict[str, Any]) -> list[Fact]:
    """Of a delta only what changed is there."""

    def given(name: str) -> float | None:
        return real(data[name]) if data.get(name) not in (None, "") else None

    symbol, event_ns = text(data.get("symbol")), stamp_ns(message.get("ts"))
    funding = data.get("nextFundingTime")
    mark = MarkFact(
        symbol, event_ns, given("markPrice"), given("indexPrice"), given("fundingRate"),
        stamp_ns(funding) if funding not in (None, "") else None,
    )  # fmt: skip
    out: list[Fact] = []
    if any(value is not None for value in mark[2:]):
        out.append(mark)
    for name, field in (
        ("openInterest", METRIC_OPEN_INTEREST), ("openInterestValue", METRIC_OPEN_INTEREST_VALUE),
    ):  # fmt: skip
        if (value := given(name)) is not None:
            out.append(MetricFact(symbol, field, event_ns, value))
    return out


def _liquidation(data: dict[str, Any]) -> LiquidationFact:
    side, price, size = data.get("S"), data.get("p"), data.get("v")
    digits_of(price), digits_of(size)
    if side not in ("Buy", "Sell"):
        raise ValueError(f"a liquidation of side {side!r}")
    return LiquidationFact(
        text(data.get("s")), stamp_ns(data.get("T")), str(price), str(size), side == "Buy"
    )


def _listed(answer: dict[str, Any]) -> list[ListedFact]:
    out = []
    for one in map(members, entries(answer.get("list"))):
        name = text(one.get("symbol"))
        if one.get("contractType") != "LinearPerpetual" or "-" in name:
            continue
        price, lot = members(one.get("priceFilter")), members(one.get("lotSizeFilter"))
        out.append(
            ListedFact(
                canonical_symbol(name), text(price.get("tickSize")), text(lot.get("qtyStep")),
                _STATUS.get(str(one.get("status")), HALTED),
            )
        )  # fmt: skip
    return out


def _list(answer: dict[str, Any], _: str) -> list[Fact]:
    # A list that goes on on another page says nothing of what it does not hold.
    return [ListFact(tuple(_listed(answer)), whole=not answer.get("nextPageCursor"))]


def _open_interest(answer: dict[str, Any], symbol: str) -> list[Fact]:
    return [
        MetricFact(
            symbol, METRIC_OPEN_INTEREST, stamp_ns(one.get("timestamp")),
            real(one.get("openInterest")),
        )
        for one in map(members, reversed(entries(answer.get("list"))))
    ]  # fmt: skip


def _funding(answer: dict[str, Any], symbol: str) -> list[Fact]:
    return [
        MetricFact(
            symbol, METRIC_FUNDING_RATE, stamp_ns(one.get("fundingRateTimestamp")),
            real(one.get("fundingRate")),
        )
        for one in map(members, reversed(entries(answer.get("list"))))
    ]  # fmt: skip


def _history(answer: dict[str, Any], symbol: str) -> list[Fact]:
    """Bars, newest first: the newest may still be open."""
    out: list[Fact] = []
    for k, one in enumerate(map(entries, entries(answer.get("list")))):
        if len(one) < 7:
            raise ValueError(f"{one!r:.80} is no bar")
        opened_ns = stamp_ns(one[0])
        prices = (text(one[1]), text(one[2]), text(one[3]), text(one[4]))
        out.append(
            BarFact(
                symbol, opened_ns, opened_ns, MINUTE_NS, k > 0, prices, text(one[5]), real(one[6]),
                past=True,
            )
        )  # fmt: skip
    return out[::-1]


_ANSWERS: Final = {
    "instruments": _list,
    "open_interest": _open_interest,
    "funding_rate": _funding,
    "bars": _history,
}
