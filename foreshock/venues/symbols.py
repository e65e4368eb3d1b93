"""From a symbol as the venue spells it to its index: an open-addressed hash table for kernels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from foreshock.market.jit import in_place
from foreshock.venues.scan import Bytes

NAME_BYTES: Final = 32


@in_place
def symbol_hash(buf: Bytes, start: int, stop: int) -> int:
    """FNV-1a over the bytes, folded to 31 bits."""
    h = np.uint64(0xCBF29CE484222325)
    for k in range(start, stop):
        h = (h ^ np.uint64(buf[k])) * np.uint64(0x100000001B3)
    return int((h ^ (h >> np.uint64(32))) & np.uint64(0x7FFFFFFF))


@in_place
def find_symbol(
    buf: Bytes, start: int, stop: int, table: NDArray[np.int32], names: NDArray[np.uint8]
) -> int:
    """Index of the symbol spelled by buf[start:stop], or -1."""
    size = len(table)
    length = stop - start
    if length <= 0 or length > names.shape[1]:
        return -1
    slot = symbol_hash(buf, start, stop) & (size - 1)
    while table[slot] >= 0:
        s = table[slot]
        same = length == names.shape[1] or names[s, length] == 0
        k = 0
        while same and k < length:
            same = names[s, k] == buf[start + k]
            k += 1
        if same:
            return int(s)
        slot = (slot + 1) & (size - 1)
    return -1


def symbol_table(spellings: Sequence[str]) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
    """(table, names) of spellings of at most 32 bytes each: the table, at most half full, holds
    their indices, `names` (n, 32) their bytes."""
    size = 16
    while size < 2 * len(spellings) + 1:
        size *= 2
    table = np.full(size, -1, np.int32)
    names = np.zeros((len(spellings), NAME_BYTES), np.uint8)
    for s, spelling in enumerate(spellings):
        spelled = np.frombuffer(spelling.encode(), np.uint8)
        names[s, : len(spelled)] = spelled
        slot = symbol_hash(spelled, 0, len(spelled)) & (size - 1)
        while table[slot] >= 0:
            slot = (slot + 1) & (size - 1)
        table[slot] = s
    return table, names
