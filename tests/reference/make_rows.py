"""Rows written by hand, numbered and stamped in order."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from foreshock.market.rows import (
    ALL,
    BOOK,
    DEPTH,
    EPOCH,
    INSTRUMENT,
    QUOTE,
    SELL,
    SNAPSHOT,
    TIMER,
    TRADE,
    Rows,
    empty_rows,
    pack_levels,
    packs_for,
)

SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND
Levels = Sequence[tuple[int, int]]


class RowMaker:
    """Makes rows at `now`; the caller moves `now`."""

    def __init__(self, now: int = START) -> None:
        self.now, self.seq = now, 0

    def _row(self, kind: int, symbol: int, packs: int = 0, **payload: int) -> Rows:
        rows = empty_rows(1 + packs)
        head = rows[0]
        head["arrival_ns"], head["event_ns"], head["seq"] = self.now, self.now, self.seq
        head["kind"], head["symbol"] = kind, symbol
        for name, value in payload.items():
            head[name] = value
        self.seq += 1
        return rows

    def trade(self, symbol: int, ticks: int, lots: int, sell: bool = False) -> Rows:
        return self._row(TRADE, symbol, flags=SELL if sell else 0, a=ticks, b=lots, id=self.seq)

    def instrument(self, symbol: int, steps: tuple[int, int, int, int]) -> Rows:
        """A new version whose ticks and lots are these."""
        a, b, c, d = steps
        return self._row(INSTRUMENT, symbol, id=2, a=a, b=b, c=c, d=d)

    def quote(
        self, symbol: int, update_id: int, bid: tuple[int, int], ask: tuple[int, int]
    ) -> Rows:
        a, b, c, d = *bid, *ask
        return self._row(QUOTE, symbol, id=update_id, a=a, b=b, c=c, d=d)

    def _book(self, kind: int, symbol: int, bids: Levels, asks: Levels, **payload: int) -> Rows:
        rows = self._row(kind, symbol, packs_for(len(bids) + len(asks)), **payload)
        sides = [np.array(side, np.int64).reshape(-1, 2) for side in (bids, asks)]
        pack_levels(rows, 0, *sides)
        return rows

    def depth(
        self, symbol: int, update_id: int, bids: Levels = (), asks: Levels = (), flags: int = 0
    ) -> Rows:
        return self._book(DEPTH, symbol, bids, asks, id=update_id, flags=flags)

    def snapshot(
        self, symbol: int, update_id: int, bids: Levels, asks: Levels, asked: int = 1000,
        left_out: tuple[int, int] = (0, 0),
    ) -> Rows:  # fmt: skip
        return self._book(
            SNAPSHOT, symbol, bids, asks, id=update_id, d=asked, id2=left_out[0], a=left_out[1]
        )

    def epoch(self, symbol: int, state: int, number: int, family: int = BOOK) -> Rows:
        return self._row(EPOCH, symbol, a=state, b=number, c=family)

    def timer(self) -> Rows:
        return self._row(TIMER, ALL)
