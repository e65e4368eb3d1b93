"""foreshock.labels.overlap: exact against comparing everything with everything."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from foreshock.labels.overlap import average_uniqueness, overlaps, positive_clusters, purge
from tests.reference import overlap as naive

Span = tuple[int, int]
span = st.tuples(st.integers(0, 60), st.integers(0, 12)).map(lambda s: (s[0], s[0] + s[1]))
spans = st.lists(span, min_size=1, max_size=25)


def columns(pairs: list[Span]) -> tuple[np.ndarray, np.ndarray]:
    table = np.array(pairs, np.int64)
    return table[:, 0].copy(), table[:, 1].copy()


@settings(deadline=None)
@given(spans, spans, st.integers(0, 8))
def test_overlaps_are_exact(mine: list[Span], held: list[Span], embargo: int) -> None:
    found = overlaps(*columns(mine), *columns(held), embargo)
    assert found.tolist() == naive.overlaps(mine, held, embargo)


def test_spans_that_share_one_instant_overlap_and_the_embargo_is_inclusive() -> None:
    held = columns([(10, 20)])
    assert overlaps(*columns([(0, 9), (0, 10), (20, 30), (21, 30)]), *held).tolist() == [
        False, True, True, False,
    ]  # fmt: skip
    assert overlaps(*columns([(0, 4), (0, 5), (25, 30), (26, 30)]), *held, 5).tolist() == [
        False, True, True, False,
    ]  # fmt: skip


def test_purge_keeps_the_order_and_only_what_is_clear() -> None:
    t0, t1 = columns([(0, 5), (8, 9), (4, 11), (10, 12), (30, 31)])
    kept = purge(np.array([4, 2, 1, 0]), np.array([3]), t0, t1)
    assert kept.tolist() == [4, 1, 0]


@settings(deadline=None)
@given(spans, st.data())
def test_uniqueness_is_that_of_the_definition(mine: list[Span], data: st.DataObject) -> None:
    group = data.draw(st.lists(st.integers(0, 2), min_size=len(mine), max_size=len(mine)))
    found = average_uniqueness(*columns(mine), np.array(group, np.int32), 5)
    np.testing.assert_allclose(found, naive.average_uniqueness(mine, group, 5), rtol=1e-9)


def test_ten_labels_on_the_same_span_count_a_tenth_each() -> None:
    t0, t1 = columns([(0, 9)] * 10 + [(100, 109)])
    found = average_uniqueness(t0, t1, np.zeros(11, np.int32), 1)
    np.testing.assert_allclose(found, [0.1] * 10 + [1.0])


@settings(deadline=None)
@given(spans, st.data())
def test_clusters_are_the_components_of_overlap(mine: list[Span], data: st.DataObject) -> None:
    size = {"min_size": len(mine), "max_size": len(mine)}
    group = data.draw(st.lists(st.integers(0, 1), **size))
    label = data.draw(st.lists(st.sampled_from([-1, 0, 1]), **size))
    found = positive_clusters(*columns(mine), np.array(group, np.int32), np.array(label, np.int8))
    assert (found >= 0).tolist() == [y == 1 for y in label]
    together = {
        frozenset(np.flatnonzero(found == number).tolist()) for number in set(found.tolist()) - {-1}
    }
    assert together == naive.clusters(mine, group, label)
