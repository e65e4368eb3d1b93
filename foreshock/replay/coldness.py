"""How far a cold start is from a warm one, feature by feature, in units in the last place.

Bits are promised for one input however it is cut; they are not promised between an engine that has
run for a day and one that starts now. A window that is a sum of integers forgets exactly, and is
the same once it is full. An exponential average never forgets quite. This measures what is left
once the cold engine calls a feature warm.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from foreshock.engine.outcomes import Boundary
from foreshock.engine.step import Engine
from foreshock.market.rows import Rows

Floats = NDArray[np.float32]


def ulps(one: Floats, other: Floats) -> NDArray[np.int64]:
    """How many float32 lie between two values, int64, elementwise. Both must be finite."""

    def rank(values: Floats) -> NDArray[np.int64]:
        bits = np.ascontiguousarray(values).view(np.int32).astype(np.int64)
        # Negative floats sort downwards by their bits.
        return np.where(bits < 0, -(bits & 0x7FFFFFFF), bits)

    distance: NDArray[np.int64] = np.abs(rank(one) - rank(other))
    return distance


@dataclass(slots=True)
class Coldness:
    """What was seen. k features.

    features   names, in column order
    compared   int64 (k,): values that both engines gave
    worst      int64 (k,): the largest distance, units in the last place
    apart      int64 (k,): values that one gave and the other, though warm there, did not
    """

    features: tuple[str, ...]
    compared: NDArray[np.int64] = field(init=False)
    worst: NDArray[np.int64] = field(init=False)
    apart: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        zeros = np.zeros(len(self.features), np.int64)
        self.compared, self.worst, self.apart = zeros.copy(), zeros.copy(), zeros.copy()

    def compare(self, warm: Boundary, cold: Boundary) -> None:
        """One boundary of both."""
        one, other = warm.vectors, cold.vectors
        both = np.isfinite(one) & np.isfinite(other)
        self.compared += both.sum(axis=0)
        distance = np.where(both, ulps(np.where(both, one, 0), np.where(both, other, 0)), 0)
        self.worst = np.maximum(self.worst, distance.max(axis=0, initial=0))
        lost = cold.warm & np.isfinite(one) & ~np.isfinite(other)
        self.apart += lost.sum(axis=0)

    @property
    def never_warm(self) -> tuple[str, ...]:
        """Features that the cold engine never gave."""
        return tuple(self.features[k] for k in np.flatnonzero(self.compared == 0).tolist())

    def as_dict(self) -> dict[str, dict[str, int]]:
        """JSON-ready, by feature."""
        return {
            name: {
                "compared": int(self.compared[k]),
                "worst_ulp": int(self.worst[k]),
                "apart": int(self.apart[k]),
            }
            for k, name in enumerate(self.features)
        }


def compare(batches: Iterable[Rows], warm: Engine, cold_from: int, found: Coldness) -> None:
    """Feed `warm`, and from the batch numbered `cold_from` on a second engine beside it that knows
    the books and epochs of that moment and nothing else."""
    cold: Engine | None = None
    for number, rows in enumerate(batches):
        if number == cold_from:
            cold = Engine(warm.instruments, warm.features.settings)
            cold.restore(warm.snapshot())
            cold.cool()
        closed = warm.feed(rows)
        if cold is not None:
            for one, other in zip(closed, cold.feed(rows), strict=True):
                found.compare(one, other)
