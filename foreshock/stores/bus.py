"""The bus: trades and vectors into Redis streams, thousands of entries a round trip.

    trades:<symbol>    every trade, plain or packed
    features:<symbol>  every vector at its boundary, plain or packed

Symbols are spelled small (`trades:btcusdt`). Streams are bounded (MAXLEN ~). The layouts are those
of `hot_layout`, for readers of any language in docs/bus.md; `bus_consumer` reads them.

Entries carry ids made of the arrival and the seq of their last row, and numbers that count on from
what the stream holds. So the same rows make the same entries wherever they are published, a replay
among them, and a batch that is sent again after a failure is counted once.

Commands are written by hand and sent in one piece: redis-py's pipeline takes 13 µs of Python an
entry, this 3, and the watcher in whose process it runs shares that Python.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Final

import numpy as np
import redis
from redis.backoff import NoBackoff
from redis.exceptions import ResponseError
from redis.retry import Retry

from foreshock.errors import StoreError
from foreshock.market.instruments import Instrument
from foreshock.market.rows import INSTRUMENT, TRADE, Rows, empty_rows
from foreshock.stores.hot_layout import (
    ClosedBoundary,
    Form,
    entry_id,
    numbers_of,
    pack_trades,
    pack_vector,
    plain_trades,
    plain_vector,
    tape_in,
    vector_id,
)

PACKED_SHARE: Final = 10  # a packed entry holds a micro-batch: its streams keep a tenth as many
_CHUNK: Final = 1_000  # commands a write; more make both ends hold long buffers
_REPEATED: Final = "equal or smaller"  # what Redis says of an id that is in the stream, or behind


@dataclass(frozen=True, slots=True)
class Published:
    """What one call put into the streams: entries that are new there, and those that Redis refused
    because the stream is further on (told apart from a batch that is sent again)."""

    entries: int = 0
    refused: int = 0


class Bus:
    """The writing end, for one thread. Nothing is sent before the first call."""

    def __init__(
        self,
        url: str,
        instruments: Sequence[Instrument],
        *,
        form: Form = "plain",
        prefix: str = "",
        trades_length: int = 10_000,
        features_length: int = 600,
        features: Sequence[str] = (),
        fingerprint: str = "",
        timeout_s: float = 1.0,
    ) -> None:
        """instruments   in the order of the rows' symbol index and of a boundary's vectors
        form             "off" publishes nothing
        trades_length    about how many trades a stream keeps; packed a tenth as many entries
        features_length  about how many vectors a stream keeps
        features, fingerprint   names of a vector's columns, and of their layout"""
        self.form: Form = form
        retry = Retry(NoBackoff(), 0)  # the caller decides when it tries again
        self._client = redis.Redis.from_url(url, socket_timeout=timeout_s, retry=retry)
        self._instruments = list(instruments)
        self._names = [name.encode() for name in features]
        self._fingerprint = fingerprint
        kept = max(1, trades_length // PACKED_SHARE) if form == "packed" else trades_length
        symbols = [instrument.symbol for instrument in instruments]
        self._trades = [stream_name("trades", symbol, prefix) for symbol in symbols]
        self._vectors = [stream_name("features", symbol, prefix) for symbol in symbols]
        self._add_trade = [_head(name, kept) for name in self._trades]
        self._add_vector = [_head(name, features_length) for name in self._vectors]
        self._next_no: dict[int, int] = {}
        self._in_doubt = False

    def publish(
        self, rows: Rows | None = None, boundaries: Iterable[ClosedBoundary] = ()
    ) -> Published:
        """Publish the TRADE rows among whole rows and the vectors of closed boundaries. INSTRUMENT
        rows change what ticks and lots are; other rows are passed over. Raises StoreError where
        Redis is away or refuses: part of it may have arrived, and the next call must be with the
        very same, or `give_up` must be called."""
        if self.form == "off":
            return Published()
        tape = tape_in(empty_rows() if rows is None else rows)
        try:
            connection: Any = self._client.connection_pool.get_connection()
        except redis.RedisError as error:
            raise StoreError(f"Redis is away: {error}") from error
        try:
            by_symbol = self._by_symbol(tape)
            self._learn(connection, by_symbol)
            commands = self._commands(by_symbol, boundaries)
            entries = refused = 0
            while chunk := list(islice(commands, _CHUNK)):
                done = _send(connection, chunk)
                entries, refused = entries + done, refused + len(chunk) - done
        except (redis.RedisError, OSError) as error:
            connection.disconnect()
            self._in_doubt = True
            raise StoreError(f"Redis is away: {error}") from error
        except StoreError:
            self._in_doubt = True
            raise
        finally:
            self._client.connection_pool.release(connection)
        self._done_with(by_symbol)
        if self._in_doubt:
            self._in_doubt, refused = False, 0
        return Published(entries, refused)

    def give_up(self, rows: Rows) -> None:
        """These rows will not be published: their numbers are passed over, so that readers see how
        many they missed."""
        self._in_doubt = False
        self._done_with(self._by_symbol(tape_in(rows)))

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _by_symbol(self, tape: Rows) -> dict[int, Rows]:
        known = tape[(tape["symbol"] >= 0) & (tape["symbol"] < len(self._instruments))]
        ordered = known[np.argsort(known["symbol"], kind="stable")]
        symbols, starts = np.unique(ordered["symbol"], return_index=True)
        groups = np.split(ordered, starts[1:]) if len(symbols) else []
        return dict(zip(symbols.tolist(), groups, strict=True))

    def _learn(self, connection: Any, symbols: Iterable[int]) -> None:
        """The numbers to go on with, of streams that were not written yet."""
        new = [symbol for symbol in symbols if self._next_no.get(symbol, 0) <= 0]
        if not new:
            return
        asked = [
            _command(b"XREVRANGE", self._trades[symbol].encode(), b"+", b"-", b"COUNT", b"1")
            for symbol in new
        ]
        connection.send_packed_command([b"".join(asked)])
        for symbol, entries in zip(new, [_reply(connection) for _ in new], strict=True):
            last = _last_number(entries)
            self._next_no[symbol] = last + 1 - self._next_no.get(symbol, 0)

    def _done_with(self, by_symbol: Mapping[int, Rows]) -> None:
        """Numbers are used up (below zero while the stream's own are not known), and what the last
        INSTRUMENT row said holds."""
        for symbol, rows in by_symbol.items():
            n, known = int(np.count_nonzero(rows["kind"] == TRADE)), self._next_no.get(symbol, 0)
            self._next_no[symbol] = known + n if known > 0 else known - n
            for _, instrument in self._scaled(symbol, rows):
                self._instruments[symbol] = instrument

    def _scaled(self, symbol: int, rows: Rows) -> Iterator[tuple[Rows, Instrument]]:
        """The trades of a symbol in runs of one tick and lot size; a run may be empty."""
        instrument, first = self._instruments[symbol], 0
        for i in (*np.flatnonzero(rows["kind"] == INSTRUMENT).tolist(), len(rows)):
            yield rows[first:i], instrument
            if i < len(rows):
                row, first = rows[i], i + 1
                if row["b"] <= 0 or row["d"] <= 0:
                    continue  # delisted without a word on its steps
                instrument = replace(
                    instrument,
                    tick_decimals=int(row["a"]),
                    tick_units=int(row["b"]),
                    lot_decimals=int(row["c"]),
                    lot_units=int(row["d"]),
                )

    def _commands(
        self, by_symbol: Mapping[int, Rows], boundaries: Iterable[ClosedBoundary]
    ) -> Iterator[bytes]:
        for symbol, rows in by_symbol.items():
            head, no = self._add_trade[symbol], self._next_no[symbol]
            for trades, instrument in self._scaled(symbol, rows):
                if self.form == "plain":
                    for entry, fields in plain_trades(trades, instrument, no):
                        yield _add(head, entry, fields)
                elif len(trades):
                    packed = pack_trades(trades, instrument, no)
                    yield _add(head, entry_id(trades[-1]), [b"p", packed])
                no += len(trades)
        for boundary in boundaries:
            entry = vector_id(boundary)
            for symbol, head in enumerate(self._add_vector):
                if self.form == "packed":
                    yield _add(head, entry, pack_vector(boundary, symbol, self._fingerprint))
                else:
                    fields = plain_vector(boundary, symbol, self._fingerprint, self._names)
                    yield _add(head, entry, fields)


def stream_name(kind: str, symbol: str, prefix: str = "") -> str:
    """`trades:btcusdt` of ("trades", "BTCUSDT"), behind the prefix."""
    return f"{prefix}{kind}:{symbol.lower()}"


def _head(stream: str, length: int) -> tuple[int, bytes]:
    """(number of arguments, bytes) of the beginning of an XADD, up to its id."""
    parts = (b"XADD", stream.encode(), b"MAXLEN", b"~", b"%d" % length)
    return len(parts), b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)


def _add(head: tuple[int, bytes], entry: bytes, fields: Sequence[bytes]) -> bytes:
    tail = b"".join([b"$%d\r\n%b\r\n" % (len(part), part) for part in (entry, *fields)])
    return b"*%d\r\n%b%b" % (head[0] + 1 + len(fields), head[1], tail)


def _command(*parts: bytes) -> bytes:
    body = b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)
    return b"*%d\r\n%b" % (len(parts), body)


def _send(connection: Any, commands: Sequence[bytes]) -> int:
    """Send all and read every answer; how many entries are new. Raises StoreError where Redis
    refused one for any other reason than its id, after all answers are read."""
    connection.send_packed_command([b"".join(commands)])
    new, refusal = 0, None
    for _ in commands:
        try:
            connection.read_response()
            new += 1
        except ResponseError as error:
            if _REPEATED not in str(error):
                refusal = error
    if refusal is not None:
        raise StoreError(f"Redis refused: {refusal}")
    return new


def _reply(connection: Any) -> Any:
    try:
        return connection.read_response()
    except ResponseError as error:
        return error


def _last_number(entries: Any) -> int:
    """The last number in the newest entry of a stream; 0 where there is none."""
    if isinstance(entries, Exception):
        raise StoreError(f"Redis refused: {entries}")
    if not entries:
        return 0
    flat = entries[0][1]
    first, n = numbers_of(dict(zip(flat[::2], flat[1::2], strict=True)))
    return first + n - 1 if first > 0 else 0
