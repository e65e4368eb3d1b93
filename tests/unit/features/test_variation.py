from __future__ import annotations

import math

import numpy as np

from foreshock.features import catalog, variation
from foreshock.market.rows import STALE, TAPE
from tests.reference.feature_tape import as_input, boundaries_of, drive
from tests.reference.features import SECOND, Epoch, Event, Trade

NAMES = catalog.layout().names
START = 1_700_000_000 * SECOND


def vectors(events: list[Event], seconds: int) -> list[dict[str, float]]:
    boundaries = boundaries_of(START, seconds)
    found = drive(events, boundaries, {0: {b: [[], []] for b in boundaries}}, 1)[:, 0]
    return [dict(zip(NAMES, map(float, row), strict=True)) for row in found]


def trade(second: float, ticks: int) -> Trade:
    return Trade(START + round(second * SECOND), 0, False, ticks, 1)


def test_momentum_compares_with_the_price_carried_to_the_start_of_its_window() -> None:
    found = vectors([trade(0.5, 1000), trade(5.5, 1010), trade(10.5, 1030)], 62)
    assert math.isnan(found[9]["momentum_10s"])
    assert math.isclose(found[10]["momentum_10s"], 300.0)
    assert math.isclose(found[15]["momentum_10s"], 1e4 * (1030 / 1010 - 1))
    assert found[21]["momentum_10s"] == 0.0
    assert math.isnan(found[59]["momentum_60s"])
    assert math.isclose(found[60]["momentum_60s"], 300.0)


def test_volatility_is_the_root_mean_square_of_one_second_returns() -> None:
    prices = [1000 + (k % 2) for k in range(61)]
    found = vectors([trade(k + 0.5, p) for k, p in enumerate(prices)], 61)[-1]
    assert math.isclose(found["realised_volatility_60s"], 1e4 * math.log(1001 / 1000))
    assert math.isclose(found["variation_ratio_10s_60s"], 1.0)


def test_a_price_that_stood_still_has_no_volatility_and_no_ratio() -> None:
    found = vectors([trade(0.5, 1000)], 61)[-1]
    assert found["realised_volatility_60s"] == 0.0
    assert found["momentum_60s"] == 0.0
    assert math.isnan(found["variation_ratio_10s_60s"])


def test_the_windows_do_not_remember_what_left_them() -> None:
    wild = [trade(k + 0.5, 1000 + 400 * (k % 3)) for k in range(40)]
    calm = [trade(40 + k + 0.5, 1000 + k % 2) for k in range(200)]
    alone = vectors(calm, 240)[-1]
    both = vectors(wild + calm, 240)[-1]
    assert both == alone or all(
        np.float64(both[n]).tobytes() == np.float64(alone[n]).tobytes()
        for n in (s.name for s in variation.SPECS)
    )


def test_last_ticks_is_the_last_price_and_zero_after_a_broken_epoch() -> None:
    state = variation.init(2)
    words, touch = as_input([trade(0.1, 70), Trade(START + SECOND, 1, True, 5, 1)])
    variation.scan(words, touch, 0, len(words), state)
    assert variation.last_ticks(state).tolist() == [70, 5]
    words, touch = as_input([Epoch(START + 2 * SECOND, 0, TAPE, STALE, 1)])
    variation.scan(words, touch, 0, len(words), state)
    assert variation.last_ticks(state).tolist() == [0, 5]
