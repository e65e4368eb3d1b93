"""OKX linear swaps: its frames and answers → facts (field names: its public docs, v5).

Book rules of `books` (400 levels): a snapshot has prevSeqId -1; each update's prevSeqId is the last
seqId, also where seqId falls, which is a reset for maintenance; seqId = prevSeqId without levels
says that nothing changed. The checksum is CRC32 over the 25 best levels, bid and ask in turn, the
strings as sent, joined by colons, as a signed integer of 32 bits. The venue retires it: 0, or no
such member, is nothing to compare.

Bars come over another address of the venue and are not subscribed. Sizes count contracts of `ctVal`
base currency: lots are exact in base currency.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from itertools import zip_longest
from typing import Any, Final

import orjson

from foreshock.errors import InstrumentError
from foreshock.market.clock import SECOND_NS
from foreshock.market.instruments import OKX, Instrument, canonical_symbol
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
    BookFact,
    Fact,
    Level,
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
    DEPTH_STREAM,
    LIQUIDATION_STREAM,
    MARK_STREAM,
    TAPE_STREAM,
)
from foreshock.venues.socket_session import SocketSession
from foreshock.venues.text_book import TextBook

BOOK_LEVELS: Final = 400
CHECKED_LEVELS: Final = 25
# Of each symbol. A kind that the silence of streams does not know is -1.
_CHANNELS: Final = (
    ("books", DEPTH_STREAM),
    ("trades", TAPE_STREAM),
    ("mark-price", MARK_STREAM),
    ("funding-rate", -1),
    ("open-interest", -1),
)
# Of the whole market: asked for once.
_MARKET_CHANNELS: Final = (("instruments", -1), ("liquidation-orders", LIQUIDATION_STREAM))
_QUOTES: Final = ("USDT", "USDC")
_STATUS: Final = {"live": TRADING, "expired": DELISTED}


def inst_id(symbol: str) -> str:
    """BTCUSDT → BTC-USDT-SWAP. Raises InstrumentError on another quote than USDT and USDC."""
    for quote in _QUOTES:
        if symbol.endswith(quote) and symbol != quote:
            return f"{symbol[: -len(quote)]}-{quote}-SWAP"
    raise InstrumentError(f"{symbol!r} is not quoted in one of {_QUOTES}")


def symbol_of(name: Any) -> str:
    """BTC-USDT-SWAP → BTCUSDT. Raises ValueError on anything that is no linear swap."""
    base, _, rest = text(name).partition("-")
    quote, _, kind = rest.partition("-")
    if kind != "SWAP" or quote not in _QUOTES or not base.isalnum():
        raise ValueError(f"{name!r} is no linear swap")
    return base + quote


class Okx:
    """The dialect (`dialect.Dialect`)."""

    market = OKX
    levels = BOOK_LEVELS
    in_contracts = True

    def streams(self, symbols: Sequence[str]) -> list[Stream]:
        """Five channels of each symbol, named `books:BTC-USDT-SWAP`, and two of the market."""
        whole = [Stream(f"{channel}:SWAP", "", kind) for channel, kind in _MARKET_CHANNELS]
        return whole + [
            Stream(f"{channel}:{inst_id(s)}", s, kind)
            for s in symbols
            for channel, kind in _CHANNELS
        ]

    def read(self, frame: bytes) -> list[Fact]:
        """Facts of a frame."""
        if frame == b"pong":
            raise RefusedError("answer", "the heartbeat's")
        message = members(orjson.loads(frame))
        if "event" in message:
            raise RefusedError("answer", "an answer to what we sent")
        arg = members(message.get("arg"))
        channel, data = text(arg.get("channel")), entries(message.get("data"))
        if channel == "instruments":
            return [ListFact(tuple(_listed(data)), whole=False)]
        if channel == "liquidation-orders":
            return [fact for one in data for fact in _liquidations(members(one))]
        if channel == "books":
            symbol, action = symbol_of(arg.get("instId")), message.get("action")
            return [_book(members(one), symbol, action) for one in data]
        if channel not in _READERS:
            raise RefusedError("unsupported", f"channel {channel}")
        symbol = symbol_of(arg.get("instId"))
        return [fact for one in data for fact in _READERS[channel](members(one), symbol)]

    def answer(self, kind: str, symbol: str, body: bytes) -> list[Fact]:
        """Facts of the answers to `OkxWire`'s requests."""
        data = result(body)
        if kind == "instruments":
            return [ListFact(tuple(_listed(data)), whole=True)]
        if kind == "funding_rate":
            return [
                MetricFact(
                    symbol, METRIC_FUNDING_RATE, stamp_ns(one.get("fundingTime")),
                    real(one.get("realizedRate") or one.get("fundingRate")),
                )
                for one in map(members, reversed(data))
            ]  # fmt: skip
        raise RefusedError("unsupported", f"an answer of kind {kind}")

    def checksum(self, book: TextBook) -> int:
        """CRC32 of the 25 best levels, as the module says."""
        bids, asks = book.best(CHECKED_LEVELS)
        parts: list[str] = []
        for bid, ask in zip_longest(bids, asks):
            parts += [*_spelled(bid), *_spelled(ask)]
        crc = zlib.crc32(":".join(parts).encode())
        return crc - 2**32 if crc >= 2**31 else crc


def _spelled(level: Level | None) -> Level | tuple[()]:
    return () if level is None else level


def okx_session(
    instruments: Sequence[Instrument],
    *,
    tape: str = "trade",
    stale_after_ns: int = 15 * SECOND_NS,
    contracts: dict[str, str] | None = None,
) -> SocketSession:
    """A session of OKX's linear swaps; there is one tape, whatever `tape` says. `contracts` as in
    `SocketSession`."""
    return SocketSession(Okx(), instruments, stale_after_ns=stale_after_ns, contracts=contracts)


def okx_instruments(body: bytes) -> list[Instrument]:
    """All linear swaps that an answer lists as live. Raises ValueError."""
    return [
        Instrument.of(one.symbol, OKX, one.tick_size, one.lot_size)
        for one in _listed(result(body))
        if one.status == TRADING
    ]


def result(body: bytes) -> list[Any]:
    """What is inside an answer that went well. Raises ValueError."""
    answer = members(orjson.loads(body))
    if answer.get("code") != "0":
        raise ValueError(f"refused: {answer.get('code')} {answer.get('msg')!r:.80}")
    return entries(answer.get("data"))


def _book(data: dict[str, Any], symbol: str, action: Any) -> BookFact:
    if action not in ("snapshot", "update"):
        raise ValueError(f"a book with action {action!r}")
    snapshot = action == "snapshot"
    previous_id, checksum = count(data.get("prevSeqId"), -1), data.get("checksum")
    if snapshot != (previous_id == -1):
        raise ValueError(f"a {action} behind {previous_id}")
    if checksum is not None:
        checksum = count(checksum, -(2**31)) or None
    return BookFact(
        symbol, stamp_ns(data.get("ts")), snapshot, count(data.get("seqId")), previous_id,
        levels(data.get("bids")), levels(data.get("asks")), checksum=checksum,
    )  # fmt: skip


def _trade(data: dict[str, Any], symbol: str) -> list[Fact]:
    side, price, size = data.get("side"), data.get("px"), data.get("sz")
    digits_of(price), digits_of(size)
    if side not in ("buy", "sell"):
        raise ValueError(f"a trade of side {side!r}")
    key = text(data.get("tradeId"))
    return [
        TradeFact(
            symbol, stamp_ns(data.get("ts")), key, count(key), str(price), str(size),
            side == "sell", count(data.get("count", "1"), 1),
        )
    ]  # fmt: skip


def _mark(data: dict[str, Any], symbol: str) -> list[Fact]:
    return [MarkFact(symbol, stamp_ns(data.get("ts")), mark=real(data.get("markPx")))]


def _funding(data: dict[str, Any], symbol: str) -> list[Fact]:
    return [
        MarkFact(
            symbol, stamp_ns(data.get("ts")), rate=real(data.get("fundingRate")),
            next_funding_ns=stamp_ns(data.get("fundingTime")),
        )
    ]  # fmt: skip


def _open_interest(data: dict[str, Any], symbol: str) -> list[Fact]:
    at_ns = stamp_ns(data.get("ts"))
    out: list[Fact] = [MetricFact(symbol, METRIC_OPEN_INTEREST, at_ns, real(data.get("oiCcy")))]
    if data.get("oiUsd"):
        out.append(MetricFact(symbol, METRIC_OPEN_INTEREST_VALUE, at_ns, real(data["oiUsd"])))
    return out


def _liquidations(data: dict[str, Any]) -> list[Fact]:
    """Of every swap of the market: those that are not linear are left out."""
    try:
        symbol = symbol_of(data.get("instId"))
    except ValueError:
        return []
    out: list[Fact] = []
    for one in map(members, entries(data.get("details"))):
        side, price, size = one.get("side"), one.get("bkPx"), one.get("sz")
        digits_of(price), digits_of(size)
        if side not in ("buy", "sell"):
            raise ValueError(f"a liquidation of side {side!r}")
        out.append(
            LiquidationFact(
                symbol, stamp_ns(one.get("ts")), str(price), str(size), long=side == "sell"
            )
        )
    return out


def _listed(data: list[Any]) -> list[ListedFact]:
    out = []
    for one in map(members, data):
        if one.get("instType") != "SWAP" or one.get("ctType") != "linear":
            continue
        try:
            contract = Decimal(text(one.get("ctVal"))) * Decimal(str(one.get("ctMult") or "1"))
            lot = Decimal(text(one.get("lotSz"))) * contract
        except InvalidOperation as error:
            raise ValueError(f"sizes that are no numbers: {one!r:.200}") from error
        out.append(
            ListedFact(
                canonical_symbol(symbol_of(one.get("instId"))), text(one.get("tickSz")),
                f"{lot:f}", _STATUS.get(str(one.get("state")), HALTED), f"{contract:f}",
            )
        )  # fmt: skip
    return out


_READERS: Final = {
    "trades": _trade,
    "mark-price": _mark,
    "funding-rate": _funding,
    "open-interest": _open_interest,
}
