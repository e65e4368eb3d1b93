"""The session: what it asks for, what it joins, what it stamps."""

from __future__ import annotations

import json

import numpy as np
import pytest

from foreshock.errors import InstrumentError
from foreshock.market.instruments import SPOT, USDM, Instrument
from foreshock.market.rows import (
    BOOK,
    CONNECTED,
    CONNECTION,
    CONTROL,
    CONTROL_KILL,
    CUT,
    DELISTED,
    DEPTH,
    EPOCH,
    HALTED,
    HELD,
    INSTRUMENT,
    METRIC,
    METRIC_FUNDING_RATE,
    METRIC_LONG_SHORT_ACCOUNTS,
    METRIC_OPEN_INTEREST,
    METRIC_TAKER_BUY_SELL,
    REASON_CUT,
    REASON_GAP,
    REASON_HALTED,
    REASON_JOINED,
    REASON_RANGE,
    REASON_RESCALED,
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
    TRADING,
    Rows,
    heads,
)
from foreshock.venues import resyncs
from foreshock.venues.binance import BOOK_FAMILY, TAPE_FAMILY, BinanceSession
from foreshock.venues.binance_wire import BinanceWire
from tests.reference.frames import Line, lines_of
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
    late = NOW + 60 * SECOND  # four times its floor, for of its rate nothing is known yet
    receive(session, [venue.diff("BTCUSDT"), venue.diff("XRPUSDT")], NOW + 5 * SECOND)
    assert kinds(session.timer(late - SECOND)) == [TIMER]
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
        (0, TAPE, STALE),
        (2, TAPE, STALE),
    ]
    assert int(rows["c"][0]) == -3
    assert states(session) == [[RESYNCING, 2, 2], [SYNCED, 1, 1], [SYNCED, 1, 2]]
    rows = session.connection(5, CONNECTED, TAPE_FAMILY, ["XRPUSDT"], 0, NOW + 3)
    assert [(e.symbol, e.a, e.b, e.d) for e in lines_of(rows)[1:]] == [
        (2, SYNCED, 2, REASON_RESUMED)
    ]
    venue.trade("BTCUSDT")
    lines = lines_of(receive(session, [venue.trade("BTCUSDT")], NOW + 3))
    # The epoch says already that something may be missing: it goes on with whatever comes.
    assert [line.kind for line in lines] == [EPOCH, TRADE]
    assert (lines[0].a, lines[0].b, lines[0].d) == (SYNCED, 2, REASON_RESUMED)


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
    monkeypatch.setattr(resyncs, "MAX_HELD", 10)
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
    assert session.streams() == [
        "btcusdt@depth@100ms", "btcusdt@bookTicker", "btcusdt@aggTrade", "btcusdt@kline_1m",
    ]  # fmt: skip
    perp = BinanceSession([Instrument.of("BTCUSDT", USDM, "0.01", "0.001")])
    (public, market) = BinanceWire(USDM).subscriptions(["BTCUSDT"], "trade", 100)
    assert {*public.streams, *market.streams} == set(perp.streams())


@pytest.mark.parametrize("bad", ["none", "twice", "markets", "tape"])
def test_a_session_that_makes_no_sense_is_refused(bad: str) -> None:
    btc = Instrument.of("BTCUSDT", SPOT, "0.01", "0.001")
    perp = Instrument.of("ETHUSDT", USDM, "0.01", "0.001")
    given = {"none": [], "twice": [btc, btc], "markets": [btc, perp], "tape": [btc]}[bad]
    with pytest.raises(InstrumentError):
        BinanceSession(given, tape="both" if bad == "tape" else "trade")


# Two sockets at once.


@pytest.mark.parametrize("market", MARKETS)
@pytest.mark.parametrize("lag", [0, 1, 7, 30])
def test_two_sockets_that_bring_the_same_are_one_stream_of_rows(market: str, lag: int) -> None:
    """The second brings everything too, `lag` frames later: not a row more, not an epoch."""
    one, venue = joined(market)
    both, _ = joined(market)
    kinds_of = [venue.diff, venue.trade, venue.quote, venue.kline, venue.mark, venue.liquidation]
    frames = [kind(symbol) for _ in range(20) for symbol in SYMBOLS for kind in kinds_of]
    if market == SPOT:
        frames = [frame for frame in frames if b"markPrice" not in frame]
    alone = receive(one, frames, NOW + 1)
    mixed = []
    for k in range(len(frames) + lag):
        mixed += frames[k : k + 1] + (frames[k - lag : k - lag + 1] if k >= lag else [])
    rows = receive(both, mixed, NOW + 1)
    assert rows.tobytes() == alone.tobytes()
    assert both.counts["repeated"] - one.counts["repeated"] == len(frames)
    assert (both.states() == one.states()).all()


def test_the_cut_of_one_of_two_connections_breaks_nothing_and_that_of_both_does() -> None:
    session, _ = joined(USDM)
    families = BOOK_FAMILY | TAPE_FAMILY
    session.connection(1, CONNECTED, families, SYMBOLS, 0, NOW)
    session.connection(2, CONNECTED, families, SYMBOLS[:2], 0, NOW)
    assert kinds(session.connection(1, CUT, families, SYMBOLS[:2], 0, NOW)) == [CONNECTION]
    assert states(session) == [[SYNCED, 1, 1]] * 3
    lines = lines_of(session.connection(1, CUT, families, SYMBOLS, 0, NOW))
    assert [(e.symbol, e.c, e.d) for e in lines[1:]] == [
        (2, BOOK, REASON_CUT),
        (2, TAPE, REASON_CUT),
    ]
    lines = lines_of(session.connection(2, CUT, TAPE_FAMILY, SYMBOLS[:2], 0, NOW))
    assert [(e.symbol, e.c) for e in lines[1:]] == [(0, TAPE), (1, TAPE)]
    assert states(session) == [[SYNCED, 1, 2], [SYNCED, 1, 2], [RESYNCING, 2, 2]]


# Silence, per stream.


def test_each_stream_is_silent_by_its_own_rate_and_named_once() -> None:
    session, venue = joined(USDM)
    session.connection(1, CONNECTED, BOOK_FAMILY | TAPE_FAMILY, SYMBOLS, 0, NOW)
    now = NOW
    for k in range(1_200):  # BTC ten times a second, ETH's tape every 25 s, nothing of XRP
        now = NOW + k * SECOND // 10
        receive(session, [venue.diff("BTCUSDT"), venue.trade("BTCUSDT")], now)
        if k % 250 == 0:
            receive(session, [venue.trade("ETHUSDT")], now)
        if k % 10 == 0:
            receive(session, [venue.mark(symbol, NOW // 10**6 + k) for symbol in SYMBOLS], now)
            session.timer(now)
    found = session.silent()
    assert [s for s in found if "depth" in s] == ["ethusdt@depth@100ms", "xrpusdt@depth@100ms"]
    assert not [s for s in found if "trade" in s or "markPrice" in s or "forceOrder" in s]
    lines = lines_of(session.timer(now + 30 * SECOND))
    assert [(e.symbol, e.c, e.a) for e in lines[1:]] == [(0, BOOK, STALE)]
    assert session.silent() == [
        "btcusdt@depth@100ms",
        *[f"{s.lower()}@markPrice@1s" for s in SYMBOLS],
    ]
    lines = lines_of(session.timer(now + 150 * SECOND))
    # XRP had four minutes, for of its rate nothing is known.
    assert [(e.symbol, e.c, e.a, e.d) for e in lines[1:]] == [
        (s, TAPE, STALE, REASON_SILENT) for s in (0, 2)
    ]
    assert "btcusdt@trade" in session.silent()
    session.timer(now + 151 * SECOND)
    assert session.silent() == []
    lines = lines_of(receive(session, [venue.trade("BTCUSDT")], now + 152 * SECOND))
    assert [(e.kind, e.a, e.b, e.d) for e in lines[:1]] == [(EPOCH, SYNCED, 1, REASON_RESUMED)]
    session.timer(now + 153 * SECOND)
    assert session.silent() == []


def test_a_stream_that_was_cut_is_not_called_silent_and_its_gap_is_not_learned() -> None:
    session, _ = joined(SPOT)
    both = BOOK_FAMILY | TAPE_FAMILY
    session.connection(1, CONNECTED, both, SYMBOLS, 0, NOW)
    session.connection(1, CUT, both, SYMBOLS, 0, NOW + SECOND)
    session.timer(NOW + 4_000 * SECOND)
    assert session.silent() == []
    session.connection(1, CONNECTED, both, SYMBOLS, 0, NOW + 4_000 * SECOND)
    session.timer(NOW + 4_059 * SECOND)
    assert session.silent() == []
    session.timer(NOW + 4_061 * SECOND)
    assert [s for s in session.silent() if "depth" in s] == [
        f"{symbol.lower()}@depth@100ms" for symbol in SYMBOLS
    ]


# Ids that make no sense.


@pytest.mark.parametrize("what", ["trade", "quote", "diff"])
def test_an_absurd_id_silences_a_stream_for_half_a_minute_and_not_for_ever(what: str) -> None:
    session, venue = joined(USDM)
    ids = venue.trade_id if what == "trade" else venue.update_id
    make = {"trade": venue.trade, "quote": venue.quote, "diff": venue.diff}[what]
    receive(session, [make("BTCUSDT"), make("ETHUSDT")], NOW)
    true_id = ids["BTCUSDT"]
    ids["BTCUSDT"] += 10**15
    if what == "diff":  # it follows its predecessor, so that it must be believed
        frame = make("BTCUSDT").replace(
            b'"U":%d' % (10**15 + true_id + 1), b'"U":%d' % (true_id + 1)
        )
        receive(
            session, [frame.replace(b'"pu":%d' % (10**15 + true_id), b'"pu":%d' % true_id)], NOW
        )
    else:
        receive(session, [make("BTCUSDT")], NOW)
    ids["BTCUSDT"] = true_id
    was, epochs = session.counts["repeated"], []
    for k in range(1, 60):
        now = NOW + k * SECOND
        frame = make("BTCUSDT", NOW // 10**6 + 1_000 * k) if what != "quote" else make("BTCUSDT")
        if what == "quote":
            ids["BTCUSDT"] += 1
        for row in lines_of(receive(session, [frame], now)):
            if row.kind == EPOCH:
                epochs.append((k, row.symbol, row.d))
    assert [(symbol, reason) for _, symbol, reason in epochs] == [(0, REASON_GAP)]
    assert epochs[0][0] == 31
    assert session.counts["repeated"] - was == 30
    # The absurd trade was a gap by itself.
    assert states(session)[0] == ([SYNCED, 1, 3] if what == "trade" else [RESYNCING, 2, 1])
    assert states(session)[1] == [SYNCED, 1, 1]


def test_old_frames_in_any_number_never_look_like_ids_that_began_anew() -> None:
    session, venue = joined(USDM)
    frames = [venue.trade("BTCUSDT", NOW // 10**6) for _ in range(50)]
    receive(session, frames, NOW)
    rows = receive(session, frames, NOW + 100 * SECOND)
    assert len(rows) == 0 and states(session)[0] == [SYNCED, 1, 1]


def test_the_last_bad_frame_is_of_the_last_batch() -> None:
    session, venue = joined(SPOT)
    receive(session, [b"{", b"{"], NOW)
    assert session.last_bad("malformed") == 1
    receive(session, [venue.trade("BTCUSDT")], NOW)
    assert session.last_bad("malformed") == -1


# Answers to other requests.


def info(**changed: dict[str, str]) -> bytes:
    """exchangeInfo of the three symbols, with what is changed."""
    out = []
    for symbol in SYMBOLS:
        told = {"tick": "0.01", "lot": "0.001", "status": "TRADING"} | changed.get(symbol, {})
        if told["status"]:
            filters = [
                {"filterType": "PRICE_FILTER", "tickSize": told["tick"]},
                {"filterType": "LOT_SIZE", "stepSize": told["lot"]},
            ]
            out.append({"symbol": symbol, "status": told["status"], "filters": filters})
    return json.dumps({"symbols": out}).encode()


def tell(session: BinanceSession, body: bytes, now: int = NOW) -> list[Line]:
    return lines_of(session.receive_answer("instruments", "", body, now))


def test_a_changed_tick_gives_a_version_distrusts_the_book_and_counts_from_there_on() -> None:
    session, _ = joined(USDM)
    assert tell(session, info()) == []
    lines = tell(session, info(BTCUSDT={"tick": "0.1"}))
    assert [(line.kind, line.symbol) for line in lines] == [(INSTRUMENT, 0), (EPOCH, 0), (EPOCH, 0)]
    version = lines[0]
    assert (version.id, version.id2) == (2, TRADING)
    assert (version.a, version.b, version.c, version.d) == (1, 1, 3, 1)
    assert [(e.a, e.b, e.c, e.d) for e in lines[1:]] == [
        (RESYNCING, 2, BOOK, REASON_RESCALED), (SYNCED, 2, TAPE, REASON_RESCALED),
    ]  # fmt: skip
    assert session.instruments[0].tick_size == 0.1 and session.instruments[0].version == 2
    frame = b'{"e":"trade","E":1,"T":1,"s":"BTCUSDT","t":900,"p":"100.5","q":"1","m":true}'
    assert lines_of(receive(session, [frame], NOW))[-1].a == 1_005
    assert tell(session, info(BTCUSDT={"tick": "0.1"})) == []
    assert states(session)[1:] == [[SYNCED, 1, 1]] * 2


def test_a_halted_book_waits_for_the_end_of_the_halt_and_no_snapshot_joins_it() -> None:
    session, venue = joined(USDM)
    lines = tell(session, info(ETHUSDT={"status": "BREAK"}))
    assert (lines[0].kind, lines[0].symbol, lines[0].id2) == (INSTRUMENT, 1, HALTED)
    assert [(e.a, e.b, e.c, e.d) for e in lines[1:]] == [
        (RESYNCING, 2, BOOK, REASON_HALTED), (STALE, 2, TAPE, REASON_HALTED),
    ]  # fmt: skip
    receive(session, [venue.diff("ETHUSDT")], NOW)
    assert session.wanted() == []
    assert len(session.receive_snapshot("ETHUSDT", venue.snapshot("ETHUSDT"), 1000, NOW)) == 0
    session.timer(NOW + 500 * SECOND)
    assert not [s for s in session.silent() if s.startswith("eth")]
    lines = tell(session, info(), NOW + 500 * SECOND)
    assert [(e.a, e.b, e.c, e.d) for e in lines[1:]] == [
        (RESYNCING, 3, BOOK, REASON_RESUMED), (SYNCED, 3, TAPE, REASON_RESUMED),
    ]  # fmt: skip
    receive(session, [venue.diff("ETHUSDT")], NOW + 501 * SECOND)
    assert [r.symbol for r in session.wanted()] == ["ETHUSDT"]
    assert len(session.receive_snapshot("ETHUSDT", venue.snapshot("ETHUSDT"), 1000, NOW))
    assert states(session)[1] == [SYNCED, 3, 3]


def test_a_symbol_that_left_the_list_is_delisted_and_a_list_without_any_is_not_believed() -> None:
    session, _ = joined(SPOT)
    lines = tell(session, info(XRPUSDT={"status": ""}))
    assert (lines[0].symbol, lines[0].id2) == (2, DELISTED)
    assert session.instruments[2].status == DELISTED
    gone = {symbol: {"status": ""} for symbol in SYMBOLS}
    for body in (info(**gone), b"{}", b"[", b'{"symbols":[1]}', b"[" * 100_000, b"\xff"):
        assert tell(session, body) == []
    assert session.counts["malformed"] == 6


def test_an_instruments_versions_survive_json_and_the_first_one_is_told_as_ever() -> None:
    session, _ = joined(SPOT)
    assert set(session.instruments[0].as_dict()) == {
        "symbol", "market", "tick_decimals", "tick_units", "lot_decimals", "lot_units",
    }  # fmt: skip
    tell(session, info(BTCUSDT={"lot": "0.1", "status": "HALT"}))
    changed = session.instruments[0]
    assert (changed.version, changed.status) == (2, HALTED)
    assert Instrument.from_dict(changed.as_dict()) == changed


METRIC_ANSWERS = [
    ("open_interest", b'{"openInterest":"10659.509","symbol":"ETHUSDT","time":1589437530011}',
     METRIC_OPEN_INTEREST, 1589437530011, 10659.509),
    ("long_short_accounts",
     b'[{"symbol":"ETHUSDT","longShortRatio":"1.9604","timestamp":"1583139600000"}]',
     METRIC_LONG_SHORT_ACCOUNTS, 1583139600000, 1.9604),
    ("taker_buy_sell",
     b'[{"buySellRatio":"1.5586","buyVol":"387","timestamp":1585614900000}]',
     METRIC_TAKER_BUY_SELL, 1585614900000, 1.5586),
    ("funding_rate", b'[{"symbol":"ETHUSDT","fundingRate":"-0.0375","fundingTime":1570608000000},'
     b'{"symbol":"NOUSDT","fundingRate":"1","fundingTime":1570608000000}]',
     METRIC_FUNDING_RATE, 1570608000000, -0.0375),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "body", "field", "as_of_ms", "value"), METRIC_ANSWERS)
def test_a_polls_answer_is_a_metric_told_once(
    kind: str, body: bytes, field: int, as_of_ms: int, value: float
) -> None:
    session, _ = joined(USDM)
    rows = session.receive_answer(kind, "ETHUSDT", body, NOW)
    (line,) = lines_of(rows)
    assert (line.kind, line.symbol, line.id, line.a) == (METRIC, 1, as_of_ms * 10**6, field)
    assert rows["b"].view(np.float64)[0] == value
    assert len(session.receive_answer(kind, "ETHUSDT", body, NOW)) == 0
    before = session.counts["malformed"]
    for bad in (body[:-5], body.replace(b":", b";"), b"[[]]", b'{"symbol":"ETHUSDT"}', b"null"):
        assert len(session.receive_answer(kind, "ETHUSDT", bad, NOW)) == 0
    assert session.counts["malformed"] == before + 5


# Snapshots that never join.


@pytest.mark.parametrize("market", MARKETS)
def test_a_cached_snapshot_is_asked_for_with_ever_longer_patience(market: str) -> None:
    """An answer of long ago, again and again: one request for each, its attempt one higher."""
    session, venue = started(market)
    cached = venue.snapshot("BTCUSDT")
    venue.diff("BTCUSDT")
    for k in range(200):
        receive(session, [venue.diff("BTCUSDT")], NOW + k)
        assert [r.attempt for r in session.wanted()] == [k]
        assert session.wanted() == []
        assert len(session.receive_snapshot("BTCUSDT", cached, 1000, NOW + k)) == 0
    assert states(session)[0] == [RESYNCING, 1, 1]


def test_a_book_that_breaks_as_soon_as_it_is_joined_goes_on_with_its_back_off() -> None:
    session, venue = started(SPOT)
    for k in range(5):
        venue.diff("BTCUSDT")
        receive(session, [venue.diff("BTCUSDT")], NOW + k * SECOND)
        assert [r.attempt for r in session.wanted()] == [k]
        assert len(session.receive_snapshot("BTCUSDT", venue.snapshot("BTCUSDT"), 1000, NOW))
    venue.diff("BTCUSDT")
    receive(session, [venue.diff("BTCUSDT")], NOW + 100 * SECOND)
    assert [r.attempt for r in session.wanted()] == [0]
