"""The slow twin of market/ladder.py and market/integrity.py: dicts, sorting, and the venue's rules.

`BookTwin` knows no window, no bitmap and no best price that it keeps: it sorts. `Continuity` is
what the venue's page says, sentence by sentence. Both are of one symbol; several have several.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from foreshock.market.rows import (
    BOOK,
    DEPTH,
    EPOCH,
    HELD,
    QUOTE,
    RESYNCING,
    SNAPSHOT,
    STALE,
    SYNCED,
    TRADE,
    Rows,
    levels_of,
)

Side = dict[int, int]
Level = tuple[int, int]


def apply(side: Side, levels: list[Level]) -> None:
    """Set sizes; a size of zero takes the level away."""
    for ticks, lots in levels:
        if lots:
            side[ticks] = lots
        else:
            side.pop(ticks, None)


def flow(side: str, old: Level | None, new: Level | None) -> int:
    """What one side's queue did (Cont, Kukanov, Stoikov 2014, eq. 4), in lots: a bid queue that
    grew or moved up counts for the buyers, an ask queue that grew or moved down against them."""
    if old is None or new is None:
        return 0
    (was, was_lots), (now, now_lots) = old, new
    if was == now:
        change = now_lots - was_lots
    elif (now > was) == (side == "bid"):
        change = now_lots  # a better price: a new queue in front of the old one
    else:
        change = -was_lots  # a worse price: the old queue is gone
    return change if side == "bid" else -change


@dataclass
class BookTwin:
    """One symbol's book from its rows."""

    state: int = RESYNCING
    epoch: int = 0
    bids: Side = field(default_factory=dict)
    asks: Side = field(default_factory=dict)
    depth_id: int = 0
    quote_id: int = 0
    touch: tuple[int, int, int, int] = (0, 0, 0, 0)
    top: tuple[list[Level], list[Level]] | None = (
        None  # as of the last book row; None: no reference
    )
    applied: int = 0
    crossed: bool = False

    def best(self, n: int = 5) -> tuple[list[Level], list[Level]]:
        """The n best levels of both sides, best first."""
        return sorted(self.bids.items(), reverse=True)[:n], sorted(self.asks.items())[:n]

    def step(self, rows: Rows, head: int) -> list[int]:
        """Advance by the header row at `head`; the touch record, ten integers."""
        row = rows[head]
        kind, ofi = int(row["kind"]), [0] * 5
        if kind == TRADE:
            self.applied += 1
        elif kind == QUOTE:
            self.applied += 1
            ofi[0] = self._quote(*(int(row[name]) for name in ("id", "a", "b", "c", "d")))
        elif kind == DEPTH:
            self.applied += 1
            if not int(row["flags"]) & HELD:
                self._levels(rows, head)
                ofi = self._moved(int(row["id"]))
        elif kind == SNAPSHOT:
            self._forget()
            self._levels(rows, head)
            self._moved(int(row["id"]))
        elif kind == EPOCH and int(row["c"]) == BOOK:
            self.state, self.epoch = int(row["a"]), int(row["b"])
            if self.state == RESYNCING:
                self._forget()
        bid, bid_lots, ask, ask_lots = self.touch
        if self.state == SYNCED and bid > 0 and ask > bid:
            return [1, bid, bid_lots, ask, ask_lots, *ofi]
        return [0, 0, 0, 0, 0, *ofi]

    def _forget(self) -> None:
        self.bids, self.asks = {}, {}
        self.depth_id = self.quote_id = 0
        self.touch, self.top, self.crossed = (0, 0, 0, 0), None, False

    def _levels(self, rows: Rows, head: int) -> None:
        for side, levels in zip((self.bids, self.asks), levels_of(rows, head), strict=True):
            apply(side, [(int(ticks), int(lots)) for ticks, lots in levels])

    def _quote(self, update_id: int, *touch: int) -> int:
        if self.state != SYNCED or update_id <= self.quote_id:
            return 0
        self.quote_id = update_id
        e = self._touch_flow(touch) if self.top is not None else 0
        self.touch = (touch[0], touch[1], touch[2], touch[3])
        return e

    def _touch_flow(self, new: tuple[int, ...]) -> int:
        old = self.touch
        sides = (("bid", old[0:2], new[0:2]), ("ask", old[2:4], new[2:4]))
        return sum(
            flow(side, (a[0], a[1]) if a[0] else None, (b[0], b[1]) if b[0] else None)
            for side, a, b in sides
        )

    def _moved(self, update_id: int) -> list[int]:
        """The ladder stands at `update_id` now: its order flow, and the touch if it is newer."""
        self.depth_id = update_id
        bids, asks = self.best()
        touch = (*(bids[0] if bids else (0, 0)), *(asks[0] if asks else (0, 0)))
        newer = self.depth_id >= self.quote_id
        ofi = [0] * 5
        if self.state == SYNCED and self.top is not None:
            for level in range(5):
                if level == 0:
                    ofi[0] = self._touch_flow(touch) if newer else 0
                    continue
                for side, old, new in zip(("bid", "ask"), self.top, (bids, asks), strict=True):
                    a = old[level] if level < len(old) else None
                    b = new[level] if level < len(new) else None
                    ofi[level] += flow(side, a, b)
        self.top = (bids, asks)
        if newer:
            self.quote_id, self.touch = self.depth_id, touch
        if bids and asks and bids[0][0] >= asks[0][0]:
            self.crossed = True
        return ofi


@dataclass
class Diff:
    """The ids of one depth diff; `previous` is -1 where the venue sends none."""

    first: int
    last: int
    previous: int = -1


@dataclass
class Continuity:
    """One symbol's book by the rules of the venue's page "How to manage a local order book"."""

    market: str
    state: int = RESYNCING
    epoch: int = 0
    known: int = 0  # the book stands at this update id
    joined: bool = False  # a diff has followed the snapshot
    held: list[Diff] = field(default_factory=list)

    def start(self) -> None:
        """A session began."""
        self.epoch += 1

    def distrust(self) -> None:
        """Whatever was known is not to be trusted."""
        self.state, self.epoch, self.held = RESYNCING, self.epoch + 1, []

    def _says_nothing_new(self, diff: Diff) -> bool:
        if self.market == "binance-usdm" and not self.joined:
            return diff.last < self.known  # "drop any event where u is < lastUpdateId"
        return diff.last <= self.known  # "drop any event where u is <= lastUpdateId"

    def _follows(self, diff: Diff) -> bool:
        if self.market == "binance-spot":
            if self.joined:
                return diff.first == self.known + 1  # "U should be equal to the previous u + 1"
            return diff.first <= self.known + 1 <= diff.last  # "U <= lastUpdateId+1 <= u"
        if self.joined:
            return diff.previous == self.known  # "pu should be equal to the previous event's u"
        reaches = diff.first <= self.known <= diff.last  # "U <= lastUpdateId and u >= lastUpdateId"
        return reaches or diff.previous == self.known  # nothing can lie between

    def diff(self, diff: Diff) -> str:
        """A diff arrived: "repeat", "held", "break" or "applied"."""
        if self.state == RESYNCING:
            self.held.append(diff)
            return "held"
        if self._says_nothing_new(diff):
            return "repeat"
        if not self._follows(diff):
            self.distrust()
            self.held = [diff]
            return "break"
        self.known, self.joined, self.state = diff.last, True, SYNCED
        return "applied"

    def snapshot(self, last_update_id: int) -> bool:
        """A snapshot arrived: whether the book is SYNCED now."""
        if self.state != RESYNCING:
            return False
        before = (self.known, self.joined)
        self.known, self.joined = last_update_id, False
        for position, diff in enumerate(self.held):
            if self._says_nothing_new(diff):
                continue
            if not self._follows(diff):
                self.known, self.joined = before
                self.held = self.held[position:]
                return False
            self.known, self.joined = diff.last, True
        self.state, self.held = SYNCED, []
        return True

    def silent(self) -> None:
        """No diff came for too long."""
        if self.state == SYNCED:
            self.state = STALE
