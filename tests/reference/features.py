"""The slow twin of foreshock/features: every feature from the list of all events, no state at all.

`features_at` walks the whole history of one symbol anew for every boundary. Nothing is incremental,
nothing is a ring; sums are Python integers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from foreshock.features.family import span
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


@dataclass(frozen=True)
class Bar:
    """A bar of `seconds` that opened at `opened`: (open, high, low, close) ticks, lots and lots
    bought by takers (None: the source does not say)."""

    at: int
    symbol: int
    opened: int
    ohlc: tuple[int, int, int, int]
    lots: int
    bought: int | None = None
    trades: int = 0
    closed: bool = True
    seconds: int = 60


@dataclass(frozen=True)
class Mark:
    at: int
    symbol: int
    mark: float
    index: float
    funding: float
    next_funding: int = 0


@dataclass(frozen=True)
class Metric:
    at: int
    symbol: int
    field: int
    value: float
    as_of: int = 0


@dataclass(frozen=True)
class Liquidation:
    """`long`: a long position was closed by force (the order sold)."""

    at: int
    symbol: int
    long: bool
    ticks: int
    lots: int


@dataclass(frozen=True)
class Context:
    at: int
    symbol: int  # −1: of all
    field: int
    value: float
    boundary: int = 0


Event = Trade | Book | Epoch | Bar | Mark | Metric | Liquidation | Context
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
    w5, w10, w30, w60, w300 = (window(trades, boundary, s) for s in (5, 10, 30, 60, 300))
    out = {}
    for name, chosen in (
        ("flow_imbalance_5s", w5), ("flow_imbalance_10s", w10), ("flow_imbalance_60s", w60),
        ("flow_imbalance_5m", w300), ("trade_flow_imbalance", w30),
    ):  # fmt: skip
        lots = sum(t.lots for t in chosen)
        out[name] = sum(map(signed, chosen)) / lots if lots else NAN
    for name, chosen in (
        ("trade_count_imbalance_10s", w10), ("trade_count_imbalance_60s", w60),
        ("trade_count_imbalance_5m", w300), ("ofi_trades", w30),
    ):  # fmt: skip
        buys = sum(not t.sell for t in chosen)
        out[name] = (2 * buys - len(chosen)) / len(chosen) if chosen else NAN
    for half_life in (1, 2, 10, 60, 300):
        value = NAN
        if trades and boundary - trades[-1].at <= 10 * half_life * SECOND:
            weights = [2.0 ** (-(trades[-1].at - t.at) / SECOND / half_life) for t in trades]
            above = sum(w * signed(t) for w, t in zip(weights, trades, strict=True))
            below = sum(w * t.lots for w, t in zip(weights, trades, strict=True))
            value = above / below
        out[f"signed_flow_decay_{span(half_life)}"] = value
    for seconds, chosen in ((10, w10), (60, w60), (300, w300)):
        out[f"trade_intensity_{span(seconds)}"] = math.log(1 + len(chosen) / seconds)
    out["trade_intensity_ratio_5s_60s"] = (len(w5) / 5) / (len(w60) / 60) if w60 else NAN
    out["trade_intensity_ratio_60s_5m"] = (len(w60) / 60) / (len(w300) / 300) if w300 else NAN
    lots = sum(t.lots for t in w60)
    large = sum(t.lots for t in w60 if is_large(t, trades))
    out["large_trade_share_60s"] = large / lots if lots else NAN
    for name, chosen in (("30s", w30), ("5m", w300)):
        value = NAN
        if chosen:
            vwap = sum(t.ticks * t.lots for t in chosen) / sum(t.lots for t in chosen)
            value = 1e4 * (trades[-1].ticks / vwap - 1)
        out[f"vwap_deviation_{name}"] = value
    return out


def features_at(
    events: list[Event], symbol: int, boundary: int, tops: dict[int, Top]
) -> dict[str, float]:
    """Every feature of the flow of one symbol by name."""
    return flow_features(events, symbol, boundary)
