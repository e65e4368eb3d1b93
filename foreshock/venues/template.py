"""The smallest complete venue: copy this file, and the conformance suite says what is missing.

A venue is a dialect (what its frames say), a wire (how it is asked) and a line in registry.py. This
one speaks one JSON object a frame and brings its book's snapshots over the socket:

    {"ch": "book:BTCUSDT", "kind": "snapshot", "id": 7, "at": 1700000000000,
     "bids": [["99.99", "1.5"]], "asks": [["100.01", "2"]]}
    {"ch": "book:BTCUSDT", "kind": "diff", "prev": 7, "id": 9, "at": …, "bids": …, "asks": …}
    {"ch": "tape:BTCUSDT", "id": 41, "at": …, "price": "100.01", "size": "0.3", "side": "sell"}

Its rule: a diff follows if `prev` is the last `id`. What a dialect raises is counted, never seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import orjson

from foreshock.market.clock import MS_NS, SECOND_NS
from foreshock.market.instruments import Instrument
from foreshock.market.rows import HALTED, TRADING
from foreshock.venues.dialect import Stream
from foreshock.venues.facts import (
    BookFact,
    Fact,
    ListedFact,
    ListFact,
    RefusedError,
    TradeFact,
    count,
    entries,
    levels,
    members,
    stamp_ns,
    text,
)
from foreshock.venues.silence import DEPTH_STREAM, TAPE_STREAM
from foreshock.venues.socket_session import SocketSession
from foreshock.venues.socket_wire import SocketWire
from foreshock.venues.text_book import TextBook
from foreshock.venues.wire import Request

TEMPLATE: Final = "template"


class Template:
    """The dialect (`dialect.Dialect`)."""

    market = TEMPLATE
    levels = 50
    in_contracts = False

    def streams(self, symbols: Sequence[str]) -> list[Stream]:
        """Two channels of each symbol."""
        kinds = (("book", DEPTH_STREAM), ("tape", TAPE_STREAM))
        return [Stream(f"{name}:{s}", s, kind) for s in symbols for name, kind in kinds]

    def read(self, frame: bytes) -> list[Fact]:
        """Facts of a frame."""
        said = members(orjson.loads(frame))
        channel, _, symbol = text(said.get("ch")).partition(":")
        if channel == "book":
            snapshot = said.get("kind") == "snapshot"
            last_id = count(said.get("id"))
            previous_id = -1 if snapshot else count(said.get("prev"))
            bids, asks = levels(said.get("bids")), levels(said.get("asks"))
            at_ns = stamp_ns(said.get("at"))
            return [BookFact(symbol, at_ns, snapshot, last_id, previous_id, bids, asks)]
        if channel == "tape":
            number, side = count(said.get("id")), said.get("side")
            if side not in ("buy", "sell"):
                raise ValueError(f"a trade of side {side!r}")
            price, size = text(said.get("price")), text(said.get("size"))
            at_ns = stamp_ns(said.get("at"))
            return [TradeFact(symbol, at_ns, str(number), number, price, size, side == "sell")]
        raise RefusedError("unsupported", f"channel {channel}")

    def answer(self, kind: str, symbol: str, body: bytes) -> list[Fact]:
        """Facts of a REST answer: instruments, [{"name", "tick", "lot", "halted"}, …]."""
        if kind != "instruments":
            raise RefusedError("unsupported", f"an answer of kind {kind}")
        listed = [
            ListedFact(
                text(one.get("name")),
                text(one.get("tick")),
                text(one.get("lot")),
                HALTED if one.get("halted") else TRADING,
            )
            for one in map(members, entries(orjson.loads(body)))
        ]
        return [ListFact(tuple(listed), whole=True)]

    def checksum(self, book: TextBook) -> int:
        """There is none."""
        return 0


def template_session(
    instruments: Sequence[Instrument], *, tape: str = "trade", stale_after_ns: int = 15 * SECOND_NS
) -> SocketSession:
    """A session of this venue."""
    return SocketSession(Template(), instruments, stale_after_ns=stale_after_ns)


class TemplateWire(SocketWire):
    """How it is asked. The addresses lead nowhere."""

    ws_url = "wss://template.invalid"
    rest_url = "https://template.invalid"
    path = "/stream"
    heartbeat: tuple[float, str] | None = None
    message_pause_s = 0.1
    lifetime_s = 24 * 3600.0
    weight_per_minute = 600
    connects_per_5min = 300
    args_per_message = 50

    def __init__(self) -> None:
        super().__init__(Template())

    def instruments(self) -> Request:
        """The list of instruments."""
        return Request("instruments", "", "/instruments", {}, 1, 60.0)

    def polls(self, symbols: Sequence[str]) -> list[Request]:
        """Nothing is asked again and again."""
        return []

    def time(self) -> Request:
        """The venue's clock."""
        return Request("time", "", "/time")

    def venue_ns(self, body: bytes) -> int:
        """Of `{"ms": 1700000000000}`. Raises ValueError on anything else."""
        said: Any = orjson.loads(body)
        return count(members(said).get("ms"), 1) * MS_NS
