"""How large the move will be, not whether: regressions on what came, and bands of its quantiles.

Their outputs stand beside the probabilities in the same graph (`models.onnx.build_graph`, `extra`).
They are not calibrated and decide nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import lightgbm as lgb
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from foreshock.errors import DatasetError
from foreshock.models.boosted import Boosted


class MagnitudeSettings(BaseModel):
    """What is regressed and how the trees are grown."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    objective: Literal["mean", "quantile"] = Field(
        default="mean", description="The mean of the target (squared error), or a quantile of it."
    )
    level: float = Field(
        default=0.5, gt=0, lt=1, description="Which quantile, where one is asked for."
    )
    trees: int = Field(default=120, ge=1, le=5000, description="Trees of the regression.")
    leaves: int = Field(default=15, ge=2, le=1024, description="Leaves per tree at most.")
    learning_rate: float = Field(default=0.05, gt=0, le=1, description="Shrinkage per tree.")
    min_leaf_rows: int = Field(default=50, ge=1, description="Rows per leaf at least.")
    l2: float = Field(default=1.0, ge=0, description="L2 penalty on leaf values.")
    seed: int = Field(default=7, ge=0, description="Seed of every draw.")
    threads: int = Field(default=1, ge=1, description="Threads of one fit.")
    min_rows: int = Field(
        default=500, ge=2, description="Fewer rows with a known target refuse the training."
    )

    def lightgbm(self) -> dict[str, Any]:
        """The parameters in LightGBM's words."""
        of_loss = (
            {"objective": "regression"}
            if self.objective == "mean"
            else {"objective": "quantile", "alpha": self.level}
        )
        return {
            **of_loss,
            "boost_from_average": False,
            "num_leaves": self.leaves,
            "learning_rate": self.learning_rate,
            "min_data_in_leaf": self.min_leaf_rows,
            "lambda_l2": self.l2,
            "seed": self.seed,
            "num_threads": self.threads,
            "deterministic": True,
            "force_row_wise": True,
            "zero_as_missing": False,
            "verbosity": -1,
        }


def fit_magnitude(
    settings: MagnitudeSettings,
    X: NDArray[np.float32],
    target: NDArray[np.float32],
    feature_names: Sequence[str],
) -> Boosted:
    """Fit one regression.

    X        float32 (n, k), NaN where a feature was not warm
    target   float32 (n,), for example `outcome_bps`; NaN where it is not known: left out

    Raises DatasetError, before anything is fitted, on an infinite value, too few known targets, and
    a target that is the same throughout.
    """
    if X.ndim != 2 or X.shape[1] != len(feature_names) or target.shape != (len(X),):
        raise DatasetError(f"X is {X.shape}, the target {target.shape}, {len(feature_names)} names")
    if np.isinf(X).any() or np.isinf(target).any():
        raise DatasetError("a feature or the target is infinite")
    known = np.flatnonzero(np.isfinite(target))
    if len(known) < settings.min_rows:
        raise DatasetError(f"too few rows with a known target, {len(known)} < {settings.min_rows}")
    y = target[known].astype(np.float64)
    if y.min() == y.max():
        raise DatasetError("the target is the same throughout: there is nothing to regress")
    initial = float(y.mean() if settings.objective == "mean" else np.quantile(y, settings.level))
    data = lgb.Dataset(
        X[known],
        label=y,
        init_score=np.full(len(y), initial),
        feature_name=list(feature_names),
        params={"verbosity": -1, "num_threads": settings.threads},
    )
    booster = lgb.train(settings.lightgbm(), data, num_boost_round=settings.trees)
    return Boosted(booster, initial, float("nan"), settings.objective)
