"""foreshock.models.xgboosted: XGBoost's decisions, exactly, and a model like any other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xgboost
from hypothesis import given
from hypothesis import strategies as st

from foreshock.errors import CertificateError, DatasetError, ModelError
from foreshock.models import focal
from foreshock.models.calibration import CalibrationSettings, Table, calibrate
from foreshock.models.certificate import certify
from foreshock.models.onnx import build_graph
from foreshock.models.probes import corners
from foreshock.models.session import open_session, run_graph
from foreshock.models.xgboosted import (
    XGBoosted,
    XGBoostedSettings,
    fit_one,
    flatten,
    threshold_float32,
)
from tests.reference.graphs import Lists, root_of, spoiled
from tests.reference.parts import leaf_position, value
from tests.reference.training import make_set


@pytest.fixture(scope="module", params=["binary", "focal"])
def fitted(request: pytest.FixtureRequest) -> XGBoosted:
    """A horizon of a small set, some values missing, some exact zeros."""
    return fit(objective=request.param)


def fit(weights: Any = None, **more: Any) -> XGBoosted:
    data = make_set(steps=700)
    data.X[:, 4] = np.maximum(np.nan_to_num(data.X[:, 4]), 0.0)
    settings = XGBoostedSettings(trees=30, leaves=15, min_leaf_hessian=1.0, **more)
    return fit_one(settings, data.X, data.labels[:, 0], weights, data.feature_names)


@given(st.floats(width=32, allow_nan=False), st.floats(width=32, allow_nan=False))
def test_the_threshold_before_decides_as_less_than_does(t: float, x: float) -> None:
    if t == -np.inf:
        with pytest.raises(ModelError, match="no row is left"):
            threshold_float32(t)
        return
    moved = threshold_float32(t)
    for each in (np.float32(x), np.float32(t), np.float32(0), np.float32(-np.inf), moved):
        assert (each <= moved) == (each < np.float32(t))


def test_flat_trees_choose_the_leaves_that_xgboost_chooses(fitted: XGBoosted) -> None:
    X = make_set(steps=700).X
    X = np.concatenate([X[:200], corners(X[:50])])
    theirs = fitted.leaves(X)
    assert theirs.shape == (len(X), 30)
    for t, tree in enumerate(fitted.part.trees):
        ours = [int(tree.leaf[leaf_position(tree, row)]) for row in X]
        assert ours == theirs[:, t].tolist()


def test_the_parts_add_up_to_what_xgboost_says(fitted: XGBoosted) -> None:
    X = make_set(steps=100).X
    exact = [value(fitted.part, row) for row in X]
    np.testing.assert_allclose(fitted.raw_score(X), exact, atol=1e-6)


@pytest.fixture(scope="module")
def graph_of(fitted: XGBoosted) -> tuple[bytes, Table]:
    data = make_set(steps=700)
    bare = open_session(build_graph([fitted.part], 6))
    raw = run_graph(bare, data.X, "raw_score")[:, 0]
    cluster = np.arange(len(data), dtype=np.int64)
    table = calibrate(raw, data.labels[:, 0], cluster, CalibrationSettings())
    return build_graph([fitted.part], 6, [table]), table


def test_the_graph_is_certified_against_xgboost_itself(
    fitted: XGBoosted, graph_of: tuple[bytes, Table]
) -> None:
    graph, table = graph_of
    X = make_set(steps=700).X
    found = certify([fitted], graph, [table], X, rows_least=20_000, thresholds=[0.5])
    (horizon,) = found["horizons"]
    assert horizon["kind"] == "xgboosted"
    assert horizon["leaves_compared"] == 20_000 * 30
    assert horizon["raw_error"] <= horizon["raw_bound"] < 1e-4


@pytest.mark.parametrize("by", ["x ≤ t", "one too far"])
def test_a_threshold_not_moved_or_moved_too_far_is_caught(
    fitted: XGBoosted, graph_of: tuple[bytes, Table], by: str
) -> None:
    """As converters do that write BRANCH_LEQ for XGBoost's x < t."""
    graph, table = graph_of
    towards = np.float32(9e9 if by == "x ≤ t" else -9e9)

    def move(lists: Lists) -> None:
        i = root_of(lists)
        lists["nodes_values"][i] = float(
            np.nextafter(np.float32(lists["nodes_values"][i]), towards)
        )

    with pytest.raises(CertificateError, match="falls into leaf"):
        certify(
            [fitted], spoiled(graph, "raw_score#0", move), [table], make_set(steps=700).X,
            rows_least=0,
        )  # fmt: skip


def test_no_trees_leave_the_score_that_every_row_begins_with() -> None:
    data = make_set(steps=300)
    y = (data.labels[:, 0] == 1).astype(float)
    initial = focal.initial_score(y, np.ones(len(y)), 0.0, 0.5)
    for settings in (XGBoostedSettings(), XGBoostedSettings(objective="focal")):
        params = settings.xgboost(initial)
        booster = xgboost.train(params, xgboost.DMatrix(data.X, y), 0, obj=settings.own_loss())
        assert flatten(booster).initial == pytest.approx(initial, abs=1e-6)


def test_the_same_data_and_seed_give_the_same_trees() -> None:
    first, second = (bytes(fit(seed=3).booster.save_raw("json")) for _ in range(2))
    assert first == second
    assert first != bytes(fit(seed=4).booster.save_raw("json"))


def test_penalties_scaled_by_the_mean_weight_are_weights_that_are_one_on_average() -> None:
    data = make_set(steps=500)
    w = np.random.default_rng(0).uniform(0.1, 0.5, len(data))
    y = (data.labels[:, 0] == 1).astype(float)
    settings = XGBoostedSettings(trees=5, row_share=1.0, min_leaf_hessian=20.0, min_gain=0.5)
    scores = []
    for weight, mean in ((w, float(w.mean())), (w / w.mean(), 1.0)):
        params = settings.xgboost(0.0, mean)
        booster = xgboost.train(params, xgboost.DMatrix(data.X, y, weight=weight), settings.trees)
        scores.append(booster.predict(xgboost.DMatrix(data.X), output_margin=True))
    np.testing.assert_allclose(scores[0], scores[1], atol=1e-5)


def test_weights_count() -> None:
    data = make_set(steps=700)
    heavy = np.where(data.labels[:, 0] == 1, 5.0, 1.0).astype(np.float32)
    assert fit(heavy).raw_score(data.X).mean() > fit().raw_score(data.X).mean() + 0.5


def test_data_that_must_not_be_trained_on_are_refused_before_any_fit() -> None:
    data, settings = make_set(steps=300), XGBoostedSettings()
    names = data.feature_names
    with pytest.raises(DatasetError, match="one class only"):
        fit_one(settings, data.X, np.zeros(len(data), np.int8), None, names)
    with pytest.raises(DatasetError, match="too few rows"):
        fit_one(settings, data.X[:90], data.labels[:90, 0], None, names)
    infinite = data.X.copy()
    infinite[3, 2] = np.inf
    with pytest.raises(DatasetError, match="feature_2 is infinite"):
        fit_one(settings, infinite, data.labels[:, 0], None, names)


@pytest.mark.parametrize(
    ("params", "why"),
    [
        ({"booster": "gblinear"}, "kind 'gblinear'"),
        ({"booster": "dart"}, "kind 'dart'"),
        ({"objective": "multi:softprob", "num_class": 3}, "several classes"),
        ({"objective": "count:poisson"}, "objective 'count:poisson'"),
        ({"tree_method": "hist", "max_cat_to_onehot": 1}, "split by categories"),
    ],
)
def test_what_is_no_plain_sum_of_trees_is_refused(params: dict[str, Any], why: str) -> None:
    random = np.random.default_rng(0)
    column = random.integers(0, 8, (400, 1)).astype(float)
    y = np.isin(column[:, 0], (1, 4, 6)).astype(float)
    data = xgboost.DMatrix(column, y)
    if "categories" in why:
        data = xgboost.DMatrix(column, y, feature_types=["c"], enable_categorical=True)
    booster = xgboost.train({"verbosity": 0, "nthread": 1, **params}, data, 2)
    with pytest.raises(ModelError, match=why):
        flatten(booster)
