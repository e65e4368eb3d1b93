"""What can be set at the doors and at the deployments behind them."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from foreshock.settings import Serve


class ServeSettings(BaseModel):
    """Scorer, Gate and the HTTP ingress. The first block is `serve:` of the configuration tree."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = Field(
        default="127.0.0.1",
        description="Address that the HTTP API listens on. A cluster of several machines needs"
        " 0.0.0.0, because its proxy reaches the replicas of other machines at this address too.",
    )
    port: int = Field(
        default=8000,
        ge=1,
        le=65535,
        description="Port of the HTTP API. Keep it outside 10002 to 19999, Ray's workers' ports.",
    )
    min_replicas: int = Field(
        default=1, ge=1, description="Scorers that run when nothing is asked of them."
    )
    max_replicas: int = Field(
        default=2, ge=1, description="Scorers that the autoscaler may start under load."
    )
    scorer_cpus: float = Field(
        default=0.1,
        gt=0,
        description="Share of a core that each scorer reserves with Ray's scheduler. A reservation,"
        " not a limit.",
    )
    gate_cpus: float = Field(
        default=0.1,
        gt=0,
        description="Share of a core that the gate reserves. There is exactly one gate.",
    )
    api_cpus: float = Field(
        default=0.1, gt=0, description="Share of a core that the HTTP ingress reserves."
    )
    cpu_budget: float = Field(
        default=0.4,
        gt=0,
        description="What all three may reserve together, the scorer at its most replicas.",
    )

    target_ongoing_requests: float = Field(
        default=4.0,
        gt=0,
        description="Matrices in flight at one scorer beyond which the autoscaler adds another.",
    )
    score_budget_ms: float = Field(
        default=250.0,
        gt=0,
        description="How long the gate waits for the scores of one boundary. After it, that"
        " boundary's verdicts are refusals.",
    )
    cold_score_budget_ms: float = Field(
        default=2_000.0,
        gt=0,
        description="The same for the gate's first call, which also opens the connection to the"
        " scorer. A verdict that comes late once is better than a boundary without one.",
    )
    ledger_every_s: float = Field(
        default=0.5,
        gt=0,
        description="How often signals and counts of refusals are written to the ledger, in one"
        " batch, off the path of the verdicts.",
    )
    ledger_queue: int = Field(
        default=100_000,
        ge=100,
        description="Signals kept while the ledger cannot be written. Beyond it the oldest are"
        " dropped and counted; the stream still has them.",
    )
    ledger_predictions_every_s: int = Field(
        default=60,
        ge=0,
        description="Every so many seconds the probabilities of all symbols go to the ledger,"
        " signals or not. 1 keeps all of them, 0 those of signals alone.",
    )
    stale_after_s: float = Field(
        default=3.0,
        gt=0,
        description="A prediction older than this many seconds is marked stale.",
    )
    refuse_after_s: float = Field(
        default=30.0,
        gt=0,
        description="A prediction older than this is not given any more: the answer is an error.",
    )
    store_timeout_s: float = Field(
        default=0.5,
        gt=0,
        description="How long a door waits for the hot store before it answers store_down.",
    )
    max_symbols: int = Field(default=500, ge=1, description="Symbols that one request may ask for.")
    max_vectors: int = Field(
        default=4_096, ge=1, description="Feature vectors that one request may have scored."
    )
    max_body_bytes: int = Field(
        default=4_000_000, ge=1_000, description="Bodies larger than this are refused with 413."
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.max_replicas < self.min_replicas:
            raise ValueError(f"max_replicas {self.max_replicas} < min_replicas {self.min_replicas}")
        asked = self.api_cpus + self.gate_cpus + self.max_replicas * self.scorer_cpus
        if asked > self.cpu_budget + 1e-9:
            raise ValueError(f"{asked:.2f} CPUs are asked for, cpu_budget is {self.cpu_budget}")
        return self

    @classmethod
    def of(cls, section: Serve, **changes: object) -> Self:
        """From the configuration tree's section, with changes."""
        return cls.model_validate({**section.model_dump(), **changes})
