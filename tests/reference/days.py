"""A small recording over midnights: seconds of two symbols around each, silence between."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from foreshock.market.instruments import SPOT, Instrument
from foreshock.market.rows import RESYNCING, SYNCED, TAPE, Rows
from foreshock.stores.recordings import RecordingWriter
from tests.reference.make_rows import RowMaker

SECOND = 1_000_000_000
DAY = 86_400 * SECOND
FIRST_DAY = 19_922  # 2024-07-18
META = {"source": "simulation", "market": SPOT, "arrival": "modelled"}
SYMBOLS = ("AAAUSDT", "BBBUSDT")


def instruments() -> list[Instrument]:
    """Ticks of 0.01, lots of 0.001."""
    return [Instrument.of(symbol, SPOT, "0.01", "0.001") for symbol in SYMBOLS]


def book(make: RowMaker, symbol: int, price: int) -> Rows:
    """A snapshot of 399 levels a side."""
    bids = [(price - k, 50) for k in range(1, 400)]
    asks = [(price + k, 50) for k in range(1, 400)]
    return make.snapshot(symbol, make.seq + 1, bids, asks)


def around_midnights(midnights: int, before_s: int = 150, after_s: int = 90) -> list[Rows]:
    """A batch for each stretch around a midnight: every second a quote and some trades of each
    symbol, and a timer."""
    random, make = np.random.default_rng(7), RowMaker(FIRST_DAY * DAY)
    prices, out = np.array([10_000, 40_000]), []
    for night in range(1, midnights + 1):
        make.now = (FIRST_DAY + night) * DAY - before_s * SECOND
        rows: list[Rows] = []
        if night == 1:
            for s, price in enumerate(prices.tolist()):
                rows += [make.epoch(s, SYNCED, 1), make.epoch(s, SYNCED, 1, TAPE)]
                rows.append(book(make, s, price))
        for second in range(before_s + after_s):
            make.now += 400_000_000
            if (night, second) == (2, 60):
                rows.append(make.epoch(0, RESYNCING, 2))
            if (night, second) == (2, 70):
                rows += [make.epoch(0, SYNCED, 2), book(make, 0, int(prices[0]))]
            for s in range(len(prices)):
                prices[s] = np.clip(prices[s] + random.integers(-9, 10), 9_800, 40_200)
                price = int(prices[s])
                rows.append(make.quote(s, make.seq + 10, (price - 1, 40), (price + 1, 60)))
                for _ in range(int(random.integers(0, 3))):
                    lots = int(random.integers(1_000, 90_000))
                    rows.append(make.trade(s, price, lots, bool(random.integers(2))))
            make.now += 600_000_000
            rows.append(make.timer())
        out.append(np.concatenate(rows))
    return out


def record(directory: Path, batches: Sequence[Rows], pieces: int = 1) -> Path:
    """A recording of them, each batch in so many files."""
    writer = RecordingWriter(directory, instruments(), META)
    for batch in batches:
        singles = np.flatnonzero(batch["count"] == 0)
        singles = singles[singles > 1_000]  # behind the packs of the snapshots
        cuts = [int(c) for c in singles[:: max(1, len(singles) // pieces)][1:]]
        for part in np.split(batch, cuts):
            writer.write(part)
    writer.close()
    return directory
