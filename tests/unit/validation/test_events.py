"""Event studies, against what is planted."""

from __future__ import annotations

import numpy as np
import pytest

from foreshock.errors import DatasetError
from foreshock.market.clock import SECOND_NS as S
from foreshock.validation.events import around, event_study, standard_scores

OFFSETS = np.arange(-60.0, 61.0, 10.0)


def market(seed: int, planted: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(boundaries, values (b, 3), events): column 1 is raised for 25 s before each event."""
    random = np.random.default_rng(seed)
    at_ns = np.arange(6_000) * S
    events = np.arange(300, 5_900, 280) * S
    values = random.normal(size=(6_000, 3)) * [1.0, 5.0, 0.0] + [0.0, 100.0, 7.0]
    for event in events:
        values[(at_ns > event - 25 * S) & (at_ns <= event), 1] += 5.0 * planted
    return at_ns, values, events


def test_a_planted_precursor_is_found_where_it_begins_and_chance_is_not() -> None:
    at_ns, values, events = market(1, 2.0)
    scores = standard_scores(values, at_ns, events, 90)
    study = event_study(around(scores, at_ns, events, OFFSETS), OFFSETS)
    assert study.first_told_s()[1] == -20.0
    assert np.isnan(study.first_told_s()[[0, 2]]).all()
    at = OFFSETS.tolist().index(-10.0)
    assert study.lower[at, 1] < 2.0 < study.upper[at, 1]
    assert np.isnan(study.mean[:, 2]).all()  # a constant has no standard deviation


def test_scores_are_those_of_quiet_times_only() -> None:
    at_ns, values, events = market(2, 50.0)
    scores = standard_scores(values, at_ns, events, 90)
    quiet = np.abs(at_ns[:, None] - events).min(axis=1) > 90 * S
    assert scores[quiet, 1].mean() == pytest.approx(0.0, abs=1e-9)
    assert scores[quiet, 1].std() == pytest.approx(1.0, abs=1e-9)


def test_the_boundary_at_the_event_is_seen_and_none_after_it() -> None:
    at_ns = np.arange(10) * S
    scores = np.arange(10.0)[:, None]
    seen = around(scores, at_ns, np.array([5 * S, 5 * S + S // 2]), np.array([-1.0, 0.0, 1.0]))
    assert seen[:, :, 0].tolist() == [[4.0, 5.0, 6.0], [4.0, 5.0, 6.0]]
    late = around(scores, at_ns, np.array([9 * S]), np.array([0.0, 1.0]))
    assert late[0, 0, 0] == 9.0 and np.isnan(late[0, 1, 0])


def test_few_events_give_no_bounds_and_offsets_must_ascend() -> None:
    seen = np.random.default_rng(0).normal(size=(7, 2, 1))
    assert np.isnan(event_study(seen, np.array([-1.0, 0.0])).mean).all()
    with pytest.raises(DatasetError, match="ascend"):
        event_study(seen, np.array([0.0, -1.0]))


def test_without_events_all_is_quiet() -> None:
    at_ns, values, _ = market(3, 0.0)
    scores = standard_scores(values, at_ns, np.empty(0, np.int64), 90)
    assert scores[:, 0].std() == pytest.approx(1.0)
