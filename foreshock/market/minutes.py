"""Minutes of the clock: what is kept beyond the five minutes of one-second buckets.

A minute closes at the first boundary at or after a multiple of 60 s, and a ring has a slot for each
of the last 61 closes. A window of n minutes is therefore the last n full ones; what has passed of
the open minute comes on top where a feature says so.
"""

from __future__ import annotations

from typing import Final

from foreshock.market.clock import SECOND_NS
from foreshock.market.jit import in_place

MINUTE_S: Final = 60
MINUTE_NS: Final = MINUTE_S * SECOND_NS
MINUTE_SLOTS: Final = 61  # an hour, and the close that it is measured from


@in_place
def ends_minute(boundary_ns: int) -> bool:
    """Whether a minute closes at this boundary; boundaries are a second apart."""
    return boundary_ns % MINUTE_NS < SECOND_NS


@in_place
def minute_before(head: int, minutes: int) -> int:
    """The slot that was written `minutes` closes before `head`, 0 <= minutes < MINUTE_SLOTS."""
    slot = head - minutes
    return slot + MINUTE_SLOTS if slot < 0 else slot


@in_place
def minute_after(head: int) -> int:
    """The slot of the next close."""
    return 0 if head + 1 == MINUTE_SLOTS else head + 1
