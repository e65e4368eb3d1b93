"""Logistic regression on scaled, clipped columns: the baseline that boosted trees must beat."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from foreshock.models.boosted import balanced, refuse_one
from foreshock.models.parts import Linear
from foreshock.models.preparation import fit_scaling, strongest

Rows = NDArray[np.float32]
Floats = NDArray[np.float64]


class LogisticSettings(BaseModel):
    """How the regression is fitted. The same settings, data and build give the same bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["logistic"] = Field(default="logistic", description="The family's name.")
    l2: float = Field(
        default=100.0, gt=0, description="L2 penalty on the weights of columns of unit scale."
    )
    limit: float = Field(
        default=4.0, gt=0, description="Scaled columns are clipped at plus and minus this."
    )
    columns: int = Field(
        default=60,
        ge=0,
        description="So many columns with the largest correlation are used; 0 is all.",
    )
    class_weight: Literal["none", "balanced"] = Field(
        default="none", description="Whether surges weigh as much as all others together."
    )
    iterations: int = Field(default=300, ge=1, description="Steps of the solver at most.")
    min_rows: int = Field(
        default=500, ge=2, description="Fewer known rows at a horizon refuse the training."
    )
    min_positives: int = Field(
        default=20,
        ge=1,
        description="Fewer surges, or fewer others, at a horizon refuse the training.",
    )


@dataclass(frozen=True, slots=True)
class LinearFit:
    """A linear part and its exact scores; `foreshock.models.family.Fitted`."""

    part: Linear
    base_rate: float
    kind: str

    def raw_score(self, X: Rows) -> Floats:
        """Scores (n,) of vectors (n, k) in float64."""
        part = self.part
        used = np.flatnonzero(part.weight)
        given = X[:, used]
        filled = np.where(np.isnan(given), part.fill[used], given).astype(np.float64)
        z = (filled - part.centre[used].astype(np.float64)) / part.scale[used].astype(np.float64)
        clipped = np.clip(z, -part.limit, part.limit)
        out: Floats = part.intercept + (clipped * part.weight[used].astype(np.float64)).sum(axis=1)
        return out

    def importance(self, feature_names: Sequence[str]) -> dict[str, float]:
        """Size of each column's weight."""
        return dict(zip(feature_names, np.abs(self.part.weight).tolist(), strict=True))

    def leaves(self, X: Rows) -> None:
        """There are none."""
        return None


class Logistic:
    """`foreshock.models.family.Family`."""

    kind = "logistic"
    settings = LogisticSettings

    @staticmethod
    def fit(
        recipe: LogisticSettings,
        X: Rows,
        label: NDArray[np.int8],
        weights: NDArray[np.float32] | None,
        feature_names: Sequence[str],
        binned: Any = None,
    ) -> LinearFit:
        """Scale, clip and weigh columns; scaling and choice of columns from these rows alone."""
        y, w, known = refuse_one(recipe, X, label, weights, feature_names)
        k = X.shape[1]
        used = (
            strongest(X[known], label[known], recipe.columns)
            if recipe.columns
            else np.arange(k, dtype=np.int64)
        )
        scaling = fit_scaling(X[known][:, used])
        z = scaling.apply(X[known][:, used], recipe.limit)
        model = LogisticRegression(
            C=1.0 / recipe.l2, solver="lbfgs", max_iter=recipe.iterations, tol=1e-6
        )
        with warnings.catch_warnings():
            # Stopped early it is a little more regular, and the same every time.
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(z, y, sample_weight=balanced(y, w, recipe.class_weight))
        weight = np.where(scaling.useful, model.coef_[0], 0.0)
        parts = {
            name: np.full(k, 1.0 if name == "scale" else 0.0, np.float32)
            for name in ("centre", "scale", "fill", "weight")
        }
        for name, value in (
            ("centre", scaling.centre), ("scale", scaling.scale),
            ("fill", scaling.fill), ("weight", weight),
        ):  # fmt: skip
            parts[name][used] = value
        part = Linear(**parts, intercept=float(np.float32(model.intercept_[0])), limit=recipe.limit)
        return LinearFit(part, float(y.mean()), "logistic")


FAMILY = Logistic()
