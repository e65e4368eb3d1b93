"""Minute bars in the making."""

from __future__ import annotations

from typing import Final

from foreshock.market.clock import SECOND_NS

MINUTE_NS: Final = 60 * SECOND_NS


class Bar:
    """A one-minute bar in the making: prices in ticks, sizes in lots."""

    __slots__ = (
        "close",
        "first",
        "high",
        "last",
        "lots",
        "low",
        "n",
        "open",
        "open_ns",
        "taker",
        "taker_turnover",
        "turnover",
    )  # fmt: skip

    def __init__(self, open_ns: int, price: int) -> None:
        self.open_ns = open_ns
        self.open = self.high = self.low = self.close = price
        self.lots = self.turnover = self.taker = self.taker_turnover = self.n = 0
        self.first = self.last = -1

    def add(self, trade_id: int, price: int, lots: int, seller: int) -> None:
        if self.n == 0:
            self.open = self.high = self.low = price
            self.first = trade_id
        self.high, self.low = max(self.high, price), min(self.low, price)
        self.close, self.last = price, trade_id
        self.n += 1
        self.lots += lots
        self.turnover += price * lots
        if not seller:
            self.taker += lots
            self.taker_turnover += price * lots
