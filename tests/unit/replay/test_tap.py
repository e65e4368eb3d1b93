"""The tap: what goes into a session is kept in order, and what is shed is seen."""

from __future__ import annotations

import numpy as np
import pytest

from foreshock.errors import RecordingError
from foreshock.market.instruments import USDM
from foreshock.market.rows import CUT, REASON_RANGE
from foreshock.replay.tap import CALLS, Tap, rows_of_journal
from foreshock.stores.journal import FRAME, Entry, checksum, entries_of, to_table
from foreshock.venues.binance import BinanceSession
from foreshock.venues.session import Session
from tests.reference.venue import Venue

START = 1_700_000_000 * 10**9
# What a session only tells, or is told without an effect on its rows.
READS = {"instruments", "wanted", "streams", "silent", "counts"}
FRAMES = {"receive"}


def test_every_method_of_a_session_is_kept_or_known_to_tell_only() -> None:
    """A method that is new to the protocol must be put into one of the two."""
    methods = {name for name in vars(Session) if not name.startswith("_")}
    assert methods - READS - FRAMES <= set(CALLS)


def tapped(**given: int) -> tuple[Venue, Tap]:
    venue = Venue(USDM, ["AUSDT", "BUSDT"], 3)
    return venue, Tap(BinanceSession(venue.instruments()), **given)


def entries(tap: Tap) -> list[Entry]:
    part = tap.take()
    return [] if part is None else list(entries_of(to_table(part)))


def test_calls_are_kept_in_order_with_their_arguments_between_the_frames() -> None:
    venue, tap = tapped()
    frames = [venue.diff("AUSDT"), venue.trade("BUSDT")]
    tap.start(START)
    tap.receive(frames, np.array([START + 1, START + 2]))
    tap.snapshot_failed(symbol="AUSDT")
    tap.receive_snapshot("AUSDT", venue.snapshot("AUSDT"), levels=100, arrival_ns=START + 3)
    tap.connection(1, CUT, 3, ("AUSDT",), 0, START + 4)
    tap.resync("BUSDT", REASON_RANGE, START + 5)
    tap.timer(START + 6)
    found = entries(tap)
    assert [e.call for e in found] == [
        "start", FRAME, FRAME, "snapshot_failed", "receive_snapshot", "connection", "resync",
        "timer",
    ]  # fmt: skip
    assert [e.arrival_ns - START for e in found] == [0, 1, 2, 2, 3, 4, 5, 6]
    assert [e.body for e in found[1:3]] == frames and found[4].body is not None
    assert found[5].args == f'[1,0,3,["AUSDT"],0,{START + 4}]'
    assert tap.take() is None


def test_frames_in_a_buffer_are_kept_like_frames_one_by_one() -> None:
    venue, tap = tapped()
    frames = [venue.diff("AUSDT"), venue.trade("BUSDT"), venue.quote("AUSDT")]
    buffer = np.frombuffer(b"--" + b"".join(frames), np.uint8)
    starts = 2 + np.cumsum([0, *map(len, frames)])
    stamps = START + np.arange(3)
    tap.start(START)
    rows = tap.receive_buffer(buffer, starts, stamps)
    found = entries(tap)
    assert [e.body for e in found[1:]] == frames
    fresh = BinanceSession(venue.instruments())
    remade = [rows for _, rows in rows_of_journal(fresh, found)]
    assert remade[-1].tobytes() == rows.tobytes()


def test_what_the_session_tells_is_asked_of_the_session() -> None:
    _, tap = tapped()
    assert tap.counts == tap.session.counts and tap.states().shape == (2, 3)
    with pytest.raises(AttributeError):
        _ = tap.nothing_of_the_sort


def test_a_full_journal_sheds_whole_tails_and_the_hole_is_seen() -> None:
    venue, tap = tapped(most_bytes=1_000)
    frames = [venue.diff("AUSDT") for _ in range(12)]
    for k, frame in enumerate(frames):
        tap.receive([frame], np.array([START + k]))
    kept = entries(tap)
    assert 1 < len(kept) < 12 and tap.shed == 12 - len(kept)
    assert [e.body for e in kept] == frames[: len(kept)]
    tap.timer(START + 99)
    (timer,) = entries(tap)
    assert timer.position == 12 and timer.call == "timer"


def test_a_tap_that_is_told_to_keep_nothing_counts_on() -> None:
    venue, tap = tapped()
    tap.keeping = False
    tap.receive([venue.diff("AUSDT")], np.array([START]))
    assert tap.take() is None and tap.shed == 1
    tap.keeping = True
    tap.timer(START + 1)
    assert [e.position for e in entries(tap)] == [1]


@pytest.mark.parametrize("call", ["states", "__init__", "exec"])
def test_only_calls_that_are_inputs_are_made(call: str) -> None:
    venue, _ = tapped()
    entry = Entry(4, START, call, "[]", None, checksum(START, "[]", None))
    with pytest.raises(RecordingError, match="entry 4"):
        list(rows_of_journal(BinanceSession(venue.instruments()), [entry]))
