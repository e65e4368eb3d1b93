"""The slow twin of foreshock/features/impact.py: every feature from the list of all events."""

from __future__ import annotations

import math

from foreshock.features.family import span
from tests.reference.features import NAN, SECOND, Event, Trade
from tests.reference.features_variation import Tape

MONEY = 0.01 * 0.001 / 1e6  # millions, of one tick times one lot


def _vpins(tape: Tape) -> dict[str, float]:
    full: list[tuple[int, int]] = []
    capacity = filled = signed = 0
    for t in tape.trades:
        step = t.at // SECOND * SECOND
        known = sum(x.lots for x in tape.between(step - 300 * SECOND, step)) // 20
        for _ in range(t.lots):  # lot by lot
            if capacity == 0:
                capacity = known
            if capacity == 0:
                break
            filled, signed = filled + 1, signed + (-1 if t.sell else 1)
            if filled == capacity:
                full.append((abs(signed), capacity))
                capacity = filled = signed = 0
    out = {}
    for n in (20, 50):
        last = full[-n:]
        value = sum(a for a, _ in last) / sum(b for _, b in last) if len(last) == n else NAN
        out[f"vpin_{n}"] = value
    return out


def _large(t: Trade, tape: Tape) -> bool:
    step = t.at // SECOND * SECOND
    known = tape.between(step - 60 * SECOND, step)
    return bool(known) and t.lots * len(known) >= 5 * sum(x.lots for x in known)


def impact_features(
    events: list[Event], symbol: int, boundary: int, first: int
) -> dict[str, float]:
    tape = Tape(events, symbol, boundary, first)
    out = _vpins(tape)
    for w in (60, 300):
        returns, flows, ratios = [], [], []
        for close in tape.closes(w)[1:]:
            trades, before = tape.between(close - SECOND, close), tape.price(close - SECOND)
            if not trades or before is None:
                continue
            r = math.log(trades[-1].ticks / before)
            returns.append(r)
            flows.append(sum(MONEY * t.ticks * (-t.lots if t.sell else t.lots) for t in trades))
            ratios.append(abs(r) / sum(MONEY * t.ticks * t.lots for t in trades))
        roots = [math.copysign(math.sqrt(abs(x)), x) for x in flows]
        x2, y2, r2 = (sum(v * v for v in some) for some in (flows, roots, returns))
        rx = sum(r * x for r, x in zip(returns, flows, strict=True))
        ry = sum(r * y for r, y in zip(returns, roots, strict=True))
        out[f"kyle_lambda_{span(w)}"] = 1e4 * rx / x2 if x2 else NAN
        out[f"root_impact_{span(w)}"] = 1e4 * ry / y2 if y2 else NAN
        out[f"impact_correlation_{span(w)}"] = rx / math.sqrt(r2 * x2) if r2 * x2 else NAN
        out[f"amihud_{span(w)}"] = 1e4 * sum(ratios) / len(ratios) if ratios else NAN
        three = zip(tape.trades, tape.trades[1:], tape.trades[2:], strict=False)
        products = [
            (c.ticks - b.ticks) * (b.ticks - a.ticks)
            for a, b, c in three
            if c.at >= boundary - w * SECOND
        ]
        out[f"roll_spread_{span(w)}"] = NAN
        if products:
            mean = sum(products) / len(products)
            out[f"roll_spread_{span(w)}"] = 2e4 * math.sqrt(max(0, -mean)) / tape.trades[-1].ticks
    for after in (1, 5):
        found = []
        for close in tape.closes(300)[1:]:
            if close + after * SECOND > boundary:
                continue
            trades = tape.between(close - SECOND, close)
            side = sum(-t.lots if t.sell else t.lots for t in trades if _large(t, tape))
            then, later = tape.price(close), tape.price(close + after * SECOND)
            if side and then and later:
                found.append(-math.copysign(1e4, side) * (later / then - 1))
        out[f"large_trade_reversal_{after}s_5m"] = sum(found) / len(found) if found else NAN
    return out
