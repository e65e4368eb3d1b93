"""Frames as bytes, written by a kernel: pieces of a template and integers between them."""

from __future__ import annotations

from typing import Any

import numpy as np

from foreshock.market.jit import inlined, kernel
from foreshock.simulation.state import (
    E_A,
    E_B,
    E_C,
    E_D,
    E_E,
    E_NS,
    E_STREAM,
    E_SYMBOL,
    LOT_DECIMALS,
    LOT_PAD,
    LOT_UNITS,
    PRICE_DECIMALS,
    PRICE_PAD,
    PRICE_UNITS,
)
from foreshock.simulation.templates import (
    V_ASK,
    V_ASK_LOTS,
    V_ASKS,
    V_BID,
    V_BID_LOTS,
    V_BIDS,
    V_EVENT_MS,
    V_FIRST_ID,
    V_ID,
    V_LOTS,
    V_PREVIOUS_ID,
    V_PRICE,
    V_SELLER,
)

LONGEST_FRAME = 448  # bytes of a frame without its levels
LONGEST_LEVEL = 72
_TEN = np.uint64(10)
_ZERO = np.uint64(48)


@inlined
def write_decimal(data: Any, at: int, value: int, decimals: int, pad: int) -> int:
    """value · 10^-decimals (value not negative) with all its decimals and `pad` zeros more, from
    `at` on; returns the place behind. With decimals and pad 0 it is a plain integer."""
    digits, rest = 1, np.uint64(value) // _TEN
    while rest > 0:
        digits += 1
        rest //= _TEN
    digits = max(digits, decimals + 1)
    point = 1 if decimals + pad > 0 else 0
    rest = np.uint64(value)
    place = at + digits + point - 1
    for _ in range(decimals):
        tens = rest // _TEN
        data[place] = _ZERO + rest - tens * _TEN
        rest = tens
        place -= 1
    if point:
        data[place] = 46
        place -= 1
    for _ in range(digits - decimals):
        tens = rest // _TEN
        data[place] = _ZERO + rest - tens * _TEN
        rest = tens
        place -= 1
    at += digits + point
    for _ in range(pad):
        data[at] = 48
        at += 1
    return at


@inlined
def write_levels(data: Any, at: int, levels: Any, first: int, n: int, w: Any, s: int) -> int:
    """`["price","size"]` of levels[first : first + n], commas between; `w` is Book.whole."""
    price_units, lot_units = w[s, PRICE_UNITS], w[s, LOT_UNITS]
    price_decimals, price_pad = w[s, PRICE_DECIMALS], w[s, PRICE_PAD]
    lot_decimals, lot_pad = w[s, LOT_DECIMALS], w[s, LOT_PAD]
    for i in range(first, first + n):
        if i > first:
            data[at] = 44
            at += 1
        data[at] = 91
        data[at + 1] = 34
        ticks, lots = levels[i, 0] * price_units, levels[i, 1] * lot_units
        at = write_decimal(data, at + 2, ticks, price_decimals, price_pad)
        data[at] = 34
        data[at + 1] = 44
        data[at + 2] = 34
        at = write_decimal(data, at + 3, lots, lot_decimals, lot_pad)
        data[at] = 34
        data[at + 1] = 93
        at += 2
    return at


@kernel
def encode(
    events: Any,
    levels: Any,
    w: Any,
    pieces: Any,
    piece_starts: Any,
    values: Any,
    data: Any,
    starts: Any,
) -> None:
    """Write the frame of each event (see state.Log) into `data` (uint8), frame i from `starts[i]`
    to `starts[i + 1]`. `data` must have LONGEST_FRAME bytes for each event and LONGEST_LEVEL for
    each level; `w` is Book.whole, the rest comes from templates.compiled_templates."""
    at, level = 0, 0
    for k in range(events.shape[0]):
        s, stream = events[k, E_SYMBOL], events[k, E_STREAM]
        starts[k] = at
        for j in range(values.shape[1]):
            for i in range(piece_starts[s, stream, j], piece_starts[s, stream, j + 1]):
                data[at] = pieces[i]
                at += 1
            # A value is an integer, a price or a size: find out which, then write it in one place.
            value, number, kind = values[stream, j], 0, 0
            if value == V_EVENT_MS:
                number = events[k, E_NS] // 1_000_000
            elif value == V_ID:
                number = events[k, E_A]
            elif value == V_FIRST_ID:
                number = events[k, E_B]
            elif value == V_PREVIOUS_ID:
                number = events[k, E_C]
            elif value == V_PRICE:
                number, kind = events[k, E_C], 1
            elif value == V_LOTS:
                number, kind = events[k, E_D], 2
            elif value == V_BID:
                number, kind = events[k, E_B], 1
            elif value == V_BID_LOTS:
                number, kind = events[k, E_C], 2
            elif value == V_ASK:
                number, kind = events[k, E_D], 1
            elif value == V_ASK_LOTS:
                number, kind = events[k, E_E], 2
            elif value == V_SELLER:
                word = 0x65757274 if events[k, E_E] else 0x736C6166  # "true" or "fals", reversed
                for shift in range(0, 32, 8):
                    data[at] = (word >> shift) & 0xFF
                    at += 1
                if not events[k, E_E]:
                    data[at] = 101
                    at += 1
                continue
            elif value in (V_BIDS, V_ASKS):
                n = events[k, E_D] if value == V_BIDS else events[k, E_E]
                at = write_levels(data, at, levels, level, n, w, s)
                level += n
                continue
            else:
                break
            if kind == 1:
                units, decimals, pad = w[s, PRICE_UNITS], w[s, PRICE_DECIMALS], w[s, PRICE_PAD]
            elif kind == 2:
                units, decimals, pad = w[s, LOT_UNITS], w[s, LOT_DECIMALS], w[s, LOT_PAD]
            else:
                units, decimals, pad = 1, 0, 0
            at = write_decimal(data, at, number * units, decimals, pad)
    starts[events.shape[0]] = at
