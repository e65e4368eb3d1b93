"""Small compiled readers and writers of rows as words, for kernels (layout: market/rows.py)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from foreshock.market.jit import in_place
from foreshock.market.rows import ARRIVAL, EPOCH, EVENT, ID, ID2, META, A, B, C, D


@in_place
def kind_of(meta: int) -> int:
    """The row's kind."""
    return meta & 0xFF


@in_place
def flags_of(meta: int) -> int:
    """The row's flags."""
    return (meta >> 8) & 0xFF


@in_place
def count_of(meta: int) -> int:
    """How many pack rows follow."""
    return (meta >> 16) & 0xFFFF


@in_place
def symbol_of(meta: int) -> int:
    """Index of the instrument, -1 for all."""
    return meta >> 32


@in_place
def meta_word(kind: int, flags: int, count: int, symbol: int) -> int:
    """The packed word; the inverse of the four readers."""
    return kind | (flags << 8) | (count << 16) | (symbol << 32)


@in_place
def write_head(
    words: NDArray[np.int64], r: int, arrival_ns: int, event_ns: int, meta: int
) -> None:  # fmt: skip
    """Row r with these three and nothing else; its seq is the caller's to set."""
    words[r, ARRIVAL] = arrival_ns
    words[r, EVENT] = event_ns
    words[r, META] = meta
    words[r, ID] = 0
    words[r, ID2] = 0
    words[r, A] = 0
    words[r, B] = 0
    words[r, C] = 0
    words[r, D] = 0


@in_place
def write_epoch(
    words: NDArray[np.int64], r: int, arrival_ns: int, s: int, state: int, epoch: int,
    family: int, reason: int,
) -> None:  # fmt: skip
    """Row r as an EPOCH row of symbol s."""
    write_head(words, r, arrival_ns, 0, meta_word(EPOCH, 0, 0, s))
    words[r, A] = state
    words[r, B] = epoch
    words[r, C] = family
    words[r, D] = reason
