"""What the gate counts, as plain values that go to the hot store beside its verdicts, so that any
replica of the ingress can show them."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

NOTE: Final = "gate:facts"
POLICY_NOTE: Final = "gate:policy"
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
                "watchers": self.watchers,
                "known": self.known,
                "ledger": ledger,
            }
        )
