"""Prices without an exchange: many days of minute bars in a moment, with a planted edge or none.

For questions that need hundreds of markets, such as how often a gate lets chance through. Returns
cluster in volatility (a common and an own log-volatility, both AR(1)), have fat tails (Student's t)
and move together across symbols; a *signal* that everybody may see is as persistent as order flow
is, and leads the returns by exactly as much as was asked for, always or until a day. A common
drift, of which nothing tells, may last for hours: what is earned in one of them is then earned in
the next ones too, by luck.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from foreshock.market.jit import kernel

Floats = NDArray[np.float64]
STEPS: Final = 4  # of a bar, of which its high and low are made
EDGE_S: Final = 900  # over which the size of the edge is stated


class PathSettings(BaseModel):
    """One market."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    symbols: int = Field(default=6, ge=1, description="How many symbols there are.")
    days: float = Field(default=16.0, gt=0, description="Length of the paths in days.")
    bar_s: int = Field(default=60, ge=4, description="Length of a bar in seconds.")
    volatility_bps: float = Field(
        default=8.0, gt=0, description="Median standard deviation of a bar's return in bps."
    )
    clustering: float = Field(
        default=0.4, ge=0, description="Standard deviation of the logarithm of the volatility."
    )
    calm_s: float = Field(
        default=14_400.0, gt=0, description="How long a change of volatility lasts, seconds."
    )
    tails: float = Field(default=5.0, gt=2, description="Degrees of freedom of the returns.")
    together: float = Field(
        default=0.6, ge=0, lt=1, description="Correlation of the symbols' returns, and of signals."
    )
    signal_s: float = Field(default=900.0, gt=0, description="How long a signal lasts, in seconds.")
    edge_bps: float = Field(
        default=0.0,
        description="What a signal of one standard deviation foretells: mean return over the next "
        "900 seconds, in bps, costs not taken.",
    )
    bounce_bps: float = Field(
        default=0.0,
        ge=0,
        description="Standard deviation of a passing displacement of the price, which makes "
        "returns revert, in bps.",
    )
    edge_share: float = Field(
        default=1.0,
        ge=0,
        le=1,
        description="Share of the time, from its beginning, in which the signal leads the returns; "
        "what looks the same afterwards foretells nothing, like a regime that has ended.",
    )
    drift_bps: float = Field(
        default=0.0,
        ge=0,
        description="Standard deviation of a drift that all symbols share and no signal tells of: "
        "mean return over 900 seconds, in bps.",
    )
    drift_s: float = Field(
        default=21_600.0, gt=0, description="How long such a drift lasts, in seconds."
    )


@dataclass(frozen=True, slots=True)
class Paths:
    """m bars of n symbols.

    bars    float64 (n, m, 4): open, high, low, close; a bar opens where the last one closed
    signal  float64 (n, m): known at the bar's close; mean 0, standard deviation 1
    """

    bars: Floats
    signal: Floats


def draw_paths(settings: PathSettings, seed: int) -> Paths:
    """One market. The same settings and seed give the same bytes."""
    random = np.random.default_rng(seed)
    n = settings.symbols
    m = round(settings.days * 86_400 / settings.bar_s)
    share = np.sqrt(settings.together)
    own = np.sqrt(1.0 - settings.together)

    keep = np.exp(-settings.bar_s / settings.calm_s)
    shared, alone = _persistent(random, (1, m), keep), _persistent(random, (n, m), keep)
    log_volatility = settings.clustering * (shared + alone) / np.sqrt(2.0)
    volatility = settings.volatility_bps * 1e-4 * np.exp(log_volatility)

    lasts = np.exp(-settings.bar_s / settings.signal_s)
    common, each = _persistent(random, (1, m), lasts), _persistent(random, (n, m), lasts)
    signal = share * common + own * each
    ahead = round(EDGE_S / settings.bar_s)
    # Σ lasts^j over the bars of EDGE_S: the signal fades while it is right.
    per_bar = settings.edge_bps * 1e-4 * (1.0 - lasts) / (1.0 - lasts**ahead)
    drift = np.zeros((n, m))
    drift[:, 1:] = per_bar * signal[:, :-1]
    drift[:, round(settings.edge_share * m) :] = 0.0

    scale = np.sqrt((settings.tails - 2.0) / settings.tails / STEPS)
    both = share * random.standard_t(settings.tails, (1, m, STEPS))
    both = both + own * random.standard_t(settings.tails, (n, m, STEPS))
    moves = drift[..., None] / STEPS + volatility[..., None] * scale * both
    level = np.cumsum(moves.reshape(n, m * STEPS), axis=1)
    if settings.drift_bps:
        drawn = _persistent(random, (1, m), np.exp(-settings.bar_s / settings.drift_s))
        steps = np.repeat(settings.drift_bps * 1e-4 / ahead / STEPS * drawn, STEPS, axis=1)
        level += np.cumsum(steps, axis=1)
    if settings.bounce_bps:
        passing = np.exp(-1.0 / STEPS)  # gone after about a bar
        level += settings.bounce_bps * 1e-4 * _persistent(random, level.shape, passing)
    price = 100.0 * np.exp(np.concatenate([np.zeros((n, 1)), level], axis=1))
    inside = np.lib.stride_tricks.sliding_window_view(price, STEPS + 1, axis=1)[:, ::STEPS]
    bars = np.stack(
        [inside[..., 0], inside.max(axis=-1), inside.min(axis=-1), inside[..., -1]], axis=-1
    )
    return Paths(bars, signal)


def _persistent(random: np.random.Generator, shape: tuple[int, ...], keep: float) -> Floats:
    """AR(1) along the last axis, stationary from its first value: mean 0, standard deviation 1."""
    out = random.standard_normal(shape)
    _follow(out, keep)
    return out


@kernel
def _follow(noise: Floats, keep: float) -> None:
    """Turn noise (rows, m) into AR(1), in place."""
    fresh = np.sqrt(1.0 - keep * keep)
    for row in range(noise.shape[0]):
        for i in range(1, noise.shape[1]):
            noise[row, i] = keep * noise[row, i - 1] + fresh * noise[row, i]
