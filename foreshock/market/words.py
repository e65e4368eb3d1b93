"""Small compiled readers of a row's packed META word, for kernels (layout: market/rows.py)."""

from __future__ import annotations

from foreshock.market.jit import in_place


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
