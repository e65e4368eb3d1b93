"""The session: what it asks for, what it joins, what it stamps."""

from __future__ import annotations

import numpy as np
import pytest

from foreshock.errors import InstrumentError
from foreshock.market.instruments import SPOT, USDM, Instrument
from foreshock.market.rows import (
    BOOK,
    CONNECTION,
    CONTROL,
    CONTROL_KILL,
    CUT,
    DEPTH,
    EPOCH,
    HELD,
    REASON_CUT,
    REASON_JOINED,
    REASON_RANGE,
    REASON_RESUMED,
    REASON_SILENT,
    REJOINED,
    RESYNCING,
    SNAPSHOT,
    STALE,
    SYNCED,
    TAPE,
    TIMER,
    TRADE,
    Rows,
    heads,
)
from foreshock.venues import binance
from foreshock.venues.binance import BOOK_FAMILY, TAPE_FAMILY, BinanceSession
from tests.reference.frames import lines_of
from tests.reference.venue import Venue

SECOND = 1_000_000_000
NOW = 1_700_000_000 * SECOND
SYMBOLS = ["BTCUSDT", "ETHUSDT", "XRPUSDT"]
MARKETS = (SPOT, USDM)


def receive(session: BinanceSession, frames: list[bytes], now: int) -> Rows:
    return session.receive(frames, np.full(len(frames), now, np.int64))


def started(market: str, seed: int = 1) -> tuple[BinanceSession, Venue]:
    venue = Venue(market, SYMBOLS, seed)
    session = BinanceSession(venue.instruments())
    session.start(NOW)
    return session, venue


def joined(market: str, seed: int = 1) -> tuple[BinanceSession, Venue]:
    session, venue = started(market, seed)
    for symbol in SYMBOLS:
        receive(session, [venue.diff(symbol)], NOW)
        assert len(session.receive_snapshot(symbol, venue.snapshot(symbol), 1000, NOW))
    return session, venue


def kinds(rows: Rows) -> list[int]:
    return rows["kind"][heads(rows)].tolist()


def states(session: BinanceSession) -> list[list[int]]:
    return session.states().tolist()


def test_a_session_starts_with_every_symbols_epochs() -> None:
    session, _ = started(SPOT)
    assert states(session) == [[RESYNCING, 1, 1]] * 3
    rows = BinanceSession(session.instruments).start(NOW)
    lines = lines_of(rows)
    assert [(e.symbol, e.c, e.a, e.b) for e in lines] == [
        (s, family, state, 1)
        for s in range(3)
        for family, state in ((BOOK, RESYNCING), (TAPE, SYNCED))
    ]


@pytest.mark.parametrize("market", MARKETS)
def test_a_snapshot_is_asked_for_once_a_diff_was_seen_and_once_only(market: str) -> None:
    session, venue = started(market)
    assert session.wanted() == []
    receive(session, [venue.trade("BTCUSDT"), venue.quote("BTCUSDT")], NOW)
    assert session.wanted() == []
    receive(session, [venue.diff("BTCUSDT")], NOW)
    (request,) = session.wanted()
    assert (request.symbol, request.levels, request.attempt) == ("BTCUSDT", 1000, 0)
    assert session.wanted() == []
    session.snapshot_failed("BTCUSDT")
    assert [r.attempt for r in session.wanted()] == [1]


@pytest.mark.parametrize("market", MARKETS)
def test_a_snapshot_joins_the_held_diffs_that_follow_it(market: str) -> None:
    session, venue = started(market)
    frames = [venue.diff("BTCUSDT") for _ in range(6)]
    receive(session, frames, NOW)
    ids = sorted(venue.truth["BTCUSDT"])
    rows = session.receive_snapshot("BTCUSDT", venue.snapshot("BTCUSDT", ids[3]), 1000, NOW + 5)
    lines = lines_of(rows)
    # USD-M's first diff reaches back to the snapshot's own id, spot's begins behind it.
    again = ids[4:] if market == SPOT else ids[3:]
    assert [line.id for line in lines] == [ids[3], *again, 0]
    assert [line.kind for line in lines] == [SNAPSHOT, *[DEPTH] * len(again), EPOCH]
    assert all(line.flags == REJOINED for line in lines[1:-1])
    assert (lines[-1].a, lines[-1].b, lines[-1].d) == (SYNCED, 1, REASON_JOINED)
    assert set(rows["arrival_ns"][heads(rows)].tolist()) == {NOW + 5}
    assert session.book_id("BTCUSDT") == ids[-1]
    assert session.wanted() == []
    assert lines_of(receive(session, [venue.diff("BTCUSDT")], NOW + 6))[0].flags == 0


@pytest.mark.parametrize("market", MARKETS)
def test_a_snapshot_too_old_to_join_leaves_no_row_and_is_asked_for_again(market: str) -> None:
    session, venue = started(market)
    venue.diff("BTCUSDT")
    first = sorted(venue.truth["BTCUSDT"])[0]
    venue.diff("BTCUSDT")
    receive(session, [venue.diff("BTCUSDT")], NOW)
    session.wanted()
    assert (
        len(session.receive_snapshot("BTCUSDT", venue.snapshot("BTCUSDT", first), 1000, NOW)) == 0
    )
    assert states(session)[0] == [RESYNCING, 1, 1]
    assert [r.attempt for r in session.wanted()] == [1]
    assert len(session.receive_snapshot("BTCUSDT", venue.snapshot("BTCUSDT"), 1000, NOW))
    assert states(session)[0] == [SYNCED, 1, 1]


@pytest.mark.parametrize("market", MARKETS)
def test_a_gap_among_the_held_diffs_is_found_and_a_later_snapshot_joins(market: str) -> None:
    session, venue = started(market)
    held = [venue.diff("BTCUSDT") for _ in range(3)]
    receive(session, [held[0], held[2]], NOW)
    ids = sorted(venue.truth["BTCUSDT"])
    assert (
        len(session.receive_snapshot("BTCUSDT", venue.snapshot("BTCUSDT", ids[1]), 1000, NOW)) == 0
    )
    assert len(session.receive_snapshot("BTCUSDT", venue.snapshot("BTCUSDT", ids[3]), 1000, NOW))
    assert session.book_id("BTCUSDT") == ids[3]


def test_an_answer_that_nobody_waits_for_changes_nothing() -> None:
    session, venue = joined(SPOT)
    assert len(session.receive_snapshot("BTCUSDT", venue.snapshot("BTCUSDT"), 1000, NOW)) == 0
    assert states(session) == [[SYNCED, 1, 1]] * 3


def test_an_answer_that_cannot_be_read_is_counted_and_asked_for_again() -> None:
    session, venue = started(SPOT)
    receive(session, [venue.diff("BTCUSDT")], NOW)
    session.wanted()
    assert len(session.receive_snapshot("BTCUSDT", b'{"code":-1003}', 1000, NOW)) == 0
    assert session.counts["malformed"] == 1
    assert [r.attempt for r in session.wanted()] == [1]


def test_a_snapshot_ahead_of_all_diffs_joins_and_the_next_diff_must_reach_it() -> None:
    for lost in (False, True):
        session, venue = started(USDM)
        receive(session, [venue.diff("BTCUSDT")], NOW)
        late = venue.diff("BTCUSDT")
        assert len(session.receive_snapshot("BTCUSDT", venue.snapshot("BTCUSDT"), 1000, NOW))
        if lost:
            venue.diff("BTCUSDT")
        rows = receive(session, [late, venue.diff("BTCUSDT")], NOW)
        # The diff that ends at the snapshot's id is applied again, to no effect.
        assert lines_of(rows)[0].flags == 0
        assert states(session)[0] == ([RESYNCING, 2, 1] if lost else [SYNCED, 1, 1])


@pytest.mark.parametrize("market", MARKETS)
def test_a_break_of_one_symbol_touches_no_other(market: str) -> None:
    session, venue = joined(market)
    venue.diff("ETHUSDT")
    frames = [venue.diff(symbol) for symbol in SYMBOLS]
    rows = receive(session, frames, NOW + 1)
    assert kinds(rows) == [DEPTH, DEPTH, EPOCH, DEPTH]
    assert states(session) == [[SYNCED, 1, 1], [RESYNCING, 2, 1], [SYNCED, 1, 1]]
    assert [r.symbol for r in session.wanted()] == ["ETHUSDT"]
    rows = session.receive_snapshot("ETHUSDT", venue.snapshot("ETHUSDT"), 1000, NOW + 2)
    assert lines_of(rows)[-1].b == 2
    assert states(session)[1] == [SYNCED, 2, 1]


def test_a_silent_book_is_stale_and_resumes_without_a_snapshot() -> None:
    session, venue = joined(SPOT)
    late = NOW + 15 * SECOND
    receive(session, [venue.diff("BTCUSDT"), venue.diff("XRPUSDT")], NOW + 1)
    assert kinds(session.timer(late)) == [TIMER]
    lines = lines_of(session.timer(late + 1))
    assert [(e.kind, e.symbol, e.a, e.b) for e in lines[1:]] == [(EPOCH, 1, STALE, 1)]
    assert lines[1].d == REASON_SILENT
    assert kinds(session.timer(late + 1)) == [TIMER]  # told once
    lines = lines_of(receive(session, [venue.diff("ETHUSDT")], late + 2))
    assert [(e.kind, e.flags, e.d) for e in lines[1:]] == [(EPOCH, 0, REASON_RESUMED)]
    assert states(session)[1] == [SYNCED, 1, 1]


def test_a_stale_book_that_missed_a_diff_must_be_joined_anew() -> None:
    session, venue = joined(SPOT)
    session.timer(NOW + 60 * SECOND)
    venue.diff("ETHUSDT")
    lines = lines_of(receive(session, [venue.diff("ETHUSDT")], NOW + 61 * SECOND))
    assert [line.kind for line in lines] == [DEPTH, EPOCH] and lines[0].flags == HELD
    assert states(session)[1] == [RESYNCING, 2, 1]


def test_a_cut_connection_opens_epochs_for_what_it_carried() -> None:
    session, venue = joined(USDM)
    session.receive([venue.trade("BTCUSDT")], np.array([NOW]))
    rows = session.connection(4, CUT, BOOK_FAMILY, ["BTCUSDT"], 0, NOW + 1)
    assert kinds(rows) == [CONNECTION, EPOCH]
    assert lines_of(rows)[1].d == REASON_CUT
    rows = session.connection(5, CUT, TAPE_FAMILY, ["BTCUSDT", "XRPUSDT"], -3, NOW + 2)
    assert [(e.symbol, e.c, e.a) for e in lines_of(rows)[1:]] == [
        (0, TAPE, SYNCED),
        (2, TAPE, SYNCED),
    ]
    assert int(rows["c"][0]) == -3
    assert states(session) == [[RESYNCING, 2, 2], [SYNCED, 1, 1], [SYNCED, 1, 2]]
    venue.trade("BTCUSDT")
    rows = receive(session, [venue.trade("BTCUSDT")], NOW + 3)
    assert kinds(rows) == [TRADE]  # the epoch says already that something may be missing


def test_diffs_from_before_a_cut_are_not_joined_behind_it() -> None:
    session, venue = started(SPOT)
    receive(session, [venue.diff("BTCUSDT")], NOW)
    session.connection(1, CUT, BOOK_FAMILY, ["BTCUSDT"], 0, NOW)
    assert session.wanted() == []
    receive(session, [venue.diff("BTCUSDT")], NOW + 1)
    assert [(r.symbol, r.attempt) for r in session.wanted()] == [("BTCUSDT", 0)]


def test_a_book_that_is_distrusted_from_outside_waits_for_a_snapshot() -> None:
    session, venue = joined(SPOT)
    assert lines_of(session.resync("BTCUSDT", REASON_RANGE, NOW))[0].d == REASON_RANGE
    assert len(session.resync("BTCUSDT", REASON_RANGE, NOW)) == 0
    assert states(session)[0] == [RESYNCING, 2, 1]
    receive(session, [venue.diff("BTCUSDT")], NOW)
    assert len(session.receive_snapshot("BTCUSDT", venue.snapshot("BTCUSDT"), 1000, NOW))
    assert states(session)[0] == [SYNCED, 2, 1]


def test_everything_is_numbered_and_stamps_never_run_backwards() -> None:
    session, venue = started(SPOT)
    parts = [session.timer(NOW + 100)]
    frames = [venue.trade("BTCUSDT") for _ in range(3)]
    parts.append(session.receive(frames, np.array([NOW + 50, NOW + 200, NOW + 150])))
    parts.append(session.control(CONTROL_KILL, 1, NOW))
    parts.append(session.timer(NOW + 10))
    rows = np.concatenate(parts)
    assert rows["seq"].tolist() == list(range(6, 12))
    assert (rows["arrival_ns"] - NOW).tolist() == [100, 100, 200, 200, 200, 200]
    assert (int(parts[2]["kind"][0]), int(parts[2]["b"][0])) == (CONTROL, 1)


def test_held_diffs_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binance, "MAX_HELD", 10)
    session, venue = started(SPOT)
    for _ in range(30):
        receive(session, [venue.diff("BTCUSDT")], NOW)
        assert len(session._resyncs[0].held) <= 10
    assert len(session.receive_snapshot("BTCUSDT", venue.snapshot("BTCUSDT"), 1000, NOW))


def test_a_buffer_of_frames_is_read_like_the_frames() -> None:
    frames = [Venue(SPOT, SYMBOLS, 3).diff(symbol) for symbol in SYMBOLS] + [b"", b"{"]
    starts = np.concatenate([[0], np.cumsum([len(f) for f in frames])])
    stamps = np.arange(len(frames)) + NOW
    one, other = started(SPOT)[0], started(SPOT)[0]
    buf = np.frombuffer(b"".join(frames), np.uint8).copy()
    assert (
        one.receive(frames, stamps).tobytes() == other.receive_buffer(buf, starts, stamps).tobytes()
    )
    assert one.counts == other.counts
    assert len(one.receive([], np.zeros(0, np.int64))) == 0


def test_many_symbols_are_all_found() -> None:
    names = [f"S{k}USDT" for k in range(700)] + ["A" * 32]
    session = BinanceSession([Instrument.of(n, SPOT, "0.01", "0.001") for n in names])
    frame = '{"u":9,"s":"%s","b":"1.00","B":"1","a":"1.01","A":"1"}'
    rows = receive(session, [(frame % n).encode() for n in names], NOW)
    assert rows["symbol"].tolist() == list(range(701))
    strangers = ["S700USDT", "", "A" * 31, "A" * 33, "s1usdt", "S1USD", "S1USDTT"]
    receive(session, [(frame % n).encode() for n in strangers], NOW)
    assert session.counts["unknown_symbol"] == len(strangers)
    assert session.last_bad("unknown_symbol") == len(strangers) - 1


def test_the_streams_to_subscribe_are_named() -> None:
    session = BinanceSession([Instrument.of("BTCUSDT", SPOT, "0.01", "0.001")], tape="aggTrade")
    assert session.streams() == ["btcusdt@depth@100ms", "btcusdt@bookTicker", "btcusdt@aggTrade"]


@pytest.mark.parametrize("bad", ["none", "twice", "markets", "tape"])
def test_a_session_that_makes_no_sense_is_refused(bad: str) -> None:
    btc = Instrument.of("BTCUSDT", SPOT, "0.01", "0.001")
    perp = Instrument.of("ETHUSDT", USDM, "0.01", "0.001")
    given = {"none": [], "twice": [btc, btc], "markets": [btc, perp], "tape": [btc]}[bad]
    with pytest.raises(InstrumentError):
        BinanceSession(given, tape="both" if bad == "tape" else "trade")
