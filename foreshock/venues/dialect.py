"""What a venue whose snapshots come over the socket must say of itself: how it spells its facts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from foreshock.market.integrity import (
    BREAK,
    FOLLOWS,
    REPEAT,
)
from foreshock.venues.facts import (
    BookFact,
    Fact,
)
from foreshock.venues.text_book import TextBook


class Stream(NamedTuple):
    """One stream to subscribe: its name, and the symbol and kind (venues/silence.py) that it
    brings; symbol "" for one of the whole market."""

    name: str
    symbol: str
    kind: int


class Dialect(Protocol):
    """How one market spells its facts."""

    market: str
    levels: int  # of a snapshot, a side
    in_contracts: bool  # sizes count contracts, whose value the list of instruments says

    def streams(self, symbols: Sequence[str]) -> list[Stream]:
        """What is subscribed."""

    def read(self, frame: bytes) -> list[Fact]:
        """Facts of a frame. Raises `RefusedError`, or ValueError on rubbish."""

    def answer(self, kind: str, symbol: str, body: bytes) -> list[Fact]:
        """Facts of a REST answer. Raises as `read`."""

    def checksum(self, book: TextBook) -> int:
        """Of a book, as the venue counts it."""


def follow(fact: BookFact, known_id: int, known_ns: int) -> int:
    """FOLLOWS, REPEAT or BREAK for a diff on a book that stands at `known_id` since `known_ns`
    (rules 1 to 3)."""
    if fact.previous_id == known_id:
        return FOLLOWS
    return REPEAT if fact.last_id <= known_id and fact.event_ns <= known_ns else BREAK
