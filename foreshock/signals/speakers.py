"""Who speaks at the gate: what it must know of a model, and which of several spoke for whom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from foreshock.market.clock import SECOND_NS
from foreshock.models.base import Domain, ModelCard


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What the gate must know of the model that scored. H horizons, k columns of a vector.

    required        bool (k,): columns that must be warm; None asks for a score that is not NaN only
    approved        H flags; a horizon without approval never signals
    scope           "pooled", or the group or symbol that the model was made for
    trained_to_ns   end of the youngest label that the model has learned from; 0: not said
    max_age_s       how much older than that a boundary may be; 0: any
    """

    version: str
    horizons_s: tuple[int, ...]
    thresholds: tuple[float, ...]
    domain: Domain
    required: NDArray[np.bool_] | None = None
    approved: tuple[bool, ...] | None = None
    scope: str = "pooled"
    trained_to_ns: int = 0
    max_age_s: float = 0.0

    @classmethod
    def of(cls, card: ModelCard, required: NDArray[np.bool_] | None = None) -> ModelFacts:
        """The facts that stand on a model's card. `required` is of the vectors that it reads its
        columns from (`ModelCard.required_in`); without it vectors are the model's own."""
        return cls(
            card.version,
            card.horizons_s,
            card.thresholds,
            card.domain,
            card.required if required is None else required,
            card.approved,
            card.scope,
            learned_to_ns(card),
            card.max_age_s,
        )

    def age_s(self, at_ns: int) -> float | None:
        """How old the model is at a boundary, seconds; None where its card does not say."""
        return (at_ns - self.trained_to_ns) / SECOND_NS if self.trained_to_ns else None

    def is_expired(self, at_ns: int) -> bool:
        """Whether the model is too old to speak at a boundary. Ages are of the rows' own time, so
        that a replay finds the same."""
        if not self.max_age_s or not self.trained_to_ns:
            return False
        return at_ns - self.trained_to_ns > round(self.max_age_s * SECOND_NS)


def learned_to_ns(card: ModelCard) -> int:
    """The last moment that a model has learned from; 0 where that is not known. Cards of before it
    was written there have the spans of the parts that were fitted on."""
    spans = [card.spans_ns[part][1] for part in ("train", "calibration") if part in card.spans_ns]
    return card.trained_to_ns or max(spans, default=0)


@dataclass(frozen=True, slots=True)
class Panel:
    """Several models over the symbols of one boundary, each for its own.

    models    those that speak
    speaker   int64 (n,): which of them speaks for each symbol; -1 where none does

    Scores of a panel are float32 (n, H), H the most horizons that one of them has: a model's own
    come first, the rest is NaN.
    """

    models: tuple[ModelFacts, ...]
    speaker: NDArray[np.int64]

    def of(self, row: int) -> ModelFacts | None:
        """Who speaks for a symbol."""
        number = int(self.speaker[row])
        return None if number < 0 else self.models[number]


class ClosedBoundary(Protocol):
    """What the gate reads of `foreshock.engine.outcomes.Boundary`, which fits this."""

    @property
    def boundary_ns(self) -> int:
        """The boundary."""
        ...

    @property
    def warm(self) -> NDArray[np.bool_]:
        """(n, k)."""
        ...

    @property
    def book_state(self) -> NDArray[np.uint8]:
        """(n,)."""
        ...

    @property
    def book_epoch(self) -> NDArray[np.int32]:
        """(n,)."""
        ...

    @property
    def tape_epoch(self) -> NDArray[np.int32]:
        """(n,)."""
        ...

    @property
    def bill_inputs(self) -> NDArray[np.void]:
        """BILL_INPUT (n,)."""
        ...


@dataclass(frozen=True, slots=True)
class RowsOf:
    """Some symbols of a boundary; a ClosedBoundary too."""

    boundary_ns: int
    warm: NDArray[np.bool_]
    book_state: NDArray[np.uint8]
    book_epoch: NDArray[np.int32]
    tape_epoch: NDArray[np.int32]
    bill_inputs: NDArray[np.void]

    @classmethod
    def of(cls, whole: ClosedBoundary, rows: Sequence[int] | NDArray[np.int64]) -> RowsOf:
        """The given rows, in the given order."""
        at = np.asarray(rows, np.int64)
        return cls(
            whole.boundary_ns,
            whole.warm[at],
            whole.book_state[at],
            whole.book_epoch[at],
            whole.tape_epoch[at],
            whole.bill_inputs[at],
        )
