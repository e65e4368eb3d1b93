"""Readers of sessions that others recorded from Binance's sockets, frame by frame.

Three layouts are understood, told apart by their content:

* hftbacktest: one `.gz`, lines `stamp frame`; the stamp is in µs or ns since the epoch (told by its
  digits); a REST depth answer may stand inline between the frames.
* cryptofeed: several `.gz` that share a name up to the first dot. The main part holds exchangeInfo
  as `URL -> stamp: body`, `http` parts hold depth answers in the same form, `ws` parts start with
  `URL <-> stamp` and go on with `stamp: frame`. The stamp is in seconds.
* cryptofeed's second layout: one `.jsonl.zst`, one JSON object a line.

Frames stay the bytes that the venue sent; only instruments are looked up inside them.
"""

from __future__ import annotations

import gzip
import io
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

import orjson
import pyarrow as pa

from foreshock.errors import InstrumentError, RecordingError
from foreshock.market.instruments import SPOT, USDM, Instrument, by_symbol, from_exchange_info

FRAME, DEPTH, EXCHANGE_INFO, CONNECTED = "frame", "depth", "exchange_info", "connected"

_HTTP_LINE = re.compile(rb"(https?://\S+) -> ([0-9.]+): ?(.*)", re.DOTALL)
_CONNECT_LINE = re.compile(rb"(wss?://\S+) <-> ([0-9.]+)\s*")
_WS_LINE = re.compile(rb"([0-9]+\.?[0-9]*): (.*)", re.DOTALL)
_STAMP_LINE = re.compile(rb"([0-9]{16,19}) (.*)", re.DOTALL)
_PAIR = re.compile(r"[a-z0-9]{2,32}")


class RawEvent(NamedTuple):
    """One thing that reached the recorder.

    arrival_ns   the recorder's stamp, UTC ns; never running backwards on a socket
    kind         "frame" (a WebSocket text), "depth" (a REST depth answer), "exchange_info" or
                 "connected" (the body is the socket's URL, empty where it was not recorded)
    symbol       upper case; "" where the event belongs to no single symbol
    body         the bytes as recorded
    market       "binance-spot" or "binance-usdm"
    """

    arrival_ns: int
    kind: str
    symbol: str
    body: bytes
    market: str


@dataclass(frozen=True, slots=True)
class RawSession:
    """A recorded session: `events` in arrival order, `instruments` in the order of subscription
    (else of first sight), all of one `market`."""

    events: list[RawEvent]
    instruments: list[Instrument]
    market: str


@dataclass(slots=True)
class _Part:
    """What one file held, before the files are merged."""

    path: Path
    events: list[RawEvent] = field(default_factory=list)
    subscribed: dict[str, None] = field(default_factory=dict)  # ordered sets
    seen: dict[str, None] = field(default_factory=dict)
    market: str = ""
    last_ns: int = 0

    def add(self, arrival_ns: int, kind: str, symbol: str, body: bytes) -> None:
        """An event of the file's socket: in the order of its lines, whatever the stamps say."""
        self.last_ns = max(self.last_ns, arrival_ns)
        self.add_aside(self.last_ns, kind, symbol, body)

    def add_aside(self, arrival_ns: int, kind: str, symbol: str, body: bytes) -> None:
        """An event beside the socket, such as a REST answer, which a file may hold anywhere."""
        if symbol:
            self.seen.setdefault(symbol)
        self.events.append(RawEvent(arrival_ns, kind, symbol, body, self.market))


def read_raw_session(paths: Path | Sequence[Path]) -> RawSession:
    """Read one recorded session from one file or several, merged by arrival time.

    Giving any one part of a multi-part cryptofeed session reads its sibling parts too. Symbols that
    the recorded exchangeInfo lacks, and all where none was recorded, get the finest decimals seen
    in their prices and sizes as tick and lot. Raises RecordingError, naming file and line, on a
    file that is damaged, of no known layout, or of another market than the rest."""
    given = [paths] if isinstance(paths, Path) else [Path(path) for path in paths]
    parts = [_read_part(path) for path in _with_siblings(given)]
    markets = {part.market for part in parts if part.events}
    if not markets:
        raise RecordingError(f"nothing is recorded in {[str(path) for path in given]}")
    if len(markets) > 1:
        raise RecordingError(f"{[str(p) for p in given]} mix the markets {sorted(markets)}")
    market = markets.pop()
    events = sorted((e for part in parts for e in part.events), key=attrgetter("arrival_ns"))
    if not any(event.kind == CONNECTED for event in events):
        first = next((i for i, event in enumerate(events) if event.kind == FRAME), None)
        if first is not None:
            at_ns = events[first].arrival_ns
            events.insert(first, RawEvent(at_ns, CONNECTED, "", b"", market))
    symbols = list(
        dict.fromkeys(
            [symbol for part in parts for symbol in part.subscribed]
            + [symbol for part in parts for symbol in part.seen]
        )
    )
    return RawSession(events, _instruments(events, symbols, market), market)


def _with_siblings(paths: Iterable[Path]) -> list[Path]:
    """The files to read: as given, each once, with the sibling parts of multi-part sessions."""
    out: dict[Path, None] = {}
    for path in paths:
        if not path.is_file():
            raise RecordingError(f"{path} is not a file")
        stem, _, rest = path.name.partition(".")
        if "__" in stem and rest.endswith("gz"):
            for part in sorted(path.parent.glob(f"{stem}.*gz")):
                out.setdefault(part)
        else:
            out.setdefault(path)
    return list(out)


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """(line number from 1, line without its newline), empty lines left out."""
    number = 0
    try:
        with _opened(path) as stream:
            for number, line in enumerate(stream, 1):
                stripped = line.rstrip(b"\r\n")
                if stripped:
                    yield number, stripped
    except (OSError, EOFError, zlib.error, pa.ArrowException) as error:
        raise RecordingError(f"{path}, after line {number}: cannot be read: {error}") from error


def _opened(path: Path) -> Any:
    """A binary stream of the decompressed file, told by its first bytes."""
    with path.open("rb") as stream:
        magic = stream.read(4)
    if magic[:2] == b"\x1f\x8b":
        return gzip.open(path, "rb")
    if magic == b"\x28\xb5\x2f\xfd":
        return io.BufferedReader(pa.input_stream(str(path), compression="zstd"))
    return path.open("rb")


def _read_part(path: Path) -> _Part:
    part = _Part(path)
    reader = None
    for number, line in _lines(path):
        if reader is None:
            reader = _layout_of(line)
            if reader is None:
                raise RecordingError(f"{path}:{number}: no known layout: {line[:80]!r}")
            if reader is _hftbacktest_line:
                part.market = _market_of_frames(path)
        try:
            reader(part, line)
        except (ValueError, KeyError, TypeError, InvalidOperation, AttributeError) as error:
            raise RecordingError(f"{path}:{number}: {error} in {line[:80]!r}") from error
    return part


def _layout_of(line: bytes) -> Any:
    if line.startswith(b'{"t":'):
        return _jsonl_line
    if _HTTP_LINE.match(line) or _CONNECT_LINE.match(line) or _WS_LINE.match(line):
        return _cryptofeed_line
    if _STAMP_LINE.match(line):
        return _hftbacktest_line
    return None


def _hftbacktest_line(part: _Part, line: bytes) -> None:
    match = _STAMP_LINE.fullmatch(line)
    if match is None:
        raise ValueError("not `stamp frame`")
    digits, body = match.groups()
    arrival_ns = int(digits) * 10 ** (19 - len(digits))
    frame = orjson.loads(body)
    if "lastUpdateId" in frame and "stream" not in frame:
        if not part.seen:
            raise ValueError("a depth answer before any frame, so that its symbol is unknown")
        if len(part.seen) > 1:
            raise ValueError(f"a depth answer that could be of any of {list(part.seen)}")
        part.add(arrival_ns, DEPTH, next(iter(part.seen)), body)
    else:
        part.add(arrival_ns, FRAME, _symbol_of(frame), body)


def _cryptofeed_line(part: _Part, line: bytes) -> None:
    if match := _WS_LINE.fullmatch(line):
        stamp, body = match.groups()
        part.add(_seconds_ns(stamp.decode()), FRAME, _symbol_of(orjson.loads(body)), body)
    elif match := _CONNECT_LINE.fullmatch(line):
        url, stamp = match.groups()
        _connected(part, _seconds_ns(stamp.decode()), url.decode())
    elif match := _HTTP_LINE.fullmatch(line):
        url, stamp, body = match.groups()
        _http(part, _seconds_ns(stamp.decode()), url.decode(), body)
    elif not line.startswith(b"configuration: "):
        raise ValueError("neither an answer, a connection nor a frame")


def _jsonl_line(part: _Part, line: bytes) -> None:
    entry = orjson.loads(line)
    kind = entry["t"]
    if kind == "recv":
        body = entry["data"].encode()
        part.add(_seconds_ns(repr(entry["ts"])), FRAME, _symbol_of(orjson.loads(body)), body)
    elif kind == "http":
        _http(part, _seconds_ns(repr(entry["ts"])), entry["url"], entry["data"].encode())
    elif kind == "connect":
        _connected(part, _seconds_ns(repr(entry["ts"])), entry["addr"])


def _http(part: _Part, arrival_ns: int, url: str, body: bytes) -> None:
    """A REST answer; answers to other questions than these two are left out."""
    address = urlsplit(url)
    _set_market(part, address.hostname or "")
    question = address.path.rsplit("/", 1)[-1]
    if question == "exchangeInfo":
        if "symbols" not in orjson.loads(body):
            raise ValueError("an exchangeInfo answer without symbols")
        part.add_aside(arrival_ns, EXCHANGE_INFO, "", body)
    elif question == "depth":
        if "lastUpdateId" not in orjson.loads(body):
            raise ValueError("a depth answer without lastUpdateId")
        part.add_aside(arrival_ns, DEPTH, parse_qs(address.query)["symbol"][0].upper(), body)


def _connected(part: _Part, arrival_ns: int, url: str) -> None:
    address = urlsplit(url)
    _set_market(part, address.hostname or "")
    for stream in address.query.removeprefix("streams=").split("/"):
        pair = stream.partition("@")[0]
        if _PAIR.fullmatch(pair):
            part.subscribed.setdefault(pair.upper())
    part.add(arrival_ns, CONNECTED, "", url.encode())


def _set_market(part: _Part, host: str) -> None:
    if host.startswith(("fapi.", "fstream.")):
        part.market = USDM
    elif host.endswith(("binance.com", "binance.us", "binance.vision")) and not host.startswith(
        ("dapi.", "dstream.", "eapi.")
    ):
        part.market = SPOT
    else:
        raise ValueError(f"{host!r} is no host of a Binance spot or USD-M market")


def _market_of_frames(path: Path) -> str:
    """The market of a file that does not name it: USD-M depth frames carry `pu`, USD-M tickers and
    trades a `T` beside `E` or an order type `X`; spot trades carry `M`, spot tickers no `e`."""
    for _, line in _lines(path):
        try:
            data = orjson.loads(line.split(b" ", 1)[1]).get("data", {})
        except (ValueError, IndexError, AttributeError):
            continue  # the reader that follows names the damaged line
        event = data.get("e")
        if "pu" in data or event in ("markPriceUpdate", "forceOrder") or "X" in data:
            return USDM
        if (event is None and "b" in data and "u" in data) or "M" in data:
            return SPOT
    raise RecordingError(f"{path}: no frame tells whether this is spot or USD-M")


def _symbol_of(frame: Any) -> str:
    data = frame.get("data", frame)
    symbol = data.get("s") if isinstance(data, dict) else None
    if isinstance(symbol, str):
        return symbol
    pair: str = frame.get("stream", "").partition("@")[0]
    return pair.upper() if _PAIR.fullmatch(pair) else ""


def _seconds_ns(text: str) -> int:
    """'1618677371.3386219' → ns. Exact: a float of these seconds resolves 240 ns only."""
    return int(Decimal(text) * 1_000_000_000)


def _instruments(events: list[RawEvent], symbols: list[str], market: str) -> list[Instrument]:
    known: dict[str, Instrument] = {}
    for event in events:
        if event.kind == EXCHANGE_INFO:
            try:
                known |= by_symbol(from_exchange_info(orjson.loads(event.body), market))
            except (InstrumentError, KeyError, TypeError) as error:
                raise RecordingError(f"the recorded exchangeInfo is unusable: {error}") from error
    lacking = {symbol for symbol in symbols if symbol not in known}
    decimals = _decimals_seen(events, lacking) if lacking else {}
    out = []
    for symbol in symbols:
        if symbol in known:
            out.append(known[symbol])
        elif symbol in decimals:
            price, size = decimals[symbol]
            out.append(Instrument.of(symbol, market, f"1e-{price}", f"1e-{size}"))
    return out


def _decimals_seen(events: list[RawEvent], symbols: set[str]) -> dict[str, tuple[int, int]]:
    """symbol → the most decimals, trailing zeros aside, of any of its prices and of its sizes."""
    prices: dict[str, set[str]] = {}
    sizes: dict[str, set[str]] = {}
    for event in events:
        if event.symbol not in symbols or event.kind not in (FRAME, DEPTH):
            continue
        body = orjson.loads(event.body)
        seen_prices = prices.setdefault(event.symbol, set())
        seen_sizes = sizes.setdefault(event.symbol, set())
        data = body.get("data", body)
        what = data.get("e", "bookTicker" if "u" in data else "")
        if what == "depthUpdate" or event.kind == DEPTH:
            for side in ("b", "a", "bids", "asks"):
                for price, size in data.get(side, ()):
                    seen_prices.add(price)
                    seen_sizes.add(size)
        elif what == "bookTicker":
            seen_prices.update((data["b"], data["a"]))
            seen_sizes.update((data["B"], data["A"]))
        elif what in ("trade", "aggTrade"):
            seen_prices.add(data["p"])
            seen_sizes.add(data["q"])
    return {
        symbol: (_finest(seen), _finest(sizes[symbol])) for symbol, seen in prices.items() if seen
    }


def _finest(texts: Iterable[str]) -> int:
    return max((len(text.partition(".")[2].rstrip("0")) for text in texts), default=0)
