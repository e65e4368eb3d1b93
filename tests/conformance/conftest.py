"""Every venue of the registry, and the template, each with the exchange that speaks its frames."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from foreshock.market.clock import SECOND_NS
from foreshock.market.rows import Rows, heads
from foreshock.venues.registry import EXAMPLES, VENUES, Venue
from tests.reference.book import BookTwin
from tests.reference.exchanges import EXCHANGES, START_MS

SYMBOLS = ["BTCUSDT", "ETHUSDT", "XRPUSDT"]
NOW_NS = START_MS * 1_000_000 + 3_600 * SECOND_NS
MARKETS = {**VENUES, **EXAMPLES}


@dataclass
class Stage:
    """A started session, its exchange, and books kept by the slow twin from the session's rows."""

    venue: Venue
    exchange: Any
    session: Any
    now_ns: int = NOW_NS
    rows: list[Rows] = field(default_factory=list)
    books: list[BookTwin] = field(default_factory=lambda: [BookTwin() for _ in SYMBOLS])

    def take(self, rows: Rows) -> Rows:
        """Rows that the session gave: into the twins."""
        self.rows.append(rows)
        for head in heads(rows).tolist():
            if rows["symbol"][head] >= 0:
                self.books[rows["symbol"][head]].step(rows, head)
        return rows

    def receive(self, *frames: bytes) -> Rows:
        """Frames that arrive now."""
        self.now_ns += SECOND_NS // 100
        return self.take(self.session.receive(list(frames), np.full(len(frames), self.now_ns)))

    def bring(self, s: str) -> Rows:
        """A snapshot of one symbol."""
        return self.take(self.exchange.bring(self.session, s, self.now_ns))

    def states(self) -> list[list[int]]:
        """Book state and epoch, tape epoch, by symbol."""
        return self.session.states().tolist()

    def everything(self) -> Rows:
        """All rows so far."""
        return np.concatenate(self.rows)


def make_stage(market: str, seed: int = 1, joined: bool = True) -> Stage:
    venue, exchange = MARKETS[market], EXCHANGES[market](SYMBOLS, seed)
    session = venue.session(exchange.instruments(), stale_after_ns=15 * SECOND_NS)
    stage = Stage(venue, exchange, session)
    stage.take(session.start(NOW_NS))
    # The venue's list comes first: some say there what a size is.
    stage.take(session.receive_answer("instruments", "", exchange.listing(), NOW_NS))
    if joined:
        for s in SYMBOLS:
            stage.bring(s)
    return stage


@pytest.fixture(params=sorted(MARKETS))
def market(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def make(market: str) -> Callable[..., Stage]:
    """Stages of the market."""
    return lambda **options: make_stage(market, **options)


@pytest.fixture
def stage(market: str) -> Stage:
    """All books joined."""
    return make_stage(market)
