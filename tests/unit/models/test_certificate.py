"""foreshock.models.certificate: it passes the true graph and catches a wrong one."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, numpy_helper

from foreshock.errors import CertificateError
from foreshock.models.certificate import certify, sum_bound, told
from foreshock.models.onnx import build_graph
from foreshock.models.parts import TreeSum
from foreshock.models.trees import LEAF
from tests.reference.graphs import Lists, root_of, spoiled
from tests.reference.parts import LinearFit, make_linear


def prove(exported: Any, graph: bytes | None = None, **more: Any) -> dict[str, Any]:
    """The certificate of `graph`, else of the true one."""
    tables = more.pop("tables", exported.tables)
    graph = exported.graph if graph is None else graph
    return certify(exported.fitted, graph, tables, exported.data.X, **{"rows_least": 0, **more})


def test_a_true_export_is_certified(exported: Any) -> None:
    found = prove(exported, rows_least=20_000, thresholds=[0.3, 0.5])
    assert found["rows"] == sum(found["rows_by_kind"].values()) == 20_000
    assert set(found["rows_by_kind"]) == {"as trained", "special values", "on splits", "mixed"}
    for horizon in found["horizons"]:
        assert horizon["leaves_different"] == 0
        assert horizon["leaves_compared"] == horizon["rows"] * horizon["trees"] == 20_000 * 40
        assert 0 < horizon["raw_error"] <= horizon["raw_bound"] < 1e-4
        assert 0 < horizon["probability_error"] <= horizon["probability_bound"] < 1e-4
        assert horizon["decisions_changed"] >= 0
    words = told(found)
    assert len(words) == 2
    assert "800,000 leaves in 40 trees the same" in words[0] and "bound" in words[1]


def test_a_certificate_is_repeatable(exported: Any) -> None:
    assert prove(exported, rows_least=9000) == prove(exported, rows_least=9000)


def test_the_probes_alone_are_enough_to_stand_on_every_split(exported: Any) -> None:
    assert prove(exported)["rows_by_kind"].get("mixed", 0) == 0


def test_kinds_are_certified_side_by_side_with_further_outputs(exported: Any) -> None:
    width = exported.data.X.shape[1]
    boosted = exported.fitted
    linear = LinearFit(make_linear(width))
    extra = {"magnitude": [boosted[1], linear]}
    parts = {name: [each.part for each in several] for name, several in extra.items()}
    graph = build_graph([boosted[0].part, linear.part], width, exported.tables, parts)
    found = certify(
        [boosted[0], linear], graph, exported.tables, exported.data.X, rows_least=9000, extra=extra
    )
    assert [each["trees"] for each in found["horizons"]] == [40, 0]
    assert [each["trees"] for each in found["extra"]["magnitude"]] == [40, 0]
    assert found["horizons"][1]["kind"] == "linear"
    assert len(told(found)) == 4
    swapped = {"magnitude": [linear, boosted[1]]}
    with pytest.raises(CertificateError, match="magnitude 1"):
        certify(
            [boosted[0], linear], graph, exported.tables, exported.data.X, rows_least=0,
            extra=swapped,
        )  # fmt: skip


# Breakages, each as a converter or a careless hand would make it, in the graph's own bytes.


def up(lists: Lists) -> None:
    i = root_of(lists)
    lists["nodes_values"][i] = float(np.nextafter(np.float32(lists["nodes_values"][i]), 9e9))


def nan_turned(lists: Lists) -> None:
    i = root_of(lists)
    lists["nodes_missing_value_tracks_true"][i] = 1 - lists["nodes_missing_value_tracks_true"][i]


def nan_dropped(lists: Lists) -> None:
    lists["nodes_missing_value_tracks_true"] = [0] * len(lists["nodes_treeids"])


def strictly(lists: Lists) -> None:
    lists["nodes_modes"] = [
        b"BRANCH_LT" if mode == b"BRANCH_LEQ" else mode for mode in lists["nodes_modes"]
    ]


def sides_swapped(lists: Lists) -> None:
    i = root_of(lists)
    t, f = lists["nodes_truenodeids"], lists["nodes_falsenodeids"]
    t[i], f[i] = f[i], t[i]


def other_column(lists: Lists) -> None:
    i = root_of(lists)
    lists["nodes_featureids"][i] = (lists["nodes_featureids"][i] + 1) % 6


@pytest.mark.parametrize(
    "change", [up, nan_turned, nan_dropped, strictly, sides_swapped, other_column]
)
def test_a_wrong_split_is_caught(exported: Any, change: Any) -> None:
    graph = spoiled(exported.graph, "raw_score#1", change)
    with pytest.raises(CertificateError, match=r"horizon 1: row \d+ falls into leaf"):
        prove(exported, graph)


def test_thresholds_rounded_to_the_nearest_float32_are_caught(exported: Any) -> None:
    """As converters do that cast a float64 threshold (onnxmltools#708, #728)."""
    dumped = exported.fitted[0].booster.dump_model()["tree_info"]

    def nearest(lists: Lists) -> None:
        for t, info in enumerate(dumped):
            stack, tree = [(info["tree_structure"], 0)], exported.parts[0].trees[t]
            while stack:
                node, at = stack.pop()
                if tree.feature[at] == LEAF:
                    continue
                if abs(node["threshold"]) < 1e30:
                    i = root_of(lists, t) + at
                    lists["nodes_values"][i] = float(np.float32(node["threshold"]))
                stack.append((node["left_child"], int(tree.left[at])))
                stack.append((node["right_child"], int(tree.right[at])))

    with pytest.raises(CertificateError, match="falls into leaf"):
        prove(exported, spoiled(exported.graph, "raw_score#0", nearest))


def halves(lists: Lists) -> None:
    lists["target_weights"] = np.float16(lists["target_weights"]).astype(float).tolist()


def leaves_swapped(lists: Lists) -> None:
    values = lists["target_weights"]
    values[0], values[1] = values[1], values[0]


def initial_lost(lists: Lists) -> None:
    lists["base_values"] = [0.0]


@pytest.mark.parametrize("change", [halves, leaves_swapped, initial_lost])
def test_a_wrong_value_is_caught(exported: Any, change: Any) -> None:
    graph = spoiled(exported.graph, "raw_score#0", change)
    with pytest.raises(CertificateError, match="horizon 0: raw score off by"):
        prove(exported, graph)


def test_a_lost_tree_is_caught(exported: Any) -> None:
    width = exported.data.X.shape[1]
    first, second = exported.parts
    less = [TreeSum(first.trees[:-1], first.initial), second]
    with pytest.raises(CertificateError, match="other leaves at raw_score 0"):
        prove(exported, build_graph(less, width, exported.tables))


def test_another_calibration_is_caught(exported: Any) -> None:
    with pytest.raises(CertificateError, match="probability off by"):
        prove(exported, tables=list(reversed(exported.tables)))


@pytest.mark.parametrize("what", ["fill", "high", "scale", "intercept"])
def test_a_wrong_weighted_sum_is_caught(exported: Any, what: str) -> None:
    width = exported.data.X.shape[1]
    linear = LinearFit(make_linear(width))
    graph = build_graph([linear.part], width, exported.tables[:1])
    certify([linear], graph, exported.tables[:1], exported.data.X, rows_least=3000)
    model = ModelProto.FromString(graph)
    constant = next(c for c in model.graph.initializer if c.name == f"raw_score#0/{what}")
    value = numpy_helper.to_array(constant).copy()
    value *= np.float32(1.01)
    constant.CopyFrom(numpy_helper.from_array(value, constant.name))
    wrong = model.SerializeToString(deterministic=True)
    with pytest.raises(CertificateError, match="raw score off by"):
        certify([linear], wrong, exported.tables[:1], exported.data.X, rows_least=3000)


def test_the_bound_grows_with_the_terms_and_their_size(exported: Any) -> None:
    trees = exported.parts[0].trees
    size = np.array([0.0, 1.0, 10.0])
    some, every = (sum_bound(TreeSum(each, 0.5), size) for each in (trees[:10], trees))
    assert (np.diff(every) > 0).all() and (some < every).all()
    np.testing.assert_allclose(every[2], 42 * 2.0**-24 * 10.5, rtol=1e-3)
    assert sum_bound(TreeSum(trees, 100.0), size)[0] > 100 * every[0]
    assert 1e-12 < sum_bound(make_linear(6), size)[1] < 1e-4


def test_float32_sums_of_the_worst_kind_stay_within_the_bound(exported: Any) -> None:
    """Terms that cancel, of many sizes, added up in several orders."""
    random = np.random.default_rng(0)
    trees = exported.parts[0].trees
    for _ in range(50):
        terms = random.normal(size=len(trees)) * 10.0 ** random.uniform(-4, 4, len(trees))
        bound = sum_bound(TreeSum(trees, 0.0), np.array([np.abs(terms).sum()]))[0]
        exact = math.fsum(terms)
        for order in (
            np.argsort(terms),
            np.argsort(-np.abs(terms)),
            random.permutation(len(terms)),
        ):
            total = np.float32(0)
            for term in terms[order].astype(np.float32):
                total += term
            assert abs(float(total) - exact) <= bound
