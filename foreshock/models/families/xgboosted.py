"""XGBoost's boosted trees, one binary ensemble a horizon."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from foreshock.models.xgboosted import XGBoostedSettings, fit_one

if TYPE_CHECKING:
    from foreshock.models.xgboosted import XGBoosted


class XGBoostedFamily:
    """`foreshock.models.family.Family`."""

    kind = "xgboosted"
    settings = XGBoostedSettings

    @staticmethod
    def fit(
        recipe: XGBoostedSettings,
        X: NDArray[np.float32],
        label: NDArray[np.int8],
        weights: NDArray[np.float32] | None,
        feature_names: Sequence[str],
        binned: Any = None,
    ) -> XGBoosted:
        """As `foreshock.models.xgboosted.fit_one`; nothing is shared between fits."""
        return fit_one(recipe, X, label, weights, feature_names)


FAMILY = XGBoostedFamily()
