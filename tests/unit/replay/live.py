"""A live shell in process: a simulated exchange, a tapped session, an engine, and misfortune."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np

from foreshock.engine.step import Engine
from foreshock.market.clock import MS_NS, SECOND_NS
from foreshock.market.rows import CONNECTED, CUT, OFFSET, REASON_RANGE, Rows
from foreshock.replay.driver import distrust
from foreshock.replay.tap import Tap
from foreshock.simulation.exchange import SimulatedExchange
from foreshock.simulation.settings import SimulationSettings
from foreshock.stores.journal import Part
from foreshock.venues.binance import BOOK_FAMILY, TAPE_FAMILY, BinanceSession
from foreshock.venues.binance_wire import INSTRUMENTS_KIND

STALE_AFTER_NS = 5 * SECOND_NS


def a_session(instruments: Any) -> BinanceSession:
    """As the shell below makes it."""
    return BinanceSession(instruments, stale_after_ns=STALE_AFTER_NS)


class Shell:
    """Plays `seconds` of `settings`; `batches` and `parts` are what a recorder would be handed."""

    def __init__(self, settings: SimulationSettings, seed: int = 1) -> None:
        self.exchange, self.rng = SimulatedExchange(settings), random.Random(seed)
        self.instruments = self.exchange.instruments()
        self.session = Tap(a_session(self.instruments))
        self.engine = Engine(self.instruments)
        self.batches: list[Rows] = []
        self.parts: list[Part] = []
        self.answers: list[tuple[int, Any, bytes]] = []

    def _feed(self, rows: Rows) -> None:
        if len(rows):
            self.batches.append(rows)
            self.engine.feed(rows)

    def _turn(self, now_ns: int) -> None:
        frames = [f for f in self.exchange.advance(now_ns) if self.rng.random() > 0.002]
        if frames:
            stamps = np.array([f.event_ns for f in frames], np.int64)
            self._feed(self.session.receive([f.wrapped for f in frames], stamps))
        for due in [a for a in self.answers if a[0] <= now_ns]:
            self.answers.remove(due)
            _, request, body = due
            if self.rng.random() < 0.1:
                self.session.snapshot_failed(request.symbol)
            else:
                rows = self.session.receive_snapshot(request.symbol, body, request.levels, now_ns)
                self._feed(rows)
        for request in self.session.wanted():
            body = self.exchange.depth(request.symbol, request.levels)
            self.answers.append((now_ns + self.rng.randint(20, 600) * MS_NS, request, body))

    def _hear(self, second: int, seconds: int, now_ns: int) -> None:
        """Answers of the venue: open interest, a tick size that changes, a pair that halts."""
        symbols, told = self.exchange.symbols, json.loads(self.exchange.exchange_info())
        if second % 7 == 0:
            value = f'"symbol":"{symbols[0]}","openInterest":"{second}.5"'
            body = f'{{{value},"time":{now_ns // MS_NS}}}'.encode()
            self._feed(self.session.receive_answer("open_interest", symbols[0], body, now_ns))
        if second == 3 * seconds // 4:
            told["symbols"][1]["filters"][0]["tickSize"] = "0.001"
            told["symbols"][-1]["status"] = "HALT"
        elif second == 3 * seconds // 4 + 3:
            told["symbols"][1]["filters"][0]["tickSize"] = "0.001"
        else:
            return
        body = json.dumps(told).encode()
        self._feed(self.session.receive_answer(INSTRUMENTS_KIND, "", body, now_ns))

    def run(self, seconds: int) -> None:
        """With lost frames, a cut socket, distrusted and refreshed books, answers that fail, and a
        venue that changes its list."""
        symbols = self.exchange.symbols
        both = BOOK_FAMILY | TAPE_FAMILY
        start_ns = self.exchange.now_ns
        self._feed(self.session.start(start_ns))
        self._feed(self.session.connection(0, CONNECTED, both, symbols, 0, start_ns))
        for step in range(1, 20 * seconds + 1):
            now_ns = start_ns + step * 50 * MS_NS
            self._turn(now_ns)
            if step % 20:
                continue
            second = step // 20
            self._feed(self.session.timer(now_ns))
            self._hear(second, seconds, now_ns)
            for rows in distrust(self.engine, self.session, now_ns):
                self._feed(rows)
            if second == seconds // 3:
                self._feed(self.session.resync(symbols[0], REASON_RANGE, now_ns))
                self._feed(self.session.connection(-1, OFFSET, 0, (), 12_345, now_ns))
            if second == seconds // 2:
                self._feed(self.session.connection(0, CUT, both, symbols[1:2], 0, now_ns))
                self._feed(self.session.connection(0, CONNECTED, both, symbols[1:2], 0, now_ns))
                self.session.refresh(symbols[0])
            if second % 5 == 0:
                part = self.session.take()
                if part is not None:
                    self.parts.append(part)
        part = self.session.take()
        if part is not None:
            self.parts.append(part)


def parquet(folder: Path) -> list[Path]:
    """The finished files of a folder of a recording."""
    return sorted(folder.glob("*.parquet"))
