"""Frames to rows to books to features: how many frames one core takes in a second.

The mix is one depth diff (20 + 20 levels) to four trades of 20 symbols, in micro-batches of 256
frames. Every stage does all of its checks: JSON, grids, continuity; rows are materialised.

    decode                    session: frames → rows
    decode + book             … → ladders and touch records
    decode + book + features  … → all features of 20 symbols at every second: the whole engine

Peers of the field read the same frames in environments of their own (`benchmarks/_peers.py`), each
in the spelling that it understands, without a socket, and read the best prices after every diff.
Whose best prices are wrong at the end has not taken part.
"""

from __future__ import annotations

import gc
import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import orjson

from benchmarks import _mix as mix
from benchmarks._peers import Package, Peer, PeerError
from benchmarks.common import Figures, arguments, finish, say, take_turns
from foreshock.engine.step import Engine
from foreshock.market import ladder as books
from foreshock.market.clock import SECOND_NS
from foreshock.market.rows import Rows, as_words
from foreshock.venues.binance import BinanceSession

NAME = "decode_book"
OURS = "foreshock: decode + book"
BATCH = 256
FAR_NS = 2**62

# Peer → what it needs, and how the mix is spelled for it.
PEERS: dict[str, tuple[Package, dict[str, Any]]] = {
    "msgspec → numba ladder": (
        Package("msgspec_numba", ("msgspec==0.22.0", "numba==0.68.1", "numpy==2.4.6")),
        {},
    ),
    "cryptofeed": (
        Package("cryptofeed_books", ("cryptofeed==2.4.1",)),
        {"tape": "aggTrade"},
    ),
    "python-binance": (
        Package("python_binance_books", ("python-binance==1.0.37",)),
        {"eight_places": True},
    ),
    "nautilus_trader": (
        Package("nautilus_books", ("nautilus_trader==1.221.0",)),
        {"tape": "aggTrade"},
    ),
}
PEER_SECONDS = 8  # of the mix: they tell a rate as well on fewer frames


class Shell:
    """A session past its snapshots, and the micro-batches that are left; steps are cut as a shell
    cuts them, with a timer row at every second."""

    def __init__(self, given: mix.Mix, batch: int) -> None:
        self.session = BinanceSession(given.instruments)
        now = int(given.arrival_ns[0])
        self.first = [self.session.start(now)]
        head = slice(0, given.warmup)
        self.first.append(self.session.receive(given.frames[head], given.arrival_ns[head]))
        self.session.wanted()
        now = int(given.arrival_ns[given.warmup - 1])
        for instrument, body in zip(given.instruments, given.snapshots, strict=True):
            self.first.append(self.session.receive_snapshot(instrument.symbol, body, 1000, now))
        self.steps: list[tuple[list[bytes], np.ndarray] | int] = []
        lo = given.warmup
        boundary = (now // SECOND_NS + 1) * SECOND_NS
        while lo < len(given.frames):
            stop = int(np.searchsorted(given.arrival_ns, boundary))
            for k in range(lo, stop, batch):
                cut = slice(k, min(k + batch, stop))
                self.steps.append((given.frames[cut], given.arrival_ns[cut]))
            self.steps.append(boundary)
            lo, boundary = max(lo, stop), boundary + SECOND_NS

    def rows(self) -> Iterator[Rows]:
        """Rows of every step, in order."""
        for step in self.steps:
            yield self.session.timer(step) if isinstance(step, int) else self.session.receive(*step)

    def check(self) -> None:
        """Nothing was dropped and no book was lost: what was counted was done."""
        bad = {k: n for k, n in self.session.counts.items() if n and k != "ok"}
        if bad or (self.session.states()[:, 0] != 1).any():
            raise AssertionError(f"the mix was not read cleanly: {bad}")


class Contest:
    """One contestant's rounds: `prepare` is not measured, `work` is."""

    def __init__(self, given: mix.Mix, stage: str, batch: int = BATCH) -> None:
        self.given, self.stage, self.batch = given, stage, batch

    def prepare(self) -> Callable[[], int]:
        """A fresh state, and the function that does the measured work on it."""
        shell = Shell(self.given, self.batch)
        n = len(self.given.instruments)
        units = len(self.given.frames) - self.given.warmup

        def decode() -> int:
            for _ in shell.rows():
                pass
            shell.check()
            return units

        def book() -> int:
            ladder, touch = books.init(n), books.empty_touch(65_536)
            for source in (shell.first, shell.rows()):
                for rows in source:
                    words = as_words(rows)
                    books.scan(words, touch, 0, len(words), FAR_NS, ladder)
            shell.check()
            best = ladder.top[:, :, 0, 0] / 100
            if not np.allclose(best, self.given.touch, rtol=0, atol=1e-6):
                raise AssertionError("the books are not those of the mix")
            return units

        def features() -> int:
            engine = Engine(self.given.instruments)
            closed = 0
            for source in (shell.first, shell.rows()):
                for rows in source:
                    closed += len(engine.feed(rows))
            shell.check()
            if not closed:
                raise AssertionError("no boundary closed")
            return units

        return {"decode": decode, "book": book, "features": features}[self.stage]


class DictBooks:
    """The peer one writes first: parsed JSON into a dict a side, the best price kept and looked for
    anew only when it is gone. No ids are checked, no grid either."""

    def __init__(self, given: mix.Mix, loads: Callable[[bytes], dict]) -> None:
        self.given, self.loads = given, loads
        self.bids: dict[str, dict[float, float]] = {}
        self.asks: dict[str, dict[float, float]] = {}
        self.best: dict[str, list[float]] = {}

    def prepare(self) -> Callable[[], int]:
        """Books from the snapshots; the measured work reads all frames behind them."""
        for instrument, body in zip(self.given.instruments, self.given.snapshots, strict=True):
            answer = json.loads(body)
            self.bids[instrument.symbol] = {float(p): float(q) for p, q in answer["bids"]}
            self.asks[instrument.symbol] = {float(p): float(q) for p, q in answer["asks"]}
            sides = self.bids[instrument.symbol], self.asks[instrument.symbol]
            self.best[instrument.symbol] = [max(sides[0]), min(sides[1])]
        frames = self.given.frames[self.given.warmup :]
        return lambda: self._run(frames)

    def _run(self, frames: list[bytes]) -> int:
        loads, last = self.loads, {}
        for frame in frames:
            data = loads(frame)["data"]
            if data["e"] == "trade":
                last[data["s"]] = (float(data["p"]), float(data["q"]), data["m"])
                continue
            best, bids, asks = self.best[data["s"]], self.bids[data["s"]], self.asks[data["s"]]
            for text, size in data["b"]:
                price, q = float(text), float(size)
                if q == 0.0:
                    bids.pop(price, None)
                else:
                    bids[price] = q
                    if price > best[0]:
                        best[0] = price
            for text, size in data["a"]:
                price, q = float(text), float(size)
                if q == 0.0:
                    asks.pop(price, None)
                else:
                    asks[price] = q
                    if price < best[1]:
                        best[1] = price
            if best[0] not in bids:
                best[0] = max(bids)
            if best[1] not in asks:
                best[1] = min(asks)
        return len(frames)


class DecodeOnly:
    """Parsing the JSON and nothing more: no peer that builds Python objects can be faster."""

    def __init__(self, given: mix.Mix, loads: Callable[[bytes], object]) -> None:
        self.frames, self.loads = given.frames[given.warmup :], loads

    def prepare(self) -> Callable[[], int]:
        """The work."""

        def work() -> int:
            for frame in self.frames:
                self.loads(frame)
            return len(self.frames)

        return work


def peers(given: mix.Mix) -> tuple[dict[str, Peer], dict[str, Figures]]:
    """Those that run, and why the others do not."""
    running: dict[str, Peer] = {}
    absent: dict[str, Figures] = {}
    symbols = len(given.instruments)
    for name, (package, spelling) in PEERS.items():
        frames = mix.make(symbols, PEER_SECONDS, **spelling)
        try:
            peer = Peer(package, frames)
            peer.prepare()()  # a first round, which also shows whether its books are right
            running[name] = peer
        except PeerError as error:
            absent[name] = {"frames_per_cpu_s": str(error)}
    return running, absent


def main() -> None:
    """Run it."""
    given = arguments(__doc__)
    seconds, rounds = (8, 3) if given.quick else (60, 7)
    say("writing the frames")
    frames = mix.make(20, seconds)
    contests: dict[str, Any] = {
        OURS: Contest(frames, "book"),
        "foreshock: decode": Contest(frames, "decode"),
        "foreshock: decode + book + features": Contest(frames, "features"),
        "foreshock: decode + book + features, batches of 16": Contest(frames, "features", 16),
        "orjson, decode only": DecodeOnly(frames, orjson.loads),
        "orjson → dict book": DictBooks(frames, orjson.loads),
        "json → dict book": DictBooks(frames, json.loads),
    }
    running, absent = peers(frames)
    gc.disable()
    try:
        rates = take_turns({**contests, **running}, rounds)
    finally:
        for peer in running.values():
            peer.close()
    results: dict[str, Figures] = {
        name: {"frames_per_cpu_s": round(rate), "spread": round(spread, 3)}
        for name, (rate, spread) in rates.items()
    }
    results |= absent
    ours, whole = rates[OURS][0], rates["foreshock: decode + book + features"][0]
    ratios = {
        f"decode + book / {name}": ours / rates[name][0]
        for name in ("orjson, decode only", "orjson → dict book", *running)
    }
    ratios["whole chain / orjson → dict book"] = whole / rates["orjson → dict book"][0]
    finish(NAME, given, results, ratios, "Decode, book, features")


if __name__ == "__main__":
    main()
