"""The slow twin of foreshock/features/derivatives.py: everything from the list of all events."""

from __future__ import annotations

import math

from foreshock.features.derivatives_specs import DerivativesSettings
from foreshock.features.family import span
from tests.reference.features import NAN, SECOND, Event, Liquidation, Mark, Metric

MINUTE, HOUR, DAY = 60 * SECOND, 3600 * SECOND, 86_400 * SECOND


def good(value: float) -> bool:
    return math.isfinite(value) and value > 0


def ratio(a: float, b: float) -> float:
    return a / b - 1 if good(a) and good(b) else NAN


def score(value: float, values: list[float]) -> float:
    if len(values) < 10 or min(values) == max(values):
        return NAN
    mean = sum(values) / len(values)
    return (value - mean) / math.sqrt(sum((v - mean) ** 2 for v in values) / len(values))


def settled(events: list[Event]) -> list[tuple[int, float]]:
    """(time, rate) of settled funding, by a metric or by the announced time having passed."""
    found: list[tuple[int, float]] = []
    last: Mark | None = None
    for e in events:
        told = []
        if isinstance(e, Mark):
            if last and 0 < last.next_funding < e.next_funding and last.next_funding <= e.at:
                told = [(last.next_funding, last.funding)]
            last = e
        elif isinstance(e, Metric) and e.field == 7 and 0 < e.as_of <= e.at + MINUTE:
            told = [(e.as_of, e.value)]
        for at, rate in told:
            if not math.isfinite(rate):
                continue
            if not found or at >= found[-1][0] + MINUTE:
                found.append((at, rate))
            elif at > found[-1][0] - MINUTE:
                found[-1] = (found[-1][0], rate)
    return found


def slots(events: list[Event], field: int) -> list[tuple[int, float]]:
    """(own time, value) of a metric, the last one of each five minutes, never going back."""
    found: list[tuple[int, float]] = []
    for e in events:
        if not isinstance(e, Metric) or e.field != field or not good(e.value):
            continue
        if e.as_of <= 0 or e.as_of > e.at + MINUTE or (found and e.as_of < found[-1][0]):
            continue
        if found and found[-1][0] // (5 * MINUTE) == e.as_of // (5 * MINUTE):
            found.pop()
        found.append((e.as_of, e.value))
    return found


def derivatives_features(
    events: list[Event], symbol: int, boundary: int, settings: DerivativesSettings, worth: float
) -> dict[str, float]:
    """Every feature by name; `worth` is the quote currency of a tick · lot."""
    mine = [e for e in events if e.symbol == symbol and e.at < boundary]
    marks = [e for e in mine if isinstance(e, Mark)]
    last = marks[-1] if marks and marks[-1].at >= boundary - settings.mark_stale_s * SECOND else (
        Mark(0, symbol, NAN, NAN, NAN)
    )  # fmt: skip
    rate = last.funding if last.next_funding > 0 else NAN
    paid, year = settled(mine), 365 * 24 / settings.funding_interval_h

    def within(ns: int) -> list[float]:
        return [r for at, r in paid if at > paid[-1][0] - ns]

    def basis(m: Mark) -> float:
        return 1e4 * ratio(m.mark, m.index)

    def of_minute(ago: int) -> Mark | None:
        minute = (boundary - 1) // MINUTE - ago
        there = [m for m in marks if m.at // MINUTE == minute and good(m.mark)]
        return there[-1] if there else None

    mean = within(settings.funding_mean_h * HOUR)
    out = {
        "funding_rate": rate,
        "funding_annualized": rate * year,
        "funding_zscore": score(rate, within(settings.funding_days * DAY)),
        "funding_change": rate - paid[-1][1] if paid else NAN,
        f"funding_mean_{settings.funding_mean_h}h": sum(mean) / len(mean) if mean else NAN,
        "time_to_funding": (
            (last.next_funding - boundary) / SECOND if last.next_funding >= boundary else NAN
        ),
        "basis": basis(last),
        "basis_annualized": basis(last) / 1e4 * year,
        "basis_zscore_1h": score(
            basis(last),
            [basis(m) for k in range(60, 0, -1) if (m := of_minute(k)) and good(m.index)],
        ),
    }
    for minutes in settings.basis_minutes:
        then = of_minute(minutes)
        name = span(60 * minutes)
        out[f"basis_change_{name}"] = basis(last) - basis(then) if then else NAN
        out[f"mark_return_{name}"] = (
            1e4 * math.log(last.mark / then.mark) if then and good(last.mark) else NAN
        )
    out |= _metrics(mine, boundary, settings)
    return out | _liquidations(mine, boundary, settings, worth)


def _metrics(mine: list[Event], boundary: int, settings: DerivativesSettings) -> dict[str, float]:
    stale = settings.metric_stale_s * SECOND

    def series(field: int) -> list[tuple[int, float]]:
        found = slots(mine, field)
        return found if found and found[-1][0] >= boundary - stale else []

    def level(field: int) -> float:
        return series(field)[-1][1] if series(field) else NAN

    def change(field: int, ns: int) -> float:
        found = series(field)
        if not found:
            return NAN
        limit = found[-1][0] - ns
        before = [v for at, v in found if limit - stale <= at <= limit]
        return level(field) / before[-1] - 1 if before else NAN

    def scored(field: int) -> float:
        found = series(field)
        return score(level(field), [v for at, v in found if at > found[-1][0] - DAY])

    return {
        "oi_change_1h": change(1, HOUR),
        "oi_change_24h": change(1, DAY),
        "oi_zscore_24h": scored(1),
        "long_short_ratio": level(3),
        "top_long_short_accounts": level(4),
        "top_long_short_positions": level(5),
        "taker_buy_sell_ratio": level(6),
        "top_against_all": math.log(level(5) / level(3)),
        "long_short_change_1h": change(3, HOUR),
        "top_positions_change_1h": change(5, HOUR),
        "long_short_zscore_24h": scored(3),
        "taker_zscore_24h": scored(6),
    }


def _liquidations(
    mine: list[Event], boundary: int, settings: DerivativesSettings, worth: float
) -> dict[str, float]:
    seen = [e for e in mine if isinstance(e, Liquidation) and e.ticks > 0 and e.lots > 0]
    out = {}
    for w in settings.liquidations_s:
        since = boundary - w * SECOND
        if w > 300:
            since = (boundary - 1) // MINUTE * MINUTE - (w - 60) * SECOND
        inside = [e for e in seen if e.at >= since]
        longs = sum(e.ticks * e.lots for e in inside if e.long)
        both = sum(e.ticks * e.lots for e in inside)
        out[f"liq_imbalance_{span(w)}"] = (2 * longs - both) / both if both else NAN
        out[f"liq_count_{span(w)}"] = math.log(1 + len(inside)) if seen else NAN
        out[f"liq_notional_{span(w)}"] = math.log10(1 + both * worth) if seen else NAN
    return out
