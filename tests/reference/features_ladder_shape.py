"""The slow twin of foreshock/features/ladder_shape.py: two lists of levels and schoolbook sums."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise

from foreshock.features.ladder_shape_specs import LadderShapeSettings
from tests.reference.features import NAN, Top


def imbalance(bid: int | None, ask: int | None) -> float:
    return NAN if bid is None or ask is None or bid + ask == 0 else (bid - ask) / (bid + ask)


def cost(levels: list[tuple[int, int]], mid: Fraction, wanted: Fraction, most: int) -> float:
    """What buying for (selling for) `wanted` ticks · lots pays off the mid, bps."""
    paid, got = Fraction(0), Fraction(0)
    for ticks, lots in levels[:most]:
        take = min(Fraction(lots), (wanted - paid) / ticks)
        paid, got = paid + take * ticks, got + take
        if paid == wanted:
            return float(10_000 * abs(paid / got - mid) / mid)
    return NAN


def of_side(levels: list[tuple[int, int]], mid: Fraction) -> dict[str, float]:
    """Of the levels that are looked at one by one, best first."""
    ticks = [t for t, _ in levels]
    gaps = [abs(b - a) for a, b in pairwise(ticks)]
    total, largest = sum(q for _, q in levels), max(q for _, q in levels)
    wall = next(t for t, q in levels if q == largest)
    return {
        "first_gap_{}_bps": float(10_000 * gaps[0] / mid) if gaps else NAN,
        "level_gap_{}_bps": float(10_000 * Fraction(sum(gaps), len(gaps)) / mid) if gaps else NAN,
        "concentration_{}": sum((q / total) ** 2 for _, q in levels),
        "wall_distance_{}_bps": float(10_000 * abs(wall - mid) / mid),
    }


def ladder_shape_features(
    top: Top | None, known: tuple[int, int], scale: float,
    settings: LadderShapeSettings | None = None,
) -> dict[str, float]:  # fmt: skip
    """By name. `top` are all levels, best first, None where the book is not to be read; levels
    within `known` ticks are sure. `scale` is what a tick · lot is worth."""
    settings = settings or LadderShapeSettings()
    bids, asks = top if top else ([], [])
    readable = bool(bids and asks) and bids[0][0] < asks[0][0]
    if readable:
        mid = Fraction(bids[0][0] + asks[0][0], 2)
        bids = [bids[0], *(level for level in bids[1:] if level[0] >= known[0])]
        asks = [asks[0], *(level for level in asks[1:] if level[0] <= known[1])]

    def within(side: int, reach_bps: int) -> int | None:
        if not readable:
            return None
        far = mid * (1 + Fraction((-1 if side == 0 else 1) * reach_bps, 10_000))
        if (math.ceil(far) < known[0]) if side == 0 else (math.floor(far) > known[1]):
            return None
        levels = (bids, asks)[side]
        return sum(q for t, q in levels if abs(t - mid) <= abs(far - mid))

    out = {}
    for r in settings.imbalance_bps:
        out[f"depth_imbalance_{r}bps"] = imbalance(within(0, r), within(1, r))
    for side, name in enumerate(("bid", "ask")):
        for r in settings.slope_bps:
            lots = within(side, r)
            out[f"book_slope_{name}_{r}bps"] = (
                math.log(lots * float(mid) * scale / r) if lots else NAN
            )
    wide = [imbalance(within(0, r), within(1, r)) for r in settings.asymmetry_bps]
    out["order_book_slope"] = sum(wide) / len(wide)
    best = [levels[: settings.levels] for levels in (bids, asks)]
    lots_of = [sum(q for _, q in levels) for levels in best]
    out["bid_ask_imbalance"] = imbalance(lots_of[0], lots_of[1]) if readable else NAN
    for way, levels in (("sell", bids), ("buy", asks)):
        for quote in settings.cost_quote:
            money = f"{quote // 1000}k" if quote % 1000 == 0 else f"{quote}"
            wanted = Fraction(quote) / Fraction(scale)
            out[f"{way}_cost_{money}_bps"] = (
                cost(levels, mid, wanted, settings.cost_levels) if readable else NAN
            )
    for name, levels in zip(("bid", "ask"), best, strict=True):
        shape = of_side(levels, mid) if readable else of_side([(1, 1)], Fraction(1))
        out |= {key.format(name): value if readable else NAN for key, value in shape.items()}
    return out
