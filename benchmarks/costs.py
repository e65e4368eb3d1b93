"""Each component of the bill beside what it did cost on the simulated exchange.

At every second of every symbol a taker's round trip is decided on, filled by walking the true book
after the latency, and left a minute later in the same way. A component is unbiased where the mean
billed over the mean realised is 1; the interval (95 %) is over symbols and seeds, which draw apart,
and over minutes for the recorded sessions, where there are any.

The impact law is asked what orders pay of which the ladder is hidden from the bill, wholly or but
for its first levels, by size in shares of the last minute's volume. Its coefficients were fitted on
other seeds than these (501 to 504; decision 0080).
"""

from __future__ import annotations

import sys
from itertools import pairwise
from typing import Final

import numpy as np

from benchmarks import _costs_recorded
from benchmarks._costs_law import beyond, capacities, hidden, waited
from benchmarks._costs_play import (
    HOLD_S,
    KNOWN_LEVELS,
    WARM_S,
    Compared,
    Floats,
    Played,
    compare,
    play,
    round_trips,
)
from benchmarks.common import Figures, arguments, finish, say
from foreshock.costs.impact import law_shape, law_unit_bps, traded
from foreshock.costs.total import CostSettings
from foreshock.market.instruments import SPOT, USDM
from foreshock.simulation.settings import DEFAULT_SYMBOLS, profile_of

LATENCY_MS: Final = 100
NOTIONALS: Final = (200.0, 1_000.0, 2_000.0, 5_000.0, 10_000.0, 20_000.0, 50_000.0, 100_000.0)
LARGE: Final = (300_000.0, 1_000_000.0)  # for the law alone: many books do not hold so much
SHARES: Final = (0.001, 0.01, 0.1, 1.0, 10.0)  # of the last minute's volume
PATIENCE_S: Final = (5, 30)
OTHER_LATENCIES_MS: Final = (25, 50, 250, 500)
TIERS: Final = {4.0: "majors", 2.0: "large", 1.0: "small"}
UNBIASED: Final = 0.1
FEW: Final = 1_000  # a line of fewer orders is left out
# What must be unbiased at the defaults, beside the lines of the law that `judged` adds.
JUDGED: Final = (
    "fees", "fees, waiting 5 s", "fees, waiting 30 s", "spread", "impact of 1,000", "funding",
    "latency of 100 ms", "total", "total, less the reserve", "capacity, quote currency",
)  # fmt: skip
FROM_LEVELS: Final = 10  # of fewer known levels nothing is promised

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
    shape = law_shape(notional / traded(x["volume_60s"]), 0.5)
    law = law_unit_bps(x["volatility_1s"], 1.0) * shape
    impact = sum(
        np.maximum(law, notional / x[side] * 5.0) for side in ("ask_notional", "bid_notional")
    )
    latency = x["volatility_1s"] * np.sqrt(2 / np.pi * LATENCY_MS / 1e3) * 1e4
    return np.asarray(impact), latency


def measure(quick: bool) -> dict[str, Compared]:
    """Every line."""
    seeds, symbols, seconds = ((1, 2), 20, 300) if quick else ((1, 2, 3), 20, 1_200)
    plays: list[tuple[str, Played]] = []
    for seed in seeds:
        for market in (USDM, SPOT):
            apart = seed if market == USDM else seed + 100  # the same seed is the same market
            plays.append(
                (market, play(apart, market, symbols, seconds, LATENCY_MS, NOTIONALS + LARGE))
            )
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
    for name in ("in our favour", "signed"):
        out[f"latency of 100 ms, {name}"] = compare([trip[f"latency, {name}"] for trip in base])
    for name in ("total", "total, less the reserve"):
        out[name] = compare([trip[name] for trip in base])
    tiers = np.array([profile_of(name).trades_per_s for name in DEFAULT_SYMBOLS[:symbols]])
    for rate, tier in TIERS.items():
        if (tiers == rate).any():
            for name in ("spread", "impact", "latency"):
                pairs = columns([trip[name] for trip in base], tiers == rate)
                out[f"{name}, {tier}"] = compare(pairs)
    for patience_s in PATIENCE_S:
        told = [waited(p, settings_of(m, 1_000.0, LATENCY_MS), patience_s) for m, p in plays]
        out[f"fees, waiting {patience_s} s"] = compare([each.fees for each in told])
        share = float(np.mean([each.share for each in told]))
        say(f"{share:.1%} of the orders that waited {patience_s} s were filled as they waited")
    out["capacity, quote currency"] = compare([capacities(seeds[-1] + 20, USDM, symbols, 300)])
    out |= lawful(plays, tiers)
    out |= recorded()
    old = [formerly(p, 1_000.0) for _, p in plays]
    for k, name in enumerate(("impact", "latency")):
        pairs = [(o[k], trip[name][1]) for o, trip in zip(old, base, strict=True)]
        out[f"formerly: {name}"] = compare(pairs)
    return out


def of_law(levels: int | None, low: float) -> str:
    """The name of a line of the law: what is known of the ladder, and the order's size."""
    known = "no ladder" if levels is None else f"{levels} level{'s' * (levels > 1)}"
    high = SHARES[SHARES.index(low) + 1]
    return f"law, {known}, {100 * low:g} % to {100 * high:g} % of a minute"


def judged(found: dict[str, Compared]) -> list[str]:
    """What must be unbiased: where orders are no larger than a minute's volume, and the ladder is
    not known at all or for some levels."""
    names = [of_law(levels, low) for levels in (None, *KNOWN_LEVELS) for low in SHARES[:3]
             if levels is None or levels >= FROM_LEVELS]  # fmt: skip
    return [*JUDGED, *(name for name in names if name in found)]


def lawful(plays: list[tuple[str, Played]], tiers: np.ndarray) -> dict[str, Compared]:
    """The lines of the law: by what is known of the ladder and by size; by tier without a ladder.
    All sizes of a symbol and play are one cluster."""
    out: dict[str, Compared] = {}
    for levels in (None, *reversed(KNOWN_LEVELS)):
        pairs, shares = [], []
        for market, played in plays:
            shown = hidden(played, levels)
            each = [beyond(shown, settings_of(market, q, LATENCY_MS)) for q in NOTIONALS + LARGE]
            pairs.append(tuple(np.concatenate([pair[k] for pair, _ in each]) for k in range(2)))
            shares.append(np.concatenate([share for _, share in each]))
        for low, high in pairwise(SHARES):
            found = _sized(pairs, shares, low, high)
            if found.trips >= FEW:
                out[of_law(levels, low)] = found
        if levels is None:
            for rate, tier in TIERS.items():
                if (tiers == rate).any():
                    keep = tiers == rate
                    some = columns(pairs, keep), [share[:, keep] for share in shares]
                    out[f"law, no ladder, {tier}"] = _sized(*some, SHARES[0], SHARES[3])
    return out


def _sized(pairs: Pairs, shares: list[Floats], low: float, high: float) -> Compared:
    inside = [(share >= low) & (share < high) for share in shares]
    return compare(
        [(np.where(k, billed, np.nan), paid)
         for k, (billed, paid) in zip(inside, pairs, strict=True)]
    )  # fmt: skip


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
        told = [beyond(hidden(played, None), settings)[0] for played in plays]
        name = f"recorded: law, no ladder, {notional:,.0f}"
        out[name] = compare([_costs_recorded.by_minute(pair) for pair in told])
        wanted = {"impact": f"impact of {notional:,.0f}"}
        if notional == 1_000.0:
            wanted |= {name: name for name in ("spread", "latency", "latency, signed", "total")}
        for name, line in wanted.items():
            pairs = [_costs_recorded.by_minute(trip[name]) for trip in trips]
            out[f"recorded: {line}"] = compare(pairs)
    return out


def main() -> int:
    """Exit code 1 where a judged component is surely biased by more than 10 %."""
    given = arguments(__doc__)
    found = measure(given.quick)
    names = judged(found)
    ratios = {f"{name}, billed / realised": found[name].ratio for name in names}
    finish(
        "costs",
        given,
        {name: figures(name, line) for name, line in found.items()},
        ratios,
        "The bill beside realised costs",
    )
    biased = [
        name
        for name in names
        if found[name].lower > 1 + UNBIASED or found[name].upper < 1 - UNBIASED
    ]
    for name in biased:
        say(f"{name} is biased by more than 10 %")
    return 1 if biased else 0


if __name__ == "__main__":
    sys.exit(main())
