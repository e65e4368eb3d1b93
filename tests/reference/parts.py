"""Parts evaluated at sight: Python loops over one row, float64."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from foreshock.models.parts import Linear, Part, TreeSum
from foreshock.models.trees import LEAF, Tree


def leaf_position(tree: Tree, row: np.ndarray) -> int:
    """Where the row ends up in a flat tree."""
    node = 0
    while tree.feature[node] != LEAF:
        x = row[tree.feature[node]]
        left = tree.nan_left[node] if math.isnan(x) else x <= tree.threshold[node]
        node = int(tree.left[node] if left else tree.right[node])
    return node


def value(part: Part, row: np.ndarray) -> float:
    """The raw score of one float32 row."""
    if isinstance(part, TreeSum):
        return sum(
            (float(t.value[leaf_position(t, row)]) for t in part.trees), start=float(part.initial)
        )
    total = part.intercept
    for x, c, s, f, w in zip(row, part.centre, part.scale, part.fill, part.weight, strict=True):
        z = ((float(f) if math.isnan(x) else float(x)) - float(c)) / float(s)
        total += float(w) * min(max(z, -part.limit), part.limit)
    return total


@dataclass(frozen=True)
class LinearFit:
    """A fitted horizon that is a weighted sum; `foreshock.models.certificate.Proven`."""

    part: Linear
    kind: str = "linear"

    def raw_score(self, X: np.ndarray) -> np.ndarray:
        """float64 (n,)."""
        p = self.part
        with np.errstate(over="ignore"):
            z = (np.where(np.isnan(X), p.fill, X).astype(float) - p.centre) / p.scale.astype(float)
        return p.intercept + np.clip(z, -p.limit, p.limit) @ p.weight.astype(float)

    def leaves(self, X: np.ndarray) -> None:
        """It has none."""
        return None


def make_linear(width: int, seed: int = 0) -> Linear:
    """A part with parameters of many sizes."""
    random = np.random.default_rng(seed)
    return Linear(
        centre=random.normal(0, 2, width).astype(np.float32),
        scale=np.exp(random.normal(0, 2, width)).astype(np.float32),
        fill=random.normal(0, 1, width).astype(np.float32),
        weight=random.normal(0, 0.5, width).astype(np.float32),
        intercept=float(random.normal()),
        limit=4.0,
    )
