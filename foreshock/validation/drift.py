"""Whether live vectors still look like those that a model was trained on.

Training keeps a *reference* beside the model: for every feature the edges of its deciles and the
share of rows in each, and of rows without a value. Live, counts in the same bins fade with a
half-life, so that an update costs a comparison with each edge and nothing grows. Two measures of
how far the live shares q have left the trained ones p:

    psi = Σ (q − p) ln(q / p)        population stability index; from 0.25 a shift counts as major
    ks  = max |Q − P|                Kolmogorov and Smirnov's distance, at the edges

A bin that nobody is in would make the index infinite: every share is held above a floor. Features
that tell the calendar drift by themselves and are left out; so are those of one value.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from foreshock.errors import ModelError

FILE: Final = "reference.json"  # beside a model's graph and card
BINS: Final = 10
FLOOR: Final = 1e-3
HALF_LIFE_S: Final = 86_400.0  # an hour of a market never looks like a month of it
SAMPLE: Final = 100_000  # rows that a reference is made from, evenly over all
CALENDAR: Final = ("*_of_*_sin", "*_of_*_cos", "is_weekend", "session_*", "hours_to_*")


@dataclass(frozen=True, slots=True)
class Reference:
    """What k features looked like in training.

    edges    float32 (k, BINS − 1), ascending; a value is in bin j where j edges are below it
    shares   float64 (k, BINS + 1): of the rows in each bin, the last of those without a value
    """

    names: tuple[str, ...]
    edges: NDArray[np.float32]
    shares: NDArray[np.float64]

    @classmethod
    def of(
        cls, X: NDArray[np.float32], names: Sequence[str], without: Sequence[str] = CALENDAR
    ) -> Reference:
        """From the training rows (n, k). Features that `without` names (`*` for any letters) and
        those whose deciles are all one value are left out."""
        rows = X[:: max(1, len(X) // SAMPLE)]
        kept, edges = [], []
        for k, name in enumerate(names):
            values = rows[:, k][~np.isnan(rows[:, k])]
            if not len(values) or any(fnmatchcase(name, pattern) for pattern in without):
                continue
            cuts = np.quantile(values, np.arange(1, BINS) / BINS).astype(np.float32)
            if cuts[0] < cuts[-1]:
                kept.append(k)
                edges.append(cuts)
        table = np.array(edges, np.float32).reshape(-1, BINS - 1)
        counts = binned(rows[:, kept], table)
        return cls(tuple(names[k] for k in kept), table, counts / max(1, len(rows)))

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "names": list(self.names),
            "edges": self.edges.tolist(),
            "shares": self.shares.tolist(),
        }

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> Reference:
        """The inverse of `as_dict`. Raises ModelError on anything else."""
        try:
            names = tuple(map(str, body["names"]))
            edges = np.array(body["edges"], np.float32).reshape(len(names), BINS - 1)
            shares = np.array(body["shares"], np.float64).reshape(len(names), BINS + 1)
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(f"this is no reference of a model: {error}") from error
        return cls(names, edges, shares)


def write_reference(directory: Path, X: NDArray[np.float32], names: Sequence[str]) -> Path:
    """Keep the reference of the training rows (n, k) beside a saved model; the same rows give the
    same bytes. Raises OSError."""
    path = directory / FILE
    body = json.dumps(Reference.of(X, names).as_dict(), sort_keys=True)
    path.write_text(body + "\n")
    return path


def read_reference(directory: Path) -> Reference | None:
    """The reference beside a model; None where it has none. Raises ModelError."""
    try:
        return Reference.from_dict(json.loads((directory / FILE).read_text()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ModelError(f"{directory / FILE} cannot be read: {error}") from error


def binned(X: NDArray[np.float32], edges: NDArray[np.float32]) -> NDArray[np.float64]:
    """(k, BINS + 1): how many rows of X (n, k) are in each bin, the last counting NaN."""
    out = np.empty((X.shape[1], BINS + 1))
    missing = np.isnan(X)
    for j in range(BINS - 1):  # counts above each edge, from which the bins follow
        out[:, j] = (edges[:, j] < X).sum(axis=0)
    known = len(X) - missing.sum(axis=0)
    above = out[:, : BINS - 1].copy()
    out[:, 0] = known - above[:, 0]
    out[:, 1 : BINS - 1] = above[:, :-1] - above[:, 1:]
    out[:, BINS - 1] = above[:, -1]
    out[:, BINS] = missing.sum(axis=0)
    return out


@dataclass(slots=True)
class DriftWatch:
    """Fading counts of live vectors in the bins of a reference.

    half_life_s   after so long an observation counts half
    """

    reference: Reference
    half_life_s: float = HALF_LIFE_S
    counts: NDArray[np.float64] = field(init=False)
    at_ns: int = field(default=0, init=False)
    began_ns: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.counts = np.zeros_like(self.reference.shares)

    def observe(self, X: NDArray[np.float32], at_ns: int) -> None:
        """Vectors (n, k) of a boundary, in the reference's columns. Time must not run backwards: a
        boundary before the last one counts as of its time."""
        self.began_ns = self.began_ns or at_ns
        faded = 0.5 ** (max(0, at_ns - self.at_ns) / (self.half_life_s * 1e9)) if self.at_ns else 1
        self.counts = self.counts * faded + binned(X, self.reference.edges)
        self.at_ns = max(self.at_ns, at_ns)

    @property
    def seen_s(self) -> float:
        """How long it has been watching, seconds of the boundaries' time."""
        return (self.at_ns - self.began_ns) / 1e9

    @property
    def shares(self) -> NDArray[np.float64]:
        """Live shares (k, BINS + 1); NaN before anything was seen."""
        total = self.counts.sum(axis=1, keepdims=True)
        with np.errstate(invalid="ignore"):
            out: NDArray[np.float64] = self.counts / total
        return out

    def psi(self) -> NDArray[np.float64]:
        """(k,): see the module."""
        return psi(self.reference.shares, self.shares)

    def ks(self) -> NDArray[np.float64]:
        """(k,): see the module."""
        return ks(self.reference.shares, self.shares)

    def drifted_share(self, least_psi: float) -> float:
        """Share of the features whose index is at least `least_psi`; 0 before half a half-life was
        seen, since minutes of a market say nothing of it."""
        if not len(self.reference.names) or self.seen_s < self.half_life_s / 2:
            return 0.0
        return float((self.psi() >= least_psi).mean())

    def worst(self, count: int = 5) -> dict[str, float]:
        """The features that have drifted most, with their index."""
        if not self.counts.any():
            return {}
        found = self.psi()
        order = np.argsort(-found, kind="stable")[:count]
        return {self.reference.names[k]: round(float(found[k]), 4) for k in order}


def psi(p: NDArray[np.float64], q: NDArray[np.float64]) -> NDArray[np.float64]:
    """Population stability index of shares q against p, both (…, bins)."""
    a, b = np.maximum(p, FLOOR), np.maximum(q, FLOOR)
    out: NDArray[np.float64] = ((b - a) * np.log(b / a)).sum(axis=-1)
    return out


def ks(p: NDArray[np.float64], q: NDArray[np.float64]) -> NDArray[np.float64]:
    """The largest distance of the cumulative shares (…, bins)."""
    out: NDArray[np.float64] = np.abs(np.cumsum(q - p, axis=-1)).max(axis=-1)
    return out
