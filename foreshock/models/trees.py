"""LightGBM's trees as flat arrays whose float32 comparisons decide as LightGBM's float64 ones do.

LightGBM sends a value x left where x ≤ t, with these rules (tree.h, `NumericalDecision`; predictor,
where |x| ≤ 1e-35 is dropped from the row and so read as 0):

1.  NaN, where the split saw no missing values in training (`missing_type` None): read as 0.
2.  NaN, where it saw some (`missing_type` NaN): to the default side.
3.  |x| ≤ 1e-35: read as 0. So a threshold within that range is moved to its edge, where one float32
    comparison decides the same.
4.  A threshold written as 1e300 stands for infinity ("not NaN"): +infinity goes left of it.
5.  Any other float32 x: x ≤ t is the same as x ≤ t rounded *down* to float32.

Splits on categories, zero as missing, and linear leaves are refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import lightgbm as lgb
import numpy as np
from numpy.typing import NDArray

from foreshock.errors import ModelError

ZERO: Final = np.float32(1e-35)  # LightGBM's kZeroThreshold
BEYOND: Final = 1e300  # how LightGBM writes an infinite threshold
LEAF: Final = -1


@dataclass(frozen=True, slots=True)
class Tree:
    """One tree of m nodes in depth-first order, root first; shape (m,) each.

    feature       int64, column compared, LEAF at leaves
    threshold     float32, left where x ≤ threshold
    left, right   int64, children's positions, LEAF at leaves
    nan_left      bool, whether NaN goes left
    leaf          int64, the trainer's number of the leaf, LEAF elsewhere
    value         float64, leaf value, 0 elsewhere
    """

    feature: NDArray[np.int64]
    threshold: NDArray[np.float32]
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    nan_left: NDArray[np.bool_]
    leaf: NDArray[np.int64]
    value: NDArray[np.float64]

    @property
    def leaves(self) -> NDArray[np.int64]:
        """Positions of the leaves."""
        return np.flatnonzero(self.feature == LEAF)

    @property
    def splits(self) -> NDArray[np.int64]:
        """Positions of the splits."""
        return np.flatnonzero(self.feature != LEAF)


def threshold_float32(t: float) -> np.float32:
    """The float32 threshold that decides every float32 x as LightGBM decides it with t."""
    if -float(ZERO) <= t < 0.0:
        return np.float32(np.nextafter(-ZERO, np.float32(-np.inf)))
    if 0.0 <= t < float(ZERO):
        return ZERO
    if t >= BEYOND:
        return np.float32(np.inf)
    with np.errstate(over="ignore"):
        down = np.float32(t)
    if float(down) > t:
        down = np.nextafter(down, np.float32(-np.inf))
    return np.float32(down)


def flatten(booster: lgb.Booster) -> list[Tree]:
    """The booster's trees. Raises ModelError on a split or leaf that a plain tree cannot hold."""
    return [_flatten(info["tree_structure"]) for info in booster.dump_model()["tree_info"]]


def _flatten(root: dict[str, Any]) -> Tree:
    nodes: list[tuple[int, float, bool, int, float]] = []
    children: dict[int, list[int]] = {}
    stack: list[tuple[dict[str, Any], int]] = [(root, -1)]
    while stack:
        node, parent = stack.pop()
        at = len(nodes)
        if parent >= 0:
            children.setdefault(parent, []).append(at)
        if "split_feature" not in node:
            if "leaf_const" in node or "leaf_coeff" in node:
                raise ModelError("a linear leaf cannot be exported")
            nodes.append((LEAF, 0.0, False, int(node.get("leaf_index", 0)), node["leaf_value"]))
            continue
        nodes.append((int(node["split_feature"]), *_split(node), LEAF, 0.0))
        stack.append((node["right_child"], at))
        stack.append((node["left_child"], at))
    left = [children[i][0] if i in children else LEAF for i in range(len(nodes))]
    right = [children[i][1] if i in children else LEAF for i in range(len(nodes))]
    feature, threshold, nan_left, leaf, value = zip(*nodes, strict=True)
    return Tree(
        np.array(feature, np.int64),
        np.array([threshold_float32(t) for t in threshold], np.float32),
        np.array(left, np.int64),
        np.array(right, np.int64),
        np.array(nan_left, np.bool_),
        np.array(leaf, np.int64),
        np.array(value, np.float64),
    )


def _split(node: dict[str, Any]) -> tuple[float, bool]:
    """(threshold, whether NaN goes left)."""
    if node["decision_type"] != "<=":
        raise ModelError(f"a split by {node['decision_type']!r} (categories) cannot be exported")
    threshold, missing = float(node["threshold"]), node["missing_type"]
    if missing == "None":
        return threshold, threshold >= 0.0  # NaN is read as 0
    if missing == "NaN":
        return threshold, bool(node["default_left"])
    raise ModelError(f"missing_type {missing!r} cannot be exported: train without zero_as_missing")
