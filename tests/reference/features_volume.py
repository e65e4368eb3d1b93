"""The slow twin of foreshock/features/volume.py: every feature from the list of all events."""

from __future__ import annotations

import itertools
import math
import statistics

from foreshock.features.family import span
from tests.reference.features import NAN, SECOND, Event, Trade
from tests.reference.features_variation import MINUTE, Tape

MONEY = 0.01 * 0.001  # of one tick times one lot
DAY = 86_400 * SECOND


def _turnover(trades: list[Trade]) -> int:
    return sum(t.ticks * t.lots for t in trades)


def _signed(trades: list[Trade]) -> int:
    return sum(-t.ticks * t.lots if t.sell else t.ticks * t.lots for t in trades)


def _lots(trades: list[Trade]) -> int:
    return sum(t.lots for t in trades)


def _over(above: float, below: float) -> float:
    return above / below if below else NAN


def _cvd_slope(tape: Tape, closes: list[int]) -> float:
    steps = [tape.between(a, b) for a, b in itertools.pairwise(closes)]
    path = [0]
    for trades in steps:
        path.append(path[-1] + _signed(trades))
    mean = sum(map(_turnover, steps)) / len(steps)
    return statistics.linear_regression(range(len(path)), path).slope / mean if mean else NAN


def volume_features(
    events: list[Event], symbol: int, boundary: int, first: int, large_quote: float = 100_000.0
) -> dict[str, float]:
    tape = Tape(events, symbol, boundary, first)
    trades, out = tape.trades, {}
    kept = {w: tape.between(boundary - w * SECOND, boundary) for w in (5, 10, 60, 300)}
    hour = tape.between(tape.minute - 60 * MINUTE, tape.minute)
    out["cvd_5m"] = MONEY * _signed(kept[300])
    out["cvd_1h"] = MONEY * _signed(hour)
    for w in (60, 300, 3600):
        out[f"cvd_slope_{span(w)}"] = _cvd_slope(tape, tape.closes(w))
    large = [t for t in kept[300] if t.ticks * t.lots * MONEY > large_quote]
    out["large_trade_ratio"] = _over(_turnover(large), _turnover(kept[300]))
    out["large_trade_imbalance"] = _over(_signed(large), _turnover(large))
    for w in (60, 300):
        bought, sold = ([t for t in kept[w] if t.sell is side] for side in (False, True))
        out[f"buy_sell_vwap_gap_{span(w)}"] = (
            1e4 * (_turnover(bought) / _lots(bought) / (_turnover(sold) / _lots(sold)) - 1)
            if bought and sold
            else NAN
        )
        some, sizes = bool(kept[w]), [t.lots for t in kept[w]]
        mean = MONEY * _turnover(kept[w]) / len(sizes) if some else NAN
        out[f"trade_size_mean_{span(w)}"] = math.log(mean)
        out[f"trade_size_dispersion_{span(w)}"] = (
            statistics.pstdev(sizes) / statistics.mean(sizes) if some else NAN
        )
        back = [(a, b) for a, b in itertools.pairwise(trades)]
        back = [(a, b) for a, b in back if b.at >= boundary - w * SECOND]
        out[f"side_persistence_{span(w)}"] = _over(
            sum(a.sell is b.sell for a, b in back), len(back)
        )
        seconds = {(boundary - 1 - t.at) // SECOND for t in kept[w]}
        out[f"silent_share_{span(w)}"] = 1 - len(seconds) / w
    today = [t for t in trades if t.at // DAY == (boundary - 1) // DAY]
    vwap = _over(_turnover(today), _lots(today))
    out["vwap_deviation"] = 1e4 * (trades[-1].ticks / vwap - 1) if today else NAN
    out["trade_size_ratio_10s_5m"] = (
        math.log(_lots(kept[10]) / len(kept[10]) / (_lots(kept[300]) / len(kept[300])))
        if kept[10]
        else NAN
    )
    for short, long in ((5, 60), (10, 300)):
        out[f"volume_ratio_{span(short)}_{span(long)}"] = _over(
            _lots(kept[short]) / short, _lots(kept[long]) / long
        )
    run = 0
    for t in reversed(trades):
        if t.sell is not trades[-1].sell:
            break
        run += 1
    sign = -1 if trades and trades[-1].sell else 1
    out["one_sided_run"] = sign * math.log(1 + run) if run else NAN
    return out
