"""What the gate counts, as plain values that go to the hot store beside its verdicts, so that any
replica of the ingress can show them."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from foreshock.signals.gate import ModelFacts

NOTE: Final = "gate:facts"
POLICY_NOTE: Final = "gate:policy"
RETRAINING_NOTE: Final = "retraining"  # written by whoever sees to it that models are made anew
EDGES_MS: Final = (1, 2, 5, 10, 20, 30, 50, 75, 100, 150, 250, 500, 1_000, 2_500, 10_000)


@dataclass(slots=True)
class Histogram:
    """Counts by upper edge in ms, the last one without an edge, and their sum."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(EDGES_MS) + 1))
    sum_ms: float = 0.0

    def observe(self, ms: float) -> None:
        """Count one."""
        self.counts[bisect_left(EDGES_MS, ms)] += 1
        self.sum_ms += ms

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"counts": list(self.counts), "sum_ms": self.sum_ms}


@dataclass(slots=True)
class GateFacts:
    """Counters since the gate's replica started.

    total    arrival of the row that closed the boundary → verdicts published (live input only)
    inside   message received → verdicts published
    scoring  scorer called → scores there
    known    by watcher: how many of its symbols had a value at the last boundary, by column
    models   by watcher: who spoke for its symbols at the last boundary, with its age then
    drift    see `serve.drift.Drift.as_dict`
    """

    started_ns: int
    boundaries: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    total: Histogram = field(default_factory=Histogram)
    inside: Histogram = field(default_factory=Histogram)
    scoring: Histogram = field(default_factory=Histogram)
    scorer_failures: Counter[str] = field(default_factory=Counter)
    store_failures: int = 0
    model: dict[str, Any] | None = None
    watchers: dict[str, dict[str, Any]] = field(default_factory=dict)
    known: dict[str, list[int]] = field(default_factory=dict)
    models: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    drift: dict[str, Any] | None = None

    def tell_models(self, watcher: str, models: Sequence[ModelFacts], at_ns: int) -> None:
        """Remember who spoke for a watcher's symbols."""
        self.models[watcher] = [told_of(model, at_ns) for model in models]

    def to_bytes(self, ledger: dict[str, int]) -> bytes:
        """JSON for the hot store."""
        return orjson.dumps(
            {
                "started_ns": self.started_ns,
                "boundaries": self.boundaries,
                "verdicts": dict(self.reasons),
                "latency_ms": {
                    "socket_to_verdict": self.total.as_dict(),
                    "gate": self.inside.as_dict(),
                    "scoring": self.scoring.as_dict(),
                },
                "scorer_failures": dict(self.scorer_failures),
                "store_failures": self.store_failures,
                "model": self.model,
                "models": sorted(
                    {
                        told["version"]: told for each in self.models.values() for told in each
                    }.values(),
                    key=lambda told: (told["scope"], told["version"]),
                ),
                "drift": self.drift,
                "watchers": self.watchers,
                "known": self.known,
                "ledger": ledger,
            }
        )


def told_of(model: ModelFacts, at_ns: int) -> dict[str, Any]:
    """A model in a few JSON values; its age is that at a boundary, as the gate judges it."""
    return {
        "version": model.version,
        "scope": model.scope,
        "domain": str(model.domain),
        "horizons_s": list(model.horizons_s),
        "trained_to_ns": model.trained_to_ns or None,
        "age_s": model.age_s(at_ns),
        "max_age_s": model.max_age_s or None,
        "expired": model.is_expired(at_ns),
    }
