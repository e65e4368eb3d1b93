"""What every model shows to the gate and to the doors: a card and one method, `score`."""

from __future__ import annotations

from typing import Any, Final, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from foreshock.errors import DomainError, ForeshockError, ModelError
from foreshock.features.vector import Layout

Tier = Literal["bars", "tape", "book"]
TIERS: Final[tuple[Tier, ...]] = ("bars", "tape", "book")  # each has what those before have
Source = Literal["simulation", "binance", "bybit", "okx"]
Verdict = Literal["", "promoted", "refused", "insufficient_sample"]


class Domain(BaseModel):
    """Where a model may speak; scored elsewhere the verdict is a refusal, never a number."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: Source = Field(description="Who made the frames: the simulated exchange or a venue.")
    market: str = Field(description="binance-spot or binance-usdm (foreshock.market.instruments).")
    tier: Tier = Field(description="Which inputs features need, or rows have: bars, tape or book.")

    def __str__(self) -> str:
        return f"{self.source}/{self.market}/{self.tier}"

    def admits(self, where: Domain) -> bool:
        """Whether a model of this domain may speak on rows of `where`: of the same source and
        market, with at least the inputs that it was trained on."""
        same = (self.source, self.market) == (where.source, where.market)
        return same and TIERS.index(self.tier) <= TIERS.index(where.tier)

    def require(self, asked: Domain) -> None:
        """Raises DomainError unless a model of this domain may speak on rows of `asked`."""
        if not self.admits(asked):
            raise DomainError(f"the model was made for {self}, not for {asked}")


class ModelCard(BaseModel):
    """What is known of one model; `card.json` in its artifact directory. H horizons, k features."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(description="Family of the model in the registry: one per domain.")
    version: str = Field(
        description="Semantic version; its build part is a digest of graph and way of judging."
    )
    domain: Domain = Field(description="Where the model may speak.")
    horizons_s: tuple[int, ...] = Field(description="H horizons, ascending, seconds.")
    feature_names: tuple[str, ...] = Field(description="k columns of a vector, in order.")
    required_features: tuple[str, ...] = Field(
        description="Features that must be warm before a vector may be scored."
    )
    layout_fingerprint: str = Field(description="Fingerprint of the feature layout trained on.")
    label_fingerprint: str = Field(description="Fingerprint of the surge definition trained on.")
    data_fingerprint: str = Field(description="Fingerprint of the dataset the model came from.")
    thresholds: tuple[float, ...] = Field(
        description="H probabilities from which the gate may speak, fitted on the graph's scores."
    )
    approved: tuple[bool, ...] = Field(
        description="H flags: whether the horizon passed the promotion rule on the test part. A "
        "horizon that did not pass must not give signals."
    )
    base_rates: tuple[float, ...] = Field(description="H shares of surges in the training part.")
    metrics: dict[str, dict[str, Any]] = Field(
        description="Measures on the test part with bounds, by horizon in seconds."
    )
    spans_ns: dict[str, tuple[int, int]] = Field(
        description="First t0 and last t1 of the train, calibration and test parts."
    )
    trials: int = Field(ge=1, description="How many settings were tried before this one.")
    settings: dict[str, Any] = Field(description="Settings of the trainer and the calibration.")
    promoted: bool = Field(description="Whether the promotion rule let it be champion.")
    reason: str = Field(description="Why it was promoted or not, in one sentence.")

    # What follows has defaults, so that cards of before still load.
    kind: str = Field(
        default="boosted", description="Family of the model, a name in foreshock.models.families."
    )
    scope: str = Field(
        default="pooled", description="Whom it was made for: pooled, group:NAME or symbol:NAME."
    )
    symbols: tuple[str, ...] = Field(
        default=(), description="Symbols that it was trained on; empty where that is not known."
    )
    trained_to_ns: int = Field(
        default=0,
        ge=0,
        description="Last moment whose rows or labels it has learned from; 0: not known.",
    )
    max_age_s: float = Field(
        default=0.0,
        ge=0,
        allow_inf_nan=False,
        description="From trained_to_ns on it may speak for so long; 0: it never expires.",
    )
    verdict: Verdict = Field(
        default="", description="The promotion gate's answer; empty where it was not asked."
    )
    promotion: tuple[dict[str, Any], ...] = Field(
        default=(), description="The gate's tests: name, outcome, value, bound, words and horizon."
    )
    recipe: dict[str, Any] = Field(
        default_factory=dict, description="Hyperparameters as the family's settings have them."
    )
    folds: tuple[dict[str, Any], ...] = Field(
        default=(), description="The fold table: figures by fold and horizon of the chosen recipe."
    )
    calibration: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="How scores became probabilities, by horizon in seconds."
    )
    costs: dict[str, Any] = Field(
        default_factory=dict, description="Cost assumptions under which it was judged."
    )
    cost_version: str = Field(default="", description="Fingerprint of the cost assumptions.")
    code_version: str = Field(
        default="", description="Version of foreshock that made the model, with its code's digest."
    )
    data_manifest: dict[str, Any] = Field(
        default_factory=dict, description="Manifest of the dataset that the model came from."
    )
    baselines: dict[str, dict[str, Any]] = Field(
        default_factory=dict,
        description="The same measures of honest baselines, by their kind and horizon in seconds.",
    )
    outlook: dict[str, Any] = Field(
        default_factory=dict,
        description="What the graph says beside probabilities: outputs with their quantiles (none: "
        "the mean), the share that the band is to hold, by how much it was moved for that, and the "
        "constants to beat; or why it was refused. Empty: nothing was asked for.",
    )

    @property
    def decision(self) -> str:
        """`verdict`; of a card from before the gate what `promoted` says."""
        return self.verdict or ("promoted" if self.promoted else "refused")

    @property
    def required(self) -> NDArray[np.bool_]:
        """bool (k,): columns that must be warm."""
        return np.isin(np.array(self.feature_names), np.array(self.required_features))

    def columns(self, layout: Layout) -> NDArray[np.int64]:
        """int64 (k,): where the model's features are in vectors of `layout`. Raises ModelError
        where one is missing there or is defined otherwise than it was trained on."""
        try:
            found = layout.only(self.feature_names)
        except ForeshockError as error:
            raise ModelError(f"model {self.version} cannot read these vectors: {error}") from error
        if found.fingerprint != self.layout_fingerprint:
            raise ModelError(
                f"model {self.version} was trained on layout {self.layout_fingerprint}, features "
                f"of the same names are now defined otherwise: {found.fingerprint}"
            )
        return np.array(layout.columns(self.feature_names), np.int64)

    def required_in(self, layout: Layout) -> NDArray[np.bool_]:
        """bool (width of `layout`,): columns there that must be warm."""
        return np.isin(np.array(layout.names), np.array(self.required_features))


@runtime_checkable
class ScoringModel(Protocol):
    """A model ready to score."""

    @property
    def card(self) -> ModelCard:
        """What is known of it."""
        ...

    @property
    def required(self) -> NDArray[np.bool_]:
        """bool (k,): columns that must be warm before a row may be scored."""
        ...

    def score(self, X: NDArray[np.float32]) -> NDArray[np.float32]:
        """Calibrated probabilities (n, H) of vectors (n, k). Raises ModelError on another shape."""
        ...
