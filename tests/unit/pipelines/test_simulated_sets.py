"""pipelines.simulated_sets: datasets of simulated markets, judged like any other."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from foreshock.costs.total import CostSettings
from foreshock.models.dataset import TrainingSet
from foreshock.simulation.paths import PathSettings
from pipelines.simulated_sets import (
    FREE,
    START_NS,
    STRIDE_S,
    UNBILLED,
    permuted,
    simulated_set,
)

SMALL = PathSettings(symbols=3, days=8, edge_bps=30.0)


def correlation(data: TrainingSet) -> float:
    """Of the slower flow with what came, at the first horizon."""
    known = data.labels[:, 0] >= 0
    flow = data.X[known, data.feature_names.index("flow_imbalance_300s")]
    return float(np.corrcoef(flow, data.outcome_bps[known, 0])[0, 1])


def test_a_set_passes_every_check_and_is_in_order() -> None:
    data = simulated_set(SMALL, 1).check()
    assert data.horizons_s == (900, 1800)
    assert np.array_equal(data.t0_ns, np.sort(data.t0_ns))
    assert np.diff(np.unique(data.t0_ns)).min() == STRIDE_S * 1_000_000_000
    assert np.isfinite(data.X).all()
    assert (data.labels == 1).any(axis=0).all()
    # Only windows that run beyond the end are not known.
    late = data.t0_ns + 1_800 * 1_000_000_000 > START_NS + 8 * 86_400 * 1_000_000_000
    assert (data.labels[~late] >= 0).all()
    again = simulated_set(SMALL, 1)
    assert again.fingerprint == data.fingerprint
    assert simulated_set(SMALL, 2).fingerprint != data.fingerprint


def test_a_surge_earns_and_the_bill_is_that_of_the_costs() -> None:
    data = simulated_set(SMALL, 1)
    won = data.labels == 1
    assert (data.outcome_bps[won] > data.bill_bps[won]).all()
    assert data.bill_bps.min() > 10.0
    assert simulated_set(SMALL, 1, FREE).bill_bps.max() < 5.0
    dear = CostSettings(taker_fee_bps=20.0, funding_interval_h=0.0)
    assert simulated_set(SMALL, 1, dear).manifest["bill_version"] == dear.version


def test_vectors_tell_of_the_future_as_far_as_they_should() -> None:
    assert correlation(simulated_set(SMALL, 3, FREE)) > 0.2
    none = SMALL.model_copy(update={"edge_bps": 0.0})
    assert abs(correlation(simulated_set(none, 3, FREE))) < 0.08


def test_without_a_bill_a_coin_is_thrown_for_nothing() -> None:
    none = SMALL.model_copy(update={"edge_bps": 0.0, "days": 40})
    data = simulated_set(none, 3, UNBILLED, k=(0.5, 0.5))
    assert data.bill_bps.max() == 0.0
    assert np.array_equal(data.far_bps, data.near_bps)
    known = data.labels >= 0
    outcome, label = data.outcome_bps[:, 0][known[:, 0]], data.labels[:, 0][known[:, 0]]
    # Few windows end between the barriers; those count as no surge.
    assert 0.4 < label.mean() < 0.5
    assert abs(outcome.mean()) < 1.0 < outcome.std()


def test_permuted_labels_take_their_outcomes_with_them_and_leave_the_vectors() -> None:
    data = simulated_set(SMALL, 3, FREE)
    other = permuted(data, 9).check()
    assert np.array_equal(other.X, data.X)
    assert np.array_equal(other.t0_ns, data.t0_ns)
    assert abs(correlation(other)) < 0.08
    # The same rows of labels, in another order.
    columns = ("labels", "outcome_bps", "bill_bps", "far_bps", "near_bps")
    for symbol in range(3):
        tables = [
            np.concatenate(
                [getattr(d, name)[d.symbol == symbol] for name in columns]
                + [(d.t1_ns - d.t0_ns[:, None])[d.symbol == symbol]],
                axis=1,
            )
            for d in (data, other)
        ]
        tables = [np.nan_to_num(t, nan=-9e9) for t in tables]
        assert not np.array_equal(*tables)
        assert np.array_equal(*(t[np.lexsort(t.T)] for t in tables))


def test_outcomes_alone_may_be_of_other_hours() -> None:
    data = simulated_set(SMALL, 3, FREE)
    other = permuted(data, 9, money_only=True).check()
    known = other.labels >= 0
    assert np.array_equal(other.labels[known], data.labels[known])
    assert known.sum() > 0.99 * (data.labels >= 0).sum()
    assert abs(correlation(other)) < 0.08
    whole = permuted(data, 9)
    assert np.array_equal(other.outcome_bps, whole.outcome_bps, equal_nan=True)


@pytest.mark.parametrize("seed", range(3))
def test_a_block_keeps_its_order(seed: int) -> None:
    data = simulated_set(SMALL, 3, FREE)
    other = permuted(data, seed)
    mine, theirs = (d.outcome_bps[d.symbol == 0, 0] for d in (data, other))
    follows = dict(zip(mine[:-1].tolist(), mine[1:].tolist(), strict=True))
    kept = [follows.get(a) == b for a, b in pairwise(theirs.tolist())]
    assert np.mean(kept) > 0.8
