"""How a sum of trees got better from tree to tree, read off its leaves after the fit."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from foreshock.models.family import Fitted
from foreshock.models.parts import TreeSum

ROWS: Final = 5_000  # an even share of more: a curve, not a verdict


def loss_by_round(
    fitted: Fitted, X: NDArray[np.float32], label: NDArray[np.int8]
) -> NDArray[np.float64] | None:
    """Log loss of 1 / (1 + exp(−score)) after the first tree, the second, … (T,); None of a family
    that has no trees, and where no label is known.

    X       float32 (n, k); of more than ROWS rows an even share is looked at
    label   int8 (n,) in {-1, 0, 1}; rows of -1 are left out

    The scores are those before calibration: the level says little of focal loss and balanced
    classes, but where the curve of rows that were not trained on turns up, the trees are too many.
    """
    known = np.flatnonzero(label >= 0)
    if not isinstance(fitted.part, TreeSum) or not len(known):
        return None
    rows = known[np.linspace(0, len(known) - 1, min(ROWS, len(known))).astype(np.int64)]
    leaves = fitted.leaves(X[rows])
    if leaves is None:
        return None
    score = np.full(len(rows), fitted.part.initial)
    sign = np.where(label[rows] == 1, -1.0, 1.0)
    out = np.empty(len(fitted.part.trees))
    for number, tree in enumerate(fitted.part.trees):
        value = np.zeros(int(tree.leaf.max()) + 1)
        value[tree.leaf[tree.leaves]] = tree.value[tree.leaves]
        score += value[leaves[:, number]]
        out[number] = np.logaddexp(0.0, sign * score).mean()
    return out
