from __future__ import annotations

import math

import pytest

from foreshock.features import catalog
from foreshock.features.resilience_specs import ResilienceSettings
from foreshock.features.settings import FeatureSettings
from foreshock.market.rows import BOOK, RESYNCING, SYNCED, TAPE
from tests.reference.book_walks import assert_equals_twin
from tests.reference.feature_tape import boundaries_of, drive
from tests.reference.features import SECOND, Book, Epoch, Event, Top, Trade
from tests.reference.features_resilience import resilience_features

CHOSEN = FeatureSettings(families=("resilience",))
NAMES = catalog.layout(CHOSEN).names
START = 1_700_000_000 * SECOND
TOP: Top = [[(99, 50), (98, 50)], [(101, 30), (102, 30)]]
JOINED: list[Event] = [Epoch(START, 0, family, SYNCED, 1) for family in (BOOK, TAPE)]


@pytest.mark.parametrize("seed", [1, 2])
def test_every_feature_equals_its_naive_twin(seed: int) -> None:
    asked = [*range(seed, 130, 11), *range(130, 330, 41)]
    assert_equals_twin("resilience", resilience_features, seed, 330, asked)


def test_other_rules_and_windows_are_computed_as_well() -> None:
    more = ResilienceSettings(
        replenishment_s=(3,), cancels_s=(2, 20), refills_s=(5,), sweeps_s=(4, 90),
        widenings_s=(7, 200), recovery_s=(30,), usual_s=25, wide_multiple=3,
        sweep_percent=10, sweep_memory_s=3,
    )  # fmt: skip

    def twin(
        events: list[Event], symbol: int, boundary: int, tops: dict[int, Top]
    ) -> dict[str, float]:
        return resilience_features(events, symbol, boundary, tops, more)

    features = FeatureSettings(families=("resilience",), resilience=more)
    assert_equals_twin("resilience", twin, 3, 220, range(5, 220, 23), features)


def vectors(
    events: list[Event], seconds: int, tops: dict[int, Top] | None = None
) -> list[dict[str, float]]:
    """`tops` by second where the ladder is another."""
    boundaries = boundaries_of(START, seconds)
    by_boundary = {b: (tops or {}).get(k + 1, TOP) for k, b in enumerate(boundaries)}
    found = drive([*JOINED, *events], boundaries, {0: by_boundary}, 1, features=CHOSEN)[:, 0]
    return [dict(zip(NAMES, map(float, row), strict=True)) for row in found]


def book(second: float, touch: tuple[int, int, int, int] = (99, 30, 101, 10)) -> Book:
    return Book(START + round(second * SECOND), 0, True, touch, (0, 0, 0, 0, 0))


def trade(second: float, lots: int, sell: bool = False, ticks: int = 101) -> Trade:
    return Trade(START + round(second * SECOND), 0, sell, ticks, lots)


def test_what_is_added_and_taken_at_the_touch_is_told_side_by_side() -> None:
    events = [book(0.1), book(0.2, (99, 50, 101, 4)), book(0.3, (98, 7, 101, 4))]
    found = vectors([*events, book(0.4, (98, 7, 100, 6))], 1)[0]
    assert found["replenishment_bid_10s"] == 20 / (20 + 50)  # then the queue of 50 at 99 is gone
    assert found["replenishment_ask_10s"] == 6 / (6 + 6)


def test_what_takers_did_not_fill_of_the_lots_taken_was_cancelled() -> None:
    events = [book(0.1), trade(70.1, 4), book(70.2, (99, 30, 101, 2)), book(75.0)]
    found = vectors(events, 76)
    assert found[70]["cancel_share_ask_60s"] == (8 - 4) / 8
    assert math.isnan(found[70]["cancel_share_bid_60s"])  # nothing was taken there


def test_trades_beyond_what_a_price_ever_showed_hint_at_hidden_orders() -> None:
    events = [book(0.1), trade(70.1, 8), book(70.2), trade(70.3, 8), trade(70.4, 9, ticks=102)]
    found = vectors(events, 71)[70]
    assert found["refilled_share_ask_60s"] == 6 / 16  # 16 were bought at 101, 10 shown at most


def test_depth_is_measured_against_its_mean_before_the_last_sweep() -> None:
    swept: Top = [TOP[0], [(101, 6), (102, 30)]]
    grown: Top = [TOP[0], [(101, 45), (102, 30)]]
    deep: Top = [TOP[0], [(101, 60)]]  # the mean of two closes is 60 in any case
    found = vectors([book(0.1), trade(2.5, 40)], 70, {1: deep, 3: swept, 4: swept, 5: grown})
    assert math.isnan(found[1]["depth_recovery_ask"])
    assert [found[k]["depth_recovery_ask"] for k in (2, 3, 4)] == [0.6, 0.6, 1.25]
    assert found[62]["depth_recovery_ask"] == 1.0
    assert math.isnan(found[63]["depth_recovery_ask"])
    assert all(math.isnan(f["depth_recovery_bid"]) for f in found)
    assert found[60]["sweeps_ask_60s"] == 1.0 and found[60]["sweeps_bid_60s"] == 0.0


def test_half_the_depth_is_a_sweep_and_less_is_not() -> None:
    for lots, is_one in ((30, True), (29, False)):
        found = vectors([book(0.1), trade(2.5, lots)], 3)[2]
        assert math.isfinite(found["depth_recovery_ask"]) == is_one


def test_a_spread_of_twice_its_mean_is_wide_until_it_is_not() -> None:
    events = [book(0.1), book(20.25, (98, 1, 102, 1)), book(20.5, (97, 1, 102, 1)), book(21.25)]
    found = vectors(events, 85)
    assert found[19]["spread_widenings_60s"] == 0.0
    assert found[20]["spread_widenings_60s"] == 1.0
    assert math.isnan(found[20]["spread_recovery_5m"])
    assert found[21]["spread_recovery_5m"] == 1000.0
    assert found[80]["spread_widenings_60s"] == 0.0


def test_a_break_of_either_stream_ends_what_needs_both() -> None:
    events: list[Event] = [book(0.1), trade(70.1, 40), book(70.2, (99, 30, 101, 2))]
    for family, gone in ((TAPE, False), (BOOK, True)):
        cut = Epoch(START + 71 * SECOND, 0, family, RESYNCING, 1)
        found = vectors([*events, cut], 72)
        assert found[70]["sweeps_ask_60s"] == 1.0
        for name in ("cancel_share_ask_60s", "sweeps_ask_60s", "depth_recovery_ask"):
            assert math.isfinite(found[70][name]) and math.isnan(found[71][name])
        assert math.isnan(found[71]["replenishment_ask_10s"]) == gone


def test_trades_without_a_price_or_a_size_and_invalid_books_count_for_nothing() -> None:
    events: list[Event] = [book(0.1)]
    for ticks, lots in ((0, 90), (-1, 90), (101, 0), (101, -90)):
        events.append(trade(2.5, lots, ticks=ticks))
    events.append(Book(START + 3 * SECOND, 0, False, (1, 1, 9, 1), (0, 0, 0, 0, 0)))
    found = vectors(events, 65)[64]
    assert found["sweeps_ask_60s"] == 0.0 and math.isnan(found["refilled_share_ask_60s"])
    assert math.isnan(found["replenishment_ask_10s"]) and found["spread_widenings_60s"] == 0.0


def test_a_widening_that_a_break_cut_short_is_no_recovery() -> None:
    cut = Epoch(START + 21 * SECOND, 0, BOOK, RESYNCING, 1)
    joined = Epoch(START + 22 * SECOND, 0, BOOK, SYNCED, 2)
    events = [book(0.1), book(20.25, (97, 1, 103, 1)), cut, joined, book(22.5), book(40.5)]
    found = vectors(events, 42)
    assert found[20]["spread_widenings_60s"] == 1.0
    assert found[41]["spread_widenings_60s"] == 0.0
    assert math.isnan(found[41]["spread_recovery_5m"])
