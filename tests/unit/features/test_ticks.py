from __future__ import annotations

import math

import numpy as np
import pytest

from foreshock.features import catalog, ticks
from foreshock.features.settings import FeatureSettings
from foreshock.features.ticks import TicksSettings
from foreshock.market import ladder as books
from foreshock.market.instruments import SPOT, Instrument
from foreshock.market.rows import INSTRUMENT, ROW, TRADE, as_words
from tests.reference.feature_tape import boundaries_of, drive
from tests.reference.feature_walks import START, assert_equals_twin
from tests.reference.features import SECOND, Event, Trade
from tests.reference.features_ticks import ticks_features

CHOSEN = FeatureSettings(families=("ticks",))
NAMES = catalog.layout(CHOSEN).names


@pytest.mark.parametrize("seed", [1, 2])
def test_every_feature_equals_its_naive_twin(seed: int) -> None:
    assert_equals_twin("ticks", ticks_features, seed, 900, range(seed, 900, 31))


def test_other_windows_are_computed_as_well() -> None:
    more = TicksSettings(imbalance_s=(7,), zeros_s=(1, 299), efficiency_s=(), round_digits=(1, 9))

    def twin(events: list[Event], symbol: int, boundary: int, first: int) -> dict[str, float]:
        return ticks_features(events, symbol, boundary, first, more)

    features = FeatureSettings(families=("ticks",), ticks=more)
    assert_equals_twin("ticks", twin, 3, 400, range(5, 400, 23), features)


def vectors(events: list[Event], seconds: int) -> list[dict[str, float]]:
    boundaries = boundaries_of(START, seconds)
    tops = {0: {b: [[], []] for b in boundaries}}
    found = drive(events, boundaries, tops, 1, features=CHOSEN)[:, 0]
    return [dict(zip(NAMES, map(float, row), strict=True)) for row in found]


def tape(*prices: int) -> list[Event]:
    return [Trade(START + 10**8 * k, 0, False, price, 1) for k, price in enumerate(prices)]


def test_three_rises_and_a_fall() -> None:
    up = vectors(tape(1000, 1001, 1001, 1003, 1004), 1)[0]
    assert up["price_run"] == 3
    assert math.isclose(up["price_run_length"], 40.0)
    assert up["tick_path_efficiency_60s"] == 1.0
    assert up["zero_tick_share_60s"] == 0.25
    assert math.isclose(up["price_stillness"], math.log(1.6))
    turned = vectors(tape(1000, 1001, 1001, 1003, 1004, 1002), 1)[0]
    assert turned["price_run"] == -1
    assert math.isclose(turned["price_run_length"], 1e4 * (1002 / 1004 - 1))
    assert turned["reversal_share_60s"] == 0.25
    assert turned["tick_imbalance_60s"] == 0.5
    assert math.isclose(turned["tick_path_efficiency_60s"], 2 / 6)


def test_a_price_that_bounces_turns_at_every_move() -> None:
    found = vectors(tape(*(1000 + k % 2 for k in range(9))), 1)[0]
    assert found["reversal_share_60s"] == 7 / 8
    assert abs(found["tick_path_efficiency_60s"]) == 0.0
    assert math.isclose(found["mean_tick_move_60s"], 10.0)


def test_one_trade_is_no_move() -> None:
    found = vectors(tape(1000), 2)[-1]
    numbers = [name for name in NAMES if not math.isnan(found[name])]
    assert numbers == ["round_number_distance_2d", "round_number_distance_3d"]


@pytest.mark.parametrize(
    ("price", "two", "three"),
    [
        (67_123, 123 / 67_123, 23 / 67_123),
        (66_980, -20 / 66_980, -20 / 66_980),
        (99_700, -300 / 99_700, 0.0),
        (50_000, 0.0, 0.0),
        (7, 0.0, 0.0),
    ],
)
def test_round_numbers_have_few_digits(price: int, two: float, three: float) -> None:
    found = vectors(tape(price), 1)[0]
    assert math.isclose(found["round_number_distance_2d"], 1e4 * two)
    assert math.isclose(found["round_number_distance_3d"], 1e4 * three)


def test_round_numbers_are_of_the_price_and_follow_a_new_tick() -> None:
    state = ticks.init([Instrument.of("AUSDT", SPOT, "0.5", "1")], TicksSettings())
    rows = np.zeros(3, ROW)
    rows["seq"], rows["kind"] = range(3), (TRADE, INSTRUMENT, TRADE)
    rows["a"], rows["b"], rows["c"], rows["d"] = (1234, 2, 1234), (1, 25, 1), 0, 1
    words, out = as_words(rows), np.empty((1, len(NAMES)))
    two = NAMES.index("round_number_distance_2d")
    touch = np.zeros((3, 10), np.int64)
    ticks.scan(words, touch, 0, 1, state)
    ticks.close(START, books.init(1), state, out)
    assert math.isclose(out[0, two], 1e4 * -3 / 617)  # 617 is before 620
    ticks.scan(words, touch, 1, 3, state)
    ticks.close(START + SECOND, books.init(1), state, out)
    assert math.isclose(out[0, two], 1e4 * -1.5 / 308.5)  # 308.50 is before 310
