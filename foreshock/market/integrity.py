"""Continuity of a symbol's streams: what the next depth frame or trade does to what is known.

The rules are the venue's own (Binance, "How to manage a local order book correctly"); they live
here once, for live diffs and for those held while a snapshot was on its way.

1. A diff that ends at or before what is known says nothing new: REPEAT.
2. The first diff behind a snapshot L joins if it reaches back to it: spot U ≤ L+1, USD-M U ≤ L
   (and u ≥ L), or its `pu` is L.
3. Each later one must follow its predecessor: spot U = previous u + 1, USD-M pu = previous u.
4. Anything else is a BREAK: the book is not to be trusted until a new snapshot joins.
5. An id that is not above the last one says nothing new, with one way out: an id that was absurdly
   high (a damaged frame, a venue that begins to count anew) must not silence a stream for ever.
   Once nothing new came for RENUMBERED_NS and RENUMBERED_RUN lower ids in a row followed each
   other, in frames that are fresh by the venue's own clock, the lower ids are believed:
   `renumbered`. The second socket of an overlap never looks so: its copies are old, or others are
   new.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from foreshock.market.clock import SECOND_NS
from foreshock.market.jit import in_place

REPEAT, FOLLOWS, BREAK = range(3)

RULE_SPOT, RULE_USDM = 0, 1

# Columns of `sync`, int64 (n_symbols, SYNC_FIELDS): the continuity of each symbol.
(
    S_BOOK_STATE,
    S_BOOK_EPOCH,
    S_LAST_ID,  # last update id of the book
    S_FIRST,  # 1: the next diff is the first behind a snapshot
    S_TAPE_STATE,
    S_TAPE_EPOCH,
    S_TRADE_ID,  # last trade id, -1 before the first
    S_QUOTE_ID,  # last bookTicker update id
    S_BAR_OPEN_MS,  # of the last bar …
    S_BAR_MS,  # … and the venue's time of its last frame
    S_MARK_MS,
    S_LIQUIDATION_MS,
    S_LOW_DIFF,  # last id that was no news, and how many of them followed each other
    S_LOW_DIFF_RUN,
    S_LOW_TRADE,
    S_LOW_TRADE_RUN,
    S_LOW_QUOTE,
    S_LOW_QUOTE_RUN,
) = range(18)
SYNC_FIELDS: Final = 18

RENUMBERED_NS: Final = 30 * SECOND_NS
RENUMBERED_RUN: Final = 8
FRESH_NS: Final = 10 * SECOND_NS


def new_sync(n_symbols: int) -> NDArray[np.int64]:
    """Continuity before the first frame: books RESYNCING, tapes too, epoch 0, no id seen."""
    sync = np.zeros((n_symbols, SYNC_FIELDS), np.int64)
    sync[:, S_TRADE_ID : S_LIQUIDATION_MS + 1] = -1
    return sync


@in_place
def renumbered(
    sync: NDArray[np.int64], s: int, column: int, last_id: int, follows: bool, arrival_ns: int,
    heard_ns: int, event_ns: int,
) -> bool:  # fmt: skip
    """Of an id that is no news: whether such ids are to be believed from now on (rule 5). `column`
    holds the last of them, the next one their run; `follows`: it continues that last one."""
    if last_id == sync[s, column]:
        return False  # a copy says nothing of the run
    run = sync[s, column + 1] + 1 if follows else 1
    sync[s, column] = last_id
    sync[s, column + 1] = run
    fresh = event_ns == 0 or event_ns > arrival_ns - FRESH_NS
    return bool(fresh and run >= RENUMBERED_RUN and arrival_ns - heard_ns > RENUMBERED_NS)


@in_place
def follow(
    first_behind_snapshot: int, known_id: int, first_id: int, last_id: int, previous_id: int,
    rule: int,
) -> int:  # fmt: skip
    """REPEAT, FOLLOWS or BREAK for a diff [first_id, last_id] on a book that stands at known_id."""
    if last_id < known_id:
        return REPEAT
    if last_id == known_id and not (rule == RULE_USDM and first_behind_snapshot == 1):
        return REPEAT
    if first_behind_snapshot == 1:
        if rule == RULE_SPOT:
            return FOLLOWS if first_id <= known_id + 1 else BREAK
        return FOLLOWS if first_id <= known_id or previous_id == known_id else BREAK
    if rule == RULE_SPOT:
        return FOLLOWS if first_id == known_id + 1 else BREAK
    return FOLLOWS if previous_id == known_id else BREAK
