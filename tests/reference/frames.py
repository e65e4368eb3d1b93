"""The slow twin of venues/scan.py and venues/binance_frames.py: Python's own JSON, regular
expressions and Decimal, one frame at a time.

What "the same" means, where JSON leaves it open:

1. Bytes are read as Latin-1: that a text frame is UTF-8 is checked by the socket, not here.
2. Strings are compared as spelled; an escape in a key or symbol makes it another key or symbol.
3. A key of those that are read must not come twice in a payload; other keys may.
4. Values that are skipped may be nested 60 deep; NaN and Infinity are no JSON.
5. Integers have at most 18 digits, decimals at most 18 with the zeros that the grid adds.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, NamedTuple

from foreshock.market.instruments import Instrument
from foreshock.market.rows import (
    BOOK,
    DEPTH,
    EPOCH,
    HELD,
    QUOTE,
    REASON_GAP,
    REASON_RESUMED,
    RESYNCING,
    SELL,
    STALE,
    SYNCED,
    TAPE,
    TRADE,
    Rows,
    heads,
    levels_of,
)
from tests.reference.book import Continuity, Diff

READ = {*map(chr, range(65, 123)), "pu"}  # keys whose double would be ambiguous
ESCAPE = re.compile(r'\\(["\\/bfnrt]|u[0-9a-fA-F]{4})')
PLAIN = re.compile(r"([0-9]+)(?:\.([0-9]+))?")
INTEGER = re.compile(r"(?:0|[1-9][0-9]{0,17})")
DEEPEST = 60
LATEST_MS = (2**63 - 1) // 1_000_000
LARGEST = 4_000_000


class MalformedError(Exception):
    """Not the JSON, or not the payload, that it must be."""


class BadNumberError(Exception):
    """Off the instrument's grid."""


class Number(str):
    """A JSON number as it was spelled."""


class Line(NamedTuple):
    """A row as plain values; levels of a DEPTH row are lists of (ticks, lots)."""

    kind: int
    flags: int
    symbol: int
    event_ns: int
    id: int
    id2: int
    a: int
    b: int
    c: int
    d: int
    bids: list[tuple[int, int]]
    asks: list[tuple[int, int]]


def lines_of(rows: Rows) -> list[Line]:
    """Rows as lines, packs with their headers."""
    out = []
    for head in heads(rows).tolist():
        row = rows[head]
        names = ("kind", "flags", "symbol", "event_ns", "id", "id2", "a", "b", "c", "d")
        sides: list[list[tuple[int, int]]] = [[], []]
        if row["count"]:
            sides = [[(int(t), int(q)) for t, q in side] for side in levels_of(rows, head)]
        out.append(Line(*(int(row[name]) for name in names), *sides))
    return out


class Members(list):  # type: ignore[type-arg]
    """A JSON object as its members in order, doubles included."""

    def get(self, key: str) -> Any:
        return next((value for name, value in self if name == key), None)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _depth(value: Any) -> int:
    if isinstance(value, Members):
        return 1 + max((_depth(inner) for _, inner in value), default=0)
    if isinstance(value, list):
        return 1 + max(map(_depth, value), default=0)
    return 0


def parse(frame: bytes) -> Any:
    """The frame's JSON: objects as Members, numbers as Number. Raises MalformedError."""
    spelled = ESCAPE.sub("\ue000", frame.decode("latin-1"))
    try:
        return json.loads(
            spelled, object_pairs_hook=Members, parse_int=Number, parse_float=Number,
            parse_constant=_no_constant,
        )  # fmt: skip
    except (ValueError, RecursionError) as error:
        raise MalformedError from error


def _integer(value: Any) -> int:
    if not isinstance(value, Number) or not INTEGER.fullmatch(value):
        raise MalformedError
    return int(value)


def on_grid(text: Any, decimals: int, units: int) -> tuple[int, bool]:
    """(whole steps, whether that is all of it) of a quoted decimal."""
    if isinstance(text, Number) or not isinstance(text, str):
        raise MalformedError
    match = PLAIN.fullmatch(text)
    if match is None or len(match[1]) + decimals > 18:
        raise MalformedError
    exact = Decimal(text).scaleb(decimals) / units if len(text) < 25 else None
    whole, fraction = match[1], match[2] or ""
    steps, rest = divmod(int(whole + fraction[:decimals].ljust(decimals, "0")), units)
    fits = not rest and not fraction[decimals:].strip("0")
    assert exact is None or (exact == steps) == fits
    return steps, fits


@dataclass
class FrameTwin:
    """The decoder's twin: one market's symbols, their continuity and their tape."""

    instruments: list[Instrument]
    market: str
    tape: str = "trade"
    books: list[Continuity] = field(default_factory=list)
    tape_epoch: list[int] = field(default_factory=list)
    trade_id: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        n = len(self.instruments)
        self.books = [Continuity(self.market) for _ in range(n)]
        self.tape_epoch, self.trade_id = [0] * n, [-1] * n

    def start(self) -> None:
        """A session began."""
        for s, book in enumerate(self.books):
            book.start()
            self.tape_epoch[s] += 1

    def read(self, frame: bytes) -> tuple[str, list[Line]]:
        """(outcome, rows) of one frame."""
        if len(frame) > LARGEST:
            return "oversized", []
        try:
            return self._read(frame)
        except MalformedError:
            return "malformed", []
        except BadNumberError:
            return "bad_number", []

    def _read(self, frame: bytes) -> tuple[str, list[Line]]:
        payload, wrapped = self._payload(parse(frame))
        known = [name for name, _ in payload if name in READ]
        if len(known) != len(set(known)) or any(_depth(v) > DEEPEST for _, v in payload):
            raise MalformedError
        event = payload.get("e")
        if self._is_text(event):
            if event not in ("trade", "aggTrade", "depthUpdate", "bookTicker"):
                return "unsupported", []
        elif self._is_text(payload.get("B")) and self._is_text(payload.get("A")):
            event = "bookTicker"
        elif not wrapped and not self._is_text(payload.get("s")):
            return "answer", []
        else:
            return "unsupported", []
        symbol = payload.get("s")
        if not self._is_text(symbol):
            raise MalformedError
        s = next((k for k, i in enumerate(self.instruments) if i.symbol == symbol), -1)
        if s < 0:
            return "unknown_symbol", []
        if event == "depthUpdate":
            return self._depth_update(s, payload)
        if event == "bookTicker":
            return self._book_ticker(s, payload)
        if event != self.tape:
            return "unsupported", []
        return self._trade(s, payload)

    @staticmethod
    def _is_text(value: Any) -> bool:
        return isinstance(value, str) and not isinstance(value, Number)

    def _payload(self, parsed: Any) -> tuple[Members, bool]:
        if not isinstance(parsed, Members):
            raise MalformedError
        wrapped = bool(parsed) and parsed[0][0] in ("stream", "data")
        if wrapped:
            names = [name for name, _ in parsed]
            if names not in (["stream", "data"], ["data", "stream"]):
                raise MalformedError
            if not self._is_text(parsed.get("stream")):
                raise MalformedError
            parsed = parsed.get("data")
            if not isinstance(parsed, Members):
                raise MalformedError
        return parsed, wrapped

    def _price(self, s: int, text: Any) -> int:
        steps, fits = on_grid(
            text, self.instruments[s].tick_decimals, self.instruments[s].tick_units
        )
        if not fits:
            raise BadNumberError
        return steps

    def _size(self, s: int, text: Any, exact: bool) -> int:
        steps, fits = on_grid(text, self.instruments[s].lot_decimals, self.instruments[s].lot_units)
        if exact and not fits:
            raise BadNumberError
        return steps

    @staticmethod
    def _event_ns(payload: Members) -> int:
        for name in ("T", "E"):
            value = payload.get(name)
            if isinstance(value, Number) and INTEGER.fullmatch(value) and int(value) <= LATEST_MS:
                return int(value) * 1_000_000
        return 0

    def _trade(self, s: int, payload: Members) -> tuple[str, list[Line]]:
        aggregated = self.tape == "aggTrade"
        trade_id = _integer(payload.get("a" if aggregated else "t"))
        if not all(self._is_text(payload.get(name)) for name in ("p", "q")):
            raise MalformedError
        if not isinstance(payload.get("m"), bool):
            raise MalformedError
        price = self._price(s, payload.get("p"))
        size = self._size(s, payload.get("q"), exact=True)
        fills = 1
        if aggregated:
            fills = _integer(payload.get("l")) - _integer(payload.get("f")) + 1
            if fills < 1:
                raise MalformedError
        if trade_id <= self.trade_id[s]:
            return "repeated", []
        gap = self.trade_id[s] >= 0 and trade_id > self.trade_id[s] + 1
        self.trade_id[s] = trade_id
        lines = []
        if gap:
            self.tape_epoch[s] += 1
            lines.append(self._epoch(s, SYNCED, self.tape_epoch[s], TAPE, REASON_GAP))
        order_type = payload.get("X")
        if not price or not size or (self._is_text(order_type) and order_type != "MARKET"):
            return "no_trade", lines
        flags = SELL if payload.get("m") else 0
        event_ns = self._event_ns(payload)
        lines.append(Line(TRADE, flags, s, event_ns, trade_id, fills, price, size, 0, 0, [], []))
        return "ok", lines

    def _book_ticker(self, s: int, payload: Members) -> tuple[str, list[Line]]:
        update_id = _integer(payload.get("u"))
        values = []
        for name in "bBaA":
            value = payload.get(name)
            if not self._is_text(value):
                raise MalformedError
            values.append(self._price(s, value) if name.islower() else self._size(s, value, False))
        a, b, c, d = values
        return "ok", [Line(QUOTE, 0, s, self._event_ns(payload), update_id, 0, a, b, c, d, [], [])]

    def _levels(self, s: int, value: Any) -> list[tuple[int, int]]:
        if not isinstance(value, list) or isinstance(value, Members):
            raise MalformedError
        out = []
        for level in value:
            if not isinstance(level, list) or isinstance(level, Members) or len(level) < 2:
                raise MalformedError
            price, fits = on_grid(
                level[0], self.instruments[s].tick_decimals, self.instruments[s].tick_units
            )
            if fits and price == 0:
                raise MalformedError
            size = self._size(s, level[1], exact=False)
            if fits:
                out.append((price, size))
        return out

    def _depth_update(self, s: int, payload: Members) -> tuple[str, list[Line]]:
        last, first = _integer(payload.get("u")), _integer(payload.get("U"))
        previous = _integer(payload.get("pu")) if self.market == "binance-usdm" else -1
        bids, asks = self._levels(s, payload.get("b")), self._levels(s, payload.get("a"))
        if first > last:
            raise MalformedError
        book = self.books[s]
        was = book.state
        verdict = book.diff(Diff(first, last, previous))
        if verdict == "repeat":
            return "repeated", []
        flags = 0 if verdict == "applied" else HELD
        event_ns = self._event_ns(payload)
        lines = [
            Line(
                DEPTH,
                flags,
                s,
                event_ns,
                last,
                first,
                previous,
                len(bids),
                len(asks),
                0,
                bids,
                asks,
            )
        ]
        if verdict == "break":
            lines.append(self._epoch(s, RESYNCING, book.epoch, BOOK, REASON_GAP))
        elif was == STALE:
            lines.append(self._epoch(s, SYNCED, book.epoch, BOOK, REASON_RESUMED))
        return "ok", lines

    @staticmethod
    def _epoch(s: int, state: int, epoch: int, family: int, reason: int) -> Line:
        return Line(EPOCH, 0, s, 0, 0, 0, state, epoch, family, reason, [], [])

    def snapshot(self, s: int, body: bytes) -> tuple[int, Any, Any] | None:
        """(lastUpdateId, bids, asks) of a REST depth answer; None where it is none."""
        try:
            if len(body) > LARGEST:
                raise MalformedError
            answer = parse(body)
            if not isinstance(answer, Members):
                raise MalformedError
            names = [name for name, _ in answer]
            read = [name for name in names if name in ("lastUpdateId", "bids", "asks", "E")]
            if len(read) != len(set(read)) or any(_depth(v) > DEEPEST for _, v in answer):
                raise MalformedError
            last = _integer(answer.get("lastUpdateId"))
            if "E" in names:
                _integer(answer.get("E"))
            return last, self._levels(s, answer.get("bids")), self._levels(s, answer.get("asks"))
        except MalformedError:
            return None
