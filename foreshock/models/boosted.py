"""LightGBM, one binary ensemble per horizon, with whatever must not be trained on refused first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import lightgbm as lgb
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from foreshock.errors import DatasetError
from foreshock.models import focal


class BoostedSettings(BaseModel):
    """How the trees are grown. The same settings, data and build give the same bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

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
class BoostedModel:
    """H boosters with their initial scores; the trainer's view, not the model of record."""

    boosters: tuple[lgb.Booster, ...]
    initial_scores: tuple[float, ...]
    feature_names: tuple[str, ...]
    base_rates: tuple[float, ...]  # shares of surges, not weighted
    settings: BoostedSettings

    def raw_score(self, X: NDArray[np.float32]) -> NDArray[np.float64]:
        """Log-odds-like scores (n, H), initial scores added; not probabilities."""
        columns = [
            np.asarray(booster.predict(X, raw_score=True, num_threads=1), np.float64) + initial
            for booster, initial in zip(self.boosters, self.initial_scores, strict=True)
        ]
        return np.stack(columns, axis=1)


def fit(
    X: NDArray[np.float32],
    labels: NDArray[np.int8],
    settings: BoostedSettings,
    feature_names: Sequence[str],
    weights: NDArray[np.float32] | None = None,
) -> BoostedModel:
    """Fit H ensembles on vectors (n, k) and labels (n, H) in {-1, 0, 1}; -1 rows are left out.

    Raises DatasetError, before anything is fitted, on: wrong shapes or types, NaN or unknown
    labels, infinite features, features that are all constant, too few rows, one class only, too few
    of one class. Next: export with `models.onnx`, calibrate on the exported graph's own scores.
    """
    refuse(X, labels, settings, feature_names, weights)
    boosters, initials, rates = [], [], []
    for h in range(labels.shape[1]):
        rows = np.flatnonzero(labels[:, h] >= 0)
        y = labels[rows, h].astype(np.float64)
        w = np.ones(len(rows)) if weights is None else weights[rows].astype(np.float64)
        w = w / w.mean()  # so that penalties and least sums mean the same whatever the weights
        gamma, alpha = _focus(settings)
        initial = focal.initial_score(y, w, gamma, alpha)
        params = settings.lightgbm()
        if settings.objective == "focal":
            params["objective"] = _focal_objective(settings, y, w)
        data = lgb.Dataset(
            X[rows],
            label=y,
            weight=w,
            init_score=np.full(len(rows), initial),
            feature_name=list(feature_names),
            params={"verbosity": -1, "num_threads": settings.threads},
        )
        boosters.append(lgb.train(params, data, num_boost_round=settings.trees))
        initials.append(initial)
        rates.append(float(y.mean()))
    return BoostedModel(
        tuple(boosters), tuple(initials), tuple(feature_names), tuple(rates), settings
    )


def refuse(
    X: NDArray[np.float32],
    labels: NDArray[np.int8],
    settings: BoostedSettings,
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
