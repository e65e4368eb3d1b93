"""One ONNX graph for all horizons, parts to calibration: the model of record.

    features [n, k] ─┬─ part of horizon 1 ─┐
                     ├─ …                  ├─ raw_score [n, H] ── lookup ── probability [n, H]
                     ├─ part of horizon H ─┘
                     └─ further parts ─────── further outputs [n, …], not calibrated

A part is a sum of trees or a weighted sum of columns (foreshock.models.parts), one kind beside the
other as the horizons have them. The calibration is a lookup, itself a small tree per horizon whose
leaves hold (start, value, slope, cap) of one straight piece: probability = min(value + slope · (raw
− start), cap). The bits of a score do not depend on the rows beside it (foreshock.models.nodes).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, checker, helper

from foreshock.errors import ModelError
from foreshock.models.calibration import Table
from foreshock.models.nodes import STUMP, ensemble, linear, lookup, regressor, tree_sum
from foreshock.models.parts import Linear, Part, TreeSum
from foreshock.models.trees import LEAF, Tree

OPSET: Final = 17
ML_OPSET: Final = 3
IR: Final = 8
RAW: Final = "raw_score"
RESERVED: Final = frozenset({"features", RAW, "probability"})


def build_graph(
    parts: Sequence[Part],
    features: int,
    tables: Sequence[Table] | None = None,
    extra: Mapping[str, Sequence[Part]] | None = None,
) -> bytes:
    """The serialised graph of H `parts` over `features` columns; the same bytes for the same input.

    tables   H calibrations; without them the graph gives `raw_score` alone, to fit them on
    extra    further outputs by name, a part a column, as they are: magnitudes, quantiles. They are
             computed whenever anything is: what is not wanted live goes into a graph of its own

    Raises ModelError where numbers differ, a name is taken, or a part reads columns that there are
    not.
    """
    horizons = len(parts)
    if not horizons or (tables is not None and len(tables) != horizons):
        raise ModelError(f"{horizons} parts need as many calibrations, at least one")
    nodes: list[NodeProto] = []
    constants: list[TensorProto] = []
    outputs = {"probability": horizons} if tables is not None else {}
    outputs[RAW] = horizons
    more = extra or {}
    for name, mine in more.items():
        if name in RESERVED or not name.isidentifier() or not mine:
            raise ModelError(f"no output can be called {name!r} and have {len(mine)} columns")
    for name, mine in {RAW: parts, **more}.items():
        outputs[name] = len(mine)
        columns = [column_name(name, h) for h in range(len(mine))]
        for part, column in zip(mine, columns, strict=True):
            _check_columns(part, features, column)
            if isinstance(part, Linear):
                made, needed = linear(part, column)
                nodes += made
                constants += needed
            else:
                nodes.append(tree_sum(part, column))
        nodes.append(helper.make_node("Concat", columns, [name], name=name, axis=1))
    if tables is not None:
        nodes += lookup(tables)
    return _serialise(nodes, constants, features, outputs)


def column_name(output: str, h: int) -> str:
    """The graph's own name of column h of an output, before the columns are put together."""
    return f"{output}#{h}"


def build_leaf_graph(trees: Sequence[Tree], features: int) -> bytes:
    """A graph over the same nodes that says which leaf each tree chose: `leaf` float32 [n, T], the
    trainer's numbers of the leaves. For tests; the certificate uses `leaf_graph_of`."""
    node = ensemble(trees, _leaf_numbers(trees), "features", "leaf", [0.0] * len(trees))
    return _serialise([node], [], features, {"leaf": len(trees)})


def leaf_graph_of(graph: bytes, output: str, h: int, part: TreeSum) -> bytes:
    """The leaf graph of one column of a finished graph: that graph's own splits, read back from its
    bytes, with leaf numbers in place of leaf values.

    part   tells the trainer's number of each leaf

    Raises ModelError where the graph has other leaves there than the part.
    """
    model = ModelProto.FromString(graph)
    named = [node for node in model.graph.node if node.name == column_name(output, h)]
    if not named or named[0].op_type != "TreeEnsembleRegressor":
        raise ModelError(f"the graph has no trees at {output} {h}")
    found = {a.name: helper.get_attribute_value(a) for a in named[0].attribute}
    splits = {
        name: [v.decode() if isinstance(v, bytes) else v for v in value]
        for name, value in found.items()
        if name.startswith("nodes_")
    }
    trees = part.trees or (STUMP,)
    weights = _leaf_numbers(trees)
    places = list(zip(found["target_treeids"], found["target_nodeids"], strict=True))
    if places != [(t, node) for t, node, _, _ in weights]:
        raise ModelError(f"the graph has other leaves at {output} {h} than the trees it is to hold")
    node = regressor(splits, weights, "features", "leaf", [0.0] * len(trees))
    features = model.graph.input[0].type.tensor_type.shape.dim[1].dim_value
    return _serialise([node], [], features, {"leaf": len(trees)})


def _leaf_numbers(trees: Sequence[Tree]) -> list[tuple[int, int, int, float]]:
    return [
        (t, int(position), t, float(tree.leaf[position]))
        for t, tree in enumerate(trees)
        for position in tree.leaves
    ]


def _check_columns(part: Part, features: int, where: str) -> None:
    if isinstance(part, Linear):
        widths = {len(part.centre), len(part.scale), len(part.fill), len(part.weight)}
        if widths != {features}:
            raise ModelError(f"{where}: a linear part of {widths} columns among {features}")
        return
    used = [tree.feature[tree.splits] for tree in part.trees]
    highest = int(np.concatenate(used).max(initial=LEAF)) if used else LEAF
    if highest >= features:
        raise ModelError(f"{where}: a tree splits column {highest} of {features}")


def _serialise(
    nodes: list[NodeProto], constants: list[TensorProto], features: int, outputs: dict[str, int]
) -> bytes:
    graph = helper.make_graph(
        nodes,
        "foreshock",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", features])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", width])
            for name, width in outputs.items()
        ],
        constants,
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
