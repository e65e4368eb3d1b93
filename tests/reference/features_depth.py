"""The slow twin of foreshock/features/depth.py: everything from the list of all events."""

from __future__ import annotations

import math
from itertools import pairwise
from statistics import fmean, pstdev

from foreshock.features.depth_specs import DepthSettings
from foreshock.features.family import span
from foreshock.market.rows import BOOK, TAPE
from tests.reference.features import NAN, SECOND, Book, Event, Top, since_reset

USUAL = DepthSettings()


def balance(bid: float, ask: float) -> float:
    return (bid - ask) / (bid + ask)


def lots_of(top: Top, side: int, levels: int = 5) -> int:
    return sum(lots for _, lots in top[side][:levels])


def twice_mid(book: Book) -> int:
    return book.touch[0] + book.touch[2]


def depth_features(
    events: list[Event], symbol: int, boundary: int, tops: dict[int, Top],
    settings: DepthSettings = USUAL,
) -> dict[str, float]:  # fmt: skip
    """By name. `tops[b]` is the symbol's ladder at boundary b, for every boundary up to this one;
    its first key is the first boundary that was closed at all."""
    book, reset_at = since_reset(events, symbol, BOOK, boundary)
    trades, _ = since_reset(events, symbol, TAPE, boundary)
    first = min(tops)

    def closes(seconds: int) -> list[int]:
        return [boundary - ago * SECOND for ago in range(seconds - 1, -1, -1)]

    def touch_at(close: int) -> Book | None:
        """The last valid record, as it was seen at that close."""
        if close < first or close <= reset_at:
            return None
        return next((b for b in reversed(book) if b.at < close), None)

    def top_at(close: int) -> Top | None:
        top = tops[close] if touch_at(close) else None
        return top if top and lots_of(top, 0) and lots_of(top, 1) else None

    def recent(seconds: int) -> list[Book]:
        return [b for b in book if b.at >= boundary - seconds * SECOND]

    now, top = touch_at(boundary), top_at(boundary)
    mid = twice_mid(now) / 2 if now else NAN
    bid, bid_lots, ask, ask_lots = now.touch if now else (NAN, NAN, NAN, NAN)
    out = {
        "spread_bps": (ask - bid) / mid * 1e4,
        "queue_imbalance": balance(bid_lots, ask_lots),
        "microprice_deviation_bps": (balance(bid_lots, ask_lots) * (ask - bid) / 2) / mid * 1e4,
        "last_deviation_bps": 1e4 * (trades[-1].ticks - mid) / mid if trades else NAN,
        "weighted_mid_5_bps": NAN,
    }
    for n in settings.levels:
        sides = [lots_of(tops[boundary], side, n) for side in (0, 1)]
        out[f"depth_imbalance_{n}"] = balance(*sides) if now and all(sides) else NAN
    if top:
        vwap = [sum(t * q for t, q in top[side]) / lots_of(top, side) for side in (0, 1)]
        bids, asks = lots_of(top, 0), lots_of(top, 1)
        weighted = (vwap[0] * asks + vwap[1] * bids) / (bids + asks)
        out["weighted_mid_5_bps"] = 1e4 * (weighted - mid) / mid

    for w in settings.ofi_s:
        seen = [b.touch[1] + b.touch[3] for b in map(touch_at, closes(w)) if b]
        flow = sum(b.ofi[0] for b in recent(w))
        out[f"ofi_{span(w)}"] = flow / (fmean(seen) / 2) if seen else NAN
    for w in sorted({*settings.mlofi_s, *settings.level_ofi_s}):
        both = [lots_of(t, 0) + lots_of(t, 1) for t in map(top_at, closes(w)) if t]
        level = fmean(both) / 2 if both else NAN
        if w in settings.mlofi_s:
            out[f"mlofi_5_{span(w)}"] = sum(sum(b.ofi) for b in recent(w)) / level
        if w in settings.level_ofi_s:
            for k in range(1, 5):
                flow = sum(b.ofi[k] for b in recent(w))
                out[f"ofi_level_{k + 1}_{span(w)}"] = flow / (level / 5)

    for w in settings.queue_s:
        known = [touch_at(close) for close in closes(w)]
        values = [balance(b.touch[1], b.touch[3]) for b in known if b]
        out[f"queue_imbalance_mean_{span(w)}"] = fmean(values) if len(values) == w else NAN
    for w in settings.returns_s:
        before = touch_at(boundary - w * SECOND)
        both_known = now is not None and before is not None
        out[f"mid_return_{span(w)}"] = (
            1e4 * (twice_mid(now) / twice_mid(before) - 1) if both_known else NAN
        )
    for w in settings.volatility_s:
        path = [touch_at(close) for close in closes(w + 1)]
        value = NAN
        if all(path):
            squares = [math.log(twice_mid(b) / twice_mid(a)) ** 2 for a, b in pairwise(path)]
            value = 1e4 * math.sqrt(fmean(squares))
        out[f"mid_volatility_{span(w)}"] = value

    steps = list(pairwise(book))
    for w in settings.moves_s:
        inside = [(a, b) for a, b in steps if b.at >= boundary - w * SECOND]
        ups = sum(twice_mid(b) > twice_mid(a) for a, b in inside)
        downs = sum(twice_mid(b) < twice_mid(a) for a, b in inside)
        out[f"mid_move_imbalance_{span(w)}"] = balance(ups, downs) if ups + downs else NAN
    for w in settings.updates_s:
        out[f"quote_intensity_{span(w)}"] = math.log(1 + len(recent(w)) / w) if now else NAN
    for w in settings.changes_s:
        changed = sum(b.touch != a.touch for a, b in steps if b.at >= boundary - w * SECOND)
        rows = len(recent(w))
        out[f"touch_change_share_{span(w)}"] = changed / rows if rows else NAN

    def sampled(what: str, w: int) -> list[float]:
        """At every close of the window; empty where one is not known."""
        if what == "spread":
            seen = [touch_at(close) for close in closes(w)]
            return [float(b.touch[2] - b.touch[0]) for b in seen if b] if all(seen) else []
        sides = {"depth": (0, 1), "bid_depth": (0,), "ask_depth": (1,)}[what]
        ladders = [top_at(close) for close in closes(w)]
        if not all(ladders):
            return []
        return [math.log(sum(lots_of(t, side) for side in sides)) for t in ladders]

    for w in settings.spread_s:
        spreads = sampled("spread", w)
        out[f"spread_mean_{span(w)}"] = 1e4 * fmean(spreads) / mid if spreads else NAN
        out[f"spread_deviation_{span(w)}"] = 1e4 * pstdev(spreads) / mid if spreads else NAN
    for w in settings.zscores_s:
        for what in ("spread", "depth", "bid_depth", "ask_depth"):
            x = sampled(what, w)
            same = len(set(x)) < 2
            out[f"{what}_zscore_{span(w)}"] = NAN if same else (x[-1] - fmean(x)) / pstdev(x)
    return out
