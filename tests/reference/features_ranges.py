"""The slow twin of foreshock/features/ranges.py: every feature from the list of all trades of one
symbol, no state at all."""

from __future__ import annotations

import itertools
import math
import statistics

from foreshock.features.family import span
from foreshock.features.ranges import RangesSettings
from tests.reference.features import NAN, SECOND, Event
from tests.reference.features_variation import Tape

Candle = tuple[int, int, int, int]  # open, high, low, close


def _candle(tape: Tape, start: int, end: int) -> Candle | None:
    """The trades of start <= arrival < end behind the price that stood at the start; None where
    that is not known."""
    opened = tape.price(start)
    if opened is None:
        return None
    prices = [opened, *(t.ticks for t in tape.between(start, end))]
    return opened, max(prices), min(prices), prices[-1]


def _whole(tape: Tape, seconds: int) -> Candle | None:
    return _candle(tape, tape.closes(seconds)[0], tape.boundary)


def _bars(tape: Tape, bar: int, seconds: int) -> list[Candle]:
    end = tape.closes(seconds)[-1]
    starts = [end - k * bar * SECOND for k in range(seconds // bar, 0, -1)]
    bars = [_candle(tape, start, start + bar * SECOND) for start in starts]
    return [] if bars[0] is None else [b for b in bars if b is not None]


def _spread(one: Candle, two: Candle) -> float:
    beta = math.log(one[1] / one[2]) ** 2 + math.log(two[1] / two[2]) ** 2
    gamma = math.log(max(one[1], two[1]) / min(one[2], two[2])) ** 2
    k = 3 - 2 * math.sqrt(2)
    alpha = (math.sqrt(2 * beta) - math.sqrt(beta)) / k - math.sqrt(gamma / k)
    return max(0.0, 2 * (math.exp(alpha) - 1) / (1 + math.exp(alpha)))


def _estimates(bars: list[Candle]) -> dict[str, float]:
    names = ("parkinson_volatility", "garman_klass_volatility", "rogers_satchell_volatility")
    if not bars:
        return dict.fromkeys((*names, "corwin_schultz_spread"), NAN)
    log = math.log
    parkinson = [log(h / low) ** 2 / (4 * log(2)) for _, h, low, _ in bars]
    garman = [log(h / low) ** 2 / 2 - (2 * log(2) - 1) * log(c / o) ** 2 for o, h, low, c in bars]
    rogers = [log(h / c) * log(h / o) + log(low / c) * log(low / o) for o, h, low, c in bars]
    variances = [max(0.0, statistics.fmean(x)) for x in (parkinson, garman, rogers)]
    spreads = [_spread(one, two) for one, two in itertools.pairwise(bars)]
    return {
        **dict(zip(names, variances, strict=True)),
        "corwin_schultz_spread": statistics.fmean(spreads),
    }


def ranges_features(
    events: list[Event], symbol: int, boundary: int, first: int,
    settings: RangesSettings | None = None,
) -> dict[str, float]:  # fmt: skip
    given, out = settings or RangesSettings(), {}
    tape = Tape(events, symbol, boundary, first)
    for w in given.ranges_s:
        it = _whole(tape, w)
        out[f"price_range_{span(w)}"] = 1e4 * (it[1] - it[2]) / it[2] if it else NAN
    for a, b in given.ratios_s:
        short, long = _whole(tape, a), _whole(tape, b)
        moved = short and long and long[1] > long[2]
        value = (short[1] - short[2]) / (long[1] - long[2]) if moved else NAN
        out[f"range_ratio_{span(a)}_{span(b)}"] = value
    for w in given.positions_s:
        it = _whole(tape, w)
        _, high, low, last = it or (0, 0, 0, 0)
        moved = high > low
        out[f"range_position_{span(w)}"] = (last - low) / (high - low) if moved else NAN
        out[f"drawdown_{span(w)}"] = 1e4 * (last / high - 1) if it else NAN
        out[f"runup_{span(w)}"] = 1e4 * (last / low - 1) if it else NAN
    for w in given.since_s:
        seconds = _bars(tape, 1, w)
        for name, at, best in (("high", 1, max), ("low", 2, min)):
            value = NAN
            if seconds:
                reached = best(second[at] for second in seconds)
                newest_first = [second[at] for second in reversed(seconds)]
                value = newest_first.index(reached) / w
            out[f"since_{name}_{span(w)}"] = value
    for a, b in given.breakouts_s:
        name = f"{span(a)}_{span(b)}"
        edge = boundary - a * SECOND
        old, new = _candle(tape, tape.closes(b)[0], edge), _candle(tape, edge, boundary)
        out[f"breakout_{name}"] = 1e4 * (new[1] / old[1] - 1) if old and new else NAN
        out[f"breakdown_{name}"] = 1e4 * (new[2] / old[2] - 1) if old and new else NAN
    for w in given.declines_s:
        prices = [tape.price(close) for close in tape.closes(w)]
        falls, climbs = [NAN], [NAN]
        if prices[0] is not None:
            falls = [1 - p / max(prices[: k + 1]) for k, p in enumerate(prices)]
            climbs = [p / min(prices[: k + 1]) - 1 for k, p in enumerate(prices)]
        out[f"max_drawdown_{span(w)}"] = 1e4 * max(falls)
        out[f"max_runup_{span(w)}"] = 1e4 * max(climbs)
    for a, b in given.bars_s:
        for name, value in _estimates(_bars(tape, a, b)).items():
            root = value if name == "corwin_schultz_spread" else math.sqrt(value / a)
            out[f"{name}_{span(a)}_{span(b)}"] = 1e4 * root
    return out
