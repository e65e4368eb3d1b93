"""What a local exchange plays: the seeded simulation, or a recording of real frames.

A source is synchronous and knows no sockets. It is asked for what is due at a wall time, and for
the answers of the venue's REST interface at its own present.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol

import orjson

from foreshock.errors import InstrumentError
from foreshock.market.clock import MS_NS
from foreshock.market.instruments import USDM, Instrument
from foreshock.simulation.exchange import SimulatedExchange
from foreshock.simulation.settings import SimulationSettings, streams_of

Speed = float | Literal["max"]
_BITE_NS = 2_000_000_000  # the simulation goes on by at most this much at a time
_BITE_FRAMES = 512


class Delivery(NamedTuple):
    """A frame that is due. `stream` is the full name (`btcusdt@depth@100ms`), `body` the `data`."""

    symbol: str
    stream: str
    body: bytes


class RecordedEvent(Protocol):
    """What a recording is made of; `foreshock.stores.raw_sessions.RawEvent` is one."""

    @property
    def arrival_ns(self) -> int: ...
    @property
    def kind(self) -> str: ...
    @property
    def symbol(self) -> str: ...
    @property
    def body(self) -> bytes: ...


class Source(Protocol):
    """One market, played along the wall clock (or as fast as clients read: speed "max")."""

    kind: str
    market: str
    symbols: Sequence[str]
    families: Sequence[str]  # what streams there are: trade, aggTrade, depth, bookTicker, …
    speed: Speed

    def begin(self, wall_ns: int) -> None:
        """Play from here on; wall stamps are UTC ns that never run backwards."""

    def due(self, wall_ns: int) -> list[Delivery]:
        """All frames due by then and not given before; at most a bite of them."""

    @property
    def ended(self) -> bool:
        """Nothing will come any more."""

    @property
    def now_ns(self) -> int:
        """The source's present, UTC ns."""

    def depth(self, symbol: str, limit: int) -> bytes | None:
        """REST depth; None where the source has none (yet). Raises InstrumentError."""

    def exchange_info(self) -> bytes:
        """REST exchangeInfo."""

    def agg_trades(
        self, symbol: str, start_ms: int | None, end_ms: int | None, limit: int
    ) -> bytes | None:
        """REST aggTrades; None where the source has none. Raises InstrumentError."""

    def answer(self, path: str, query: Mapping[str, str], limit: int) -> bytes | None:
        """Any other REST answer; None where there is none. Raises InstrumentError."""

    def halt(self, symbol: str, seconds: float) -> None:
        """The symbol does not trade for so long. A recording cannot. Raises InstrumentError."""

    def truth(self) -> list[dict[str, Any]] | None:
        """Surges that have started, where the source knows them."""


class SimulationSource:
    """The simulation, `speed` simulated seconds a second."""

    kind = "simulation"

    def __init__(self, settings: SimulationSettings, speed: Speed = 1.0) -> None:
        # All streams, so that a client may take either tape. The market does not depend on it.
        self.families: Sequence[str] = streams_of(settings.market)
        self.settings = settings.model_copy(update={"streams": self.families})
        self.market, self.symbols, self.speed = settings.market, settings.symbols, speed
        self.exchange = SimulatedExchange(self.settings)
        # The first calls load compiled code: not in the middle of the play.
        SimulatedExchange(self.settings).advance(settings.start_ns + _BITE_NS)
        self._anchor_wall_ns = 0

    def begin(self, wall_ns: int) -> None:
        self._anchor_wall_ns = wall_ns

    def due(self, wall_ns: int) -> list[Delivery]:
        latest = self.exchange.now_ns + _BITE_NS
        if self.speed == "max":
            until = self.exchange.now_ns + 100 * MS_NS
        else:
            passed = int((wall_ns - self._anchor_wall_ns) * float(self.speed))
            until = min(latest, self.settings.start_ns + passed)
        frames = self.exchange.advance(max(until, self.exchange.now_ns))
        return [
            Delivery(frame.symbol, f"{frame.symbol.lower()}@{frame.stream}", frame.body)
            for frame in frames
        ]

    @property
    def ended(self) -> bool:
        return False

    @property
    def now_ns(self) -> int:
        return self.exchange.now_ns

    def depth(self, symbol: str, limit: int) -> bytes | None:
        return self.exchange.depth(symbol, limit)

    def exchange_info(self) -> bytes:
        return self.exchange.exchange_info()

    def agg_trades(
        self, symbol: str, start_ms: int | None, end_ms: int | None, limit: int
    ) -> bytes | None:
        return self.exchange.agg_trades(symbol, start_ms, end_ms, limit)

    def answer(self, path: str, query: Mapping[str, str], limit: int) -> bytes | None:
        return self.exchange.answer(path, query, limit)

    def halt(self, symbol: str, seconds: float) -> None:
        self.exchange.halt(symbol, int(seconds * 1e9))

    def truth(self) -> list[dict[str, Any]] | None:
        if not self.settings.reveal_truth:
            return None
        truth = self.exchange.truth()
        rows = [dict(zip(truth.dtype.names or (), row.tolist(), strict=True)) for row in truth]
        return [row | {"symbol": self.symbols[row["symbol"]]} for row in rows]


def _split(event: RecordedEvent) -> Delivery | None:
    """The stream and the `data` object of a recorded frame, wrapped or raw; None for rubbish."""
    body = event.body
    if body.startswith(b'{"stream":"'):
        name, found, rest = body[11:].partition(b'","data":')
        if not found or b'"' in name or not rest.endswith(b"}"):
            return None
        stream = name.decode("ascii", "replace")
        return Delivery(stream.partition("@")[0].upper(), stream, rest[:-1])
    try:
        frame = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(frame, dict) or "s" not in frame:
        return None
    kind = {"depthUpdate": "depth", None: "bookTicker"}.get(frame.get("e"), frame.get("e"))
    return Delivery(frame["s"], f"{frame['s'].lower()}@{kind}", body)


class RecordingSource:
    """Real frames with the pace they were recorded at. Stamps inside frames stay as they are."""

    kind = "recording"

    def __init__(
        self,
        events: Iterable[RecordedEvent],
        instruments: Sequence[Instrument],
        market: str,
        speed: Speed = 1.0,
    ) -> None:
        self.market, self.speed, self._instruments = market, speed, list(instruments)
        self._frames: list[tuple[int, Delivery]] = []
        self._snapshots: dict[str, tuple[list[int], list[bytes]]] = {}
        self._info: bytes | None = None
        seen: set[str] = set()
        for event in events:
            if event.kind == "frame":
                delivery = _split(event)
                if delivery is not None:
                    self._frames.append((event.arrival_ns, delivery))
                    seen.add(delivery.symbol)
            elif event.kind == "depth":
                times, bodies = self._snapshots.setdefault(event.symbol, ([], []))
                times.append(event.arrival_ns)
                bodies.append(event.body)
            elif event.kind == "exchange_info" and self._info is None:
                self._info = event.body
        names = {delivery.stream for _, delivery in self._frames}
        self.families: Sequence[str] = sorted({name.split("@")[1] for name in names if "@" in name})
        known = [instrument.symbol for instrument in self._instruments]
        self.symbols: Sequence[str] = tuple(dict.fromkeys([*known, *sorted(seen)]))
        self._next = 0
        self._first_ns = self._frames[0][0] if self._frames else 0
        for times, _ in self._snapshots.values():
            if self._frames:
                self._first_ns = min(self._first_ns, times[0])
        self._anchor_wall_ns = 0
        self._now_ns = self._first_ns

    def begin(self, wall_ns: int) -> None:
        self._anchor_wall_ns = wall_ns

    def due(self, wall_ns: int) -> list[Delivery]:
        out: list[Delivery] = []
        frames = self._frames
        if self.speed == "max":
            end = min(self._next + _BITE_FRAMES, len(frames))
            out = [delivery for _, delivery in frames[self._next : end]]
            self._next = end
            if end:
                self._now_ns = max(self._now_ns, frames[end - 1][0])
            return out
        now = self._first_ns + int((wall_ns - self._anchor_wall_ns) * float(self.speed))
        while self._next < len(frames) and frames[self._next][0] <= now:
            out.append(frames[self._next][1])
            self._next += 1
            if len(out) == _BITE_FRAMES:
                now = frames[self._next - 1][0]
                break
        self._now_ns = max(self._now_ns, now)
        return out

    @property
    def ended(self) -> bool:
        return self._next >= len(self._frames)

    @property
    def now_ns(self) -> int:
        return self._now_ns

    def depth(self, symbol: str, limit: int) -> bytes | None:
        self._known(symbol)
        times, bodies = self._snapshots.get(symbol, ([], []))
        reached = bisect_right(times, self._now_ns)
        return bodies[reached - 1] if reached else None

    def exchange_info(self) -> bytes:
        if self._info is not None:
            return self._info
        entries = []
        for one in self._instruments:
            tick, lot = (
                _step(one.tick_units, one.tick_decimals),
                _step(one.lot_units, one.lot_decimals),
            )
            filters = [
                {"filterType": "PRICE_FILTER", "tickSize": tick},
                {"filterType": "LOT_SIZE", "stepSize": lot},
            ]
            entries.append({"symbol": one.symbol, "status": "TRADING", "filters": filters})
        return orjson.dumps({"timezone": "UTC", "symbols": entries})

    def agg_trades(
        self, symbol: str, start_ms: int | None, end_ms: int | None, limit: int
    ) -> bytes | None:
        self._known(symbol)
        return None

    def answer(self, path: str, query: Mapping[str, str], limit: int) -> bytes | None:
        return None

    def halt(self, symbol: str, seconds: float) -> None:
        raise InstrumentError(f"{symbol!r} is recorded: what is past cannot be halted")

    def truth(self) -> list[dict[str, Any]] | None:
        return None

    def _known(self, symbol: str) -> None:
        if symbol not in self.symbols:
            raise InstrumentError(f"{symbol!r} is not in this recording")


def _step(units: int, decimals: int) -> str:
    whole, rest = divmod(units, 10**decimals)
    return f"{whole}.{rest:0{decimals}d}" if decimals else str(whole)


def weight_of(market: str, path: str, limit: int, one_symbol: bool = True) -> int:
    """What a request costs of the address's weight a minute, as the venue documents it; `path` is
    its last part. Ratios (`futures/data`) count elsewhere."""
    usdm = market == USDM
    if path == "depth":
        bounds = ((50, 2), (100, 5), (500, 10), (1000, 20))
        if not usdm:
            bounds = ((100, 5), (500, 25), (1000, 50), (5000, 250))
        return next((weight for most, weight in bounds if limit <= most), bounds[-1][1])
    if path == "klines" and usdm:
        bounds = ((99, 1), (499, 2), (1000, 5), (1500, 10))
        return next((weight for most, weight in bounds if limit <= most), bounds[-1][1])
    if path == "24hr":
        return (1 if one_symbol else 40) if usdm else (2 if one_symbol else 80)
    if path == "bookTicker":
        return (2 if one_symbol else 5) if usdm else (2 if one_symbol else 4)
    if path == "premiumIndex":
        return 1 if one_symbol else 10
    fixed = {"exchangeInfo": (20, 1), "aggTrades": (4, 20), "klines": (2, 2)}
    return fixed.get(path, (1, 1))[usdm] if not path.endswith("Ratio") else 0
