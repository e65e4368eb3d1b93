"""The REST weight budget: no minute of the venue's ever holds more than its limit."""

from __future__ import annotations

import random
from itertools import accumulate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foreshock.errors import ConfigError
from foreshock.market.clock import SECOND_NS
from foreshock.venues.weights import MINUTE_NS, UNDER_WAY_NS, WeightBudget, back_off_s


def fullest_minute(counted: list[tuple[int, int]], window_ns: int) -> int:
    """The most weight in any window, looked at from every request; a slow twin."""
    return max(
        (
            sum(weight for at, weight in counted if start <= at < start + window_ns)
            for start, _ in counted
        ),
        default=0,
    )


@settings(max_examples=150, deadline=None)
@given(
    limit=st.integers(20, 500),
    asked=st.lists(
        st.tuples(
            st.integers(0, 20 * SECOND_NS),  # pause before it
            st.integers(1, 20),  # weight
            st.booleans(),  # urgent
            st.integers(0, UNDER_WAY_NS - 1),  # how long until the venue counts it
        ),
        max_size=60,
    ),
)
def test_no_minute_of_the_venue_holds_more_than_its_limit(
    limit: int, asked: list[tuple[int, int, bool, int]]
) -> None:
    budget, now_ns, counted = WeightBudget(limit), 0, []
    for pause_ns, weight, urgent, under_way_ns in asked:
        now_ns += pause_ns
        while wait_ns := budget.take(now_ns, weight, urgent):
            now_ns += wait_ns
        counted.append((now_ns + under_way_ns, weight))
    assert fullest_minute(counted, MINUTE_NS) <= limit


@pytest.mark.parametrize(("limit", "weight"), [(6000, 50), (2400, 20)])
def test_four_hundred_resyncs_at_once_stay_within_the_limit_and_end_soon(
    limit: int, weight: int
) -> None:
    rng, budget = random.Random(3), WeightBudget(limit)
    counted: list[tuple[int, int]] = []
    now_ns = 0
    for _ in range(400):
        while wait_ns := budget.take(now_ns, weight, True):
            now_ns += wait_ns
        counted.append((now_ns + rng.randrange(UNDER_WAY_NS), weight))
    assert fullest_minute(counted, MINUTE_NS) <= limit
    perfect_s = 60 * (400 * weight // limit)
    assert now_ns / SECOND_NS <= 1.35 * perfect_s


def test_what_waits_goes_at_the_very_moment_that_it_was_told() -> None:
    budget = WeightBudget(100)
    assert [budget.take(k * SECOND_NS, 30, True) for k in range(3)] == [0, 0, 0]
    wait_ns = budget.take(10 * SECOND_NS, 30, True)
    assert wait_ns == MINUTE_NS + UNDER_WAY_NS - 10 * SECOND_NS
    assert budget.take(10 * SECOND_NS + wait_ns - 1, 30, True) == 1
    assert budget.take(10 * SECOND_NS + wait_ns, 30, True) == 0


def test_polls_leave_room_for_snapshots() -> None:
    budget = WeightBudget(1000)
    polls = 0
    while budget.take(0, 10, False) == 0:
        polls += 1
    assert polls == 45
    assert all(budget.take(0, 50, True) == 0 for _ in range(9))
    assert budget.take(0, 50, True) > 0


def test_what_others_used_of_the_address_counts() -> None:
    budget = WeightBudget(1000)
    assert budget.take(0, 100, True) == 0
    budget.correct(SECOND_NS, 880)
    assert budget.used(SECOND_NS) == 880
    assert budget.take(SECOND_NS, 100, True) > 0
    budget.correct(2 * SECOND_NS, 3)  # its minute began anew: ours did not
    assert budget.used(2 * SECOND_NS) == 880
    assert budget.used(SECOND_NS + MINUTE_NS + UNDER_WAY_NS) == 0


def test_a_venue_that_asks_to_wait_stops_everything_and_the_longest_wait_counts() -> None:
    budget = WeightBudget(1000)
    budget.stop(0, 30)
    budget.stop(SECOND_NS, 1)
    assert budget.take(SECOND_NS, 1, True) == 29 * SECOND_NS
    assert budget.stopped_s(SECOND_NS) == 29
    assert budget.take(30 * SECOND_NS, 1, True) == 0
    budget.stop(0, 1e30)
    assert budget.stopped_s(0) == 3 * 24 * 3600


def test_a_request_beyond_the_limit_is_refused_in_words_and_a_heavy_one_goes_alone() -> None:
    budget = WeightBudget(100)
    with pytest.raises(ConfigError, match="250 exceeds the 100"):
        budget.take(0, 250, True)
    assert budget.take(0, 95, False) == 0
    assert budget.take(1, 1, False) > 0
    with pytest.raises(ConfigError, match="0 a minute"):
        WeightBudget(0)


def test_the_back_off_doubles_up_to_a_limit_and_is_jittered_from_nothing_on() -> None:
    assert [back_off_s(k, 1.0) for k in range(4)] == [0.2, 0.4, 0.8, 1.6]
    assert back_off_s(5000, 1.0) == 30.0
    assert back_off_s(3, 0.0) == 0.0
    assert list(accumulate(back_off_s(k, 0.5) for k in range(3))) == pytest.approx([0.1, 0.3, 0.7])
