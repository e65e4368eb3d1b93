"""Continuity of a symbol's streams: what the next depth frame or trade does to what is known.

The rules are the venue's own (Binance, "How to manage a local order book correctly"); they live
here once, for live diffs and for those held while a snapshot was on its way.

1. A diff that ends at or before what is known says nothing new: REPEAT.
2. The first diff behind a snapshot L joins if it reaches back to it: spot U ≤ L+1, USD-M U ≤ L
   (and u ≥ L), or its `pu` is L.
3. Each later one must follow its predecessor: spot U = previous u + 1, USD-M pu = previous u.
4. Anything else is a BREAK: the book is not to be trusted until a new snapshot joins.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from foreshock.market.jit import in_place

REPEAT, FOLLOWS, BREAK = range(3)

RULE_SPOT, RULE_USDM = 0, 1

# Columns of `sync`, int64 (n_symbols, SYNC_FIELDS): the continuity of each symbol.
(
    S_BOOK_STATE,
    S_BOOK_EPOCH,
    S_LAST_ID,  # last update id of the book
    S_FIRST,  # 1: the next diff is the first behind a snapshot
    S_TAPE_EPOCH,
    S_TRADE_ID,  # last trade id, -1 before the first
    S_BOOK_SEEN_NS,  # arrival of the last depth frame
    S_TAPE_SEEN_NS,  # arrival of the last trade
) = range(8)
SYNC_FIELDS: Final = 8


def new_sync(n_symbols: int) -> NDArray[np.int64]:
    """Continuity before the first frame: RESYNCING, epoch 0, no trade seen."""
    sync = np.zeros((n_symbols, SYNC_FIELDS), np.int64)
    sync[:, S_TRADE_ID] = -1
    return sync


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
