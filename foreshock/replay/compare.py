"""What a reconciliation compares, and how a difference is told.

frames ─▶ rows ─▶ boundaries ─▶ book ─▶ vectors ─▶ bill_inputs ─▶ probabilities ─▶ verdicts
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

FRAMES, ROWS, BOUNDARIES, BOOK, VECTORS, BILL_INPUTS, PROBABILITIES, VERDICTS = STAGES = (
    "frames", "rows", "boundaries", "book", "vectors", "bill_inputs", "probabilities", "verdicts",
)  # fmt: skip
# What of a recorded boundary belongs to which of the engine's stages.
ENGINE_FIELDS: Final = {
    BOOK: ("rows", "book_state", "book_epoch", "tape_epoch"),
    VECTORS: ("warm", "vectors"),
    BILL_INPUTS: ("bill_inputs",),
}


@dataclass(frozen=True, slots=True)
class Difference:
    """One place where the replay does not say what the session said.

    row          seq of the row, of the one that closed the boundary, or of the snapshot; in the
                 stage "frames" the entry's position in the journal. -1 where there is none
    boundary_ns  the boundary, or the arrival of the row
    symbol       None where it concerns all of them
    what         feature, field or horizon; None where the stage has no parts
    """

    stage: str
    row: int
    boundary_ns: int
    symbol: str | None
    what: str | None
    recorded: str
    replayed: str


@dataclass(slots=True)
class Reconciliation:
    """What a replay found.

    rows, boundaries   fed and closed
    compared    by stage: frames, rows, or boundaries
    differing   by stage: frames, rows, boundaries, bits, or fields of verdicts; what is missing too
    firsts      by stage its first difference
    holes       how often rows are missing; `skipped` boundaries could not be replayed for it
    snapshots   states of the engine that were compared, array by array
    unrecorded  boundaries of which nothing was recorded: the session ended, or shed them
    reasons     of the verdicts that the replay gave
    words       what is to be known besides: what changed since, what was not compared and why
    """

    rows: int = 0
    boundaries: int = 0
    compared: Counter[str] = field(default_factory=Counter)
    differing: Counter[str] = field(default_factory=Counter)
    firsts: dict[str, Difference] = field(default_factory=dict)
    holes: int = 0
    skipped: int = 0
    snapshots: int = 0
    unrecorded: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    words: list[str] = field(default_factory=list)

    @property
    def first(self) -> Difference | None:
        """Of the first stage that differs: what comes behind it may follow from it."""
        return next((self.firsts[stage] for stage in STAGES if stage in self.firsts), None)

    @property
    def same(self) -> bool | None:
        """Whether nothing differs; None where there was nothing to compare."""
        if self.firsts:
            return False
        return True if self.compared else None

    @property
    def differing_bits(self) -> int:
        """Bits of the engine's stages and of the probabilities."""
        return sum(self.differing[stage] for stage in (*ENGINE_FIELDS, PROBABILITIES))

    def differ(self, difference: Difference, count: int = 1) -> None:
        """Note a difference; the first of its stage is kept."""
        self.differing[difference.stage] += count
        self.firsts.setdefault(difference.stage, difference)

    def compare_arrays(
        self, stage: str, at: tuple[int, int], symbols: Sequence[str], was: NDArray[Any],
        now: NDArray[Any], names: Sequence[str], prefix: str = "",
    ) -> None:  # fmt: skip
        """Compare two arrays in bits, a symbol a line. `at`: row and boundary; `names` of their
        columns; without them what differs is `prefix`."""
        if was.shape != now.shape or was.dtype != now.dtype:
            recorded, replayed = (f"{array.dtype} {array.shape}" for array in (was, now))
            shape = f"{prefix} shape".strip()
            self.differ(Difference(stage, *at, None, shape, recorded, replayed))
            return
        if not was.size:
            return
        unequal = np.bitwise_count(_bytes(was) ^ _bytes(now)).sum(axis=1)
        for s in np.flatnonzero(unequal).tolist():
            part, recorded, replayed = _first_part(was[s], now[s], names)
            what = " ".join(word for word in (prefix, part) if word) or None
            symbol = symbols[s] if len(symbols) == len(was) else None
            self.differ(
                Difference(stage, *at, symbol, what, str(recorded), str(replayed)), int(unequal[s])
            )


def plain(value: Any) -> Any:
    """As JSON keeps it: tuples are lists, what is not finite is nothing."""
    if isinstance(value, tuple | list):
        return [plain(one) for one in value]
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value


def _bytes(array: NDArray[Any]) -> NDArray[np.uint8]:
    """(n, bytes): a NaN equals the same NaN, and -0 differs from 0."""
    flat = np.ascontiguousarray(array)
    return flat.view(np.uint8).reshape(len(flat), -1)


def _first_part(was: Any, now: Any, names: Sequence[str]) -> tuple[str | None, Any, Any]:
    """(name, recorded, replayed) of the first part of a symbol's record that differs."""
    if was.dtype.names is not None:
        parts = list(was.dtype.names)
        part = next(p for p in parts if was[p].tobytes() != now[p].tobytes())
        return part, was[part], now[part]
    if was.ndim == 0:
        return None, was, now
    flat_was, flat_now = was.reshape(-1), now.reshape(-1)
    unequal = (_bytes(flat_was) != _bytes(flat_now)).any(axis=1)
    column = int(np.flatnonzero(unequal)[0])
    name = names[column] if column < len(names) else str(column)
    return name, flat_was[column], flat_now[column]
