"""The layout of a feature vector: which column is which feature, and the set's fingerprint."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from foreshock.errors import ForeshockError


@dataclass(frozen=True, slots=True)
class FeatureSpec:
    """One feature, explained.

    name        column name; window and half-life are part of it (`flow_imbalance_10s`)
    family      the file that computes it: flow, depth, variation
    formula     in words and symbols
    unit        "1" (a ratio), "bps", "log" …
    needs       "tape" or "book": whose epoch must be good for the value to mean anything
    warmup_s    seconds of a good epoch until the value is given; before that NaN
    nan_rule    when it is NaN although warm
    source      paper and section, or "definition"
    """

    name: str
    family: str
    formula: str
    unit: str
    needs: str
    warmup_s: int
    nan_rule: str
    source: str


@dataclass(frozen=True, slots=True)
class Layout:
    """An ordered set of features; column i of a vector is `specs[i]`."""

    specs: tuple[FeatureSpec, ...]
    step_ns: int

    def __post_init__(self) -> None:
        names = [spec.name for spec in self.specs]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ForeshockError(f"features named twice: {twice}")

    @property
    def names(self) -> tuple[str, ...]:
        """Column names in order."""
        return tuple(spec.name for spec in self.specs)

    @property
    def fingerprint(self) -> str:
        """16 hex digits that change when a name, formula, window or the sampling step changes."""
        body = json.dumps([self.step_ns, [asdict(spec) for spec in self.specs]], sort_keys=True)
        return hashlib.sha256(body.encode()).hexdigest()[:16]

    def __len__(self) -> int:
        return len(self.specs)

    def __iter__(self) -> Iterator[FeatureSpec]:
        return iter(self.specs)
