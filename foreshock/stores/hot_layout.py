"""How trades and vectors are packed into the entries of Redis streams."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from foreshock.errors import StoreError
from foreshock.market.rows import ROW, Rows


@dataclass(frozen=True, slots=True)
class StoredVector:
    """One symbol's vector as the hot store keeps it: float32 (k,), bool (k,)."""

    boundary_ns: int
    vector: NDArray[np.float32]
    warm: NDArray[np.bool_]
    book_epoch: int
    tape_epoch: int
    fingerprint: str


class ClosedBoundary(Protocol):
    """What is stored of `foreshock.engine.outcomes.Boundary`, which fits this."""

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


def pack_trades(rows: Rows) -> bytes:
    """Rows as they lie in memory: 80 bytes each, little endian, the layout of `market.rows.ROW`."""
    return np.ascontiguousarray(rows).tobytes()


def unpack_trades(blob: bytes) -> Rows:
    """The inverse of `pack_trades`. Raises StoreError where the length does not fit."""
    if len(blob) % ROW.itemsize:
        raise StoreError(f"{len(blob)} bytes are no whole number of rows of {ROW.itemsize}")
    return np.frombuffer(blob, dtype=ROW)


def pack_vector(boundary: ClosedBoundary, i: int, fingerprint: str) -> dict[str, Any]:
    """Fields of one entry for symbol `i`: `b` boundary_ns, `v` float32 little endian, `w` the warm
    mask as packed bits (first feature in the highest bit), `e` "book epoch:tape epoch", `f` the
    layout's fingerprint."""
    return {
        "b": boundary.boundary_ns,
        "v": boundary.vectors[i].astype("<f4", copy=False).tobytes(),
        "w": np.packbits(boundary.warm[i]).tobytes(),
        "e": f"{int(boundary.book_epoch[i])}:{int(boundary.tape_epoch[i])}",
        "f": fingerprint,
    }


def unpack_vector(fields: Mapping[bytes, bytes]) -> StoredVector:
    """The inverse of `pack_vector`."""
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
