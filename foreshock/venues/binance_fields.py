"""The letters of Binance's payloads: what became of a frame, and one object read into slots.

A payload's members are read once, in any order, into a table of slots, a slot a key. Integers are
read at once; of everything else the position is kept for whoever needs it.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from foreshock.market.clock import MS_NS, SECOND_NS
from foreshock.market.jit import in_place
from foreshock.market.rows import LEVELS_PER_PACK, WORDS
from foreshock.venues.scan import (
    CLOSE_BRACE,
    COLON,
    COMMA,
    FAIL,
    OPEN_BRACE,
    OPEN_BRACKET,
    QUOTE_MARK,
    Bytes,
    blank,
    decimal,
    expect,
    integer,
    levels,
    skip_value,
    string_end,
)
from foreshock.venues.symbols import find_symbol

# What became of a frame; also the index into `counts`.
(
    OK,
    MALFORMED,  # not the JSON, or not the payload, that it must be
    OVERSIZED,
    UNKNOWN_SYMBOL,
    UNSUPPORTED,  # a kind of event that is known but not read here, or not subscribed
    ANSWER,  # the answer to a SUBSCRIBE
    BAD_NUMBER,  # a price or size that is no whole number of ticks or lots
    REPEATED,  # an id, or a venue's time, that was there before
    NO_TRADE,  # booked by the venue itself in the tape's ids: insurance fund, or at zero
) = range(9)
OUTCOME_NAMES: Final = (
    "ok",
    "malformed",
    "oversized",
    "unknown_symbol",
    "unsupported",
    "answer",
    "bad_number",
    "repeated",
    "no_trade",
)

MAX_FRAME_BYTES: Final = 4_000_000
MAX_PACKS: Final = 0xFFFF  # what a header's count can say

# Columns of `scales`, int64 (n_symbols, 4).
TICK_DECIMALS, TICK_UNITS, LOT_DECIMALS, LOT_UNITS = range(4)

# Slots of the per-frame field table: a key's letter. The two keys of two letters have slots that no
# letter has.
FIELDS: Final = 128
F_PREVIOUS, F_AVERAGE = 1, 2  # pu ap
IS_INTEGER, IS_STRING, IS_ARRAY, IS_OTHER = range(4)
F_SYMBOL, F_EVENT_TYPE, F_BIDS, F_ASKS = 115, 101, 98, 97  # s e b a
F_EVENT_MS, F_TRADE_MS = 69, 84  # E T
F_PRICE, F_SIZE, F_BUYER_MADE, F_ORDER_TYPE = 112, 113, 109, 88  # p q m X
F_TRADE_ID, F_FIRST_TRADE, F_LAST_TRADE = 116, 102, 108  # t f l
F_LAST_UPDATE, F_FIRST_UPDATE = 117, 85  # u U
F_BID_SIZE, F_ASK_SIZE = 66, 65  # B A
F_BAR, F_ORDER, F_SIDE = 107, 111, 83  # k o S

LATEST_MS: Final = (2**63 - 1) // MS_NS
AHEAD_NS: Final = 3600 * SECOND_NS  # a venue's stamp so far ahead of its arrival is damaged


@in_place
def spells(buf: Bytes, start: int, end: int, name: NDArray[np.uint8]) -> bool:
    if start + len(name) > end:
        return False
    k = 0
    while k < len(name) and buf[start + k] == name[k]:
        k += 1
    return k == len(name)


@in_place
def has(seen: NDArray[np.int64], slot: int, stamp: int, what: int) -> bool:
    return bool(seen[slot] == 4 * stamp + what)


@in_place
def event_ns_of(value: NDArray[np.int64], seen: NDArray[np.int64], stamp: int) -> int:
    """The venue's time: of the transaction where it says so, else of the event, else 0."""
    if has(seen, F_TRADE_MS, stamp, IS_INTEGER) and value[F_TRADE_MS] <= LATEST_MS:
        return int(value[F_TRADE_MS] * MS_NS)
    if has(seen, F_EVENT_MS, stamp, IS_INTEGER) and value[F_EVENT_MS] <= LATEST_MS:
        return int(value[F_EVENT_MS] * MS_NS)
    return 0


@in_place
def levels_of(
    buf: Bytes, pos: int, end: int, flat: NDArray[np.int64], at: int, room: int, used: int, s: int,
    scales: NDArray[np.int64],
) -> tuple[int, int, int, int]:  # fmt: skip
    """`levels` in the units of symbol s, behind `used` levels that are there already."""
    return levels(
        buf, pos, end, flat, at + 2 * used, room - used,
        scales[s, TICK_DECIMALS], scales[s, TICK_UNITS],
        scales[s, LOT_DECIMALS], scales[s, LOT_UNITS],
    )  # fmt: skip


@in_place
def pad_levels(flat: NDArray[np.int64], at: int, used: int) -> int:
    """Zero the rest of the last pack row; returns the number of pack rows."""
    packs = -(-used // LEVELS_PER_PACK)
    for k in range(2 * used, packs * WORDS):
        flat[at + k] = 0
    return packs


@in_place
def stamp_ms(
    value: NDArray[np.int64], seen: NDArray[np.int64], slot: int, stamp: int, arrival_ns: int
) -> int:
    """The venue's time in a slot, ms; FAIL where there is none or it is far ahead of us."""
    if not has(seen, slot, stamp, IS_INTEGER) or value[slot] > LATEST_MS:
        return FAIL
    return FAIL if value[slot] * MS_NS - AHEAD_NS > arrival_ns else int(value[slot])


@in_place
def tick_price(
    buf: Bytes, pos: int, end: int, s: int, scales: NDArray[np.int64]
) -> tuple[int, int]:
    """`decimal` in ticks of symbol s."""
    return decimal(buf, pos, end, scales[s, TICK_DECIMALS], scales[s, TICK_UNITS])


@in_place
def lot_size(buf: Bytes, pos: int, end: int, s: int, scales: NDArray[np.int64]) -> tuple[int, int]:
    """`decimal` in lots of symbol s."""
    return decimal(buf, pos, end, scales[s, LOT_DECIMALS], scales[s, LOT_UNITS])


@in_place
def _key(buf: Bytes, start: int, stop: int) -> int:
    """Slot of a payload key: its letter, or that of `pu` or `ap`; 0 for keys we do not read."""
    if stop - start == 1:
        c = int(buf[start])
        return c if 65 <= c <= 122 else 0
    if stop - start == 2:
        if buf[start] == 112 and buf[start + 1] == 117:
            return F_PREVIOUS
        if buf[start] == 97 and buf[start + 1] == 112:
            return F_AVERAGE
    return 0


@in_place
def read_payload(
    buf: Bytes, pos: int, end: int, value: NDArray[np.int64], seen: NDArray[np.int64],
    stamp: int, table: NDArray[np.int32], names: NDArray[np.uint8], scales: NDArray[np.int64],
    flat: NDArray[np.int64], at: int, room: int, n: NDArray[np.int64],
) -> int:  # fmt: skip
    """Read one payload object from its opening brace. Integers go to value[slot], of everything
    else the position is left there, with seen[slot] = 4·stamp + what it is. Levels whose symbol is
    known go to `flat`; n becomes [symbol or -1, bids read or -1, asks read or -1]. Returns the next
    position, or FAIL."""
    n[0], n[1], n[2] = -1, -1, -1
    pos = expect(buf, pos, end, OPEN_BRACE)
    if pos == FAIL:
        return FAIL
    pos = blank(buf, pos, end)
    if pos < end and buf[pos] == CLOSE_BRACE:
        return pos + 1
    while True:
        pos = expect(buf, pos, end, QUOTE_MARK)
        if pos == FAIL:
            return FAIL
        start = pos
        pos = string_end(buf, pos, end)
        if pos == FAIL:
            return FAIL
        slot = _key(buf, start, pos)
        if slot != 0 and seen[slot] >> 2 == stamp:
            return FAIL
        pos = expect(buf, pos + 1, end, COLON)
        if pos == FAIL:
            return FAIL
        pos = blank(buf, pos, end)
        if pos >= end:
            return FAIL
        c = buf[pos]
        if c == QUOTE_MARK:
            start = pos + 1
            pos = string_end(buf, start, end)
            if pos == FAIL:
                return FAIL
            value[slot] = start
            seen[slot] = 4 * stamp + IS_STRING
            if slot == F_SYMBOL:
                n[0] = find_symbol(buf, start, pos, table, names)
            pos += 1
        elif 48 <= c <= 57 and slot != 0:
            number, after = integer(buf, pos, end)
            if after == FAIL:
                value[slot] = pos
                seen[slot] = 4 * stamp + IS_OTHER  # a float is a number that we have no use for
                pos = skip_value(buf, pos, end)
                if pos == FAIL:
                    return FAIL
            else:
                value[slot] = number
                seen[slot] = 4 * stamp + IS_INTEGER
                pos = after
        else:
            value[slot] = pos
            seen[slot] = 4 * stamp + (IS_ARRAY if c == OPEN_BRACKET else IS_OTHER)
            start, pos = pos, FAIL
            wanted = slot == F_BIDS or (slot == F_ASKS and n[1] >= 0)
            if wanted and n[0] >= 0 and c == OPEN_BRACKET:
                used = 0 if slot == F_BIDS else n[1]
                count, off, _, pos = levels_of(buf, start, end, flat, at, room, used, n[0], scales)
                if pos != FAIL:
                    n[1 if slot == F_BIDS else 2] = count
                    n[3 if slot == F_BIDS else 4] = off
            if pos == FAIL:  # no levels, but perhaps an array of another event
                pos = skip_value(buf, start, end)
                if pos == FAIL:
                    return FAIL
        pos = blank(buf, pos, end)
        if pos >= end:
            return FAIL
        if buf[pos] == CLOSE_BRACE:
            return pos + 1
        if buf[pos] != COMMA:
            return FAIL
        pos += 1


@in_place
def read_object(
    buf: Bytes, pos: int, end: int, value: NDArray[np.int64], seen: NDArray[np.int64], stamp: int
) -> bool:
    """Read an object within a payload, which was found to be well-formed already, in the same way;
    False where it is no object or a key that we read comes twice."""
    pos = expect(buf, pos, end, OPEN_BRACE)
    if pos == FAIL:
        return False
    pos = blank(buf, pos, end)
    if pos < end and buf[pos] == CLOSE_BRACE:
        return True
    while True:
        pos = expect(buf, pos, end, QUOTE_MARK)
        if pos == FAIL:
            return False
        start = pos
        pos = string_end(buf, pos, end)
        if pos == FAIL:
            return False
        slot = _key(buf, start, pos)
        if slot != 0 and seen[slot] >> 2 == stamp:
            return False
        pos = expect(buf, pos + 1, end, COLON)
        if pos == FAIL:
            return False
        pos = blank(buf, pos, end)
        if pos >= end:
            return False
        c = buf[pos]
        value[slot] = pos
        seen[slot] = 4 * stamp + IS_OTHER
        start = pos
        pos = skip_value(buf, pos, end)
        if pos == FAIL:
            return False
        if c == QUOTE_MARK:
            value[slot] = start + 1
            seen[slot] = 4 * stamp + IS_STRING
        elif 48 <= c <= 57:
            number, after = integer(buf, start, end)
            if after != FAIL:
                value[slot] = number
                seen[slot] = 4 * stamp + IS_INTEGER
        pos = blank(buf, pos, end)
        if pos >= end or buf[pos] != COMMA:
            return pos < end
        pos += 1
