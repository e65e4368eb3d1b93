from __future__ import annotations

import math
from itertools import pairwise

import numpy as np

from foreshock.engine import pulse
from foreshock.market.rows import STALE, SYNCED, TAPE
from tests.reference.feature_tape import as_input, instruments
from tests.reference.features import SECOND, Epoch, Event, Trade

START = 1_700_000_000 * SECOND


def told(events: list[Event], seconds: int) -> list[tuple[int, float, int]]:
    """(traded in 60 s, volatility, last price) of one symbol at every second."""
    state = pulse.init(instruments(1))
    traded, volatility = np.zeros(1, np.int64), np.zeros(1)
    out = []
    for k in range(seconds):
        words, _ = as_input([e for e in events if k * SECOND <= e.at - START < (k + 1) * SECOND])
        pulse.scan(words, 0, len(words), state)
        pulse.close(state, np.array([k]), traded, volatility)
        out.append((int(traded[0]), float(volatility[0]), int(state.last_ticks[0])))
    return out


def trade(second: float, ticks: int, lots: int) -> Trade:
    return Trade(START + round(second * SECOND), 0, False, ticks, lots)


def test_what_was_traded_is_the_ticks_times_lots_of_the_last_minute() -> None:
    found = told([trade(0.1, 100, 3), trade(0.2, 10, 7)], 62)
    assert [t for t, _, _ in found] == [370] * 60 + [0, 0]
    assert found[-1][2] == 10


def test_volatility_is_the_root_mean_square_of_known_seconds_and_needs_ten_of_them() -> None:
    prices = [100 + (k * 7) % 5 for k in range(70)]
    found = told([trade(k + 0.5, price, 1) for k, price in enumerate(prices)], 70)
    returns = [math.log(b / a) for a, b in pairwise(prices)]
    for k, (_, volatility, _) in enumerate(found):
        last = returns[max(0, k - 60) : k]
        if len(last) < 10:
            assert math.isnan(volatility)
        else:
            assert math.isclose(volatility, math.sqrt(sum(r * r for r in last) / len(last)))


def test_a_new_epoch_and_rows_without_price_or_size_leave_nothing() -> None:
    events = [
        trade(0.1, 100, 3), trade(0.2, 0, 3), trade(0.3, 5, 0),
        Epoch(START + SECOND, 0, TAPE, STALE, 1), Epoch(START + SECOND + 1, 0, TAPE, SYNCED, 1),
    ]  # fmt: skip
    found = told(events, 2)
    assert found[0][0] == 300 and found[0][2] == 100
    assert found[1][0] == 0 and found[1][2] == 0
