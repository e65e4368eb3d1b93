"""What every venue owes, run by existing: a market in the registry is a market in here."""

from __future__ import annotations

import json
import random
from fractions import Fraction

import numpy as np
import pytest

from foreshock.engine.step import Engine
from foreshock.market.clock import SECOND_NS
from foreshock.market.instruments import MARKETS as NAMED
from foreshock.market.rows import (
    BOOK,
    CONNECTED,
    CONNECTION,
    CUT,
    DELISTED,
    DEPTH,
    EPOCH,
    HALTED,
    HELD,
    INSTRUMENT,
    REASON_CUT,
    REASON_GAP,
    REASON_HALTED,
    REASON_JOINED,
    REASON_RANGE,
    REASON_RESCALED,
    REASON_RESUMED,
    REASON_SILENT,
    REASON_START,
    RESYNCING,
    SNAPSHOT,
    STALE,
    SYNCED,
    TAPE,
    TIMER,
    Rows,
    heads,
)
from foreshock.venues.registry import VENUES
from foreshock.venues.session import BOOK_FAMILY, TAPE_FAMILY
from tests.conformance.conftest import MARKETS, NOW_NS, SYMBOLS, Stage, make_stage
from tests.reference.exchanges import EXCHANGES
from tests.reference.mutations import mutate

RUBBISH = [
    b"", b"{", b"null", b"[]", b"{}", b'"pong"', b"\xff\xfe", b"[" * 3_000, b"1e999",
    b'{"topic":5}', b'{"arg":[],"data":{}}', b'{"ch":"book:BTCUSDT"}', b'{"data":null}',
    b'{"topic":"orderbook.200.BTCUSDT","type":"delta","ts":1,"data":{"s":"BTCUSDT","u":"x"}}',
]  # fmt: skip


def epochs(rows: Rows) -> list[tuple[int, int, int, int, int]]:
    """(symbol, family, state, epoch, reason) of each EPOCH row."""
    found = [rows[head] for head in heads(rows) if rows["kind"][head] == EPOCH]
    return [tuple(int(row[name]) for name in ("symbol", "c", "a", "b", "d")) for row in found]


def kinds(rows: Rows) -> list[int]:
    return rows["kind"][heads(rows)].tolist()


def agrees(stage: Stage) -> int:
    """Every SYNCED book is what the exchange had at that id, and not crossed. How many are."""
    synced = 0
    for s, symbol in enumerate(SYMBOLS):
        if stage.states()[s][0] == SYNCED:
            synced += 1
            book = stage.books[s]
            truth = stage.exchange.truth[symbol][stage.session.book_id(symbol)]
            assert (book.bids, book.asks) == truth
            assert max(book.bids) < min(book.asks)
    return synced


def test_every_market_that_can_be_named_has_a_session_a_wire_and_an_exchange() -> None:
    assert set(VENUES) == set(NAMED)
    assert set(EXCHANGES) == set(MARKETS)


def test_a_session_starts_with_every_symbols_epochs(make) -> None:
    rows = make(joined=False).rows[0]
    assert epochs(rows) == [
        (s, family, state, 1, REASON_START)
        for s in range(3)
        for family, state in ((BOOK, RESYNCING), (TAPE, SYNCED))
    ]


def test_a_snapshot_joins_one_book_and_no_other(make) -> None:
    stage = make(joined=False)
    rows = stage.bring("ETHUSDT")
    assert epochs(rows) == [(1, BOOK, SYNCED, 1, REASON_JOINED)]
    assert SNAPSHOT in kinds(rows)
    assert kinds(rows)[-1] == EPOCH
    assert [state for state, _, _ in stage.states()] == [RESYNCING, SYNCED, RESYNCING]
    assert agrees(stage) == 1


def test_diffs_move_a_joined_book_as_the_exchange_moved_it(stage: Stage) -> None:
    for _ in range(60):
        rows = stage.receive(*(stage.exchange.diff(s) for s in SYMBOLS))
        assert kinds(rows) == [DEPTH] * 3
        assert agrees(stage) == 3
    assert epochs(np.concatenate(stage.rows[-60:])) == []


def test_a_gap_opens_a_new_epoch_of_that_book_and_is_healed_by_a_snapshot(stage: Stage) -> None:
    before = stage.states()
    stage.exchange.diff("ETHUSDT")  # lost
    rows = stage.receive(stage.exchange.diff("BTCUSDT"), stage.exchange.diff("ETHUSDT"))
    assert epochs(rows) == [(1, BOOK, RESYNCING, 2, REASON_GAP)]
    assert rows["flags"][heads(rows)].tolist()[1] == HELD
    assert [stage.states()[s] for s in (0, 2)] == [before[s] for s in (0, 2)]
    held = stage.receive(stage.exchange.diff("ETHUSDT"))
    assert held["flags"][0] == HELD
    assert "ETHUSDT" in [request.symbol for request in stage.session.wanted()]
    assert "ETHUSDT" not in [request.symbol for request in stage.session.wanted()]
    stage.bring("ETHUSDT")
    stage.receive(stage.exchange.diff("ETHUSDT"))
    assert agrees(stage) == 3
    assert stage.states()[1] == [SYNCED, 2, before[1][2]]


def test_a_book_distrusted_from_outside_waits_for_a_snapshot(stage: Stage) -> None:
    rows = stage.take(stage.session.resync("XRPUSDT", REASON_RANGE, stage.now_ns))
    assert epochs(rows) == [(2, BOOK, RESYNCING, 2, REASON_RANGE)]
    assert len(stage.session.resync("XRPUSDT", REASON_RANGE, stage.now_ns)) == 0
    stage.receive(stage.exchange.diff("XRPUSDT"))
    assert [request.symbol for request in stage.session.wanted()] == ["XRPUSDT"]
    stage.session.snapshot_failed("XRPUSDT")
    assert [request.symbol for request in stage.session.wanted()] == ["XRPUSDT"]


def test_a_frame_that_comes_twice_says_nothing_new(make) -> None:
    once, twice = make(), make()
    for _ in range(20):
        for s in SYMBOLS:
            for frame in once.exchange.each(s).values():
                first = once.receive(frame)
                again = twice.receive(frame, frame)
                assert first["kind"].tolist() == again["kind"].tolist()
            twice.exchange.each(s)
    assert once.states() == twice.states()
    assert twice.session.counts["repeated"] > 0


def test_frames_in_the_wrong_order_break_one_book_and_never_bend_it(stage: Stage) -> None:
    first, second = stage.exchange.diff("BTCUSDT"), stage.exchange.diff("BTCUSDT")
    stage.receive(second, first)
    assert [state for state, _, _ in stage.states()] == [RESYNCING, SYNCED, SYNCED]
    stage.bring("BTCUSDT")
    assert agrees(stage) == 3


def test_rubbish_is_counted_and_changes_nothing(stage: Stage) -> None:
    before, counted = stage.states(), sum(stage.session.counts.values())
    assert len(stage.receive(*RUBBISH)) == 0
    assert stage.states() == before
    assert sum(stage.session.counts.values()) == counted + len(RUBBISH)
    other = stage.exchange.diff("BTCUSDT").replace(b"BTC", b"QQQ")
    assert len(stage.receive(other)) == 0
    for kind in ("instruments", "funding_rate", "nonsense"):
        for body in RUBBISH:
            assert len(stage.session.receive_answer(kind, "BTCUSDT", body, stage.now_ns)) == 0
    assert stage.states() == before


def test_a_silent_book_is_stale_until_it_speaks_again(stage: Stage) -> None:
    stage.receive(*(stage.exchange.diff(s) for s in SYMBOLS))
    stage.now_ns += 3_600 * SECOND_NS
    rows = stage.take(stage.session.timer(stage.now_ns))
    assert kinds(rows)[0] == TIMER
    assert [e for e in epochs(rows) if e[1] == BOOK] == [
        (s, BOOK, STALE, 1, REASON_SILENT) for s in range(3)
    ]
    named = stage.session.silent()
    assert set(named) <= set(stage.session.streams())
    assert len(named) >= 3
    assert stage.session.silent() == []
    rows = stage.receive(stage.exchange.diff("BTCUSDT"))
    assert epochs(rows) == [(0, BOOK, SYNCED, 1, REASON_RESUMED)]
    assert stage.states()[1][0] == STALE


def test_a_cut_opens_new_epochs_of_all_that_it_carried(stage: Stage) -> None:
    families = BOOK_FAMILY | TAPE_FAMILY
    carried = SYMBOLS[:2]
    for number in (0, 1):
        stage.take(stage.session.connection(number, CONNECTED, families, carried, 0, stage.now_ns))
    rows = stage.take(stage.session.connection(0, CUT, families, carried, 0, stage.now_ns))
    assert kinds(rows) == [CONNECTION]  # the other one carries the same
    rows = stage.take(stage.session.connection(1, CUT, families, carried, 0, stage.now_ns))
    assert epochs(rows) == [
        (s, family, state, 2, REASON_CUT)
        for s in range(2)
        for family, state in ((BOOK, RESYNCING), (TAPE, STALE))
    ]
    assert stage.states()[2] == [SYNCED, 1, 1]
    rows = stage.take(stage.session.connection(1, CONNECTED, families, carried, 0, stage.now_ns))
    assert epochs(rows) == [(s, TAPE, SYNCED, 2, REASON_RESUMED) for s in range(2)]
    stage.bring("BTCUSDT")
    assert agrees(stage) == 2


@pytest.mark.parametrize("seed", [1, 2])
def test_no_fault_bends_a_book_that_says_it_is_synced(market: str, seed: int) -> None:
    stage, rng = make_stage(market, seed=seed), random.Random(seed)
    waiting: list[bytes] = []
    for turn in range(250):
        s = rng.choice(SYMBOLS)
        frame = rng.choice([stage.exchange.diff, stage.exchange.diff, stage.exchange.trade])(s)
        fault = rng.random()
        if fault < 0.03:
            continue  # lost
        if fault < 0.06:
            waiting.append(frame)  # late
            continue
        frames = [frame] * (2 if fault < 0.1 else 1)
        if fault < 0.15:
            frames.append(frame[: rng.randrange(len(frame))])
        if waiting and rng.random() < 0.5:
            frames.append(waiting.pop())
        stage.receive(*frames)
        agrees(stage)
        if turn % 10 == 0:
            for request in stage.session.wanted():
                stage.bring(request.symbol)
    for s, symbol in enumerate(SYMBOLS):
        if stage.states()[s][0] != SYNCED:
            stage.bring(symbol)
    assert agrees(stage) == 3
    assert max(epoch for _, epoch, _ in stage.states()) > 1


def test_the_engine_takes_every_row_and_closes_boundaries(market: str) -> None:
    stage = make_stage(market)
    for turn in range(120):
        s = SYMBOLS[turn % 3]
        stage.receive(*stage.exchange.each(s).values())
        if turn % 20 == 19:
            stage.now_ns += SECOND_NS
            stage.take(stage.session.timer(stage.now_ns))
    rows = stage.everything()
    at = heads(rows)
    assert rows["seq"][at].tolist() == list(range(len(at)))
    assert np.all(np.diff(rows["arrival_ns"][at]) >= 0)
    closed = Engine(stage.session.instruments).feed(rows)
    assert len(closed) >= 5
    assert closed[-1].book_state.tolist() == [SYNCED] * 3


def test_rows_are_the_same_however_frames_are_cut_into_batches(market: str) -> None:
    source = make_stage(market)
    frames = [f for turn in range(40) for f in source.exchange.each(SYMBOLS[turn % 3]).values()]
    del frames[31], frames[52]
    said = []
    for cuts in (
        [],
        [1],
        list(range(1, len(frames))),
        sorted(random.Random(3).sample(range(1, 90), 9)),
    ):
        stage = make_stage(market)
        stamps = NOW_NS + np.arange(len(frames)) * 10_000_000
        out = [
            stage.session.receive(frames[a:b], stamps[a:b])
            for a, b in zip([0, *cuts], [*cuts, len(frames)], strict=True)
        ]
        said.append(np.concatenate(out).tobytes())
    assert len(said[0]) > 80 * len(frames)
    assert said == [said[0]] * 4


def test_damaged_frames_are_read_as_a_plain_reader_reads_them_or_not_at_all(market: str) -> None:
    stage, rng = make_stage(market), random.Random(7)
    if stage.exchange.book_of is None:
        frames = [
            mutate(f, rng) for _ in range(60) for f in stage.exchange.each("BTCUSDT").values()
        ]
        stage.receive(*frames)  # the differential test of its compiled decoder is one of its own
        Engine(stage.session.instruments).feed(stage.everything())
        return
    plain: dict[str, list[dict[Fraction, int]]] = {
        s: [{Fraction(t, 100): q for t, q in side[s].items()}
            for side in (stage.exchange.bids, stage.exchange.asks)]
        for s in SYMBOLS
    }  # fmt: skip
    compared = 0
    for turn in range(600):
        k = turn % 3
        synced = stage.states()[k][0] == SYNCED
        frame = (stage.exchange.diff if synced else stage.exchange.snapshot)(SYMBOLS[k])
        if rng.random() < 0.5:
            frame = mutate(frame, rng)
        rows = stage.receive(frame)
        for head in heads(rows).tolist():
            if rows["kind"][head] not in (DEPTH, SNAPSHOT) or rows["flags"][head] & HELD:
                continue
            symbol, whole, last_id, *sides = stage.exchange.book_of(frame)
            k = SYMBOLS.index(symbol)
            assert (int(rows["symbol"][head]), int(rows["id"][head])) == (k, last_id)
            assert whole == (rows["kind"][head] == SNAPSHOT)
            for side, levels in zip(plain[symbol], sides, strict=True):
                if whole:
                    side.clear()
                for at, size in levels:
                    if (at * 100).denominator == 1 and at > 0:  # on the grid
                        side[at] = int(size * 1000)
                        if side[at] == 0:
                            del side[at]
            if stage.states()[k][0] == SYNCED:
                book, compared = stage.books[k], compared + 1
                for side, ours in zip(plain[symbol], (book.bids, book.asks), strict=True):
                    assert {Fraction(t, 100): q for t, q in ours.items()} == side
    assert compared > 200
    Engine(stage.session.instruments).feed(stage.everything())


@pytest.mark.parametrize("per_socket", [1, 2, 100])
def test_the_wire_subscribes_what_the_session_reads(market: str, per_socket: int) -> None:
    stage = make_stage(market)
    wire = stage.venue.wire()
    parts = wire.subscriptions(SYMBOLS, "trade", per_socket)
    streams = [stream for part in parts for stream in part.streams]
    assert set(streams) == set(stage.session.streams())
    for part in parts:
        said = " ".join(part.messages)
        asked = json.loads("[" + ",".join(part.messages) + "]")
        assert all(isinstance(message, dict) for message in asked)
        assert all(stream.partition(":")[0] in said for stream in part.streams)
        assert len(part.symbols) <= per_socket
        again = wire.resubscribe(part, [part.streams[0], "nothing"])
        assert len(again) == 2
        assert "nothing" not in "".join(again)
    covered = {(s, family) for part in parts for s in part.symbols for family in (1, 2)
               if part.families & family}  # fmt: skip
    assert covered == {(s, family) for s in SYMBOLS for family in (1, 2)}
    read = {name for s in SYMBOLS for name in stage.exchange.each(s)}
    assert read == set(streams)
    before = stage.session.counts
    for s in SYMBOLS:
        stage.receive(*stage.exchange.each(s).values())
    after = stage.session.counts
    assert {k: after[k] for k in ("unsupported", "malformed", "unknown_symbol")} == {
        k: before[k] for k in ("unsupported", "malformed", "unknown_symbol")
    }


def test_the_wire_says_how_to_ask_and_reads_the_clock(market: str) -> None:
    venue, exchange = MARKETS[market], EXCHANGES[market](SYMBOLS, 1)
    wire = venue.wire()
    assert wire.market == market
    assert wire.ws_url.startswith("wss://")
    assert wire.rest_url.startswith("https://")
    assert wire.venue_ns(exchange.time()) > 0
    for body in [*RUBBISH[:7], b'{"data":[]}', b'{"code":"0","data":[]}']:
        with pytest.raises(ValueError):
            wire.venue_ns(body)
    polls = wire.polls(SYMBOLS)
    assert all(request.every_s > 0 and request.path.startswith("/") for request in polls)
    a_minute = sum(60.0 / request.every_s * request.weight for request in wire.polls(SYMBOLS * 100))
    assert a_minute < wire.weight_per_minute / 2
    snapshot = wire.snapshot("BTCUSDT", 100)
    if snapshot is None:
        assert wire.book_stream("BTCUSDT") in wire.subscriptions(["BTCUSDT"], "trade", 1)[0].streams
    if market in VENUES:
        listed = venue.instruments(exchange.listing())
        assert listed == exchange.instruments()


def test_an_instrument_that_changes_opens_a_new_version_and_new_epochs(stage: Stage) -> None:
    answer = stage.exchange.listing(tick="0.005")
    rows = stage.take(stage.session.receive_answer("instruments", "", answer, stage.now_ns))
    assert kinds(rows)[0] == INSTRUMENT
    assert [int(rows[name][0]) for name in ("symbol", "id", "a", "b")] == [0, 2, 3, 5]
    assert [e[:3] for e in epochs(rows)] == [(0, BOOK, RESYNCING), (0, TAPE, SYNCED)]
    assert {e[4] for e in epochs(rows)} == {REASON_RESCALED}
    again = stage.session.receive_answer("instruments", "", answer, stage.now_ns)
    assert len(again) == 0
    gone = stage.exchange.listing(tick="0.005", missing="XRPUSDT")
    rows = stage.take(stage.session.receive_answer("instruments", "", gone, stage.now_ns))
    assert int(rows["id2"][0]) == DELISTED
    assert {e[4] for e in epochs(rows)} == {REASON_HALTED}
    assert [i.status for i in stage.session.instruments] == [0, 0, DELISTED]


def test_a_halted_instrument_is_not_joined_until_it_trades_again(market: str) -> None:
    stage = make_stage(market)
    halt = stage.exchange.listing(halted="ETHUSDT")
    rows = stage.take(stage.session.receive_answer("instruments", "", halt, stage.now_ns))
    assert int(rows["id2"][0]) == HALTED
    stage.bring("ETHUSDT")
    assert stage.states()[1][0] == RESYNCING
    assert stage.session.wanted() == []
    live = stage.exchange.listing()
    stage.take(stage.session.receive_answer("instruments", "", live, stage.now_ns))
    stage.bring("ETHUSDT")
    assert agrees(stage) == 3
