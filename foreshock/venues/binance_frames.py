"""Binance frames → rows, compiled: one pass over the bytes of a micro-batch.

A frame is `{"stream":"btcusdt@depth@100ms","data":{…}}` or the bare payload. Keys may come in any
order and unknown keys are skipped; levels are read straight into pack rows when the symbol is known
already (it is, in every frame the venue sends) and in a second look otherwise. A frame that fails
leaves no row: what was written for it is written over by the next.

Strings are compared as they are spelled: a key or symbol with escapes in it is a key or symbol that
we do not know. A key that we read and that comes twice makes the frame malformed: which of the two
was meant is not ours to guess.

Continuity is checked here too (market/integrity.py has the rules), per symbol and family, because
only here every frame passes once. Trade ids count up by one: a repeated id is dropped, a jump opens
a new tape epoch. What the venue books in the tape's ids without a market trade (`X` says
INSURANCE_FUND or NA; one of them was 2 % off the market, BTCUSDT, 2023-04-05) takes its id and
leaves no row.

A break writes an EPOCH row (RESYNCING, epoch + 1) *behind* the frame that broke it, which is marked
HELD: kept in the record, not applied. One symbol's break touches nothing of another's.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from foreshock.market.integrity import (
    BREAK,
    REPEAT,
    RULE_USDM,
    S_BOOK_EPOCH,
    S_BOOK_SEEN_NS,
    S_BOOK_STATE,
    S_FIRST,
    S_LAST_ID,
    S_TAPE_EPOCH,
    S_TAPE_SEEN_NS,
    S_TRADE_ID,
    follow,
)
from foreshock.market.jit import in_place, in_place_kernel, kernel
from foreshock.market.rows import (
    ARRIVAL,
    BOOK,
    DEPTH,
    EPOCH,
    EVENT,
    HELD,
    ID,
    ID2,
    LEVELS_PER_PACK,
    META,
    QUOTE,
    REASON_GAP,
    REASON_RESUMED,
    RESYNCING,
    SELL,
    SEQ,
    SNAPSHOT,
    STALE,
    SYNCED,
    TAPE,
    TRADE,
    WORDS,
    A,
    B,
    C,
    D,
)
from foreshock.market.words import count_of, flags_of, kind_of, meta_word, symbol_of
from foreshock.venues.scan import (
    CLOSE_BRACE,
    COLON,
    COMMA,
    FAIL,
    OPEN_BRACE,
    OPEN_BRACKET,
    QUOTE_MARK,
    Bytes,
    behind,
    blank,
    decimal,
    expect,
    integer,
    levels,
    skip_value,
    string_end,
)

# What became of a frame; also the index into `counts`.
(
    OK,
    MALFORMED,  # not the JSON, or not the payload, that it must be
    OVERSIZED,
    UNKNOWN_SYMBOL,
    UNSUPPORTED,  # a kind of event that is known but not read here, or not subscribed
    ANSWER,  # the answer to a SUBSCRIBE
    BAD_NUMBER,  # a price or size that is no whole number of ticks or lots
    REPEATED,  # a trade or depth id that was there before
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

# Slots of the per-frame field table.
FIELDS: Final = 128
_PREVIOUS: Final = 1  # 'pu' has two letters; slot 1 is free
_IS_INTEGER, _IS_STRING, _IS_ARRAY, _IS_OTHER = range(4)
_SYMBOL, _EVENT_TYPE, _BIDS, _ASKS = 115, 101, 98, 97  # s e b a
_EVENT_MS, _TRADE_MS = 69, 84  # E T
_PRICE, _SIZE, _BUYER_MADE, _ORDER_TYPE = 112, 113, 109, 88  # p q m X
_TRADE_ID, _FIRST_TRADE, _LAST_TRADE = 116, 102, 108  # t f l
_LAST_UPDATE, _FIRST_UPDATE = 117, 85  # u U
_BID_SIZE, _ASK_SIZE = 66, 65  # B A

MS_NS: Final = 1_000_000
LATEST_MS: Final = (2**63 - 1) // MS_NS

TRADE_NAME: Final = np.frombuffer(b'trade"', np.uint8)
AGG_TRADE_NAME: Final = np.frombuffer(b'aggTrade"', np.uint8)
DEPTH_NAME: Final = np.frombuffer(b'depthUpdate"', np.uint8)
QUOTE_NAME: Final = np.frombuffer(b'bookTicker"', np.uint8)
MARKET_NAME: Final = np.frombuffer(b'MARKET"', np.uint8)
STREAM_KEY: Final = np.frombuffer(b'stream"', np.uint8)
BIDS_NAME: Final = np.frombuffer(b'bids"', np.uint8)
ASKS_NAME: Final = np.frombuffer(b'asks"', np.uint8)
EVENT_NAME: Final = np.frombuffer(b'E"', np.uint8)
LAST_ID_NAME: Final = np.frombuffer(b'lastUpdateId"', np.uint8)
DATA_KEY: Final = np.frombuffer(b'data"', np.uint8)


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
    """Index of the symbol spelled by buf[start:stop], or -1. `table` is open-addressed."""
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


@in_place
def _head(
    words: NDArray[np.int64], r: int, arrival_ns: int, event_ns: int, meta: int
) -> None:  # fmt: skip
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
def _epoch_row(
    words: NDArray[np.int64], r: int, arrival_ns: int, s: int, state: int, epoch: int,
    family: int, reason: int,
) -> None:  # fmt: skip
    _head(words, r, arrival_ns, 0, meta_word(EPOCH, 0, 0, s))
    words[r, A] = state
    words[r, B] = epoch
    words[r, C] = family
    words[r, D] = reason


@in_place
def _pad(flat: NDArray[np.int64], at: int, used: int) -> int:
    """Zero the rest of the last pack row; returns the number of pack rows."""
    packs = -(-used // LEVELS_PER_PACK)
    for k in range(2 * used, packs * WORDS):
        flat[at + k] = 0
    return packs


@in_place
def _key(buf: Bytes, start: int, stop: int) -> int:
    """Slot of a payload key: its letter, or 1 for `pu`; 0 for keys we do not read."""
    if stop - start == 1:
        c = int(buf[start])
        return c if 65 <= c <= 122 else 0
    if stop - start == 2 and buf[start] == 112 and buf[start + 1] == 117:
        return _PREVIOUS
    return 0


@in_place
def _levels_of(
    buf: Bytes, pos: int, end: int, flat: NDArray[np.int64], at: int, room: int, used: int, s: int,
    scales: NDArray[np.int64],
) -> tuple[int, int, int]:  # fmt: skip
    """`levels` in the units of symbol s, behind `used` levels that are there already."""
    return levels(
        buf, pos, end, flat, at + 2 * used, room - used,
        scales[s, TICK_DECIMALS], scales[s, TICK_UNITS],
        scales[s, LOT_DECIMALS], scales[s, LOT_UNITS],
    )  # fmt: skip


@in_place
def _payload(
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
            seen[slot] = 4 * stamp + _IS_STRING
            if slot == _SYMBOL:
                n[0] = find_symbol(buf, start, pos, table, names)
            pos += 1
        elif 48 <= c <= 57 and slot != 0:
            number, after = integer(buf, pos, end)
            if after == FAIL:
                seen[slot] = 4 * stamp + _IS_OTHER  # a float is a number that we have no use for
                pos = skip_value(buf, pos, end)
                if pos == FAIL:
                    return FAIL
            else:
                value[slot] = number
                seen[slot] = 4 * stamp + _IS_INTEGER
                pos = after
        else:
            value[slot] = pos
            seen[slot] = 4 * stamp + (_IS_ARRAY if c == OPEN_BRACKET else _IS_OTHER)
            start, pos = pos, FAIL
            wanted = slot == _BIDS or (slot == _ASKS and n[1] >= 0)
            if wanted and n[0] >= 0 and c == OPEN_BRACKET:
                used = 0 if slot == _BIDS else n[1]
                count, _, pos = _levels_of(buf, start, end, flat, at, room, used, n[0], scales)
                if pos != FAIL:
                    n[1 if slot == _BIDS else 2] = count
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
def _has(seen: NDArray[np.int64], slot: int, stamp: int, what: int) -> bool:
    return bool(seen[slot] == 4 * stamp + what)


@in_place
def _event_kind(buf: Bytes, start: int, end: int) -> int:
    """1 trade, 2 aggTrade, 3 depthUpdate, 4 bookTicker, 0 anything else."""
    if start + 5 >= end:
        return 0
    c = buf[start]
    if c == 116:
        return 1 if _spells(buf, start, end, TRADE_NAME) else 0
    if c == 97:
        return 2 if _spells(buf, start, end, AGG_TRADE_NAME) else 0
    if c == 100:
        return 3 if _spells(buf, start, end, DEPTH_NAME) else 0
    if c == 98:
        return 4 if _spells(buf, start, end, QUOTE_NAME) else 0
    return 0


@in_place
def _spells(buf: Bytes, start: int, end: int, name: NDArray[np.uint8]) -> bool:
    if start + len(name) > end:
        return False
    k = 0
    while k < len(name) and buf[start + k] == name[k]:
        k += 1
    return k == len(name)


@in_place
def _event_ns(value: NDArray[np.int64], seen: NDArray[np.int64], stamp: int) -> int:
    """The venue's time: of the transaction where it says so, else of the event, else 0."""
    if _has(seen, _TRADE_MS, stamp, _IS_INTEGER) and value[_TRADE_MS] <= LATEST_MS:
        return int(value[_TRADE_MS] * MS_NS)
    if _has(seen, _EVENT_MS, stamp, _IS_INTEGER) and value[_EVENT_MS] <= LATEST_MS:
        return int(value[_EVENT_MS] * MS_NS)
    return 0


@in_place
def _trade(
    buf: Bytes, end: int, value: NDArray[np.int64], seen: NDArray[np.int64], stamp: int, s: int,
    aggregated: bool, scales: NDArray[np.int64], sync: NDArray[np.int64], words: NDArray[np.int64],
    r: int, arrival_ns: int,
) -> tuple[int, int]:  # fmt: skip
    """(outcome, rows written)."""
    id_slot = _ASKS if aggregated else _TRADE_ID
    if not (_has(seen, id_slot, stamp, _IS_INTEGER) and _has(seen, _PRICE, stamp, _IS_STRING)
            and _has(seen, _SIZE, stamp, _IS_STRING)
            and _has(seen, _BUYER_MADE, stamp, _IS_OTHER)):  # fmt: skip
        return MALFORMED, 0
    literal = buf[value[_BUYER_MADE]]
    if literal != 116 and literal != 102:
        return MALFORMED, 0
    price, pos = decimal(buf, value[_PRICE], end, scales[s, TICK_DECIMALS], scales[s, TICK_UNITS])
    if pos < 0:
        return MALFORMED if pos == FAIL else BAD_NUMBER, 0
    size, pos = decimal(buf, value[_SIZE], end, scales[s, LOT_DECIMALS], scales[s, LOT_UNITS])
    if pos < 0:
        return MALFORMED if pos == FAIL else BAD_NUMBER, 0
    fills = 1
    if aggregated:
        if not (_has(seen, _FIRST_TRADE, stamp, _IS_INTEGER)
                and _has(seen, _LAST_TRADE, stamp, _IS_INTEGER)):  # fmt: skip
            return MALFORMED, 0
        fills = value[_LAST_TRADE] - value[_FIRST_TRADE] + 1
        if fills < 1:
            return MALFORMED, 0
    trade_id = value[id_slot]
    last = sync[s, S_TRADE_ID]
    if trade_id <= last:
        return REPEATED, 0
    sync[s, S_TAPE_SEEN_NS] = arrival_ns
    sync[s, S_TRADE_ID] = trade_id
    start = r
    if last >= 0 and trade_id != last + 1:
        sync[s, S_TAPE_EPOCH] += 1
        _epoch_row(words, r, arrival_ns, s, SYNCED, sync[s, S_TAPE_EPOCH], TAPE, REASON_GAP)
        r += 1
    of_market = not _has(seen, _ORDER_TYPE, stamp, _IS_STRING) or _spells(
        buf, value[_ORDER_TYPE], end, MARKET_NAME
    )
    if price == 0 or size == 0 or not of_market:
        return NO_TRADE, r - start
    flags = SELL if literal == 116 else 0
    event_ns = _event_ns(value, seen, stamp)
    _head(words, r, arrival_ns, event_ns, meta_word(TRADE, flags, 0, s))
    words[r, ID] = trade_id
    words[r, ID2] = fills
    words[r, A] = price
    words[r, B] = size
    return OK, r + 1 - start


@in_place
def _quote(
    buf: Bytes, end: int, value: NDArray[np.int64], seen: NDArray[np.int64], stamp: int, s: int,
    scales: NDArray[np.int64], words: NDArray[np.int64], r: int, arrival_ns: int,
) -> tuple[int, int]:  # fmt: skip
    """(outcome, rows written)."""
    if not _has(seen, _LAST_UPDATE, stamp, _IS_INTEGER):
        return MALFORMED, 0
    column = A
    _head(words, r, arrival_ns, _event_ns(value, seen, stamp), meta_word(QUOTE, 0, 0, s))
    for slot in (_BIDS, _BID_SIZE, _ASKS, _ASK_SIZE):
        if not _has(seen, slot, stamp, _IS_STRING):
            return MALFORMED, 0
        if column in (A, C):
            number, pos = decimal(
                buf, value[slot], end, scales[s, TICK_DECIMALS], scales[s, TICK_UNITS]
            )
        else:
            number, pos = decimal(
                buf, value[slot], end, scales[s, LOT_DECIMALS], scales[s, LOT_UNITS]
            )
            if pos < FAIL:
                pos = behind(pos)  # a remainder of less than a lot, as in `levels`
        if pos < 0:
            return MALFORMED if pos == FAIL else BAD_NUMBER, 0
        words[r, column] = number
        column += 1
    words[r, ID] = value[_LAST_UPDATE]
    return OK, 1


@in_place
def _depth(
    buf: Bytes, end: int, value: NDArray[np.int64], seen: NDArray[np.int64], stamp: int, s: int,
    scales: NDArray[np.int64], sync: NDArray[np.int64], words: NDArray[np.int64],
    flat: NDArray[np.int64], room: int, n: NDArray[np.int64], r: int, arrival_ns: int, rule: int,
) -> tuple[int, int]:  # fmt: skip
    """(outcome, rows written). Levels are in `flat` behind row r already, or are read now."""
    at = (r + 1) * WORDS
    if not (_has(seen, _LAST_UPDATE, stamp, _IS_INTEGER)
            and _has(seen, _FIRST_UPDATE, stamp, _IS_INTEGER)):  # fmt: skip
        return MALFORMED, 0
    if rule == RULE_USDM and not _has(seen, _PREVIOUS, stamp, _IS_INTEGER):
        return MALFORMED, 0
    if n[1] < 0 or n[2] < 0:  # keys in an order of their own: look again
        if n[1] < 0:
            if not _has(seen, _BIDS, stamp, _IS_ARRAY):
                return MALFORMED, 0
            n[1], _, pos = _levels_of(buf, value[_BIDS], end, flat, at, room, 0, s, scales)
            if pos == FAIL:
                return MALFORMED, 0
        if not _has(seen, _ASKS, stamp, _IS_ARRAY):
            return MALFORMED, 0
        n[2], _, pos = _levels_of(buf, value[_ASKS], end, flat, at, room, n[1], s, scales)
        if pos == FAIL:
            return MALFORMED, 0
    last_id, first_id = value[_LAST_UPDATE], value[_FIRST_UPDATE]
    previous = value[_PREVIOUS] if rule == RULE_USDM else -1
    if first_id > last_id:
        return MALFORMED, 0
    packs = _pad(flat, at, n[1] + n[2])
    if packs > MAX_PACKS:
        return OVERSIZED, 0
    state = sync[s, S_BOOK_STATE]
    flags = HELD
    broke = False
    if state != RESYNCING:
        verdict = follow(sync[s, S_FIRST], sync[s, S_LAST_ID], first_id, last_id, previous, rule)
        if verdict == REPEAT:
            return REPEATED, 0
        broke = verdict == BREAK
        if not broke:
            flags = 0
    sync[s, S_BOOK_SEEN_NS] = arrival_ns
    start = r
    if broke:
        sync[s, S_BOOK_STATE] = RESYNCING
        sync[s, S_BOOK_EPOCH] += 1
    elif state != RESYNCING:
        sync[s, S_LAST_ID] = last_id
        sync[s, S_FIRST] = 0
    event_ns = _event_ns(value, seen, stamp)
    _head(words, r, arrival_ns, event_ns, meta_word(DEPTH, flags, packs, s))
    words[r, ID] = last_id
    words[r, ID2] = first_id
    words[r, A] = previous
    words[r, B] = n[1]
    words[r, C] = n[2]
    r += 1 + packs
    epoch = sync[s, S_BOOK_EPOCH]
    if broke:
        _epoch_row(words, r, arrival_ns, s, RESYNCING, epoch, BOOK, REASON_GAP)
        r += 1
    elif state == STALE:  # it spoke again, and nothing is missing
        sync[s, S_BOOK_STATE] = SYNCED
        _epoch_row(words, r, arrival_ns, s, SYNCED, epoch, BOOK, REASON_RESUMED)
        r += 1
    return OK, r - start


@in_place
def _member(buf: Bytes, pos: int, end: int, name: NDArray[np.uint8]) -> int:
    """Behind the key `name` and its colon; FAIL where another key stands."""
    pos = expect(buf, pos, end, QUOTE_MARK)
    if pos == FAIL or not _spells(buf, pos, end, name):
        return FAIL
    return expect(buf, pos + len(name), end, COLON)


@in_place
def _stream_name(buf: Bytes, pos: int, end: int) -> int:
    """Behind the string that a combined stream's frame is named by."""
    pos = expect(buf, pos, end, QUOTE_MARK)
    if pos != FAIL:
        pos = string_end(buf, pos, end)
    return FAIL if pos == FAIL else pos + 1


@in_place
def _find_payload(buf: Bytes, pos: int, end: int) -> tuple[int, int]:
    """(position of the payload object, how it is wrapped: 0 not at all, 1 behind its stream's name,
    2 before it); FAIL where there is none."""
    inside = expect(buf, pos, end, OPEN_BRACE)
    if inside == FAIL:
        return FAIL, 0
    at = _member(buf, inside, end, STREAM_KEY)
    if at != FAIL:
        at = _stream_name(buf, at, end)
        if at != FAIL:
            at = expect(buf, at, end, COMMA)
        if at != FAIL:
            at = _member(buf, at, end, DATA_KEY)
        return at, 1
    at = _member(buf, inside, end, DATA_KEY)
    if at != FAIL:
        return at, 2
    return pos, 0


@in_place
def _frame(
    buf: Bytes, pos: int, end: int, arrival_ns: int, stamp: int, value: NDArray[np.int64],
    seen: NDArray[np.int64], n: NDArray[np.int64], table: NDArray[np.int32],
    names: NDArray[np.uint8], scales: NDArray[np.int64], sync: NDArray[np.int64],
    words: NDArray[np.int64], flat: NDArray[np.int64], r: int, rule: int, aggregated: bool,
) -> tuple[int, int]:  # fmt: skip
    """(outcome, rows written from row r on)."""
    if end - pos > MAX_FRAME_BYTES:
        return OVERSIZED, 0
    pos, wrapped = _find_payload(buf, pos, end)
    if pos == FAIL:
        return MALFORMED, 0
    at = (r + 1) * WORDS
    room = (len(flat) - at) // 2 - LEVELS_PER_PACK
    pos = _payload(buf, pos, end, value, seen, stamp, table, names, scales, flat, at, room, n)
    if pos == FAIL:
        return MALFORMED, 0
    if wrapped == 2:
        pos = expect(buf, pos, end, COMMA)
        if pos != FAIL:
            pos = _member(buf, pos, end, STREAM_KEY)
        if pos != FAIL:
            pos = _stream_name(buf, pos, end)
    if wrapped != 0 and pos != FAIL:
        pos = expect(buf, pos, end, CLOSE_BRACE)
    if pos == FAIL:
        return MALFORMED, 0
    if blank(buf, pos, end) != end:
        return MALFORMED, 0
    kind = 0
    if _has(seen, _EVENT_TYPE, stamp, _IS_STRING):
        kind = _event_kind(buf, value[_EVENT_TYPE], end)
        if kind == 0:
            return UNSUPPORTED, 0
    elif _has(seen, _BID_SIZE, stamp, _IS_STRING) and _has(seen, _ASK_SIZE, stamp, _IS_STRING):
        kind = 4  # spot's bookTicker does not say what it is
    elif wrapped == 0 and not _has(seen, _SYMBOL, stamp, _IS_STRING):
        return ANSWER, 0
    else:
        return UNSUPPORTED, 0
    s = n[0]
    if s < 0:
        return UNKNOWN_SYMBOL if _has(seen, _SYMBOL, stamp, _IS_STRING) else MALFORMED, 0
    if kind == 3:
        return _depth(buf, end, value, seen, stamp, s, scales, sync, words, flat, room, n, r,
                      arrival_ns, rule)  # fmt: skip
    if kind == 4:
        return _quote(buf, end, value, seen, stamp, s, scales, words, r, arrival_ns)
    if aggregated != (kind == 2):
        return UNSUPPORTED, 0
    return _trade(buf, end, value, seen, stamp, s, aggregated, scales, sync, words, r, arrival_ns)


@in_place_kernel
def decode(
    buf: NDArray[np.uint8], starts: NDArray[np.int64], arrival_ns: NDArray[np.int64], seq: int,
    table: NDArray[np.int32], names: NDArray[np.uint8], scales: NDArray[np.int64],
    sync: NDArray[np.int64], rule: int, aggregated: bool, words: NDArray[np.int64],
    flat: NDArray[np.int64], counts: NDArray[np.int64], last_bad: NDArray[np.int64],
    fields: NDArray[np.int64],
) -> tuple[int, int]:  # fmt: skip
    """Read frames k = buf[starts[k]:starts[k+1]] that arrived at arrival_ns[k] into `words`, in
    order; header rows are numbered from `seq`. `flat` is `words` as one line, `fields` scratch of
    int64 (3, FIELDS). `words` needs room for 3 rows a frame and one a 40 bytes. counts[outcome] is
    added to and last_bad[outcome] = k. Returns (rows written, next seq)."""
    value, seen, n = fields[0], fields[1], fields[2]
    for slot in range(FIELDS):
        seen[slot] = -1
    r = 0
    for k in range(len(starts) - 1):
        outcome, written = _frame(
            buf, starts[k], starts[k + 1], arrival_ns[k], k, value, seen, n, table, names, scales,
            sync, words, flat, r, rule, aggregated,
        )  # fmt: skip
        counts[outcome] += 1
        if outcome != OK:
            last_bad[outcome] = k
        stop = r + written
        while r < stop:
            words[r, SEQ] = seq
            seq += 1
            r += 1 + count_of(words[r, META])
    return r, seq


@kernel
def held_heads(words: NDArray[np.int64], keep: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Indices of the DEPTH headers that are marked HELD, or whose symbol s has keep[s]."""
    out = np.empty(len(words), np.int64)
    n, i = 0, 0
    while i < len(words):
        meta = words[i, META]
        if kind_of(meta) == DEPTH and (flags_of(meta) & HELD or keep[symbol_of(meta)]):
            out[n] = i
            n += 1
        i += 1 + count_of(meta)
    return out[:n]


@in_place_kernel
def decode_snapshot(
    buf: NDArray[np.uint8], arrival_ns: int, s: int, asked: int, scales: NDArray[np.int64],
    words: NDArray[np.int64], flat: NDArray[np.int64],
) -> int:  # fmt: skip
    """Read a REST depth answer of symbol s into a SNAPSHOT row and its packs. Returns the number of
    rows, or FAIL. `words` needs room for one row a 40 bytes and 8 more."""
    end = len(buf)
    room = (len(flat) - WORDS) // 2 - LEVELS_PER_PACK
    last_id, bids_at, asks_at, event_ms = -1, -1, -1, -1
    pos = expect(buf, 0, end, OPEN_BRACE)
    if pos == FAIL or end > MAX_FRAME_BYTES:
        return FAIL
    while True:
        pos = expect(buf, pos, end, QUOTE_MARK)
        if pos == FAIL:
            return FAIL
        start = pos
        pos = string_end(buf, pos, end)
        if pos == FAIL:
            return FAIL
        pos = expect(buf, pos + 1, end, COLON)
        if pos == FAIL:
            return FAIL
        pos = blank(buf, pos, end)
        twice = False
        if _spells(buf, start, end, LAST_ID_NAME):
            twice = last_id >= 0
            last_id, pos = integer(buf, pos, end)
        elif _spells(buf, start, end, EVENT_NAME):
            twice = event_ms >= 0
            event_ms, pos = integer(buf, pos, end)
        else:
            if _spells(buf, start, end, BIDS_NAME):
                twice = bids_at >= 0
                bids_at = pos
            elif _spells(buf, start, end, ASKS_NAME):
                twice = asks_at >= 0
                asks_at = pos
            pos = skip_value(buf, pos, end)
        if pos == FAIL or twice:
            return FAIL
        pos = blank(buf, pos, end)
        if pos >= end:
            return FAIL
        if buf[pos] == CLOSE_BRACE:
            break
        if buf[pos] != COMMA:
            return FAIL
        pos += 1
    if last_id < 0 or bids_at < 0 or asks_at < 0 or blank(buf, pos + 1, end) != end:
        return FAIL
    n_bids, bids_left_out, pos = _levels_of(buf, bids_at, end, flat, WORDS, room, 0, s, scales)
    if pos == FAIL:
        return FAIL
    n_asks, asks_left_out, pos = _levels_of(buf, asks_at, end, flat, WORDS, room, n_bids, s, scales)
    if pos == FAIL:
        return FAIL
    packs = _pad(flat, WORDS, n_bids + n_asks)
    if packs > MAX_PACKS:
        return FAIL
    event_ns = event_ms * MS_NS if 0 <= event_ms <= LATEST_MS else 0
    _head(words, 0, arrival_ns, event_ns, meta_word(SNAPSHOT, 0, packs, s))
    words[0, ID] = last_id
    words[0, ID2] = bids_left_out
    words[0, A] = asks_left_out
    words[0, B] = n_bids
    words[0, C] = n_asks
    words[0, D] = asked
    return 1 + packs
