"""Drift sketches: against slow twins, at rest on the same market, awake on another."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from foreshock.errors import ModelError
from foreshock.validation.drift import BINS, FLOOR, DriftWatch, Reference, binned, ks, psi

SECOND_NS = 1_000_000_000


def draw(n: int, k: int, seed: int, shift: float = 0.0, scale: float = 1.0) -> np.ndarray:
    random = np.random.default_rng(seed)
    X = (random.standard_t(4, size=(n, k)) * scale + shift).astype(np.float32)
    X[random.random((n, k)) < 0.05] = np.nan
    return X


def names(k: int) -> tuple[str, ...]:
    return tuple(f"feature_{i}" for i in range(k))


def slow_bins(X: np.ndarray, edges: np.ndarray) -> np.ndarray:
    out = np.zeros((X.shape[1], BINS + 1))
    for row in X:
        for k, value in enumerate(row):
            out[k, BINS if np.isnan(value) else sum(float(e) < float(value) for e in edges[k])] += 1
    return out


@effort(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.integers(1, 4), st.integers(0, 10_000))
def test_counts_are_those_of_a_walk_through_the_edges(n: int, k: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    X = random.integers(-3, 4, (n, k)).astype(np.float32)  # many on an edge
    X[random.random((n, k)) < 0.2] = np.nan
    edges = np.sort(random.integers(-3, 4, (k, BINS - 1)).astype(np.float32), axis=1)
    np.testing.assert_array_equal(binned(X, edges), slow_bins(X, edges))


def test_the_training_rows_themselves_have_not_drifted() -> None:
    X = draw(20_000, 6, 1)
    reference = Reference.of(X, names(6))
    watch = DriftWatch(reference)
    watch.observe(X, SECOND_NS)
    np.testing.assert_allclose(watch.psi(), 0.0, atol=1e-12)
    np.testing.assert_allclose(watch.ks(), 0.0, atol=1e-12)
    np.testing.assert_allclose(reference.shares.sum(axis=1), 1.0)
    np.testing.assert_allclose(reference.shares[:, -1], 0.05, atol=0.01)


def test_measures_agree_with_their_formulas() -> None:
    p, q = np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.3, 0.5])
    by_hand = (0.2 - 0.5) * np.log(0.2 / 0.5) + (0.5 - 0.2) * np.log(0.5 / 0.2)
    assert psi(p, q) == pytest.approx(by_hand)
    assert ks(p, q) == pytest.approx(0.3)
    empty = psi(np.array([1.0, 0.0]), np.array([0.0, 1.0]))
    assert empty == pytest.approx(2 * (1 - FLOOR) * np.log(1 / FLOOR))


def watched(reference: Reference, shift: float, scale: float, seed: int) -> DriftWatch:
    watch = DriftWatch(reference, half_life_s=3_600.0)
    for step in range(720):  # two hours, every ten seconds, ten symbols
        watch.observe(draw(10, 8, seed * 10_000 + step, shift, scale), (1 + 10 * step) * SECOND_NS)
    return watch


def test_another_market_is_noticed_and_the_same_is_not() -> None:
    reference = Reference.of(draw(50_000, 8, 1), names(8))
    same, moved, wider = (
        watched(reference, shift, scale, 2 + i).drifted_share(0.25)
        for i, (shift, scale) in enumerate([(0.0, 1.0), (1.0, 1.0), (0.0, 3.0)])
    )
    assert (same, moved, wider) == (0.0, 1.0, 1.0)


def test_minutes_of_a_market_say_nothing_and_what_is_past_fades() -> None:
    reference = Reference.of(draw(50_000, 4, 1), names(4))
    watch = DriftWatch(reference, half_life_s=600.0)
    watch.observe(draw(5_000, 4, 2, shift=5.0), SECOND_NS)
    assert watch.drifted_share(0.25) == 0.0 and (watch.psi() > 0.25).all()
    for step in range(1, 1_200):
        watch.observe(draw(20, 4, 100 + step), (1 + 10 * step) * SECOND_NS)
    assert watch.drifted_share(0.25) == 0.0 and watch.seen_s > 10_000
    assert watch.counts.shape == (4, BINS + 1)  # nothing grows


def test_an_update_is_the_same_for_any_split_of_a_boundary_over_watchers() -> None:
    reference = Reference.of(draw(5_000, 3, 1), names(3))
    one, two, X = DriftWatch(reference), DriftWatch(reference), draw(40, 3, 2)
    for at_ns in (SECOND_NS, 11 * SECOND_NS):
        one.observe(X, at_ns)
        two.observe(X[:7], at_ns)
        two.observe(X[7:], at_ns)
    np.testing.assert_allclose(one.counts, two.counts, rtol=1e-12)


def test_what_tells_nothing_is_left_out() -> None:
    X = draw(5_000, 5, 1)
    X[:, 1] = 3.0
    X[:, 2] = np.nan
    told = ("flow", "constant", "never", "hour_of_day_sin", "is_weekend")
    assert Reference.of(X, told).names == ("flow",)


def test_a_reference_survives_as_json_and_rubbish_is_refused() -> None:
    reference = Reference.of(draw(5_000, 3, 1), names(3))
    back = Reference.from_dict(json.loads(json.dumps(reference.as_dict())))
    assert back.names == reference.names
    np.testing.assert_array_equal(back.edges, reference.edges)
    np.testing.assert_array_equal(back.shares, reference.shares)
    for body in ({}, {"names": ["a"], "edges": [], "shares": []}):
        with pytest.raises(ModelError, match="no reference"):
            Reference.from_dict(body)


def test_the_worst_are_named() -> None:
    reference = Reference.of(draw(20_000, 3, 1), names(3))
    watch = DriftWatch(reference)
    assert watch.worst() == {}
    X = draw(2_000, 3, 2)
    X[:, 1] += 4
    watch.observe(X, SECOND_NS)
    assert next(iter(watch.worst(2))) == "feature_1"
