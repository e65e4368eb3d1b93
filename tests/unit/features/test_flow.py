from __future__ import annotations

import math

from foreshock.features import catalog
from tests.reference.feature_tape import boundaries_of, drive
from tests.reference.features import SECOND, Event, Trade

NAMES = catalog.layout().names
START = 1_700_000_000 * SECOND
EMPTY = [[], []]


def vectors(events: list[Event], seconds: int) -> list[dict[str, float]]:
    boundaries = boundaries_of(START, seconds)
    tops = {0: dict.fromkeys(boundaries, EMPTY)}
    found = drive(events, boundaries, tops, 1)[:, 0]
    return [dict(zip(NAMES, map(float, row), strict=True)) for row in found]


def trade(second: float, lots: int, ticks: int = 100, sell: bool = False) -> Trade:
    return Trade(START + round(second * SECOND), 0, sell, ticks, lots)


def test_imbalances_count_buys_up_and_sells_down_within_their_window() -> None:
    found = vectors([trade(0.2, 30), trade(0.4, 10, sell=True), trade(11.5, 5, sell=True)], 80)
    assert found[0]["flow_imbalance_10s"] == 20 / 40
    assert found[0]["trade_count_imbalance_10s"] == 0.0
    assert found[9]["flow_imbalance_10s"] == 20 / 40
    assert math.isnan(found[10]["flow_imbalance_10s"])  # ten seconds later both have left
    assert found[11]["flow_imbalance_10s"] == -1.0
    assert found[11]["flow_imbalance_60s"] == 15 / 45
    assert found[60]["flow_imbalance_60s"] == -1.0
    assert math.isnan(found[71]["flow_imbalance_60s"])


def test_a_trade_on_the_boundary_belongs_to_the_step_that_it_opens() -> None:
    found = vectors([trade(1.0, 30)], 2)
    assert math.isnan(found[0]["flow_imbalance_10s"])
    assert found[1]["flow_imbalance_10s"] == 1.0


def test_an_older_trade_weighs_half_after_each_half_life() -> None:
    found = vectors([trade(0.0, 8), trade(4.0, 1, sell=True)], 30)
    assert math.isclose(found[4]["signed_flow_decay_2s"], (8 / 4 - 1) / (8 / 4 + 1))
    assert math.isclose(found[23]["signed_flow_decay_2s"], found[4]["signed_flow_decay_2s"])
    assert math.isnan(found[24]["signed_flow_decay_2s"])  # forgotten after ten half-lives
    assert found[24]["signed_flow_decay_10s"] > 0.7


def test_a_trade_is_large_against_the_minute_that_was_known_before_its_step() -> None:
    ordinary = [trade(second + 0.5, 10) for second in range(60)]
    found = vectors([*ordinary, trade(60.2, 50), trade(60.3, 49), trade(60.4, 1_000_000)], 61)
    lots = 59 * 10 + 50 + 49 + 1_000_000
    assert found[60]["large_trade_share_60s"] == (50 + 1_000_000) / lots
    assert found[59]["large_trade_share_60s"] == 0.0


def test_intensity_is_zero_in_silence_and_the_ratio_is_one_for_a_steady_tape() -> None:
    assert vectors([], 1)[0]["trade_intensity_10s"] == 0.0
    found = vectors([trade(second + 0.5, 1) for second in range(60)], 60)[-1]
    assert math.isclose(found["trade_intensity_10s"], math.log(2))
    assert found["trade_intensity_ratio_5s_60s"] == 1.0


def test_vwap_deviation_is_in_basis_points_of_the_vwap() -> None:
    found = vectors([trade(0.1, 3, ticks=100), trade(0.2, 1, ticks=120)], 1)[0]
    assert math.isclose(found["vwap_deviation_30s"], 1e4 * (120 / 105 - 1))


def test_rows_without_a_price_or_a_size_are_no_trades() -> None:
    found = vectors([trade(0.1, 0), trade(0.2, 5, ticks=0), trade(0.3, -4)], 1)[0]
    assert found["trade_intensity_10s"] == 0.0
    assert math.isnan(found["flow_imbalance_10s"])
