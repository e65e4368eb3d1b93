"""A threshold on signed order flow: the humblest baseline, which learns nothing but a scale.

Who took is known on the tape, and in candles that carry the takers' volume. Candles that do not
leave the tick rule (Lee and Ready 1991, of trades; here of whole candles): a candle that closed
above the one before counts as bought, one that closed below as sold. That is `obv_change_20`, in
[-1, 1] as the imbalance is, and the last choice.
"""

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
            "obv_change_20",
        ),
        min_length=1,
        description="The first of these features that the training rows know and that moves in "
        "them is the score: of the tape, else the takers' of bars, else bars signed by their move.",
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
        """The scaled column. Raises DatasetError where no column tells of any flow, too."""
        y, _, known = refuse_one(recipe, X, label, weights, feature_names)
        names = list(feature_names)
        for name in recipe.columns:
            if name not in names:
                continue
            at = names.index(name)
            scaling = fit_scaling(X[known, at][:, None])
            if scaling.useful[0]:
                break
        else:
            raise DatasetError(f"order_flow needs one of {list(recipe.columns)}: no flow is known")
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
