"""foreshock.validation.walk_forward: time goes forward and spans never meet."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foreshock.errors import DatasetError, OverlapError
from foreshock.validation.walk_forward import (
    Fold,
    WalkForwardSettings,
    check_fold,
    final_fold,
    sweep_rows,
    walk_forward,
)

S = 1_000_000_000


def spans(seed: int, n: int, longest_s: int) -> tuple[np.ndarray, np.ndarray]:
    """Spans in shuffled order, several rows a boundary, with a hole in time."""
    random = np.random.default_rng(seed)
    t0 = random.integers(0, 500, n) * S
    t0[t0 > 300 * S] += 5000 * S
    return t0, t0 + random.integers(0, longest_s + 1, n) * S


def naive_distance(t0: np.ndarray, t1: np.ndarray, one: np.ndarray, two: np.ndarray) -> int:
    """Least time between spans of two sets of rows, below 0 where they overlap."""
    return min(max(t0[j] - t1[i], t0[i] - t1[j]) for i in one.tolist() for j in two.tolist())


@settings(deadline=None, max_examples=30)
@given(
    seed=st.integers(0, 10**6),
    longest=st.integers(0, 20),
    embargo=st.integers(0, 15),
    folds=st.integers(1, 3),
    mode=st.sampled_from(["expanding", "rolling"]),
)
def test_parts_follow_each_other_and_keep_their_distance(
    seed: int, longest: int, embargo: int, folds: int, mode: Any
) -> None:
    t0, t1 = spans(seed, 300, longest)
    chosen = WalkForwardSettings(folds=folds, mode=mode, embargo_s=embargo)
    made = [*walk_forward(t0, t1, chosen), final_fold(t0, t1, chosen)]
    for fold in made:
        parts = list(fold.parts.values())
        for i, part in enumerate(parts):
            assert (np.diff(t0[part]) >= 0).all()
            for later in parts[i + 1 :]:
                assert naive_distance(t0, t1, part, later) > embargo * S
    seen = sweep_rows(t0, t1, chosen)
    assert naive_distance(t0, t1, seen, made[-1].test) > embargo * S


def test_the_purge_costs_only_what_it_must() -> None:
    t0 = np.arange(1000) * S
    t1 = t0 + 9 * S
    fold = final_fold(t0, t1, WalkForwardSettings(embargo_s=0))
    # 600 | 200 | 200: the last 9 rows of the first two parts reach into the next.
    assert [len(part) for part in fold.parts.values()] == [591, 191, 200]
    assert fold.purged == 18


def test_expanding_folds_begin_at_the_start_and_rolling_ones_move() -> None:
    t0 = np.arange(1000) * S
    for mode, starts in (("expanding", [0, 0, 0, 0]), ("rolling", [0, 100, 200, 300])):
        made = walk_forward(
            t0, t0, WalkForwardSettings.model_validate({"folds": 4, "mode": mode, "embargo_s": 0})
        )
        assert [int(t0[fold.train[0]]) // S for fold in made] == starts
        tests = np.concatenate([fold.test for fold in made])
        assert tests.tolist() == list(range(600, 1000))  # each later row is tested once


def test_a_hand_made_fold_that_overlaps_is_refused_with_the_row() -> None:
    t0 = np.arange(30) * S
    t1 = t0 + S
    good = Fold(np.arange(8), np.arange(10, 18), np.arange(20, 30), 0)
    assert check_fold(good, t0, t1) is good
    with pytest.raises(OverlapError, match="row 8 of the train part"):
        check_fold(replace(good, train=np.arange(9), calibration=np.arange(9, 18)), t0, t1)
    with pytest.raises(OverlapError, match="row 7 of the train part"):
        check_fold(good, t0, t1, embargo_ns=2 * S)
    with pytest.raises(OverlapError, match="does not lie before"):
        check_fold(replace(good, train=np.arange(20, 30), test=np.arange(8)), t0, t1)
    with pytest.raises(DatasetError, match="calibration part is empty"):
        check_fold(replace(good, calibration=np.arange(0)), t0, t1)


def test_a_label_that_outlives_its_part_leaves_nothing_to_train_on() -> None:
    t0 = np.arange(100) * S
    with pytest.raises(DatasetError, match="leave nothing of the train part"):
        final_fold(t0, t0 + 1000 * S, WalkForwardSettings())


def test_shares_that_leave_no_test_are_refused() -> None:
    t0 = np.arange(100) * S
    with pytest.raises(DatasetError, match="none is left to test"):
        walk_forward(t0, t0, WalkForwardSettings(train_share=0.6, calibration_share=0.4))
    with pytest.raises(DatasetError, match="3 distinct boundaries"):
        walk_forward(t0[:3], t0[:3], WalkForwardSettings())
