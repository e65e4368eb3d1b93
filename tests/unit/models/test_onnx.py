"""foreshock.models.onnx: one graph, the same bits for a row whatever is beside it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from foreshock.errors import ModelError
from foreshock.models.calibration import Table
from foreshock.models.onnx import build_graph, build_leaf_graph, leaf_graph_of
from foreshock.models.parts import Linear, Part, TreeSum
from foreshock.models.probes import corners
from foreshock.models.session import open_session, run_graph, run_outputs
from tests.reference.parts import make_linear, value


def test_the_graph_calibrates_bit_for_bit_as_the_table_does(exported: Any) -> None:
    session = open_session(exported.graph)
    raw = run_graph(session, exported.data.X, "raw_score")
    p = run_graph(session, exported.data.X, "probability")
    for h, table in enumerate(exported.tables):
        np.testing.assert_array_equal(p[:, h], table.apply(raw[:, h]))


def test_raw_scores_are_those_the_calibration_was_fitted_on(exported: Any) -> None:
    width = exported.data.X.shape[1]
    bare = open_session(build_graph(exported.parts, width))
    np.testing.assert_array_equal(
        run_graph(bare, exported.data.X, "raw_score"),
        run_graph(open_session(exported.graph), exported.data.X, "raw_score"),
    )


def test_the_trainer_agrees_within_float32(exported: Any) -> None:
    raw = run_graph(open_session(exported.graph), exported.data.X, "raw_score")
    for h, each in enumerate(exported.fitted):
        np.testing.assert_allclose(raw[:, h], each.raw_score(exported.data.X), atol=1e-5)


@pytest.mark.parametrize("batch", [1, 2, 7, 64, 1000])
def test_the_bits_of_a_score_do_not_depend_on_the_batch(exported: Any, batch: int) -> None:
    session, X = open_session(exported.graph), exported.data.X[:1000]
    whole = run_graph(session, X, "probability")
    parts = [run_graph(session, X[i : i + batch], "probability") for i in range(0, 1000, batch)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_the_same_trees_give_the_same_bytes(exported: Any) -> None:
    width = exported.data.X.shape[1]
    assert build_graph(exported.parts, width, exported.tables) == exported.graph


def test_a_single_knot_is_a_constant(exported: Any) -> None:
    flat = Table(np.float32([0.5]), np.float32([0.25]), "flat")
    width = exported.data.X.shape[1]
    graph = build_graph(exported.parts, width, [flat, flat])
    p = run_graph(open_session(graph), exported.data.X, "probability")
    assert (p == np.float32(0.25)).all()


def test_no_rows_give_no_scores(exported: Any) -> None:
    empty = run_graph(open_session(exported.graph), exported.data.X[:0], "probability")
    assert empty.shape == (0, 2)


def test_other_shapes_types_and_bytes_are_refused(exported: Any) -> None:
    session, X = open_session(exported.graph), exported.data.X
    for wrong in (X[:, :-1], X.astype(np.float64), X[0]):
        with pytest.raises(ModelError, match="expected float32"):
            run_graph(session, wrong, "probability")
    with pytest.raises(ModelError, match="cannot be loaded"):
        open_session(exported.graph[: len(exported.graph) // 2])


def mixed_parts(exported: Any) -> list[Part]:
    """A horizon of trees, one of columns, one of a constant."""
    trees = exported.parts[0].trees
    return [TreeSum(trees, 0.25), make_linear(exported.data.X.shape[1]), TreeSum((), -1.5)]


def test_kinds_stand_beside_each_other_in_one_graph(exported: Any) -> None:
    parts = mixed_parts(exported)
    X = np.concatenate([exported.data.X[:100], corners(exported.data.X[:50])])
    raw = run_graph(open_session(build_graph(parts, X.shape[1])), X, "raw_score")
    for h, part in enumerate(parts):
        with np.errstate(over="ignore"):
            exact = [value(part, row) for row in X]
        np.testing.assert_allclose(raw[:, h], exact, atol=2e-5)
    assert (raw[:, 2] == np.float32(-1.5)).all()


@pytest.mark.parametrize("width", [1, 2, 3, 31, 60, 64, 65])
def test_a_weighted_sum_of_columns_is_the_naive_one_whatever_the_width(width: int) -> None:
    part = make_linear(width, seed=width)
    X = np.random.default_rng(1).normal(0, 5, (200, width)).astype(np.float32)
    X[np.random.default_rng(2).random(X.shape) < 0.1] = np.nan
    raw = run_graph(open_session(build_graph([part], width)), X, "raw_score")
    np.testing.assert_allclose(raw[:, 0], [value(part, row) for row in X], atol=2e-5)


@pytest.mark.parametrize("batch", [1, 3, 64, 4096])
def test_the_bits_of_a_weighted_sum_do_not_depend_on_the_batch(batch: int) -> None:
    X = np.random.default_rng(1).normal(0, 5, (4096, 61)).astype(np.float32)
    session = open_session(build_graph([make_linear(61), make_linear(61, 1)], 61))
    whole = run_graph(session, X, "raw_score")
    parts = [run_graph(session, X[i : i + batch], "raw_score") for i in range(0, 4096, batch)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    backwards = run_graph(session, np.ascontiguousarray(X[::-1]), "raw_score")
    np.testing.assert_array_equal(backwards[::-1], whole)


def test_further_outputs_are_columns_as_they_are(exported: Any) -> None:
    parts, width = mixed_parts(exported), exported.data.X.shape[1]
    extra = {"magnitude": parts[:1], "quantile_90": [parts[2], parts[1], parts[0]]}
    session = open_session(build_graph(parts, width, [exported.tables[0]] * 3, extra))
    raw, p, magnitude, quantile = run_outputs(
        session, exported.data.X, ["raw_score", "probability", "magnitude", "quantile_90"]
    )
    np.testing.assert_array_equal(magnitude, raw[:, :1])
    np.testing.assert_array_equal(quantile, raw[:, [2, 1, 0]])
    np.testing.assert_array_equal(p[:, 0], exported.tables[0].apply(raw[:, 0]))
    assert p.shape == raw.shape == (len(exported.data), 3)


@pytest.mark.parametrize("name", ["probability", "raw_score", "features", "not a name", ""])
def test_a_further_output_may_not_take_a_name_that_is_taken(exported: Any, name: str) -> None:
    part = TreeSum(exported.parts[0].trees, 0.0)
    with pytest.raises(ModelError, match="no output can be called"):
        build_graph([part], exported.data.X.shape[1], None, {name: [part]})


def test_parts_that_do_not_fit_are_refused(exported: Any) -> None:
    trees, width = TreeSum(exported.parts[0].trees, 0.0), exported.data.X.shape[1]
    with pytest.raises(ModelError, match="a tree splits column"):
        build_graph([trees], 1)
    with pytest.raises(ModelError, match="linear part"):
        build_graph([make_linear(width + 1)], width)
    with pytest.raises(ModelError, match="as many calibrations"):
        build_graph([trees], width, exported.tables)
    with pytest.raises(ModelError, match="as many calibrations"):
        build_graph([], width)
    for name, bad in {"scale": 0.0, "fill": np.nan, "weight": np.inf}.items():
        column = getattr(make_linear(width), name).copy()
        column[1] = bad
        part = make_linear(width)
        fields = {n: getattr(part, n) for n in Linear.__dataclass_fields__} | {name: column}
        with pytest.raises(ModelError, match="linear part"):
            build_graph([Linear(**fields)], width)


def test_the_leaves_of_a_finished_graph_are_read_from_its_own_splits(exported: Any) -> None:
    parts, X = mixed_parts(exported), exported.data.X
    graph = build_graph(parts, X.shape[1], [exported.tables[0]] * 3)
    own = run_graph(open_session(leaf_graph_of(graph, "raw_score", 0, parts[0])), X, "leaf")
    made = build_leaf_graph(exported.parts[0].trees, X.shape[1])
    np.testing.assert_array_equal(own, run_graph(open_session(made), X, "leaf"))
    with pytest.raises(ModelError, match="no trees at raw_score 1"):
        leaf_graph_of(graph, "raw_score", 1, parts[0])
    with pytest.raises(ModelError, match="other leaves at raw_score 0"):
        leaf_graph_of(graph, "raw_score", 0, TreeSum(exported.parts[1].trees, 0.0))
