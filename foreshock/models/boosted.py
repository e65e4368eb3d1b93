"""LightGBM, one binary ensemble per horizon, with whatever must not be trained on refused first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import lightgbm as lgb
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from foreshock.errors import DatasetError
from foreshock.models import focal
from foreshock.models.parts import TreeSum
from foreshock.models.preparation import strongest
from foreshock.models.trees import flatten


class BoostedSettings(BaseModel):
    """How the trees are grown. The same settings, data and build give the same bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["boosted"] = Field(default="boosted", description="The family's name.")
    objective: Literal["binary", "focal"] = Field(
        default="binary",
        description="Log loss, or focal loss, which looks harder at rows that are still wrong. "
        "Both are calibrated afterwards.",
    )
    focal_gamma: float = Field(default=2.0, ge=0, description="Focus of the focal loss; 0 is none.")
    focal_alpha: float = Field(
        default=0.5,
        gt=0,
        lt=1,
        description="Weight of surges in the focal loss; ½ weighs both alike.",
    )
    class_weight: Literal["none", "balanced"] = Field(
        default="none",
        description="Whether surges weigh as much as all others together; undone by calibration.",
    )
    columns: int = Field(
        default=0,
        ge=0,
        description="Only so many columns with the largest correlation may be split on; 0 is all.",
    )
    trees: int = Field(default=120, ge=1, le=5000, description="Trees per horizon.")
    leaves: int = Field(default=15, ge=2, le=1024, description="Leaves per tree at most.")
    learning_rate: float = Field(default=0.05, gt=0, le=1, description="Shrinkage per tree.")
    min_leaf_rows: int = Field(default=50, ge=1, description="Rows per leaf at least.")
    min_gain: float = Field(default=0.0, ge=0, description="Gain that a split must bring at least.")
    feature_share: float = Field(
        default=0.8, gt=0, le=1, description="Share of columns drawn per tree."
    )
    row_share: float = Field(default=0.8, gt=0, le=1, description="Share of rows drawn per tree.")
    l2: float = Field(default=1.0, ge=0, description="L2 penalty on leaf values.")
    seed: int = Field(default=7, ge=0, description="Seed of every draw.")
    threads: int = Field(
        default=1,
        ge=1,
        description="Threads of one fit; explicit, because sums depend on their number.",
    )
    min_rows: int = Field(
        default=500, ge=2, description="Fewer known rows at a horizon refuse the training."
    )
    min_positives: int = Field(
        default=20,
        ge=1,
        description="Fewer surges, or fewer others, at a horizon refuse the training.",
    )

    def lightgbm(self) -> dict[str, Any]:
        """The parameters in LightGBM's words. `boost_from_average` is off: the initial score is
        ours, because LightGBM drops a custom one from its predictions."""
        return {
            "objective": "binary",
            "boost_from_average": False,
            "num_leaves": self.leaves,
            "learning_rate": self.learning_rate,
            "min_data_in_leaf": self.min_leaf_rows,
            "min_gain_to_split": self.min_gain,
            "feature_fraction": self.feature_share,
            "bagging_fraction": self.row_share,
            "bagging_freq": 1 if self.row_share < 1 else 0,
            "lambda_l2": self.l2,
            "seed": self.seed,
            "num_threads": self.threads,
            "deterministic": True,
            "force_row_wise": True,
            "zero_as_missing": False,
            "verbosity": -1,
        }


@dataclass(frozen=True, slots=True)
class Boosted:
    """One horizon; `foreshock.models.family.Fitted`."""

    booster: lgb.Booster
    initial: float
    base_rate: float
    kind: str = "boosted"

    @property
    def part(self) -> TreeSum:
        """Its trees and initial score."""
        return TreeSum(tuple(flatten(self.booster)), self.initial)

    def raw_score(self, X: NDArray[np.float32]) -> NDArray[np.float64]:
        """Log-odds-like scores (n,), initial score added; not probabilities."""
        found = self.booster.predict(X, raw_score=True, num_threads=1)
        return np.asarray(found, np.float64) + self.initial

    def importance(self, feature_names: Sequence[str]) -> dict[str, float]:
        """Gain of the splits by feature."""
        gains = self.booster.feature_importance("gain")
        return dict(zip(self.booster.feature_name(), gains.tolist(), strict=True))

    def leaves(self, X: NDArray[np.float32]) -> NDArray[np.int64]:
        """LightGBM's numbers of the leaves (n, T)."""
        found = self.booster.predict(X, pred_leaf=True, num_threads=1)
        return np.asarray(found).astype(np.int64).reshape(len(X), -1)


@dataclass(frozen=True, slots=True)
class Binned:
    """Training rows of one horizon in LightGBM's bins, for any number of fits whose recipes name
    the same number of `columns`."""

    data: lgb.Dataset
    bytes: int
    columns: int = 0


def bin_rows(
    X: NDArray[np.float32],
    label: NDArray[np.int8],
    feature_names: Sequence[str],
    threads: int = 1,
    columns: int = 0,
) -> Binned:
    """Bin the rows (n, k) whose label (n,) is known. A fit on bins is a fit on the rows, to the
    byte.

    columns   so many of the largest |correlation| are kept, chosen by these rows; 0 is all
    """
    known = np.flatnonzero(label >= 0)
    rows = X[known]
    if 0 < columns < X.shape[1]:
        # A column that does not move is never drawn nor split, and keeps its number.
        rows[:, np.setdiff1d(np.arange(X.shape[1]), strongest(rows, label[known], columns))] = 0.0
    data = lgb.Dataset(
        rows,
        label=label[known].astype(np.float64),
        feature_name=list(feature_names),
        params={"verbosity": -1, "num_threads": threads, "feature_pre_filter": False},
    ).construct()
    return Binned(data, X.shape[1] * len(known), columns)


def fit_one(
    recipe: BoostedSettings,
    X: NDArray[np.float32],
    label: NDArray[np.int8],
    weights: NDArray[np.float32] | None,
    feature_names: Sequence[str],
    binned: Binned | None = None,
) -> Boosted:
    """Fit one horizon on vectors (n, k) and labels (n,) in {-1, 0, 1}; as `family.fit_one`."""
    y, w, _ = refuse_one(recipe, X, label, weights, feature_names)
    w = balanced(y, w, recipe.class_weight)
    gamma, alpha = _focus(recipe)
    initial = focal.initial_score(y, w, gamma, alpha)
    params = recipe.lightgbm()
    if recipe.objective == "focal":
        params["objective"] = _focal_objective(recipe, y, w)
    shared = binned
    if shared is None or shared.columns != recipe.columns:
        shared = bin_rows(X, label, feature_names, recipe.threads, recipe.columns)
    # What differs between recipes of the same bins is set anew by each.
    shared.data.set_weight(w)
    shared.data.set_init_score(np.full(len(y), initial))
    booster = lgb.train(params, shared.data, num_boost_round=recipe.trees)
    return Boosted(booster, initial, float(y.mean()))


class Limits(Protocol):
    """How little data refuses a training."""

    @property
    def min_rows(self) -> int:
        """Known rows at least."""
        ...

    @property
    def min_positives(self) -> int:
        """Surges, and others, at least."""
        ...


def refuse_one(
    limits: Limits,
    X: NDArray[np.float32],
    label: NDArray[np.int8],
    weights: NDArray[np.float32] | None,
    feature_names: Sequence[str],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """(labels, weights of mean 1, row numbers) of the rows of one horizon whose label is known.
    Raises DatasetError as `refuse`."""
    refuse(X, label[:, None], limits, feature_names, weights)
    known = np.flatnonzero(label >= 0).astype(np.int64)
    y = label[known].astype(np.float64)
    w = np.ones(len(known)) if weights is None else weights[known].astype(np.float64)
    # So that penalties and least sums mean the same whatever the weights.
    return y, w / w.mean(), known


def balanced(y: NDArray[np.float64], w: NDArray[np.float64], how: str) -> NDArray[np.float64]:
    """The weights with both classes weighing the same together, mean 1 kept; as they are where
    `how` is "none"."""
    if how == "none":
        return w
    positive = float(w[y > 0].sum())
    scale = np.where(y > 0, w.sum() / 2.0 / positive, w.sum() / 2.0 / (float(w.sum()) - positive))
    out: NDArray[np.float64] = w * scale
    return out


def refuse(
    X: NDArray[np.float32],
    labels: NDArray[np.int8],
    settings: Limits,
    feature_names: Sequence[str],
    weights: NDArray[np.float32] | None = None,
) -> None:
    """Raises DatasetError, with the reason, on data that must not be trained on."""
    if X.ndim != 2 or X.dtype != np.float32 or X.shape[1] != len(feature_names):
        raise DatasetError(f"X is {X.dtype} {X.shape}, expected float32 (n, {len(feature_names)})")
    if labels.ndim != 2 or len(labels) != len(X):
        raise DatasetError(f"labels has shape {labels.shape} for {len(X)} rows")
    if labels.dtype.kind == "f" and np.isnan(labels).any():
        raise DatasetError("a label is NaN; censored labels are -1")
    if not np.isin(labels, (-1, 0, 1)).all():
        raise DatasetError("labels holds something else than -1, 0 and 1")
    if np.isinf(X).any():
        column = feature_names[int(np.argwhere(np.isinf(X))[0][1])]
        raise DatasetError(f"feature {column} is infinite")
    if weights is not None and (weights.shape != (len(X),) or not (weights >= 0).all()):
        raise DatasetError("weights must be (n,), not NaN and not below zero")
    for h in range(labels.shape[1]):
        known = labels[:, h] >= 0
        rows, positives = int(known.sum()), int((labels[:, h] == 1).sum())
        if rows < settings.min_rows:
            raise DatasetError(f"horizon {h}: too few rows, {rows} < {settings.min_rows}")
        if positives in (0, rows):
            raise DatasetError(f"horizon {h}: one class only, {positives} surges in {rows} rows")
        if min(positives, rows - positives) < settings.min_positives:
            raise DatasetError(
                f"horizon {h}: too few of one class, {positives} surges in {rows} rows, "
                f"at least {settings.min_positives} of each are needed"
            )
        if weights is not None and not all(weights[labels[:, h] == y].any() for y in (0, 1)):
            raise DatasetError(f"horizon {h}: the rows of one class weigh nothing")
        if all(_constant(X[known, column]) for column in range(X.shape[1])):
            raise DatasetError(f"horizon {h}: every feature is constant")


def _constant(column: NDArray[np.float32]) -> bool:
    """Whether the column says nothing: one value throughout, or NaN throughout."""
    missing = np.isnan(column)
    if missing.any():
        return bool(missing.all())
    return bool((column == column[0]).all())


def _focus(settings: BoostedSettings) -> tuple[float, float]:
    """(γ, α); γ 0 and α ½ make the focal loss the log loss, up to a factor."""
    if settings.objective == "binary":
        return 0.0, 0.5
    return settings.focal_gamma, settings.focal_alpha


def _focal_objective(
    settings: BoostedSettings, y: NDArray[np.float64], w: NDArray[np.float64]
) -> Callable[[NDArray[np.float64], lgb.Dataset], tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """LightGBM does not weigh a custom objective's terms, and forgets weights that are all one."""

    def objective(
        raw: NDArray[np.float64], _: lgb.Dataset
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        slope, curve = focal.gradient_hessian(
            np.asarray(raw, np.float64), y, settings.focal_gamma, settings.focal_alpha
        )
        return slope * w, curve * w

    return objective
