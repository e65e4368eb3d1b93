"""Replay a recording and compare, stage by stage, with what the live session said.

    rows ──▶ engine ──▶ vectors, warm masks, epochs, bill inputs   compared in bits
                  └──▶ score ──▶ probabilities                     compared in bits
                          └──▶ judge ──▶ verdicts                  compared field by field

The first stage that differs is named with its boundary and symbol: what comes behind it follows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from foreshock.engine.outcomes import Boundary
from foreshock.engine.step import Engine
from foreshock.replay.driver import replay
from foreshock.stores.recordings import RecordedBoundary, Recording

Score = Callable[[NDArray[np.float32]], NDArray[np.float32]]
Judge = Callable[[Boundary, NDArray[np.float32] | None], Sequence[dict[str, Any]]]

ENGINE_STAGES: Final = ("book_state", "book_epoch", "tape_epoch", "warm", "vectors", "bill_inputs")
STAGES: Final = ("boundaries", *ENGINE_STAGES, "probabilities", "verdicts")


@dataclass(frozen=True, slots=True)
class Difference:
    """One place where the replay does not say what the session said."""

    stage: str
    boundary_ns: int
    symbol: str | None
    recorded: str
    replayed: str


@dataclass(slots=True)
class Reconciliation:
    """What a replay found. `compared` and `differing` count by stage: bits of vectors and
    probabilities, fields of everything else."""

    boundaries: int = 0
    compared: Counter[str] = field(default_factory=Counter)
    differing: Counter[str] = field(default_factory=Counter)
    first: Difference | None = None
    reasons: Counter[str] = field(default_factory=Counter)

    @property
    def same(self) -> bool:
        """Whether something was compared and nothing differs."""
        return self.boundaries > 0 and not self.differing.total()


def reconcile(
    recording: Recording, *, score: Score | None = None, judge: Judge | None = None
) -> Reconciliation:
    """Replay every row of `recording` and compare what was recorded of each boundary.

    score   the model that the session was scored with; None leaves probabilities out
    judge   the gate, starting from the state that the session's gate started from; it is asked for
            the boundaries whose verdicts were recorded, in their order. None leaves verdicts out

    Raises what the engine raises on rows that break the data language."""
    found = Reconciliation()
    said = recording.vectors()
    expected = next(said, None)
    engine = Engine(recording.instruments)
    for boundary in replay(engine, recording.rows()):
        while expected is not None and expected.boundary_ns < boundary.boundary_ns:
            _differ(found, "boundaries", expected.boundary_ns, None, "closed", "did not close")
            expected = next(said, None)
        if expected is None or expected.boundary_ns != boundary.boundary_ns:
            continue  # the session ended, or shed it, before it could be recorded
        found.boundaries += 1
        found.compared["boundaries"] += 1
        _compare_engine(found, recording, boundary, expected)
        _compare_said(found, recording, boundary, expected, score, judge)
        expected = next(said, None)
    return found


def _differ(
    found: Reconciliation, stage: str, boundary_ns: int, symbol: str | None, recorded: object,
    replayed: object, count: int = 1,
) -> None:  # fmt: skip
    found.differing[stage] += count
    if found.first is None:
        found.first = Difference(stage, boundary_ns, symbol, str(recorded), str(replayed))


def _bits(array: NDArray[Any]) -> NDArray[np.uint8]:
    """Rows of bytes, (n, …): NaN compares equal to the same NaN, and -0 differs from 0."""
    flat = np.ascontiguousarray(array)
    return flat.view(np.uint8).reshape(len(flat), -1)


def _compare_arrays(
    found: Reconciliation, recording: Recording, stage: str, boundary_ns: int,
    recorded: NDArray[Any], replayed: NDArray[Any],
) -> None:  # fmt: skip
    if recorded.shape != replayed.shape or recorded.dtype != replayed.dtype:
        _differ(
            found, stage, boundary_ns, None, f"{recorded.dtype} {recorded.shape}",
            f"{replayed.dtype} {replayed.shape}",
        )  # fmt: skip
        return
    unequal = np.unpackbits(_bits(recorded) ^ _bits(replayed), axis=1).sum(axis=1)
    found.compared[stage] += 8 * recorded.nbytes
    for s in np.flatnonzero(unequal).tolist():
        symbol = recording.instruments[s].symbol
        _differ(found, stage, boundary_ns, symbol, recorded[s], replayed[s], int(unequal[s]))


def _compare_engine(
    found: Reconciliation, recording: Recording, boundary: Boundary, expected: RecordedBoundary
) -> None:
    for stage in ENGINE_STAGES:
        _compare_arrays(
            found, recording, stage, boundary.boundary_ns, getattr(expected, stage),
            getattr(boundary, stage),
        )  # fmt: skip


def _compare_said(
    found: Reconciliation, recording: Recording, boundary: Boundary, expected: RecordedBoundary,
    score: Score | None, judge: Judge | None,
) -> None:  # fmt: skip
    scores = None
    if score is not None and expected.probabilities is not None:
        scores = score(boundary.vectors)
        _compare_arrays(
            found, recording, "probabilities", boundary.boundary_ns, expected.probabilities, scores
        )
    if judge is None or expected.verdicts is None:
        return
    for was, now in zip(expected.verdicts, judge(boundary, scores), strict=True):
        if was["reason"] == "duplicate":
            continue  # the session sent the boundary twice: the first answer is what counted
        found.reasons[now["reason"]] += 1
        for name, recorded, replayed in _fields(was, now):
            found.compared["verdicts"] += 1
            if recorded != replayed:
                at_ns, symbol = boundary.boundary_ns, was["symbol"]
                _differ(
                    found, "verdicts", at_ns, symbol, f"{name}={recorded}", f"{name}={replayed}"
                )


def _fields(
    was: dict[str, Any], now: dict[str, Any]
) -> Iterator[tuple[str, Any, Any]]:  # fmt: skip
    for name in sorted(was.keys() | now.keys()):
        yield name, _plain(was.get(name)), _plain(now.get(name))


def _plain(value: Any) -> Any:
    """As JSON keeps it: tuples are lists, what is not finite is nothing."""
    if isinstance(value, tuple | list):
        return [_plain(one) for one in value]
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
