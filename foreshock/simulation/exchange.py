"""A seeded exchange that answers as Binance does: frames, REST bodies, and the truth afterwards.

Pure and synchronous: time goes on only by `advance` and `advance_buffer`. The same settings give
the same bytes, however the run is cut. History for training is many calls of `advance_buffer`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from foreshock.errors import InstrumentError, SequenceError
from foreshock.market.clock import MS_NS, SECOND_NS
from foreshock.market.instruments import USDM, Instrument
from foreshock.simulation import state
from foreshock.simulation.answers import rest_answer
from foreshock.simulation.calendar import REGIME_NAMES, Calendar
from foreshock.simulation.derived import STREAM_OF, Derived, written
from foreshock.simulation.encoding import LONGEST_FRAME, LONGEST_LEVEL, encode
from foreshock.simulation.flow import DONE, STORY_FULL, open_market, run_market
from foreshock.simulation.settings import DERIVED, SimulationSettings, instrument_of
from foreshock.simulation.templates import STREAM_NAMES, stream_name, wrap_prefix

TRUTH: Final = np.dtype(
    [
        ("symbol", "<i4"),
        ("precursor_ns", "<i8"),  # 0: a jump that nothing announced
        ("onset_ns", "<i8"),
        ("peak_ns", "<i8"),
        ("size_bps", "<f8"),
    ]
)


class SimFrame(NamedTuple):
    """One frame. `stream` is the name behind the `@` (`trade`, `depth@100ms` …), `body` the frame's
    `data` object; `wrapped` is the combined-stream frame."""

    event_ns: int
    symbol: str
    stream: str
    body: bytes
    wrapped: bytes


class FrameBuffer(NamedTuple):
    """n combined-stream frames in the order of their time: frame i is
    `data[starts[i] : starts[i + 1]]`."""

    data: NDArray[np.uint8]  # (bytes,)
    starts: NDArray[np.int64]  # (n + 1,)
    event_ns: NDArray[np.int64]  # (n,)
    symbol: NDArray[np.int32]  # (n,), index into settings.symbols
    stream: NDArray[np.uint8]  # (n,), index into templates.STREAM_NAMES + settings.DERIVED


class SimulatedExchange:
    """The exchange. Not thread-safe: one caller moves it on."""

    def __init__(self, settings: SimulationSettings) -> None:
        self.settings = settings
        self.symbols = settings.symbols
        self.now_ns = settings.start_ns
        self._index = {symbol: i for i, symbol in enumerate(settings.symbols)}
        self._market = state.new_market(settings)
        self._names, self._heads = {}, {}
        for s, symbol in enumerate(self.symbols):
            for f in range(len(STREAM_NAMES)):
                name = stream_name(symbol, f, settings.depth_interval_ms)
                self._names[s, f] = name.partition("@")[2]
                self._heads[s, f] = len(wrap_prefix(symbol, f, settings.depth_interval_ms))
        for f, stream in enumerate(DERIVED, len(STREAM_NAMES)):
            for s in range(len(self.symbols)):
                self._names[s, f] = STREAM_OF[stream]
                self._heads[s, f] = len(self._head(s, f))
        self._templates = state.new_templates(settings)
        self._log = state.new_log()
        open_market(self._market, settings.start_ns)
        self._calendar = Calendar(settings, self._market)
        self._calendar.open(self._market)
        self._derived = Derived(settings, self._market)

    def instruments(self) -> list[Instrument]:
        """The instruments, in the order of `settings.symbols`."""
        return [instrument_of(symbol, self.settings.market) for symbol in self.symbols]

    def advance_buffer(self, until_ns: int) -> FrameBuffer:
        """Let time go on to `until_ns` (inclusive) and return all frames on the way. About 170 kB
        per simulated second at the defaults: take history in bites of a minute or so. Raises
        SequenceError where `until_ns` lies in the past."""
        if until_ns < self.now_ns:
            raise SequenceError(f"time does not run back: {until_ns} < {self.now_ns}")
        bites: list[FrameBuffer] = []
        while True:
            next_ns = self._calendar.next_ns()
            whole_ns = (self.now_ns // SECOND_NS + 1) * SECOND_NS
            stop_ns = min(until_ns, next_ns, whole_ns if any(self._derived.wanted) else until_ns)
            self._run(stop_ns, bites)
            self.now_ns = max(self.now_ns, stop_ns)
            if stop_ns == whole_ns and any(self._derived.wanted):
                bites.append(self._second(stop_ns))
            if stop_ns == next_ns:
                self._calendar.happen(self._market)
            elif stop_ns == until_ns:
                return bites[0] if len(bites) == 1 else _joined(bites)

    def _run(self, until_ns: int, bites: list[FrameBuffer]) -> None:
        """The market's own moments up to `until_ns`."""
        status = None
        while status != DONE:
            status = run_market(self._market, self._log, until_ns)
            if status == STORY_FULL:
                story = np.concatenate([self._market.story, np.zeros_like(self._market.story)])
                self._market = self._market._replace(story=story)
            else:
                bites.append(self._encoded())

    def _second(self, now_ns: int) -> FrameBuffer:
        """What a whole second brings."""
        listed = self._calendar.listed & (self._calendar.halted_until_ns <= now_ns)
        told = self._derived.second(now_ns, listed)
        first = len(STREAM_NAMES)
        parts = [self._head(t.symbol, first + t.stream) + t.body + b"}" for t in told]
        starts = np.zeros(len(parts) + 1, dtype=np.int64)
        np.cumsum([len(part) for part in parts], out=starts[1:])
        return FrameBuffer(
            np.frombuffer(b"".join(parts), dtype=np.uint8),
            starts,
            np.full(len(parts), now_ns, dtype=np.int64),
            np.array([t.symbol for t in told], dtype=np.int32),
            np.array([first + t.stream for t in told], dtype=np.uint8),
        )

    def _head(self, s: int, stream: int) -> bytes:
        name = f"{self.symbols[s].lower()}@{self._names[s, stream]}"
        return f'{{"stream":"{name}","data":'.encode()

    def halt(self, symbol: str, seconds_ns: int) -> None:
        """Stop the trading of a symbol from now on. Raises InstrumentError."""
        self._calendar.halt(self._market, self._row(symbol), self.now_ns, seconds_ns)

    def answer(self, path: str, query: Mapping[str, str], limit: int) -> bytes | None:
        """Any other REST answer (answers.py); None where nothing is at the path. Raises
        InstrumentError."""
        symbol = query.get("symbol", "")
        rows = [self._row(symbol)] if symbol else list(range(len(self.symbols)))
        start_ms = int(query.get("startTime", 0))
        return rest_answer(self, self._derived, path, rows, bool(symbol), limit, start_ms)

    def calendar(self) -> list[dict[str, Any]]:
        """Regimes, halts, listings and delistings that have begun, in order. JSON-ready. Empty
        where `reveal_truth` is off."""
        if not self.settings.reveal_truth:
            return []
        return [
            {
                "at_ns": due.at_ns,
                "symbol": self.symbols[due.symbol],
                "what": REGIME_NAMES[abs(due.value) - 1] if due.action == "regime" else due.action,
            }
            for due in self._calendar.passed
        ]

    def liquidations(self) -> dict[str, int]:
        """How many there were; the stream tells one a second at most."""
        return dict(zip(self.symbols, self._derived.liquidations.tolist(), strict=True))

    def _encoded(self) -> FrameBuffer:
        """The log as frames; empties the log."""
        n, levels = self._log.counts.tolist()
        events = self._log.events[:n]
        data = np.empty(n * LONGEST_FRAME + levels * LONGEST_LEVEL, dtype=np.uint8)
        starts = np.zeros(n + 1, dtype=np.int64)
        encode(events, self._log.levels, self._market.book.whole, *self._templates, data, starts)
        self._log.counts[:] = 0
        return FrameBuffer(
            data[: starts[n]].copy(),
            starts,
            events[:, state.E_NS].copy(),
            events[:, state.E_SYMBOL].astype(np.int32),
            events[:, state.E_STREAM].astype(np.uint8),
        )

    def advance(self, until_ns: int) -> list[SimFrame]:
        """`advance_buffer` as a list of frames."""
        got = self.advance_buffer(until_ns)
        whole, names, heads = got.data.tobytes(), self._names, self._heads
        starts, frames = got.starts.tolist(), []
        for i, key in enumerate(zip(got.symbol.tolist(), got.stream.tolist(), strict=True)):
            wrapped = whole[starts[i] : starts[i + 1]]
            body = wrapped[heads[key] : -1]
            event_ns = int(got.event_ns[i])
            frames.append(SimFrame(event_ns, self.symbols[key[0]], names[key], body, wrapped))
        return frames

    def book(self, symbol: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The true (bids, asks) right now, best first, each (k, 2) of price_ticks and size_lots.
        Raises InstrumentError for an unknown symbol."""
        s, sides = self._row(symbol), []
        _, whole, ladder = self._market.book
        for side, sign in ((0, 1), (1, -1)):
            n = int(whole[s, state.LEVELS + side])
            keys = ladder[s, state.KEYS + side, :n]
            lots = ladder[s, state.LOTS + side, :n]
            sides.append(np.stack([sign * keys[::-1], lots[::-1]], axis=1))
        return sides[0], sides[1]

    def depth(self, symbol: str, limit: int = 1000) -> bytes:
        """The REST depth answer of this instant. Raises InstrumentError for an unknown symbol."""
        s = self._row(symbol)
        now_ms = self.now_ns // MS_NS
        answer: dict[str, Any] = {"lastUpdateId": int(self._market.book.whole[s, state.UPDATE_ID])}
        if self.settings.market == USDM:
            answer |= {"E": now_ms, "T": now_ms}
        for name, levels in zip(("bids", "asks"), self.book(symbol), strict=True):
            answer[name] = [
                [self._price(s, ticks), self._lots(s, lots)]
                for ticks, lots in levels[:limit].tolist()
            ]
        return orjson.dumps(answer)

    def exchange_info(self) -> bytes:
        """The REST exchangeInfo answer, with what our users read of it."""
        spot = self.settings.market != USDM
        entries = []
        for s, symbol in enumerate(self.symbols):
            if not self._calendar.listed[s]:
                continue
            status = "TRADING" if self._calendar.trades(s, self.now_ns) else "BREAK"
            base = symbol.removesuffix("USDT")
            tick, lot = self._price(s, 1), self._lots(s, 1)
            entry: dict[str, Any] = {
                "symbol": symbol,
                "status": status,
                "baseAsset": base,
                "quoteAsset": "USDT",
                "filters": [
                    {"filterType": "PRICE_FILTER", "minPrice": tick, "tickSize": tick},
                    {"filterType": "LOT_SIZE", "minQty": lot, "stepSize": lot},
                ],
            }
            if not spot:
                entry |= {"pair": symbol, "contractType": "PERPETUAL", "marginAsset": "USDT"}
            entries.append(entry)
        limit = {
            "rateLimitType": "REQUEST_WEIGHT",
            "interval": "MINUTE",
            "intervalNum": 1,
            "limit": 6000 if spot else 2400,
        }
        now_ms = self.now_ns // MS_NS
        return orjson.dumps(
            {"timezone": "UTC", "serverTime": now_ms, "rateLimits": [limit], "symbols": entries}
        )

    def agg_trades(
        self,
        symbol: str,
        start_ms: int | None = None,
        end_ms: int | None = None,
        limit: int = 500,
    ) -> bytes:
        """The REST aggTrades answer: the first `limit` (at most 1000) from `start_ms` to `end_ms`,
        without a start the last ones. Ten minutes are kept. Raises InstrumentError."""
        s = self._row(symbol)
        count = int(self._market.book.whole[s, state.RING_COUNT])
        order = np.arange(max(0, count - state.RING), count) % state.RING
        ring = self._market.ring[s, order]
        ms = ring[:, state.R_EVENT] // MS_NS
        keep = ring[:, state.R_EVENT] >= self.now_ns - state.HISTORY_NS
        if start_ms is not None:
            keep &= ms >= start_ms
        if end_ms is not None:
            keep &= ms <= end_ms
        limit = max(1, min(1000, limit))
        chosen = ring[keep][:limit] if start_ms is not None else ring[keep][-limit:]
        extra = {} if self.settings.market == USDM else {"M": True}
        return orjson.dumps(
            [
                {
                    "a": agg,
                    "p": self._price(s, price),
                    "q": self._lots(s, lots),
                    "f": trade,
                    "l": trade,
                    "T": event_ns // MS_NS,
                    "m": bool(seller),
                }
                | extra
                for agg, trade, event_ns, price, lots, seller in chosen.tolist()
            ]
        )

    def truth(self) -> NDArray[np.void]:
        """Surges that have started by now, in order of their onset (dtype TRUTH). A surge under way
        is told with the peak it is planned to have. Empty where `reveal_truth` is off."""
        story = self._story()
        story = story[(story[:, state.STORY_ONSET] > 0)]
        story = story[np.argsort(story[:, state.STORY_ONSET], kind="stable")]
        out = np.zeros(len(story), dtype=TRUTH)
        out["symbol"] = story[:, state.STORY_SYMBOL]
        out["precursor_ns"] = story[:, state.STORY_PRECURSOR]
        out["onset_ns"] = story[:, state.STORY_ONSET]
        out["peak_ns"] = story[:, state.STORY_PEAK]
        out["size_bps"] = story[:, state.STORY_MILLI_BPS] / 1000
        return out

    def false_precursors(self) -> NDArray[np.int64]:
        """(symbol index, start ns) of precursors after which no surge comes, (k, 2)."""
        story = self._story()
        false = story[story[:, state.STORY_ONSET] == 0]
        return np.ascontiguousarray(false[:, [state.STORY_SYMBOL, state.STORY_PRECURSOR]])

    def _story(self) -> NDArray[np.int64]:
        told = int(self._market.stories[0]) if self.settings.reveal_truth else 0
        story: NDArray[np.int64] = self._market.story[:told]
        return story

    def _row(self, symbol: str) -> int:
        if symbol not in self._index:
            raise InstrumentError(f"{symbol!r} is not one of the simulated symbols")
        return self._index[symbol]

    def _price(self, s: int, ticks: int) -> str:
        units, decimals, pad = self._market.book.whole[
            s, state.PRICE_UNITS : state.LOT_UNITS
        ].tolist()
        return written(ticks * units, decimals, pad)

    def _lots(self, s: int, lots: int) -> str:
        units, decimals, pad = self._market.book.whole[s, state.LOT_UNITS : state.DEPTH_NS].tolist()
        return written(lots * units, decimals, pad)


def _joined(bites: list[FrameBuffer]) -> FrameBuffer:
    starts, before = [np.zeros(1, dtype=np.int64)], 0
    for bite in bites:
        starts.append(bite.starts[1:] + before)
        before += len(bite.data)
    return FrameBuffer(
        np.concatenate([bite.data for bite in bites]),
        np.concatenate(starts),
        np.concatenate([bite.event_ns for bite in bites]),
        np.concatenate([bite.symbol for bite in bites]),
        np.concatenate([bite.stream for bite in bites]),
    )
