from __future__ import annotations

import math

import pytest

from foreshock.features import volume
from foreshock.features.catalog import FeatureSet
from foreshock.features.settings import FeatureSettings
from foreshock.features.volume import DAY_NS
from foreshock.features.volume_specs import VolumeSettings
from foreshock.market.rows import INSTRUMENT, META, A, B, C, D
from tests.reference.feature_tape import as_input, boundaries_of, drive, instruments
from tests.reference.feature_walks import START, assert_equals_twin
from tests.reference.features import SECOND, Event, Trade
from tests.reference.features_volume import volume_features

LARGE = FeatureSettings(families=("volume",), volume=VolumeSettings(large_quote=15.0))


def twin(events: list[Event], symbol: int, boundary: int, first: int) -> dict[str, float]:
    return volume_features(events, symbol, boundary, first, 15.0)


@pytest.mark.parametrize("seed", [1, 2])
def test_every_feature_equals_its_naive_twin(seed: int) -> None:
    asked = [*range(seed, 320, 29), *range(320, 4200, 611)]
    assert_equals_twin("volume", twin, seed, 4200, asked, LARGE)


def vectors(
    events: list[Event], seconds: int, features: FeatureSettings = LARGE, start: int = START
) -> list[dict[str, float]]:
    boundaries = boundaries_of(start, seconds)
    tops = {0: {b: [[], []] for b in boundaries}}
    found = drive(events, boundaries, tops, 1, features=features)[:, 0]
    names = FeatureSet(features).layout.names
    return [dict(zip(names, map(float, row), strict=True)) for row in found]


def trade(second: float, lots: int, ticks: int = 1000, sell: bool = False) -> Trade:
    return Trade(START + round(second * SECOND), 0, sell, ticks, lots)


def test_the_delta_is_money_and_the_large_trades_are_above_their_threshold() -> None:
    # 1000 ticks of 0.01 times lots of 0.001: a hundred lots are one of quote currency.
    found = vectors([trade(0.1, 1499), trade(0.2, 1501), trade(0.3, 1600, sell=True)], 1)[0]
    assert math.isclose(found["cvd_5m"], 14.0)
    assert math.isclose(found["large_trade_ratio"], 3101 / 4600)
    assert math.isclose(found["large_trade_imbalance"], -99 / 3101)


def test_steady_buying_has_the_slope_of_its_own_volume_and_selling_the_opposite() -> None:
    for sell in (False, True):
        found = vectors([trade(k + 0.5, 7, sell=sell) for k in range(300)], 300)[-1]
        assert math.isclose(found["cvd_slope_5m"], -1.0 if sell else 1.0)
        assert math.isclose(found["one_sided_run"], math.log(301) * (-1 if sell else 1))
        assert found["side_persistence_60s"] == 1.0
        assert found["silent_share_5m"] == 0.0


def test_the_session_ends_with_the_utc_day() -> None:
    midnight = (START // DAY_NS + 1) * DAY_NS
    start = midnight - 2 * SECOND
    events: list[Event] = [
        Trade(start, 0, False, 100, 1),
        Trade(start + 1, 0, False, 300, 1),
        Trade(midnight + SECOND, 0, False, 500, 1),
    ]
    found = [v["vwap_deviation"] for v in vectors(events, 4, start=start)]
    assert math.isclose(found[0], 1e4 * (300 / 200 - 1))
    assert math.isclose(found[1], found[0])  # the boundary at midnight closes the old day
    assert math.isnan(found[2])
    assert found[3] == 0.0


def test_another_lot_size_is_another_amount_of_money() -> None:
    rows, touch = as_input([trade(0.1, 100), trade(0.2, 100), trade(0.3, 100)])
    rows[1] = rows[0]
    rows[1, META] = INSTRUMENT  # of symbol 0
    rows[1, A], rows[1, B], rows[1, C], rows[1, D] = 1, 5, 2, 1
    state = volume.init(instruments(1), VolumeSettings())
    volume.scan(rows, touch, 0, 2, state)
    assert state.money[0] == 0.5 * 0.01


def test_windows_beyond_the_ring_are_refused() -> None:
    with pytest.raises(ValueError, match="300"):
        VolumeSettings(volume_ratios_s=((10, 600),))
