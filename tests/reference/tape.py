"""Sequenced inputs for engine tests: rows of a naive venue through the session, with losses."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np

from foreshock.engine.outcomes import Boundary
from foreshock.engine.step import Engine
from foreshock.market.instruments import SPOT
from foreshock.market.rows import CUT, Rows, heads
from foreshock.venues.binance import BOOK_FAMILY, TAPE_FAMILY, BinanceSession
from tests.reference.venue import Venue

SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND
SYMBOLS = ["BTCUSDT", "ETHUSDT", "XRPUSDT"]


def a_session_of_rows(
    seconds: int = 90, seed: int = 1, market: str = SPOT, losses: bool = True
) -> tuple[Venue, Rows]:
    """(venue, rows) of some symbols for some seconds, snapshots included; with `losses` diffs and
    trades get lost, a socket is cut and a symbol falls silent."""
    rng = random.Random(seed)
    venue = Venue(market, SYMBOLS, seed)
    session = BinanceSession(venue.instruments(), stale_after_ns=3 * SECOND)
    parts: list[Rows] = [session.start(START)]
    for second in range(seconds):
        now = START + second * SECOND
        offsets = sorted(rng.randrange(SECOND) for _ in range(rng.randint(5, 45)))
        for offset in offsets:
            symbol = rng.choice(SYMBOLS)
            if losses and symbol == "XRPUSDT" and 30 <= second < 50:
                continue
            make: Any = rng.choice((venue.diff, venue.diff, venue.trade, venue.trade, venue.quote))
            frame = make(symbol)
            if losses and rng.random() < 0.01:
                continue
            parts.append(session.receive([frame], np.array([now + offset])))
        if losses and second == 60:
            families = BOOK_FAMILY | TAPE_FAMILY
            parts.append(session.connection(1, CUT, families, ["ETHUSDT"], 0, now + SECOND - 1))
        for request in session.wanted():
            body = venue.snapshot(request.symbol)
            parts.append(session.receive_snapshot(request.symbol, body, 1000, now + SECOND - 1))
        parts.append(session.timer(now + SECOND))
    return venue, np.concatenate([rows for rows in parts if len(rows)])


def cut_anywhere(rows: Rows, rng: random.Random, most: int = 60) -> Iterator[Rows]:
    """The same rows in pieces of 1 to `most` headers, packs with their headers."""
    at = [*heads(rows).tolist(), len(rows)]
    lo = 0
    while lo < len(at) - 1:
        hi = min(lo + rng.randint(1, most), len(at) - 1)
        yield rows[at[lo] : at[hi]]
        lo = hi


def bits(boundaries: list[Boundary]) -> list[tuple[Any, ...]]:
    """All that boundaries say, as bytes."""
    return [
        (
            b.boundary_ns, b.closed_by_seq, b.closed_at_ns, b.vectors.tobytes(), b.warm.tobytes(),
            b.book_state.tobytes(), b.book_epoch.tobytes(), b.tape_epoch.tobytes(),
            b.bill_inputs.tobytes(), b.rows.tobytes(),
        )
        for b in boundaries
    ]  # fmt: skip


def run(engine: Engine, batches: Any) -> list[Boundary]:
    """All boundaries of the batches."""
    return [boundary for rows in batches for boundary in engine.feed(rows)]
