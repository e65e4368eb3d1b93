"""XGBoost: one binary ensemble per horizon, and its trees in the form of all others.

XGBoost decides in float32, x < t, a missing value to the side that the split has learnt. For
float32 numbers x < t is the same as x ≤ t', t' being the float32 number before t, so no row changes
its leaf, infinities included. Its own scores are sums of float32 in the order of the trees, which a
certificate is told by `roundoff`.

Refused: splits on categories, several targets, other boosters than trees.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import numpy as np
import xgboost
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from foreshock.errors import ModelError
from foreshock.models import focal
from foreshock.models.boosted import refuse_one
from foreshock.models.parts import TreeSum
from foreshock.models.trees import LEAF, Tree

Rows = NDArray[np.float32]
Floats = NDArray[np.float64]
LOGISTIC: Final = frozenset({"binary:logistic", "binary:logitraw", "reg:logistic"})
IDENTITY: Final = frozenset({"reg:squarederror", "reg:absoluteerror", "reg:quantileerror"})
LARGEST: Final = np.finfo(np.float32).max


class XGBoostedSettings(BaseModel):
    """How XGBoost grows its trees. The same settings, data and build give the same trees."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["xgboosted"] = Field(default="xgboosted", description="The family's name.")
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
    min_leaf_hessian: float = Field(
        default=5.0,
        ge=0,
        description="Curvature of the loss that a leaf must hold at least: of log loss p(1 − p) a "
        "row, rows weighing 1 on average.",
    )
    min_gain: float = Field(default=0.0, ge=0, description="Gain that a split must bring at least.")
    feature_share: float = Field(
        default=0.8, gt=0, le=1, description="Share of columns drawn per tree."
    )
    row_share: float = Field(default=0.8, gt=0, le=1, description="Share of rows drawn per tree.")
    l2: float = Field(default=1.0, ge=0, description="L2 penalty on leaf values.")
    bins: int = Field(default=256, ge=2, le=65536, description="Histogram bins per column.")
    seed: int = Field(default=7, ge=0, description="Seed of every draw.")
    threads: int = Field(default=1, ge=1, description="Threads of one fit, or of one actor.")
    min_rows: int = Field(
        default=500, ge=2, description="Fewer known rows at a horizon refuse the training."
    )
    min_positives: int = Field(
        default=20,
        ge=1,
        description="Fewer surges, or fewer others, at a horizon refuse the training.",
    )

    @property
    def focus(self) -> tuple[float, float]:
        """(γ, α) of the loss; γ 0 and α ½ are the log loss, up to a factor."""
        return (0.0, 0.5) if self.objective == "binary" else (self.focal_gamma, self.focal_alpha)

    def xgboost(self, initial: float, mean_weight: float = 1.0) -> dict[str, Any]:
        """The parameters in XGBoost's words.

        initial       score that every row begins with
        mean_weight   of the rows as they are given: penalties are scaled by it, which is the same
                      as weights that are 1 on average
        """
        of_loss: dict[str, Any] = (
            {"objective": "binary:logistic", "base_score": 1.0 / (1.0 + float(np.exp(-initial)))}
            if self.objective == "binary"
            else {"objective": "reg:squarederror", "base_score": initial}  # replaced by our own
        )
        return {
            **of_loss,
            "tree_method": "hist",
            "grow_policy": "lossguide",
            "max_depth": 0,
            "max_leaves": self.leaves,
            "max_bin": self.bins,
            "eta": self.learning_rate,
            "min_child_weight": self.min_leaf_hessian * mean_weight,
            "gamma": self.min_gain * mean_weight,
            "colsample_bytree": self.feature_share,
            "subsample": self.row_share,
            "lambda": self.l2 * mean_weight,
            "alpha": 0.0,
            "seed": self.seed,
            "nthread": self.threads,
            "verbosity": 0,
        }

    def own_loss(self) -> FocalLoss | None:
        """What takes the place of XGBoost's own loss, if anything."""
        return None if self.objective == "binary" else FocalLoss(*self.focus)


@dataclass(frozen=True, slots=True)
class FocalLoss:
    """Gradient and Hessian for XGBoost, which does not weigh the terms of a loss not its own. A
    plain class, so that it can be sent to other processes."""

    gamma: float
    alpha: float

    def __call__(self, raw: NDArray[Any], data: xgboost.DMatrix) -> tuple[Floats, Floats]:
        y, weight = data.get_label().astype(np.float64), data.get_weight().astype(np.float64)
        slope, curve = focal.gradient_hessian(
            np.asarray(raw, np.float64), y, self.gamma, self.alpha
        )
        return (slope * weight, curve * weight) if len(weight) else (slope, curve)


@dataclass(frozen=True)
class XGBoosted:
    """One horizon; `foreshock.models.family.Fitted`."""

    booster: xgboost.Booster
    base_rate: float
    kind: str = "xgboosted"
    roundoff: float = 2.0**-24  # its scores are sums of float32
    part: TreeSum = field(init=False)

    def __post_init__(self) -> None:
        self.booster.set_param({"nthread": 1})
        object.__setattr__(self, "part", flatten(self.booster))

    def raw_score(self, X: Rows) -> Floats:
        """XGBoost's own scores (n,) of vectors (n, k), before any calibration."""
        found = self.booster.inplace_predict(
            X, predict_type="margin", missing=np.nan, validate_features=False
        )
        return np.asarray(found, np.float64)

    def importance(self, feature_names: Sequence[str]) -> dict[str, float]:
        """Gain of the splits by feature."""
        found = self.booster.get_score(importance_type="total_gain")
        return {name: float(found.get(name, 0.0)) for name in feature_names}  # type: ignore[arg-type]

    def leaves(self, X: Rows) -> NDArray[np.int64]:
        """XGBoost's numbers of the leaves (n, T). It takes no infinite number into a matrix: the
        largest finite ones stand in, which every split but one at them sends the same way."""
        data = xgboost.DMatrix(np.clip(X, -LARGEST, LARGEST), missing=np.nan, nthread=1)
        found = self.booster.predict(data, pred_leaf=True, validate_features=False)
        return np.asarray(found).astype(np.int64).reshape(len(X), -1)


def fit_one(
    settings: XGBoostedSettings,
    X: Rows,
    label: NDArray[np.int8],
    weights: NDArray[np.float32] | None,
    feature_names: Sequence[str],
) -> XGBoosted:
    """Fit one horizon on vectors (n, k) and labels (n,) in {-1, 0, 1}; -1 rows are left out.

    Raises DatasetError, before anything is fitted, on data that must not be trained on.
    """
    y, w, rows = refuse_one(settings, X, label, weights, feature_names)
    data = xgboost.DMatrix(
        X[rows], label=y, weight=w, missing=np.nan, feature_names=list(feature_names),
        nthread=settings.threads,
    )  # fmt: skip
    params = settings.xgboost(focal.initial_score(y, w, *settings.focus))
    loss: Callable[..., Any] | None = settings.own_loss()
    return XGBoosted(xgboost.train(params, data, settings.trees, obj=loss), float(y.mean()))


def flatten(booster: xgboost.Booster) -> TreeSum:
    """The booster's trees and its base score, as a sum of raw scores. Raises ModelError on what a
    plain sum of trees cannot hold."""
    learner = json.loads(bytes(booster.save_raw("json")))["learner"]
    kind, objective = learner["gradient_booster"]["name"], learner["objective"]["name"]
    if kind != "gbtree":
        raise ModelError(f"a booster of kind {kind!r} cannot be exported")
    head = learner["learner_model_param"]
    if int(head["num_class"]) > 1 or int(head.get("num_target", 1)) > 1:
        raise ModelError("several classes or targets cannot be exported")
    base = float(np.float32(head["base_score"]))
    if objective in LOGISTIC:
        base = float(-np.log(1.0 / base - 1.0))
    elif objective not in IDENTITY:
        raise ModelError(f"the base score of objective {objective!r} is not known")
    model = learner["gradient_booster"]["model"]
    return TreeSum(tuple(_flatten(tree) for tree in model["trees"]), base)


def threshold_float32(t: float) -> np.float32:
    """The float32 threshold t' for which x ≤ t' is x < t, for every float32 x. Raises ModelError
    where there is none."""
    given = np.float32(t)
    if np.isnan(given) or given == -np.inf:
        raise ModelError(f"no row is left of a split at {t}")
    with np.errstate(over="ignore", under="ignore"):
        return np.float32(np.nextafter(given, np.float32(-np.inf)))


def _flatten(tree: Mapping[str, Any]) -> Tree:
    """Depth first from the root: XGBoost's own order holds nodes that were pruned away."""
    if tree["categories_nodes"] or any(tree["split_type"]):
        raise ModelError("a split by categories cannot be exported")
    if int(tree["tree_param"]["size_leaf_vector"]) > 1:
        raise ModelError("a leaf of several values cannot be exported")
    order: list[int] = []
    stack = [0]
    while stack:
        node = stack.pop()
        order.append(node)
        if tree["left_children"][node] != LEAF:
            stack += [tree["right_children"][node], tree["left_children"][node]]
    place = {node: at for at, node in enumerate(order)} | {LEAF: LEAF}
    nodes = np.array(order, np.int64)
    condition = [tree["split_conditions"][node] for node in order]
    leaf = np.array(tree["left_children"], np.int64)[nodes] == LEAF
    return Tree(
        feature=np.where(leaf, LEAF, np.array(tree["split_indices"], np.int64)[nodes]),
        threshold=np.array(
            [
                0.0 if last else threshold_float32(t)
                for t, last in zip(condition, leaf, strict=True)
            ],
            np.float32,
        ),
        left=np.array([place[tree["left_children"][node]] for node in order], np.int64),
        right=np.array([place[tree["right_children"][node]] for node in order], np.int64),
        nan_left=~leaf & (np.array(tree["default_left"])[nodes] != 0),
        leaf=np.where(leaf, nodes, LEAF),
        value=np.where(leaf, np.array(condition, np.float32).astype(np.float64), 0.0),
    )
