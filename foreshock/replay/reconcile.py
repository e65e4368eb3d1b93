"""Replay a recording and compare, stage by stage, with what the live session said.

    journal ──▶ session ──▶ rows                            compared word by word (remake.py)
    rows ──▶ engine ──▶ counts, epochs, books, warm masks, vectors, bills   compared in bits
                  └──▶ score ──▶ probabilities                              compared in bits
                          └──▶ judge ──▶ verdicts                     compared field by field

The first stage that differs is named with its row, symbol and part: what comes behind it follows.
Where the session kept a snapshot of its engine, the replayed engine is compared with it array by
array. A hole in the rows is a difference too; the replay goes on behind it from the next snapshot.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from foreshock.engine.outcomes import Boundary
from foreshock.engine.provenance import Changes, changes, features_of
from foreshock.engine.step import Engine
from foreshock.errors import ForeshockError, RecordingError, SnapshotError
from foreshock.market.rows import Rows, heads
from foreshock.replay.compare import (
    BOOK,
    BOUNDARIES,
    ENGINE_FIELDS,
    PROBABILITIES,
    ROWS,
    VECTORS,
    VERDICTS,
    Difference,
    Reconciliation,
    plain,
)
from foreshock.replay.remake import compare_journal
from foreshock.stores.recordings import RecordedBoundary, Recording

_OF_BOOK: Final = ("ladder.", "health", "position")  # arrays of a snapshot that are the book's


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


def reconcile(
    recording: Recording,
    judge: Judge | None = None,
    each: Callable[[Boundary], object] | None = None,
    session: Any = None,
) -> Reconciliation:
    """Replay every row of `recording` and compare what was recorded of each boundary.

    judge    the models and the gate; probabilities and verdicts are compared where it answers with
             the version that was recorded. None leaves both out
    each     called with every boundary that closes, before it is compared
    session  a fresh session like the recorded one: then the rows are made anew from the journal and
             compared too, where there is one. None leaves the stage "frames" out

    Where the recording was made with another set of features, what is comparable is compared and
    `words` say what changed. Files that cannot be read are differences of their stage."""
    found = Reconciliation()
    made = changes(recording.meta)
    found.words += made.words
    if recording.version > 1 and not recording.closed:
        found.words.append(
            "the recording was not closed: its session still runs or was killed, and what was not"
            " yet handed to the recorder is missing at the end"
        )
    if session is not None and recording.has_journal:
        compare_journal(recording, session, found)
    run = _Run(recording, None if made.features else judge, each, found, made)
    try:
        behind: int | None = -1
        while behind is not None:
            behind = run.play(behind)
        run.end()
    except ForeshockError as error:
        if not isinstance(error, RecordingError):
            raise
        run.unreadable(error)
    return found


class _Run:
    """One replay under way."""

    def __init__(
        self,
        recording: Recording,
        judge: Judge | None,
        each: Callable[[Boundary], object] | None,
        found: Reconciliation,
        made: Changes,
    ) -> None:
        self.found = found
        self._recording, self._judge, self._each, self._made = recording, judge, each, made
        self._engine = Engine(recording.instruments, features_of(recording.meta).settings)
        self._symbols = [instrument.symbol for instrument in recording.instruments]
        self._snapshots = [] if made.features else recording.snapshot_seqs()
        self._said = recording.vectors()
        self._expected: RecordedBoundary | None = None
        self._in_hole = False
        self._at_ns = 0
        self._next_said()

    def play(self, behind: int) -> int | None:
        """Feed the rows behind seq `behind`. At a hole: the seq of the snapshot to go on from, or
        None where there is none; None at the end too."""
        for missing, rows in _pieces(self._recording, behind):
            if missing:
                return self._resume(missing, int(rows["seq"][0]))
            self.found.rows += len(rows)
            for piece, snapshot in self._cut_at_snapshots(rows):
                for boundary in self._engine.feed(piece):
                    self._close(boundary)
                if snapshot is not None:
                    self._compare_state(snapshot)
        return None

    def end(self) -> None:
        """What was recorded and never closed."""
        while self._expected is not None:
            self._never_closed(self._expected)

    def unreadable(self, error: RecordingError) -> None:
        """A file of rows, or of what was said, cannot be read: nothing behind it is compared."""
        stage = ROWS if str(self._recording.directory / "rows") in str(error) else VECTORS
        self.found.differ(
            Difference(
                stage, self._engine.last_seq, self._at_ns, None, "file", str(error), "unreadable"
            )
        )

    def _next_said(self) -> None:
        self._expected = next(self._said, None)

    def _resume(self, missing: int, seq: int) -> int | None:
        self.found.holes += 1
        self._in_hole = True
        what = f"{missing} in front of seq {seq}"
        self._differ(ROWS, self._at_ns, None, what, "missing", "needed", missing, seq)
        for at in self._snapshots:
            if at >= seq:
                try:
                    engine = Engine(
                        self._recording.instruments, features_of(self._recording.meta).settings
                    )
                    engine.restore(self._recording.snapshot(at))
                except (SnapshotError, RecordingError):
                    continue  # the next one, then
                self._engine = engine
                self.found.words.append(
                    f"{missing} rows are missing in front of seq {seq}: the replay goes on behind"
                    f" the snapshot at seq {at}"
                )
                return at
        self.found.words.append(
            f"{missing} rows are missing in front of seq {seq}, and no snapshot behind them fits:"
            " the replay ends there"
        )
        return None

    def _cut_at_snapshots(self, rows: Rows) -> Iterator[tuple[Rows, int | None]]:
        """(rows, seq of the snapshot that was taken behind them) in order."""
        at = heads(rows)
        seqs = rows["seq"][at]
        ends, lo = np.append(at, len(rows)), 0
        for seq in self._snapshots:
            k = int(np.searchsorted(seqs, seq))
            if k < len(seqs) and seqs[k] == seq:
                yield rows[lo : ends[k + 1]], seq
                lo = int(ends[k + 1])
        if lo < len(rows):
            yield rows[lo:], None

    def _compare_state(self, seq: int) -> None:
        """Every array of the engine with the snapshot that was taken behind the row `seq`."""
        at = (seq, self._at_ns)
        try:
            was = _arrays_of(self._recording.snapshot(seq))
        except RecordingError as error:
            self.found.differ(Difference(BOOK, *at, None, "snapshot", str(error), "unreadable"))
            return
        now = _arrays_of(self._engine.snapshot())
        if str(was.pop("identity", "")) != str(now.pop("identity")):
            self._say_once("snapshots of an engine with other instruments or features are left out")
            return
        self.found.snapshots += 1
        for name in [*was, *(now.keys() - was.keys())]:
            stage = BOOK if name.startswith(_OF_BOOK) else VECTORS
            if name not in was or name not in now:
                self.found.differ(Difference(stage, *at, None, name, "absent", "absent"))
                continue
            symbols = self._symbols if len(was[name]) == len(self._symbols) else ()
            self.found.compare_arrays(stage, at, symbols, was[name], now[name], (), f"state {name}")

    def _say_once(self, words: str) -> None:
        if words not in self.found.words:
            self.found.words.append(words)

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
            self._next_said()
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
            self._differ(
                BOUNDARIES, said.boundary_ns, None, None, "closed", "did not close", 1,
                said.closed_by_seq,
            )  # fmt: skip
        self._next_said()

    def _differ(
        self, stage: str, boundary_ns: int, symbol: str | None, what: str | None, recorded: object,
        replayed: object, count: int = 1, row: int = -1,
    ) -> None:  # fmt: skip
        self.found.differ(
            Difference(stage, row, boundary_ns, symbol, what, str(recorded), str(replayed)), count
        )

    def _compare_engine(self, boundary: Boundary, said: RecordedBoundary) -> None:
        at, found = (boundary.closed_by_seq, boundary.boundary_ns), self.found
        found.compared[BOUNDARIES] += 1
        for name in ("closed_by_seq", "closed_at_ns"):
            was, now = getattr(said, name), getattr(boundary, name)
            if was != now:
                self._differ(BOUNDARIES, at[1], None, name, was, now, 1, at[0])
        for stage, parts in ENGINE_FIELDS.items():
            columns = self._made.columns
            if stage == VECTORS and not columns:
                continue
            found.compared[stage] += 1
            for name in parts:
                was, now = getattr(said, name), getattr(boundary, name)
                names: tuple[str, ...] = ()
                prefix = "" if name in ("vectors", "bill_inputs") else name
                if stage == VECTORS and columns is not None:
                    names = self._engine.layout.names
                    if self._made.features:
                        was, now = was[:, list(columns)], now[:, list(columns.values())]
                        names = tuple(names[k] for k in columns.values())
                found.compare_arrays(stage, at, self._symbols, was, now, names, prefix)

    def _compare_opinion(
        self, boundary: Boundary, said: RecordedBoundary, opinion: Opinion
    ) -> None:
        if said.verdicts is None or opinion.verdicts is None:
            return
        if opinion.version != named_version(said):
            return  # another model was asked for: there is nothing to compare with
        at = (boundary.closed_by_seq, boundary.boundary_ns)
        if said.probabilities is not None and opinion.scores is not None:
            horizons = [f"{h} s" for h in said.verdicts[0]["horizons_s"]]
            self.found.compared[PROBABILITIES] += 1
            self.found.compare_arrays(
                PROBABILITIES, at, self._symbols, said.probabilities, opinion.scores, horizons
            )
        self.found.compared[VERDICTS] += 1
        if len(said.verdicts) != len(opinion.verdicts):
            recorded, replayed = len(said.verdicts), len(opinion.verdicts)
            self._differ(VERDICTS, at[1], None, "count", recorded, replayed, 1, at[0])
            return
        for was, now in zip(said.verdicts, opinion.verdicts, strict=True):
            for name in [*was, *(now.keys() - was.keys())]:
                one, other = plain(was.get(name)), plain(now.get(name))
                if one != other:
                    self._differ(VERDICTS, at[1], was.get("symbol"), name, one, other, 1, at[0])


def named_version(said: RecordedBoundary) -> str | None:
    """The model whose scores were judged; None where there was none."""
    return said.verdicts[0]["model_version"] if said.verdicts else None


def _arrays_of(blob: bytes) -> dict[str, NDArray[Any]]:
    """The arrays of an engine's snapshot. Raises RecordingError where it cannot be read."""
    try:
        with np.load(io.BytesIO(zlib.decompress(blob)), allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (zlib.error, ValueError, OSError, KeyError, EOFError) as error:
        raise RecordingError(f"the engine snapshot cannot be read: {error}") from error


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
