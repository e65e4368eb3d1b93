"""Binance spot and USD-M futures: the sans-I/O session over the compiled frame decoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from foreshock.errors import InstrumentError
from foreshock.market.clock import MS_NS, SECOND_NS
from foreshock.market.context import context_rows
from foreshock.market.instruments import SPOT, USDM, Instrument
from foreshock.market.integrity import (
    RULE_SPOT,
    RULE_USDM,
    S_BOOK_EPOCH,
    S_BOOK_STATE,
    S_FIRST,
    S_LAST_ID,
    S_TAPE_EPOCH,
    S_TAPE_STATE,
    S_TRADE_ID,
    new_sync,
)
from foreshock.market.rows import (
    ALL,
    BACKFILL,
    BAR,
    BOOK,
    CONNECTED,
    CONNECTION,
    CONTROL,
    CUT,
    EPOCH,
    INSTRUMENT,
    METRIC,
    REASON_CUT,
    REASON_HALTED,
    REASON_JOINED,
    REASON_RESCALED,
    REASON_RESUMED,
    REASON_SILENT,
    REASON_START,
    RESYNCING,
    STALE,
    SYNCED,
    TAPE,
    TIMER,
    TRADING,
    WORDS,
    Rows,
    as_rows,
    empty_rows,
)
from foreshock.venues.binance_answers import METRIC_KINDS, changes, metrics, past_bars
from foreshock.venues.binance_book import decode_snapshot
from foreshock.venues.binance_fields import FIELDS, OUTCOME_NAMES
from foreshock.venues.binance_frames import SCRATCH_LINES, decode
from foreshock.venues.binance_wire import BARS_KIND, INSTRUMENTS_KIND, MINUTE_NS, stream_kinds
from foreshock.venues.carriers import Carriers
from foreshock.venues.resyncs import Resyncs
from foreshock.venues.session import BOOK_FAMILY, TAPE_FAMILY, SnapshotRequest
from foreshock.venues.silence import (
    BAR_STREAM,
    DEPTH_STREAM,
    LIQUIDATION_STREAM,
    MARK_STREAM,
    QUOTE_STREAM,
    R_HEARD_NS,
    STREAMS,
    TAPE_STREAM,
    new_rates,
    silent,
    watch_anew,
)
from foreshock.venues.symbols import symbol_table

__all__ = ["BOOK_FAMILY", "TAPE_FAMILY", "BinanceSession"]

_FAMILY_STREAMS: Final = {
    BOOK: (DEPTH_STREAM, QUOTE_STREAM),
    TAPE: (TAPE_STREAM, BAR_STREAM, MARK_STREAM, LIQUIDATION_STREAM),
}


class BinanceSession:
    """One market's symbols: frames, snapshots, timers and connection events in, rows out.

    Parameters
    ----------
    instruments   all of one market; their order is the rows' symbol index
    tape          "trade" or "aggTrade": which trade stream is read (both would count twice)
    levels        how many levels a snapshot asks for
    stale_after_ns   a SYNCED book whose depth stream says nothing for so long becomes STALE, or
                     for longer, where its own rate is lower (silence.py)
    """

    def __init__(
        self,
        instruments: Sequence[Instrument],
        *,
        tape: str = "trade",
        levels: int = 1000,
        stale_after_ns: int = 15 * SECOND_NS,
    ) -> None:
        if not instruments:
            raise InstrumentError("a session needs at least one instrument")
        markets = {instrument.market for instrument in instruments}
        symbols = [instrument.symbol for instrument in instruments]
        if len(markets) != 1 or len(set(symbols)) != len(symbols):
            raise InstrumentError(f"instruments of one market, each once; got {markets}, {symbols}")
        if tape not in ("trade", "aggTrade"):
            raise InstrumentError(f"tape must be 'trade' or 'aggTrade', not {tape!r}")
        self.market = markets.pop()
        if self.market not in (SPOT, USDM):
            raise InstrumentError(f"{self.market!r} is no market of Binance's that we know")
        self.tape = tape
        self.levels = levels
        n = len(instruments)
        self._instruments = list(instruments)
        self._index = {symbol: s for s, symbol in enumerate(symbols)}
        self._rule = RULE_SPOT if self.market == SPOT else RULE_USDM
        self._kinds = stream_kinds(self.market, tape)  # in the order of silence.py's streams
        self._family_streams = {
            family: tuple(stream for stream in streams if stream < len(self._kinds))
            for family, streams in _FAMILY_STREAMS.items()
        }
        self._table, self._names = symbol_table(symbols)
        self._scales = np.array([i.steps for i in instruments], np.int64)
        self._sync = new_sync(n)
        self._rates = new_rates(n, stale_after_ns)
        self._told_silent = np.zeros((n, STREAMS), np.bool_)
        self._silent_streams: list[str] = []
        self._carriers = Carriers(n)
        self._halted = {s for s, i in enumerate(instruments) if i.status != TRADING}
        self._as_of: dict[tuple[int, int], int] = {}  # of the last metric, by symbol and field
        self._resyncs = Resyncs(n, self._rule)
        self._counts = np.zeros(len(OUTCOME_NAMES), np.int64)
        self._last_bad = np.full(len(OUTCOME_NAMES), -1, np.int64)
        self._scratch = np.zeros((4096, WORDS), np.int64)
        self._fields = np.zeros((SCRATCH_LINES, FIELDS), np.int64)
        self._seq = 0
        self._last_ns = 0

    @property
    def instruments(self) -> tuple[Instrument, ...]:
        """As the venue says they are now, in the order of the rows' symbol index."""
        return tuple(self._instruments)

    @property
    def counts(self) -> dict[str, int]:
        """Frames by what became of them."""
        return {name: int(n) for name, n in zip(OUTCOME_NAMES, self._counts, strict=True)}

    def states(self) -> NDArray[np.int64]:
        """Book state and epoch, tape epoch, int64 (n, 3)."""
        return self._sync[:, [S_BOOK_STATE, S_BOOK_EPOCH, S_TAPE_EPOCH]].copy()

    def streams(self) -> list[str]:
        """Names of the streams to subscribe (binance_wire says where)."""
        n = len(self._instruments)
        return [self._stream(s, stream) for s in range(n) for stream in range(len(self._kinds))]

    def _stream(self, s: int, stream: int) -> str:
        return f"{self._instruments[s].symbol.lower()}@{self._kinds[stream]}"

    # Rows that do not come from frames

    def _stamp(self, arrival_ns: int) -> int:
        self._last_ns = max(self._last_ns, arrival_ns)
        return self._last_ns

    def _row(self, arrival_ns: int, kind: int, symbol: int, **payload: int) -> Rows:
        row = empty_rows(1)
        row["arrival_ns"], row["kind"], row["symbol"] = arrival_ns, kind, symbol
        for name, value in payload.items():
            row[name] = value
        row["seq"] = self._seq
        self._seq += 1
        return row

    def _epoch(self, arrival_ns: int, s: int, family: int, state: int, reason: int) -> Rows:
        epoch = int(self._sync[s, S_BOOK_EPOCH if family == BOOK else S_TAPE_EPOCH])
        return self._row(arrival_ns, EPOCH, s, a=state, b=epoch, c=family, d=reason)

    def start(self, arrival_ns: int) -> Rows:
        """Every symbol's first epochs: the book RESYNCING, the tape SYNCED (no snapshot needed)."""
        arrival_ns = self._stamp(arrival_ns)
        out = []
        for s in range(len(self._instruments)):
            self._sync[s, S_BOOK_EPOCH] += 1
            self._sync[s, S_TAPE_EPOCH] += 1
            self._sync[s, S_TAPE_STATE] = SYNCED
            out.append(self._epoch(arrival_ns, s, BOOK, RESYNCING, REASON_START))
            out.append(self._epoch(arrival_ns, s, TAPE, SYNCED, REASON_START))
        return np.concatenate(out)

    def timer(self, arrival_ns: int) -> Rows:
        """A timer row, and STALE epochs of SYNCED books and tapes that fell silent."""
        arrival_ns = self._stamp(arrival_ns)
        out = [self._row(arrival_ns, TIMER, ALL)]
        now_silent = silent(self._rates, arrival_ns)
        now_silent[list(self._halted)] = False
        now_silent[:, len(self._kinds) :] = False  # heard of, but never subscribed
        for s, stream in np.argwhere(now_silent & ~self._told_silent).tolist():
            self._silent_streams.append(self._stream(s, stream))
        self._told_silent = now_silent
        for column, stream, family in (
            (S_BOOK_STATE, DEPTH_STREAM, BOOK), (S_TAPE_STATE, TAPE_STREAM, TAPE),
        ):  # fmt: skip
            stale = (self._sync[:, column] == SYNCED) & now_silent[:, stream]
            for s in np.flatnonzero(stale).tolist():
                self._sync[s, column] = STALE
                out.append(self._epoch(arrival_ns, s, family, STALE, REASON_SILENT))
        return np.concatenate(out)

    def silent(self) -> list[str]:
        """Streams that fell silent since the last call, as of the last timer."""
        out, self._silent_streams = self._silent_streams, []
        return out

    def connection(
        self, number: int, state: int, families: int, symbols: Sequence[str], offset_ns: int,
        arrival_ns: int,
    ) -> Rows:  # fmt: skip
        """A connection row. Behind a cut one, new epochs for all that nobody carries now: the book
        waits for a snapshot, the tape is STALE until it is connected again or speaks. Two
        connections, with numbers of their own, may carry the same (`Session.connection`)."""
        arrival_ns = self._stamp(arrival_ns)
        out = [self._row(arrival_ns, CONNECTION, ALL, id=number, a=state, b=families, c=offset_ns)]
        carried = [self._index[symbol] for symbol in symbols]
        if state == CONNECTED:
            for s, family in self._carriers.connected(number, families, carried):
                if s in self._halted:
                    continue
                streams = self._family_streams[family]
                if self._rates[s, streams[0], R_HEARD_NS] == 0:
                    watch_anew(self._rates, s, streams, arrival_ns)
                if family == TAPE and self._sync[s, S_TAPE_STATE] == STALE:
                    out += self._tape(s, SYNCED, REASON_RESUMED, arrival_ns, anew=False)
        elif state == CUT:
            for s, family in self._carriers.cut(number, families, carried):
                watch_anew(self._rates, s, self._family_streams[family], 0)
                if family == BOOK:
                    out.append(self._distrust(s, REASON_CUT, arrival_ns))
                else:
                    out += self._tape(s, STALE, REASON_CUT, arrival_ns)
        return np.concatenate(out)

    def _tape(
        self, s: int, state: int, reason: int, arrival_ns: int, anew: bool = True
    ) -> list[Rows]:
        """A tape's new state; `anew`: in a new epoch, that begins with whatever trade comes."""
        if anew:
            self._sync[s, S_TAPE_EPOCH] += 1
            self._sync[s, S_TRADE_ID] = -1
        self._sync[s, S_TAPE_STATE] = state
        return [self._epoch(arrival_ns, s, TAPE, state, reason)]

    def control(self, control_field: int, value: int, arrival_ns: int) -> Rows:
        """A control row: model, strategy or bill version, kill switch (market/rows.py)."""
        return self._row(self._stamp(arrival_ns), CONTROL, ALL, a=control_field, b=value)

    def context(self, boundary_ns: int, known_ns: int, body: bytes, arrival_ns: int) -> Rows:
        """Context rows: what the other symbols did, or slow series (`Session.context`)."""
        rows = context_rows(
            body, len(self._instruments), boundary_ns, known_ns, self._stamp(arrival_ns), self._seq
        )
        self._seq += len(rows)
        return rows

    def resync(self, symbol: str, reason: int, arrival_ns: int) -> Rows:
        """Distrust one book from outside: crossed, or run out of the range that is known."""
        s = self._index[symbol]
        if self._sync[s, S_BOOK_STATE] == RESYNCING:
            return empty_rows()
        return self._distrust(s, reason, self._stamp(arrival_ns))

    def refresh(self, symbol: str) -> None:
        """Ask for a snapshot of a book that is SYNCED, because its touch comes near the edge of
        what is known. Its diffs go on being applied and are kept too, so that the snapshot can be
        joined in passing: no new epoch."""
        s = self._index[symbol]
        if self._sync[s, S_BOOK_STATE] != RESYNCING and s not in self._resyncs:
            self._resyncs.begin(s, self._last_ns, int(self._sync[s, S_LAST_ID]))

    def _distrust(self, s: int, reason: int, arrival_ns: int) -> Rows:
        self._sync[s, S_BOOK_STATE] = RESYNCING
        self._sync[s, S_BOOK_EPOCH] += 1
        self._resyncs.begin(s, arrival_ns)
        return self._epoch(arrival_ns, s, BOOK, RESYNCING, reason)

    # Answers to other requests

    def receive_answer(self, kind: str, symbol: str, body: bytes, arrival_ns: int) -> Rows:
        """METRIC rows of a poll's answer, each value once; BAR rows, flagged BACKFILL, of bars that
        are over; INSTRUMENT rows of the venue's list, each with the
        epochs that it breaks: a changed step distrusts book and tape, a halt keeps the book from
        being joined until it is over."""
        arrival_ns = self._stamp(arrival_ns)
        out = [empty_rows()]
        try:
            if kind == INSTRUMENTS_KIND:
                known = {i.symbol: i for i in self._instruments}
                for instrument in list(changes(body, known, self.market)):
                    out += self._change(instrument, arrival_ns)
            elif kind in METRIC_KINDS:
                out += self._metrics(kind, symbol, body, arrival_ns)
            elif kind == BARS_KIND:
                out.append(self._past_bars(symbol, body, arrival_ns))
            else:
                self._counts[OUTCOME_NAMES.index("unsupported")] += 1
        except (ValueError, RecursionError):
            self._counts[OUTCOME_NAMES.index("malformed")] += 1
        return np.concatenate(out)

    def _metrics(self, kind: str, symbol: str, body: bytes, arrival_ns: int) -> list[Rows]:
        out = []
        for metric in metrics(kind, symbol, body):
            s = self._index.get(metric.symbol, -1)
            key = (s, metric.field)
            if s < 0 or metric.as_of_ns <= self._as_of.get(key, -1):
                continue
            self._as_of[key] = metric.as_of_ns
            bits = int(np.float64(metric.value).view(np.int64))
            out.append(self._row(arrival_ns, METRIC, s, id=metric.as_of_ns, a=metric.field, b=bits))
        return out

    def _past_bars(self, symbol: str, body: bytes, arrival_ns: int) -> Rows:
        s = self._index[symbol]
        head, packs = past_bars(body, self._instruments[s])
        words = np.zeros((2 * len(head), WORDS), np.int64)
        rows = as_rows(words)
        rows["arrival_ns"][::2], rows["event_ns"][::2] = arrival_ns, head[:, 1] * MS_NS
        rows["seq"][::2] = self._seq + np.arange(len(head))
        rows["kind"][::2], rows["flags"][::2], rows["count"][::2] = BAR, BACKFILL, 1
        rows["symbol"][::2], rows["id"][::2] = s, head[:, 0] * MS_NS
        rows["id2"][::2], rows["a"][::2], rows["b"][::2] = head[:, 2], MINUTE_NS, 1
        words[1::2] = packs
        self._seq += len(head)
        return rows

    def _change(self, now: Instrument, arrival_ns: int) -> list[Rows]:
        """An instrument's next version, and the epochs that it breaks."""
        s = self._index[now.symbol]
        was, self._instruments[s] = self._instruments[s], now
        a, b, c, d = now.steps
        out = [
            self._row(arrival_ns, INSTRUMENT, s, id=now.version, id2=now.status, a=a, b=b, c=c, d=d)
        ]
        halted, was_halted = now.status != TRADING, was.status != TRADING
        rescaled = now.steps != was.steps
        self._scales[s] = now.steps
        if halted != was_halted:
            (self._halted.add if halted else self._halted.discard)(s)
            for family, streams in self._family_streams.items():
                watched = not halted and self._carriers.carried(s, family)
                watch_anew(self._rates, s, streams, arrival_ns if watched else 0)
        if halted and not was_halted:
            out.append(self._distrust(s, REASON_HALTED, arrival_ns))
            out += self._tape(s, STALE, REASON_HALTED, arrival_ns)
        elif rescaled or was_halted:
            reason = REASON_RESCALED if rescaled else REASON_RESUMED
            out.append(self._distrust(s, reason, arrival_ns))
            out += self._tape(s, STALE if halted else SYNCED, reason, arrival_ns)
        return out

    # Frames

    def receive(self, frames: Sequence[bytes], arrival_ns: NDArray[np.int64]) -> Rows:
        """Rows of a micro-batch of frames. Bad frames are counted and dropped, never raised."""
        lengths = np.fromiter(map(len, frames), np.int64, len(frames))
        starts = np.zeros(len(frames) + 1, np.int64)
        np.cumsum(lengths, out=starts[1:])
        return self.receive_buffer(np.frombuffer(b"".join(frames), np.uint8), starts, arrival_ns)

    def receive_buffer(
        self, buf: NDArray[np.uint8], starts: NDArray[np.int64], arrival_ns: NDArray[np.int64]
    ) -> Rows:
        """The same for frames that lie behind each other: frame k is buf[starts[k]:starts[k+1]]."""
        if len(starts) < 2:
            return empty_rows()
        buf = buf.view()
        buf.flags.writeable = False  # one type for the kernel, whoever made the buffer
        arrival_ns = np.maximum.accumulate(np.maximum(arrival_ns, self._last_ns))
        self._last_ns = int(arrival_ns[-1])
        room = 3 * len(arrival_ns) + len(buf) // 40 + 8
        if len(self._scratch) < room:
            self._scratch = np.zeros((2 * room, WORDS), np.int64)
        n, self._seq = decode(
            buf, starts, arrival_ns, self._seq, self._table, self._names, self._scales, self._sync,
            self._rates, self._rule, self.tape == "aggTrade", self._scratch,
            self._scratch.reshape(-1), self._counts, self._last_bad, self._fields,
        )  # fmt: skip
        rows = as_rows(self._scratch[:n].copy())
        if len(self._resyncs) or (self._sync[:, S_BOOK_STATE] == RESYNCING).any():
            self._resyncs.hold(rows, self._last_ns)
        return rows

    def last_bad(self, outcome: str) -> int:
        """Index of the last frame of the last batch with that outcome; -1 if there was none."""
        return int(self._last_bad[OUTCOME_NAMES.index(outcome)])

    def wanted(self) -> list[SnapshotRequest]:
        """Snapshots to fetch now, none of an instrument that is halted."""
        return self._resyncs.wanted(list(self._index), self.levels, self._halted)

    def snapshot_failed(self, symbol: str) -> None:
        """The fetch came to nothing; `wanted` will name it again with the next attempt."""
        self._resyncs.failed(self._index[symbol])

    def receive_snapshot(self, symbol: str, body: bytes, levels: int, arrival_ns: int) -> Rows:
        """The snapshot, the held diffs that join it (again, marked REJOINED) and, unless the book
        stood all the while, the epoch that is SYNCED; no row where it cannot join."""
        s = self._index[symbol]
        if s not in self._resyncs and self._sync[s, S_BOOK_STATE] == RESYNCING:
            self._resyncs.begin(s, arrival_ns)  # it broke without a diff to hold
        if s not in self._resyncs or s in self._halted:
            return empty_rows()  # joined or halted meanwhile: an answer that nobody waits for
        arrival_ns = self._stamp(arrival_ns)
        scratch = np.zeros((len(body) // 40 + 8, WORDS), np.int64)
        n = decode_snapshot(
            np.frombuffer(body, np.uint8), arrival_ns, s, levels, self._scales, scratch,
            scratch.reshape(-1),
        )  # fmt: skip
        if n < 0:
            self._counts[OUTCOME_NAMES.index("malformed")] += 1
            self.snapshot_failed(symbol)
            return empty_rows()
        joined = self._resyncs.join(s, as_rows(scratch[:n]), arrival_ns)
        if joined is None:
            return empty_rows()
        blocks, self._sync[s, S_LAST_ID], self._sync[s, S_FIRST] = joined
        for block in blocks:
            block["arrival_ns"][0] = arrival_ns
            block["seq"][0] = self._seq
            self._seq += 1
        if self._sync[s, S_BOOK_STATE] != RESYNCING:
            return np.concatenate(blocks)
        self._sync[s, S_BOOK_STATE] = SYNCED
        watch_anew(self._rates, s, (DEPTH_STREAM,), arrival_ns)
        epoch = self._epoch(arrival_ns, s, BOOK, SYNCED, REASON_JOINED)
        return np.concatenate([*blocks, epoch])

    def tape_state(self, symbol: str) -> int:
        """SYNCED, or STALE: cut, silent or halted."""
        return int(self._sync[self._index[symbol], S_TAPE_STATE])

    def book_id(self, symbol: str) -> int:
        """Last update id of a book, for tests and tools."""
        return int(self._sync[self._index[symbol], S_LAST_ID])
