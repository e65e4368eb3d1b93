"""Binance's trades, aggregated trades and liquidations → rows."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from foreshock.market.clock import MS_NS
from foreshock.market.integrity import (
    S_LIQUIDATION_MS,
    S_LOW_TRADE,
    S_TAPE_EPOCH,
    S_TAPE_STATE,
    S_TRADE_ID,
    renumbered,
)
from foreshock.market.jit import in_place
from foreshock.market.rows import (
    ID,
    ID2,
    LIQUIDATION,
    REASON_GAP,
    REASON_RESUMED,
    SELL,
    STALE,
    SYNCED,
    TAPE,
    TRADE,
    A,
    B,
    C,
)
from foreshock.market.words import meta_word, write_epoch, write_head
from foreshock.venues.binance_fields import (
    BAD_NUMBER,
    F_ASKS,
    F_AVERAGE,
    F_BUYER_MADE,
    F_FIRST_TRADE,
    F_LAST_TRADE,
    F_ORDER_TYPE,
    F_PRICE,
    F_SIDE,
    F_SIZE,
    F_TRADE_ID,
    F_TRADE_MS,
    IS_INTEGER,
    IS_OTHER,
    IS_STRING,
    MALFORMED,
    NO_TRADE,
    OK,
    REPEATED,
    event_ns_of,
    has,
    lot_size,
    spells,
    stamp_ms,
    tick_price,
)
from foreshock.venues.reals import real
from foreshock.venues.scan import FAIL, Bytes

MARKET_NAME: Final = np.frombuffer(b'MARKET"', np.uint8)
SELL_NAME: Final = np.frombuffer(b'SELL"', np.uint8)
BUY_NAME: Final = np.frombuffer(b'BUY"', np.uint8)


@in_place
def read_trade(
    buf: Bytes, end: int, value: NDArray[np.int64], seen: NDArray[np.int64], stamp: int, s: int,
    aggregated: bool, scales: NDArray[np.int64], sync: NDArray[np.int64], words: NDArray[np.int64],
    r: int, arrival_ns: int, heard_ns: int,
) -> tuple[int, int]:  # fmt: skip
    """(outcome, rows written) of a trade; `heard_ns` is when the tape last said something new."""
    id_slot = F_ASKS if aggregated else F_TRADE_ID
    if not (has(seen, id_slot, stamp, IS_INTEGER) and has(seen, F_PRICE, stamp, IS_STRING)
            and has(seen, F_SIZE, stamp, IS_STRING)
            and has(seen, F_BUYER_MADE, stamp, IS_OTHER)):  # fmt: skip
        return MALFORMED, 0
    literal = buf[value[F_BUYER_MADE]]
    if literal != 116 and literal != 102:
        return MALFORMED, 0
    price, pos = tick_price(buf, value[F_PRICE], end, s, scales)
    if pos < 0:
        return MALFORMED if pos == FAIL else BAD_NUMBER, 0
    size, pos = lot_size(buf, value[F_SIZE], end, s, scales)
    if pos < 0:
        return MALFORMED if pos == FAIL else BAD_NUMBER, 0
    fills = 1
    if aggregated:
        if not (has(seen, F_FIRST_TRADE, stamp, IS_INTEGER)
                and has(seen, F_LAST_TRADE, stamp, IS_INTEGER)):  # fmt: skip
            return MALFORMED, 0
        fills = value[F_LAST_TRADE] - value[F_FIRST_TRADE] + 1
        if fills < 1:
            return MALFORMED, 0
    trade_id = value[id_slot]
    last = sync[s, S_TRADE_ID]
    event_ns = event_ns_of(value, seen, stamp)
    if trade_id <= last:
        follows = trade_id == sync[s, S_LOW_TRADE] + 1
        if not renumbered(sync, s, S_LOW_TRADE, trade_id, follows, arrival_ns, heard_ns, event_ns):
            return REPEATED, 0
    start = r
    sync[s, S_TRADE_ID] = trade_id
    if last >= 0 and trade_id != last + 1:
        sync[s, S_TAPE_EPOCH] += 1
        sync[s, S_TAPE_STATE] = SYNCED
        write_epoch(words, r, arrival_ns, s, SYNCED, sync[s, S_TAPE_EPOCH], TAPE, REASON_GAP)
        r += 1
    elif sync[s, S_TAPE_STATE] == STALE:  # it speaks again, and nothing is missing
        sync[s, S_TAPE_STATE] = SYNCED
        write_epoch(words, r, arrival_ns, s, SYNCED, sync[s, S_TAPE_EPOCH], TAPE, REASON_RESUMED)
        r += 1
    of_market = not has(seen, F_ORDER_TYPE, stamp, IS_STRING) or spells(
        buf, value[F_ORDER_TYPE], end, MARKET_NAME
    )
    if price == 0 or size == 0 or not of_market:
        return NO_TRADE, r - start
    flags = SELL if literal == 116 else 0
    write_head(words, r, arrival_ns, event_ns, meta_word(TRADE, flags, 0, s))
    words[r, ID] = trade_id
    words[r, ID2] = fills
    words[r, A] = price
    words[r, B] = size
    return OK, r + 1 - start


@in_place
def read_liquidation(
    buf: Bytes, end: int, value: NDArray[np.int64], seen: NDArray[np.int64], stamp: int, s: int,
    scales: NDArray[np.int64], sync: NDArray[np.int64], words: NDArray[np.int64], r: int,
    arrival_ns: int,
) -> tuple[int, int]:  # fmt: skip
    """(outcome, rows written) of a liquidation order, whose own members are in the slots. The venue
    pushes the latest a second: the same one again has the same time."""
    if not (has(seen, F_PRICE, stamp, IS_STRING) and has(seen, F_SIZE, stamp, IS_STRING)
            and has(seen, F_AVERAGE, stamp, IS_STRING)
            and has(seen, F_SIDE, stamp, IS_STRING)):  # fmt: skip
        return MALFORMED, 0
    sold = spells(buf, value[F_SIDE], end, SELL_NAME)
    if not sold and not spells(buf, value[F_SIDE], end, BUY_NAME):
        return MALFORMED, 0
    at_ms = stamp_ms(value, seen, F_TRADE_MS, stamp, arrival_ns)
    average, pos = real(buf, value[F_AVERAGE], end)
    if at_ms == FAIL or pos == FAIL:
        return MALFORMED, 0
    price, pos = tick_price(buf, value[F_PRICE], end, s, scales)
    if pos < 0:
        return MALFORMED if pos == FAIL else BAD_NUMBER, 0
    size, pos = lot_size(buf, value[F_SIZE], end, s, scales)
    if pos < 0:
        return MALFORMED if pos == FAIL else BAD_NUMBER, 0
    if at_ms <= sync[s, S_LIQUIDATION_MS]:
        return REPEATED, 0
    sync[s, S_LIQUIDATION_MS] = at_ms
    flags = SELL if sold else 0
    write_head(words, r, arrival_ns, at_ms * MS_NS, meta_word(LIQUIDATION, flags, 0, s))
    words[r, A] = price
    words[r, B] = size
    words[r, C] = average
    return OK, 1
