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

What comes twice, from the second socket of an overlap, is dropped: trades, diffs and quotes by
their ids, bars, marks and liquidations by the venue's own time.

A break writes an EPOCH row (RESYNCING, epoch + 1) *behind* the frame that broke it, which is marked
HELD: kept in the record, not applied. One symbol's break touches nothing of another's.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from foreshock.market.jit import in_place, in_place_kernel, kernel
from foreshock.market.rows import DEPTH, HELD, LEVELS_PER_PACK, META, SEQ, WORDS
from foreshock.market.words import count_of, flags_of, kind_of, symbol_of
from foreshock.venues.binance_bars import read_bar, read_mark
from foreshock.venues.binance_book import read_depth, read_quote
from foreshock.venues.binance_fields import (
    ANSWER,
    F_ASK_SIZE,
    F_BAR,
    F_BID_SIZE,
    F_EVENT_MS,
    F_EVENT_TYPE,
    F_ORDER,
    F_SYMBOL,
    FIELDS,
    IS_OTHER,
    IS_STRING,
    MALFORMED,
    MAX_FRAME_BYTES,
    NO_TRADE,
    OK,
    OVERSIZED,
    UNKNOWN_SYMBOL,
    UNSUPPORTED,
    has,
    read_object,
    read_payload,
    spells,
    stamp_ms,
)
from foreshock.venues.binance_tape import read_liquidation, read_trade
from foreshock.venues.scan import (
    CLOSE_BRACE,
    COLON,
    COMMA,
    FAIL,
    OPEN_BRACE,
    QUOTE_MARK,
    Bytes,
    blank,
    expect,
    string_end,
)
from foreshock.venues.silence import (
    BAR_STREAM,
    DEPTH_STREAM,
    LIQUIDATION_STREAM,
    MARK_STREAM,
    QUOTE_STREAM,
    R_HEARD_NS,
    TAPE_STREAM,
    heard,
)
from foreshock.venues.symbols import find_symbol

SCRATCH_LINES: Final = 5  # members of the payload (value, seen), n, and those of an object within
STREAM_KEY: Final = np.frombuffer(b'stream"', np.uint8)
DATA_KEY: Final = np.frombuffer(b'data"', np.uint8)

# Kinds of events, and how each begins: by its first letter no two are mistaken.
_TRADE, _AGG_TRADE, _DEPTH, _QUOTE, _BAR, _MARK, _LIQUIDATION = range(1, 8)
TRADE_NAME: Final = np.frombuffer(b'trade"', np.uint8)
AGG_TRADE_NAME: Final = np.frombuffer(b'aggTrade"', np.uint8)
DEPTH_NAME: Final = np.frombuffer(b'depthUpdate"', np.uint8)
QUOTE_NAME: Final = np.frombuffer(b'bookTicker"', np.uint8)
BAR_NAME: Final = np.frombuffer(b'kline"', np.uint8)
MARK_NAME: Final = np.frombuffer(b'markPriceUpdate"', np.uint8)
LIQUIDATION_NAME: Final = np.frombuffer(b'forceOrder"', np.uint8)


@in_place
def _event_kind(buf: Bytes, start: int, end: int) -> int:
    """One of the kinds above; 0 anything else."""
    if start + 5 >= end:
        return 0
    c = buf[start]
    if c == 116:
        return _TRADE if spells(buf, start, end, TRADE_NAME) else 0
    if c == 97:
        return _AGG_TRADE if spells(buf, start, end, AGG_TRADE_NAME) else 0
    if c == 100:
        return _DEPTH if spells(buf, start, end, DEPTH_NAME) else 0
    if c == 98:
        return _QUOTE if spells(buf, start, end, QUOTE_NAME) else 0
    if c == 107:
        return _BAR if spells(buf, start, end, BAR_NAME) else 0
    if c == 109:
        return _MARK if spells(buf, start, end, MARK_NAME) else 0
    if c == 102:
        return _LIQUIDATION if spells(buf, start, end, LIQUIDATION_NAME) else 0
    return 0


@in_place
def _member(buf: Bytes, pos: int, end: int, name: NDArray[np.uint8]) -> int:
    """Behind the key `name` and its colon; FAIL where another key stands."""
    pos = expect(buf, pos, end, QUOTE_MARK)
    if pos == FAIL or not spells(buf, pos, end, name):
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
    buf: Bytes, pos: int, end: int, arrival_ns: int, stamp: int, fields: NDArray[np.int64],
    table: NDArray[np.int32], names: NDArray[np.uint8], scales: NDArray[np.int64],
    sync: NDArray[np.int64], rates: NDArray[np.int64], words: NDArray[np.int64],
    flat: NDArray[np.int64], r: int, rule: int, aggregated: bool,
) -> tuple[int, int]:  # fmt: skip
    """(outcome, rows written from row r on)."""
    value, seen, n = fields[0], fields[1], fields[2]
    if end - pos > MAX_FRAME_BYTES:
        return OVERSIZED, 0
    pos, wrapped = _find_payload(buf, pos, end)
    if pos == FAIL:
        return MALFORMED, 0
    at = (r + 1) * WORDS
    room = (len(flat) - at) // 2 - LEVELS_PER_PACK
    pos = read_payload(buf, pos, end, value, seen, stamp, table, names, scales, flat, at, room, n)
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
    if has(seen, F_EVENT_TYPE, stamp, IS_STRING):
        kind = _event_kind(buf, value[F_EVENT_TYPE], end)
        if kind == 0:
            return UNSUPPORTED, 0
    elif has(seen, F_BID_SIZE, stamp, IS_STRING) and has(seen, F_ASK_SIZE, stamp, IS_STRING):
        kind = _QUOTE  # spot's bookTicker does not say what it is
    elif wrapped == 0 and not has(seen, F_SYMBOL, stamp, IS_STRING):
        return ANSWER, 0
    else:
        return UNSUPPORTED, 0
    if kind == _LIQUIDATION:
        return _liquidation(buf, end, arrival_ns, stamp, fields, table, names, scales, sync, rates,
                            words, r)  # fmt: skip
    s = n[0]
    if s < 0:
        return UNKNOWN_SYMBOL if has(seen, F_SYMBOL, stamp, IS_STRING) else MALFORMED, 0
    if kind == _DEPTH:
        stream = DEPTH_STREAM
        outcome, written = read_depth(
            buf, end, value, seen, stamp, s, scales, sync, words, flat, room, n, r, arrival_ns,
            rates[s, stream, R_HEARD_NS], rule,
        )  # fmt: skip
    elif kind == _QUOTE:
        stream = QUOTE_STREAM
        outcome, written = read_quote(
            buf, end, value, seen, stamp, s, scales, sync, words, r, arrival_ns,
            rates[s, stream, R_HEARD_NS],
        )  # fmt: skip
    elif kind in (_TRADE, _AGG_TRADE):
        if aggregated != (kind == _AGG_TRADE):
            return UNSUPPORTED, 0
        stream = TAPE_STREAM
        outcome, written = read_trade(
            buf, end, value, seen, stamp, s, aggregated, scales, sync, words, r, arrival_ns,
            rates[s, stream, R_HEARD_NS],
        )  # fmt: skip
    elif kind == _MARK:
        stream = MARK_STREAM
        outcome, written = read_mark(buf, end, value, seen, stamp, s, sync, words, r, arrival_ns)
    else:
        stream = BAR_STREAM
        if not has(seen, F_BAR, stamp, IS_OTHER):
            return MALFORMED, 0
        at_ms = stamp_ms(value, seen, F_EVENT_MS, stamp, arrival_ns)
        if not read_object(buf, value[F_BAR], end, fields[3], fields[4], stamp):
            return MALFORMED, 0
        outcome, written = read_bar(
            buf, end, fields[3], fields[4], stamp, at_ms, s, scales, sync, words, flat, r,
            arrival_ns,
        )  # fmt: skip
    if outcome in (OK, NO_TRADE):
        heard(rates, s, stream, arrival_ns)
    return outcome, written


@in_place
def _liquidation(
    buf: Bytes, end: int, arrival_ns: int, stamp: int, fields: NDArray[np.int64],
    table: NDArray[np.int32], names: NDArray[np.uint8], scales: NDArray[np.int64],
    sync: NDArray[np.int64], rates: NDArray[np.int64], words: NDArray[np.int64], r: int,
) -> tuple[int, int]:  # fmt: skip
    """(outcome, rows written) of a forceOrder, whose order names the symbol."""
    if not has(fields[1], F_ORDER, stamp, IS_OTHER):
        return MALFORMED, 0
    value, seen = fields[3], fields[4]
    if not read_object(buf, fields[0][F_ORDER], end, value, seen, stamp):
        return MALFORMED, 0
    if not has(seen, F_SYMBOL, stamp, IS_STRING):
        return MALFORMED, 0
    start = value[F_SYMBOL]
    s = find_symbol(buf, start, string_end(buf, start, end), table, names)
    if s < 0:
        return UNKNOWN_SYMBOL, 0
    outcome, written = read_liquidation(
        buf, end, value, seen, stamp, s, scales, sync, words, r, arrival_ns
    )
    if outcome == OK:
        heard(rates, s, LIQUIDATION_STREAM, arrival_ns)
    return outcome, written


@in_place_kernel
def decode(
    buf: NDArray[np.uint8], starts: NDArray[np.int64], arrival_ns: NDArray[np.int64], seq: int,
    table: NDArray[np.int32], names: NDArray[np.uint8], scales: NDArray[np.int64],
    sync: NDArray[np.int64], rates: NDArray[np.int64], rule: int, aggregated: bool,
    words: NDArray[np.int64], flat: NDArray[np.int64], counts: NDArray[np.int64],
    last_bad: NDArray[np.int64], fields: NDArray[np.int64],
) -> tuple[int, int]:  # fmt: skip
    """Read frames k = buf[starts[k]:starts[k+1]] that arrived at arrival_ns[k] into `words`, in
    order; header rows are numbered from `seq`. `flat` is `words` as one line, `fields` scratch of
    int64 (SCRATCH_LINES, FIELDS). `words` needs room for 3 rows a frame and one a 40 bytes.
    counts[outcome] is added to and last_bad[outcome] = k, -1 where there was none. Returns (rows
    written, next seq)."""
    for slot in range(FIELDS):
        fields[1, slot] = -1
        fields[4, slot] = -1
    for outcome in range(len(last_bad)):
        last_bad[outcome] = -1
    r = 0
    for k in range(len(starts) - 1):
        outcome, written = _frame(
            buf, starts[k], starts[k + 1], arrival_ns[k], k, fields, table, names, scales, sync,
            rates, words, flat, r, rule, aggregated,
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
