"""foreshock.validation.measures: values known beforehand, and bounds that hold what they say."""

from __future__ import annotations

import numpy as np
import pytest

from foreshock.validation import measures

S = 1_000_000_000


def test_brier_and_its_skill_on_paper() -> None:
    y, p = [1, 0, 0, 0], [0.5, 0.5, 0.0, 0.0]
    assert measures.brier(y, p) == pytest.approx(0.125)
    assert measures.brier_skill(y, p) == pytest.approx(1 - 0.125 / 0.1875)
    assert measures.brier_skill(y, [0.25] * 4) == pytest.approx(0.0)
    assert measures.brier_skill(y, p, base_rate=0.5) == pytest.approx(0.5)
    assert np.isnan(measures.brier_skill([0, 0], [0.1, 0.1]))


@pytest.mark.parametrize("constant", [0.0, 0.1, 0.3, 0.9])
def test_no_constant_has_skill_against_the_sample_itself(constant: float) -> None:
    y = np.random.default_rng(0).integers(0, 2, 100)
    assert measures.brier_skill(y, np.full(100, constant)) <= 0


def test_log_loss_survives_a_sure_mistake() -> None:
    assert measures.log_loss([1, 0], [0.5, 0.5]) == pytest.approx(np.log(2))
    assert np.isfinite(measures.log_loss([1], [0.0]))


def test_calibration_error_is_the_gap_between_words_and_deeds() -> None:
    random = np.random.default_rng(1)
    p = random.uniform(0.1, 0.7, 40_000)
    y = random.random(40_000) < p
    assert measures.expected_calibration_error(y, p) < 0.02
    assert measures.expected_calibration_error(y, p + 0.2) == pytest.approx(0.2, abs=0.02)
    # Equal probabilities stay together: half right at one half is no error, in any order.
    assert measures.expected_calibration_error([0] * 50 + [1] * 50, [0.5] * 100) == 0.0


def test_the_calibration_line_finds_overconfidence() -> None:
    random = np.random.default_rng(2)
    logit = random.normal(-1, 1, 60_000)
    y = random.random(60_000) < 1 / (1 + np.exp(-logit))
    slope, intercept = measures.calibration_line(y, 1 / (1 + np.exp(-logit)))
    assert (slope, intercept) == (pytest.approx(1, abs=0.05), pytest.approx(0, abs=0.05))
    slope, intercept = measures.calibration_line(y, 1 / (1 + np.exp(-2 * logit + 1)))
    assert (slope, intercept) == (pytest.approx(0.5, abs=0.03), pytest.approx(0.5, abs=0.05))
    assert np.isnan(measures.calibration_line([0, 1], [0.5, 0.5])).all()
    assert np.isnan(measures.calibration_line([1, 1], [0.5, 0.6])).all()


def test_precision_counts_the_threshold_itself() -> None:
    assert measures.precision_above([1, 0, 1], [0.5, 0.5, 0.2], 0.5) == (0.5, 2)
    precision, count = measures.precision_above([1], [0.1], 0.5)
    assert np.isnan(precision)
    assert count == 0


def test_average_precision_of_a_perfect_ranking_is_one() -> None:
    assert measures.pr_auc([0, 1, 1], [0.1, 0.8, 0.9]) == 1.0
    assert np.isnan(measures.pr_auc([0, 0], [0.1, 0.8]))


def test_speaking_needs_the_threshold_and_a_hope_that_pays_the_bill() -> None:
    p, far, near = [0.5, 0.5, 0.9, 0.4], [30.0] * 4, [10.0] * 4
    bill = [10.0, 10.1, 5.0, 0.0]
    spoken = measures.speaks(p, far, near, bill, 0.5)
    assert spoken.tolist() == [True, False, True, False]
    found = measures.utility(spoken, [30.0, 99.0, -10.0, 99.0], bill)
    assert (found.count, found.total_bps, found.mean_bps) == (2, 5.0, 2.5)
    assert measures.utility(np.zeros(4, bool), [1.0] * 4, bill).mean_bps == 0.0


def test_the_lower_bound_holds_about_as_often_as_it_says() -> None:
    # Blocks of ten rows that move together: the mean of 20 blocks, true value 0.
    t0 = np.arange(200) * S
    held = 0
    for seed in range(120):
        random = np.random.default_rng(seed)
        values = np.repeat(random.normal(size=20), 10)
        bound = measures.block_bootstrap(
            lambda rows, v=values: float(v[rows].mean()), t0, 10 * S, alpha=0.1, draws=120
        )
        held += bound <= 0
    assert 0.82 <= held / 120 <= 0.97


def test_too_few_blocks_or_too_many_empty_draws_give_no_bound() -> None:
    t0 = np.arange(100) * S
    ones = np.ones(100)

    def mean(rows: np.ndarray) -> float:
        return float(ones[rows].mean())

    assert np.isnan(measures.block_bootstrap(mean, t0, 20 * S, alpha=0.05))
    assert measures.block_bootstrap(mean, t0, 10 * S, alpha=0.05) == 1.0
    assert np.isnan(measures.block_bootstrap(lambda _: float("nan"), t0, 10 * S, alpha=0.05))
