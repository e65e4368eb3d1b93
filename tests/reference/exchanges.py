"""Little exchanges that know the truth, one a venue: they speak its frames by string formatting and
json, and keep books in dicts. Prices have ticks of 0.01, sizes lots of 0.001 base currency.

`EXCHANGES` says which exchange stands for which market.
"""

from __future__ import annotations

import json
import random
import zlib
from fractions import Fraction
from typing import Any

import numpy as np

from foreshock.market.instruments import Instrument
from foreshock.market.rows import Rows
from tests.reference.book import Side, apply
from tests.reference.venue import Venue, price, size

START_MS = 1_700_000_000_000
Levels = list[tuple[int, int]]


class SocketExchange:
    """Books that random orders move; snapshots come over the socket."""

    market = ""
    first_id = 1_000
    consecutive = False  # ids count up by one

    def __init__(self, symbols: list[str], seed: int) -> None:
        self.symbols, self.random = symbols, random.Random(seed)
        self.at_ms = START_MS
        self.mid = dict.fromkeys(symbols, 10_000)
        self.update_id = {s: self.first_id * (k + 1) for k, s in enumerate(symbols)}
        self.trades = 0
        self.bids: dict[str, Side] = {}
        self.asks: dict[str, Side] = {}
        self.truth: dict[str, dict[int, tuple[Side, Side]]] = {s: {} for s in symbols}
        for s in symbols:
            self.bids[s] = {9_999 - k: self.random.randint(1, 900) for k in range(12)}
            self.asks[s] = {10_001 + k: self.random.randint(1, 900) for k in range(12)}
            self._remember(s)

    def instruments(self) -> list[Instrument]:
        """In the order of the symbols."""
        return [Instrument(s, self.market, 2, 1, 3, 1) for s in self.symbols]

    def _remember(self, s: str) -> None:
        self.truth[s][self.update_id[s]] = (dict(self.bids[s]), dict(self.asks[s]))

    def _now(self) -> int:
        self.at_ms += 1
        return self.at_ms

    def diff(self, s: str) -> bytes:
        """The book moves on."""
        rng = self.random
        self.mid[s] += rng.randint(-2, 2)
        mid = self.mid[s]
        bids = [(t, 0) for t in self.bids[s] if t >= mid] + [(mid - 1, rng.randint(1, 900))]
        asks = [(t, 0) for t in self.asks[s] if t <= mid] + [(mid + 1, rng.randint(1, 900))]
        for side, sign in ((bids, -1), (asks, 1)):
            for offset in rng.sample(range(2, 25), rng.randint(0, 6)):
                side.append((mid + sign * offset, rng.choice([0, rng.randint(1, 900)])))
        apply(self.bids[s], bids)
        apply(self.asks[s], asks)
        previous = self.update_id[s]
        self.update_id[s] += 1 if self.consecutive else rng.randint(1, 5)
        self._remember(s)
        return self.spell_diff(s, previous, self.update_id[s], bids, asks)

    def snapshot(self, s: str) -> bytes:
        """The whole book, now."""
        bids = sorted(self.bids[s].items(), reverse=True)
        return self.spell_snapshot(s, self.update_id[s], bids, sorted(self.asks[s].items()))

    def bring(self, session: Any, s: str, now_ns: int) -> Rows:
        """A snapshot, the way of this venue."""
        return session.receive([self.snapshot(s)], np.array([now_ns]))

    def spell_diff(self, s: str, previous: int, last: int, bids: Levels, asks: Levels) -> bytes:
        raise NotImplementedError

    def spell_snapshot(self, s: str, last: int, bids: Levels, asks: Levels) -> bytes:
        raise NotImplementedError

    def trade(self, s: str) -> bytes:
        raise NotImplementedError

    def each(self, s: str) -> dict[str, bytes]:
        """A frame of each stream of this symbol, and of the market, by the stream's name."""
        raise NotImplementedError

    def listing(self, tick: str = "0.01", halted: str = "", missing: str = "") -> bytes:
        """The venue's list; the first symbol's tick may be another."""
        raise NotImplementedError

    def time(self) -> bytes:
        """The venue's clock."""
        raise NotImplementedError

    @staticmethod
    def book_of(frame: bytes) -> tuple[str, bool, int, list[Any], list[Any]] | None:
        """(symbol, snapshot, id, bids, asks) of a frame that is of a book, levels as Fractions;
        else None."""
        raise NotImplementedError


def _exact(levels: list[list[str]]) -> list[tuple[Fraction, Fraction]]:
    return [(Fraction(one[0]), Fraction(one[1])) for one in levels]


def _spell(levels: Levels) -> list[list[str]]:
    return [[price(t), size(q)] for t, q in levels]


def _bytes(message: Any) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode()


class BybitExchange(SocketExchange):
    market = "bybit-linear"
    consecutive = True

    def _book(self, kind: str, s: str, last: int, bids: Levels, asks: Levels) -> bytes:
        at = self._now()
        data = {"s": s, "b": _spell(bids), "a": _spell(asks), "u": last, "seq": last + 7}
        return _bytes(
            {"topic": f"orderbook.200.{s}", "type": kind, "ts": at + 3, "data": data, "cts": at}
        )

    def spell_diff(self, s: str, previous: int, last: int, bids: Levels, asks: Levels) -> bytes:
        return self._book("delta", s, last, bids, asks)

    def spell_snapshot(self, s: str, last: int, bids: Levels, asks: Levels) -> bytes:
        return self._book("snapshot", s, last, bids, asks)

    def trade(self, s: str) -> bytes:
        self.trades += 1
        at, rng = self._now(), self.random
        one = {
            "T": at, "s": s, "S": rng.choice(["Buy", "Sell"]), "v": size(rng.randint(1, 400)),
            "p": price(self.mid[s]), "L": "PlusTick", "i": f"{self.trades:08x}-aaaa-bbbb",
            "BT": False, "seq": self.trades,
        }  # fmt: skip
        return _bytes({"topic": f"publicTrade.{s}", "type": "snapshot", "ts": at, "data": [one]})

    def ticker(self, s: str, kind: str, **data: str) -> bytes:
        return _bytes(
            {"topic": f"tickers.{s}", "type": kind, "data": {"symbol": s, **data}, "cs": 1,
             "ts": self._now()}
        )  # fmt: skip

    def each(self, s: str) -> dict[str, bytes]:
        at = self._now()
        bar = {
            "start": at // 60_000 * 60_000, "end": at, "interval": "1", "open": "100.00",
            "close": "100.01", "high": "100.02", "low": "99.99", "volume": "1.234",
            "turnover": "123.4567", "confirm": False, "timestamp": at,
        }  # fmt: skip
        gone = {"T": at, "s": s, "S": "Buy", "v": "0.5", "p": "99.90"}
        return {
            f"orderbook.200.{s}": self.diff(s),
            f"publicTrade.{s}": self.trade(s),
            f"kline.1.{s}": _bytes(
                {"topic": f"kline.1.{s}", "data": [bar], "ts": at, "type": "snapshot"}
            ),
            f"tickers.{s}": self.ticker(
                s, "snapshot", markPrice="100.005", indexPrice="100.004", fundingRate="-0.0001",
                nextFundingTime=str(at + 3_600_000), openInterest="77.5",
            ),
            f"allLiquidation.{s}": _bytes(
                {"topic": f"allLiquidation.{s}", "type": "snapshot", "ts": at, "data": [gone]}
            ),
        }  # fmt: skip

    def listing(self, tick: str = "0.01", halted: str = "", missing: str = "") -> bytes:
        listed = [
            {
                "symbol": s, "contractType": "LinearPerpetual",
                "status": "PreLaunch" if s == halted else "Trading",
                "priceFilter": {"tickSize": tick if k == 0 else "0.01"},
                "lotSizeFilter": {"qtyStep": "0.001"},
            }
            for k, s in enumerate(self.symbols) if s != missing
        ]  # fmt: skip
        listed.append({"symbol": "BTC-25DEC26", "contractType": "LinearFutures"})
        return _bytes({"retCode": 0, "retMsg": "OK", "result": {"list": listed}})

    def time(self) -> bytes:
        return _bytes({"retCode": 0, "result": {"timeNano": str(self.at_ms * 1_000_000)}})

    @staticmethod
    def book_of(frame: bytes) -> tuple[str, bool, int, list[Any], list[Any]] | None:
        said = json.loads(frame)
        if not str(said.get("topic")).startswith("orderbook."):
            return None
        data = said["data"]
        whole = said["type"] == "snapshot"
        return data["s"], whole, int(data["u"]), _exact(data["b"]), _exact(data["a"])


class OkxExchange(SocketExchange):
    """`checked`: frames carry a checksum, as they did for years; else 0, as of 2026."""

    market = "okx-swap"
    checked = True

    @staticmethod
    def name(s: str) -> str:
        return f"{s[:-4]}-USDT-SWAP"

    @staticmethod
    def contracts(lots: int) -> str:
        """A contract is 0.01 base currency and trades in tenths."""
        return f"{lots // 10}.{lots % 10}" if lots % 10 else str(lots // 10)

    def _levels(self, levels: Levels) -> list[list[str]]:
        return [[price(t), self.contracts(q), "0", "3"] for t, q in levels]

    def crc(self, s: str) -> int:
        if not self.checked:
            return 0
        bids = self._levels(sorted(self.bids[s].items(), reverse=True)[:25])
        asks = self._levels(sorted(self.asks[s].items())[:25])
        parts = []
        for k in range(25):
            for side in (bids, asks):
                parts += side[k][:2] if k < len(side) else []
        crc = zlib.crc32(":".join(parts).encode())
        return crc - (1 << 32) if crc >> 31 else crc

    def _push(self, channel: str, s: str, one: dict[str, Any], **more: str) -> bytes:
        return _bytes({"arg": {"channel": channel, "instId": self.name(s)}, **more, "data": [one]})

    def _book(
        self, action: str, s: str, previous: int, last: int, bids: Levels, asks: Levels
    ) -> bytes:
        one = {
            "asks": self._levels(asks), "bids": self._levels(bids), "ts": str(self._now()),
            "checksum": self.crc(s), "prevSeqId": previous, "seqId": last,
        }  # fmt: skip
        return self._push("books", s, one, action=action)

    def spell_diff(self, s: str, previous: int, last: int, bids: Levels, asks: Levels) -> bytes:
        return self._book("update", s, previous, last, bids, asks)

    def spell_snapshot(self, s: str, last: int, bids: Levels, asks: Levels) -> bytes:
        return self._book("snapshot", s, -1, last, bids, asks)

    def unchanged(self, s: str) -> bytes:
        """What is sent when nothing changed for long."""
        return self._book("update", s, self.update_id[s], self.update_id[s], [], [])

    def trade(self, s: str) -> bytes:
        self.trades += 1
        rng = self.random
        one = {
            "instId": self.name(s), "tradeId": str(self.trades), "px": price(self.mid[s]),
            "sz": self.contracts(rng.randint(1, 400)), "side": rng.choice(["buy", "sell"]),
            "ts": str(self._now()), "count": "3",
        }  # fmt: skip
        return self._push("trades", s, one)

    def each(self, s: str) -> dict[str, bytes]:
        at, name = str(self._now()), self.name(s)
        gone = {"side": "sell", "posSide": "long", "bkPx": "99.90", "sz": "1.5", "ts": at}
        listed = json.loads(self.listing())["data"]
        return {
            f"books:{name}": self.diff(s),
            f"trades:{name}": self.trade(s),
            f"mark-price:{name}": self._push(
                "mark-price", s, {"instId": name, "markPx": "100.005", "ts": at}
            ),
            f"funding-rate:{name}": self._push(
                "funding-rate", s,
                {"fundingRate": "-0.0001", "fundingTime": str(int(at) + 3_600_000), "ts": at},
            ),
            f"open-interest:{name}": self._push(
                "open-interest", s, {"oi": "7750", "oiCcy": "77.5", "ts": at}
            ),
            "liquidation-orders:SWAP": _bytes(
                {
                    "arg": {"channel": "liquidation-orders", "instType": "SWAP"},
                    "data": [{"instId": name, "details": [gone]}],
                }
            ),
            "instruments:SWAP": _bytes(
                {"arg": {"channel": "instruments", "instType": "SWAP"}, "data": listed}
            ),
        }  # fmt: skip

    def listing(self, tick: str = "0.01", halted: str = "", missing: str = "") -> bytes:
        listed = [
            {
                "instId": self.name(s), "instType": "SWAP", "ctType": "linear", "ctVal": "0.01",
                "ctMult": "1", "lotSz": "0.1", "tickSz": tick if k == 0 else "0.01",
                "state": "suspend" if s == halted else "live",
            }
            for k, s in enumerate(self.symbols) if s != missing
        ]  # fmt: skip
        listed.append({"instId": "BTC-USD-SWAP", "instType": "SWAP", "ctType": "inverse"})
        return _bytes({"code": "0", "msg": "", "data": listed})

    def time(self) -> bytes:
        return _bytes({"code": "0", "data": [{"ts": str(self.at_ms)}]})

    @staticmethod
    def book_of(frame: bytes) -> tuple[str, bool, int, list[Any], list[Any]] | None:
        said = json.loads(frame)
        if said.get("arg", {}).get("channel") != "books":
            return None
        (one,) = said["data"]
        symbol = said["arg"]["instId"].replace("-SWAP", "").replace("-", "")
        sides = [
            [(p, q / 100) for p, q in _exact(one[side])] for side in ("bids", "asks")
        ]  # fmt: skip
        return symbol, said["action"] == "snapshot", int(one["seqId"]), sides[0], sides[1]


class TemplateExchange(SocketExchange):
    market = "template"

    def spell_diff(self, s: str, previous: int, last: int, bids: Levels, asks: Levels) -> bytes:
        return _bytes(
            {"ch": f"book:{s}", "kind": "diff", "prev": previous, "id": last, "at": self._now(),
             "bids": _spell(bids), "asks": _spell(asks)}
        )  # fmt: skip

    def spell_snapshot(self, s: str, last: int, bids: Levels, asks: Levels) -> bytes:
        return _bytes(
            {"ch": f"book:{s}", "kind": "snapshot", "id": last, "at": self._now(),
             "bids": _spell(bids), "asks": _spell(asks)}
        )  # fmt: skip

    def trade(self, s: str) -> bytes:
        self.trades += 1
        return _bytes(
            {"ch": f"tape:{s}", "id": self.trades, "at": self._now(), "price": price(self.mid[s]),
             "size": size(self.random.randint(1, 400)), "side": "sell"}
        )  # fmt: skip

    def each(self, s: str) -> dict[str, bytes]:
        return {f"book:{s}": self.diff(s), f"tape:{s}": self.trade(s)}

    def listing(self, tick: str = "0.01", halted: str = "", missing: str = "") -> bytes:
        return _bytes(
            [
                {"name": s, "tick": tick if k == 0 else "0.01", "lot": "0.001",
                 "halted": s == halted}
                for k, s in enumerate(self.symbols) if s != missing
            ]
        )  # fmt: skip

    def time(self) -> bytes:
        return _bytes({"ms": self.at_ms})

    @staticmethod
    def book_of(frame: bytes) -> tuple[str, bool, int, list[Any], list[Any]] | None:
        said = json.loads(frame)
        channel, _, symbol = str(said.get("ch")).partition(":")
        if channel != "book":
            return None
        sides = _exact(said["bids"]), _exact(said["asks"])
        return symbol, said["kind"] == "snapshot", int(said["id"]), *sides


class BinanceExchange(Venue):
    """The same face for Binance, whose snapshots are answers to requests."""

    book_of = None

    def bring(self, session: Any, s: str, now_ns: int) -> Rows:
        rows = session.receive([self.diff(s)], np.array([now_ns]))
        joined = session.receive_snapshot(s, self.snapshot(s), 1000, now_ns)
        return np.concatenate([rows, joined])

    def each(self, s: str) -> dict[str, bytes]:
        frames = [self.diff(s), self.quote(s), self.trade(s), self.kline(s)]
        if self.market == "binance-usdm":
            frames += [self.mark(s), self.liquidation(s)]
        return {json.loads(frame)["stream"]: frame for frame in frames}

    def listing(self, tick: str = "0.01", halted: str = "", missing: str = "") -> bytes:
        listed = [
            {
                "symbol": s, "status": "BREAK" if s == halted else "TRADING",
                "filters": [
                    {"filterType": "PRICE_FILTER", "tickSize": tick if k == 0 else "0.01"},
                    {"filterType": "LOT_SIZE", "stepSize": "0.001"},
                ],
            }
            for k, s in enumerate(self.symbols) if s != missing
        ]  # fmt: skip
        return _bytes({"symbols": listed})

    def time(self) -> bytes:
        return _bytes({"serverTime": START_MS})


EXCHANGES: dict[str, Any] = {
    "binance-spot": lambda symbols, seed: BinanceExchange("binance-spot", symbols, seed),
    "binance-usdm": lambda symbols, seed: BinanceExchange("binance-usdm", symbols, seed),
    "bybit-linear": BybitExchange,
    "okx-swap": OkxExchange,
    "template": TemplateExchange,
}
