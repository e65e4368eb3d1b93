"""foreshock.validation.promotion: what passes, what does not, and what it says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from foreshock.validation.bounds import mean_lower_bound
from foreshock.validation.promotion import (
    Decision,
    Evidence,
    PromotionSettings,
    judge,
    with_idle,
)

SETTINGS = PromotionSettings(draws=1000)


def evidence(seed: int = 1, mean: float = 1.0, periods: int = 96) -> Evidence:
    random = np.random.default_rng(seed)
    sweep = random.normal(mean, 1.5, (120, 1)) + random.normal(0.0, 0.3, (120, 4))
    return Evidence(
        returns_bps=random.normal(mean, 1.5, periods),
        trades=150,
        surges=60,
        skill=0.08,
        skill_lower=0.03,
        slope=1.02,
        shift=-0.05,
        ece=0.012,
        said=0.42,
        came=0.40,
        said_rows=100,
        fold_returns_bps=(30.0, 25.0, -2.0),
        trial_returns_bps=sweep,
        trials=2.5,
    )


def outcome(decision: Decision, name: str) -> str:
    return next(test.outcome for test in decision.tests if test.name == name)


def test_a_true_edge_is_promoted() -> None:
    decision = judge(evidence(), SETTINGS)
    assert decision.verdict == "promoted"
    assert {test.outcome for test in decision.tests} == {"passed"}
    assert "is surely above 0" in decision.words


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("skill", {"skill_lower": -0.002}, "Brier skill 0.0800 is not surely above 0"),
        ("calibration", {"slope": 0.31}, "not slope 0.310 in [0.5, 1.6]"),
        ("calibration", {"shift": -0.8}, "not shift -0.800 within 0.5"),
        ("calibration", {"ece": 0.09}, "not ECE 0.0900 within 0.05"),
        ("precision", {"came": 0.2}, "0.420 was said and 0.200 came"),
        ("stability", {"fold_returns_bps": (30.0, -1.0, -2.0)}, "1 of 3 folds earned something"),
        ("utility", {"returns_bps": np.tile([1.0, -1.1], 48)}, "is not above 0, over 96 periods"),
        ("deflated", {"trials": 1e9}, "luck in 1000000000.0 effective trials"),
    ],
)
def test_each_test_alone_refuses_and_says_by_how_much(
    name: str, change: dict[str, object], words: str
) -> None:
    given = replace(evidence(), **change)
    if name == "deflated":  # scattered trials, of which the best is luck
        random = np.random.default_rng(3)
        scattered = random.normal(0.4, 1.5, (120, 6)) + random.normal(0.4, 0.6, 6)
        given = replace(given, trial_returns_bps=scattered)
    decision = judge(given, SETTINGS)
    assert decision.verdict == "refused"
    assert outcome(decision, name) == "failed"
    assert f"{name}: " in decision.words
    assert words in decision.words


def test_trials_that_lose_where_they_were_not_chosen_are_overfitted() -> None:
    random = np.random.default_rng(5)
    noise = random.normal(0.0, 1.5, (120, 8))
    decision = judge(replace(evidence(), trial_returns_bps=noise - noise.mean(axis=0)), SETTINGS)
    assert outcome(decision, "overfitting") == "failed"
    assert decision.verdict == "refused"


def test_like_trials_with_an_edge_are_not_called_overfitted() -> None:
    # Against each other they are below the median half of the time; against not trading never.
    given = evidence()
    assert with_idle(given.trial_returns_bps).shape == (120, 8)
    test = next(t for t in judge(given, SETTINGS).tests if t.name == "overfitting")
    assert test.value == 0.0


@pytest.mark.parametrize(
    "change",
    [
        {"returns_bps": np.full(6, 2.0)},
        {"returns_bps": np.array([5.0] * 4 + [0.0] * 92)},
        {"trades": 3},
        {"surges": 4},
        {"skill_lower": float("nan")},
        {"fold_returns_bps": (30.0, float("nan"))},
        {"trial_returns_bps": np.ones((10, 2))},
        {"trial_returns_bps": np.empty((0, 0))},
    ],
)
def test_too_little_to_go_by_is_no_promotion(change: dict[str, object]) -> None:
    decision = judge(replace(evidence(), **change), SETTINGS)
    assert decision.verdict == "insufficient_sample"
    assert not decision.promoted
    assert decision.words


def test_a_failure_outweighs_a_short_sample() -> None:
    assert judge(replace(evidence(), trades=3, slope=0.1), SETTINGS).verdict == "refused"


def test_horizons_share_the_error_budget() -> None:
    given = evidence(mean=0.5)
    one, three = (
        mean_lower_bound(given.returns_bps, SETTINGS.alpha / h, draws=4000) for h in (1, 3)
    )
    assert three < one
    assert "99.67%" in judge(given, SETTINGS, 3).tests[2].words


def test_what_is_told_is_json() -> None:
    told = judge(replace(evidence(), came=float("nan")), SETTINGS).tests
    values: list[NDArray[np.float64] | float | str | None] = []
    for test in told:
        values += list(test.as_dict().values())
    assert None in values
    assert not any(isinstance(value, float) and np.isnan(value) for value in values)
