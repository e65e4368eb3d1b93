"""The slow twins of foreshock/features/variation.py, ranges.py and path.py: every feature from the
list of all events of one symbol, no state at all."""

from __future__ import annotations

import itertools
import math
import statistics
from bisect import bisect_left

from foreshock.features.family import span
from foreshock.features.variation import VariationSettings
from foreshock.market.rows import TAPE
from tests.reference.features import NAN, SECOND, Event, Trade, since_reset

MINUTE = 60 * SECOND


class Tape:
    """The trades of one symbol in its present epoch, asked from one boundary; `first` is the first
    boundary that was ever closed: of before no price is known."""

    def __init__(self, events: list[Event], symbol: int, boundary: int, first: int) -> None:
        kept, reset_at = since_reset(events, symbol, TAPE, boundary)
        self.trades: list[Trade] = [t for t in kept if isinstance(t, Trade)]
        self.boundary, self.first, self.reset_at = boundary, first, reset_at
        self.minute = boundary // MINUTE * MINUTE  # the end of the last full one
        self._times = [t.at for t in self.trades]

    def price(self, close: int) -> int | None:
        """The last price before that close, as it was seen then."""
        before = bisect_left(self._times, close)
        known = before and close > self.reset_at and close >= self.first
        return self.trades[before - 1].ticks if known else None

    def between(self, start: int, end: int) -> list[Trade]:
        """Those with start <= arrival < end."""
        return self.trades[bisect_left(self._times, start) : bisect_left(self._times, end)]

    def closes(self, seconds: int) -> list[int]:
        """The closes of a window, oldest first: of seconds, or beyond five minutes of full minutes;
        one more than it has returns."""
        end, gap = (self.boundary, SECOND) if seconds <= 300 else (self.minute, MINUTE)
        return [end - k * gap for k in range(seconds * SECOND // gap, -1, -1)]

    def returns(self, seconds: int) -> list[float]:
        """Log returns of a window, oldest first; empty where its first price is not known."""
        prices = [self.price(close) for close in self.closes(seconds)]
        if prices[0] is None:
            return []
        return [math.log(b / a) for a, b in itertools.pairwise(prices)]


def _over(above: float, below: float) -> float:
    return above / below if below else NAN


def variation_features(
    events: list[Event], symbol: int, boundary: int, first: int,
    settings: VariationSettings | None = None,
) -> dict[str, float]:  # fmt: skip
    given, out = settings or VariationSettings(), {}
    tape = Tape(events, symbol, boundary, first)

    def square(seconds: int) -> float:
        r = tape.returns(seconds)
        return math.fsum(x * x for x in r) / seconds if r else NAN

    def net(seconds: int) -> float:
        return math.fsum(tape.returns(seconds)) if tape.returns(seconds) else NAN

    def momentum(seconds: int) -> float:
        now, before = tape.price(boundary), tape.price(tape.closes(seconds)[0])
        return NAN if now is None or before is None else 1e4 * (now / before - 1)

    for w in given.volatility_s:
        out[f"realised_volatility_{span(w)}"] = 1e4 * math.sqrt(square(w))
    for w in given.momentum_s:
        out[f"momentum_{span(w)}"] = momentum(w)
    for a, b in given.accelerations_s:
        out[f"acceleration_{span(a)}_{span(b)}"] = momentum(a) - momentum(b) * a / b
    for a, b in given.ratios_s:
        out[f"variation_ratio_{span(a)}_{span(b)}"] = math.sqrt(_over(square(a), square(b)))
    for a, b in given.zscores_s:
        expected = math.sqrt(square(b)) * math.sqrt(a)
        out[f"return_zscore_{span(a)}_{span(b)}"] = _over(net(a), expected)
    for w in given.jumps_s:
        r = tape.returns(w)
        bipower = NAN
        if r:
            mean = statistics.fmean(abs(x * y) for x, y in itertools.pairwise(r))
            bipower = math.pi / 2 * mean * len(r) / w
        out[f"bipower_volatility_{span(w)}"] = 1e4 * math.sqrt(bipower)
        share = _over(square(w) - bipower, square(w))
        out[f"jump_share_{span(w)}"] = share if math.isnan(share) else max(0.0, share)
    for w in given.signed_s:
        r = tape.returns(w)
        up, down = (math.fsum(x * x for x in r if x * way > 0) for way in (1, -1))
        out[f"signed_variation_{span(w)}"] = _over(up - down, up + down)
    for w in given.moments_s:
        r = tape.returns(w)
        root = math.sqrt(math.fsum(x * x for x in r))
        for name, power in (("skewness", 3), ("kurtosis", 4)):
            whole = math.fsum(x**power for x in r)
            out[f"realised_{name}_{span(w)}"] = _over(
                len(r) ** (power / 2 - 1) * whole, root**power
            )
    for w in given.autocorrelation_s:
        r = tape.returns(w)
        lagged = math.fsum(x * y for x, y in itertools.pairwise(r))
        out[f"return_autocorrelation_{span(w)}"] = _over(lagged, math.fsum(x * x for x in r))
    for w in given.efficiency_s:
        out[f"path_efficiency_{span(w)}"] = _over(net(w), math.fsum(map(abs, tape.returns(w))))
    for w in given.extremes_s:
        r = tape.returns(w)
        out[f"largest_rise_{span(w)}"] = 1e4 * max(0.0, *r) if r else NAN
        out[f"largest_fall_{span(w)}"] = 1e4 * -min(0.0, *r) if r else NAN
    for w in given.zeros_s:
        r = tape.returns(w)
        out[f"zero_return_share_{span(w)}"] = _over(r.count(0.0), len(r))
    for a, b in given.blocks_s:
        r = tape.returns(b)
        blocks = [r[k : k + a] for k in range(0, len(r), a)]
        squares = math.fsum(x * x for x in r)
        name = f"{span(a)}_{span(b)}"
        out[f"variance_ratio_{name}"] = _over(sum(sum(x) ** 2 for x in blocks), squares)
        out[f"volatility_of_volatility_{name}"] = NAN
        if squares:
            rough = [math.sqrt(sum(x * x for x in block)) for block in blocks]
            out[f"volatility_of_volatility_{name}"] = statistics.pstdev(rough) / statistics.fmean(
                rough
            )
    return out
