"""foreshock.labels.barriers: the kernel against its naive twin, and each rule by an example."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from foreshock.errors import DatasetError
from foreshock.labels.barriers import LONG, SHORT, Labels, LabelSettings, label_bars, label_quotes
from foreshock.labels.touch import BLOCK
from tests.reference import barriers as naive

S = 1_000_000_000
MS = 1_000_000
Path = tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]


def walk(seed: int, m: int, spread: float = 2e-4, step_ms: int = 250) -> Path:
    """A random walk of quotes at uneven times, some equal."""
    random = np.random.default_rng(seed)
    times = np.cumsum(random.integers(0, 2 * step_ms, m)) * MS
    mid = 100.0 * np.exp(np.cumsum(random.normal(0, 3e-4, m)))
    return times.astype(np.int64), mid * (1 - spread / 2), mid * (1 + spread / 2)


def quotes(
    path: Path, t0: list[int], far: float = 10.0, near: float = 10.0, **other: Any
) -> Labels:
    n = len(t0)
    given = {"horizon_s": 10, "latency_ms": 100, **other}
    return label_quotes(np.array(t0, np.int64), np.full(n, far), np.full(n, near), *path, **given)


def flat(times: list[int], prices: list[float]) -> Path:
    """Quotes without a spread."""
    price = np.array(prices, np.float64)
    return np.array(times, np.int64), price, price.copy()


@pytest.mark.parametrize("side", [LONG, SHORT])
@pytest.mark.parametrize("seed", range(6))
def test_quotes_agree_with_the_naive_twin_on_random_walks(seed: int, side: int) -> None:
    times, bid, ask = walk(seed, 900)
    random = np.random.default_rng(seed + 100)
    t0 = np.sort(random.integers(-5 * S, times[-1], 150))
    far, near = random.uniform(3, 80, 150), random.uniform(3, 80, 150)
    starts = random.integers(0, times[-1], 3)
    spans = np.stack([starts, starts + random.integers(1, 5 * S, 3)], axis=1)
    found = label_quotes(
        t0, far, near, times, bid, ask,
        horizon_s=20, latency_ms=100, side=side, censor_spans_ns=spans,
    )  # fmt: skip
    path = list(zip(times.tolist(), bid.tolist(), ask.tolist(), strict=True))
    for i in range(len(t0)):
        label, t1, outcome = naive.quotes(
            int(t0[i]), far[i], near[i], path,
            horizon_s=20, latency_ms=100, side=side, spans=[tuple(s) for s in spans.tolist()],
        )  # fmt: skip
        assert (found.label[i], found.t1_ns[i]) == (label, t1), i
        if label >= 0:
            assert found.outcome_bps[i] == pytest.approx(outcome, abs=1e-9)
    assert {-1, 0, 1} <= set(found.label.tolist())


@settings(max_examples=60, deadline=None)
@given(
    prices=st.lists(st.integers(95, 105), min_size=1, max_size=40),
    steps=st.lists(st.integers(0, 3), min_size=40, max_size=40),
    t0=st.integers(-3, 30),
    far=st.integers(50, 400),
    near=st.integers(50, 400),
    side=st.sampled_from([LONG, SHORT]),
    horizon=st.integers(1, 20),
)
def test_quotes_agree_with_the_naive_twin_on_coarse_paths(
    prices: list[int], steps: list[int], t0: int, far: int, near: int, side: int, horizon: int
) -> None:
    times = np.cumsum(steps[: len(prices)]) * S
    bid = np.array(prices, np.float64)
    found = label_quotes(
        np.array([t0 * S]), np.array([float(far)]), np.array([float(near)]),
        times, bid, bid + 0.5, horizon_s=horizon, latency_ms=1000, side=side,
    )  # fmt: skip
    path = list(zip(times.tolist(), bid.tolist(), (bid + 0.5).tolist(), strict=True))
    label, t1, _ = naive.quotes(
        t0 * S, far, near, path, horizon_s=horizon, latency_ms=1000, side=side
    )
    assert (int(found.label[0]), int(found.t1_ns[0])) == (label, t1)


@pytest.mark.parametrize("side", [LONG, SHORT])
@pytest.mark.parametrize("seed", range(4))
def test_bars_agree_with_the_naive_twin_on_random_walks(seed: int, side: int) -> None:
    random = np.random.default_rng(seed)
    m = 200
    opens = 100 * np.exp(np.cumsum(random.normal(0, 1e-3, m)))
    closes = opens * np.exp(random.normal(0, 1e-3, m))
    highs = np.maximum(opens, closes) * (1 + random.uniform(0, 1e-3, m))
    lows = np.minimum(opens, closes) * (1 - random.uniform(0, 1e-3, m))
    keep = random.random(m) > 0.03
    times = (np.arange(m) * 60 * S)[keep]
    table = np.stack([opens, highs, lows, closes], axis=1)[keep]
    t0 = np.arange(-2, m + 2) * 60 * S
    far, near = random.uniform(3, 60, len(t0)), random.uniform(3, 60, len(t0))
    found = label_bars(
        t0, far, near, times, table, bar_s=60, half_spread_bps=1.5, horizon_s=300, side=side
    )
    path = [(int(t), *row) for t, row in zip(times, table.tolist(), strict=True)]
    for i in range(len(t0)):
        label, t1, outcome = naive.bars(
            int(t0[i]), far[i], near[i], path,
            bar_s=60, half_spread_bps=1.5, horizon_s=300, side=side,
        )  # fmt: skip
        assert (found.label[i], found.t1_ns[i]) == (label, t1), i
        if label >= 0:
            assert found.outcome_bps[i] == pytest.approx(outcome, abs=1e-9)
    assert {-1, 0, 1} <= set(found.label.tolist())


def test_a_row_exactly_on_the_deadline_counts_and_one_later_does_not() -> None:
    for late, label in ((0, 1), (1, 0)):
        path = flat([0, 1 * S, 10 * S + late, 11 * S], [100, 100, 101, 101])
        assert quotes(path, [0]).label[0] == label


def test_the_entry_is_not_taken_from_before_the_latency() -> None:
    # The jump comes within the latency: whoever entered at t0 would have gained, we do not.
    path = flat([0, 50 * MS, 150 * MS, 20 * S], [100, 101, 101, 101])
    found = quotes(path, [0])
    assert (found.label[0], found.entry[0]) == (0, 101.0)


def test_a_quiet_symbol_keeps_its_standing_quote() -> None:
    found = quotes(flat([0, 60 * S], [100, 105]), [5 * S])
    assert (found.label[0], found.entry[0], found.outcome_bps[0]) == (0, 100.0, 0.0)


def test_a_long_pays_the_ask_and_leaves_at_the_bid() -> None:
    times = np.array([0, 1 * S, 2 * S, 20 * S])
    bid = np.array([100.0, 100.0, 100.15, 100.15])
    entered_at_ask = quotes((times, bid, bid + 0.1), [0], far=10.0)
    assert entered_at_ask.entry[0] == pytest.approx(100.1)
    assert entered_at_ask.label[0] == 0  # the bid rose 15 bps, but only 5 above the ask paid
    assert quotes((times, bid, bid + 0.01), [0], far=10.0).label[0] == 1


def test_both_barriers_in_one_bar_mean_the_near_one_first() -> None:
    times = np.array([0, 60 * S])
    table = np.array([[100.0, 102.0, 98.0, 100.0], [100.0, 100.0, 100.0, 100.0]])
    found = label_bars(
        np.array([0]), np.array([50.0]), np.array([50.0]), times, table,
        bar_s=60, half_spread_bps=0.0, horizon_s=60,
    )  # fmt: skip
    assert (found.label[0], found.outcome_bps[0]) == (0, pytest.approx(-50.0))


def test_a_bar_that_opens_beyond_the_near_barrier_loses_the_open() -> None:
    times = np.array([0, 60 * S, 120 * S])
    table = np.array([[100.0] * 4, [97.0] * 4, [97.0] * 4])
    found = label_bars(
        np.array([0]), np.array([50.0]), np.array([50.0]), times, table,
        bar_s=60, half_spread_bps=0.0, horizon_s=120,
    )  # fmt: skip
    assert found.outcome_bps[0] == pytest.approx(-300.0)


def test_a_window_that_meets_a_gap_is_censored_even_after_a_touch() -> None:
    path = flat([0, 1 * S, 2 * S, 30 * S], [100, 100, 101, 101])
    assert quotes(path, [0]).label[0] == 1
    gap = np.array([[5 * S, 6 * S]])
    found = quotes(path, [0, -20 * S, 12 * S], censor_spans_ns=gap)
    assert found.label[0] == -1
    assert np.isnan(found.outcome_bps[0])
    assert found.t1_ns[0] == 10 * S
    assert found.label[2] == 0  # a window after the gap is not concerned


def test_a_window_beyond_the_end_of_the_data_is_censored() -> None:
    path = flat([0, 1 * S, 2 * S], [100, 100, 101])
    assert quotes(path, [0]).label[0] == -1
    assert quotes(path, [0], data_end_ns=10 * S).label[0] == 1


def test_without_a_barrier_a_price_or_a_valid_row_there_is_no_label() -> None:
    path = flat([5 * S, 60 * S], [100, 100])
    assert quotes(path, [10 * S], far=np.nan).label[0] == -1
    assert quotes(path, [-20 * S]).label[0] == -1  # the path begins later
    assert quotes(path, [10 * S], valid=np.array([False])).label[0] == -1
    empty = (np.zeros(0, np.int64), np.zeros(0), np.zeros(0))
    assert quotes(empty, [0]).label[0] == -1


def test_what_follows_the_deadline_changes_no_label() -> None:
    times, bid, ask = walk(3, 4 * BLOCK)
    t0 = times[:BLOCK].copy()
    end = int(t0[-1]) + 10 * S
    cut = int(np.searchsorted(times, end, side="right"))
    changed = bid.copy(), ask.copy()
    for side_of in changed:
        side_of[cut:] *= 2.0
    before = quotes((times, bid, ask), t0.tolist())
    after = quotes((times, *changed), t0.tolist())
    np.testing.assert_array_equal(before.label, after.label)
    np.testing.assert_array_equal(before.outcome_bps, after.outcome_bps)


@pytest.mark.parametrize(
    ("times", "prices", "message"),
    [
        ([1, 0], [100.0, 100.0], "runs backwards"),
        ([0, 1], [100.0, 0.0], "bid_price is 0.0 at row 1"),
        ([0, 1], [100.0, np.nan], "not a price"),
        ([0, 1], [100.0], "has shape"),
    ],
)
def test_a_damaged_path_is_refused(times: list[int], prices: list[float], message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        quotes(flat(times, prices), [0])


def test_the_fingerprint_follows_every_setting() -> None:
    base = LabelSettings()
    changes: list[dict[str, Any]] = [
        {"k_far": 2.5}, {"k_near": 2.0}, {"c_bill": 1.0}, {"floor_bps": 9.0},
        {"latency_ms": 0}, {"horizons_s": (60, 300)}, {"bill_version": "bill-2"},
    ]  # fmt: skip
    assert {key for change in changes for key in change} == set(LabelSettings.model_fields)
    prints = {LabelSettings(**change).fingerprint for change in changes} | {base.fingerprint}
    assert len(prints) == len(changes) + 1
    assert LabelSettings().fingerprint == base.fingerprint


def test_horizons_must_ascend() -> None:
    with pytest.raises(ValueError, match="ascend"):
        LabelSettings(horizons_s=(300, 60))
