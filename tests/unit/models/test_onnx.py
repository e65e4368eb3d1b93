"""foreshock.models.onnx: one graph, the same bits for a row whatever is beside it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from foreshock.errors import ModelError
from foreshock.models.calibration import Table
from foreshock.models.onnx import build_graph
from foreshock.models.session import open_session, run_graph


def test_the_graph_calibrates_bit_for_bit_as_the_table_does(exported: Any) -> None:
    session = open_session(exported.graph)
    raw = run_graph(session, exported.data.X, "raw_score")
    p = run_graph(session, exported.data.X, "probability")
    for h, table in enumerate(exported.tables):
        np.testing.assert_array_equal(p[:, h], table.apply(raw[:, h]))


def test_raw_scores_are_those_the_calibration_was_fitted_on(exported: Any) -> None:
    width = exported.data.X.shape[1]
    bare = open_session(build_graph(exported.ensembles, exported.model.initial_scores, width))
    np.testing.assert_array_equal(
        run_graph(bare, exported.data.X, "raw_score"),
        run_graph(open_session(exported.graph), exported.data.X, "raw_score"),
    )


def test_the_trainer_agrees_within_float32(exported: Any) -> None:
    raw = run_graph(open_session(exported.graph), exported.data.X, "raw_score")
    np.testing.assert_allclose(raw, exported.model.raw_score(exported.data.X), atol=1e-5)


@pytest.mark.parametrize("batch", [1, 2, 7, 64, 1000])
def test_the_bits_of_a_score_do_not_depend_on_the_batch(exported: Any, batch: int) -> None:
    session, X = open_session(exported.graph), exported.data.X[:1000]
    whole = run_graph(session, X, "probability")
    parts = [run_graph(session, X[i : i + batch], "probability") for i in range(0, 1000, batch)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_the_same_trees_give_the_same_bytes(exported: Any) -> None:
    width = exported.data.X.shape[1]
    again = build_graph(exported.ensembles, exported.model.initial_scores, width, exported.tables)
    assert again == exported.graph


def test_a_single_knot_is_a_constant(exported: Any) -> None:
    flat = Table(np.float32([0.5]), np.float32([0.25]), "flat")
    width = exported.data.X.shape[1]
    graph = build_graph(exported.ensembles, exported.model.initial_scores, width, [flat, flat])
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
    with pytest.raises(ModelError, match="2 ensembles"):
        build_graph(exported.ensembles, [0.0], X.shape[1])
