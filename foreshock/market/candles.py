"""Which candles are taken, by whoever reads BAR rows: closed minutes, whole, in order, each once.

A watcher fetches the past over REST while the stream goes on, so that the past may be told behind
a live minute. Rows of it are flagged BACKFILL: one that is older than the last minute begins anew,
and the live minute, which is kept aside, follows when the past has come up to it.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from foreshock.market.clock import SECOND_NS
from foreshock.market.jit import in_place
from foreshock.market.rows import BACKFILL, ID, META, A, B, Words
from foreshock.market.words import flags_of

MINUTE_NS: Final = 60 * SECOND_NS
OPEN, HIGH, LOW, CLOSE, LOTS, TAKER = range(6)  # words of a candle's pack
ASIDE: Final = 7  # of the last live minute: when it opened, and its six words
IGNORED, FOLLOWS, BEGINS = range(3)


def empty_aside(n: int) -> NDArray[np.int64]:
    """No live minute yet, int64 (n, ASIDE)."""
    out = np.zeros((n, ASIDE), np.int64)
    out[:, 0] = -1
    return out


@in_place
def is_whole(words: Words, i: int) -> bool:
    """Whether the BAR header at `i` is a closed minute whose prices and lots can be."""
    pack = words[i + 1]
    low, high = pack[LOW], pack[HIGH]
    return bool(
        words[i, A] == MINUTE_NS
        and words[i, B] == 1
        and 0 < low <= min(pack[OPEN], pack[CLOSE])
        and high >= max(pack[OPEN], pack[CLOSE])
        and pack[LOTS] >= 0
    )


@in_place
def place_of(words: Words, i: int, last_open_ns: int) -> int:
    """What the whole candle at `i` is behind the one that opened at `last_open_ns`: IGNORED (told
    before), FOLLOWS, or BEGINS anew behind a hole or with an older past."""
    opened_ns = words[i, ID]
    if opened_ns <= last_open_ns:
        past = (flags_of(words[i, META]) & BACKFILL) != 0 and opened_ns < last_open_ns
        return BEGINS if past else IGNORED
    return FOLLOWS if opened_ns == last_open_ns + MINUTE_NS else BEGINS


@in_place
def set_aside(words: Words, i: int, aside: NDArray[np.int64]) -> None:
    """Keep the candle at `i` in `aside`, (ASIDE,), where it is live."""
    if (flags_of(words[i, META]) & BACKFILL) == 0:
        aside[0] = words[i, ID]
        for q in range(6):
            aside[1 + q] = words[i + 1, q]


@in_place
def waits(aside: NDArray[np.int64], last_open_ns: int) -> bool:
    """Whether the live minute that was set aside follows the last one taken."""
    return bool(aside[0] == last_open_ns + MINUTE_NS)
