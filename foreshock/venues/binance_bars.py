"""Binance's klines and mark prices → rows."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from foreshock.market.clock import MS_NS, SECOND_NS
from foreshock.market.integrity import S_BAR_MS, S_BAR_OPEN_MS, S_MARK_MS
from foreshock.market.jit import in_place
from foreshock.market.rows import BAR, ID, ID2, MARK, WORDS, A, B
from foreshock.market.words import meta_word, write_head
from foreshock.venues.binance_fields import (
    BAD_NUMBER,
    F_EVENT_MS,
    F_PRICE,
    F_TRADE_MS,
    IS_INTEGER,
    IS_OTHER,
    IS_STRING,
    LATEST_MS,
    MALFORMED,
    OK,
    REPEATED,
    UNSUPPORTED,
    has,
    lot_size,
    stamp_ms,
    tick_price,
)
from foreshock.venues.reals import real
from foreshock.venues.scan import FAIL, MINUS, QUOTE_MARK, Bytes, behind, integer

# Slots that only these have, by their letters.
_INDEX, _RATE = 105, 114  # i r, of a mark price
_OPEN_MS, _INTERVAL, _CLOSED, _FILLS = 116, 105, 120, 110  # t i x n, of a kline
_FIRST_TRADE, _LAST_TRADE = 102, 76  # f L
_OPEN, _HIGH, _LOW, _CLOSE = 111, 104, 108, 99  # o h l c
_VOLUME, _TAKER_VOLUME, _TURNOVER, _TAKER_TURNOVER = 118, 86, 113, 81  # v V q Q

_UNIT_S: Final = ((115, 1), (109, 60), (104, 3600), (100, 86_400), (119, 604_800))  # s m h d w


@in_place
def _interval_ns(buf: Bytes, pos: int, end: int) -> int:
    """Of `1m"`, `4h"`, …; FAIL for what has no fixed length, a month."""
    number, pos = integer(buf, pos, end)
    if pos == FAIL or number == 0 or number > 999 or pos + 1 >= end:
        return FAIL
    if buf[pos + 1] != QUOTE_MARK:
        return FAIL
    for letter, seconds in _UNIT_S:
        if buf[pos] == letter:
            return int(number * seconds * SECOND_NS)
    return FAIL


@in_place
def _trade_id(
    buf: Bytes, end: int, value: NDArray[np.int64], seen: NDArray[np.int64], stamp: int, slot: int
) -> tuple[int, bool]:
    """(an id that is -1 where a bar has no trade, whether it could be read)."""
    if has(seen, slot, stamp, IS_INTEGER):
        return int(value[slot]), True
    if has(seen, slot, stamp, IS_OTHER) and buf[value[slot]] == MINUS:
        number, pos = integer(buf, value[slot] + 1, end)
        return -number, pos != FAIL
    return 0, False


@in_place
def read_bar(
    buf: Bytes, end: int, value: NDArray[np.int64], seen: NDArray[np.int64], stamp: int, at_ms: int,
    s: int, scales: NDArray[np.int64], sync: NDArray[np.int64], words: NDArray[np.int64],
    flat: NDArray[np.int64], r: int, arrival_ns: int,
) -> tuple[int, int]:  # fmt: skip
    """(outcome, rows written) of a kline, whose own members are in the slots. A frame that is no
    later than the last one, by its bar and then by the venue's time, is a copy."""
    open_ms = stamp_ms(value, seen, _OPEN_MS, stamp, arrival_ns)
    if at_ms == FAIL or open_ms == FAIL or not (
            has(seen, _INTERVAL, stamp, IS_STRING) and has(seen, _FILLS, stamp, IS_INTEGER)
            and has(seen, _CLOSED, stamp, IS_OTHER)):  # fmt: skip
        return MALFORMED, 0
    literal = buf[value[_CLOSED]]
    if literal != 116 and literal != 102:
        return MALFORMED, 0
    first, good = _trade_id(buf, end, value, seen, stamp, _FIRST_TRADE)
    last, fine = _trade_id(buf, end, value, seen, stamp, _LAST_TRADE)
    if not good or not fine:
        return MALFORMED, 0
    at = (r + 1) * WORDS
    for slot in (_OPEN, _HIGH, _LOW, _CLOSE, _VOLUME, _TAKER_VOLUME, _TURNOVER, _TAKER_TURNOVER):
        if not has(seen, slot, stamp, IS_STRING):
            return MALFORMED, 0
        if slot in (_TURNOVER, _TAKER_TURNOVER):
            number, pos = real(buf, value[slot], end)
        elif slot in (_VOLUME, _TAKER_VOLUME):
            number, pos = lot_size(buf, value[slot], end, s, scales)
            if pos < FAIL:
                pos = behind(pos)  # lots were smaller when the bar began
        else:
            number, pos = tick_price(buf, value[slot], end, s, scales)
        if pos < 0:
            return MALFORMED if pos == FAIL else BAD_NUMBER, 0
        flat[at] = number
        at += 1
    flat[at] = first
    flat[at + 1] = last
    interval_ns = _interval_ns(buf, value[_INTERVAL], end)
    if interval_ns == FAIL:
        return UNSUPPORTED, 0
    known_ms = sync[s, S_BAR_OPEN_MS]
    if open_ms < known_ms or (open_ms == known_ms and at_ms <= sync[s, S_BAR_MS]):
        return REPEATED, 0
    sync[s, S_BAR_OPEN_MS] = open_ms
    sync[s, S_BAR_MS] = at_ms
    write_head(words, r, arrival_ns, at_ms * MS_NS, meta_word(BAR, 0, 1, s))
    words[r, ID] = open_ms * MS_NS
    words[r, ID2] = value[_FILLS]
    words[r, A] = interval_ns
    words[r, B] = int(literal == 116)
    return OK, 2


@in_place
def read_mark(
    buf: Bytes, end: int, value: NDArray[np.int64], seen: NDArray[np.int64], stamp: int, s: int,
    sync: NDArray[np.int64], words: NDArray[np.int64], r: int, arrival_ns: int,
) -> tuple[int, int]:  # fmt: skip
    """(outcome, rows written) of a mark price; the venue's time tells a copy."""
    at_ms = stamp_ms(value, seen, F_EVENT_MS, stamp, arrival_ns)
    if at_ms == FAIL or not has(seen, F_TRADE_MS, stamp, IS_INTEGER):
        return MALFORMED, 0
    if value[F_TRADE_MS] > LATEST_MS:
        return MALFORMED, 0
    write_head(words, r, arrival_ns, at_ms * MS_NS, meta_word(MARK, 0, 0, s))
    words[r, ID] = value[F_TRADE_MS] * MS_NS  # here it is the time of the next funding
    column = A
    for slot in (F_PRICE, _INDEX, _RATE):
        if not has(seen, slot, stamp, IS_STRING):
            return MALFORMED, 0
        bits, pos = real(buf, value[slot], end)
        if pos == FAIL:
            return MALFORMED, 0
        words[r, column] = bits
        column += 1
    if at_ms <= sync[s, S_MARK_MS]:
        return REPEATED, 0
    sync[s, S_MARK_MS] = at_ms
    return OK, 1
