"""A book in the very strings that a venue sent, for checksums over them."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import Final

from foreshock.venues.facts import MAX_DIGITS, Level, digits_of

_SCALE: Final[list[int]] = [10**k for k in range(MAX_DIGITS + 1)]


def _exact(price: str) -> int:
    """The price in units of 10^-18: equal prices are equal however they are spelled."""
    digits, places = digits_of(price)
    return digits * _SCALE[MAX_DIGITS - places]


class TextBook:
    """Both sides, by price."""

    def __init__(self) -> None:
        self._bids: dict[int, Level] = {}
        self._asks: dict[int, Level] = {}

    def apply(self, bids: Sequence[Level], asks: Sequence[Level]) -> None:
        """Set sizes; a size of zero takes the level away."""
        for side, levels in ((self._bids, bids), (self._asks, asks)):
            for level in levels:
                at = _exact(level[0])
                if digits_of(level[1])[0]:
                    side[at] = level
                else:
                    side.pop(at, None)

    def best(self, n: int) -> tuple[list[Level], list[Level]]:
        """The n best (bids, asks), best first."""
        return (
            [self._bids[at] for at in heapq.nlargest(n, self._bids)],
            [self._asks[at] for at in heapq.nsmallest(n, self._asks)],
        )
