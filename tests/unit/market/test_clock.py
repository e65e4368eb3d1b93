"""Stamps that never run backwards, and the boundaries they fall into."""

from __future__ import annotations

from foreshock.market.clock import SECOND_NS, Clock, boundary_after


def test_a_step_of_the_wall_clock_does_not_reorder_stamps() -> None:
    wall, monotonic = iter([1_000_000, 5]), iter([300, 310, 400])
    clock = Clock(lambda: next(wall), lambda: next(monotonic))
    assert [clock.now_ns(), clock.now_ns()] == [1_000_010, 1_000_100]


def test_the_real_clock_is_near_utc_and_goes_on() -> None:
    clock = Clock()
    stamps = [clock.now_ns() for _ in range(100)]
    assert stamps == sorted(stamps)
    assert stamps[0] > 1_700_000_000 * SECOND_NS


def test_the_boundary_after_is_strictly_after() -> None:
    step = SECOND_NS
    assert boundary_after(0, step) == step
    assert boundary_after(step - 1, step) == step
    assert boundary_after(step, step) == 2 * step
    assert boundary_after(1_700_000_000_123_456_789, step) == 1_700_000_001 * step
