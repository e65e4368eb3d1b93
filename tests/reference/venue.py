"""A naive exchange for tests: dict books, Binance's frames by string formatting, and the truth at
every update id. Prices have two decimals, sizes three."""

from __future__ import annotations

import random

from foreshock.market.instruments import Instrument
from tests.reference.book import Side, apply


def price(ticks: int) -> str:
    """Ticks of 0.01 as the venue spells them."""
    return f"{ticks // 100}.{ticks % 100:02d}"


def size(lots: int) -> str:
    """Lots of 0.001."""
    return f"{lots // 1000}.{lots % 1000:03d}"


def spelled(levels: list[tuple[int, int]]) -> str:
    """Levels as JSON."""
    return "[" + ",".join(f'["{price(t)}","{size(q)}"]' for t, q in levels) + "]"


class Venue:
    """Books of some symbols. `truth[symbol][u]` is (bids, asks) as they were at update id u."""

    def __init__(self, market: str, symbols: list[str], seed: int, mid: int = 10_000) -> None:
        self.market, self.symbols = market, symbols
        self.random = random.Random(seed)
        self.mid = dict.fromkeys(symbols, mid)
        self.update_id = {s: 1_000 * (k + 1) for k, s in enumerate(symbols)}
        self.trade_id = dict.fromkeys(symbols, 500)
        self.bars = 0  # ms by which frames that have no id of their own follow each other
        self.bids: dict[str, Side] = {}
        self.asks: dict[str, Side] = {}
        self.truth: dict[str, dict[int, tuple[Side, Side]]] = {s: {} for s in symbols}
        for s in symbols:
            self.bids[s] = {mid - k: self.random.randint(1, 900) for k in range(1, 13)}
            self.asks[s] = {mid + k: self.random.randint(1, 900) for k in range(1, 13)}
            self._remember(s)

    def instruments(self) -> list[Instrument]:
        """In the order of the symbols."""
        return [Instrument.of(s, self.market, "0.01", "0.001") for s in self.symbols]

    def _remember(self, s: str) -> None:
        self.truth[s][self.update_id[s]] = (dict(self.bids[s]), dict(self.asks[s]))

    def _wrapped(self, s: str, stream: str, body: str) -> bytes:
        return f'{{"stream":"{s.lower()}@{stream}","data":{{{body}}}}}'.encode()

    def diff(self, s: str, at_ms: int = 1_700_000_000_000, step: int = 2) -> bytes:
        """The book moves on by one diff; `step` is how far the mid may go."""
        rng = self.random
        self.mid[s] += rng.randint(-step, step)
        mid = self.mid[s]
        bids = [(t, 0) for t in self.bids[s] if t >= mid]
        asks = [(t, 0) for t in self.asks[s] if t <= mid]
        bids += [(mid - 1, rng.randint(1, 900))]
        asks += [(mid + 1, rng.randint(1, 900))]
        for side, sign in ((bids, -1), (asks, 1)):
            for offset in rng.sample(range(2, 25), rng.randint(0, 6)):
                side.append((mid + sign * offset, rng.choice([0, rng.randint(1, 900)])))
        apply(self.bids[s], bids)
        apply(self.asks[s], asks)
        previous = self.update_id[s]
        self.update_id[s] += rng.randint(1, 5)
        self._remember(s)
        ids = f'"U":{previous + 1},"u":{self.update_id[s]}'
        if self.market == "binance-usdm":
            ids = f'"T":{at_ms - 1},{ids},"pu":{previous}'
        levels = f'"b":{spelled(bids)},"a":{spelled(asks)}'
        return self._wrapped(
            s, "depth@100ms", f'"e":"depthUpdate","E":{at_ms},"s":"{s}",{ids},{levels}'
        )

    def trade(self, s: str, at_ms: int = 1_700_000_000_000) -> bytes:
        """A trade at the touch."""
        self.trade_id[s] += 1
        sell = self.random.random() < 0.5
        at = price(max(self.bids[s]) if sell else min(self.asks[s]))
        lots = size(self.random.randint(1, 400))
        return self._wrapped(
            s,
            "trade",
            f'"e":"trade","E":{at_ms},"T":{at_ms},"s":"{s}","t":{self.trade_id[s]},"p":"{at}",'
            f'"q":"{lots}","m":{"true" if sell else "false"}',
        )

    def agg_trade(self, s: str, at_ms: int = 1_700_000_000_000) -> bytes:
        """The same as an aggregated trade."""
        self.trade_id[s] += 1
        return self._wrapped(
            s,
            "aggTrade",
            f'"e":"aggTrade","E":{at_ms},"s":"{s}","a":{self.trade_id[s]},"p":"{price(self.mid[s])}",'
            f'"q":"1.000","f":100,"l":{self.random.randint(100, 104)},"T":{at_ms},"m":true',
        )

    def quote(self, s: str) -> bytes:
        """The bookTicker of this instant."""
        bid, ask = max(self.bids[s]), min(self.asks[s])
        event = '"e":"bookTicker",' if self.market == "binance-usdm" else ""
        return self._wrapped(
            s,
            "bookTicker",
            f'{event}"u":{self.update_id[s]},"s":"{s}","b":"{price(bid)}",'
            f'"B":"{size(self.bids[s][bid])}","a":"{price(ask)}","A":"{size(self.asks[s][ask])}"',
        )

    def kline(self, s: str, at_ms: int = 1_700_000_000_000) -> bytes:
        """The bar of this minute, as far as it got; one in five has no trade in it."""
        rng, opened = self.random, at_ms // 60_000 * 60_000
        self.bars += 1
        fills = rng.choice([0, rng.randint(1, 90), 3, 5, 7])
        ids = (self.trade_id[s], self.trade_id[s] + fills - 1) if fills else (-1, -1)
        at, closed = price(self.mid[s]), "true" if rng.random() < 0.2 else "false"
        return self._wrapped(
            s,
            "kline_1m",
            f'"e":"kline","E":{at_ms + self.bars},"s":"{s}","k":{{"t":{opened},'
            f'"T":{opened + 59_999},"s":"{s}","i":"1m","f":{ids[0]},"L":{ids[1]},'
            f'"o":"{at}","c":"{at}","h":"{at}",'
            f'"l":"{at}","v":"{size(rng.randint(0, 10**7))}","n":{fills},"x":{closed},'
            f'"q":"{rng.randint(0, 10**9)}.{rng.randint(0, 10**8):08d}","V":"0.000",'
            f'"Q":"{rng.random():.8f}","B":"0"}}',
        )

    def mark(self, s: str, at_ms: int = 1_700_000_000_000) -> bytes:
        """The mark price of this second."""
        self.bars += 1
        at, rate = self.mid[s] / 100 + self.random.random(), self.random.gauss(0, 1e-4)
        return self._wrapped(
            s,
            "markPrice@1s",
            f'"e":"markPriceUpdate","E":{at_ms + self.bars},"s":"{s}","p":"{at:.8f}",'
            f'"P":"{at:.8f}","i":"{at + 0.01:.8f}","r":"{rate:.8f}","T":{at_ms + 3_600_000}',
        )

    def liquidation(self, s: str, at_ms: int = 1_700_000_000_000) -> bytes:
        """Somebody's position, closed by force."""
        self.bars += 1
        at, lots = price(self.mid[s]), size(self.random.randint(1, 9_000))
        side = self.random.choice(["SELL", "BUY"])
        return self._wrapped(
            s,
            "forceOrder",
            f'"e":"forceOrder","E":{at_ms},"o":{{"s":"{s}","S":"{side}","o":"LIMIT","f":"IOC",'
            f'"q":"{lots}","p":"{at}","ap":"{at}1","X":"FILLED","l":"{lots}","z":"{lots}",'
            f'"T":{at_ms + self.bars}}}',
        )

    def snapshot(self, s: str, update_id: int | None = None) -> bytes:
        """The REST depth answer, now or as it was at an earlier update id."""
        update_id = self.update_id[s] if update_id is None else update_id
        bids, asks = self.truth[s][update_id]
        return (
            f'{{"lastUpdateId":{update_id},"bids":{spelled(sorted(bids.items(), reverse=True))},'
            f'"asks":{spelled(sorted(asks.items()))}}}'
        ).encode()
