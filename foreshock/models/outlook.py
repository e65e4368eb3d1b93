"""How far a move goes, beside whether it comes: what may stand in a graph next to probabilities.

    expected_bps          mean of the outcome, by squared error
    low_bps, high_bps     the outermost two quantiles, moved apart so that they hold a stated share
    q50_bps, q2_5_bps …   quantiles between them, or a single one

An output has a column a horizon, in bps from mid to mid as `outcome_bps` has it, costs not taken.
None of it decides anything. Settings and names only: what fits them is `models.magnitude`.
"""

from __future__ import annotations

from typing import Any, Final, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

EXPECTED: Final = "expected_bps"
LOW: Final = "low_bps"
HIGH: Final = "high_bps"
Number = TypeVar("Number", bound="np.floating[Any]")


class RegressionTrees(BaseModel):
    """How the trees of a regression are grown."""

    model_config = ConfigDict(frozen=True, extra="forbid")

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


class OutlookSettings(RegressionTrees):
    """What is said of the outcome's size. Nothing of it by default: a graph computes all that it
    holds whenever anything is asked of it."""

    mean: bool = Field(default=False, description="Whether the mean of the outcome is regressed.")
    quantiles: tuple[float, ...] = Field(
        default=(),
        description="Which quantiles of the outcome are regressed, ascending, between 0 and 1. Of "
        "two or more the first and the last are a band.",
    )
    conformal_share: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="The band is moved so that it holds this share of what comes, by the "
        "calibration part's rows; 0 leaves it as it was fitted.",
    )
    venn_abers: bool = Field(
        default=False,
        description="Whether the report says how far apart Venn–Abers probabilities lie on the "
        "test part. They are no part of the graph.",
    )

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        levels = self.quantiles
        if sorted(set(levels)) != list(levels) or not all(0.0 < level < 1.0 for level in levels):
            raise ValueError(f"quantiles ascend between 0 and 1, not {levels}")
        if self.conformal_share and len(levels) < 2:
            raise ValueError(
                f"a share of {self.conformal_share:g} needs a band of two quantiles, not {levels}"
            )
        return self

    @property
    def outputs(self) -> dict[str, float | None]:
        """The graph's further outputs, {name: level}, None the mean."""
        levels: dict[str, float | None] = {EXPECTED: None} if self.mean else {}
        band = len(self.quantiles) > 1
        for level in self.quantiles:
            if band and level in (self.quantiles[0], self.quantiles[-1]):
                levels[LOW if level == self.quantiles[0] else HIGH] = level
            else:
                levels[f"q{100 * level:g}_bps".replace(".", "_")] = level
        return levels

    @property
    def promised(self) -> float:
        """Share of outcomes that the band is to hold; 0 without a band."""
        if len(self.quantiles) < 2:
            return 0.0
        return self.conformal_share or self.quantiles[-1] - self.quantiles[0]


def arranged(
    low: NDArray[Number], high: NDArray[Number]
) -> tuple[NDArray[Number], NDArray[Number]]:
    """The band (n,), (n,) of outputs that may have crossed: regressed apart, the lower quantile of
    a row may come out above the higher. The two then change places, which never makes a band hold
    less than the empty one it was (Chernozhukov, Fernández-Val and Galichon 2010, "Quantile and
    probability curves without crossing")."""
    return np.minimum(low, high), np.maximum(low, high)
