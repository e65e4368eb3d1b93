"""What a fitted model is made of, one part a horizon: all that the exporter understands."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from foreshock.models.trees import Tree


@dataclass(frozen=True, slots=True)
class TreeSum:
    """initial + Σ of the leaf values that the trees choose."""

    trees: tuple[Tree, ...]
    initial: float


@dataclass(frozen=True, slots=True)
class Linear:
    """A weighted sum of k columns, imputed, scaled and clipped:

        raw = intercept + Σ_j weight_j · clip((x_j − centre_j) / scale_j, −limit, limit)

    where a missing x_j (NaN) is read as fill_j.

    centre, scale, fill, weight   float32 (k,), all finite, scale above zero
    intercept, limit              limit above zero
    """

    centre: NDArray[np.float32]
    scale: NDArray[np.float32]
    fill: NDArray[np.float32]
    weight: NDArray[np.float32]
    intercept: float
    limit: float


Part = TreeSum | Linear
