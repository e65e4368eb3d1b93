from __future__ import annotations

import math

import numpy as np
import pytest

from foreshock.features import catalog
from foreshock.features.depth_specs import DepthSettings
from foreshock.features.settings import FeatureSettings
from foreshock.market.rows import BOOK, RESYNCING, SYNCED, TAPE
from tests.reference.book_walks import N, assert_equals_twin, book_walk, random_tops
from tests.reference.feature_tape import boundaries_of, drive
from tests.reference.features import SECOND, Book, Epoch, Event, Top, Trade
from tests.reference.features_depth import depth_features

CHOSEN = FeatureSettings(families=("depth",))
NAMES = catalog.layout(CHOSEN).names
START = 1_700_000_000 * SECOND
EMPTY: Top = [[], []]
TOP: Top = [[(99, 10), (98, 20)], [(101, 5), (102, 5)]]


@pytest.mark.parametrize("seed", [1, 2])
def test_every_feature_equals_its_naive_twin(seed: int) -> None:
    asked = [*range(seed, 130, 7), *range(130, 640, 37)]
    assert_equals_twin("depth", depth_features, seed, 640, asked)


def test_other_windows_are_computed_as_well_and_change_no_bit_of_the_others() -> None:
    more = DepthSettings(
        levels=(3, 4), ofi_s=(10, 17), mlofi_s=(3,), level_ofi_s=(2, 60), queue_s=(7, 60),
        returns_s=(10, 299), volatility_s=(60, 120), moves_s=(11,), updates_s=(60, 90),
        changes_s=(10,), spread_s=(5, 60), zscores_s=(9, 300),
    )  # fmt: skip

    def twin(
        events: list[Event], symbol: int, boundary: int, tops: dict[int, Top]
    ) -> dict[str, float]:
        return depth_features(events, symbol, boundary, tops, more)

    features = FeatureSettings(families=("depth",), depth=more)
    assert_equals_twin("depth", twin, 3, 480, range(5, 480, 43), features)
    events, boundaries = book_walk(4, 400), boundaries_of(START, 400)
    tops = random_tops(4, boundaries)
    names = catalog.layout(features).names
    found = drive(events, boundaries, tops, N, features=features)
    usual = drive(events, boundaries, tops, N, features=CHOSEN)
    shared = [name for name in names if name in NAMES]
    assert len(shared) > 15
    for name in shared:
        assert found[:, :, names.index(name)].tobytes() == usual[:, :, NAMES.index(name)].tobytes()


def test_levels_beyond_the_top_are_refused() -> None:
    for wrong in ((1, 2), (2, 6), (3, 2)):
        with pytest.raises(ValueError, match="must"):
            DepthSettings(levels=wrong)


def vectors(events: list[Event], seconds: int, top: Top = TOP) -> list[dict[str, float]]:
    boundaries = boundaries_of(START, seconds)
    tops = {0: dict.fromkeys(boundaries, top)}
    found = drive(events, boundaries, tops, 1, features=CHOSEN)[:, 0]
    return [dict(zip(NAMES, map(float, row), strict=True)) for row in found]


def book(
    second: float,
    touch: tuple[int, int, int, int] = (99, 30, 101, 10),
    ofi: tuple[int, int, int, int, int] = (0, 0, 0, 0, 0),
    valid: bool = True,
) -> Book:
    return Book(START + round(second * SECOND), 0, valid, touch, ofi)


def test_the_touch_gives_spread_imbalance_and_microprice() -> None:
    found = vectors([book(0.5)], 1)[0]
    assert found["spread_bps"] == 200.0
    assert found["queue_imbalance"] == 0.5
    weighted = (99 * 10 + 101 * 30) / 40
    assert math.isclose(found["microprice_deviation_bps"], 1e4 * (weighted / 100 - 1))
    assert found["depth_imbalance_5"] == (30 - 10) / 40


def test_the_last_valid_touch_is_carried_through_quiet_seconds_and_invalid_rows() -> None:
    found = vectors([book(0.5), book(1.5, touch=(1, 1, 2, 1), valid=False)], 30)
    assert all(f["spread_bps"] == 200.0 for f in found)


def test_order_flow_is_scaled_by_the_mean_lots_of_a_side() -> None:
    found = vectors([book(0.5, ofi=(10, 4, 3, 2, 1)), book(1.5, ofi=(-4, 0, 0, 0, 0))], 12)
    assert found[0]["ofi_10s"] == 10 / 20
    assert found[1]["ofi_10s"] == 6 / 20
    assert found[1]["mlofi_5_10s"] == 16 / 20
    assert found[10]["ofi_10s"] == -4 / 20
    assert found[11]["ofi_10s"] == 0.0


def test_without_a_ladder_the_features_of_the_touch_remain() -> None:
    found = vectors([book(0.5, ofi=(10, 0, 0, 0, 0))], 1, top=EMPTY)[0]
    assert found["ofi_10s"] == 0.5
    assert math.isnan(found["mlofi_5_10s"])
    assert math.isnan(found["depth_imbalance_5"])


def test_a_broken_epoch_silences_the_book_until_a_new_touch() -> None:
    broken = Epoch(START + 2 * SECOND, 0, BOOK, RESYNCING, 1)
    joined = Epoch(START + 4 * SECOND, 0, BOOK, SYNCED, 2)
    found = vectors([book(0.5, ofi=(10, 0, 0, 0, 0)), broken, joined, book(5.5)], 6)
    assert found[1]["ofi_10s"] == 0.5
    for k in (2, 3, 4):
        assert all(math.isnan(found[k][name]) for name in NAMES)
    assert found[5]["ofi_10s"] == 0.0


def test_returns_and_volatility_of_the_mid_are_those_of_the_closes() -> None:
    events: list[Event] = [book(0.5), book(1.5, touch=(101, 3, 103, 9)), book(1.7, valid=False)]
    found = vectors(events, 12)
    assert math.isnan(found[0]["mid_return_1s"])
    assert math.isclose(found[1]["mid_return_1s"], 200.0)
    assert found[2]["mid_return_1s"] == 0.0
    assert math.isclose(found[10]["mid_volatility_10s"], 1e4 * math.log(1.02) / math.sqrt(10))
    assert found[11]["mid_volatility_10s"] == 0.0
    assert found[11]["mid_move_imbalance_60s"] == 1.0


def test_the_last_trade_is_told_from_the_mid_until_the_tape_is_cut() -> None:
    trade = Trade(START + 1, 0, False, 102, 1)
    cut = Epoch(START + 3 * SECOND, 0, TAPE, RESYNCING, 1)
    found = vectors([trade, book(0.5), cut], 4)
    assert math.isclose(found[0]["last_deviation_bps"], 200.0)
    assert math.isnan(found[3]["last_deviation_bps"])


def test_a_spread_that_never_changed_has_no_zscore_and_one_that_widens_has() -> None:
    found = vectors([book(0.5), book(80.5, touch=(99, 30, 105, 10))], 82)
    assert math.isnan(found[79]["spread_zscore_60s"]) and found[79]["spread_mean_60s"] == 200.0
    assert found[79]["spread_deviation_60s"] == 0.0
    assert math.isclose(found[80]["spread_zscore_60s"], math.sqrt(59))  # one of sixty differs
    assert math.isnan(found[81]["depth_zscore_60s"])  # the ladder stood still


def test_only_rows_that_change_the_touch_count_as_changes() -> None:
    same = [book(k / 10) for k in range(1, 9)]
    found = vectors([*same, book(0.95, touch=(99, 31, 101, 10))], 1)[0]
    assert found["touch_change_share_60s"] == 1 / 9
    assert math.isclose(found["quote_intensity_10s"], math.log(1.9))


def test_thinner_asks_pull_the_weighted_mid_up() -> None:
    found = vectors([book(0.5)], 1)[0]
    bids, asks = (99 * 10 + 98 * 20) / 30, (101 * 5 + 102 * 5) / 10
    weighted = (bids * 10 + asks * 30) / 40
    assert math.isclose(found["weighted_mid_5_bps"], 1e4 * (weighted / 100 - 1))
    assert np.isclose(found["depth_imbalance_2"], (30 - 10) / 40)


@pytest.mark.parametrize(("ticks", "lots"), [(0, 1), (-5, 1), (101, 0), (101, -3)])
def test_a_trade_without_a_price_or_a_size_is_no_last_trade(ticks: int, lots: int) -> None:
    found = vectors([book(0.5), Trade(START + 1, 0, False, ticks, lots)], 1)[0]
    assert math.isnan(found["last_deviation_bps"])
