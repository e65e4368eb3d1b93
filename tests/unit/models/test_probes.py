"""foreshock.models.probes: every split is stood upon, every odd value is shown."""

from __future__ import annotations

from typing import Any

import numpy as np

from foreshock.models.parts import TreeSum
from foreshock.models.probes import corners, edges, mixed, probes, special_values
from foreshock.models.trees import LEAF
from tests.reference.parts import make_linear


def test_every_split_is_stood_upon_reached_and_crossed(exported: Any) -> None:
    tree = exported.parts[0].trees[0]
    rows = probes([tree], exported.data.X[:64], seed=1)
    seen: set[tuple[int, str]] = set()
    for row in rows:
        node = 0
        while tree.feature[node] != LEAF:
            x, t = row[tree.feature[node]], tree.threshold[node]
            if np.isnan(x):
                seen.add((node, "nan"))
            elif x == t:
                seen.add((node, "on"))
            elif x == np.nextafter(t, np.float32(np.inf)):
                seen.add((node, "above"))
            left = tree.nan_left[node] if np.isnan(x) else x <= t
            node = tree.left[node] if left else tree.right[node]
    above: dict[int, set[int]] = {0: set()}  # features compared on the way to a node
    for node in tree.splits:
        for child in (tree.left[node], tree.right[node]):
            above[int(child)] = above[int(node)] | {int(tree.feature[node])}
        wanted = {(node, "on"), (node, "above")}
        if tree.feature[node] not in above[int(node)]:  # else NaN may have gone elsewhere
            wanted.add((node, "nan"))
        assert wanted <= seen


def test_corners_put_each_special_value_into_each_column() -> None:
    X = np.ones((10, 3), np.float32)
    found = corners(X)
    for column in range(3):
        alone = [row for row in found if (row[[c for c in range(3) if c != column]] == 1).all()]
        assert sum(np.isinf(row[column]) for row in alone) == 2
        assert any(np.isnan(row[column]) for row in alone)


def test_special_values_hold_both_signs_of_zero() -> None:
    values = special_values()
    assert len(values) == 14
    assert np.signbit(values[values == 0]).tolist() == [False, True]


def test_edges_hold_every_threshold_its_neighbours_and_where_clipping_begins(exported: Any) -> None:
    trees, linear = exported.parts[0].trees, make_linear(6)
    found = edges([TreeSum(trees, 0.0), linear], 6)
    for tree in trees:
        for node in tree.splits:
            t = tree.threshold[node]
            for value in (t, np.nextafter(t, np.float32(9e9)), np.nextafter(t, np.float32(-9e9))):
                assert value in found[tree.feature[node]]
    for column, values in enumerate(found):
        assert np.isnan(values).any() and np.isinf(values).sum() >= 2
        assert linear.fill[column] in values
        assert linear.centre[column] + np.float32(4.0) * linear.scale[column] in values
    assert [len(values) for values in edges([TreeSum((), 0.0)], 3)] == [15, 15, 15]


def test_mixed_rows_are_as_many_as_asked_and_the_same_again() -> None:
    rows = np.zeros((5, 40), np.float32)
    values = [np.float32([c + 1, np.nan]) for c in range(40)]

    def made() -> np.ndarray:
        return np.concatenate(list(mixed(rows, values, 1003, seed=3, batch=100)))

    X = made()
    np.testing.assert_array_equal(X, made())
    assert X.shape == (1003, 40) and X.dtype == np.float32
    for column in range(40):
        assert set(X[~np.isnan(X[:, column]), column]) == {0.0, column + 1.0}
    moved = (X != 0).mean(axis=1)
    assert 0.2 < (moved == 0).mean() < 0.5  # a quarter left alone, some others by chance
    assert 0.4 < moved.max() < 0.8
    assert list(mixed(rows, values, 0, seed=3, batch=100)) == []
