"""The slow twin of foreshock/features/context.py: everything from the list of all events."""

from __future__ import annotations

import math

from foreshock.features.context import ContextSettings
from foreshock.features.family import span
from foreshock.market.rows import (
    CONTEXT_DISPERSION,
    CONTEXT_FALLING,
    CONTEXT_LEADER,
    CONTEXT_MEAN,
    CONTEXT_RETURN_RANK,
    CONTEXT_RISING,
    CONTEXT_SECTOR_MEAN,
    CONTEXT_SECTOR_RANK,
    CONTEXT_VOLUME_RANK,
    TAPE,
)
from tests.reference.features import NAN, SECOND, Context, Event, since_reset

ALL = -1


def told(events: list[Event], first: int) -> dict[tuple[int, int, int], float]:
    """The last usable value by (symbol, field, boundary) that came while that boundary, which is
    `first` or a later one, was the last that had closed."""
    return {
        (e.symbol, e.field, e.boundary): e.value
        for e in events
        if isinstance(e, Context) and first <= e.boundary <= e.at < e.boundary + SECOND
        if math.isfinite(e.value) and (e.value > 0 or e.field // 100 * 100 != CONTEXT_LEADER)
    }


def log_return(now: float, before: float) -> float:
    return math.log(now / before) if now > 0 and before > 0 else NAN


def whole(value: float) -> int | None:
    """A one-second return as a whole multiple of 10⁻⁸, None where it is not known."""
    if math.isnan(value):
        return None
    return min(50_000_000, max(-50_000_000, round(value * 1e8)))


def context_features(
    events: list[Event], symbol: int, boundary: int, first: int,
    settings: ContextSettings | None = None,
) -> dict[str, float]:  # fmt: skip
    """By name. `first` is the first boundary that was closed at all; they follow each other by the
    second."""
    settings = settings or ContextSettings()
    as_of = boundary - SECOND
    trades, reset_at = since_reset(events, symbol, TAPE, boundary)
    known = told([e for e in events if e.at < boundary], first)

    def own_price(at: int) -> float:
        if at < first or at <= reset_at:
            return NAN
        seen = [t.ticks for t in trades if t.at < at]
        return float(seen[-1]) if seen else NAN

    def own_return(seconds: int) -> float:
        return log_return(own_price(as_of), own_price(as_of - seconds * SECOND))

    out = {}
    for k, leader in enumerate(settings.gathered.leaders):
        short = leader.removesuffix("USDT").lower()

        def price(at: int, field: int = CONTEXT_LEADER + k) -> float:
            return known.get((ALL, field, at), NAN)

        reach = settings.regress_s[-1] + max(settings.leads_s, default=0) + 1
        prices = {s: price(as_of - s * SECOND) for s in range(reach + 1)}
        own = {s: own_price(as_of - s * SECOND) for s in range(reach + 1)}
        x = {s: whole(log_return(prices[s], prices[s + 1])) for s in range(reach)}
        y = {s: whole(log_return(own[s], own[s + 1])) for s in range(reach)}

        def moments(
            lead: int, window: int, prices: dict = prices, x: dict = x, y: dict = y
        ) -> tuple[float, float]:
            """(beta, correlation)"""
            both = [
                (x[s + lead], y[s]) for s in range(window)
                if x[s + lead] is not None and y[s] is not None
            ]  # fmt: skip
            if math.isnan(prices[0]) or 2 * len(both) < window:
                return NAN, NAN
            n = len(both)
            xx = n * sum(a * a for a, _ in both) - sum(a for a, _ in both) ** 2
            yy = n * sum(b * b for _, b in both) - sum(b for _, b in both) ** 2
            xy = n * sum(a * b for a, b in both) - sum(a for a, _ in both) * sum(b for _, b in both)
            return (
                xy / xx if xx > 0 else NAN,
                xy / (math.sqrt(xx) * math.sqrt(yy)) if xx > 0 and yy > 0 else NAN,
            )

        def leader_return(seconds: int, price=price) -> float:
            return log_return(price(as_of), price(as_of - seconds * SECOND))

        for w in settings.leader_return_s:
            out[f"{short}_return_{span(w)}"] = 1e4 * leader_return(w)
        for w in settings.regress_s:
            beta, correlation = moments(0, w)
            out[f"beta_{short}_{span(w)}"] = beta
            out[f"correlation_{short}_{span(w)}"] = correlation
        for lead in settings.leads_s:
            _, correlation = moments(lead, settings.regress_s[-1])
            out[f"lead_correlation_{short}_{span(lead)}"] = correlation
        beta, _ = moments(0, settings.regress_s[-1])
        for w in settings.residual_s:
            rest = own_return(w) - beta * leader_return(w)
            out[f"residual_{short}_{span(w)}"] = 1e4 * rest

    def of_all(field: int) -> float:
        return known.get((ALL, field, as_of), NAN)

    def of_one(field: int) -> float:
        return known.get((symbol, field, as_of), NAN)

    for k, w in enumerate(settings.gathered.windows_s):
        name = span(w)
        out[f"market_return_{name}"] = 1e4 * of_all(CONTEXT_MEAN + k)
        out[f"market_dispersion_{name}"] = 1e4 * of_all(CONTEXT_DISPERSION + k)
        out[f"breadth_rising_{name}"] = of_all(CONTEXT_RISING + k)
        out[f"breadth_falling_{name}"] = of_all(CONTEXT_FALLING + k)
        out[f"relative_return_{name}"] = 1e4 * (own_return(w) - of_all(CONTEXT_MEAN + k))
        out[f"return_rank_{name}"] = of_one(CONTEXT_RETURN_RANK + k)
        out[f"sector_return_{name}"] = 1e4 * of_one(CONTEXT_SECTOR_MEAN + k)
        out[f"sector_relative_return_{name}"] = 1e4 * (
            own_return(w) - of_one(CONTEXT_SECTOR_MEAN + k)
        )
        out[f"sector_rank_{name}"] = of_one(CONTEXT_SECTOR_RANK + k)
    out["volume_rank"] = of_one(CONTEXT_VOLUME_RANK)
    return out
