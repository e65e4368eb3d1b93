"""The day before a simulation began, as minute bars: invented, seeded, and told by REST alone, so
that what looks far back has something to look at. The market does not know of it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

import numpy as np

from foreshock.simulation.bars import MINUTE_NS, Bar
from foreshock.simulation.settings import SimulationSettings, profile_of

BARS: Final = 1_500


def past_bars(settings: SimulationSettings, s: int, ticks: float, lot_notional: float) -> list[Bar]:
    """The bars of symbol s up to the minute in which the simulation begins, a random walk of its
    own volatility that ends at `ticks`. `lot_notional`: quote currency a lot is worth there."""
    symbol = settings.symbols[s]
    if any(entry.symbol == symbol and entry.action == "list" for entry in settings.schedule):
        return []  # it was not there
    profile = profile_of(symbol)
    random = np.random.default_rng([settings.seed, *symbol.encode()])
    sigma = 1e-4 * profile.volatility_bps * math.sqrt(60.0)
    logs = np.cumsum(random.normal(0.0, sigma, BARS + 1))
    walk = np.maximum(1.0, ticks * np.exp(logs - logs[-1])).round().astype(np.int64)
    reach = np.abs(random.normal(0.0, 0.5 * sigma, (2, BARS)))
    fills = random.poisson(60.0 * profile.trades_per_s * settings.activity, BARS)
    sizes = random.exponential(profile.trade_notional / lot_notional, BARS)
    shares = random.uniform(0.3, 0.7, BARS)
    return list(_made(settings.start_ns, walk, reach, fills, sizes, shares))


def _made(
    start_ns: int, walk: np.ndarray, reach: np.ndarray, fills: np.ndarray, sizes: np.ndarray,
    shares: np.ndarray,
) -> Iterator[Bar]:  # fmt: skip
    first_ns = start_ns // MINUTE_NS * MINUTE_NS - BARS * MINUTE_NS
    for k in range(BARS):
        opened, closed = int(walk[k]), int(walk[k + 1])
        bar = Bar(first_ns + k * MINUTE_NS, opened)
        bar.close, bar.n = closed, int(fills[k])
        bar.high = max(opened, closed) + int(reach[0, k] * opened)
        bar.low = max(1, min(opened, closed) - int(reach[1, k] * opened))
        bar.lots = max(bar.n, int(bar.n * sizes[k]))
        bar.taker = int(bar.lots * shares[k])
        middle = (bar.high + bar.low + closed) // 3
        bar.turnover, bar.taker_turnover = middle * bar.lots, middle * bar.taker
        yield bar
