"""A seeded tape, and the sixteen features of it that everybody computes: windows on a grid of
seconds. The twins in `benchmarks/peers/features_*.py` are written as one writes them in pandas,
polars and SQL: one aggregate a second, rolling sums over them."""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from foreshock.features.settings import FeatureSettings
from foreshock.market.clock import SECOND_NS
from foreshock.market.instruments import SPOT, Instrument
from foreshock.market.rows import EPOCH, SELL, SYNCED, TAPE, TRADE, Rows, empty_rows

START_NS: Final = 1_700_000_000 * SECOND_NS
SYMBOLS: Final = 20
TRADES_PER_S: Final = 40  # of a symbol, as in the mix
INSTRUMENTS: Final = [Instrument.of(f"T{k:02d}USDT", SPOT, "0.01", "0.001") for k in range(SYMBOLS)]
# The columns of every contestant, in this order.
NAMES: Final = (
    "flow_imbalance_5s", "flow_imbalance_10s", "flow_imbalance_30s", "flow_imbalance_60s",
    "flow_imbalance_5m", "trade_count_imbalance_10s", "trade_count_imbalance_60s",
    "trade_intensity_10s", "trade_intensity_60s", "trade_intensity_ratio_5s_60s",
    "vwap_deviation_30s", "vwap_deviation_60s", "realised_volatility_60s", "momentum_10s",
    "momentum_60s", "variation_ratio_10s_60s",
)  # fmt: skip


def settings() -> FeatureSettings:
    """The sixteen and nothing else, as far as families can be cut: what is left over is empty."""
    chosen = {
        "flow": {
            "imbalance_s": (5, 10, 30, 60, 300),
            "count_imbalance_s": (10, 60),
            "intensity_s": (10, 60),
            "intensity_ratios_s": ((5, 60),),
            "vwap_s": (30, 60),
        },
        "variation": {
            "volatility_s": (60,),
            "momentum_s": (10, 60),
            "ratios_s": ((10, 60),),
        },
    }
    fields = FeatureSettings.model_fields
    out: dict[str, object] = {"families": tuple(chosen)}
    for family, given in chosen.items():
        section = fields[family].annotation
        assert section is not None
        # Every list of windows or half-lives that is not asked for is empty.
        empty = {
            name: ()
            for name, field in section.model_fields.items()
            if isinstance(field.default, tuple)
        }
        out[family] = {**empty, **given}
    return FeatureSettings.model_validate(out)


class Tape(NamedTuple):
    """n trades: whose, seconds since the start, nanoseconds, ticks, lots (int64), who hit."""

    symbol: NDArray[np.int64]
    second: NDArray[np.int64]
    at_ns: NDArray[np.int64]
    ticks: NDArray[np.int64]
    lots: NDArray[np.int64]
    sell: NDArray[np.bool_]


def tape(trades: int, seed: int = 3) -> Tape:
    """Random walks with clustered times, so that some seconds are empty and others crowded."""
    rng = np.random.default_rng(seed)
    seconds = trades // (TRADES_PER_S * SYMBOLS)
    weight = rng.pareto(1.5, seconds) * (rng.random(seconds) > 0.05)
    second = np.sort(rng.choice(seconds, trades, p=weight / weight.sum()))
    within = rng.integers(0, SECOND_NS, trades)
    at_ns = np.sort(second * SECOND_NS + within)
    symbol = rng.integers(0, SYMBOLS, trades)
    steps = rng.integers(-1, 2, trades) * (rng.random(trades) < 0.3)
    ticks = np.zeros(trades, np.int64)
    for s in range(SYMBOLS):
        ticks[symbol == s] = 100_000 * (s + 1) + np.cumsum(steps[symbol == s])
    lots = (rng.pareto(1.5, trades) * 100).astype(np.int64) + 1
    return Tape(symbol, at_ns // SECOND_NS, at_ns + START_NS, ticks, lots, rng.random(trades) < 0.5)


def rows_of(given: Tape) -> Rows:
    """The tape as rows, an epoch of each symbol before it."""
    rows = empty_rows(len(given.second) + SYMBOLS)
    first, rest = rows[:SYMBOLS], rows[SYMBOLS:]
    first["symbol"], rest["symbol"] = np.arange(SYMBOLS), given.symbol
    first["kind"], first["a"], first["b"], first["c"] = EPOCH, SYNCED, 1, TAPE
    first["arrival_ns"] = START_NS
    rest["kind"], rest["flags"] = TRADE, np.where(given.sell, SELL, 0)
    rest["arrival_ns"] = rest["event_ns"] = given.at_ns
    rest["a"], rest["b"] = given.ticks, given.lots
    rows["seq"] = np.arange(len(rows))
    return rows


def save(given: Tape, path: Path) -> None:
    """For contestants in another process."""
    np.savez(path, **given._asdict())
