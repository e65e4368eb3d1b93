"""The slow twin of foreshock/features/series.py: everything from the list of all events."""

from __future__ import annotations

import math
from bisect import bisect_right
from itertools import pairwise

from foreshock.features.series import SeriesSettings, Transform
from foreshock.market.rows import CONTEXT_SERIES
from tests.reference.features import NAN, SECOND, Context, Event

Known = dict[int, float]  # the time a value is of -> the value, as it stands now


def known_of(events: list[Event], k: int, boundary: int) -> tuple[Known, int]:
    """(values by their own time, when the newest became known)."""
    values: Known = {}
    known = 0
    for e in events:
        if not isinstance(e, Context) or e.symbol != -1 or e.field != CONTEXT_SERIES + k:
            continue
        if e.at >= boundary or not math.isfinite(e.value) or not 0 < e.boundary <= e.at:
            continue
        newest = max(values, default=0)
        if e.boundary > newest:
            known = e.at
        if e.boundary > newest or e.boundary in values:
            values[e.boundary] = e.value
    return values, known


def deviation(values: list[float]) -> float:
    mean = sum(values) / len(values)
    return math.sqrt(sum((v - mean) ** 2 for v in values) / len(values))


def made(one: Transform, mine: Known, other: Known) -> float:
    span, newest = one.span_s * SECOND, max(mine)
    now = mine[newest]
    if one.kind == "level":
        return now
    if one.kind in ("difference", "change"):
        times = sorted(mine)
        at = bisect_right(times, newest - span) - 1
        if at < 0 or times[at] < newest - span - span // 2:
            return NAN
        before = mine[times[at]]
        if one.kind == "difference":
            return now - before
        return now / before - 1 if before > 0 else NAN
    source = mine if one.kind == "zscore" else other
    if one.kind in ("zscore", "per_mean"):
        inside = [v for at, v in sorted(source.items()) if at > newest - span]
        if len(inside) < 10:
            return NAN
        mean = sum(inside) / len(inside)
        if one.kind == "per_mean":
            return now / mean if mean > 0 else NAN
        return (now - mean) / deviation(inside) if max(inside) > min(inside) else NAN
    both = [
        (math.log(mine[at]), math.log(other[at]))
        for at in sorted(mine)
        if at > newest - span and at in other and mine[at] > 0 and other[at] > 0
    ]
    moves = [(b[0] - a[0], b[1] - a[1]) for a, b in pairwise(both)]
    if len(moves) < 10:
        return NAN
    xs, ys = [m[0] for m in moves], [m[1] for m in moves]
    if not deviation(xs) or not deviation(ys):
        return NAN
    x, y = sum(xs) / len(xs), sum(ys) / len(ys)
    covariance = sum((a - x) * (b - y) for a, b in moves) / len(moves)
    return covariance / deviation(xs) / deviation(ys)


def series_features(
    events: list[Event], boundary: int, settings: SeriesSettings
) -> dict[str, float]:
    """Every feature by name."""
    out = {}
    for one in settings.features:
        names = [one.series] + [one.other] * bool(one.other)
        found = [known_of(events, settings.names.index(name), boundary) for name in names]
        fresh = all(
            boundary - known <= settings.limit_s(name) * SECOND
            for name, (_, known) in zip(names, found, strict=True)
        )
        value = made(one, found[0][0], found[-1][0]) if fresh and found[0][0] else NAN
        out[one.name] = one.sign * value
    return out
