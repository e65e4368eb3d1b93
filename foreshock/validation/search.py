"""How settings are searched, as data: what may vary, how many are tried, when one is given up.

A *recipe* is what a model is fitted by (`models.family`). A sweep tries the base recipe, the
baselines, and then recipes suggested in batches, for every *scope*: all symbols together, groups of
like liquidity, single symbols. Nothing here draws or fits: that is `pipelines.suggest`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

ScopeKind = Literal["pooled", "group", "symbol"]
POOLED: Final = "pooled"
Choice = bool | int | float | str


class Range(BaseModel):
    """What one field of a recipe may be: one of `choices`, or anything from `low` to `high`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    choices: tuple[Choice, ...] = Field(default=(), description="The values, where they are few.")
    low: float | None = Field(default=None, description="Least value, itself included.")
    high: float | None = Field(default=None, description="Greatest value, itself included.")
    log: bool = Field(default=False, description="Whether it is drawn evenly in its logarithm.")
    whole: bool = Field(default=False, description="Whether only whole numbers are drawn.")

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.choices and (self.low is not None or self.high is not None):
            raise ValueError("a range has choices, or low and high, not both")
        if not self.choices:
            if self.low is None or self.high is None or not self.low <= self.high:
                raise ValueError("a range needs choices, or low and high with low ≤ high")
            if self.log and self.low <= 0:
                raise ValueError(f"low = {self.low:g}: a logarithm needs it above 0")
        return self

    def holds(self, value: Any) -> bool:
        """Whether a draw could give `value`."""
        if self.choices:
            return value in self.choices
        if self.low is None or self.high is None or isinstance(value, (bool, str)):
            return False
        return self.low <= value <= self.high and (not self.whole or value == int(value))


SPACE: Final[dict[str, Range]] = {
    "trees": Range(choices=(60, 120, 200)),
    "leaves": Range(choices=(7, 15, 31)),
    "learning_rate": Range(low=0.02, high=0.15, log=True),
    "min_leaf_rows": Range(low=20, high=200, log=True, whole=True),
    "feature_share": Range(choices=(0.5, 0.8, 1.0)),
    "l2": Range(low=0.1, high=10.0, log=True),
    "objective": Range(choices=("binary", "focal")),
}


class SearchSettings(BaseModel):
    """What is tried, and when a trial is given up."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    space: dict[str, Range] = Field(
        default=SPACE,
        description="Which fields of the base recipe vary, and within what: choices, or low and "
        "high, drawn in the logarithm with `log`, whole numbers with `whole`.",
    )
    baselines: tuple[str, ...] = Field(
        default=(),
        description="Kinds of models that are tried as they are, beside the trials of the search: "
        "logistic, order_flow. They compete, and count as trials, like any other.",
    )
    batch: int = Field(
        default=4,
        ge=1,
        description="Trials that are suggested together and told back together, in their order, so "
        "that the same is tried for any number of workers. Smaller learns sooner, larger keeps "
        "more workers busy.",
    )
    random_trials: int = Field(
        default=6, ge=1, description="Trials drawn evenly before the search follows what it saw."
    )
    prune: bool = Field(
        default=True,
        description="Whether a batch is halved between folds: the better part of it goes on, the "
        "rest keeps the folds it has and is out of the race.",
    )
    first_folds: int = Field(
        default=2, ge=1, description="Folds that every trial is given before the first halving."
    )
    keep: float = Field(
        default=0.5, gt=0, le=1, description="Share of a batch that goes on at each halving."
    )
    scopes: tuple[ScopeKind, ...] = Field(
        default=(POOLED,),
        min_length=1,
        description="Which models compete: one pooled over all symbols, one for each group of like "
        "liquidity, one for each symbol.",
    )
    groups: dict[str, tuple[str, ...]] = Field(
        default={},
        description="Symbols of each liquidity group; without any, three groups of like size are "
        "made by `liquidity`, measured on the first fold's training part.",
    )
    liquidity: tuple[str, ...] = Field(
        default=("quote_volume*", "turnover*", "volume_rank", "trade_intensity_*"),
        description="Features that tell how liquid a symbol is, the first that the dataset has; "
        "where it has none, a smaller bill tells it.",
    )

    def rungs(self, folds: int) -> list[tuple[int, ...]]:
        """The folds of each stage, between which a batch is halved: `first_folds`, then as many as
        there were, and so on. One stage where nothing is pruned."""
        if not self.prune:
            return [tuple(range(folds))]
        out, done = [], 0
        while done < folds:
            more = min(done or self.first_folds, folds - done)
            out.append(tuple(range(done, done + more)))
            done += more
        return out

    def survivors(self, skills: Sequence[float]) -> list[int]:
        """Which of a batch go on, in their order: the better `keep` share, at least one, the
        earlier one on a tie; none that has no skill to show (NaN)."""
        known = [i for i, skill in enumerate(skills) if math.isfinite(skill)]
        count = max(1, math.ceil(len(skills) * self.keep))
        return sorted(sorted(known, key=lambda i: (-skills[i], i))[:count])
