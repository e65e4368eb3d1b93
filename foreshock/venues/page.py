"""Rows written one after the other by plain Python, for venues that are read without a kernel."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np

from foreshock.market.context import context_rows
from foreshock.market.instruments import Instrument
from foreshock.market.rows import (
    LEVELS_PER_PACK,
    WORDS,
    Rows,
    as_rows,
    as_words,
    empty_rows,
    packs_for,
)
from foreshock.venues.facts import BarFact, Level, lots, ticks

NAN_BITS = 0x7FF8_0000_0000_0000


def bits(number: float | None) -> int:
    """A float64's bits as int64; NaN's for None, what is not known."""
    if number is None:
        return NAN_BITS
    return int(struct.unpack("<q", struct.pack("<d", number))[0])


def put_levels(
    levels: Sequence[Level], instrument: Instrument, contract: tuple[int, int]
) -> tuple[list[int], int]:
    """([ticks, lots, ticks, lots, …], how many levels lie off the grid and were left out). Sizes
    are cut to the lot below (decision 0008)."""
    out: list[int] = []
    for price, size in levels:
        at, on_grid = ticks(price, instrument)
        if on_grid and at > 0:
            out += (at, lots(size, instrument, contract)[0])
    return out, len(levels) - len(out) // 2


class Page:
    """The rows since the last `take`, and the number of the next one."""

    def __init__(self) -> None:
        self._words: list[int] = []
        self._seq = 0

    def row(
        self, arrival_ns: int, kind: int, symbol: int, *, event_ns: int = 0, flags: int = 0,
        count: int = 0, id: int = 0, id2: int = 0, a: int = 0, b: int = 0, c: int = 0, d: int = 0,
    ) -> None:  # fmt: skip
        """One header row (market/rows.py)."""
        meta = kind | (flags << 8) | (count << 16) | (symbol << 32)
        self._words += (arrival_ns, event_ns, self._seq, meta, id, id2, a, b, c, d)
        self._seq += 1

    def levels(
        self, arrival_ns: int, event_ns: int, kind: int, symbol: int, bids: list[int],
        asks: list[int], flags: int, *, id: int, id2: int, a: int, d: int = 0,
    ) -> None:  # fmt: skip
        """A DEPTH or SNAPSHOT header and its pack rows."""
        n_bids, n_asks = len(bids) // 2, len(asks) // 2
        packs = packs_for(n_bids + n_asks)
        self.row(
            arrival_ns, kind, symbol, event_ns=event_ns, flags=flags, count=packs, id=id, id2=id2,
            a=a, b=n_bids, c=n_asks, d=d,
        )  # fmt: skip
        self._words += bids
        self._words += asks
        self._words += [0] * (2 * (packs * LEVELS_PER_PACK - n_bids - n_asks))

    def bar(
        self, arrival_ns: int, fact: BarFact, symbol: int, kind: int, flags: int,
        prices: list[int], volume: int,
    ) -> None:  # fmt: skip
        """A BAR header and its pack row. What takers bought, fills and trade ids are not said by
        these venues: -1, and NaN for the turnover."""
        self.row(
            arrival_ns, kind, symbol, event_ns=fact.event_ns, flags=flags, count=1,
            id=fact.open_ns, id2=-1, a=fact.interval_ns, b=int(fact.closed),
        )  # fmt: skip
        self._words += (*prices, volume, -1, bits(fact.turnover), NAN_BITS, -1, -1)

    def context(
        self, arrival_ns: int, body: bytes, symbols: int, boundary_ns: int, known_ns: int
    ) -> None:
        """CONTEXT rows (market/context.py). Raises RowError."""
        rows = context_rows(body, symbols, boundary_ns, known_ns, arrival_ns, self._seq)
        self._words += as_words(rows).ravel().tolist()
        self._seq += len(rows)

    def take(self) -> Rows:
        """All of it; the page is empty then."""
        if not self._words:
            return empty_rows()
        words, self._words = np.array(self._words, np.int64).reshape(-1, WORDS), []
        return as_rows(words)
