"""Drive the live code with what was recorded: raw sessions of others, or our own sequenced input.

`rows_of_raw` plays the part of the shell for a raw session: it batches frames, hands snapshots to
the session when their answer arrived, and writes the timer rows that a shell's clock would have
written. `replay` runs rows through an engine. Neither knows more than the live shell knew.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from foreshock.engine.outcomes import Boundary
from foreshock.engine.step import Engine
from foreshock.market.clock import SECOND_NS, boundary_after
from foreshock.market.rows import REASON_CROSSED, REASON_RANGE, Rows
from foreshock.stores.raw_sessions import RawEvent
from foreshock.venues.binance import BinanceSession


def tape_of(events: Iterable[RawEvent]) -> str:
    """Which trade stream a raw session carries: "trade" or "aggTrade" (the first one seen)."""
    for event in events:
        if event.kind == "frame":
            if b'"e":"aggTrade"' in event.body:
                return "aggTrade"
            if b'"e":"trade"' in event.body:
                return "trade"
    return "trade"


def rows_of_raw(
    session: BinanceSession,
    events: Sequence[RawEvent],
    *,
    batch: int = 256,
    step_ns: int = SECOND_NS,
) -> Iterator[Rows]:
    """The sequenced input of a raw session, in batches of at most `batch` frames: the same rows for
    any `batch`, since frames are stamped one by one and a timer row ends every step."""
    if not events:
        return
    yield session.start(events[0].arrival_ns)
    frames: list[bytes] = []
    stamps: list[int] = []
    boundary_ns = boundary_after(events[0].arrival_ns, step_ns)

    def flush() -> Iterator[Rows]:
        if frames:
            rows = session.receive(frames, np.array(stamps, np.int64))
            frames.clear()
            stamps.clear()
            if len(rows):
                yield rows

    for event in events:
        while event.arrival_ns >= boundary_ns:
            yield from flush()
            yield session.timer(boundary_ns)
            boundary_ns += step_ns
        if event.kind == "frame":
            frames.append(event.body)
            stamps.append(event.arrival_ns)
            if len(frames) >= batch:
                yield from flush()
        elif event.kind == "depth":
            yield from flush()
            session.wanted()
            rows = session.receive_snapshot(
                event.symbol, event.body, session.levels, event.arrival_ns
            )
            if len(rows):
                yield rows
    yield from flush()
    yield session.timer(boundary_ns)


def replay_raw(
    engine: Engine, session: BinanceSession, events: Sequence[RawEvent]
) -> Iterator[tuple[Rows, list[Boundary]]]:
    """A raw session as a live shell takes it: the sequenced input in pieces, each with the
    boundaries that it closed. Behind a closed boundary come the rows that open new epochs for books
    which the engine distrusts by then."""
    for rows in rows_of_raw(session, events):
        closed = engine.feed(rows)
        yield rows, closed
        if closed:
            for more in distrust(engine, session, closed[-1].closed_at_ns):
                yield more, engine.feed(more)


def replay(engine: Engine, batches: Iterable[Rows]) -> Iterator[Boundary]:
    """Every boundary that the batches close, in order."""
    for rows in batches:
        yield from engine.feed(rows)


def distrust(engine: Engine, session: BinanceSession, arrival_ns: int) -> list[Rows]:
    """Rows that open a new epoch for every book which the engine distrusts; the shell feeds them
    back into the engine like any other input. Books that only run out of what is known are
    refreshed: that needs no row before the snapshot comes."""
    out = []
    for symbol, crossed in engine.distrusted():
        reason = REASON_CROSSED if crossed else REASON_RANGE
        rows = session.resync(engine.instruments[symbol].symbol, reason, arrival_ns)
        if len(rows):
            out.append(rows)
    for index in engine.narrow():
        session.refresh(engine.instruments[index].symbol)
    return out
