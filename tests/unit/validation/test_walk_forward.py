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
    PRESETS,
    DayCut,
    Fold,
    WalkForwardSettings,
    check_fold,
    final_fold,
    sweep_rows,
    walk_forward,
)

S = 1_000_000_000
HOUR = 3600 * S
DAY = 24 * HOUR


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


def days_of(preset: str, **cut: Any) -> WalkForwardSettings:
    """A preset of its own where `cut` says one."""
    presets = {preset: cut} if cut else {}
    return WalkForwardSettings.model_validate({"preset": preset, "presets": presets})


def naive_parts(
    t0: np.ndarray, t1: np.ndarray, begin: int, cuts: tuple[int, int, int], gap: int
) -> list[list[int]]:
    """Rows of train, calibration and test, one by one: in its window, and so far from every row of
    a later part that more than `gap` lies between the spans."""
    edges = [begin, *cuts]
    windows = [[i for i in range(len(t0)) if edges[k] <= t0[i] < edges[k + 1]] for k in range(3)]
    out = []
    for k, window in enumerate(windows):
        later = [j for rows in windows[k + 1 :] for j in rows]
        out.append(
            [i for i in window if all(max(t0[j] - t1[i], t0[i] - t1[j]) > gap for j in later)]
        )
    return out


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 10**6),
    train=st.integers(2, 5),
    calibration=st.integers(1, 3),
    test=st.integers(1, 3),
    step=st.integers(1, 3),
    folds=st.integers(1, 3),
    purge=st.sampled_from([0.0, 1.0, 5.5]),
    embargo=st.sampled_from([0.0, 2.0]),
    rolling=st.booleans(),
)
def test_days_are_cut_as_one_would_by_hand(
    seed: int, train: int, calibration: int, test: int, step: int, folds: int, purge: float,
    embargo: float, rolling: bool,
) -> None:  # fmt: skip
    cut = DayCut(
        train=train, calibration=calibration, test=test, step=step, folds=folds,
        purge_h=purge, embargo_h=embargo,
    )  # fmt: skip
    random = np.random.default_rng(seed)
    # Every three hours, two symbols, some boundaries missing; the last one is there.
    grid = np.arange(0, (cut.days + 2) * DAY, 3 * HOUR)
    kept = grid[(random.random(len(grid)) < 0.9) | (grid == grid[-1]) | (grid == grid[-2])]
    t0 = random.permutation(np.repeat(kept, 2)).astype(np.int64)
    t1 = t0 + random.integers(0, 4 * HOUR, len(t0))
    chosen = days_of("mine", **cut.model_dump()).model_copy(
        update={"mode": "rolling" if rolling else "expanding"}
    )
    assert chosen.embargo_ns == round((purge + embargo) * HOUR)
    end, first = int(grid[-1]) + 3 * HOUR, int(t0.min())

    def by_hand(test_end: int) -> list[list[int]]:
        begin = test_end - test * DAY
        middle = begin - calibration * DAY
        start = middle - train * DAY if rolling else first
        return naive_parts(t0, t1, start, (middle, begin, test_end), chosen.embargo_ns)

    def same(fold: Fold, hand: list[list[int]]) -> bool:
        parts = fold.parts.values()
        return [sorted(rows.tolist()) for rows in parts] == hand

    judged = final_fold(t0, t1, chosen)
    assert same(judged, by_hand(end))
    made = walk_forward(t0, t1, chosen)
    assert len(made) == folds
    for back, fold in enumerate(reversed(made)):
        assert same(fold, by_hand(end - back * step * DAY))
    # The sweep, handed what it may see, comes nowhere near what the judge keeps.
    seen = sweep_rows(t0, t1, chosen)
    assert naive_distance(t0, t1, seen, judged.test) > chosen.embargo_ns
    for fold in walk_forward(t0[seen], t1[seen], chosen):
        for part in fold.parts.values():
            assert not set(seen[part].tolist()) & set(judged.test.tolist())


def test_the_presets_are_what_their_names_say() -> None:
    month = PRESETS["30/7"]
    assert month.train + month.calibration == 30  # the last five days of training calibrate
    assert (month.calibration, month.test, month.step, month.folds) == (5, 7, 7, 5)
    assert (month.purge_h, month.embargo_h, month.gap_ns) == (24.0, 6.0, 30 * HOUR)
    quarter, short = PRESETS["90/30/30"], PRESETS["10/2/2"]
    assert (quarter.train, quarter.calibration, quarter.test, quarter.step) == (90, 30, 30, 30)
    assert (short.train, short.calibration, short.test, short.step) == (10, 2, 2, 2)
    assert {name: cut.days for name, cut in PRESETS.items()} == {
        "30/7": 74, "90/30/30": 302, "10/2/2": 25
    }  # fmt: skip


@pytest.mark.parametrize("preset", ["30/7", "10/2/2"])
def test_a_day_too_few_is_refused_with_the_days_that_are_needed(preset: str) -> None:
    chosen, cut = days_of(preset), PRESETS[preset]
    t0 = np.arange(0, cut.days * DAY, HOUR)
    t1 = t0 + 900 * S
    judged = final_fold(t0, t1, chosen)
    assert t0[judged.test].min() == (cut.days - cut.test) * DAY
    seen = sweep_rows(t0, t1, chosen)
    made = walk_forward(t0[seen], t1[seen], chosen)
    assert len(made) == cut.folds
    warm = t0 >= 6 * HOUR  # a day that has begun counts
    assert (final_fold(t0[warm], t1[warm], chosen).test == judged.test - 6).all()
    late = t0 >= DAY
    with pytest.raises(DatasetError, match=f"preset {preset} needs {cut.days} days for 5 folds"):
        final_fold(t0[late], t1[late], chosen)
    few = t0 < cut.sweep_days * DAY - DAY
    with pytest.raises(
        DatasetError, match=rf"needs {cut.sweep_days} days .*\({cut.days} days with what the judge"
    ):
        walk_forward(t0[few], t1[few], chosen)


def test_a_preset_of_ones_own_comes_beside_the_others_and_an_unknown_one_is_refused() -> None:
    own = days_of("week", train=7, calibration=1, test=1, step=1)
    assert set(own.presets) == {*PRESETS, "week"}
    assert own.cut is not None and own.cut.days == 16
    with pytest.raises(ValueError, match=r"preset '30/8' is none of 30/7, 90/30/30, 10/2/2"):
        days_of("30/8")
