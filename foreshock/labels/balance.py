"""What a set of labels is worth before anything is learned from it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foreshock.labels.overlap import average_uniqueness, positive_clusters

Times = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Balance:
    """Counts of one horizon and side.

    rows         labels asked for
    censored     of them without an answer
    positives    surges
    base_rate    positives / (rows − censored); NaN where nothing was answered
    clusters     independent events: positives whose spans chain together count once
    uniqueness   mean average uniqueness of what was answered
    effective    rows times uniqueness: how many independent labels that is
    """

    rows: int
    censored: int
    positives: int
    base_rate: float
    clusters: int
    uniqueness: float
    effective: float

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def balance(
    label: NDArray[np.int8], t0_ns: Times, t1_ns: Times, group: NDArray[np.int32], step_ns: int
) -> Balance:
    """Of labels (n,) with closed spans [t0, t1] of the symbols `group`, cells of `step_ns`."""
    known = label >= 0
    answered, positives = int(known.sum()), int((label == 1).sum())
    unique = average_uniqueness(t0_ns[known], t1_ns[known], group[known], step_ns)
    clusters = positive_clusters(t0_ns, t1_ns, group, label)
    return Balance(
        rows=len(label),
        censored=len(label) - answered,
        positives=positives,
        base_rate=positives / answered if answered else float("nan"),
        clusters=int(clusters.max(initial=-1)) + 1,
        uniqueness=float(unique.mean()) if answered else float("nan"),
        effective=float(unique.sum()),
    )
