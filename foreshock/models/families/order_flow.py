"""A threshold on signed order flow: the humblest baseline, which learns nothing but a scale."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from foreshock.errors import DatasetError
from foreshock.models.boosted import refuse_one
from foreshock.models.families.logistic import LinearFit
from foreshock.models.parts import Linear
from foreshock.models.preparation import fit_scaling


class OrderFlowSettings(BaseModel):
    """Which flow is looked at."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["order_flow"] = Field(default="order_flow", description="The family's name.")
    columns: tuple[str, ...] = Field(
        default=(
            "flow_imbalance_60s",
            "flow_imbalance_10s",
            "flow_imbalance_5m",
            "taker_buy_share_5m",
            "taker_buy_share_60s",
            "taker_buy_share_1h",
        ),
        min_length=1,
        description="The first of these features that the dataset has is the score: of the tape, "
        "else of bars.",
    )
    limit: float = Field(
        default=8.0, gt=0, description="The scaled score is clipped at plus and minus this."
    )
    min_rows: int = Field(
        default=500, ge=2, description="Fewer known rows at a horizon refuse the training."
    )
    min_positives: int = Field(
        default=20,
        ge=1,
        description="Fewer surges, or fewer others, at a horizon refuse the training.",
    )


class OrderFlow:
    """`foreshock.models.family.Family`."""

    kind = "order_flow"
    settings = OrderFlowSettings

    @staticmethod
    def fit(
        recipe: OrderFlowSettings,
        X: NDArray[np.float32],
        label: NDArray[np.int8],
        weights: NDArray[np.float32] | None,
        feature_names: Sequence[str],
        binned: Any = None,
    ) -> LinearFit:
        """The scaled column. Raises DatasetError where the dataset has none of them, too."""
        y, _, known = refuse_one(recipe, X, label, weights, feature_names)
        found = [name for name in recipe.columns if name in feature_names]
        if not found:
            raise DatasetError(f"order_flow needs one of {list(recipe.columns)}: no flow is known")
        at = list(feature_names).index(found[0])
        scaling = fit_scaling(X[known][:, [at]])
        k = X.shape[1]
        parts = {
            name: np.full(k, 1.0 if name == "scale" else 0.0, np.float32)
            for name in ("centre", "scale", "fill", "weight")
        }
        parts["centre"][at], parts["fill"][at] = scaling.centre[0], scaling.fill[0]
        parts["scale"][at], parts["weight"][at] = scaling.scale[0], 1.0
        part = Linear(**parts, intercept=0.0, limit=recipe.limit)
        return LinearFit(part, float(y.mean()), "order_flow")


FAMILY = OrderFlow()
