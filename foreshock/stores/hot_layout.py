"""How trades and vectors lie in the entries of Redis streams: a plain form that anybody can read,
and a packed one that costs a fraction. docs/bus.md is the same for readers in other languages.

plain trade    ts price qty side id no         one entry a trade, ASCII
packed trades  p                               one entry a micro-batch: HEADER, then n rows
plain vector   ts boundary_ns book_epoch tape_epoch fingerprint no, and each warm feature's name
packed vector  b v w e f no                    float32 and a bit mask

`no` numbers what was said of a symbol, so that a reader notices what it missed: trades count from 1
in the order of their stream, vectors carry the number of their second.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from foreshock.errors import StoreError
from foreshock.market.clock import MS_NS, SECOND_NS
from foreshock.market.instruments import Instrument
from foreshock.market.jit import kernel
from foreshock.market.rows import (
    FALLBACK,
    INSTRUMENT,
    META,
    ROW,
    SELL,
    TRADE,
    Rows,
    Words,
    as_words,
)

Form = Literal["plain", "packed", "off"]
Fields = Mapping[bytes, bytes]

# magic with version, bytes a row, tick decimals, lot decimals, rows, zero, number of the first row,
# tick units, lot units; little endian, 40 bytes
HEADER: Final = struct.Struct("<4sHBBIIQqq")
MAGIC: Final = b"FSR1"


class Trade(NamedTuple):
    """A trade for people: what S1.14 of the schema names, and whence it came.

    ts in ms of the venue's clock, UTC; `fallback` where another venue stood in"""

    ts: int
    price: float
    qty: float
    side: str
    id: int
    no: int
    fallback: bool = False


@dataclass(frozen=True, slots=True)
class PackedTrades:
    """One entry of the packed form: TRADE rows as they lie in memory, and what a tick and a lot
    are. price = ticks · tick_units / 10^tick_decimals, sizes likewise."""

    rows: Rows
    first_no: int
    tick_decimals: int
    lot_decimals: int
    tick_units: int
    lot_units: int

    @property
    def prices(self) -> NDArray[np.float64]:
        """In quote currency, (n,)."""
        return np.asarray(self.rows["a"] * self.tick_units / 10**self.tick_decimals)

    @property
    def sizes(self) -> NDArray[np.float64]:
        """In base currency, (n,)."""
        return np.asarray(self.rows["b"] * self.lot_units / 10**self.lot_decimals)


@dataclass(frozen=True, slots=True)
class StoredVector:
    """One symbol's vector as a packed entry keeps it: float32 (k,), bool (k,)."""

    boundary_ns: int
    vector: NDArray[np.float32]
    warm: NDArray[np.bool_]
    book_epoch: int
    tape_epoch: int
    fingerprint: str


class ClosedBoundary(Protocol):
    """What is published of `foreshock.engine.outcomes.Boundary`, which fits this."""

    @property
    def boundary_ns(self) -> int:
        """The boundary."""
        ...

    @property
    def vectors(self) -> NDArray[np.float32]:
        """(n, k)."""
        ...

    @property
    def warm(self) -> NDArray[np.bool_]:
        """(n, k)."""
        ...

    @property
    def book_epoch(self) -> NDArray[np.int32]:
        """(n,)."""
        ...

    @property
    def tape_epoch(self) -> NDArray[np.int32]:
        """(n,)."""
        ...


@kernel
def _mark_tape(words: Words, out: NDArray[np.bool_]) -> None:
    """Flags TRADE and INSTRUMENT rows; walks from header to header: pack rows have no kind."""
    i = 0
    while i < len(words):
        meta = words[i, META]
        out[i] = (meta & 0xFF) in (TRADE, INSTRUMENT)
        i += 1 + ((meta >> 16) & 0xFFFF)


def tape_in(rows: Rows) -> Rows:
    """The TRADE rows among whole rows, and the INSTRUMENT rows, which say what their ticks and lots
    are from there on; a copy in their order."""
    marks = np.zeros(len(rows), dtype=np.bool_)
    _mark_tape(as_words(rows), marks)
    found: Rows = rows[marks]
    return found


def entry_id(row: Any) -> bytes:
    """The id of the entry that ends with this row: its arrival in ms, and its seq. Redis takes an
    id once, so that a batch which is sent again is counted once."""
    return b"%d-%d" % (int(row["arrival_ns"]) // MS_NS, int(row["seq"]))


def pack_trades(rows: Rows, instrument: Instrument, first_no: int) -> bytes:
    """The field `p`: HEADER, then 80 bytes a row in the layout of `market.rows.ROW`."""
    header = HEADER.pack(
        MAGIC,
        ROW.itemsize,
        instrument.tick_decimals,
        instrument.lot_decimals,
        len(rows),
        0,
        first_no,
        instrument.tick_units,
        instrument.lot_units,
    )
    return header + np.ascontiguousarray(rows).tobytes()


def unpack_trades(blob: bytes) -> PackedTrades:
    """The inverse of `pack_trades`; the rows are a view of `blob`, read-only. Raises StoreError
    where it is of another version, or damaged."""
    if len(blob) < HEADER.size or blob[:4] != MAGIC:
        raise StoreError(f"{blob[:4]!r} does not begin packed trades of version 1 ({MAGIC!r})")
    _, size, tick_decimals, lot_decimals, n, _, first_no, ticks, lots = HEADER.unpack_from(blob)
    if size != ROW.itemsize or len(blob) != HEADER.size + n * size:
        raise StoreError(f"{len(blob)} bytes for {n} packed rows of {size} and a header")
    rows = np.frombuffer(blob, dtype=ROW, offset=HEADER.size)
    return PackedTrades(rows, first_no, tick_decimals, lot_decimals, ticks, lots)


def plain_trades(
    rows: Rows, instrument: Instrument, first_no: int
) -> Iterator[tuple[bytes, list[bytes]]]:
    """(entry id, names and values by turns) of each TRADE row. Prices and sizes are exact decimals,
    written from integers."""
    tick, lot = instrument.tick_units, instrument.lot_units
    ticks, lots = instrument.tick_decimals, instrument.lot_decimals
    stamps = np.where(rows["event_ns"] > 0, rows["event_ns"], rows["arrival_ns"]) // MS_NS
    columns = (
        (rows["arrival_ns"] // MS_NS).tolist(),
        rows["seq"].tolist(),
        stamps.tolist(),
        rows["a"].tolist(),
        rows["b"].tolist(),
        rows["id"].tolist(),
        rows["flags"].tolist(),
    )
    for no, (ms, seq, ts, a, b, trade_id, flags) in enumerate(zip(*columns, strict=True), first_no):
        fields = [
            b"ts", b"%d" % ts,
            b"price", _decimal(a * tick, ticks),
            b"qty", _decimal(b * lot, lots),
            b"side", b"sell" if flags & SELL else b"buy",
            b"id", b"%d" % trade_id,
            b"no", b"%d" % no,
        ]  # fmt: skip
        if flags & FALLBACK:
            fields += [b"fallback", b"1"]
        yield b"%d-%d" % (ms, seq), fields


def read_trades(fields: Fields) -> list[Trade]:
    """The trades of an entry of either form, oldest first; [] where it is no entry of trades.
    Raises StoreError where it is damaged."""
    if b"p" in fields:
        packed = unpack_trades(fields[b"p"])
        rows = packed.rows
        stamps = np.where(rows["event_ns"] > 0, rows["event_ns"], rows["arrival_ns"]) // MS_NS
        columns = (stamps, packed.prices, packed.sizes, rows["flags"], rows["id"])
        lines = zip(*(column.tolist() for column in columns), strict=True)
        return [
            Trade(ts, price, size, _side(flags), i, packed.first_no + k, bool(flags & FALLBACK))
            for k, (ts, price, size, flags, i) in enumerate(lines)
        ]
    if b"price" not in fields:
        return []
    try:
        ts, i, no = (int(fields[name]) for name in (b"ts", b"id", b"no"))
        price, qty = float(fields[b"price"]), float(fields[b"qty"])
        return [Trade(ts, price, qty, fields[b"side"].decode(), i, no, b"fallback" in fields)]
    except (KeyError, ValueError) as error:
        raise StoreError(f"an entry of trades cannot be read: {error!r}") from error


def numbers_of(fields: Fields) -> tuple[int, int]:
    """(number of the first thing in the entry, how many there are); (0, 1) where it has none."""
    if b"p" in fields:
        packed = unpack_trades(fields[b"p"])
        return packed.first_no, len(packed.rows)
    return int(fields.get(b"no", 0)), 1


def vector_id(boundary: ClosedBoundary) -> bytes:
    """The id of a boundary's entry: each boundary enters a stream once."""
    return b"%d-0" % (boundary.boundary_ns // MS_NS)


def pack_vector(boundary: ClosedBoundary, i: int, fingerprint: str) -> list[bytes]:
    """Names and values of symbol `i`'s entry: `b` boundary_ns, `v` float32 little endian, `w` the
    warm mask as packed bits (first feature in the highest bit), `e` "book epoch:tape epoch", `f`
    the layout's fingerprint, `no`."""
    return [
        b"b", b"%d" % boundary.boundary_ns,
        b"v", boundary.vectors[i].astype("<f4", copy=False).tobytes(),
        b"w", np.packbits(boundary.warm[i]).tobytes(),
        b"e", b"%d:%d" % (int(boundary.book_epoch[i]), int(boundary.tape_epoch[i])),
        b"f", fingerprint.encode(),
        b"no", b"%d" % (boundary.boundary_ns // SECOND_NS),
    ]  # fmt: skip


def unpack_vector(fields: Fields) -> StoredVector:
    """The inverse of `pack_vector`. Raises StoreError where the entry is none of its."""
    try:
        vector = np.frombuffer(fields[b"v"], dtype="<f4")
        bits = np.frombuffer(fields[b"w"], dtype=np.uint8)
        book, _, tape = fields[b"e"].decode().partition(":")
        return StoredVector(
            boundary_ns=int(fields[b"b"]),
            vector=vector,
            warm=np.unpackbits(bits, count=len(vector)).astype(np.bool_),
            book_epoch=int(book),
            tape_epoch=int(tape),
            fingerprint=fields[b"f"].decode(),
        )
    except (KeyError, ValueError) as error:
        raise StoreError(f"an entry of features cannot be read: {error!r}") from error


def plain_vector(
    boundary: ClosedBoundary, i: int, fingerprint: str, names: Sequence[bytes]
) -> list[bytes]:
    """Names and values of symbol `i`'s entry: features that are not warm are left out, the others
    are written so that float32 reads the same bits back."""
    out = [
        b"ts", b"%d" % (boundary.boundary_ns // MS_NS),
        b"boundary_ns", b"%d" % boundary.boundary_ns,
        b"book_epoch", b"%d" % int(boundary.book_epoch[i]),
        b"tape_epoch", b"%d" % int(boundary.tape_epoch[i]),
        b"fingerprint", fingerprint.encode(),
        b"no", b"%d" % (boundary.boundary_ns // SECOND_NS),
    ]  # fmt: skip
    values = boundary.vectors[i].tolist()
    for j in np.flatnonzero(boundary.warm[i]).tolist():
        out += [names[j], b"%.9g" % values[j]]
    return out


def _side(flags: int) -> str:
    return "sell" if flags & SELL else "buy"


def _decimal(units: int, decimals: int) -> bytes:
    """units · 10^-decimals, exactly, with all its decimals."""
    if not decimals:
        return b"%d" % units
    whole, part = divmod(units, 10**decimals)
    return b"%d.%0*d" % (whole, decimals, part)
