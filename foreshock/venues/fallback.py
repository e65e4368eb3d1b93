"""A primary venue and those that stand in for it, as one sequenced input.

1. A *leg* is one venue's session. The legs hold the same symbols, each under indices of its own:
   the fallback's BTCUSDT is another instrument of another market, in rows, books and features
   alike. Rows of a fallback leg carry the flag FALLBACK. Nothing is merged, so nothing is mixed.
2. There is one numbering: whatever any leg says is numbered and stamped here, in order.
3. Which leg is listened to is decided at the timer, by `SwitchRule`, from connection rows and from
   what the shell was told of a venue's status. A switch is a CONTROL row (CONTROL_VENUE, the leg's
   number), so that a replay follows it.
4. The shell keeps the primary's connections open always (or nobody would notice that it is back)
   and a fallback's while it is listened to: `open_legs`.

A model of the primary's market refuses the fallback's symbols, because their domain names another
market: judge each leg's `span` of a boundary under a domain of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from foreshock.errors import ConfigError, InstrumentError
from foreshock.market.clock import SECOND_NS
from foreshock.market.context import context_rows
from foreshock.market.instruments import Instrument
from foreshock.market.jit import in_place_kernel
from foreshock.market.rows import (
    ALL,
    ARRIVAL,
    CONNECTED,
    CONTROL,
    CONTROL_VENUE,
    CUT,
    FALLBACK,
    META,
    SEQ,
    TIMER,
    Rows,
    as_words,
    empty_rows,
)
from foreshock.market.words import count_of, flags_of, kind_of, meta_word, symbol_of
from foreshock.venues.session import Session, SnapshotRequest


@dataclass(frozen=True, slots=True)
class SwitchRule:
    """When to listen to another venue.

    down_after_s  the venue listened to had no connection at all, or said that it is down, for so
                  long: the next one is taken
    back_after_s  the primary had all of its connections, without a cut, for so long: back to it
    """

    down_after_s: float = 10.0
    back_after_s: float = 60.0

    def __post_init__(self) -> None:
        if not (self.down_after_s > 0 and self.back_after_s > 0):
            raise ConfigError(f"a switch needs times above zero, got {self}")


@dataclass(slots=True)
class _Health:
    """What is known of a leg's venue. `since_ns`: since when it is down, or up without a change."""

    since_ns: int = 0
    told_up: bool = True
    up: bool = False
    known: set[int] = field(default_factory=set)
    open: set[int] = field(default_factory=set)

    def judge(self, arrival_ns: int) -> None:
        was, self.up = self.up, self.told_up and bool(self.open)
        if self.up or was:
            self.since_ns = arrival_ns

    @property
    def whole(self) -> bool:
        return self.up and self.open == self.known


@in_place_kernel
def _adopt(
    words: NDArray[np.int64], first_symbol: int, flags: int, next_seq: int, last_ns: int
) -> tuple[int, int]:
    """Give header rows their place in the one input: symbol, flags, number, stamp."""
    i = 0
    while i < len(words):
        meta = words[i, META]
        s = symbol_of(meta)
        if s != ALL:
            s += first_symbol
        words[i, META] = meta_word(kind_of(meta), flags_of(meta) | flags, count_of(meta), s)
        words[i, SEQ] = next_seq
        next_seq += 1
        last_ns = max(last_ns, words[i, ARRIVAL])
        words[i, ARRIVAL] = last_ns
        i += 1 + count_of(meta)
    return next_seq, last_ns


class Leg:
    """One venue's session within the input: `Session`, less what is of the whole input (start,
    timer, control). Symbols are spelled as ever; rows come with the leg's indices."""

    def __init__(self, whole: FallbackSession, number: int, session: Session) -> None:
        self._whole, self.number, self.session = whole, number, session

    @property
    def instruments(self) -> tuple[Instrument, ...]:
        """Of this venue."""
        return self.session.instruments

    @property
    def counts(self) -> dict[str, int]:
        """Frames of this venue by what became of them."""
        return self.session.counts

    def receive(self, frames: Sequence[bytes], arrival_ns: NDArray[np.int64]) -> Rows:
        """See `Session.receive`."""
        return self._whole.adopt(self.number, self.session.receive(frames, arrival_ns))

    def receive_snapshot(self, symbol: str, body: bytes, levels: int, arrival_ns: int) -> Rows:
        """See `Session.receive_snapshot`."""
        rows = self.session.receive_snapshot(symbol, body, levels, arrival_ns)
        return self._whole.adopt(self.number, rows)

    def receive_answer(self, kind: str, symbol: str, body: bytes, arrival_ns: int) -> Rows:
        """See `Session.receive_answer`."""
        rows = self.session.receive_answer(kind, symbol, body, arrival_ns)
        return self._whole.adopt(self.number, rows)

    def connection(
        self, number: int, state: int, families: int, symbols: Sequence[str], offset_ns: int,
        arrival_ns: int,
    ) -> Rows:  # fmt: skip
        """See `Session.connection`. Numbers are unique over all legs."""
        self._whole.heard_connection(self.number, number, state, arrival_ns)
        rows = self.session.connection(number, state, families, symbols, offset_ns, arrival_ns)
        return self._whole.adopt(self.number, rows)

    def resync(self, symbol: str, reason: int, arrival_ns: int) -> Rows:
        """See `Session.resync`."""
        return self._whole.adopt(self.number, self.session.resync(symbol, reason, arrival_ns))

    def refresh(self, symbol: str) -> None:
        """See `Session.refresh`."""
        self.session.refresh(symbol)

    def wanted(self) -> list[SnapshotRequest]:
        """See `Session.wanted`."""
        return self.session.wanted()

    def snapshot_failed(self, symbol: str) -> None:
        """See `Session.snapshot_failed`."""
        self.session.snapshot_failed(symbol)

    def streams(self) -> list[str]:
        """See `Session.streams`."""
        return self.session.streams()

    def silent(self) -> list[str]:
        """See `Session.silent`."""
        return self.session.silent()


class FallbackSession:
    """The whole input: `legs[0]` is the primary. Hand frames and events to their leg; `start`,
    `timer` and `control` are of the whole. All sessions hold the same symbols in the same order.

    Raises InstrumentError where they do not, or two of them are of one market."""

    def __init__(
        self, primary: Session, fallbacks: Sequence[Session], rule: SwitchRule | None = None
    ) -> None:
        sessions = (primary, *fallbacks)
        names = [[i.symbol for i in session.instruments] for session in sessions]
        self.markets = tuple(session.instruments[0].market for session in sessions)
        if any(symbols != names[0] for symbols in names) or len(set(self.markets)) < len(sessions):
            raise InstrumentError(f"the same symbols on different markets, got {self.markets}")
        self.rule = rule or SwitchRule()
        self.legs = tuple(Leg(self, k, session) for k, session in enumerate(sessions))
        self.active = 0
        self._n = len(names[0])
        self._health = [_Health() for _ in sessions]
        self._started = [False] * len(sessions)
        self._seq = self._last_ns = 0

    @property
    def instruments(self) -> tuple[Instrument, ...]:
        """Of all legs, behind each other: what the engine is made of."""
        return tuple(i for leg in self.legs for i in leg.instruments)

    @property
    def open_legs(self) -> tuple[int, ...]:
        """Whose connections the shell keeps open now."""
        return (0,) if self.active == 0 else (0, self.active)

    def span(self, leg: int) -> slice:
        """Where a leg's symbols lie among the rows' indices and in a boundary's arrays."""
        return slice(leg * self._n, (leg + 1) * self._n)

    def start(self, arrival_ns: int) -> Rows:
        """The primary's first epochs. A fallback's come when it is first listened to: until then
        its books are as unknown as they are."""
        self._health[0].since_ns = arrival_ns
        return self._start(0, arrival_ns)

    def _start(self, leg: int, arrival_ns: int) -> Rows:
        self._started[leg] = True
        return self.adopt(leg, self.legs[leg].session.start(arrival_ns))

    def timer(self, arrival_ns: int) -> Rows:
        """One timer row, what fell silent on any leg, and the switch where one is due."""
        out = [self._row(arrival_ns, TIMER)]
        for leg in self.legs:
            if self._started[leg.number]:
                rows = leg.session.timer(arrival_ns)
                out.append(self.adopt(leg.number, rows[rows["kind"] != TIMER]))
        taken = self._due(arrival_ns)
        if taken != self.active:
            self.active = taken
            out.append(self.control(CONTROL_VENUE, taken, arrival_ns))
            self._health[taken].since_ns = arrival_ns
            if not self._started[taken]:
                out.append(self._start(taken, arrival_ns))
        return np.concatenate(out)

    def _due(self, now_ns: int) -> int:
        """The leg to listen to from now on."""
        primary, present = self._health[0], self._health[self.active]
        whole_ns = now_ns - primary.since_ns if primary.whole else -1
        if self.active > 0 and whole_ns >= self.rule.back_after_s * SECOND_NS:
            return 0
        down = not present.up and now_ns - present.since_ns >= self.rule.down_after_s * SECOND_NS
        return self.active + 1 if down and self.active + 1 < len(self.legs) else self.active

    def told(self, leg: int, up: bool, arrival_ns: int) -> None:
        """What the venue says of itself: down (maintenance, a ban of this address) or up again."""
        self._health[leg].told_up = up
        self._health[leg].judge(arrival_ns)

    def heard_connection(self, leg: int, number: int, state: int, arrival_ns: int) -> None:
        """A leg's connection opened or was cut; negative numbers are no sockets."""
        health = self._health[leg]
        if number < 0 or state not in (CONNECTED, CUT):
            return
        health.known.add(number)
        (health.open.add if state == CONNECTED else health.open.discard)(number)
        health.judge(arrival_ns)

    def control(self, control_field: int, value: int, arrival_ns: int) -> Rows:
        """A control row of the whole input."""
        return self._row(arrival_ns, CONTROL, a=control_field, b=value)

    def context(self, boundary_ns: int, known_ns: int, body: bytes, arrival_ns: int) -> Rows:
        """Context rows, of the symbols of whoever is listened to (`Session.context`)."""
        rows = context_rows(body, self._n, boundary_ns, known_ns, arrival_ns, 0)
        return self.adopt(self.active, rows)

    def _row(self, arrival_ns: int, kind: int, **payload: int) -> Rows:
        row = empty_rows(1)
        row["arrival_ns"], row["kind"], row["symbol"] = arrival_ns, kind, ALL
        for name, value in payload.items():
            row[name] = value
        return self.adopt(0, row)

    def adopt(self, leg: int, rows: Rows) -> Rows:
        """A leg's rows in the one numbering, under the leg's indices; a fallback's are flagged."""
        rows = rows.copy()
        self._seq, self._last_ns = _adopt(
            as_words(rows), leg * self._n, FALLBACK if leg else 0, self._seq, self._last_ns
        )
        return rows
