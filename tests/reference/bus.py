"""Rows and boundaries for the bus, and what its streams must hold, believable at sight."""

from __future__ import annotations

from decimal import Decimal

import numpy as np

from foreshock.engine.outcomes import BILL_INPUT, Boundary
from foreshock.market.clock import SECOND_NS
from foreshock.market.instruments import SPOT, Instrument
from foreshock.market.rows import DEPTH, SELL, TRADE, Rows, empty_rows, pack_levels

START_NS = 1_700_000_000_000_000_000
INSTRUMENTS = (
    Instrument.of("BTCUSDT", SPOT, "0.05", "0.001"),
    Instrument.of("ETHUSDT", SPOT, "0.01", "1"),
)
FEATURES = ("flow", "spread", "volatility")


def some_trades(n: int, seq: int = 0, *, symbols: int = 2) -> Rows:
    """TRADE rows of symbols in turn, 7 ms apart, every third a sale."""
    rows = empty_rows(n)
    k = np.arange(seq, seq + n)
    rows["kind"], rows["seq"], rows["symbol"] = TRADE, k, k % symbols
    rows["arrival_ns"] = START_NS + 7_000_000 * k
    rows["event_ns"] = rows["arrival_ns"] - 2_000_000
    rows["id"], rows["a"], rows["b"] = 1_000 + k, 27_000 + k, 1 + k % 5
    rows["flags"] = np.where(k % 3 == 0, SELL, 0)
    return rows


def among_depth(trades: Rows) -> Rows:
    """The trades, each behind a depth header whose packed levels look like trades at a glance."""
    parts = []
    for trade in trades:
        depth = empty_rows(3)
        depth[0]["kind"] = DEPTH
        levels = np.full((5, 2), 0x0101010101010101, np.int64)
        pack_levels(depth, 0, levels, levels)
        parts += [depth, np.array([trade], dtype=trades.dtype)]
    return np.concatenate([empty_rows(), *parts])


def plain_fields(rows: Rows, symbol: int) -> list[dict[bytes, bytes]]:
    """What `trades:<symbol>` holds of these rows, with exact decimals from the decimal module."""
    out = []
    instrument = INSTRUMENTS[symbol]
    tick = Decimal(instrument.tick_units).scaleb(-instrument.tick_decimals)
    lot = Decimal(instrument.lot_units).scaleb(-instrument.lot_decimals)
    for no, row in enumerate((r for r in rows if r["symbol"] == symbol), 1):
        out.append(
            {
                b"ts": str(int(row["event_ns"]) // 1_000_000).encode(),
                b"price": str(int(row["a"]) * tick).encode(),
                b"qty": str(int(row["b"]) * lot).encode(),
                b"side": b"sell" if row["flags"] & SELL else b"buy",
                b"id": str(int(row["id"])).encode(),
                b"no": str(no).encode(),
            }
        )
    return out


def boundary(second: int) -> Boundary:
    """Two symbols, three features, one of them cold."""
    vectors = np.arange(6, dtype=np.float32).reshape(2, 3) / np.float32(7) + second
    vectors[1, 2] = np.nan
    return Boundary(
        boundary_ns=START_NS + second * SECOND_NS,
        closed_by_seq=second,
        closed_at_ns=START_NS + second * SECOND_NS,
        vectors=vectors,
        warm=~np.isnan(vectors),
        book_state=np.ones(2, np.uint8),
        book_epoch=np.array([1, 4], np.int32),
        tape_epoch=np.array([2, 3], np.int32),
        bill_inputs=np.zeros(2, BILL_INPUT),
        rows=np.zeros(2, np.int64),
    )
