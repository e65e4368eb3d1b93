"""ONNX nodes: a sum of trees, a weighted sum of columns, a table. What a graph is assembled from.

Everything here keeps the bits of a row independent of the rows beside it. Trees are summed by one
operator on one thread. A weighted sum of columns is not left to MatMul or ReduceSum, whose order of
additions depends on the shape of the batch: the products are folded in half, and in half again,
which is elementwise and, as a side effect, sums pairwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from foreshock.errors import ModelError
from foreshock.models.calibration import Table
from foreshock.models.parts import Linear, TreeSum
from foreshock.models.trees import LEAF, Tree

PIECE: Final = 4  # start, value, slope, cap of a straight piece of a table
Weights = Sequence[tuple[int, int, int, float]]  # (tree, node, target, value) of leaves

STUMP: Final = Tree(
    np.full(1, LEAF), np.zeros(1, np.float32), np.full(1, LEAF), np.full(1, LEAF),
    np.zeros(1, np.bool_), np.zeros(1, np.int64), np.zeros(1),
)  # fmt: skip
"""One leaf of value 0: what stands for a sum of no trees."""


def tree_sum(part: TreeSum, output: str) -> NodeProto:
    """`features` → `output` [n, 1]."""
    trees = part.trees or (STUMP,)
    weights = [
        (t, int(position), 0, float(np.float32(tree.value[position])))
        for t, tree in enumerate(trees)
        for position in tree.leaves
    ]
    return ensemble(trees, weights, "features", output, [float(np.float32(part.initial))])


def ensemble(
    trees: Sequence[Tree], weights: Weights, source: str, output: str, base: list[float]
) -> NodeProto:
    """A TreeEnsembleRegressor over columns of `source`, with a target for each value of `base`."""
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
    attributes: dict[str, Any] = {f"nodes_{name}": column for name, column in columns.items()}
    return regressor(attributes, weights, source, output, base)


def regressor(
    nodes: dict[str, Any], weights: Weights, source: str, output: str, base: list[float]
) -> NodeProto:
    """The same from the operator's own attributes `nodes_…`."""
    tree_ids, node_ids, targets, values = (list(c) for c in zip(*weights, strict=True))
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
        **nodes,
    )


def linear(part: Linear, output: str) -> tuple[list[NodeProto], list[TensorProto]]:
    """`features` → `output` [n, 1], with the constants it needs. Raises ModelError on parameters
    that are not finite, or a scale or limit not above zero."""
    rows = {"centre": part.centre, "scale": part.scale, "fill": part.fill, "weight": part.weight}
    numbers = {"intercept": part.intercept, "limit": part.limit}
    for what, given in (*rows.items(), *numbers.items()):
        if not np.isfinite(np.asarray(given)).all():
            raise ModelError(f"{output}: the {what} of a linear part is not finite")
    if not ((part.scale > 0).all() and part.limit > 0):
        raise ModelError(f"{output}: the scales and the limit of a linear part must be above zero")
    width = len(part.weight)
    folds = max(width - 1, 0).bit_length()
    constants: dict[str, NDArray[Any]] = {
        **{what: value.astype(np.float32).reshape(1, -1) for what, value in rows.items()},
        "intercept": np.array([[part.intercept]], np.float32),
        "low": np.array(-part.limit, np.float32),
        "high": np.array(part.limit, np.float32),
        "pads": np.array([0, 0, 0, 2**folds - width], np.int64),
    }

    def name(what: str) -> str:
        return f"{output}/{what}"

    steps: list[tuple[str, list[str], list[str], dict[str, Any]]] = [
        ("IsNaN", ["features"], [name("missing")], {}),
        ("Where", [name("missing"), name("fill"), "features"], [name("whole")], {}),
        ("Sub", [name("whole"), name("centre")], [name("centred")], {}),
        ("Div", [name("centred"), name("scale")], [name("scaled")], {}),
        ("Clip", [name("scaled"), name("low"), name("high")], [name("clipped")], {}),
        ("Mul", [name("clipped"), name("weight")], [name("product")], {}),
        ("Pad", [name("product"), name("pads")], [name("sum0")], {}),
    ]
    for fold in range(folds):
        halves = [name(f"left{fold}"), name(f"right{fold}")]
        steps.append(("Split", [name(f"sum{fold}")], halves, {"axis": 1}))
        steps.append(("Add", halves, [name(f"sum{fold + 1}")], {}))
    steps.append(("Add", [name(f"sum{folds}"), name("intercept")], [output], {}))
    return (
        [helper.make_node(op, ins, outs, name=outs[0], **more) for op, ins, outs, more in steps],
        [numpy_helper.from_array(value, name(what)) for what, value in constants.items()],
    )


def lookup(tables: Sequence[Table]) -> list[NodeProto]:
    """`raw_score` → `probability`, [n, H] each. A small tree per horizon finds the straight piece:
    tree h compares column h; target part·H + h is a part of its piece."""
    horizons = len(tables)
    trees, weights = [], []
    for h, table in enumerate(tables):
        tree = _search_tree(table.raw, h)
        trees.append(tree)
        pieces = table.pieces()
        for position in tree.leaves:
            for part in range(PIECE):
                value = float(pieces[int(tree.leaf[position]), part])
                weights.append((h, int(position), part * horizons + h, value))
    parts = ["start", "value", "slope", "cap"]
    return [
        ensemble(trees, weights, "raw_score", "pieces", [0.0] * (PIECE * horizons)),
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
