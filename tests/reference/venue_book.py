"""A book kept by the venue's written rule, with nothing but dicts: believable at sight."""

from __future__ import annotations

from decimal import Decimal
from typing import Any


class GapError(Exception):
    """A diff does not follow the one before."""


class VenueBook:
    """Diffs wait until a snapshot is there; then the join, then each diff must follow the last.

    Spot: drop u <= lastUpdateId; the first kept has U <= lastUpdateId + 1 <= u; then
    U = last u + 1.
    USD-M: drop u < lastUpdateId; the first kept has U <= lastUpdateId <= u, or, where the snapshot
    fell right behind a diff (ids of other symbols lie between), pu = lastUpdateId; then
    pu = last u.
    """

    def __init__(self, market: str) -> None:
        self.usdm = market == "binance-usdm"
        self.bids: dict[Decimal, Decimal] = {}
        self.asks: dict[Decimal, Decimal] = {}
        self.waiting: list[dict[str, Any]] = []
        self.snapshot_id: int | None = None
        self.last_id: int | None = None  # None: no diff joined yet

    def diff(self, frame: dict[str, Any]) -> None:
        if self.snapshot_id is None:
            self.waiting.append(frame)
            return
        if self.last_id is None:
            if frame["u"] < self.snapshot_id or (not self.usdm and frame["u"] == self.snapshot_id):
                return
            wanted = self.snapshot_id if self.usdm else self.snapshot_id + 1
            follows = self.usdm and frame["pu"] == self.snapshot_id
            if not follows and not frame["U"] <= wanted <= frame["u"]:
                raise GapError(f"{frame['U']}..{frame['u']} does not hold {wanted}")
        elif self.usdm and frame["pu"] != self.last_id:
            raise GapError(f"pu {frame['pu']} does not follow {self.last_id}")
        elif not self.usdm and frame["U"] != self.last_id + 1:
            raise GapError(f"U {frame['U']} does not follow {self.last_id}")
        self.last_id = frame["u"]
        self._set(self.bids, frame["b"])
        self._set(self.asks, frame["a"])

    def snapshot(self, body: dict[str, Any]) -> None:
        self.snapshot_id, self.last_id = body["lastUpdateId"], None
        self.bids.clear()
        self.asks.clear()
        self._set(self.bids, body["bids"])
        self._set(self.asks, body["asks"])
        waiting, self.waiting = self.waiting, []
        for frame in waiting:
            self.diff(frame)

    @staticmethod
    def _set(side: dict[Decimal, Decimal], levels: list[list[str]]) -> None:
        for price, size in levels:
            if Decimal(size) == 0:
                side.pop(Decimal(price), None)
            else:
                side[Decimal(price)] = Decimal(size)

    def levels(self) -> tuple[list[tuple[Decimal, Decimal]], list[tuple[Decimal, Decimal]]]:
        """(bids, asks), best first."""
        return sorted(self.bids.items(), reverse=True), sorted(self.asks.items())
