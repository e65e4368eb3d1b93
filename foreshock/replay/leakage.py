"""The look-ahead audit: change the future and see whether the past of a dataset moves.

A *build* makes a matrix of rows from a sequenced input: engine, joins, barriers, whatever a dataset
goes through. For a cut T it is run twice over the same stretch, once as it was and once with every
market row at or after T altered; whatever it says of a row with t0 ≤ T must be the same bits, for
every column. A column that moves knew the future and is named.

Each cut starts from an engine snapshot and ends where the labels of its rows do, so that the cost
grows with the number of cuts, not with cuts times length. What a build computes over "all rows" it
computes over that stretch: a scaler fitted on it moves all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from foreshock.engine.step import Engine
from foreshock.errors import DatasetError
from foreshock.market.clock import SECOND_NS
from foreshock.market.instruments import Instrument
from foreshock.market.rows import (
    BAR,
    CONTEXT,
    DEPTH,
    LIQUIDATION,
    MARK,
    METRIC,
    QUOTE,
    SELL,
    SNAPSHOT,
    TRADE,
    Rows,
    as_words,
    heads,
)

CHECKPOINT_S: Final = 30


@dataclass(frozen=True, slots=True)
class Matrix:
    """What a build says. n rows, k columns.

    t0_ns    int64 (n,)
    symbol   int32 (n,)
    values   (n, k), any dtype whose bits are promised
    names    k column names
    """

    t0_ns: NDArray[np.int64]
    symbol: NDArray[np.int32]
    values: NDArray[Any]
    names: tuple[str, ...]


Build = Callable[[Rows, bytes | None], Matrix]


@dataclass(frozen=True, slots=True)
class Alarm:
    """A column that moved: its first row that did, and how many did at this cut."""

    column: str
    cut_ns: int
    t0_ns: int
    symbol: int
    rows: int


@dataclass(frozen=True, slots=True)
class Report:
    """Of one build: how many rows (times cuts) were compared, what moved, and the columns that had
    no value in any of these rows, so that nothing is proved of them."""

    columns: int
    rows: int
    cuts: int
    alarms: tuple[Alarm, ...]
    unseen: tuple[str, ...] = ()

    @property
    def leaky(self) -> tuple[str, ...]:
        """The columns that raised an alarm, each once."""
        return tuple(dict.fromkeys(alarm.column for alarm in self.alarms))

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "columns": self.columns, "rows": self.rows, "cuts": self.cuts,
            "alarms": [asdict(alarm) for alarm in self.alarms], "unseen": list(self.unseen),
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Stretch:
    """The rows around one cut and the engine as it was before them."""

    cut_ns: int
    start: bytes | None
    rows: Rows


class Audited:
    """A sequenced input, gone through once, ready to be cut.

    Parameters
    ----------
    instruments, batches   as the engine takes them
    window_s    how many seconds of rows before a cut are looked at
    horizon_s   how far labels look; the stretch goes on a little beyond it
    cuts        how many, seeded by `seed`, spread over the input
    last_s      or over its last so many seconds, when the longest windows are full

    Raises DatasetError where the input is too short for one cut.
    """

    def __init__(
        self, instruments: Sequence[Instrument], batches: Iterable[Rows], *, window_s: int,
        horizon_s: int, cuts: int, seed: int, last_s: int | None = None,
    ) -> None:  # fmt: skip
        engine = Engine(instruments)
        self._rows: list[Rows] = []
        # (boundary, how many batches are in, snapshot) every CHECKPOINT_S seconds
        marks: list[tuple[int, int, bytes]] = []
        first = last = 0
        for rows in batches:
            closed = engine.feed(rows)
            self._rows.append(rows)
            if closed:
                last = closed[-1].boundary_ns
                first = first or closed[0].boundary_ns
                if not marks or last - marks[-1][0] >= CHECKPOINT_S * SECOND_NS:
                    marks.append((last, len(self._rows), engine.snapshot()))
        begin = first + window_s * SECOND_NS
        end = last - (horizon_s + 2) * SECOND_NS
        if end <= begin:
            raise DatasetError(
                f"{(last - first) // SECOND_NS} s are too short for a window of {window_s} s and "
                f"labels of {horizon_s} s"
            )
        if last_s is not None:
            begin = max(begin, end - last_s * SECOND_NS)
        drawn = np.random.default_rng(seed).uniform(begin, end, cuts)
        self.cuts_ns = np.unique((drawn // SECOND_NS).astype(np.int64) * SECOND_NS)
        self._marks, self._window_s, self._horizon_s = marks, window_s, horizon_s
        self._seed = seed

    def stretches(self) -> Iterable[_Stretch]:
        """One for each cut."""
        for cut_ns in self.cuts_ns.tolist():
            before = [m for m in self._marks if m[0] <= cut_ns - self._window_s * SECOND_NS]
            _, place, start = before[-1] if before else (0, 0, None)
            until_ns = cut_ns + (self._horizon_s + 2) * SECOND_NS
            parts = []
            for rows in self._rows[place:]:
                if not len(rows):
                    continue
                parts.append(rows)
                if int(rows["arrival_ns"][0]) > until_ns:
                    break
            yield _Stretch(cut_ns, start, np.concatenate(parts))

    def audit(self, build: Build) -> Report:
        """Run `build` over every stretch, as it was and with its future altered."""
        compared = columns = 0
        alarms: list[Alarm] = []
        seen: NDArray[np.bool_] | None = None
        names: tuple[str, ...] = ()
        for stretch in self.stretches():
            said = build(stretch.rows, stretch.start)
            other = build(
                altered(stretch.rows, stretch.cut_ns, self._seed ^ stretch.cut_ns), stretch.start
            )
            columns, names = len(said.names), said.names
            known = ~np.isnan(said.values[said.t0_ns <= stretch.cut_ns]).all(axis=0)
            seen = known if seen is None else seen | known
            rows, moved = _moved(said, other, stretch.cut_ns)
            compared += rows
            alarms += moved
        blind = () if seen is None else np.flatnonzero(~seen).tolist()
        unseen = tuple(names[k] for k in blind)
        return Report(columns, compared, len(self.cuts_ns), tuple(alarms), unseen)


def altered(rows: Rows, cut_ns: int, seed: int) -> Rows:
    """The same input with another future: every market row that arrived at or after `cut_ns` tells
    other prices, sizes and sides. Order, stamps and ids stay, so that it is still a valid input."""
    rng = np.random.default_rng(seed)
    out = rows.copy()
    words = as_words(out)
    for head in heads(rows):
        row = out[head]
        if int(row["arrival_ns"]) < cut_ns:
            continue
        kind = int(row["kind"])
        if kind in (TRADE, LIQUIDATION):
            row["a"] = max(1, int(int(row["a"]) * rng.uniform(0.98, 1.02)))
            row["b"] = int(rng.integers(1, 2 * int(row["b"]) + 2))
            row["flags"] = int(row["flags"]) ^ (SELL if rng.random() < 0.5 else 0)
        elif kind == QUOTE:
            row["b"] = int(rng.integers(1, 2 * int(row["b"]) + 2))
            row["d"] = int(rng.integers(1, 2 * int(row["d"]) + 2))
        elif kind in (DEPTH, SNAPSHOT):
            levels = words[head + 1 : head + 1 + int(row["count"])].reshape(-1, 2)
            used = levels[: int(row["b"]) + int(row["c"])]
            sizes = rng.integers(1, 2 * used[:, 1] + 2)
            used[:, 1] = np.where(rng.random(len(used)) < 0.3, 0, sizes)
        elif kind == BAR:
            words[head + 1, :6] = np.maximum(1, words[head + 1, :6] * rng.integers(1, 4))
        elif kind in (MARK, METRIC, CONTEXT):
            columns = {MARK: ("a", "b", "c"), METRIC: ("b",), CONTEXT: ("b",)}[kind]
            for column in columns:
                value = np.int64(row[column]).view(np.float64) * rng.uniform(0.5, 1.5)
                row[column] = np.float64(value).view(np.int64)
    return out


def _moved(said: Matrix, other: Matrix, cut_ns: int) -> tuple[int, list[Alarm]]:
    """How many rows were compared, and the columns that differ in any row up to the cut."""
    past, past_other = said.t0_ns <= cut_ns, other.t0_ns <= cut_ns
    keys = [
        np.stack([m.t0_ns[p], m.symbol[p].astype(np.int64)])
        for m, p in ((said, past), (other, past_other))
    ]
    if keys[0].shape != keys[1].shape or (keys[0] != keys[1]).any():
        # Which rows there are must not depend on the future either.
        return int(past.sum()), [
            Alarm("(rows)", cut_ns, 0, -1, abs(int(past.sum() - past_other.sum())))
        ]
    mine = np.ascontiguousarray(said.values[past])
    theirs = np.ascontiguousarray(other.values[past_other])
    width = mine.dtype.itemsize
    differ = (
        mine.view(np.uint8).reshape(len(mine), -1, width)
        != theirs.view(np.uint8).reshape(len(theirs), -1, width)
    ).any(axis=2)
    alarms = []
    for column in np.flatnonzero(differ.any(axis=0)).tolist():
        row = int(np.argmax(differ[:, column]))
        at_ns, symbol = int(said.t0_ns[past][row]), int(said.symbol[past][row])
        count = int(differ[:, column].sum())
        alarms.append(Alarm(said.names[column], cut_ns, at_ns, symbol, count))
    return int(past.sum()), alarms
