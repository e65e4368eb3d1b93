"""One ONNX graph for all horizons, trees to calibration: the model of record.

    features [n, k] ─┬─ trees of horizon 1 ─┐
                     ├─ …                   ├─ raw_score [n, H] ── lookup ── probability [n, H]
                     └─ trees of horizon H ─┘

The calibration is a lookup, itself a small tree per horizon whose leaves hold (start, value, slope,
cap) of one straight piece: probability = min(value + slope · (raw − start), cap). Elementwise
operations only, so that the bits of a score do not depend on the rows beside it (a sum over knots
would have to be reduced, and how it is reduced may depend on the batch).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, checker, helper

from foreshock.errors import ModelError
from foreshock.models.calibration import Table
from foreshock.models.trees import LEAF, Tree

OPSET: Final = 17
ML_OPSET: Final = 3
IR: Final = 8
PARTS: Final = 4  # start, value, slope, cap


def build_graph(
    ensembles: Sequence[Sequence[Tree]],
    initial_scores: Sequence[float],
    features: int,
    tables: Sequence[Table] | None = None,
) -> bytes:
    """The serialised graph of H ensembles over `features` columns; the same bytes for the same
    input. Without `tables` it gives `raw_score` alone, to fit the calibration on.

    Raises ModelError where the numbers of ensembles, initial scores and tables differ.
    """
    horizons = len(ensembles)
    if len(initial_scores) != horizons or (tables is not None and len(tables) != horizons):
        raise ModelError(f"{horizons} ensembles need as many initial scores and tables")
    raw = [f"raw_{h}" for h in range(horizons)]
    nodes = [
        _ensemble(trees, _leaf_values(trees), "features", raw[h], [float(np.float32(initial))])
        for h, (trees, initial) in enumerate(zip(ensembles, initial_scores, strict=True))
    ]
    nodes.append(helper.make_node("Concat", raw, ["raw_score"], name="raw_score", axis=1))
    outputs = ["raw_score"]
    if tables is not None:
        nodes.extend(_lookup(tables))
        outputs = ["probability", "raw_score"]
    return _serialise(nodes, features, {name: horizons for name in outputs})


def build_leaf_graph(trees: Sequence[Tree], features: int) -> bytes:
    """A graph over the same nodes that says which leaf each tree chose: `leaf` float32 [n, T], the
    leaf numbers of LightGBM. For the certificate only."""
    weights = [
        (t, int(position), t, float(tree.leaf[position]))
        for t, tree in enumerate(trees)
        for position in tree.leaves
    ]
    node = _ensemble(trees, weights, "features", "leaf", [0.0] * len(trees))
    return _serialise([node], features, {"leaf": len(trees)})


def _leaf_values(trees: Sequence[Tree]) -> list[tuple[int, int, int, float]]:
    return [
        (t, int(position), 0, float(np.float32(tree.value[position])))
        for t, tree in enumerate(trees)
        for position in tree.leaves
    ]


def _ensemble(
    trees: Sequence[Tree],
    weights: Sequence[tuple[int, int, int, float]],
    source: str,
    output: str,
    base: list[float],
) -> NodeProto:
    """A TreeEnsembleRegressor; weights are (tree, node, target, value) of its leaves."""
    columns: dict[str, list[Any]] = {
        name: [] for name in ("treeids", "nodeids", "featureids", "modes", "values", "truenodeids",
                              "falsenodeids", "missing_value_tracks_true", "hitrates")
    }  # fmt: skip
    for t, tree in enumerate(trees):
        split = tree.feature != LEAF
        m = len(split)
        columns["treeids"] += [t] * m
        columns["nodeids"] += list(range(m))
        columns["featureids"] += np.where(split, tree.feature, 0).tolist()
        columns["modes"] += ["BRANCH_LEQ" if s else "LEAF" for s in split]
        columns["values"] += tree.threshold.astype(np.float64).tolist()
        columns["truenodeids"] += np.where(split, tree.left, 0).tolist()
        columns["falsenodeids"] += np.where(split, tree.right, 0).tolist()
        columns["missing_value_tracks_true"] += tree.nan_left.astype(int).tolist()
        columns["hitrates"] += [1.0] * m
    tree_ids, node_ids, targets, values = (list(c) for c in zip(*weights, strict=True))
    attributes: dict[str, Any] = {f"nodes_{name}": column for name, column in columns.items()}
    return helper.make_node(
        "TreeEnsembleRegressor",
        [source],
        [output],
        name=output,
        domain="ai.onnx.ml",
        n_targets=len(base),
        base_values=base,
        aggregate_function="SUM",
        post_transform="NONE",
        target_treeids=tree_ids,
        target_nodeids=node_ids,
        target_ids=targets,
        target_weights=values,
        **attributes,
    )


def _lookup(tables: Sequence[Table]) -> list[NodeProto]:
    """raw_score → probability. Tree h compares column h; target part·H + h is a part of a piece."""
    horizons = len(tables)
    trees, weights = [], []
    for h, table in enumerate(tables):
        tree = _search_tree(table.raw, h)
        trees.append(tree)
        pieces = table.pieces()
        for position in tree.leaves:
            for part in range(PARTS):
                value = float(pieces[int(tree.leaf[position]), part])
                weights.append((h, int(position), part * horizons + h, value))
    parts = ["start", "value", "slope", "cap"]
    pieces_node = _ensemble(trees, weights, "raw_score", "pieces", [0.0] * (PARTS * horizons))
    return [
        pieces_node,
        helper.make_node("Split", ["pieces"], parts, name="parts", axis=1),
        helper.make_node("Sub", ["raw_score", "start"], ["run"], name="run"),
        helper.make_node("Mul", ["slope", "run"], ["rise"], name="rise"),
        helper.make_node("Add", ["value", "rise"], ["height"], name="height"),
        helper.make_node("Min", ["height", "cap"], ["probability"], name="probability"),
    ]


def _search_tree(knots: NDArray[np.float32], column: int) -> Tree:
    """A balanced tree whose leaf i is reached by knots[i-1] < x ≤ knots[i]."""
    rows: list[list[float]] = []

    def grow(low: int, high: int) -> int:
        at = len(rows)
        if low == high:
            rows.append([LEAF, 0.0, LEAF, LEAF, low])
            return at
        middle = (low + high) // 2
        rows.append([column, float(knots[middle]), 0, 0, LEAF])
        rows[at][2] = grow(low, middle)
        rows[at][3] = grow(middle + 1, high)
        return at

    grow(0, len(knots))
    feature, threshold, left, right, leaf = (np.array(c) for c in zip(*rows, strict=True))
    return Tree(
        feature.astype(np.int64),
        threshold.astype(np.float32),
        left.astype(np.int64),
        right.astype(np.int64),
        np.zeros(len(rows), np.bool_),
        leaf.astype(np.int64),
        np.zeros(len(rows)),
    )


def _serialise(nodes: list[NodeProto], features: int, outputs: dict[str, int]) -> bytes:
    graph = helper.make_graph(
        nodes,
        "foreshock",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", features])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", width])
            for name, width in outputs.items()
        ],
    )
    model: ModelProto = helper.make_model(
        graph,
        producer_name="foreshock",
        ir_version=IR,
        opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", ML_OPSET)],
    )
    checker.check_model(model)
    out: bytes = model.SerializeToString(deterministic=True)
    return out
