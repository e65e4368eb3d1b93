"""foreshock.validation.trials: what counts as a trial, and as how many."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from foreshock.validation.trials import Trial, counted, effective, matrix, recipe_digest

WINDOW = (100, 200)


def trial(recipe: str = "a", **changes: object) -> Trial:
    plain = Trial("model", WINDOW, recipe, "data", False, {60: (1.0, 2.0, 0.5)})
    return replace(plain, **changes)  # type: ignore[arg-type]


def test_the_same_recipe_on_the_same_data_counts_once_however_often_it_ran() -> None:
    later = trial(returns_bps={60: (9.0, 9.0, 9.0)})
    found = counted([trial(), trial("b"), later], "model", WINDOW)
    assert [t.recipe for t in found] == ["a", "b"]
    assert found[0] is later


def test_other_data_or_another_window_is_another_trial() -> None:
    ledger = [trial(), trial(data="more"), trial(window_ns=(120, 220))]
    assert len(counted(ledger, "model", WINDOW)) == 3


def test_a_scheduled_refit_of_a_frozen_recipe_counts_once() -> None:
    refits = [
        trial(frozen=True, data=f"day {day}", window_ns=(100 + day, 200 + day)) for day in range(30)
    ]
    assert len(counted(refits, "model", WINDOW)) == 1
    assert len(counted([trial(), *refits], "model", WINDOW)) == 1
    assert len(counted([trial("b"), *refits], "model", WINDOW)) == 2


def test_only_trials_of_the_alias_whose_window_meets_the_judged_one_count() -> None:
    ledger = [trial(), trial("b", alias="other"), trial("c", window_ns=(200, 300))]
    assert [t.recipe for t in counted(ledger, "model", WINDOW)] == ["a"]
    assert [t.recipe for t in counted(ledger, "model", (150, 250))] == ["a", "c"]
    assert counted([], "model", WINDOW) == []


def test_trials_that_move_together_amount_to_fewer() -> None:
    random = np.random.default_rng(4)
    common = random.normal(size=300)

    def ten(share: float) -> list[Trial]:
        return [
            trial(str(i), returns_bps={60: tuple(share * common + random.normal(size=300))})
            for i in range(10)
        ]

    assert effective(ten(0.0), 60) > 9.0
    assert 1.0 <= effective(ten(20.0), 60) < 1.2


def test_trials_given_up_early_count_like_the_others_of_their_window() -> None:
    random = np.random.default_rng(5)
    whole = [trial(str(i), returns_bps={60: tuple(random.normal(size=200))}) for i in range(4)]
    silent = [trial(f"s{i}", returns_bps={}) for i in range(4)]
    assert effective(whole + silent, 60) == pytest.approx(2 * effective(whole, 60))
    assert effective(silent, 60) == 4.0
    assert effective([], 60) == 1.0


def test_windows_add_up() -> None:
    first = [trial(returns_bps={60: (1.0, 2.0, 0.0)})]
    second = [trial("b", window_ns=(150, 250), returns_bps={60: (1.0, 2.0, 0.0)})]
    assert effective(first + second, 60) == 2.0


def test_the_matrix_is_of_those_with_returns_over_all_periods() -> None:
    ragged = [trial(), trial("b", returns_bps={60: (1.0,)}), trial("c", returns_bps={})]
    assert matrix(ragged, 60).tolist() == [[1.0], [2.0], [0.5]]
    assert matrix([], 60).shape == (0, 0)


def test_a_recipe_is_the_same_on_any_number_of_threads() -> None:
    first, second = {"trees": 40, "threads": 1}, {"threads": 8, "trees": 40}
    assert recipe_digest(first) == recipe_digest(second)
    assert recipe_digest({"trees": 41}) != recipe_digest(first)
