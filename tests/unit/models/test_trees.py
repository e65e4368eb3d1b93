"""foreshock.models.trees: float32 comparisons that decide as LightGBM's float64 ones."""

from __future__ import annotations

from typing import Any

import lightgbm as lgb
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreshock.errors import ModelError
from foreshock.models.probes import corners
from foreshock.models.trees import LEAF, ZERO, Tree, flatten, threshold_float32
from tests.reference import trees as naive


@given(
    st.floats(-1e30, 1e30) | st.floats(-1e-30, 1e-30) | st.floats(width=32, allow_nan=False),
    st.floats(width=32, allow_nan=False),
)
def test_rounding_down_changes_no_decision(t: float, x: float) -> None:
    near = np.float32(t) if abs(t) < 3e38 else np.float32(0)
    for value in (np.float32(x), near, np.nextafter(near, np.float32(9e9)), -ZERO, ZERO):
        read = 0.0 if abs(float(value)) <= float(ZERO) else float(value)
        assert (value <= threshold_float32(t)) == (read <= t or t >= 1e300), (t, value)


def test_a_threshold_between_two_float32_numbers_moves_down() -> None:
    assert threshold_float32(0.1) < 0.1 < float(np.float32(0.1))
    assert threshold_float32(0.5) == np.float32(0.5)
    assert threshold_float32(1e300) == np.inf


def walk(tree: Tree, row: np.ndarray) -> int:
    """The leaf by comparing float32 numbers."""
    node = 0
    while tree.feature[node] != LEAF:
        x = row[tree.feature[node]]
        left = tree.nan_left[node] if np.isnan(x) else x <= tree.threshold[node]
        node = tree.left[node] if left else tree.right[node]
    return int(tree.leaf[node])


def test_flat_trees_lightgbm_and_its_dump_choose_the_same_leaves(exported: Any) -> None:
    X = np.concatenate([exported.data.X[:200], corners(exported.data.X[:50])])
    for booster, trees in ((each.booster, each.part.trees) for each in exported.fitted):
        theirs = booster.predict(X, pred_leaf=True)
        dump = booster.dump_model()["tree_info"]
        for t in range(0, len(trees), 5):
            ours = [walk(trees[t], row) for row in X]
            assert ours == theirs[:, t].tolist()
            assert ours == [naive.leaf(dump[t]["tree_structure"], row) for row in X.tolist()]


def test_a_tree_that_never_splits_is_one_leaf() -> None:
    random = np.random.default_rng(0)
    X, y = random.normal(size=(60, 2)), random.integers(0, 2, 60)
    params = {"objective": "binary", "verbosity": -1, "min_gain_to_split": 1e9, "num_threads": 1}
    booster = lgb.train(params, lgb.Dataset(X, y), 2)
    for tree in flatten(booster):
        assert tree.feature.tolist() == [LEAF]
        assert tree.leaf.tolist() == [0]


def trained(column: np.ndarray, **params: Any) -> lgb.Booster:
    y = (np.arange(len(column)) % 7 < 3).astype(float) + (column > 2)
    data = lgb.Dataset(
        np.stack([column, np.arange(len(column)) % 5], axis=1), y > 0, **params.pop("data", {})
    )
    given = {"objective": "binary", "verbosity": -1, "min_data_in_leaf": 5, "num_threads": 1}
    return lgb.train({**given, **params}, data, 3)


def test_splits_by_category_are_refused() -> None:
    column = np.tile(np.arange(6.0), 100)
    options = {"min_data_per_group": 1, "cat_smooth": 0, "data": {"categorical_feature": [0]}}
    with pytest.raises(ModelError, match="categories"):
        flatten(trained(column, max_cat_to_onehot=1, **options))


def test_zero_as_missing_is_refused() -> None:
    column = np.tile(np.arange(6.0), 100)
    with pytest.raises(ModelError, match="zero_as_missing"):
        flatten(trained(column, zero_as_missing=True))


def test_linear_leaves_are_refused() -> None:
    column = np.random.default_rng(0).normal(2, 2, 600)
    with pytest.raises(ModelError, match="linear"):
        flatten(trained(column, linear_tree=True))
