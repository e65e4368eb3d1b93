"""The slow twin of venues/scan.py, reals.py and binance_frames.py with its parts: Python's own
JSON, regular expressions and Decimal, one frame at a time.

What "the same" means, where JSON leaves it open:

1. Bytes are read as Latin-1: that a text frame is UTF-8 is checked by the socket, not here.
2. Strings are compared as spelled; an escape in a key or symbol makes it another key or symbol.
3. A key of those that are read must not come twice in a payload; other keys may.
4. Values that are skipped may be nested 60 deep; NaN and Infinity are no JSON.
5. Integers have at most 18 digits, decimals at most 18 with the zeros that the grid adds; those on
   no grid have at most 18 of significance and 18 behind the point.
"""

from __future__ import annotations

import json
import re
import struct
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, NamedTuple

from foreshock.market.instruments import Instrument
from foreshock.market.rows import (
    BAR,
    BOOK,
    DEPTH,
    EPOCH,
    HELD,
    LIQUIDATION,
    MARK,
    QUOTE,
    REASON_GAP,
    REASON_RESCALED,
    REASON_RESUMED,
    RESYNCING,
    SELL,
    STALE,
    SYNCED,
    TAPE,
    TRADE,
    Rows,
    as_words,
    heads,
    levels_of,
)
from tests.reference.book import Continuity, Diff

READ = {*map(chr, range(65, 123)), "pu", "ap"}  # keys whose double would be ambiguous
ESCAPE = re.compile(r'\\(["\\/bfnrt]|u[0-9a-fA-F]{4})')
PLAIN = re.compile(r"([0-9]+)(?:\.([0-9]+))?")
INTEGER = re.compile(r"(?:0|[1-9][0-9]{0,17})")
DEEPEST = 60
LATEST_MS = (2**63 - 1) // 1_000_000
LARGEST = 4_000_000
AHEAD_MS = 3_600_000
EVENTS = (
    "trade", "aggTrade", "depthUpdate", "bookTicker", "kline", "markPriceUpdate", "forceOrder",
)  # fmt: skip
REAL = re.compile(r"-?([0-9]+)(?:\.([0-9]+))?")
SIGNED = re.compile(r"-?(?:0|[1-9][0-9]{0,17})")
INTERVAL = re.compile(r"([1-9][0-9]{0,2})([smhdw])")
UNIT_S = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
SECOND = 1_000_000_000
LATE = 2**62  # an arrival for whoever has none


class MalformedError(Exception):
    """Not the JSON, or not the payload, that it must be."""


NEAR = 20  # levels of a side that must lie on the grid


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
        if row["kind"] == BAR:
            flat = as_words(rows[head + 1 : head + 2]).reshape(-1, 2)
            sides[0] = [(int(t), int(q)) for t, q in flat]
        elif row["count"]:
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


def real_bits(text: Any) -> int:
    """The int64 with the bits of a quoted decimal's float64."""
    if isinstance(text, Number) or not isinstance(text, str):
        raise MalformedError
    match = REAL.fullmatch(text)
    if match is None:
        raise MalformedError
    fraction = (match[2] or "").rstrip("0")
    if len(fraction) > 18 or len((match[1] + fraction).lstrip("0")) > 18:
        raise MalformedError
    return int(struct.unpack("<q", struct.pack("<d", float(text)))[0])


@dataclass
class LowIds:
    """Ids of one stream that were no news, and how many of them followed each other."""

    last: int = 0
    run: int = 0

    def believed(self, new: int, follows: bool, arrival: int, heard: int, event: int) -> bool:
        """Whether ids like this one begin a new count: eight in a row, fresh, and nothing else for
        half a minute."""
        if new == self.last:
            return False
        self.run = self.run + 1 if follows else 1
        self.last = new
        fresh = event == 0 or event > arrival - 10 * SECOND
        return fresh and self.run >= 8 and arrival - heard > 30 * SECOND


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
    tape_state: list[int] = field(default_factory=list)
    newest: dict[tuple[str, int], tuple[int, ...]] = field(default_factory=dict)
    heard: dict[tuple[str, int], int] = field(default_factory=dict)
    low: dict[tuple[str, int], LowIds] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n = len(self.instruments)
        self.books = [Continuity(self.market) for _ in range(n)]
        self.tape_epoch, self.trade_id, self.tape_state = [0] * n, [-1] * n, [SYNCED] * n

    def start(self) -> None:
        """A session began."""
        for s, book in enumerate(self.books):
            book.start()
            self.tape_epoch[s] += 1

    def _anew(self, kind: str, s: int, new: int, follows: bool, event_ns: int) -> bool:
        low = self.low.setdefault((kind, s), LowIds())
        heard = self.heard.get((kind, s), 0)
        return low.believed(new, follows, self.arrival_ns, heard, event_ns)

    def _later(self, kind: str, s: int, *when: int) -> bool:
        """Whether a frame that has no id is news: later than the last, by the venue's time."""
        if when <= self.newest.get((kind, s), (-1,)):
            return False
        self.newest[kind, s] = when
        return True

    def _stamp(self, value: Any) -> int:
        """The venue's time, ms, that a row needs."""
        stamp = _integer(value)
        if stamp > LATEST_MS or stamp * 1_000_000 - AHEAD_MS * 1_000_000 > self.arrival_ns:
            raise MalformedError
        return stamp

    def read(self, frame: bytes, arrival_ns: int = LATE) -> tuple[str, list[Line]]:
        """(outcome, rows) of one frame."""
        self.arrival_ns = arrival_ns
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
            if event not in EVENTS:
                return "unsupported", []
        elif self._is_text(payload.get("B")) and self._is_text(payload.get("A")):
            event = "bookTicker"
        elif not wrapped and not self._is_text(payload.get("s")):
            return "answer", []
        else:
            return "unsupported", []
        order = payload
        if event == "forceOrder":
            order = self._within(payload.get("o"))
        symbol = order.get("s")
        if not self._is_text(symbol):
            raise MalformedError
        s = next((k for k, i in enumerate(self.instruments) if i.symbol == symbol), -1)
        if s < 0:
            return "unknown_symbol", []
        if event in ("trade", "aggTrade") and event != self.tape:
            return "unsupported", []
        reader, members = {
            "depthUpdate": (self._depth_update, payload),
            "bookTicker": (self._book_ticker, payload),
            "kline": (self._kline, payload),
            "markPriceUpdate": (self._mark_price, payload),
            "forceOrder": (self._liquidation, order),
        }.get(event, (self._trade, payload))
        outcome, lines = reader(s, members)
        if outcome in ("ok", "no_trade"):
            self.heard[event, s] = self.arrival_ns
        return outcome, lines

    @staticmethod
    def _within(value: Any) -> Members:
        """An object within the payload, none of whose keys comes twice."""
        if not isinstance(value, Members):
            raise MalformedError
        names = [name for name, _ in value if name in READ]
        if len(names) != len(set(names)):
            raise MalformedError
        return value

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
            low = self.low.get((self.tape, s), LowIds()).last
            event_ns = self._event_ns(payload)
            if not self._anew(self.tape, s, trade_id, trade_id == low + 1, event_ns):
                return "repeated", []
        gap = self.trade_id[s] >= 0 and trade_id != self.trade_id[s] + 1
        self.trade_id[s] = trade_id
        lines = []
        was, self.tape_state[s] = self.tape_state[s], SYNCED
        if not gap and was == STALE:
            lines.append(self._epoch(s, SYNCED, self.tape_epoch[s], TAPE, REASON_RESUMED))
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
            try:
                each = self._price(s, value) if name.islower() else self._size(s, value, False)
            except BadNumberError:
                return "bad_number", self._distrusted(s, REASON_RESCALED)
            values.append(each)
        a, b, c, d = values
        again = update_id <= self.newest.get(("bookTicker", s), (-1,))[0]
        if again:
            low = self.low.get(("bookTicker", s), LowIds()).last
            event_ns = self._event_ns(payload)
            if not self._anew("bookTicker", s, update_id, update_id > low, event_ns):
                return "repeated", []
        self.newest["bookTicker", s] = (update_id,)
        lines = [Line(QUOTE, 0, s, self._event_ns(payload), update_id, 0, a, b, c, d, [], [])]
        return "ok", lines + (self._distrusted(s, REASON_GAP) if again else [])

    def _distrusted(self, s: int, reason: int) -> list[Line]:
        """The book waits for a snapshot, if it does not yet."""
        book = self.books[s]
        if book.state == RESYNCING:
            return []
        book.distrust()
        return [self._epoch(s, RESYNCING, book.epoch, BOOK, reason)]

    def _kline(self, s: int, payload: Members) -> tuple[str, list[Line]]:
        bar, at = self._within(payload.get("k")), self._stamp(payload.get("E"))
        opened, fills = self._stamp(bar.get("t")), _integer(bar.get("n"))
        if not self._is_text(bar.get("i")) or not isinstance(bar.get("x"), bool):
            raise MalformedError
        ids = []
        for name in "fL":
            if not isinstance(bar.get(name), Number) or not SIGNED.fullmatch(bar.get(name)):
                raise MalformedError
            ids.append(int(bar.get(name)))
        values = [self._price(s, bar.get(name)) for name in "ohlc"]
        values += [self._size(s, bar.get(name), exact=False) for name in "vV"]
        values += [real_bits(bar.get(name)) for name in "qQ"]
        interval = INTERVAL.fullmatch(bar.get("i"))
        if interval is None:
            return "unsupported", []
        if not self._later("kline", s, opened, at):
            return "repeated", []
        values += ids
        length_ns = int(interval[1]) * UNIT_S[interval[2]] * SECOND
        opened_ns, at_ns = opened * 1_000_000, at * 1_000_000
        pack = list(zip(values[::2], values[1::2], strict=True))
        closed = int(bar.get("x"))
        return "ok", [Line(BAR, 0, s, at_ns, opened_ns, fills, length_ns, closed, 0, 0, pack, [])]

    def _mark_price(self, s: int, payload: Members) -> tuple[str, list[Line]]:
        at, funding = self._stamp(payload.get("E")), _integer(payload.get("T"))
        if funding > LATEST_MS:
            raise MalformedError
        a, b, c = (real_bits(payload.get(name)) for name in "pir")
        if not self._later("markPriceUpdate", s, at):
            return "repeated", []
        line = Line(MARK, 0, s, at * 1_000_000, funding * 1_000_000, 0, a, b, c, 0, [], [])
        return "ok", [line]

    def _liquidation(self, s: int, order: Members) -> tuple[str, list[Line]]:
        if order.get("S") not in ("SELL", "BUY") or isinstance(order.get("S"), Number):
            raise MalformedError
        if not all(self._is_text(order.get(name)) for name in ("p", "q", "ap")):
            raise MalformedError
        at, average = self._stamp(order.get("T")), real_bits(order.get("ap"))
        price = self._price(s, order.get("p"))
        size = self._size(s, order.get("q"), exact=True)
        if not self._later("forceOrder", s, at):
            return "repeated", []
        flags = SELL if order.get("S") == "SELL" else 0
        line = Line(LIQUIDATION, flags, s, at * 1_000_000, 0, 0, price, size, average, 0, [], [])
        return "ok", [line]

    def _levels(self, s: int, value: Any) -> tuple[list[tuple[int, int]], int]:
        """(levels on the grid, how many of those came before the first order off it; −1: none)."""
        if not isinstance(value, list) or isinstance(value, Members):
            raise MalformedError
        out, before = [], -1
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
            elif size > 0 and before < 0:
                before = len(out)
        return out, before

    def _depth_update(self, s: int, payload: Members) -> tuple[str, list[Line]]:
        last, first = _integer(payload.get("u")), _integer(payload.get("U"))
        previous = _integer(payload.get("pu")) if self.market == "binance-usdm" else -1
        bids, bids_off = self._levels(s, payload.get("b"))
        asks, asks_off = self._levels(s, payload.get("a"))
        if first > last:
            raise MalformedError
        if bids_off >= 0 or asks_off >= 0:
            return "bad_number", self._distrusted(s, REASON_RESCALED)
        book = self.books[s]
        was = book.state
        verdict = book.diff(Diff(first, last, previous))
        event_ns = self._event_ns(payload)
        if verdict == "repeat":
            low = self.low.get(("depthUpdate", s), LowIds()).last
            follows = low == (previous if self.market == "binance-usdm" else first - 1)
            if not self._anew("depthUpdate", s, last, follows, event_ns):
                return "repeated", []
            book.distrust()
            book.held, verdict = [Diff(first, last, previous)], "break"
        flags = 0 if verdict == "applied" else HELD
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
            bids, bids_off = self._levels(s, answer.get("bids"))
            asks, asks_off = self._levels(s, answer.get("asks"))
            if 0 <= bids_off < NEAR or 0 <= asks_off < NEAR:
                raise MalformedError
            return last, bids, asks
        except MalformedError:
            return None
