"""Surge labels, one at a time and row by row, as docs/vocabulary.md tells them."""

from __future__ import annotations

from collections.abc import Sequence

SECOND = 1_000_000_000
Span = tuple[int, int]


def meets(start: int, end: int, spans: Sequence[Span]) -> bool:
    """Whether [start, end] meets any [a, b)."""
    return any(a <= end and b > start for a, b in spans)


def quotes(
    t0: int,
    far_bps: float,
    near_bps: float,
    path: Sequence[tuple[int, float, float]],
    *,
    horizon_s: int,
    latency_ms: int,
    side: int,
    spans: Sequence[Span] = (),
    data_end: int | None = None,
) -> tuple[int, int, float]:
    """(label, t1, outcome in bps or 0 where censored) on (time, bid, ask) rows."""
    deadline = t0 + horizon_s * SECOND
    end = data_end if data_end is not None else path[-1][0]
    if deadline > end or meets(t0, deadline, spans) or not far_bps > 0 or not near_bps > 0:
        return -1, deadline, 0.0
    window = [i for i, row in enumerate(path) if t0 + latency_ms * 10**6 <= row[0] <= deadline]
    earlier = [i for i, row in enumerate(path) if row[0] <= deadline]
    if not earlier:
        return -1, deadline, 0.0
    at = window[0] if window else earlier[-1]
    _, bid, ask = path[at]
    entry = ask if side == 1 else bid
    far, near = entry * (1 + side * far_bps / 1e4), entry * (1 - side * near_bps / 1e4)
    label, t1, leave = 0, deadline, earlier[-1]
    for i in window[1:]:
        time, row_bid, row_ask = path[i]
        price = row_bid if side == 1 else row_ask
        won = price >= far if side == 1 else price <= far
        lost = price <= near if side == 1 else price >= near
        if won or lost:
            label, t1, leave = int(won), time, i
            break
    first, last = (bid + ask) / 2, (path[leave][1] + path[leave][2]) / 2
    return label, t1, side * (last / first - 1) * 1e4


def bars(
    t0: int,
    far_bps: float,
    near_bps: float,
    path: Sequence[tuple[int, float, float, float, float]],
    *,
    bar_s: int,
    half_spread_bps: float,
    horizon_s: int,
    side: int,
    spans: Sequence[Span] = (),
) -> tuple[int, int, float]:
    """(label, t1, outcome in bps or 0 where censored) on (open time, open, high, low, close)."""
    deadline, bar = t0 + horizon_s * SECOND, bar_s * SECOND
    window = [row for row in path if row[0] >= t0 and row[0] + bar <= deadline]
    times = {row[0] for row in path}
    last_end = max(times) + bar
    holes = [
        (row[0] + bar, min(t for t in times if t > row[0]))
        for row in path
        if row[0] + bar not in times and row[0] != max(times)
    ]
    if not window or deadline > last_end or t0 < min(times):
        return -1, deadline, 0.0
    if meets(t0, deadline, [*spans, *holes]):
        return -1, deadline, 0.0
    opened = window[0][1]
    entry = opened * (1 + side * half_spread_bps / 1e4)
    far, near = entry * (1 + side * far_bps / 1e4), entry * (1 - side * near_bps / 1e4)
    for time, first, high, low, _ in window:
        won = high >= far if side == 1 else low <= far
        lost = low <= near if side == 1 else high >= near
        if lost:
            price = min(near, first) if side == 1 else max(near, first)
            return 0, time + bar, side * (price / opened - 1) * 1e4
        if won:
            return 1, time + bar, side * (far / opened - 1) * 1e4
    return 0, deadline, side * (window[-1][4] / opened - 1) * 1e4
