"""What an overloaded watcher gives up: in order, with patience both ways."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from foreshock.market.clock import MS_NS, SECOND_NS
from foreshock.market.overload import NOTHING, RECORDING, SLOW, Overload, OverloadSettings, judge

GIVEN, IDLE = OverloadSettings(), Overload()


def after(lags_ms: list[float], every_ms: int = 100, start: Overload = IDLE) -> list[int]:
    levels, state = [], start
    for k, lag_ms in enumerate(lags_ms):
        state = judge(state, (k + 1) * every_ms * MS_NS, int(lag_ms * MS_NS), GIVEN)
        levels.append(state.level)
    return levels


def test_a_short_burst_gives_nothing_up() -> None:
    assert set(after([5_000.0] * 10 + [1.0] + [5_000.0] * 10)) == {NOTHING}


def test_recording_goes_first_then_the_slow_features_then_nothing_more() -> None:
    levels = after([400.0] * 60)
    assert levels[:11] == [0] * 10 + [RECORDING]
    assert levels[11:22] == [RECORDING] * 10 + [SLOW]
    assert set(levels[22:]) == {SLOW}


def test_a_lag_that_recording_pays_for_costs_no_more() -> None:
    assert after([180.0] * 200)[-1] == RECORDING


def test_it_is_taken_back_one_after_the_other_after_a_long_calm() -> None:
    levels = after([2.0] * 250, start=Overload(SLOW))
    assert levels[100] == RECORDING and levels[99] == SLOW
    assert levels[201] == NOTHING and levels[200] == RECORDING


def test_between_the_two_lags_nothing_changes() -> None:
    assert set(after([60.0] * 300, start=Overload(RECORDING))) == {RECORDING}


@given(st.lists(st.floats(0, 1_000), max_size=300))
def test_levels_change_by_one_and_never_sooner_than_the_patience_allows(lags: list[float]) -> None:
    levels = [0, *after(lags)]
    ups = [k for k in range(1, len(levels)) if levels[k] > levels[k - 1]]
    downs = [k for k in range(1, len(levels)) if levels[k] < levels[k - 1]]
    assert all(abs(b - a) <= 1 for a, b in pairwise(levels))
    for k in ups:
        assert min(lags[k - 11 : k]) > GIVEN.enter_ms[0] and k >= 11
    for k in downs:
        assert max(lags[k - 101 : k]) < GIVEN.leave_ms and k * 100 * MS_NS >= 10 * SECOND_NS
