"""The parity certificate: one input, two engines, not one bit between them.

    shell ─▶ Tap ─▶ session ─▶ rows ─▶ engine, fed as a live shell feeds it ────────┐
              │                  └─▶ engine, fed in random pieces and, now and then,│
              │                      thrown away and restored from its snapshot ────┤ every bit of
              └─▶ journal ─▶ session, in other batches ─▶ rows ─────────────────────┘ both the same

Every column of a boundary's vectors is compared, by the catalogue's own enumeration: there is no
list of features here that one could be missing from. A feature that was never given has not been
certified, and is an alarm. `Plant`s spoil the second engine on purpose: a certificate that does not
find them is worth nothing.
"""

from __future__ import annotations

import io
import random
import zlib
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from foreshock.engine.outcomes import Boundary
from foreshock.engine.step import Engine
from foreshock.market.instruments import Instrument
from foreshock.market.rows import BOOK, EPOCH, REASON_START, RESYNCING, TRADE, Rows, heads
from foreshock.replay.tap import Tap, rows_of_journal
from foreshock.stores.journal import entries_of, to_table

LONGEST_PIECE: Final = 400  # headers
A_BIT_OF_EACH: Final = "a bit of each feature"
RESTORE_EVERY: Final = 25_000  # headers, on average
PARTS: Final = (
    "vectors", "warm", "book_state", "book_epoch", "tape_epoch", "bill_inputs", "rows",
)  # fmt: skip


@dataclass(slots=True)
class Certificate:
    """What was compared, over all inputs.

    features     names, in column order
    rows         header rows that went through both engines; `kinds` of them
    given        by feature, how many were given (not NaN) and compared, int64
    differing    by feature, part of a boundary, or state: differing bits
    cuts, restores, resyncs   how often the second engine was cut off and restored, and how often a
                 book was joined anew
    first        the first difference, as words
    """

    features: tuple[str, ...]
    rows: int = 0
    kinds: Counter[int] = field(default_factory=Counter)
    boundaries: int = 0
    given: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    differing: Counter[str] = field(default_factory=Counter)
    cuts: int = 0
    restores: int = 0
    resyncs: int = 0
    first: str | None = None

    def __post_init__(self) -> None:
        self.given = np.zeros(len(self.features), np.int64)

    @property
    def differing_bits(self) -> int:
        """Of everything."""
        return self.differing.total()

    @property
    def alarms(self) -> list[str]:
        """What keeps this from being a certificate, besides differing bits."""
        never = np.flatnonzero(self.given == 0).tolist()
        out = [f"{self.features[k]} was never given" for k in never]
        happened = {"resync": self.resyncs, "restore": self.restores, "cut": self.cuts}
        return out + [f"no {what} happened" for what, n in happened.items() if not n]

    def note(self, what: str, bits: int, where: str) -> None:
        """Count differing bits of `what`."""
        if bits:
            self.differing[what] += bits
            self.first = self.first or f"{what} {where}"


@dataclass(frozen=True, slots=True)
class Plant:
    """A divergence put into the second engine on purpose, once, when `after` headers went by.

    rows      spoils a piece before it is fed
    state     spoils the arrays of a snapshot before it is restored
    boundary  spoils what is said
    """

    name: str
    after: int = 0
    rows: Callable[[Rows], Rows] | None = None
    state: Callable[[dict[str, Any]], None] | None = None
    boundary: Callable[[Boundary], Boundary] | None = None


class Twins:
    """Two engines over one input; `certificate` gathers what they say."""

    def __init__(
        self,
        instruments: list[Instrument],
        certificate: Certificate,
        seed: int,
        plant: Plant | None = None,
        restore_every: int = RESTORE_EVERY,
    ) -> None:
        self._instruments, self._found, self._plant = instruments, certificate, plant
        self._every = restore_every
        self._random = random.Random(seed)
        self._live, self._other = Engine(instruments), Engine(instruments)
        self._fed = 0
        self._restore_at = self._random.randint(1, restore_every)

    def feed(self, rows: Rows) -> None:
        """Both engines take `rows`, each in its way."""
        if not len(rows):
            return
        at = heads(rows)
        kinds = rows["kind"][at]
        books = at[(kinds == EPOCH) & (rows["c"][at] == BOOK) & (rows["a"][at] == RESYNCING)]
        self._found.resyncs += int((rows["d"][books] != REASON_START).sum())
        self._found.rows += len(at)
        many = np.bincount(kinds)
        self._found.kinds.update({k: int(many[k]) for k in np.flatnonzero(many).tolist()})
        self._compare(self._live.feed(rows), self._in_pieces(rows, [*at.tolist(), len(rows)]))

    def end(self) -> None:
        """The states that both arrived at."""
        one, other = (_arrays(engine.snapshot()) for engine in (self._live, self._other))
        for name, array in one.items():
            self._found.note(f"state {name}", _bits(array, other[name]), "at the end")

    def _in_pieces(self, rows: Rows, ends: list[int]) -> list[Boundary]:
        out: list[Boundary] = []
        lo = 0
        while lo < len(ends) - 1:
            # Many pieces of one row, some of hundreds.
            many = 1 + int(LONGEST_PIECE * self._random.random() ** 4)
            hi = min(lo + many, len(ends) - 1)
            piece = rows[ends[lo] : ends[hi]]
            plant = self._due()
            if plant is not None and plant.rows is not None:
                spoilt = plant.rows(piece)
                self._plant = None if len(spoilt) != len(piece) else plant
                piece = spoilt
            out += self._other.feed(piece)
            self._found.cuts += 1
            self._fed += hi - lo
            lo = hi
            if self._fed >= self._restore_at:
                self._restore()
        return [self._spoilt(boundary) for boundary in out]

    def _due(self) -> Plant | None:
        plant = self._plant
        return plant if plant is not None and self._fed >= plant.after else None

    def _restore(self) -> None:
        self._restore_at = self._fed + self._random.randint(1, 2 * self._every)
        blob = self._other.snapshot()
        plant = self._due()
        if plant is not None and plant.state is not None:
            arrays = _arrays(blob)
            plant.state(arrays)
            file = io.BytesIO()
            np.savez(file, **arrays)
            blob, self._plant = zlib.compress(file.getvalue(), 1), None
        self._other = Engine(self._instruments)
        self._other.restore(blob)
        self._found.restores += 1

    def _spoilt(self, boundary: Boundary) -> Boundary:
        plant = self._due()
        if plant is None or plant.boundary is None:
            return boundary
        self._plant = None
        return plant.boundary(boundary)

    def _compare(self, live: list[Boundary], other: list[Boundary]) -> None:
        found = self._found
        if [b.boundary_ns for b in live] != [b.boundary_ns for b in other]:
            found.note("boundaries", 64 * max(1, abs(len(live) - len(other))), "closed apart")
        for one, two in zip(live, other, strict=False):
            found.boundaries += 1
            where = f"at boundary {one.boundary_ns}, row {one.closed_by_seq}"
            for name in ("closed_by_seq", "closed_at_ns"):
                moved = int(getattr(one, name)) ^ int(getattr(two, name))
                found.note(name, moved.bit_count(), where)
            for part in PARTS[1:]:
                found.note(part, _bits(getattr(one, part), getattr(two, part)), where)
            found.given += np.isfinite(one.vectors).sum(axis=0)
            if one.vectors.shape == two.vectors.shape:
                apart = one.vectors.view(np.uint32) ^ two.vectors.view(np.uint32)
                by_column = np.bitwise_count(apart).sum(axis=0)
                for k in np.flatnonzero(by_column).tolist():
                    found.note(found.features[k], int(by_column[k]), where)
            else:
                found.note("vectors", 8 * one.vectors.nbytes, where)


def certify(
    source: Iterable[Rows],
    tap: Tap,
    session: Any,
    certificate: Certificate,
    seed: int,
    plant: Plant | None = None,
    restore_every: int = RESTORE_EVERY,
) -> None:
    """Certify one input.

    source   its rows, in pieces, as a live shell makes them of `tap`
    session  a fresh one like the tapped: it is given the journal in other batches
    restore_every   headers between two restores, on average
    """
    rng = random.Random(seed)
    twins = Twins(list(tap.instruments), certificate, seed, plant, restore_every)
    waiting: list[Rows] = []

    def remake() -> None:
        part = tap.take()
        if part is None:
            return
        made = [
            rows
            for _, rows in rows_of_journal(session, entries_of(to_table(part)), rng.randint(1, 999))
        ]
        was, now = (np.concatenate(each) if each else _NO_ROWS for each in (waiting, made))
        certificate.note("rows", _bits(was, now), "made anew from the journal")
        waiting.clear()

    for rows in source:
        twins.feed(rows)
        waiting.append(rows.copy())
        if len(waiting) >= 64:
            remake()
    remake()
    twins.end()


def plants(after: int) -> list[Plant]:
    """One bit in every feature, a row that is lost at a cut, and snapshots that forget."""

    def flip(boundary: Boundary) -> Boundary:
        vectors = boundary.vectors.copy()
        vectors.view(np.uint32)[-1] ^= 1
        return replace(boundary, vectors=vectors)

    def lose_a_trade(rows: Rows) -> Rows:
        at = heads(rows)
        trades = at[rows["kind"][at] == TRADE]
        return np.delete(rows, trades[-1]) if len(trades) else rows

    def forget(room: str) -> Callable[[dict[str, Any]], None]:
        def spoil(arrays: dict[str, Any]) -> None:
            for name in arrays:
                if name.startswith(room):
                    arrays[name] = np.zeros_like(arrays[name])

        return spoil

    return [
        Plant(A_BIT_OF_EACH, after, boundary=flip),
        Plant("a trade lost at a cut", after, rows=lose_a_trade),
        Plant("a restore that forgets the books", after, state=forget("ladder.")),
        Plant("a restore that forgets the tape", after, state=forget("flow.")),
    ]


_NO_ROWS: Final = np.zeros(0, np.uint8)


def _arrays(blob: bytes) -> dict[str, Any]:
    with np.load(io.BytesIO(zlib.decompress(blob)), allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def _bits(one: Any, other: Any) -> int:
    """Differing bits of two arrays; all of the larger one where their shapes differ."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return int(8 * max(one.nbytes, other.nbytes, 1))
    if one.dtype.kind == "U":  # the identity of a snapshot
        return 0 if str(one) == str(other) else 8
    a, b = (np.ascontiguousarray(array).view(np.uint8).reshape(-1) for array in (one, other))
    return 0 if np.array_equal(a, b) else int(np.bitwise_count(a ^ b).sum())
