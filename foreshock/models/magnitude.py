"""How large the move will be, not whether: regressions on what came, and bands of its quantiles.

Their outputs stand beside the probabilities in the same graph (`models.onnx.build_graph`, `extra`).
They are no probabilities and decide nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import lightgbm as lgb
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from foreshock.errors import DatasetError
from foreshock.models.boosted import Boosted
from foreshock.models.outlook import HIGH, LOW, OutlookSettings, RegressionTrees


class MagnitudeSettings(RegressionTrees):
    """What is regressed and how the trees are grown."""

    objective: Literal["mean", "quantile"] = Field(
        default="mean", description="The mean of the target (squared error), or a quantile of it."
    )
    level: float = Field(
        default=0.5, gt=0, lt=1, description="Which quantile, where one is asked for."
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


def fit_outlook(
    settings: OutlookSettings,
    X: NDArray[np.float32],
    outcome_bps: NDArray[np.float32],
    feature_names: Sequence[str],
) -> dict[str, Boosted]:
    """All that `settings` asks to be said of one horizon's outcome, by output.

    X             float32 (n, k), rows of the training part
    outcome_bps   float32 (n,), NaN where it is not known: left out

    The constants that the regressions have to beat are their initial scores. Raises DatasetError as
    `fit_magnitude`, before anything is fitted."""
    grown = settings.model_dump(include=set(RegressionTrees.model_fields))
    return {
        name: fit_magnitude(
            MagnitudeSettings(**grown)
            if level is None
            else MagnitudeSettings(**grown, objective="quantile", level=level),
            X,
            outcome_bps,
            feature_names,
        )
        for name, level in settings.outputs.items()
    }


def widened(fits: dict[str, Boosted], margin_bps: float) -> dict[str, Boosted]:
    """The same with the band moved apart by `margin_bps` on either side (below zero: together).
    The margin is part of the initial scores, so that the graph itself holds it."""
    low, high = fits[LOW], fits[HIGH]
    return {
        **fits,
        LOW: replace(low, initial=low.initial - margin_bps),
        HIGH: replace(high, initial=high.initial + margin_bps),
    }
