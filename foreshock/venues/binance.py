"""Binance spot and USD-M futures: the sans-I/O session over the compiled frame decoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from foreshock.errors import InstrumentError
from foreshock.market.clock import SECOND_NS
from foreshock.market.instruments import SPOT, USDM, Instrument
from foreshock.market.integrity import (
    BREAK,
    REPEAT,
    RULE_SPOT,
    RULE_USDM,
    S_BOOK_EPOCH,
    S_BOOK_SEEN_NS,
    S_BOOK_STATE,
    S_FIRST,
    S_LAST_ID,
    S_TAPE_EPOCH,
    S_TRADE_ID,
    follow,
    new_sync,
)
from foreshock.market.rows import (
    ALL,
    BOOK,
    CONNECTION,
    CONTROL,
    CUT,
    EPOCH,
    HELD,
    REASON_CUT,
    REASON_JOINED,
    REASON_SILENT,
    REASON_START,
    REJOINED,
    RESYNCING,
    STALE,
    SYNCED,
    TAPE,
    TIMER,
    WORDS,
    Rows,
    as_rows,
    as_words,
    empty_rows,
)
from foreshock.venues.binance_frames import (
    FIELDS,
    OUTCOME_NAMES,
    decode,
    decode_snapshot,
    held_heads,
    symbol_hash,
)
from foreshock.venues.session import SnapshotRequest

BOOK_FAMILY, TAPE_FAMILY = 1 << BOOK, 1 << TAPE
MAX_HELD: Final = 4_096  # diffs kept of a symbol while its snapshot is on its way (7 min at 10/s)
NAME_BYTES: Final = 32


@dataclass(slots=True)
class _Resync:
    """A book that waits for a snapshot: the diffs since, and the state of its request. `refresh_id`
    is where the book stood when it asked for one although nothing broke; -1 for a broken book."""

    held: list[Rows] = field(default_factory=list)
    asked: bool = False
    attempt: int = 0
    refresh_id: int = -1


def _symbol_table(instruments: Sequence[Instrument]) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
    """The decoder's open-addressed hash table of symbol spellings, at most half full."""
    size = 16
    while size < 2 * len(instruments) + 1:
        size *= 2
    table = np.full(size, -1, np.int32)
    names = np.zeros((len(instruments), NAME_BYTES), np.uint8)
    for s, instrument in enumerate(instruments):
        spelled = np.frombuffer(instrument.symbol.encode(), np.uint8)
        names[s, : len(spelled)] = spelled
        slot = symbol_hash(spelled, 0, len(spelled)) & (size - 1)
        while table[slot] >= 0:
            slot = (slot + 1) & (size - 1)
        table[slot] = s
    return table, names


class BinanceSession:
    """One market's symbols: frames, snapshots, timers and connection events in, rows out.

    Parameters
    ----------
    instruments   all of one market; their order is the rows' symbol index
    tape          "trade" or "aggTrade": which trade stream is read (both would count twice)
    levels        how many levels a snapshot asks for
    stale_after_ns   a SYNCED book whose depth stream says nothing for so long becomes STALE
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
        self._stale_after_ns = stale_after_ns
        self._instruments = tuple(instruments)
        self._index = {symbol: s for s, symbol in enumerate(symbols)}
        self._rule = RULE_SPOT if self.market == SPOT else RULE_USDM
        self._table, self._names = _symbol_table(instruments)
        self._scales = np.array(
            [[i.tick_decimals, i.tick_units, i.lot_decimals, i.lot_units] for i in instruments],
            np.int64,
        )
        self._sync = new_sync(len(instruments))
        self._resyncs: dict[int, _Resync] = {s: _Resync() for s in range(len(instruments))}
        self._counts = np.zeros(len(OUTCOME_NAMES), np.int64)
        self._last_bad = np.full(len(OUTCOME_NAMES), -1, np.int64)
        self._scratch = np.zeros((4096, WORDS), np.int64)
        self._fields = np.zeros((3, FIELDS), np.int64)
        self._seq = 0
        self._last_ns = 0

    @property
    def instruments(self) -> tuple[Instrument, ...]:
        """In the order of the rows' symbol index."""
        return self._instruments

    @property
    def counts(self) -> dict[str, int]:
        """Frames by what became of them."""
        return {name: int(n) for name, n in zip(OUTCOME_NAMES, self._counts, strict=True)}

    def states(self) -> NDArray[np.int64]:
        """Book state and epoch, tape epoch, int64 (n, 3)."""
        return self._sync[:, [S_BOOK_STATE, S_BOOK_EPOCH, S_TAPE_EPOCH]].copy()

    def streams(self) -> list[str]:
        """Names of the streams to subscribe, three a symbol. USD-M serves the first two of them
        under /public and the tape under /market."""
        depth = "depth@100ms"
        return [
            f"{instrument.symbol.lower()}@{kind}"
            for instrument in self._instruments
            for kind in (depth, "bookTicker", self.tape)
        ]

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
            out.append(self._epoch(arrival_ns, s, BOOK, RESYNCING, REASON_START))
            out.append(self._epoch(arrival_ns, s, TAPE, SYNCED, REASON_START))
        return np.concatenate(out)

    def timer(self, arrival_ns: int) -> Rows:
        """A timer row, and STALE epochs of SYNCED books whose depth stream fell silent."""
        arrival_ns = self._stamp(arrival_ns)
        out = [self._row(arrival_ns, TIMER, ALL)]
        silent = (self._sync[:, S_BOOK_STATE] == SYNCED) & (
            self._sync[:, S_BOOK_SEEN_NS] < arrival_ns - self._stale_after_ns
        )
        for s in np.flatnonzero(silent).tolist():
            self._sync[s, S_BOOK_STATE] = STALE
            out.append(self._epoch(arrival_ns, s, BOOK, STALE, REASON_SILENT))
        return np.concatenate(out)

    def connection(
        self, number: int, state: int, families: int, symbols: Sequence[str], offset_ns: int,
        arrival_ns: int,
    ) -> Rows:  # fmt: skip
        """A connection row; behind a cut one, a new epoch for all it carried: the book waits for a
        snapshot, the tape goes on with a gap that its epoch number shows."""
        arrival_ns = self._stamp(arrival_ns)
        out = [self._row(arrival_ns, CONNECTION, ALL, id=number, a=state, b=families, c=offset_ns)]
        if state == CUT:
            for symbol in symbols:
                s = self._index[symbol]
                if families & BOOK_FAMILY:
                    out.append(self._distrust(s, REASON_CUT, arrival_ns))
                if families & TAPE_FAMILY:
                    self._sync[s, S_TAPE_EPOCH] += 1
                    self._sync[s, S_TRADE_ID] = -1
                    out.append(self._epoch(arrival_ns, s, TAPE, SYNCED, REASON_CUT))
        return np.concatenate(out)

    def control(self, control_field: int, value: int, arrival_ns: int) -> Rows:
        """A control row: model, strategy or bill version, kill switch (market/rows.py)."""
        return self._row(self._stamp(arrival_ns), CONTROL, ALL, a=control_field, b=value)

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
            self._resyncs[s] = _Resync(refresh_id=int(self._sync[s, S_LAST_ID]))

    def _distrust(self, s: int, reason: int, arrival_ns: int) -> Rows:
        self._sync[s, S_BOOK_STATE] = RESYNCING
        self._sync[s, S_BOOK_EPOCH] += 1
        self._resyncs[s] = _Resync()
        return self._epoch(arrival_ns, s, BOOK, RESYNCING, reason)

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
            self._rule, self.tape == "aggTrade", self._scratch, self._scratch.reshape(-1),
            self._counts, self._last_bad, self._fields,
        )  # fmt: skip
        rows = as_rows(self._scratch[:n].copy())
        if self._resyncs or (self._sync[:, S_BOOK_STATE] == RESYNCING).any():
            self._hold(rows)
        return rows

    def last_bad(self, outcome: str) -> int:
        """Index, within its batch, of the last frame with that outcome; -1 if there was none."""
        return int(self._last_bad[OUTCOME_NAMES.index(outcome)])

    def _hold(self, rows: Rows) -> None:
        """Keep the diffs of books that wait for a snapshot: it will need them."""
        keep = np.zeros(len(self._instruments), np.bool_)
        keep[list(self._resyncs)] = True
        for head in held_heads(as_words(rows), keep).tolist():
            resync = self._resyncs.setdefault(int(rows["symbol"][head]), _Resync())
            resync.held.append(rows[head : head + 1 + int(rows["count"][head])].copy())
            if len(resync.held) > MAX_HELD:
                del resync.held[: MAX_HELD // 2]

    def wanted(self) -> list[SnapshotRequest]:
        """Snapshots to fetch now: books that wait and have seen a diff since (an earlier snapshot
        could not be joined), or that stand and want a fresh one."""
        out = []
        for s, resync in self._resyncs.items():
            if not resync.asked and (resync.held or resync.refresh_id >= 0):
                resync.asked = True
                symbol = self._instruments[s].symbol
                out.append(SnapshotRequest(symbol, self.levels, resync.attempt))
        return out

    def snapshot_failed(self, symbol: str) -> None:
        """The fetch came to nothing; `wanted` will name it again with the next attempt."""
        resync = self._resyncs.get(self._index[symbol])
        if resync is not None:
            resync.asked = False
            resync.attempt += 1

    def receive_snapshot(self, symbol: str, body: bytes, levels: int, arrival_ns: int) -> Rows:
        """The snapshot, the held diffs that join it (again, marked REJOINED) and, unless the book
        stood all the while, the epoch that is SYNCED; no row where it cannot join."""
        s = self._index[symbol]
        resync = self._resyncs.get(s)
        if resync is None:
            return empty_rows()  # joined meanwhile: an answer that nobody waits for
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
        snapshot = as_rows(scratch[:n])
        known, first = int(snapshot["id"][0]), 1
        if known < resync.refresh_id:  # the diffs between the two were not kept
            self.snapshot_failed(symbol)
            return empty_rows()
        joined: list[Rows] = []
        for position, held in enumerate(resync.held):
            head = held[0]
            verdict = follow(
                first, known, int(head["id2"]), int(head["id"]), int(head["a"]), self._rule
            )
            if verdict == BREAK:
                # Too old for what was held, or a gap in what was held: only what came behind the
                # break can still join the next snapshot.
                del resync.held[:position]
                self.snapshot_failed(symbol)
                return empty_rows()
            if verdict != REPEAT:
                again = held.copy()
                again["flags"][0] = (int(again["flags"][0]) & ~HELD) | REJOINED
                joined.append(again)
                known, first = int(head["id"]), 0
        for block in (snapshot, *joined):
            block["arrival_ns"][0] = arrival_ns
            block["seq"][0] = self._seq
            self._seq += 1
        del self._resyncs[s]
        self._sync[s, S_LAST_ID], self._sync[s, S_FIRST] = known, first
        if self._sync[s, S_BOOK_STATE] != RESYNCING:
            return np.concatenate([snapshot, *joined])
        self._sync[s, S_BOOK_STATE] = SYNCED
        self._sync[s, S_BOOK_SEEN_NS] = arrival_ns
        epoch = self._epoch(arrival_ns, s, BOOK, SYNCED, REASON_JOINED)
        return np.concatenate([snapshot, *joined, epoch])

    def book_id(self, symbol: str) -> int:
        """Last update id of a book, for tests and tools."""
        return int(self._sync[self._index[symbol], S_LAST_ID])
