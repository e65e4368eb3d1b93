"""The slow twin of foreshock/features/ticks.py: every feature from the list of all trades."""

from __future__ import annotations

import math
from itertools import pairwise

from foreshock.features.family import span
from foreshock.features.ticks import TicksSettings
from foreshock.market.rows import TAPE
from tests.reference.features import NAN, SECOND, Event, Trade, since_reset


def ticks_features(
    events: list[Event], symbol: int, boundary: int, first: int,
    settings: TicksSettings | None = None, tick_units: int = 1,
) -> dict[str, float]:  # fmt: skip
    given, out = settings or TicksSettings(), {}
    kept, _ = since_reset(events, symbol, TAPE, boundary)
    trades = [t for t in kept if isinstance(t, Trade)]
    steps = [(b.at, b.ticks - a.ticks) for a, b in pairwise(trades)]
    moves = [(at, move) for at, move in steps if move]
    turns = [at for (_, a), (at, b) in pairwise(moves) if (a > 0) != (b > 0)]

    def inside(at: int, seconds: int) -> bool:
        return at >= boundary - seconds * SECOND

    def moved(seconds: int) -> list[int]:
        return [move for at, move in moves if inside(at, seconds)]

    for w in given.imbalance_s:
        some = moved(w)
        net = sum(m > 0 for m in some) - sum(m < 0 for m in some)
        out[f"tick_imbalance_{span(w)}"] = net / len(some) if some else NAN
    for w in given.zeros_s:
        some = [move for at, move in steps if inside(at, w)]
        out[f"zero_tick_share_{span(w)}"] = some.count(0) / len(some) if some else NAN
    for w in given.reversal_s:
        some = moved(w)
        turned = sum(inside(at, w) for at in turns)
        out[f"reversal_share_{span(w)}"] = turned / len(some) if some else NAN
    for w in given.move_s:
        some = moved(w)
        mean = sum(map(abs, some)) / len(some) if some else NAN
        out[f"mean_tick_move_{span(w)}"] = 1e4 * mean / trades[-1].ticks if trades else NAN
    for w in given.efficiency_s:
        some = moved(w)
        out[f"tick_path_efficiency_{span(w)}"] = sum(some) / sum(map(abs, some)) if some else NAN
    for name in ("price_run", "price_run_length", "price_stillness"):
        out[name] = NAN
    if moves:
        run = []
        for _, move in reversed(moves):
            if run and (move > 0) != (run[0] > 0):
                break
            run.append(move)
        last = trades[-1].ticks
        out["price_run"] = math.copysign(len(run), run[0])
        out["price_run_length"] = 1e4 * (last / (last - sum(run)) - 1)
        out["price_stillness"] = math.log(1 + (boundary - moves[-1][0]) / SECOND)
    for digits in given.round_digits:
        value = NAN
        if trades:
            price = trades[-1].ticks * tick_units
            step = 10 ** max(0, len(str(price)) - digits)
            below = price // step * step
            nearest = below if 2 * (price - below) < step else below + step
            value = 1e4 * (price - (nearest if step > 1 else price)) / price
        out[f"round_number_distance_{digits}d"] = value
    return out
