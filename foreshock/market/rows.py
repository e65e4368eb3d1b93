"""The data language: whatever the engine reacts to is a row of this one dtype.

A row is 80 bytes. Prices are integer *ticks* and sizes integer *lots* of their instrument, so that
sums over windows are exact however they are started. Kernels read the same memory as int64 words:
`words = as_words(rows)` has shape (n, 10) and the column numbers below.

word  field        meaning
0     arrival_ns   when it reached us, UTC ns since the epoch, never running backwards
1     event_ns     when the venue says it happened, UTC ns; 0 where the venue does not say
2     seq          position in the sequenced input; order is (arrival_ns, seq)
3     kind, flags, count, symbol   packed (u1, u1, u2, i4), little endian; see `meta_of`
4     id           venue's id: trade id, book update id `u`, snapshot `lastUpdateId`
5     id2          second id: depth `U`
6–9   a b c d      payload, by kind

kind         id              id2           a            b         c          d
TRADE        trade id        fills         price_ticks  size_lots -          -
QUOTE        update id u     -             bid_ticks    bid_lots  ask_ticks  ask_lots
DEPTH        last id u       first id U    prev id pu   n_bids    n_asks     -
SNAPSHOT     lastUpdateId    bids off grid asks off grid n_bids   n_asks     levels asked for
EPOCH        -               -             state        epoch     family     reason
TIMER        -               -             -            -         -          -
CONNECTION   connection no.  -             state        families  offset_ns  -
CONTEXT      known_ns        boundary_ns   field        value bits (float64) -  -
CONTROL      -               -             field        value (int or float64 bits) - -
BAR          open_ns         fills         interval_ns  closed     -          -
MARK         next funding_ns -             mark price   index price  funding rate  -
LIQUIDATION  -               -             price_ticks  size_lots  average price -
METRIC       as_of_ns        -             field        value      -          -
INSTRUMENT   version         status        tick_decimals tick_units lot_decimals lot_units

Prices off the tick grid (marks, indices, averages), rates and metric values are float64 bits.
LIQUIDATION's SELL flag means that a long was liquidated. A BAR is a header with one pack row of ten
words: open, high, low, close ticks; volume and taker-buy volume in lots; quote and taker-buy quote
volume as float64 bits; first and last trade id.

A DEPTH or SNAPSHOT row is a *header*: `count` pack rows follow it at once, each 80 bytes of five
levels (price_ticks, size_lots), bids first, then asks, the last one padded with zeros. A pack row
has no fields of its own; whoever walks rows jumps over it: `i += 1 + count`. Size 0 deletes a
level.

symbol is the index of the instrument in the session's list, or ALL (-1).
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from foreshock.errors import RowError

ROW: Final = np.dtype(
    [
        ("arrival_ns", "<i8"),
        ("event_ns", "<i8"),
        ("seq", "<i8"),
        ("kind", "u1"),
        ("flags", "u1"),
        ("count", "<u2"),
        ("symbol", "<i4"),
        ("id", "<i8"),
        ("id2", "<i8"),
        ("a", "<i8"),
        ("b", "<i8"),
        ("c", "<i8"),
        ("d", "<i8"),
    ]
)
WORDS: Final = 10
LEVELS_PER_PACK: Final = 5
ALL: Final = -1

# Word columns, for kernels.
ARRIVAL, EVENT, SEQ, META, ID, ID2, A, B, C, D = range(WORDS)

# Kinds.
(
    TRADE,
    QUOTE,
    DEPTH,
    SNAPSHOT,
    EPOCH,
    TIMER,
    CONNECTION,
    CONTEXT,
    CONTROL,
    BAR,
    MARK,
    LIQUIDATION,
    METRIC,
    INSTRUMENT,
) = range(1, 15)
KIND_NAMES: Final = {
    TRADE: "trade",
    QUOTE: "quote",
    DEPTH: "depth",
    SNAPSHOT: "snapshot",
    EPOCH: "epoch",
    TIMER: "timer",
    CONNECTION: "connection",
    CONTEXT: "context",
    CONTROL: "control",
    BAR: "bar",
    MARK: "mark",
    LIQUIDATION: "liquidation",
    METRIC: "metric",
    INSTRUMENT: "instrument",
}

# Flags.
SELL: Final = 1  # TRADE: the aggressor sold (Binance `m` true: the buyer was the maker)
HELD: Final = 2  # DEPTH: arrived while the book was not SYNCED; kept for the record, not applied
REJOINED: Final = 4  # DEPTH: a held frame, given again behind the snapshot that it joins
MODELLED: Final = 8  # arrival_ns is modelled, not observed (archives)
FALLBACK: Final = 16  # of the fallback venue, while the primary is down
BACKFILL: Final = 32  # history fetched over REST at a watcher's start

# Stream families: epochs are per symbol and family.
BOOK: Final = 0
TAPE: Final = 1

# States of a family, carried by EPOCH rows.
RESYNCING: Final = 0
SYNCED: Final = 1
STALE: Final = 2
STATE_NAMES: Final = {RESYNCING: "RESYNCING", SYNCED: "SYNCED", STALE: "STALE"}

# Why an epoch row was written.
(
    REASON_START,
    REASON_GAP,
    REASON_JOINED,
    REASON_CUT,
    REASON_SILENT,
    REASON_RESUMED,
    REASON_CROSSED,
    REASON_RANGE,
    REASON_LATE_SNAPSHOT,
    REASON_CHECKSUM,
    REASON_HALTED,
    REASON_RESCALED,  # its tick or lot size changed
) = range(12)
REASON_NAMES: Final = {
    REASON_START: "start",
    REASON_GAP: "gap",
    REASON_JOINED: "joined",
    REASON_CUT: "cut",
    REASON_SILENT: "silent",
    REASON_RESUMED: "resumed",
    REASON_CROSSED: "crossed",
    REASON_RANGE: "range",
    REASON_LATE_SNAPSHOT: "late_snapshot",
    REASON_CHECKSUM: "checksum",
    REASON_HALTED: "halted",
    REASON_RESCALED: "rescaled",
}

# Connection states.
CUT: Final = 0
CONNECTED: Final = 1
OFFSET: Final = 2  # only the clock offset to the venue changed

# Metric fields. Ratios are long / short (or buy / sell), open interest is in base currency.
(
    METRIC_OPEN_INTEREST,
    METRIC_OPEN_INTEREST_VALUE,
    METRIC_LONG_SHORT_ACCOUNTS,
    METRIC_TOP_LONG_SHORT_ACCOUNTS,
    METRIC_TOP_LONG_SHORT_POSITIONS,
    METRIC_TAKER_BUY_SELL,
    METRIC_FUNDING_RATE,  # a settled one, as_of_ns its time
) = range(1, 8)
METRIC_NAMES: Final = {
    METRIC_OPEN_INTEREST: "open_interest",
    METRIC_OPEN_INTEREST_VALUE: "open_interest_value",
    METRIC_LONG_SHORT_ACCOUNTS: "long_short_accounts",
    METRIC_TOP_LONG_SHORT_ACCOUNTS: "top_long_short_accounts",
    METRIC_TOP_LONG_SHORT_POSITIONS: "top_long_short_positions",
    METRIC_TAKER_BUY_SELL: "taker_buy_sell",
    METRIC_FUNDING_RATE: "funding_rate",
}

# Context fields say what the other symbols did as of `boundary_ns` (market/context.py): a base and,
# added to it, which leader or which window (k-th of the settings' lists). Of ALL symbols:
CONTEXT_LEADER: Final = 100  # last price of a leader
CONTEXT_MEAN: Final = 200  # mean return of all symbols, log
CONTEXT_DISPERSION: Final = 300  # standard deviation of the returns across symbols, log
CONTEXT_RISING: Final = 400  # share of symbols that surge now
CONTEXT_FALLING: Final = 500  # share of symbols that slump now
# Of one symbol:
CONTEXT_RETURN_RANK: Final = 600  # among all symbols, 0 the least, 1 the most
CONTEXT_VOLUME_RANK: Final = 700  # of the last minute's volume in quote currency, likewise; k = 0
CONTEXT_SECTOR_MEAN: Final = 800  # mean return of the other symbols of its sector, log
CONTEXT_SECTOR_RANK: Final = 900  # among its sector, by return
# From here on a row carries a slow series, of ALL symbols or of one: CONTEXT_SERIES + its position
# in the settings' list.
CONTEXT_SERIES: Final = 1_000

# Status of an instrument.
TRADING, HALTED, DELISTED = range(3)
STATUS_NAMES: Final = {TRADING: "TRADING", HALTED: "HALTED", DELISTED: "DELISTED"}

# Control fields.
(
    CONTROL_MODEL,
    CONTROL_STRATEGY,
    CONTROL_BILL,
    CONTROL_KILL,
    CONTROL_PORTFOLIO,
    CONTROL_BREAKER,
    CONTROL_VENUE,  # who is listened to: 0 the primary, else a fallback (venues/fallback.py)
) = range(1, 8)

Rows = NDArray[np.void]
Words = NDArray[np.int64]


def empty_rows(n: int = 0) -> Rows:
    """Zeroed rows of shape (n,)."""
    return np.zeros(n, dtype=ROW)


def as_words(rows: Rows) -> Words:
    """The same memory as int64 of shape (n, 10), for kernels. Raises RowError on another dtype."""
    if rows.dtype != ROW:
        raise RowError(f"expected the row dtype of 80 bytes, got {rows.dtype}")
    return np.ascontiguousarray(rows).view(np.int64).reshape(-1, WORDS)


def as_rows(words: Words) -> Rows:
    """The same memory as rows; the inverse of `as_words`."""
    return np.ascontiguousarray(words).view(ROW).reshape(-1)


def packs_for(levels: int) -> int:
    """How many pack rows `levels` depth levels take."""
    return -(-levels // LEVELS_PER_PACK)


def heads(rows: Rows) -> NDArray[np.int64]:
    """Indices of all rows that are not pack rows, shape (m,). Raises RowError where a header's
    pack rows run beyond the end or a kind is unknown: such rows must not reach the engine."""
    out: list[int] = []
    i, n = 0, len(rows)
    while i < n:
        kind = int(rows[i]["kind"])
        if kind not in KIND_NAMES:
            raise RowError(f"row {i} has the unknown kind {kind}")
        out.append(i)
        i += 1 + int(rows[i]["count"])
    if i != n:
        raise RowError(f"the header at row {out[-1]} announces rows beyond the end ({i} > {n})")
    return np.array(out, dtype=np.int64)


def levels_of(rows: Rows, head: int) -> tuple[Words, Words]:
    """(bids, asks) of the DEPTH or SNAPSHOT header at index `head`, each of shape (k, 2) with
    columns price_ticks and size_lots. A copy; for tests and tools, kernels read words."""
    row = rows[head]
    count, n_bids, n_asks = int(row["count"]), int(row["b"]), int(row["c"])
    flat = as_words(rows[head + 1 : head + 1 + count]).reshape(-1, 2)
    return flat[:n_bids].copy(), flat[n_bids : n_bids + n_asks].copy()


def pack_levels(rows: Rows, head: int, bids: Words, asks: Words) -> None:
    """Write levels behind the header at `head` and set its count, b and c; `rows` has the room."""
    total = len(bids) + len(asks)
    count = packs_for(total)
    flat = as_words(rows[head + 1 : head + 1 + count]).reshape(-1, 2)
    flat[: len(bids)] = bids
    flat[len(bids) : total] = asks
    flat[total:] = 0
    rows[head]["count"], rows[head]["b"], rows[head]["c"] = count, len(bids), len(asks)
