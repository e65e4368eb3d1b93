"""The frame decoder against its slow twin, and the meaning of every kind of frame."""

from __future__ import annotations

import random

import numpy as np
import pytest

from foreshock.market.instruments import Instrument
from foreshock.market.rows import (
    DEPTH,
    EPOCH,
    HELD,
    QUOTE,
    REASON_GAP,
    REASON_RESCALED,
    RESYNCING,
    SELL,
    SYNCED,
    TAPE,
    TRADE,
    heads,
)
from foreshock.venues.binance import BinanceSession
from foreshock.venues.binance_book import NEAR
from tests.reference.frames import FrameTwin, Line, lines_of
from tests.reference.mutations import mutate
from tests.reference.venue import Venue

MARKETS = ("binance-spot", "binance-usdm")
NOW = 1_700_000_000_000_000_000
SYMBOLS = ["BTCUSDT", "ETHUSDT"]


class Pair:
    """The session and its twin, side by side."""

    def __init__(self, market: str, tape: str = "trade") -> None:
        instruments = [Instrument.of(s, market, "0.01", "0.001") for s in SYMBOLS]
        self.session = BinanceSession(instruments, tape=tape)
        self.twin = FrameTwin(instruments, market, tape)
        self.session.start(NOW)
        self.twin.start()
        self.now = NOW

    def read(self, frame: bytes) -> tuple[str, list[Line]]:
        """What both say of `frame`, which must be the same."""
        self.now += 1
        before = self.session.counts
        rows = self.session.receive([frame], np.array([self.now]))
        after = self.session.counts
        (outcome,) = (name for name, n in after.items() if n != before[name])
        found = (outcome, lines_of(rows))
        assert found == self.twin.read(frame, self.now), frame
        return found

    def join(self) -> None:
        """Snapshots that join whatever is held now."""
        for s, symbol in enumerate(SYMBOLS):
            book = self.twin.books[s]
            if book.state == RESYNCING:
                known = max((diff.last for diff in book.held), default=1)
                body = b'{"lastUpdateId":%d,"bids":[["9.00","1"]],"asks":[["9.02","1"]]}' % known
                rows = self.session.receive_snapshot(symbol, body, 1000, self.now)
                assert book.snapshot(known) == (len(rows) > 0)


def a_stream(market: str, tape: str, seed: int, n: int) -> list[bytes]:
    """A mix of all kinds of frames that a socket can bring."""
    venue, rng = Venue(market, [*SYMBOLS, "SOLUSDT"], seed), random.Random(seed)
    kinds = [venue.diff, venue.diff, venue.quote]
    kinds += [venue.trade, venue.trade, venue.agg_trade]
    kinds += [venue.kline, venue.mark, venue.liquidation]
    frames: list[bytes] = []
    for _ in range(n):
        again = frames and rng.random() < 0.05
        frames.append(frames[-1] if again else rng.choice(kinds)(rng.choice(SYMBOLS)))
    strangers = [
        b'{"result":null,"id":1}',
        b'{"error":{"code":2,"msg":"Invalid request"},"id":7}',
        b'{"stream":"btcusdt@kline_1m","data":{"e":"kline","E":1,"s":"BTCUSDT","k":{"a":[[1]]}}}',
        b'{"stream":"btcusdt@x","data":{"e":"other","s":"BTCUSDT","b":[1,{"c":[]}],"a":[["x"]]}}',
        b'{"stream":"!ticker@arr","data":[]}',
        b"{}",
        b"",
        venue.diff("SOLUSDT"),
        venue.quote("SOLUSDT")[26:-1],
    ]
    for stranger in strangers:
        frames.insert(rng.randrange(len(frames)), stranger)
    return frames


@pytest.mark.parametrize("market", MARKETS)
@pytest.mark.parametrize("tape", ["trade", "aggTrade"])
def test_whole_frames_read_as_the_twin_reads_them(market: str, tape: str) -> None:
    pair = Pair(market, tape)
    seen: dict[str, int] = {}
    for k, frame in enumerate(a_stream(market, tape, 3, 400)):
        outcome, _ = pair.read(frame)
        seen[outcome] = seen.get(outcome, 0) + 1
        if k % 20 == 19:
            pair.join()
    assert seen["ok"] > 200
    assert {"malformed", "unsupported", "answer", "unknown_symbol"} <= seen.keys()


@pytest.mark.parametrize("market", MARKETS)
def test_damaged_frames_give_the_outcome_and_the_rows_of_the_twin(market: str) -> None:
    rng = random.Random(11)
    outcomes: dict[str, int] = {}
    for k, frame in enumerate(a_stream(market, "trade", 5, 5_000)):
        if k % 200 == 0:  # a damaged id may be far ahead of all that follow
            pair = Pair(market)
        outcome, _ = pair.read(mutate(frame, rng))
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
        if k % 25 == 24:
            pair.join()
    assert min(outcomes["ok"], outcomes["malformed"]) > 1_000
    assert min(outcomes[name] for name in ("repeated", "bad_number", "no_trade")) > 1


def test_a_frame_cut_anywhere_leaves_no_row() -> None:
    pair = Pair("binance-usdm")
    venue = Venue("binance-usdm", SYMBOLS, 1)
    for frame in (venue.diff("BTCUSDT"), venue.trade("BTCUSDT"), venue.quote("ETHUSDT")):
        for end in range(len(frame)):
            assert pair.read(frame[:end]) == ("malformed", [])
        assert pair.read(frame)[0] == "ok"


@pytest.mark.parametrize("market", MARKETS)
def test_damaged_frames_within_a_batch_spoil_none_of_the_others(market: str) -> None:
    rng = random.Random(2)
    frames = [mutate(f, rng) for f in a_stream(market, "trade", 8, 600)]
    one_by_one, at_once = Pair(market), Pair(market)
    lines = [line for frame in frames for line in one_by_one.read(frame)[1]]
    rows = at_once.session.receive(frames, np.arange(len(frames)) + NOW)
    assert lines_of(rows) == lines
    assert at_once.session.counts == one_by_one.session.counts
    assert rows["seq"][heads(rows)].tolist() == list(range(4, 4 + len(heads(rows))))


def test_a_trade_is_read() -> None:
    frame = (
        b'{"e":"trade","E":1700000000005,"T":1700000000004,"s":"ETHUSDT","t":77,"p":"12.34000",'
        b'"q":"5","X":"MARKET","m":true}'
    )
    _, lines = Pair("binance-usdm").read(frame)
    event_ns = 1_700_000_000_004_000_000
    assert lines == [Line(TRADE, SELL, 1, event_ns, 77, 1, 1234, 5000, 0, 0, [], [])]


def test_a_quote_is_read_and_a_remainder_of_less_than_a_lot_does_not_count() -> None:
    frame = b'{"u":9,"s":"BTCUSDT","b":"1.00","B":"2.0009","a":"1.01","A":"0.0001"}'
    _, lines = Pair("binance-spot").read(frame)
    assert lines == [Line(QUOTE, 0, 0, 0, 9, 0, 100, 2000, 101, 0, [], [])]


def test_a_best_price_off_the_grid_distrusts_the_book_and_no_other() -> None:
    pair, venue = Pair("binance-usdm"), Venue("binance-usdm", SYMBOLS, 9)
    for symbol in SYMBOLS:
        pair.read(venue.diff(symbol))
    pair.join()
    frame = b'{"e":"bookTicker","u":9,"s":"ETHUSDT","b":"1.005","B":"1","a":"1.01","A":"1"}'
    outcome, (epoch,) = pair.read(frame)
    assert outcome == "bad_number"
    assert (epoch.symbol, epoch.a, epoch.b, epoch.d) == (1, RESYNCING, 2, REASON_RESCALED)
    assert pair.read(frame) == ("bad_number", [])
    assert pair.session.states()[:, :2].tolist() == [[SYNCED, 1], [RESYNCING, 2]]


def test_the_answer_to_a_subscription_and_other_events_are_told_apart() -> None:
    pair = Pair("binance-spot")
    assert pair.read(b'{"result":null,"id":3}')[0] == "answer"
    assert pair.read(b'{"stream":"x","data":{"e":"24hrTicker","s":"BTCUSDT"}}')[0] == "unsupported"
    assert pair.read(b'{"stream":"x","data":{"lastUpdateId":1}}')[0] == "unsupported"


def a_diff(first: int, last: int, bids: bytes) -> bytes:
    return b'{"e":"depthUpdate","E":1,"s":"BTCUSDT","U":%d,"u":%d,"pu":%d,"b":[%s],"a":[]}' % (
        first,
        last,
        first - 1,
        bids,
    )


@pytest.mark.parametrize("market", ["binance-spot", "binance-usdm"])
def test_an_order_off_the_grid_that_goes_is_left_out_and_one_that_comes_distrusts_the_book(
    market: str,
) -> None:
    pair = Pair(market)
    pair.read(a_diff(1, 2, b'["1.00","1.000"]'))
    pair.join()
    outcome, lines = pair.read(a_diff(3, 4, b'["1.005","0.000"],["1.00","3.0009",[]]'))
    assert outcome == "ok" and lines[0].bids == [(100, 3000)]
    outcome, lines = pair.read(a_diff(5, 6, b'["1.005","3.000"],["1.00","3.0009",[]]'))
    assert outcome == "bad_number"
    assert [(line.kind, line.a, line.d) for line in lines] == [(EPOCH, RESYNCING, REASON_RESCALED)]
    pair.read(a_diff(7, 8, b'["1.00","1.000"]'))
    old = b'{"lastUpdateId":4,"bids":[["9.00","1"]],"asks":[["9.02","1"]]}'
    assert len(pair.session.receive_snapshot("BTCUSDT", old, 1000, pair.now)) == 0  # over a gap


def test_a_snapshot_whose_near_levels_are_off_the_grid_is_none_and_far_ones_are_left_out() -> None:
    def body(off: int) -> bytes:
        prices = [b"9.%02d5" % (99 - k) if k == off else b"9.%02d" % (99 - k) for k in range(40)]
        bids = b",".join(b'["%s","1.000"]' % price for price in prices)
        return b'{"lastUpdateId":2,"bids":[%s],"asks":[["99.02","1.000"]]}' % bids

    for off, joins in ((0, False), (NEAR - 1, False), (NEAR, True), (99, True)):
        pair = Pair("binance-spot")
        pair.read(a_diff(1, 2, b'["1.00","1.000"]'))
        rows = pair.session.receive_snapshot("BTCUSDT", body(off), 1000, pair.now)
        assert (len(rows) > 0) == joins
        assert (pair.twin.snapshot(0, body(off)) is not None) == joins
        if joins:
            assert rows["id2"][0] == (off < 40)


def test_the_order_of_keys_does_not_matter() -> None:
    members = [
        b'"e":"depthUpdate"', b'"E":1', b'"s":"BTCUSDT"', b'"U":1', b'"u":2', b'"pu":0',
        b'"b":[["1.00","1.000"]]', b'"a":[["1.02","2.000"],["1.03","0.000"]]', b'"zz":{"s":[]}',
    ]  # fmt: skip
    rng = random.Random(4)
    found = []
    for _ in range(40):
        rng.shuffle(members)
        body = b"{" + b",".join(members) + b"}"
        for frame in (body, b'{"stream":"x","data":' + body + b"}",
                      b'{ "data" :' + body + b', "stream":"x" }'):  # fmt: skip
            found.append(Pair("binance-usdm").read(frame))
    assert all(each == found[0] for each in found)
    assert found[0][1][0].asks == [(102, 2000), (103, 0)]


def test_a_key_that_is_read_and_comes_twice_makes_the_frame_malformed() -> None:
    pair = Pair("binance-spot")
    quote = b'{"u":9,"s":"BTCUSDT","b":"1.00","B":"1","a":"1.01","A":"1"%s}'
    assert pair.read(quote % b"")[0] == "ok"
    assert pair.read(quote % b"") == ("repeated", [])
    for again in (b',"u":10', b',"s":"ETHUSDT"', b',"b":"1.01"', b',"A":null'):
        assert pair.read(quote % again)[0] == "malformed"
    assert pair.read(quote.replace(b"9", b"10") % b',"zz":1,"zz":2')[0] == "ok"
    levels = b'"b":[["1.00","1"]],"a":[]'
    depth = b'{"e":"depthUpdate","s":"BTCUSDT","U":1,"u":2,%s,%s}'
    assert pair.read(depth % (levels, b'"a":[["1.01","1"]]'))[0] == "malformed"


def test_a_jump_in_trade_ids_opens_a_tape_epoch_and_a_repeated_one_is_dropped() -> None:
    pair, venue = Pair("binance-spot"), Venue("binance-spot", SYMBOLS, 6)
    first, lost, third = (venue.trade("BTCUSDT") for _ in range(3))
    assert pair.read(first)[0] == "ok"
    _, lines = pair.read(third)
    assert [line.kind for line in lines] == [EPOCH, TRADE]
    assert (lines[0].a, lines[0].b, lines[0].c, lines[0].d) == (SYNCED, 2, TAPE, REASON_GAP)
    assert pair.read(third) == pair.read(lost) == ("repeated", [])
    assert pair.session.states()[:, 2].tolist() == [2, 1]


@pytest.mark.parametrize(
    "what", [b'"p":"99.00","q":"1","X":"INSURANCE_FUND"', b'"p":"0","q":"0","X":"NA"',
             b'"p":"0.00","q":"1"', b'"p":"1.00","q":"0.000"'],
)  # fmt: skip
def test_what_is_no_trade_of_the_market_takes_its_id_and_leaves_no_row(what: bytes) -> None:
    pair, venue = Pair("binance-usdm"), Venue("binance-usdm", SYMBOLS, 6)
    pair.read(venue.trade("BTCUSDT"))
    venue.trade_id["BTCUSDT"] += 1
    frame = b'{"e":"trade","s":"BTCUSDT","t":%d,%s,"m":true}'
    assert pair.read(frame % (venue.trade_id["BTCUSDT"], what)) == ("no_trade", [])
    outcome, lines = pair.read(venue.trade("BTCUSDT"))
    assert outcome == "ok" and [line.kind for line in lines] == [TRADE]


def test_a_break_is_told_behind_the_frame_that_broke_it_which_is_held() -> None:
    pair, venue = Pair("binance-usdm"), Venue("binance-usdm", SYMBOLS, 9)
    pair.read(venue.diff("BTCUSDT"))
    pair.join()
    assert pair.read(venue.diff("BTCUSDT"))[1][0].flags == 0
    venue.diff("BTCUSDT")  # lost
    _, (depth, epoch) = pair.read(venue.diff("BTCUSDT"))
    assert (depth.kind, depth.flags) == (DEPTH, HELD)
    assert (epoch.kind, epoch.a, epoch.b, epoch.d) == (EPOCH, RESYNCING, 2, REASON_GAP)
    assert pair.session.states()[:, :2].tolist() == [[RESYNCING, 2], [SYNCED, 1]]


def test_venue_times_beyond_what_nanoseconds_hold_are_no_times() -> None:
    pair = Pair("binance-spot")
    frame = b'{"e":"trade","E":%d,"s":"BTCUSDT","t":%d,"p":"1.00","q":"1","m":true}'
    latest = (2**63 - 1) // 1_000_000
    assert pair.read(frame % (latest, 1))[1][0].event_ns == latest * 1_000_000
    assert pair.read(frame % (latest + 1, 2))[1][0].event_ns == 0


def test_a_frame_of_more_than_four_megabytes_is_refused_and_one_below_is_read() -> None:
    pair = Pair("binance-spot")
    frame = b'{"u":9,"s":"BTCUSDT","b":"1.00","B":"1","a":"1.01","A":"1","zz":"%s"}'
    room = 4_000_000 - len(frame) + 2
    assert pair.read(frame % (b"x" * room))[0] == "ok"
    assert pair.read(frame % (b"x" * (room + 1)))[0] == "oversized"


@pytest.mark.parametrize("market", MARKETS)
def test_damaged_snapshots_are_read_as_the_twin_reads_them_or_refused(market: str) -> None:
    rng = random.Random(21)
    venue = Venue(market, SYMBOLS, 4)
    body = venue.snapshot("BTCUSDT")
    bodies = [body, body[:1] + b'"E":5,"T":6,"x":[{}],' + body[1:]]
    asks_first = b'{"asks":[["100.05","1"]],"lastUpdateId":5,"bids":[["100.01","2"]]}'
    bodies += [asks_first, b"{}", b"[]", b"", b'{"code":-1121,"msg":"Invalid symbol."}']
    bodies += [mutate(rng.choice(bodies[:3]), rng) for _ in range(1_500)]
    twin = FrameTwin(venue.instruments(), market)
    read = 0
    for each in bodies:
        session = BinanceSession(venue.instruments())
        session.start(NOW)
        rows = session.receive_snapshot("BTCUSDT", each, 1000, NOW + 1)
        expected = twin.snapshot(0, each)
        assert (len(rows) > 0) == (expected is not None), each
        if expected is not None:
            line = lines_of(rows)[0]
            assert (line.id, line.bids, line.asks) == expected
            read += 1
    assert read > 100
