"""foreshock.validation.search: ranges, stages and who goes on."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreshock.validation.search import Range, SearchSettings

NAN = math.nan


@given(folds=st.integers(1, 50), first=st.integers(1, 60), prune=st.booleans())
def test_the_stages_hold_each_fold_once_in_order(folds: int, first: int, prune: bool) -> None:
    rungs = SearchSettings(first_folds=first, prune=prune).rungs(folds)
    assert [fold for rung in rungs for fold in rung] == list(range(folds))
    assert all(rungs)
    if not prune:
        assert len(rungs) == 1


def test_each_stage_doubles_what_was_seen() -> None:
    assert SearchSettings(first_folds=1).rungs(5) == [(0,), (1,), (2, 3), (4,)]
    assert SearchSettings(first_folds=2).rungs(5) == [(0, 1), (2, 3), (4,)]


@given(
    skills=st.lists(st.one_of(st.just(NAN), st.integers(-3, 3).map(float)), min_size=1, max_size=9),
    keep=st.floats(0.01, 1.0),
)
def test_those_who_go_on_are_the_better_ones(skills: list[float], keep: float) -> None:
    on = SearchSettings(keep=keep).survivors(skills)
    known = [i for i, skill in enumerate(skills) if not math.isnan(skill)]
    assert on == sorted(on) and set(on) <= set(known)
    assert len(on) == min(len(known), max(1, math.ceil(len(skills) * keep)))
    for out in set(known) - set(on):
        assert all((skills[i], -i) > (skills[out], -out) for i in on)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"low": 1.0},
        {"low": 2.0, "high": 1.0},
        {"low": 0.0, "high": 1.0, "log": True},
        {"choices": (1, 2), "low": 1.0, "high": 2.0},
    ],
)
def test_a_range_that_says_nothing_or_two_things_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"range|logarithm"):
        Range(**given)


def test_what_a_range_holds() -> None:
    assert Range(choices=("a", 2)).holds("a") and not Range(choices=("a", 2)).holds(3)
    assert Range(low=1, high=3, whole=True).holds(2)
    assert not Range(low=1, high=3, whole=True).holds(2.5)
    assert not Range(low=1, high=3).holds("2")
