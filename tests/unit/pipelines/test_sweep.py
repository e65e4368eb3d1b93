"""pipelines.sweep: what is tried and which is best, without Ray."""

from __future__ import annotations

import math

import pytest

from foreshock.errors import DatasetError
from foreshock.models.boosted import BoostedSettings
from pipelines.sweep import best, candidates
from pipelines.training import Cell

BASE = BoostedSettings(seed=3)


def cell(skill: float, refused: str = "") -> Cell:
    return Cell(0, 60, skill, 0.1, refused)


def test_candidates_begin_with_the_base_and_follow_the_seed() -> None:
    tried = candidates(8, BASE, seed=1)
    assert tried[0] == BASE
    assert len(tried) == 8
    assert tried == candidates(8, BASE, seed=1)
    assert tried[:3] == candidates(3, BASE, seed=1)  # more trials only add
    assert tried != candidates(8, BASE, seed=2)
    assert len({t.model_dump_json() for t in tried}) == 8
    assert {t.seed for t in tried} == {3}


def test_the_best_trial_is_the_first_with_the_highest_mean() -> None:
    tried = candidates(4, BASE, seed=1)
    results = [[cell(0.1)], [cell(0.2), cell(math.nan, "no")], [cell(0.3), cell(0.1)], [cell(-1.0)]]
    assert best(tried, results) == 1


def test_where_nothing_could_be_judged_the_reason_is_told() -> None:
    tried = candidates(2, BASE, seed=1)
    with pytest.raises(DatasetError, match=r"none of 2 trials .*: too few rows"):
        best(tried, [[cell(math.nan, "too few rows")], [cell(math.nan, "other")]])
