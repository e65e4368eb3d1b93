"""Each component of the bill beside what it did cost on the simulated exchange.

At every second of every symbol a taker's round trip is decided on, filled by walking the true book
after the latency, and left a minute later in the same way. A component is unbiased where the mean
billed over the mean realised is 1; the interval (95 %) is over symbols and seeds, which draw apart,
and over minutes for the recorded sessions, where there are any.
"""

from __future__ import annotations

import sys
from typing import Final

import numpy as np

from benchmarks import _costs_recorded
from benchmarks._costs_play import (
    HOLD_S,
    WARM_S,
    Compared,
    Floats,
    Played,
    compare,
    play,
    round_trips,
)
from benchmarks.common import Figures, arguments, finish, say
from foreshock.costs.impact import square_root_bps
from foreshock.costs.total import CostSettings
from foreshock.market.instruments import SPOT, USDM
from foreshock.simulation.settings import DEFAULT_SYMBOLS, profile_of

LATENCY_MS: Final = 100
NOTIONALS: Final = (200.0, 1_000.0, 2_000.0, 5_000.0, 10_000.0, 20_000.0, 50_000.0, 100_000.0)
OTHER_LATENCIES_MS: Final = (25, 50, 250, 500)
TIERS: Final = {4.0: "majors", 2.0: "large", 1.0: "small"}
UNBIASED: Final = 0.1
# What must be unbiased at the defaults.
JUDGED: Final = ("fees", "spread", "impact of 1,000", "funding", "latency of 100 ms", "total")

Pairs = list[tuple[Floats, Floats]]


def settings_of(market: str, notional: float, latency_ms: int) -> CostSettings:
    """The defaults, but for what is varied; capacity refuses nothing here."""
    return CostSettings.for_market(
        market, notional=notional, latency_ms=latency_ms, max_volume_share=1e12
    )


def figures(name: str, found: Compared) -> Figures:
    """A line of the table. What may be nothing has an interval in bps, and no ratio."""
    if name.endswith("signed"):
        return {
            "billed, bps": found.billed,
            "realised, bps": f"{found.realised:.4f} ± {found.reach_bps:.4f}",
            "round trips": float(found.trips),
        }
    return {
        "billed, bps": found.billed,
        "realised, bps": found.realised,
        "billed / realised": f"{found.ratio:.3f}",
        "95 %": f"{found.lower:.3f} to {found.upper:.3f}",
        "round trips": float(found.trips),
    }


def columns(pairs: Pairs, keep: np.ndarray) -> Pairs:
    """Of some symbols."""
    return [(billed[:, keep], realised[:, keep]) for billed, realised in pairs]


def formerly(played: Played, notional: float) -> tuple[Floats, Floats]:
    """(impact, latency) as bills of formula version 1 had them: the larger of the law and a ladder
    filled evenly within 10 bps; the normal law on a volatility of last prices."""
    x = played.inputs[WARM_S : len(played.mid) - HOLD_S]
    law = square_root_bps(notional, x["volatility_1s"], x["volume_60s"], 1.0)
    impact = sum(
        np.maximum(law, notional / x[side] * 5.0) for side in ("ask_notional", "bid_notional")
    )
    latency = x["volatility_1s"] * np.sqrt(2 / np.pi * LATENCY_MS / 1e3) * 1e4
    return np.asarray(impact), latency


def measure(quick: bool) -> dict[str, Compared]:
    """Every line."""
    seeds, symbols, seconds = ((1, 2), 8, 600) if quick else ((1, 2, 3), 20, 1_200)
    plays: list[tuple[str, Played]] = []
    for seed in seeds:
        for market in (USDM, SPOT):
            apart = seed if market == USDM else seed + 100  # the same seed is the same market
            plays.append((market, play(apart, market, symbols, seconds, LATENCY_MS, NOTIONALS)))
            say(f"played {market}, seed {seed}: {symbols} symbols, {seconds} s")
    by_size = {
        notional: [round_trips(p, settings_of(m, notional, LATENCY_MS)) for m, p in plays]
        for notional in NOTIONALS
    }
    base = by_size[1_000.0]
    out = {name: compare([trip[name] for trip in base]) for name in ("fees", "spread")}
    for notional, trips in by_size.items():
        out[f"impact of {notional:,.0f}"] = compare([trip["impact"] for trip in trips])
    perpetual = [trip["funding"] for (m, _), trip in zip(plays, base, strict=True) if m == USDM]
    out["funding"] = compare(perpetual)
    latency = {LATENCY_MS: compare([trip["latency"] for trip in base])}
    for latency_ms in OTHER_LATENCIES_MS:
        played = play(seeds[-1] + 10, SPOT, symbols, seconds, latency_ms, (1_000.0,))
        trip = round_trips(played, settings_of(SPOT, 1_000.0, latency_ms))
        latency[latency_ms] = compare([trip["latency"]])
        say(f"played a latency of {latency_ms} ms")
    out |= {f"latency of {ms} ms": latency[ms] for ms in sorted(latency)}
    out["latency of 100 ms, signed"] = compare([trip["latency, signed"] for trip in base])
    out["total"] = compare([trip["total"] for trip in base])
    tiers = np.array([profile_of(name).trades_per_s for name in DEFAULT_SYMBOLS[:symbols]])
    for rate, tier in TIERS.items():
        if (tiers == rate).any():
            for name in ("spread", "impact", "latency"):
                pairs = columns([trip[name] for trip in base], tiers == rate)
                out[f"{name}, {tier}"] = compare(pairs)
    out |= recorded()
    old = [formerly(p, 1_000.0) for _, p in plays]
    for k, name in enumerate(("impact", "latency")):
        pairs = [(o[k], trip[name][1]) for o, trip in zip(old, base, strict=True)]
        out[f"formerly: {name}"] = compare(pairs)
    return out


def recorded() -> dict[str, Compared]:
    """The lines of recorded sessions; none where none are at hand."""
    plays = [_costs_recorded.played_of(paths, LATENCY_MS) for paths in _costs_recorded.sessions()]
    out: dict[str, Compared] = {}
    if not plays:
        say("no recorded sessions: set FORESHOCK_RECORDINGS")
        return out
    for notional in _costs_recorded.NOTIONALS:
        settings = settings_of(USDM, notional, LATENCY_MS)
        trips = [round_trips(played, settings) for played in plays]
        wanted = {"impact": f"impact of {notional:,.0f}"}
        if notional == 1_000.0:
            wanted |= {name: name for name in ("spread", "latency", "latency, signed", "total")}
        for name, told in wanted.items():
            pairs = [_costs_recorded.by_minute(trip[name]) for trip in trips]
            out[f"recorded: {told}"] = compare(pairs)
    return out


def main() -> int:
    """Exit code 1 where a judged component is surely biased by more than 10 %."""
    given = arguments(__doc__)
    found = measure(given.quick)
    ratios = {f"{name}, billed / realised": found[name].ratio for name in JUDGED}
    finish(
        "costs",
        given,
        {name: figures(name, line) for name, line in found.items()},
        ratios,
        "The bill beside realised costs",
    )
    biased = [
        name
        for name in JUDGED
        if found[name].lower > 1 + UNBIASED or found[name].upper < 1 - UNBIASED
    ]
    for name in biased:
        say(f"{name} is biased by more than 10 %")
    return 1 if biased else 0


if __name__ == "__main__":
    sys.exit(main())
