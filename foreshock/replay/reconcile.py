"""Replay a recording and compare, stage by stage, with what the live session said.

    rows ──▶ engine ──▶ counts, epochs, warm masks, vectors, bill inputs   compared in bits
                  └──▶ score ──▶ probabilities                             compared in bits
                          └──▶ judge ──▶ verdicts                          compared field by field

The first stage that differs is named with its boundary and symbol: what comes behind it follows.
A hole in the rows is a difference too; the replay goes on behind it from the next engine snapshot.
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
from foreshock.market.rows import Rows, heads
from foreshock.stores.recordings import RecordedBoundary, Recording

ROWS, BOUNDARIES, PROBABILITIES, VERDICTS = "rows", "boundaries", "probabilities", "verdicts"
ENGINE_STAGES: Final = (
    ROWS, "book_state", "book_epoch", "tape_epoch", "warm", "vectors", "bill_inputs",
)  # fmt: skip
STAGES: Final = (BOUNDARIES, *ENGINE_STAGES, PROBABILITIES, VERDICTS)


@dataclass(frozen=True, slots=True)
class Opinion:
    """What a model and the gate make of a replayed boundary. n symbols, H horizons.

    version    of the model; None without one
    scores     float32 (n, H); None where nothing is scored
    verdicts   n JSON objects; None where the gate is not asked
    """

    version: str | None = None
    scores: NDArray[np.float32] | None = None
    verdicts: Sequence[dict[str, Any]] | None = None


# What was recorded of the boundary is None where nothing was. The judge must not look at recorded
# scores or verdicts but to learn which model spoke, and whether one did.
Judge = Callable[[Boundary, RecordedBoundary | None], Opinion]


@dataclass(frozen=True, slots=True)
class Difference:
    """One place where the replay does not say what the session said.

    symbol   None where it concerns all of them
    what     feature, field or horizon; None where the stage has no parts
    """

    stage: str
    boundary_ns: int
    symbol: str | None
    what: str | None
    recorded: str
    replayed: str


@dataclass(slots=True)
class Reconciliation:
    """What a replay found.

    rows, boundaries   fed and closed
    compared    boundaries by stage
    differing   by stage: bits, or fields of verdicts, or boundaries, or rows that are missing
    first       the earliest difference, the first in the order of the stages
    holes       how often rows are missing; `skipped` boundaries could not be replayed for it
    unrecorded  boundaries of which nothing was recorded: the session ended, or shed them
    reasons     of the verdicts that the replay gave
    """

    rows: int = 0
    boundaries: int = 0
    compared: Counter[str] = field(default_factory=Counter)
    differing: Counter[str] = field(default_factory=Counter)
    first: Difference | None = None
    holes: int = 0
    skipped: int = 0
    unrecorded: int = 0
    reasons: Counter[str] = field(default_factory=Counter)

    @property
    def same(self) -> bool | None:
        """Whether nothing differs; None where there was nothing to compare."""
        if self.first is not None:
            return False
        return True if self.compared else None

    @property
    def differing_bits(self) -> int:
        """Bits of the engine's stages and of the probabilities."""
        return sum(self.differing[stage] for stage in (*ENGINE_STAGES, PROBABILITIES))


def reconcile(
    recording: Recording,
    judge: Judge | None = None,
    each: Callable[[Boundary], object] | None = None,
) -> Reconciliation:
    """Replay every row of `recording` and compare what was recorded of each boundary.

    judge   the models and the gate; probabilities and verdicts are compared where it answers with
            the version that was recorded. None leaves both out
    each    called with every boundary that closes, before it is compared

    Raises RecordingError on damaged files, and what the engine raises on rows that break the data
    language or their order."""
    run = _Run(recording, judge, each)
    behind: int | None = -1
    while behind is not None:
        behind = run.play(behind)
    run.end()
    return run.found


class _Run:
    """One replay under way."""

    def __init__(
        self,
        recording: Recording,
        judge: Judge | None,
        each: Callable[[Boundary], object] | None,
    ) -> None:
        self.found = Reconciliation()
        self._recording, self._judge, self._each = recording, judge, each
        self._engine = Engine(recording.instruments)
        self._symbols = [instrument.symbol for instrument in recording.instruments]
        self._said = recording.vectors()
        self._expected = next(self._said, None)
        self._in_hole = False
        self._at_ns = 0

    def play(self, behind: int) -> int | None:
        """Feed the rows behind seq `behind`. At a hole: the seq of the snapshot to go on from, or
        None where there is none; None at the end too."""
        for missing, rows in _pieces(self._recording, behind):
            if missing:
                return self._resume(missing, int(rows["seq"][0]))
            self.found.rows += len(rows)
            for boundary in self._engine.feed(rows):
                self._close(boundary)
        return None

    def end(self) -> None:
        """What was recorded and never closed."""
        while self._expected is not None:
            self._never_closed(self._expected)

    def _resume(self, missing: int, seq: int) -> int | None:
        self.found.holes += 1
        self._in_hole = True
        what = f"{missing} in front of seq {seq}"
        self._differ(ROWS, self._at_ns, None, what, "missing", "needed", missing)
        for at, blob in self._recording.snapshots():
            if at >= seq:
                self._engine = Engine(self._recording.instruments)
                self._engine.restore(blob)
                return at
        return None

    def _close(self, boundary: Boundary) -> None:
        found, self._at_ns = self.found, boundary.boundary_ns
        while self._expected is not None and self._expected.boundary_ns < boundary.boundary_ns:
            self._never_closed(self._expected)
        self._in_hole = False
        found.boundaries += 1
        if self._each is not None:
            self._each(boundary)
        said = self._expected
        if said is not None and said.boundary_ns == boundary.boundary_ns:
            self._expected = next(self._said, None)
            self._compare_engine(boundary, said)
        else:
            said = None
            found.unrecorded += 1
        if self._judge is not None:
            opinion = self._judge(boundary, said)
            found.reasons.update(verdict["reason"] for verdict in opinion.verdicts or ())
            if said is not None:
                self._compare_opinion(boundary, said, opinion)

    def _never_closed(self, said: RecordedBoundary) -> None:
        if self._in_hole:
            self.found.skipped += 1
        else:
            self._differ(BOUNDARIES, said.boundary_ns, None, None, "closed", "did not close")
        self._expected = next(self._said, None)

    def _differ(
        self, stage: str, boundary_ns: int, symbol: str | None, what: str | None, recorded: object,
        replayed: object, count: int = 1,
    ) -> None:  # fmt: skip
        self.found.differing[stage] += count
        if self.found.first is None:
            self.found.first = Difference(
                stage, boundary_ns, symbol, what, str(recorded), str(replayed)
            )

    def _compare_engine(self, boundary: Boundary, said: RecordedBoundary) -> None:
        at_ns, compared = boundary.boundary_ns, self.found.compared
        compared[BOUNDARIES] += 1
        for name in ("closed_by_seq", "closed_at_ns"):
            was, now = getattr(said, name), getattr(boundary, name)
            if was != now:
                self._differ(BOUNDARIES, at_ns, None, name, was, now)
        for stage in ENGINE_STAGES:
            names = self._engine.layout.names if stage in ("warm", "vectors") else ()
            was, now = getattr(said, stage), getattr(boundary, stage)
            self._compare_arrays(stage, at_ns, was, now, names)

    def _compare_arrays(
        self, stage: str, at_ns: int, was: NDArray[Any], now: NDArray[Any], names: Sequence[str]
    ) -> None:
        self.found.compared[stage] += 1
        if was.shape != now.shape or was.dtype != now.dtype:
            recorded, replayed = (f"{array.dtype} {array.shape}" for array in (was, now))
            self._differ(stage, at_ns, None, "shape", recorded, replayed)
            return
        unequal = np.bitwise_count(_bytes(was) ^ _bytes(now)).sum(axis=1)
        for s in np.flatnonzero(unequal).tolist():
            what, recorded, replayed = _first_part(was[s], now[s], names)
            self._differ(stage, at_ns, self._symbols[s], what, recorded, replayed, int(unequal[s]))

    def _compare_opinion(
        self, boundary: Boundary, said: RecordedBoundary, opinion: Opinion
    ) -> None:
        if said.verdicts is None or opinion.verdicts is None:
            return
        if opinion.version != named_version(said):
            return  # another model was asked for: there is nothing to compare with
        at_ns = boundary.boundary_ns
        if said.probabilities is not None and opinion.scores is not None:
            horizons = [f"{h} s" for h in said.verdicts[0]["horizons_s"]]
            self._compare_arrays(PROBABILITIES, at_ns, said.probabilities, opinion.scores, horizons)
        self.found.compared[VERDICTS] += 1
        if len(said.verdicts) != len(opinion.verdicts):
            recorded, replayed = len(said.verdicts), len(opinion.verdicts)
            self._differ(VERDICTS, at_ns, None, "count", recorded, replayed)
            return
        for was, now in zip(said.verdicts, opinion.verdicts, strict=True):
            for name in [*was, *(now.keys() - was.keys())]:
                recorded, replayed = _plain(was.get(name)), _plain(now.get(name))
                if recorded != replayed:
                    self._differ(VERDICTS, at_ns, was.get("symbol"), name, recorded, replayed)


def named_version(said: RecordedBoundary) -> str | None:
    """The model whose scores were judged; None where there was none."""
    return said.verdicts[0]["model_version"] if said.verdicts else None


def _pieces(recording: Recording, behind: int) -> Iterator[tuple[int, Rows]]:
    """(how many header rows are missing in front, rows) in order; no piece has a hole inside."""
    next_seq = behind + 1
    for batch in recording.rows(after_seq=behind):
        at = heads(batch)
        seqs = batch["seq"][at]
        missing = np.diff(seqs, prepend=next_seq - 1) - 1
        next_seq = int(seqs[-1]) + 1
        starts = [0, *(np.flatnonzero(missing[1:] > 0) + 1).tolist()]
        stops = [*starts[1:], len(at)]
        ends = np.append(at, len(batch))
        for start, stop in zip(starts, stops, strict=True):
            yield max(0, int(missing[start])), batch[ends[start] : ends[stop]]


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
    column = next(j for j in range(len(was)) if was[j].tobytes() != now[j].tobytes())
    name = names[column] if column < len(names) else str(column)
    return name, was[column], now[column]


def _plain(value: Any) -> Any:
    """As JSON keeps it: tuples are lists, what is not finite is nothing."""
    if isinstance(value, tuple | list):
        return [_plain(one) for one in value]
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
