"""What follows from a market at each whole second: bars, mark and index price, liquidations, and
what REST tells of open interest, ratios and funding.

None of it is fed back: a function of the trades and mids of the market, of the seed and of the
second. The market is the same whether it is asked for or not.
"""

from __future__ import annotations

import math
import zlib
from collections import deque
from typing import Final, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from foreshock.market.clock import MS_NS, SECOND_NS
from foreshock.market.instruments import USDM
from foreshock.simulation import state
from foreshock.simulation.bars import MINUTE_NS, Bar
from foreshock.simulation.past import past_bars
from foreshock.simulation.settings import DERIVED, SimulationSettings

STREAM_OF: Final = {"kline_1m": "kline_1m", "markPrice": "markPrice@1s", "forceOrder": "forceOrder"}
BARS_KEPT: Final = 1500
_LOOK_BACK_S: Final = 60
_CALM_RATE, _RATE_PER_BPS = 0.002, 0.004  # liquidations a second, and more for each bps a minute


class Second(NamedTuple):
    """One frame that a whole second brings. `stream` indexes `settings.DERIVED`."""

    symbol: int
    stream: int
    body: bytes


def hashed(seed: int, s: int, moment: int, lane: int) -> float:
    """A number in [0, 1) of a seed, a symbol, a moment and a lane, and of nothing else."""
    mask = (1 << 64) - 1
    x = (seed * 0x9E3779B97F4A7C15 + s * 0xBF58476D1CE4E5B9 + moment * 0x94D049BB133111EB) & mask
    x = (x + lane * 0xD6E8FEB86659FD93) & mask
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & mask
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & mask
    return ((x ^ (x >> 31)) >> 11) / (1 << 53)


class Derived:
    """See the top. `second` must be called at each whole second, in order."""

    def __init__(self, settings: SimulationSettings, market: state.Market) -> None:
        n = len(settings.symbols)
        self.settings, self._market = settings, market
        self.wanted = tuple(name in settings.streams for name in DERIVED)
        self._seeds = [zlib.crc32(name.encode()) for name in settings.symbols]
        self._seen = np.zeros(n, np.int64)
        self._mids = np.zeros((n, _LOOK_BACK_S + 1))
        self._filled = 0
        self.bars: list[deque[Bar]] = [deque(maxlen=BARS_KEPT) for _ in range(n)]
        self._past: dict[int, list[Bar]] = {}
        self.liquidations = np.zeros(n, np.int64)  # all that happened; the stream tells a sample

    # What REST asks too

    def mid(self, s: int) -> float:
        """In quote currency."""
        whole, ladder = self._market.book.whole, self._market.book.ladder
        bids, asks = int(whole[s, state.LEVELS]), int(whole[s, state.LEVELS + 1])
        ticks = (ladder[s, state.KEYS, bids - 1] - ladder[s, state.KEYS + 1, asks - 1]) / 2
        units, decimals = whole[s, state.PRICE_UNITS], int(whole[s, state.PRICE_DECIMALS])
        return float(ticks * units) / float(10**decimals)

    def premium_bps(self, s: int, at_ns: int) -> float:
        """How far the mark price is from the index: a slow wave and a little noise."""
        seed, symbol = self.settings.seed, self._seeds[s]
        wave = math.sin(2 * math.pi * (at_ns / (1800 * SECOND_NS) + hashed(seed, symbol, 0, 1)))
        noise = hashed(seed, symbol, at_ns // (10 * SECOND_NS), 2) - 0.5
        return 2.0 * wave + noise

    def funding(self, s: int, settled_ns: int) -> float:
        """The rate that is settled at that moment: 1 bp and what the premium then asks for, at most
        30 bps either way."""
        return max(-0.003, min(0.003, 1e-4 + 1e-4 * self.premium_bps(s, settled_ns)))

    def next_funding_ns(self, now_ns: int) -> int:
        """The next settlement behind `now_ns`."""
        every_ns = self.settings.funding_interval_s * SECOND_NS
        return (now_ns // every_ns + 1) * every_ns

    def open_interest(self, s: int, at_ns: int) -> float:
        """Contracts that are open, in base currency; changes by the minute."""
        seed, symbol, minute = self.settings.seed, self._seeds[s], at_ns // MINUTE_NS
        wave = math.sin(2 * math.pi * (minute / 240 + hashed(seed, symbol, 0, 3)))
        level = 2e7 * (0.5 + hashed(seed, symbol, 0, 4)) / self.mid_at_start(s)
        return level * math.exp(0.15 * wave + 0.02 * hashed(seed, symbol, minute, 5))

    def mid_at_start(self, s: int) -> float:
        """In quote currency."""
        whole = self._market.book.whole
        scale = float(whole[s, state.PRICE_UNITS]) / float(
            10 ** int(whole[s, state.PRICE_DECIMALS])
        )
        return float(self._market.real[s, state.MID_TICKS]) * scale

    def ratio(self, s: int, at_ns: int, lane: int) -> float:
        """A long/short ratio around one; changes every five minutes."""
        five = at_ns // (5 * MINUTE_NS)
        return math.exp(0.6 * (hashed(self.settings.seed, self._seeds[s], five, lane + 8) - 0.5))

    def past(self, s: int) -> list[Bar]:
        """The bars of before the exchange began (past.py)."""
        if s not in self._past:
            ticks = float(self._market.real[s, state.MID_TICKS])
            whole = self._market.book.whole[s]
            lot = float(whole[state.LOT_UNITS]) / 10.0 ** int(whole[state.LOT_DECIMALS])
            self._past[s] = past_bars(self.settings, s, ticks, lot * self.mid_at_start(s))
        return self._past[s]

    def decimal(self, s: int, value: int, column: int) -> str:
        """Ticks (column PRICE_UNITS) or lots (LOT_UNITS) as the venue writes them."""
        units, decimals, pad = self._market.book.whole[s, column : column + 3].tolist()
        return written(value * units, decimals, pad)

    # The seconds

    def second(self, now_ns: int, trading: NDArray[np.bool_]) -> list[Second]:
        """The frames of the second that ends at `now_ns`, symbol by symbol."""
        out: list[Second] = []
        mids = np.array([self.mid(s) for s in range(len(trading))])
        self._mids = np.roll(self._mids, -1, axis=1)
        self._mids[:, -1] = mids
        self._filled += 1
        for s, symbol in enumerate(self.settings.symbols):
            closed, changed = self._bar(s, now_ns)
            if not trading[s]:
                continue
            if self.wanted[0]:
                for bar, over in ((closed, True), (changed, False)):
                    if bar is not None:
                        out.append(Second(s, 0, self._kline(s, symbol, bar, now_ns, over)))
            if self.settings.market == USDM:
                if self.wanted[1]:
                    out.append(Second(s, 1, self._mark(s, symbol, float(mids[s]), now_ns)))
                told = self._liquidated(s, symbol, now_ns)
                if told is not None and self.wanted[2]:
                    out.append(Second(s, 2, told))
        return out

    def _bar(self, s: int, now_ns: int) -> tuple[Bar | None, Bar | None]:
        """(the bar that this second closed, the one that its trades changed)."""
        count = int(self._market.book.whole[s, state.RING_COUNT])
        new = self._market.ring[s, np.arange(self._seen[s], count) % state.RING]
        self._seen[s] = count
        bars, changed = self.bars[s], None
        for _, trade, event_ns, price, lots, seller in new.tolist():
            open_ns = event_ns // MINUTE_NS * MINUTE_NS
            if not bars or bars[-1].open_ns < open_ns:
                bars.append(Bar(open_ns, price))
            bars[-1].add(trade, price, lots, seller)
            changed = bars[-1]
        closed = None
        if now_ns % MINUTE_NS == 0 and bars:
            if bars[-1].open_ns < now_ns - MINUTE_NS:  # a minute without a trade
                bars.append(Bar(now_ns - MINUTE_NS, bars[-1].close))
            closed, changed = bars[-1], None
        return closed, changed

    def bar_fields(self, s: int, bar: Bar) -> list[str]:
        """Open, high, low, close, volume, turnover, taker volume, taker turnover, as texts."""
        whole = self._market.book.whole
        price = [self.decimal(s, v, state.PRICE_UNITS) for v in
                 (bar.open, bar.high, bar.low, bar.close)]  # fmt: skip
        units = int(whole[s, state.PRICE_UNITS] * whole[s, state.LOT_UNITS])
        decimals = int(whole[s, state.PRICE_DECIMALS] + whole[s, state.LOT_DECIMALS])
        turnover, taker = (
            written(v * units, decimals, 0) for v in (bar.turnover, bar.taker_turnover)
        )
        lots = [self.decimal(s, v, state.LOT_UNITS) for v in (bar.lots, bar.taker)]
        return [*price, lots[0], turnover, lots[1], taker]

    def _kline(self, s: int, symbol: str, bar: Bar, now_ns: int, closed: bool) -> bytes:
        o, h, low, c, v, q, taker, taker_q = self.bar_fields(s, bar)
        open_ms = bar.open_ns // MS_NS
        return orjson.dumps(
            {"e": "kline", "E": now_ns // MS_NS, "s": symbol,
             "k": {"t": open_ms, "T": open_ms + 59_999, "s": symbol, "i": "1m", "f": bar.first,
                   "L": bar.last, "o": o, "c": c, "h": h, "l": low, "v": v, "n": bar.n,
                   "x": closed, "q": q, "V": taker, "Q": taker_q, "B": "0"}}
        )  # fmt: skip

    def _mark(self, s: int, symbol: str, mid: float, now_ns: int) -> bytes:
        settled_ns = self.next_funding_ns(now_ns)
        mark = mid * (1 + 1e-4 * self.premium_bps(s, now_ns))
        return orjson.dumps(
            {"e": "markPriceUpdate", "E": now_ns // MS_NS, "s": symbol, "p": f"{mark:.8f}",
             "P": f"{mark:.8f}", "i": f"{mid:.8f}", "r": f"{self.funding(s, settled_ns):.8f}",
             "T": settled_ns // MS_NS}
        )  # fmt: skip

    def _liquidated(self, s: int, symbol: str, now_ns: int) -> bytes | None:
        """The latest liquidation of this second, if any: more of them the faster the price moves,
        of those who stand against the move."""
        back = min(self._filled, _LOOK_BACK_S + 1)
        moved_bps = 1e4 * math.log(self._mids[s, -1] / self._mids[s, -back])
        rate = _CALM_RATE + _RATE_PER_BPS * abs(moved_bps)
        seed, second = self._seeds[s], now_ns // SECOND_NS
        dice = hashed(self.settings.seed, seed, second, 6)
        n, left = 0, dice
        while n < 20 and left < 1 - math.exp(-rate):
            n += 1
            left /= 1 - math.exp(-rate)
            rate /= 2
        if n == 0:
            return None
        self.liquidations[s] += n
        size = hashed(self.settings.seed, seed, second, 7)
        lots = 1 + int(self._market.real[s, state.TRADE_LOTS] * 4 * size)
        whole, ladder = self._market.book.whole, self._market.book.ladder
        side = 0 if moved_bps <= 0 else 1  # longs are sold into the bids, shorts bought
        key = int(ladder[s, state.KEYS + side, int(whole[s, state.LEVELS + side]) - 1])
        price = self.decimal(s, abs(key), state.PRICE_UNITS)
        quantity = self.decimal(s, lots, state.LOT_UNITS)
        return orjson.dumps(
            {"e": "forceOrder", "E": now_ns // MS_NS,
             "o": {"s": symbol, "S": "BUY" if side else "SELL", "o": "LIMIT", "f": "IOC",
                   "q": quantity, "p": price, "ap": price, "X": "FILLED", "l": quantity,
                   "z": quantity, "T": now_ns // MS_NS - 1}}
        )  # fmt: skip


def written(units: int, decimals: int, pad: int) -> str:
    """units · 10^-decimals with all its decimals and `pad` zeros more."""
    whole, rest = divmod(units, 10**decimals)
    point = "." if decimals + pad else ""
    return f"{whole}{point}{f'{rest:0{decimals}d}' if decimals else ''}{'0' * pad}"
