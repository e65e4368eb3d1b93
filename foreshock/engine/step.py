"""The engine: rows in, boundaries out. The one code path of live, replay, backtest and training.

It reads no clock, no file and no other process: what it says follows from the rows alone, bit for
bit, for any cut of them into batches.

    rows ──▶ ladder.scan ──▶ touch records ──▶ every family's scan, the pulse of the tape
                 │ stops at the first row with arrival_ns ≥ boundary
                 ▼
            close: vectors, warm mask, epochs, bill inputs ──▶ Boundary
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from foreshock.engine import drift, pulse
from foreshock.engine.outcomes import BILL_INPUT, DEPTH_BPS, Boundary
from foreshock.engine.state import (
    FINE,
    H_BOOK_AGE,
    H_BOOK_EPOCH,
    H_BOOK_STATE,
    H_TAPE_AGE,
    H_TAPE_EPOCH,
    OUT_OF_ORDER,
    WRONG,
    check_rows,
    grow_cold,
    grow_older,
    new_health,
    new_raw,
    read_raw,
    scan_health,
)
from foreshock.errors import ConfigError, RowError, SequenceError, SnapshotError
from foreshock.features.catalog import FeatureSet
from foreshock.features.settings import FeatureSettings
from foreshock.features.vector import WITH_EPOCHS
from foreshock.market import ladder as books
from foreshock.market.clock import SECOND_NS, boundary_after
from foreshock.market.instruments import Instrument
from foreshock.market.rows import ARRIVAL, SEQ, SYNCED, Rows, Words, as_rows, as_words
from foreshock.market.touch import TOUCH_WORDS
from foreshock.market.walk import LADDER_NOTIONALS

# What reading a blob raises that was cut short, altered or never a snapshot.
_UNREADABLE = (
    zlib.error, zipfile.BadZipFile, ValueError, OSError, KeyError, EOFError, TypeError,
    AttributeError,
)  # fmt: skip


# A row that arrives so many steps behind the next boundary (a machine that slept, a stamp that is
# years off) closes that one and passes over the others.
LONGEST_QUIET_STEPS: Final = 3_600

_NOTIONALS: Final = np.array(LADDER_NOTIONALS)
_AS_THEY_ARE: Final = (
    "volatility_1s", "funding_rate", "funding_in_s", "bid_walk_bps", "ask_walk_bps",
)  # fmt: skip


class Engine:
    """All symbols of one sequenced input.

    Parameters
    ----------
    instruments   in the order of the rows' symbol index
    features      which are computed; without it the whole catalogue
    step_ns       the sampling step: a second, because the families of tape and book count their
                  windows in steps. A set without them may be sampled more rarely (ConfigError)
    phase_ns      boundaries lie so far behind the multiples of the step
    """

    def __init__(
        self, instruments: Sequence[Instrument], features: FeatureSettings | None = None, *,
        step_ns: int = SECOND_NS, phase_ns: int = 0,
    ) -> None:  # fmt: skip
        n = len(instruments)
        self.instruments = tuple(instruments)
        self.features = FeatureSet(features or FeatureSettings())
        self.layout = self.features.layout
        counted = [spec.name for spec in self.layout if spec.needs in WITH_EPOCHS]
        if step_ns != SECOND_NS and (counted or step_ns % SECOND_NS or step_ns <= 0):
            raise ConfigError(
                f"the sampling step must be {SECOND_NS} ns for {counted[:3]}, not {step_ns}: their "
                "windows are counted in it"
            )
        self._step_ns, self._phase_ns = step_ns, phase_ns
        self._ladder = books.init(n)
        self._families = [family for _, family, _ in self.features.families]
        self._states = self.features.init(instruments)
        self._pulse, self._drift = pulse.init(instruments), drift.init(instruments)
        self._health = new_health(n)
        self._boundary_ns = 0
        self._next_seq = 0
        self._last_ns = 0
        self._touch = np.zeros((1024, TOUCH_WORDS), np.int64)
        widths = [len(family.specs(given)) for _, family, given in self.features.families]
        self._values = [np.zeros((n, width)) for width in widths]
        self._raw = new_raw(n)
        self._steps = np.array([i.steps for i in instruments], np.int64).reshape(n, 4)
        self._warmup = np.array([spec.warmup_s for spec in self.layout], np.int64)
        self._needs_book = np.array([spec.needs == "book" for spec in self.layout], np.bool_)
        self._by_age = np.array([spec.needs in WITH_EPOCHS for spec in self.layout], np.bool_)

    @property
    def ladder(self) -> books.Ladder:
        """The books, for readers at a boundary (`market.ladder.levels`)."""
        return self._ladder

    @property
    def last_seq(self) -> int:
        """seq of the last header row fed; -1 before the first."""
        return self._next_seq - 1

    def feed(self, rows: Rows) -> list[Boundary]:
        """Advance by a batch of rows (whole: no header without its packs). Returns the boundaries
        that closed, in order. Raises SequenceError for rows out of (arrival_ns, seq) order, within
        the batch or behind what was fed before, and RowError for rows that break the data language;
        the engine is then as it was."""
        if len(rows) == 0:
            return []
        words = as_words(rows if rows.flags.writeable else rows.copy())  # kernels are typed so
        last = self._checked(words)
        if len(self._touch) < len(words):
            self._touch = np.zeros((2 * len(words), TOUCH_WORDS), np.int64)
        if self._boundary_ns == 0:
            self._boundary_ns = self._next(int(words[0, ARRIVAL]))
        out: list[Boundary] = []
        lo, hi = 0, len(words)
        while lo < hi:
            stop = books.scan(words, self._touch, lo, hi, self._boundary_ns, self._ladder)
            if stop > lo:
                scan_health(words, lo, stop, self._health, self._steps)
                pulse.scan(words, lo, stop, self._pulse)
                drift.scan(words, self._touch, lo, stop, self._drift)
                for family, state in zip(self._families, self._states, strict=True):
                    family.scan(words, self._touch, lo, stop, state)
            if stop < hi:
                arrival_ns = int(words[stop, ARRIVAL])
                out.append(self._close(int(words[stop, SEQ]), arrival_ns))
                if arrival_ns - self._boundary_ns > LONGEST_QUIET_STEPS * self._step_ns:
                    self._boundary_ns = self._next(arrival_ns)
                    grow_cold(self._health)
            lo = stop
        self._next_seq, self._last_ns = int(words[last, SEQ]) + 1, int(words[last, ARRIVAL])
        return out

    def _next(self, arrival_ns: int) -> int:
        return boundary_after(arrival_ns - self._phase_ns, self._step_ns) + self._phase_ns

    def _checked(self, words: Words) -> int:
        """Index of the last header row. Raises SequenceError or RowError."""
        at, why = check_rows(words, len(self.instruments), self._next_seq, self._last_ns)
        if why == OUT_OF_ORDER:
            raise SequenceError(
                f"row {at} of the batch has seq {words[at, SEQ]}, arrival {words[at, ARRIVAL]}: "
                f"before the row in front of it (the batch had to start at seq {self._next_seq} or "
                f"later, arrival {self._last_ns} or later)"
            )
        if why != FINE:
            raise RowError(f"row {at} of the batch {WRONG[why]}: {as_rows(words)[at]}")
        return int(at)

    def _close(self, seq: int, arrival_ns: int) -> Boundary:
        boundary_ns = self._boundary_ns
        self._boundary_ns += self._step_ns
        grow_older(self._health)
        for family, state, out in zip(self._families, self._states, self._values, strict=True):
            family.close(boundary_ns, self._ladder, state, out)
        health, raw = self._health, self._raw
        tape_age = np.ascontiguousarray(health[:, H_TAPE_AGE])
        pulse.close(self._pulse, tape_age, raw.traded_60s, raw.volatility_1s)
        book_age = np.ascontiguousarray(health[:, H_BOOK_AGE])
        drift.close(self._drift, boundary_ns, book_age, raw.mid_moves_bps)
        pulse.next_funding(self._pulse, boundary_ns, raw.funding_rate, raw.funding_in_s)
        age = np.where(self._needs_book, health[:, H_BOOK_AGE, None], health[:, H_TAPE_AGE, None])
        values = np.concatenate(self._values, axis=1)
        warm = np.where(self._by_age, age >= self._warmup, ~np.isnan(values))
        values[~warm] = np.nan
        return Boundary(
            boundary_ns=boundary_ns,
            closed_by_seq=seq,
            closed_at_ns=arrival_ns,
            vectors=values.astype(np.float32),
            warm=warm,
            book_state=health[:, H_BOOK_STATE].astype(np.uint8),
            book_epoch=health[:, H_BOOK_EPOCH].astype(np.int32),
            tape_epoch=health[:, H_TAPE_EPOCH].astype(np.int32),
            bill_inputs=self._bill_inputs(),
            rows=self._ladder.info[:, books.I_APPLIED].copy(),
        )

    def _bill_inputs(self) -> NDArray[np.void]:
        tick = self._steps[:, 1] / 10.0 ** self._steps[:, 0]
        notional = tick * (self._steps[:, 3] / 10.0 ** self._steps[:, 2])
        read_raw(self._ladder, DEPTH_BPS, notional, _NOTIONALS, self._raw)
        out = np.zeros(len(self.instruments), BILL_INPUT)
        touch = self._ladder.touch
        known = (
            (self._health[:, H_BOOK_STATE] == SYNCED)
            & (touch[:, 0] > 0)
            & (touch[:, 2] > touch[:, 0])
        )
        last_ticks = self._pulse.last_ticks
        out["bid"] = np.where(known, touch[:, 0] * tick, np.nan)
        out["ask"] = np.where(known, touch[:, 2] * tick, np.nan)
        out["last"] = np.where(last_ticks > 0, last_ticks * tick, np.nan)
        out["bid_notional"] = self._raw.bid_notional * notional
        out["ask_notional"] = self._raw.ask_notional * notional
        out["volume_60s"] = self._raw.traded_60s * notional
        out["mid_move_100ms_bps"], out["mid_move_1s_bps"] = self._raw.mid_moves_bps.T
        for name in _AS_THEY_ARE:
            out[name] = getattr(self._raw, name)
        return out

    def distrusted(self) -> list[tuple[int, bool]]:
        """(symbol index, crossed) of SYNCED books that must be joined anew: a depth frame left them
        crossed, or the touch reached the edge of what the snapshot showed. The shell tells the
        session (`resync`), whose rows then tell the engine."""
        info = self._ladder.info
        bad = (info[:, books.I_STATE] == SYNCED) & (
            (info[:, books.I_RANGE_ALARM] > 0) | (info[:, books.I_CROSSED] > 0)
        )
        return [(int(s), bool(info[s, books.I_CROSSED])) for s in np.flatnonzero(bad)]

    def narrow(self) -> list[int]:
        """Symbol indices of SYNCED books whose touch comes near the edge of what is known: the
        shell has the session fetch a snapshot (`refresh`), which is joined in the same epoch."""
        info = self._ladder.info
        near = (info[:, books.I_STATE] == SYNCED) & (info[:, books.I_NARROW] > 0)
        return [int(s) for s in np.flatnonzero(near)]

    def cool(self) -> None:
        """Forget what every feature remembers, as an engine that starts here would know nothing;
        books, epochs and the position stay. For audits of how much a long memory matters."""
        self._states = self.features.init(self.instruments)
        self._pulse = pulse.init(self.instruments)
        self._drift = drift.init(self.instruments)
        grow_cold(self._health)

    # Snapshots: everything that the future depends on, as one blob.

    def _arrays(self) -> dict[str, NDArray[np.generic]]:
        out: dict[str, NDArray[np.generic]] = {
            f"ladder.{name}": getattr(self._ladder, name) for name in self._ladder._fields
        }
        parts: list[tuple[str, Any]] = [("pulse", self._pulse), ("drift", self._drift)]
        parts += zip(self.features.settings.families, self._states, strict=True)
        for name, state in parts:
            fields = [field for field in state._fields if field != "params"]
            out |= {f"{name}.{field}": getattr(state, field) for field in fields}
        out["health"], out["steps"] = self._health, self._steps
        out["position"] = np.array([self._boundary_ns, self._next_seq, self._last_ns], np.int64)
        return out

    def _identity(self) -> str:
        instruments = [i.as_dict() for i in self.instruments]
        return f"{self.layout.fingerprint} {self._step_ns} {self._phase_ns} {instruments}"

    def snapshot(self) -> bytes:
        """The whole state between two batches. `restore` takes it; the future is the same bits."""
        file = io.BytesIO()
        np.savez(file, identity=np.array(self._identity()), **self._arrays())  # type: ignore[arg-type]
        return zlib.compress(file.getvalue(), 1)

    def restore(self, blob: bytes) -> None:
        """Take the state of a snapshot. Raises SnapshotError where it is damaged or was made by an
        engine with other instruments or features; this engine is then unchanged."""
        try:
            with np.load(io.BytesIO(zlib.decompress(blob)), allow_pickle=False) as file:
                found = {name: file[name] for name in file.files}
        except _UNREADABLE as error:
            raise SnapshotError(f"the engine snapshot cannot be read: {error}") from error
        identity = str(found.pop("identity", ""))
        if identity != self._identity():
            raise SnapshotError(
                f"the snapshot was made with {identity!r}, this engine is {self._identity()!r}"
            )
        mine = self._arrays()
        found.setdefault("steps", self._steps)  # of before instruments had versions
        for name in mine:  # of before bills knew the funding rate and the mid's moves
            if name.startswith(("drift.", "pulse.funding_")):
                found.setdefault(name, mine[name])
        if mine.keys() != found.keys():
            raise SnapshotError(f"the snapshot misses {sorted(mine.keys() ^ found.keys())}")
        for name, array in mine.items():
            if array.shape != found[name].shape or array.dtype != found[name].dtype:
                raise SnapshotError(f"{name} is {found[name].shape}, expected {array.shape}")
        for name, array in mine.items():
            array[...] = found[name]
        self._boundary_ns, self._next_seq, self._last_ns = found["position"].tolist()
