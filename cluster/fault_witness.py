"""The judge of a fault campaign: the true books by update id, and a watcher that is compared with
them at every boundary."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import orjson

from actors.budget import OwnBudget
from actors.exchange_sources import Delivery, SimulationSource
from actors.plan import WatchPlan
from actors.watcher import Watcher
from foreshock.engine.outcomes import Boundary
from foreshock.market.clock import SECOND_NS, Clock
from foreshock.market.ladder import I_DEPTH_ID, I_KNOWN_HIGH, I_KNOWN_LOW
from foreshock.market.rows import RESYNCING, SYNCED, Rows
from foreshock.simulation.exchange import SimulatedExchange
from foreshock.venues.wire import Wire

KEPT: Final = 256  # true tops of a symbol: 25 s of diffs
LEVELS: Final = 5
Levels = tuple[tuple[float, float], ...]


class TrueBook:
    """One symbol's book as its undamaged diffs tell it, and its best levels by update id."""

    def __init__(self) -> None:
        self.sides: tuple[dict[float, float], dict[float, float]] = ({}, {})
        self.tops: OrderedDict[int, tuple[int, Levels, Levels]] = OrderedDict()
        self.last_id = 0

    def open(self, snapshot: Any) -> None:
        """Begin with a depth answer."""
        for side, name in zip(self.sides, ("bids", "asks"), strict=True):
            side.update((float(price), float(size)) for price, size in snapshot[name])
        self.last_id = snapshot["lastUpdateId"]

    def diff(self, body: bytes, at_ns: int) -> None:
        """Apply what the exchange says before any fault meets it."""
        told = orjson.loads(body)
        if told["u"] <= self.last_id:
            return
        self.last_id = told["u"]
        for side, name in zip(self.sides, ("b", "a"), strict=True):
            for price, size in told[name]:
                if float(size):
                    side[float(price)] = float(size)
                else:
                    side.pop(float(price), None)
        bids = tuple(sorted(self.sides[0].items(), reverse=True)[:LEVELS])
        asks = tuple(sorted(self.sides[1].items())[:LEVELS])
        self.tops[self.last_id] = (at_ns, bids, asks)
        if len(self.tops) > KEPT:
            self.tops.popitem(last=False)


class WitnessedSource(SimulationSource):
    """The simulation, with the true book of every symbol kept beside it."""

    def __init__(self, settings: Any) -> None:
        super().__init__(settings)
        self._witness_clock = Clock()
        self.books = {symbol: TrueBook() for symbol in self.symbols}
        for symbol, book in self.books.items():
            book.open(orjson.loads(self.exchange.depth(symbol, 5000)))

    def due(self, wall_ns: int) -> list[Delivery]:
        """What the simulation gives, seen first."""
        got = super().due(wall_ns)
        for delivery in got:
            if "@depth" in delivery.stream:
                self.books[delivery.symbol].diff(delivery.body, wall_ns)
        return got


class Witness(Watcher):
    """A watcher whose SYNCED books are compared with the true ones at every boundary."""

    def __init__(
        self, plan: WatchPlan, wire: Wire, books: dict[str, TrueBook], stale_after_s: float
    ) -> None:
        super().__init__(plan, wire=wire)
        self._books, self._stale_ns = books, int((stale_after_s + 2.0) * SECOND_NS)
        self.boundaries = self.compared = self.unknown = 0
        self.wrong: list[str] = []
        self.old: list[str] = []
        self._judging = False
        self._began = np.zeros(0, np.int64)

    def begin(self) -> None:
        """Judge from now on."""
        self._judging = True
        self._began = self.session.states()[:, 1].copy()

    def synced(self) -> int:
        """How many books are."""
        return int((self.session.states()[:, 0] == SYNCED).sum())

    def weight_share(self) -> float:
        """Of the venue's weight a minute, what is in use."""
        budget = self.feed.budget
        assert isinstance(budget, OwnBudget)
        return budget.weights.used(self.clock.now_ns()) / budget.weights.limit

    def epochs_since(self) -> dict[str, int]:
        """How many book epochs each symbol has opened since `begin`."""
        opened = self.session.states()[:, 1] - self._began
        return dict(zip(self.plan.symbols, opened.tolist(), strict=True))

    def _advance(self, batches: list[Rows]) -> list[Boundary]:
        closed = super()._advance(batches)
        for boundary in closed if self._judging else ():
            self.boundaries += 1
            now = boundary is closed[-1]
            for s in np.flatnonzero(boundary.book_state == SYNCED).tolist() if now else ():
                self._compare(s, boundary)
        return closed

    def _compare(self, s: int, boundary: Boundary) -> None:
        """One SYNCED book, as it stands behind the boundary's last row."""
        ladder = self.engine.ladder
        if ladder.info[s, 0] == RESYNCING:
            return
        symbol = self.plan.symbols[s]
        known = self._books[symbol]
        book_id = int(ladder.info[s, I_DEPTH_ID])
        truth = known.tops.get(book_id)
        newest_ns, *_ = next(reversed(known.tops.values()), (0,))
        if truth is None:
            # A snapshot's id between two diffs, or one too long ago.
            if known.tops and book_id < next(iter(known.tops)):
                self.old.append(f"{symbol}: at {book_id}, long ago")
            self.unknown += 1
            return
        if newest_ns - truth[0] > self._stale_ns:
            self.old.append(f"{symbol}: {(newest_ns - truth[0]) / SECOND_NS:.1f} s behind")
        self.compared += 1
        for side in range(2):
            if not _equal(self._levels(s, ladder.top[s, side].tolist()), truth[1 + side]):
                self.wrong.append(f"{symbol} at {book_id}, epoch {boundary.book_epoch[s]}")
                return

    def _levels(self, s: int, levels: Sequence[Sequence[int]]) -> Levels:
        one = self.session.instruments[s]
        return tuple((t * one.tick_size, q * one.lot_size) for t, q in levels if t)

    def final(self, exchange: SimulatedExchange) -> dict[str, Any]:
        """Every book against the exchange's own ladder, with the market at rest."""
        differ = []
        ladder = self.engine.ladder
        for s, symbol in enumerate(self.plan.symbols):
            info = ladder.info[s]
            whole = orjson.loads(exchange.depth(symbol, 5000))
            if info[0] == RESYNCING or int(info[I_DEPTH_ID]) != whole["lastUpdateId"]:
                differ.append(f"{symbol}: state {info[0]}, {info[I_DEPTH_ID]} of "
                              f"{whole['lastUpdateId']}")  # fmt: skip
                continue
            one = self.session.instruments[s]
            for side, name in enumerate(("bids", "asks")):
                true = tuple((float(price), float(size)) for price, size in whole[name])
                low, high = info[I_KNOWN_LOW] * one.tick_size, info[I_KNOWN_HIGH] * one.tick_size
                true = tuple(level for level in true if low <= level[0] <= high)
                held = self._held(s, side, len(true))
                if not _equal(held, true):
                    differ.append(f"{symbol}: {name}")
                    break
        return {"equal": len(self.plan.symbols) - len(differ), "differ": differ}

    def _held(self, s: int, side: int, most: int) -> Levels:
        """The best `most` levels of the ladder, best first."""
        from foreshock.market.ladder import I_LOW, MASK, WINDOW

        ladder = self.engine.ladder
        low = int(ladder.info[s, I_LOW])
        ticks = np.arange(low, low + WINDOW)
        lots = ladder.lots[s, side, ticks & MASK]
        ticks, lots = ticks[lots > 0], lots[lots > 0]
        if side == 0:
            ticks, lots = ticks[::-1], lots[::-1]
        return self._levels(s, np.stack([ticks, lots], axis=1)[:most].tolist())


def _equal(one: Levels, other: Levels) -> bool:
    if len(one) != len(other):
        return False
    return bool(np.allclose(np.array(one), np.array(other), rtol=1e-9, atol=0.0))
