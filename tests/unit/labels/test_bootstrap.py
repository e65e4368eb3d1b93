"""foreshock.labels.bootstrap and balance."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foreshock.errors import DatasetError
from foreshock.labels.balance import balance
from foreshock.labels.bootstrap import sequential_bootstrap
from foreshock.labels.overlap import average_uniqueness

span = st.tuples(st.integers(0, 40), st.integers(0, 12)).map(lambda s: (s[0], s[0] + s[1]))


def naive(spans: list[tuple[int, int]], step: int, draws: int, seed: int) -> list[int]:
    """Every draw weighs every label by its mean over its cells of 1 / (drawn there + 1)."""
    uniform = np.random.Generator(np.random.PCG64(seed)).random(draws)
    drawn: list[int] = []
    for u in uniform:
        weights = []
        for a, b in spans:
            cells = range(a // step, b // step + 1)
            alive = [
                sum(spans[d][0] // step <= c <= spans[d][1] // step for d in drawn) for c in cells
            ]
            weights.append(sum(1 / (n + 1) for n in alive) / len(alive))
        total, k, run = sum(weights), 0, 0.0
        for k, weight in enumerate(weights):  # noqa: B007
            run += weight
            if u * total < run:
                break
        drawn.append(k)
    return drawn


@settings(deadline=None, max_examples=50)
@given(st.lists(span, min_size=1, max_size=12), st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_draws_are_those_of_the_definition(
    spans: list[tuple[int, int]], step: int, seed: int
) -> None:
    t0, t1 = np.array(spans, np.int64).T.copy()
    assert sequential_bootstrap(t0, t1, step, 20, seed).tolist() == naive(spans, step, 20, seed)


def test_it_draws_less_overlap_than_chance() -> None:
    """The experiment of the book's snippet 4.9: ten labels of one to five bars on a hundred."""
    means: dict[str, list[float]] = {"sequential": [], "plain": []}
    for seed in range(200):
        rng = np.random.default_rng(seed)
        t0 = rng.integers(0, 100, 10)
        t1 = t0 + rng.integers(1, 6, 10)
        draws = {
            "sequential": sequential_bootstrap(t0, t1, 1, 10, seed),
            "plain": rng.integers(0, 10, 10),
        }
        for name, rows in draws.items():
            unique = average_uniqueness(t0[rows], t1[rows], np.zeros(10, np.int32), 1)
            means[name].append(float(unique.mean()))
    assert np.median(means["sequential"]) > np.median(means["plain"]) + 0.05


def test_nothing_is_drawn_from_nothing_and_a_span_that_runs_backwards_is_refused() -> None:
    none = np.empty(0, np.int64)
    assert len(sequential_bootstrap(none, none, 1, 5, 0)) == 0
    with pytest.raises(DatasetError, match="ends before"):
        sequential_bootstrap(np.array([5]), np.array([4]), 1, 5, 0)


def test_balance_counts_events_not_rows() -> None:
    t0 = np.array([0, 1, 2, 50, 60, 70])
    t1 = t0 + 9
    label = np.array([1, 1, 1, 1, 0, -1], np.int8)
    found = balance(label, t0, t1, np.zeros(6, np.int32), 1)
    assert (found.rows, found.censored, found.positives, found.clusters) == (6, 1, 4, 2)
    assert found.base_rate == 0.8
    assert found.uniqueness < 1 and found.effective == pytest.approx(5 * found.uniqueness)


def test_balance_of_nothing_answered_has_no_rate() -> None:
    one = np.array([0])
    found = balance(np.array([-1], np.int8), one, one, np.zeros(1, np.int32), 1)
    assert math.isnan(found.base_rate) and found.clusters == 0 and found.effective == 0
