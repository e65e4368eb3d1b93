"""The mix that decoders are measured on: seeded Binance frames, one depth diff (20 + 20 levels) to
four trades, so many symbols in turn, with snapshots that the first diffs join.

The book moves as one does: the touch wanders, levels that it crosses are deleted in the same diff,
and the diffs are continuous, so that a contestant that checks its ids finds nothing to complain of.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from foreshock.market.clock import SECOND_NS
from foreshock.market.instruments import Instrument

START_NS = 1_700_000_000 * SECOND_NS
SIDE = 20  # levels of a diff, a side
TRADES = 4  # trades a diff
DEPTH_PERIOD_NS = SECOND_NS // 10
REACH = 60  # ticks from the touch within which levels change


class Mix(NamedTuple):
    """frames[k] arrived at arrival_ns[k]. snapshots[s] belongs to instruments[s] and goes to
    whoever keeps a book once `warmup` frames have come. touch[s] are its best prices at the end."""

    instruments: list[Instrument]
    frames: list[bytes]
    arrival_ns: np.ndarray
    snapshots: list[bytes]
    warmup: int
    touch: list[tuple[float, float]]


def _price(ticks: int) -> str:
    return f"{ticks // 100}.{ticks % 100:02d}"


def _size(lots: int) -> str:
    return f"{lots // 1000}.{lots % 1000:03d}"


def _text(levels: dict[int, int], pad: str) -> str:
    zeros = "00000" if pad else ""
    return ",".join(f'["{_price(t)}{pad}","{_size(q)}{zeros}"]' for t, q in levels.items())


class _Book:
    """One symbol's true book, which writes its own frames."""

    def __init__(
        self, symbol: str, mid: int, rng: np.random.Generator, tape: str, pad: str
    ) -> None:
        self.symbol, self.rng = symbol, rng
        self.tape, self.pad = tape, pad
        self.mid = mid
        self.update_id, self.trade_id = 1_000, 5_000
        self.bids = {mid - k: int(q) for k, q in enumerate(rng.integers(1, 10**5, 1000), 1)}
        self.asks = {mid + k: int(q) for k, q in enumerate(rng.integers(1, 10**5, 1000), 1)}

    def snapshot(self) -> bytes:
        """The REST depth answer, 1000 levels a side."""
        bids = dict(sorted(self.bids.items(), reverse=True)[:1000])
        asks = dict(sorted(self.asks.items())[:1000])
        return (
            f'{{"lastUpdateId":{self.update_id},"bids":[{_text(bids, self.pad)}],"asks":'
            f"[{_text(asks, self.pad)}]}}"
        ).encode()

    def _side(self, book: dict[int, int], sign: int) -> dict[int, int]:
        """A diff of one side: what the mid has crossed goes, the touch is set, others change."""
        changes = {t: 0 for t in book if (t - self.mid) * sign <= 0}
        touch = self.mid + sign
        for offset in [0, *self.rng.permutation(np.arange(1, REACH)).tolist()]:
            if len(changes) >= SIDE:
                break
            empty = offset > 0 and self.rng.random() < 0.2
            changes[touch + sign * offset] = 0 if empty else int(self.rng.integers(1, 10**5))
        for t, q in changes.items():
            if q:
                book[t] = q
            else:
                book.pop(t, None)
        return changes

    def diff(self, at_ms: int) -> bytes:
        """The next depth diff."""
        self.mid += int(self.rng.integers(-3, 4))
        bids, asks = self._side(self.bids, -1), self._side(self.asks, 1)
        first, previous = self.update_id + 1, self.update_id
        self.update_id += int(self.rng.integers(20, 200))
        name = self.symbol.lower()
        return (
            f'{{"stream":"{name}@depth@100ms","data":'
            f'{{"e":"depthUpdate","E":{at_ms},"T":{at_ms - 1},"s":"{self.symbol}",'
            f'"U":{first},"u":{self.update_id},"pu":{previous},'
            f'"b":[{_text(bids, self.pad)}],"a":[{_text(asks, self.pad)}]}}}}'
        ).encode()

    def trade(self, at_ms: int) -> bytes:
        """The next trade."""
        self.trade_id += 1
        sell = bool(self.rng.random() < 0.5)
        price = self.mid - 1 if sell else self.mid + 1
        lots = _size(int(self.rng.integers(1, 5000)))
        if self.tape == "aggTrade":
            return (
                f'{{"stream":"{self.symbol.lower()}@aggTrade","data":{{"e":"aggTrade",'
                f'"E":{at_ms},"s":"{self.symbol}","a":{self.trade_id},"p":"{_price(price)}",'
                f'"q":"{lots}","f":{self.trade_id},"l":{self.trade_id},"T":{at_ms - 1},'
                f'"m":{str(sell).lower()}}}}}'
            ).encode()
        return (
            f'{{"stream":"{self.symbol.lower()}@trade","data":{{"e":"trade","E":{at_ms},'
            f'"T":{at_ms - 1},"s":"{self.symbol}","t":{self.trade_id},"p":"{_price(price)}",'
            f'"q":"{lots}","X":"MARKET","m":{str(sell).lower()}}}}}'
        ).encode()


def make(
    symbols: int, seconds: int, seed: int = 7, tape: str = "trade", eight_places: bool = False
) -> Mix:
    """`seconds` of the mix: symbols · 10 · (1 + TRADES) frames a second.

    tape           "trade" or "aggTrade": the same trades, as whichever stream a reader understands
    eight_places   levels spelled with eight decimals, as spot spells them
    """
    rng = np.random.default_rng(seed)
    names = [f"M{k:02d}USDT" for k in range(symbols)]
    instruments = [Instrument.of(name, "binance-usdm", "0.01", "0.001") for name in names]
    pad = "000000" if eight_places else ""
    books = [_Book(n, int(rng.integers(20_000, 5_000_000)), rng, tape, pad) for n in names]
    frames: list[bytes] = []
    stamps: list[int] = []
    gap_ns = DEPTH_PERIOD_NS // (symbols * (1 + TRADES))
    now = START_NS
    snapshots: list[bytes] = []
    for turn in range(10 * seconds + 1):
        if turn == 1:  # every symbol has said something: now a snapshot can be joined
            snapshots = [book.snapshot() for book in books]
        for book in books:
            for k in range(1 + TRADES):
                at_ms = now // 1_000_000
                frames.append(book.trade(at_ms) if k else book.diff(at_ms))
                stamps.append(now)
                now += gap_ns
    touch = [(max(book.bids) / 100, min(book.asks) / 100) for book in books]
    at_ns = np.array(stamps, np.int64)
    return Mix(instruments, frames, at_ns, snapshots, symbols * (1 + TRADES), touch)
