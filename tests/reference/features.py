"""The slow twin of foreshock/features: every feature from the list of all events, no state at all.

`features_at` walks the whole history of one symbol anew for every boundary. Nothing is incremental,
nothing is a ring; sums are Python integers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from foreshock.market.rows import BOOK, SYNCED, TAPE

SECOND = 1_000_000_000
NAN = math.nan


@dataclass(frozen=True)
class Trade:
    at: int
    symbol: int
    sell: bool
    ticks: int
    lots: int


@dataclass(frozen=True)
class Book:
    """A quote or depth row with its touch record: valid, (bid, lots, ask, lots), five OFIs."""

    at: int
    symbol: int
    valid: bool
    touch: tuple[int, int, int, int]
    ofi: tuple[int, int, int, int, int]
    quote: bool = False


@dataclass(frozen=True)
class Epoch:
    at: int
    symbol: int
    family: int
    state: int
    number: int


Event = Trade | Book | Epoch
Top = list[list[tuple[int, int]]]  # [bids, asks], best first, (ticks, lots)


def since_reset(events: list[Event], symbol: int, family: int, before: int) -> tuple[list, int]:
    """(events of the family after its last reset, arrival of that reset or −1)."""
    kept: list[Event] = []
    number, reset_at = -1, -1
    for event in events:
        if event.symbol != symbol or event.at >= before:
            continue
        if isinstance(event, Epoch):
            if event.family != family:
                continue
            if event.state != SYNCED or event.number != number:
                kept, reset_at = [], event.at
            number = event.number
        elif isinstance(event, Trade) and family == TAPE:
            if event.ticks > 0 and event.lots > 0:
                kept.append(event)
        elif isinstance(event, Book) and family == BOOK and event.valid:
            kept.append(event)
    return kept, reset_at


def window(trades: list[Trade], boundary: int, seconds: int) -> list[Trade]:
    return [t for t in trades if boundary - seconds * SECOND <= t.at < boundary]


def signed(trade: Trade) -> int:
    return -trade.lots if trade.sell else trade.lots


def is_large(trade: Trade, trades: list[Trade]) -> bool:
    own_step = trade.at // SECOND * SECOND
    known = window(trades, own_step, 60)
    return bool(known) and trade.lots >= 5 * sum(t.lots for t in known) / len(known)


def flow_features(events: list[Event], symbol: int, boundary: int) -> dict[str, float]:
    trades, _ = since_reset(events, symbol, TAPE, boundary)
    w5, w10, w30, w60 = (window(trades, boundary, s) for s in (5, 10, 30, 60))
    out = {}
    for name, chosen in (("10s", w10), ("60s", w60)):
        lots = sum(t.lots for t in chosen)
        out[f"flow_imbalance_{name}"] = sum(map(signed, chosen)) / lots if lots else NAN
    buys = sum(not t.sell for t in w10)
    out["trade_count_imbalance_10s"] = (2 * buys - len(w10)) / len(w10) if w10 else NAN
    for half_life in (2, 10, 60):
        value = NAN
        if trades and boundary - trades[-1].at <= 10 * half_life * SECOND:
            weights = [2.0 ** (-(trades[-1].at - t.at) / SECOND / half_life) for t in trades]
            above = sum(w * signed(t) for w, t in zip(weights, trades, strict=True))
            below = sum(w * t.lots for w, t in zip(weights, trades, strict=True))
            value = above / below
        out[f"signed_flow_decay_{half_life}s"] = value
    out["trade_intensity_10s"] = math.log(1 + len(w10) / 10)
    out["trade_intensity_ratio_5s_60s"] = (len(w5) / 5) / (len(w60) / 60) if w60 else NAN
    lots = sum(t.lots for t in w60)
    large = sum(t.lots for t in w60 if is_large(t, trades))
    out["large_trade_share_60s"] = large / lots if lots else NAN
    value = NAN
    if w30:
        vwap = sum(t.ticks * t.lots for t in w30) / sum(t.lots for t in w30)
        value = 1e4 * (trades[-1].ticks / vwap - 1)
    out["vwap_deviation_30s"] = value
    return out


def depth_features(
    events: list[Event], symbol: int, boundary: int, tops: dict[int, Top]
) -> dict[str, float]:
    """`tops[b]` is the symbol's ladder at boundary b, for every boundary up to this one."""
    names = "spread_bps queue_imbalance depth_imbalance_5 microprice_deviation_bps"
    out = dict.fromkeys([*names.split(), "ofi_10s", "mlofi_5_10s"], NAN)
    book, reset_at = since_reset(events, symbol, BOOK, boundary)
    if not book:
        return out
    bid, bid_lots, ask, ask_lots = book[-1].touch
    mid = (bid + ask) / 2
    out["spread_bps"] = (ask - bid) / mid * 1e4
    out["queue_imbalance"] = (bid_lots - ask_lots) / (bid_lots + ask_lots)
    weighted = (bid * ask_lots + ask * bid_lots) / (bid_lots + ask_lots)
    out["microprice_deviation_bps"] = (weighted - mid) / mid * 1e4
    bids, asks = (sum(lots for _, lots in side) for side in tops[boundary])
    if bids and asks:
        out["depth_imbalance_5"] = (bids - asks) / (bids + asks)

    touch_depths, top_depths = [], []
    for close in range(boundary - 9 * SECOND, boundary + 1, SECOND):
        seen = [b for b in book if b.at < close]
        if close not in tops or close <= reset_at or not seen:
            continue
        touch_depths.append((seen[-1].touch[1] + seen[-1].touch[3]) / 2)
        bids, asks = (sum(lots for _, lots in side) for side in tops[close])
        if bids and asks:
            top_depths.append((bids + asks) / 2)
    recent = [b for b in book if b.at >= boundary - 10 * SECOND]
    if touch_depths:
        mean = sum(touch_depths) / len(touch_depths)
        out["ofi_10s"] = sum(b.ofi[0] for b in recent) / mean
    if top_depths:
        mean = sum(top_depths) / len(top_depths)
        out["mlofi_5_10s"] = sum(sum(b.ofi) for b in recent) / mean
    return out


def price_at(trades: list[Trade], reset_at: int, close: int) -> int | None:
    """The last price at that close, as it was seen then; None where none was known."""
    seen = [t for t in trades if t.at < close]
    return seen[-1].ticks if seen and close > reset_at else None


def variation_features(
    events: list[Event], symbol: int, boundary: int, first_boundary: int
) -> dict[str, float]:
    trades, reset_at = since_reset(events, symbol, TAPE, boundary)

    def price(seconds_ago: int) -> int | None:
        close = boundary - seconds_ago * SECOND
        return price_at(trades, reset_at, close) if close >= first_boundary else None

    def volatility(seconds: int) -> float:
        total = 0.0
        for ago in range(seconds):
            now, before = price(ago), price(ago + 1)
            if now is None or before is None:
                return NAN
            total += math.log(now / before) ** 2
        return math.sqrt(total / seconds)

    def momentum(seconds: int) -> float:
        now, before = price(0), price(seconds)
        return NAN if now is None or before is None else 1e4 * (now / before - 1)

    slow, fast = volatility(60), volatility(10)
    return {
        "realised_volatility_60s": 1e4 * slow,
        "momentum_10s": momentum(10),
        "momentum_60s": momentum(60),
        "variation_ratio_10s_60s": fast / slow if slow else NAN,
    }


def features_at(
    events: list[Event], symbol: int, boundary: int, tops: dict[int, Top]
) -> dict[str, float]:
    """Every feature of one symbol by name; `tops` as in `depth_features`, so that its first key is
    the first boundary that was closed at all."""
    return {
        **flow_features(events, symbol, boundary),
        **depth_features(events, symbol, boundary, tops),
        **variation_features(events, symbol, boundary, min(tops)),
    }
