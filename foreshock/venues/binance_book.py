"""Binance's depth diffs, bookTickers and depth snapshots → rows."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from foreshock.market.clock import MS_NS
from foreshock.market.integrity import (
    BREAK,
    REPEAT,
    RULE_SPOT,
    RULE_USDM,
    S_BOOK_EPOCH,
    S_BOOK_STATE,
    S_FIRST,
    S_LAST_ID,
    S_LOW_DIFF,
    S_LOW_QUOTE,
    S_QUOTE_ID,
    follow,
    renumbered,
)
from foreshock.market.jit import in_place, in_place_kernel
from foreshock.market.rows import (
    BOOK,
    DEPTH,
    HELD,
    ID,
    ID2,
    LEVELS_PER_PACK,
    QUOTE,
    REASON_GAP,
    REASON_RESCALED,
    REASON_RESUMED,
    RESYNCING,
    SNAPSHOT,
    STALE,
    SYNCED,
    WORDS,
    A,
    B,
    C,
    D,
)
from foreshock.market.words import meta_word, write_epoch, write_head
from foreshock.venues.binance_fields import (
    BAD_NUMBER,
    F_ASK_SIZE,
    F_ASKS,
    F_BID_SIZE,
    F_BIDS,
    F_FIRST_UPDATE,
    F_LAST_UPDATE,
    F_PREVIOUS,
    IS_ARRAY,
    IS_INTEGER,
    IS_STRING,
    LATEST_MS,
    MALFORMED,
    MAX_FRAME_BYTES,
    MAX_PACKS,
    OK,
    OVERSIZED,
    REPEATED,
    event_ns_of,
    has,
    levels_of,
    lot_size,
    pad_levels,
    spells,
    tick_price,
)
from foreshock.venues.scan import (
    CLOSE_BRACE,
    COLON,
    COMMA,
    FAIL,
    OPEN_BRACE,
    QUOTE_MARK,
    Bytes,
    behind,
    blank,
    expect,
    integer,
    skip_value,
    string_end,
)

BIDS_NAME: Final = np.frombuffer(b'bids"', np.uint8)
ASKS_NAME: Final = np.frombuffer(b'asks"', np.uint8)
EVENT_NAME: Final = np.frombuffer(b'E"', np.uint8)
LAST_ID_NAME: Final = np.frombuffer(b'lastUpdateId"', np.uint8)

NEAR: Final = 20  # levels of a side; the nearest old order seen off the grid was the 81st


@in_place
def _distrust(
    sync: NDArray[np.int64], s: int, words: NDArray[np.int64], r: int, arrival_ns: int, reason: int
) -> int:
    """The book waits for a snapshot, in a new epoch. Rows written: none where it waits already."""
    if sync[s, S_BOOK_STATE] == RESYNCING:
        return 0
    sync[s, S_BOOK_STATE] = RESYNCING
    sync[s, S_BOOK_EPOCH] += 1
    write_epoch(words, r, arrival_ns, s, RESYNCING, sync[s, S_BOOK_EPOCH], BOOK, reason)
    return 1


@in_place
def read_quote(
    buf: Bytes, end: int, value: NDArray[np.int64], seen: NDArray[np.int64], stamp: int, s: int,
    scales: NDArray[np.int64], sync: NDArray[np.int64], words: NDArray[np.int64], r: int,
    arrival_ns: int, heard_ns: int,
) -> tuple[int, int]:  # fmt: skip
    """(outcome, rows written). Update ids only grow: one that does not is a copy. Where they began
    anew the book is distrusted too, for its touch follows the same ids; and where the best price
    lies off the grid, for then the grid is another one and the book lacks levels."""
    if not has(seen, F_LAST_UPDATE, stamp, IS_INTEGER):
        return MALFORMED, 0
    event_ns = event_ns_of(value, seen, stamp)
    column = A
    write_head(words, r, arrival_ns, event_ns, meta_word(QUOTE, 0, 0, s))
    for slot in (F_BIDS, F_BID_SIZE, F_ASKS, F_ASK_SIZE):
        if not has(seen, slot, stamp, IS_STRING):
            return MALFORMED, 0
        if column in (A, C):
            number, pos = tick_price(buf, value[slot], end, s, scales)
        else:
            number, pos = lot_size(buf, value[slot], end, s, scales)
            if pos < FAIL:
                pos = behind(pos)  # a remainder of less than a lot, as in `levels`
        if pos == FAIL:
            return MALFORMED, 0
        if pos < FAIL:
            return BAD_NUMBER, _distrust(sync, s, words, r, arrival_ns, REASON_RESCALED)
        words[r, column] = number
        column += 1
    update_id = value[F_LAST_UPDATE]
    words[r, ID] = update_id
    again = update_id <= sync[s, S_QUOTE_ID]
    if again:
        follows = update_id > sync[s, S_LOW_QUOTE]
        if not renumbered(sync, s, S_LOW_QUOTE, update_id, follows, arrival_ns, heard_ns, event_ns):
            return REPEATED, 0
    sync[s, S_QUOTE_ID] = update_id
    if again:
        return OK, 1 + _distrust(sync, s, words, r + 1, arrival_ns, REASON_GAP)
    return OK, 1


@in_place
def read_depth(
    buf: Bytes, end: int, value: NDArray[np.int64], seen: NDArray[np.int64], stamp: int, s: int,
    scales: NDArray[np.int64], sync: NDArray[np.int64], words: NDArray[np.int64],
    flat: NDArray[np.int64], room: int, n: NDArray[np.int64], r: int, arrival_ns: int,
    heard_ns: int, rule: int,
) -> tuple[int, int]:  # fmt: skip
    """(outcome, rows written). Levels are in `flat` behind row r already, or are read now. New size
    off the grid says that the grid is another one: the frame is dropped, and the book distrusted
    (what is held has a gap then, so that no snapshot joins over it)."""
    at = (r + 1) * WORDS
    if not (has(seen, F_LAST_UPDATE, stamp, IS_INTEGER)
            and has(seen, F_FIRST_UPDATE, stamp, IS_INTEGER)):  # fmt: skip
        return MALFORMED, 0
    if rule == RULE_USDM and not has(seen, F_PREVIOUS, stamp, IS_INTEGER):
        return MALFORMED, 0
    if n[1] < 0 or n[2] < 0:  # keys in an order of their own: look again
        if n[1] < 0:
            if not has(seen, F_BIDS, stamp, IS_ARRAY):
                return MALFORMED, 0
            n[1], n[3], _, pos = levels_of(buf, value[F_BIDS], end, flat, at, room, 0, s, scales)
            if pos == FAIL:
                return MALFORMED, 0
        if not has(seen, F_ASKS, stamp, IS_ARRAY):
            return MALFORMED, 0
        n[2], n[4], _, pos = levels_of(buf, value[F_ASKS], end, flat, at, room, n[1], s, scales)
        if pos == FAIL:
            return MALFORMED, 0
    last_id, first_id = value[F_LAST_UPDATE], value[F_FIRST_UPDATE]
    previous = value[F_PREVIOUS] if rule == RULE_USDM else -1
    if first_id > last_id:
        return MALFORMED, 0
    if n[3] + n[4] > 0:
        return BAD_NUMBER, _distrust(sync, s, words, r, arrival_ns, REASON_RESCALED)
    packs = pad_levels(flat, at, n[1] + n[2])
    if packs > MAX_PACKS:
        return OVERSIZED, 0
    event_ns = event_ns_of(value, seen, stamp)
    state = sync[s, S_BOOK_STATE]
    flags = HELD
    broke = False
    if state != RESYNCING:
        verdict = follow(sync[s, S_FIRST], sync[s, S_LAST_ID], first_id, last_id, previous, rule)
        if verdict == REPEAT:
            low = sync[s, S_LOW_DIFF]
            follows = first_id == low + 1 if rule == RULE_SPOT else previous == low
            if not renumbered(
                sync, s, S_LOW_DIFF, last_id, follows, arrival_ns, heard_ns, event_ns
            ):
                return REPEATED, 0
            verdict = BREAK
        broke = verdict == BREAK
        if not broke:
            flags = 0
    start = r
    if broke:
        sync[s, S_BOOK_STATE] = RESYNCING
        sync[s, S_BOOK_EPOCH] += 1
    elif state != RESYNCING:
        sync[s, S_LAST_ID] = last_id
        sync[s, S_FIRST] = 0
    write_head(words, r, arrival_ns, event_ns, meta_word(DEPTH, flags, packs, s))
    words[r, ID] = last_id
    words[r, ID2] = first_id
    words[r, A] = previous
    words[r, B] = n[1]
    words[r, C] = n[2]
    r += 1 + packs
    epoch = sync[s, S_BOOK_EPOCH]
    if broke:
        write_epoch(words, r, arrival_ns, s, RESYNCING, epoch, BOOK, REASON_GAP)
        r += 1
    elif state == STALE:  # it spoke again, and nothing is missing
        sync[s, S_BOOK_STATE] = SYNCED
        write_epoch(words, r, arrival_ns, s, SYNCED, epoch, BOOK, REASON_RESUMED)
        r += 1
    return OK, r - start


@in_place_kernel
def decode_snapshot(
    buf: NDArray[np.uint8], arrival_ns: int, s: int, asked: int, scales: NDArray[np.int64],
    words: NDArray[np.int64], flat: NDArray[np.int64],
) -> int:  # fmt: skip
    """Read a REST depth answer of symbol s into a SNAPSHOT row and its packs. Returns the number of
    rows, or FAIL, also where one of the NEAR best levels of a side lies off the grid: the grid is
    another one then. `words` needs room for one row a 40 bytes and 8 more."""
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
        if spells(buf, start, end, LAST_ID_NAME):
            twice = last_id >= 0
            last_id, pos = integer(buf, pos, end)
        elif spells(buf, start, end, EVENT_NAME):
            twice = event_ms >= 0
            event_ms, pos = integer(buf, pos, end)
        else:
            if spells(buf, start, end, BIDS_NAME):
                twice = bids_at >= 0
                bids_at = pos
            elif spells(buf, start, end, ASKS_NAME):
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
    n_bids, bids_off, near, pos = levels_of(buf, bids_at, end, flat, WORDS, room, 0, s, scales)
    if pos == FAIL or (bids_off > 0 and near < NEAR):
        return FAIL
    n_asks, asks_off, near, pos = levels_of(buf, asks_at, end, flat, WORDS, room, n_bids, s, scales)
    if pos == FAIL or (asks_off > 0 and near < NEAR):
        return FAIL
    packs = pad_levels(flat, WORDS, n_bids + n_asks)
    if packs > MAX_PACKS:
        return FAIL
    event_ns = event_ms * MS_NS if 0 <= event_ms <= LATEST_MS else 0
    write_head(words, 0, arrival_ns, event_ns, meta_word(SNAPSHOT, 0, packs, s))
    words[0, ID] = last_id
    words[0, ID2] = bids_off
    words[0, A] = asks_off
    words[0, B] = n_bids
    words[0, C] = n_asks
    words[0, D] = asked
    return 1 + packs
