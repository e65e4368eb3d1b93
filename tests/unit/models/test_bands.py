"""foreshock.models.bands: against refits at sight, and the promises on exchangeable data."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.isotonic import isotonic_regression

from foreshock.errors import DatasetError
from foreshock.models.bands import (
    VennAbers,
    apart,
    conformal_margin,
    promise_interval,
    venn_abers,
)


def naive(score: np.ndarray, label: np.ndarray, asked: float, said: int) -> float:
    """Isotonic regression of all and one more row, refitted."""
    x, y = np.append(score, asked), np.append(label, said).astype(float)
    _, where = np.unique(x, return_inverse=True)
    weight = np.bincount(where).astype(float)
    fit = isotonic_regression(np.bincount(where, weights=y) / weight, sample_weight=weight)
    return float(fit[where[-1]])


@settings(deadline=None, max_examples=150)
@given(st.lists(st.tuples(st.integers(-6, 6), st.booleans()), min_size=1, max_size=25))
def test_both_probabilities_are_those_of_a_refit(rows: list[tuple[int, bool]]) -> None:
    score = np.array([x for x, _ in rows], np.float64)
    label = np.array([y for _, y in rows], np.int8)
    fitted = venn_abers(score, label)
    for asked in np.arange(-7, 7.5, 0.5):  # seen, between, beyond
        low, high = fitted.range_of(np.array([asked]))
        assert low[0] == pytest.approx(naive(score, label, asked, 0), abs=1e-12)
        assert high[0] == pytest.approx(naive(score, label, asked, 1), abs=1e-12)
        assert 0.0 <= low[0] < high[0] <= 1.0


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10**6), st.integers(30, 400))
def test_many_distinct_scores_too(seed: int, n: int) -> None:
    random = np.random.default_rng(seed)
    score = random.normal(size=n)
    label = (random.random(n) < 1 / (1 + np.exp(-2 * score))).astype(np.int8)
    fitted = venn_abers(score, label)
    for asked in (*random.normal(size=6), *score[:6]):
        low, high = fitted.range_of(np.array([asked]))
        assert low[0] == pytest.approx(naive(score, label, asked, 0), abs=1e-12)
        assert high[0] == pytest.approx(naive(score, label, asked, 1), abs=1e-12)


def drawn(random: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """A score that is badly scaled and bent, and its labels."""
    score = random.normal(size=n)
    chance = 0.02 + 0.5 / (1 + np.exp(-3 * (score - 1)))
    return score**3, (random.random(n) < chance).astype(np.int8)


def test_the_probability_of_the_label_that_comes_is_calibrated_on_few_rows() -> None:
    """Theorem 1: E[Y | P_Y] = P_Y, from 25 rows as from any number."""
    random = np.random.default_rng(5)
    came, said = [], []
    for _ in range(4_000):
        score, label = drawn(random, 26)
        low, high = venn_abers(score[:-1], label[:-1]).range_of(score[-1:])
        came.append(float(label[-1]))
        said.append(float(high[0] if label[-1] else low[0]))
    y, p = np.array(came), np.array(said)
    for part in [np.ones(len(p), bool), p < 0.1, (p >= 0.1) & (p < 0.3), p >= 0.3]:
        spread = np.sqrt((p[part] * (1 - p[part])).sum())
        assert part.sum() > 300
        assert abs((y[part] - p[part]).sum()) < 3.5 * spread


def test_the_range_closes_in_and_the_point_lies_inside() -> None:
    random = np.random.default_rng(6)
    widths = []
    for n in (100, 10_000):
        score, label = drawn(random, n)
        fitted = venn_abers(score, label)
        low, high = fitted.range_of(score)
        point = fitted.point_of(score)
        assert ((low <= point) & (point <= high)).all()
        assert (np.diff(fitted.low) >= 0).all() and (np.diff(fitted.high) >= 0).all()
        widths.append(float((high - low).mean()))
    assert widths[1] < widths[0] / 5


def test_unknown_labels_count_nothing_and_nothing_known_is_refused() -> None:
    score, label = drawn(np.random.default_rng(7), 50)
    more = np.concatenate([score, np.full(9, np.nan)])
    unknown = np.concatenate([label, np.full(9, -1, np.int8)])
    first, second = venn_abers(score, label), venn_abers(more, unknown)
    np.testing.assert_array_equal(first.high, second.high)
    with pytest.raises(DatasetError, match="no label is known"):
        venn_abers(score, np.full(50, -1, np.int8))
    with pytest.raises(DatasetError, match="not finite"):
        venn_abers(more, np.abs(unknown))
    assert isinstance(first, VennAbers)


@pytest.mark.parametrize("share", [0.5, 0.8, 0.95])
def test_a_widened_band_holds_its_share(share: float) -> None:
    """Over many draws of few rows: at least the share, at most 1 / (n + 1) more."""
    random = np.random.default_rng(8)
    n, draws, inside = 39, 3_000, 0
    for _ in range(draws):
        outcome = random.standard_t(3, n + 1)
        low, high = np.full(n + 1, -0.3), np.full(n + 1, 1.9)  # a bad band
        margin = conformal_margin(low[:-1], high[:-1], outcome[:-1], share)
        inside += bool(low[-1] - margin <= outcome[-1] <= high[-1] + margin)
    spread = np.sqrt(share * (1 - share) / draws)
    assert share - 3.5 * spread <= inside / draws <= share + 1 / (n + 1) + 3.5 * spread


@settings(deadline=None, max_examples=100)
@given(st.lists(st.floats(-9, 9), min_size=19, max_size=60), st.sampled_from([0.5, 0.9, 0.95]))
def test_the_margin_is_the_rank_of_the_misses(outcomes: list[float], share: float) -> None:
    outcome = np.array(outcomes)
    zero = np.zeros(len(outcome))
    margin = conformal_margin(zero, zero, outcome, share)
    misses = sorted(abs(x) for x in outcomes)
    need = next(r for r in range(1, len(misses) + 1) if r >= share * (len(misses) + 1) - 1e-9)
    assert margin == misses[need - 1]


def test_a_promise_that_cannot_be_given_is_refused() -> None:
    nine = np.zeros(9)
    assert conformal_margin(nine, nine, nine, 0.9) == 0.0
    with pytest.raises(DatasetError, match=r"8 outcomes cannot promise a share of 0\.9"):
        conformal_margin(nine, nine, np.append(nine[:8], np.nan), 0.9)
    with pytest.raises(DatasetError, match="between 0 and 1"):
        conformal_margin(nine, nine, nine, 1.0)
    with pytest.raises(DatasetError, match="not finite"):
        conformal_margin(nine, np.full(9, np.inf), nine, 0.9)


@settings(deadline=None, max_examples=150)
@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 2)), min_size=1, max_size=50),
    st.integers(0, 15),
)
def test_rows_apart_are_those_of_a_loop(rows: list[tuple[int, int]], gap: int) -> None:
    t0 = np.array([t for t, _ in rows], np.int64)
    group = np.array([g for _, g in rows], np.int32)
    free: dict[int, int] = {}
    naive = []
    for i in np.lexsort((np.arange(len(t0)), t0)).tolist():
        if t0[i] > free.get(group[i], -1):
            naive.append(i)
            free[int(group[i])] = int(t0[i]) + gap
    assert apart(t0, group, gap).tolist() == sorted(naive)


@pytest.mark.parametrize(("rows", "share"), [(9, 0.8), (39, 0.9), (200, 0.5)])
def test_what_a_band_of_few_rows_holds_lies_where_it_should(rows: int, share: float) -> None:
    """The share of a uniform outcome that [margin] holds is the margin itself."""
    random, zero = np.random.default_rng(9), np.zeros(rows)
    low, high = promise_interval(share, rows)
    held = [conformal_margin(zero, zero, random.random(rows), share) for _ in range(2_000)]
    assert 0.93 <= np.mean([low <= each <= high for each in held]) <= 0.97
    assert low < share < high
    with pytest.raises(DatasetError, match="3 outcomes cannot promise"):
        promise_interval(0.8, 3)
