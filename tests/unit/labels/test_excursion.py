"""foreshock.labels.excursion and touch: against looking at every row."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foreshock.labels.barriers import LONG, SHORT, label_bars, label_quotes
from foreshock.labels.excursion import excursions, lead_s, meta_labels, onset_ns
from foreshock.labels.touch import BIG, BLOCK, extremes_between, first_touch, path_of

SECOND = 1_000_000_000


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(1, 3 * BLOCK * BIG), st.integers(0, 4))
def test_touch_and_extremes_are_those_of_a_look_at_every_row(
    seed: int, m: int, coarse: int
) -> None:
    rng = np.random.default_rng(seed)
    # Coarse steps make ties, which must go to the first row.
    mid = np.round(np.cumsum(rng.normal(0, 1, m)), coarse)
    high, low = mid + np.round(rng.random(m), coarse), mid - np.round(rng.random(m), coarse)
    begin = rng.integers(0, m, 40)
    stop = np.minimum(begin + rng.integers(0, m + 1, 40), m)
    width = rng.choice([0.5, 3.0, 30.0, 300.0], 40)
    upper, lower = mid[begin] + width, mid[begin] - width
    path = path_of(high, low)
    row, up, down = first_touch(begin, stop, upper, lower, path)
    best, worst, best_at, worst_at = extremes_between(begin, stop - 1, path)
    for i in range(40):
        rows = range(begin[i], stop[i])
        hits = [j for j in rows if high[j] >= upper[i] or low[j] <= lower[i]]
        assert row[i] == (hits[0] if hits else -1)
        if hits:
            assert up[i] == (high[hits[0]] >= upper[i])
            assert down[i] == (low[hits[0]] <= lower[i])
        if not rows:
            assert np.isnan(best[i]) and best_at[i] == worst_at[i] == -1
            continue
        part = slice(begin[i], stop[i])
        assert (best[i], best_at[i]) == (high[part].max(), begin[i] + high[part].argmax())
        assert (worst[i], worst_at[i]) == (low[part].min(), begin[i] + low[part].argmin())


def quotes(bids: list[float]) -> tuple[np.ndarray, np.ndarray]:
    return np.arange(len(bids)) * SECOND, np.array(bids)


@pytest.mark.parametrize(("side", "mirror"), [(LONG, 1), (SHORT, -1)])
def test_excursions_end_at_the_touch_and_the_onset_is_the_deepest_row(
    side: int, mirror: int
) -> None:
    moves = [0.0, 0.0, -0.1, -0.3, -0.2, 1.2, -9.0]
    times, price = quotes([100 + mirror * move for move in moves])
    t0 = np.array([0])
    labels = label_quotes(
        t0, np.array([100.0]), np.array([200.0]), times, price, price, horizon_s=6, latency_ms=0,
        side=side,
    )  # fmt: skip
    assert labels.label.tolist() == [1]
    found = excursions(labels, price, price, side)
    np.testing.assert_allclose(found.mfe_bps, [120.0])
    np.testing.assert_allclose(found.mae_bps, [-30.0])
    assert onset_ns(labels, found.mae_row, times).tolist() == [3 * SECOND]


def test_bars_count_from_the_entry_bar_to_the_touching_one() -> None:
    bars = np.array([[100, 100.2, 99.9, 100], [100, 100.4, 99.8, 100], [100, 101.5, 99.0, 101]])
    labels = label_bars(
        np.array([0]), np.array([100.0]), np.array([500.0]), np.arange(3) * 60 * SECOND, bars,
        bar_s=60, half_spread_bps=0.0, horizon_s=180,
    )  # fmt: skip
    found = excursions(labels, bars[:, 1].copy(), bars[:, 2].copy())
    np.testing.assert_allclose(found.mfe_bps, [150.0])
    np.testing.assert_allclose(found.mae_bps, [-100.0])


def test_a_censored_label_has_no_excursion_and_no_onset() -> None:
    times, price = quotes([100.0, 101.0, 102.0])
    labels = label_quotes(
        np.array([0]), np.array([50.0]), np.array([50.0]), times, price, price, horizon_s=60,
        latency_ms=0,
    )  # fmt: skip
    found = excursions(labels, price, price)
    assert labels.label.tolist() == [-1]
    assert np.isnan(found.mfe_bps).all() and found.mae_row.tolist() == [-1]
    assert onset_ns(labels, found.mae_row, times).tolist() == [-1]


def test_lead_time_is_to_the_next_event_and_not_to_a_far_one() -> None:
    said = np.array([0, 5, 10, 30]) * SECOND
    events = np.array([40, 5, 12]) * SECOND
    np.testing.assert_array_equal(lead_s(said, events, within_s=5.0), [5.0, 0.0, 2.0, np.nan])


def test_a_meta_label_is_that_of_the_side_that_was_taken() -> None:
    times, price = quotes([100.0, 100.0, 101.0, 101.0])
    asked = (np.zeros(3, np.int64), np.full(3, 50.0), np.full(3, 50.0), times, price, price)
    long, short = (
        label_quotes(*asked, horizon_s=3, latency_ms=0, side=side) for side in (LONG, SHORT)
    )
    assert meta_labels(np.array([1, -1, 0], np.int8), long, short).tolist() == [1, 0, -1]
