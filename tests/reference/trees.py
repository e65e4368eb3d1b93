"""A walk down LightGBM's own dump, in Python and float64, with its rules for missing values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any


def leaf(node: dict[str, Any], row: Sequence[float]) -> int:
    """Number of the leaf that a row falls into."""
    while "split_feature" in node:
        x = float(row[node["split_feature"]])
        if abs(x) <= 1.00000001800250948e-35:
            x = 0.0
        if math.isnan(x) and node["missing_type"] == "NaN":
            left = node["default_left"]
        else:
            x = 0.0 if math.isnan(x) else x
            left = x <= node["threshold"] or node["threshold"] >= 1e300
        node = node["left_child"] if left else node["right_child"]
    return int(node.get("leaf_index", 0))
