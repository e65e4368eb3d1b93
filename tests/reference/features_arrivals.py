"""The slow twin of foreshock/features/arrivals.py: every feature from the list of all events."""

from __future__ import annotations

import itertools
import math
import statistics

from foreshock.features.family import span
from tests.reference.features import NAN, SECOND, Event
from tests.reference.features_variation import Tape


def _correlation(a: list[int], before: list[int], b: list[int]) -> float:
    """Of counts b with the counts `before` of a second earlier, by means and deviations of a, b."""
    if len(set(a)) == 1 or len(set(b)) == 1:
        return NAN
    products = sum(x * y for x, y in zip(before, b, strict=True)) / len(b)
    apart = products - statistics.mean(a) * statistics.mean(b)
    return apart / (statistics.pstdev(a) * statistics.pstdev(b))


def arrivals_features(
    events: list[Event], symbol: int, boundary: int, first: int
) -> dict[str, float]:
    tape = Tape(events, symbol, boundary, first)
    trades, out = tape.trades, {}
    silent = (boundary - trades[-1].at) / SECOND if trades else math.inf

    def intensity(h: int, sells: bool) -> float:
        ages = [(boundary - t.at) / SECOND for t in trades if t.sell is sells]
        return math.log(2) / h * sum(2.0 ** (-age / h) for age in ages)

    for h in (1, 5, 60):
        buys, sells = intensity(h, False), intensity(h, True)
        out[f"hawkes_buy_intensity_{h}s"] = math.log1p(buys)
        out[f"hawkes_sell_intensity_{h}s"] = math.log1p(sells)
        known = silent <= 10 * h
        out[f"hawkes_imbalance_{h}s"] = (buys - sells) / (buys + sells) if known else NAN
        if h < 60:
            long = intensity(60, False) + intensity(60, True)
            value = (buys + sells) / long if silent <= 600 else NAN
            out[f"hawkes_excitation_{h}s_60s"] = value

    def counts(seconds: int, ago: int = 0) -> tuple[list[int], list[int]]:
        closes = [boundary - (k + ago) * SECOND for k in range(seconds)]
        kept = [tape.between(close - SECOND, close) for close in closes]
        buys = [sum(not t.sell for t in some) for some in kept]
        return buys, [len(some) - b for some, b in zip(kept, buys, strict=True)]

    for block, w in ((1, 60), (1, 300), (10, 300)):
        each = [a + b for a, b in zip(*counts(w), strict=True)]
        blocks = [sum(each[k : k + block]) for k in range(0, w, block)]
        fano = statistics.pvariance(blocks) / statistics.mean(blocks) if any(blocks) else NAN
        out[f"fano_factor_{block}s_{span(w)}"] = fano
    over = fano > 1 or math.isnan(fano)
    out["branching_ratio_10s_5m"] = 1 - 1 / math.sqrt(fano) if over else 0.0
    for w in (60, 300):
        back = itertools.pairwise(trades)
        gaps = [b.at - a.at for a, b in back if b.at >= boundary - w * SECOND]
        out[f"same_instant_share_{span(w)}"] = gaps.count(0) / len(gaps) if gaps else NAN
        value = NAN
        if any(gaps):
            mean, deviation = statistics.fmean(gaps), statistics.pstdev(gaps)
            value = (deviation - mean) / (deviation + mean)
        out[f"burstiness_{span(w)}"] = value
        (buys, sells), (buys_before, sells_before) = counts(w), counts(w, 1)
        out[f"excitation_buy_buy_{span(w)}"] = _correlation(buys, buys_before, buys)
        out[f"excitation_sell_sell_{span(w)}"] = _correlation(sells, sells_before, sells)
        out[f"excitation_buy_sell_{span(w)}"] = _correlation(buys, buys_before, sells)
        out[f"excitation_sell_buy_{span(w)}"] = _correlation(sells, sells_before, buys)
    for short in (1, 5, 30):
        each = [a + b for a, b in zip(*counts(300), strict=True)]
        out[f"trade_count_zscore_{short}s_5m"] = (
            (sum(each[:short]) - short * statistics.mean(each))
            / (statistics.pstdev(each) * math.sqrt(short))
            if len(set(each)) > 1
            else NAN
        )
    out["trade_silence"] = math.log(1 + silent) if trades else NAN
    return out
