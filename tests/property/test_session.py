"""Diffs, losses, doubles, reorderings, cuts and snapshots in any order: a state machine."""

from __future__ import annotations

import json

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from foreshock.engine.step import Engine
from foreshock.market import ladder as books
from foreshock.market.instruments import SPOT, USDM
from foreshock.market.rows import (
    CUT,
    EPOCH,
    REASON_RANGE,
    RESYNCING,
    STALE,
    SYNCED,
    Rows,
    heads,
)
from foreshock.venues.binance import BOOK_FAMILY, BinanceSession
from tests.reference.book import Continuity, Diff
from tests.reference.venue import Venue

SECOND = 1_000_000_000
SYMBOLS = ["BTCUSDT", "ETHUSDT", "XRPUSDT"]
symbols = st.sampled_from(SYMBOLS)
STALE_AFTER = 15 * SECOND


class BooksUnderLosses(RuleBasedStateMachine):
    """A venue whose truth is known, a wire that loses, doubles and reorders, and a session with an
    engine behind it. `expected` is what the venue's page says of every symbol."""

    @initialize(market=st.sampled_from((SPOT, USDM)), seed=st.integers(0, 50))
    def begin(self, market: str, seed: int) -> None:
        self.venue = Venue(market, SYMBOLS, seed)
        self.session = BinanceSession(self.venue.instruments(), stale_after_ns=STALE_AFTER)
        self.engine = Engine(self.venue.instruments())
        self.expected = {s: Continuity(market) for s in SYMBOLS}
        self.seen_ns = dict.fromkeys(SYMBOLS, 0)
        self.wire: dict[str, list[bytes]] = {s: [] for s in SYMBOLS}
        self.sent: dict[str, list[bytes]] = {s: [] for s in SYMBOLS}
        self.now = 1_700_000_000 * SECOND
        self.seq = 0
        self.feed(self.session.start(self.now))
        for book in self.expected.values():
            book.start()

    def feed(self, rows: Rows, touched: tuple[str, ...] = tuple(SYMBOLS)) -> None:
        """Rows go to the engine; they are numbered without a hole and name only who was touched."""
        at = heads(rows)
        assert rows["seq"][at].tolist() == list(range(self.seq, self.seq + len(at)))
        self.seq += len(at)
        epochs = rows[at][rows["kind"][at] == EPOCH]
        assert {SYMBOLS[s] for s in epochs["symbol"]} <= set(touched)
        self.engine.feed(rows)

    def receive(self, frames: list[tuple[str, bytes]]) -> None:
        self.now += 1_000
        for symbol, frame in frames:
            data = json.loads(frame)["data"]
            book = self.expected[symbol]
            if book.diff(Diff(data["U"], data["u"], data.get("pu", -1))) != "repeat":
                self.seen_ns[symbol] = self.now
        stamps = np.full(len(frames), self.now, np.int64)
        touched = tuple({symbol for symbol, _ in frames})
        self.feed(self.session.receive([frame for _, frame in frames], stamps), touched)

    # The venue and its wire

    @rule(symbol=symbols, n=st.integers(1, 4), far=st.booleans())
    def the_book_moves(self, symbol: str, n: int, far: bool) -> None:
        for _ in range(n):
            self.wire[symbol].append(self.venue.diff(symbol, step=40 if far else 2))

    @rule(symbol=symbols, at=st.integers(0, 5))
    def a_diff_is_lost(self, symbol: str, at: int) -> None:
        if self.wire[symbol]:
            self.wire[symbol].pop(at % len(self.wire[symbol]))

    @rule(symbol=symbols, at=st.integers(0, 5))
    def a_diff_comes_twice(self, symbol: str, at: int) -> None:
        if self.wire[symbol]:
            at %= len(self.wire[symbol])
            self.wire[symbol].insert(at, self.wire[symbol][at])

    @rule(symbol=symbols, back=st.integers(1, 6))
    def an_old_diff_comes_again(self, symbol: str, back: int) -> None:
        if len(self.sent[symbol]) >= back:
            self.wire[symbol].insert(0, self.sent[symbol][-back])

    @rule(symbol=symbols, at=st.integers(0, 5))
    def two_diffs_change_places(self, symbol: str, at: int) -> None:
        wire = self.wire[symbol]
        if len(wire) > 1:
            at %= len(wire) - 1
            wire[at], wire[at + 1] = wire[at + 1], wire[at]

    @rule(choice=st.lists(symbols, min_size=1, max_size=12))
    def a_batch_arrives(self, choice: list[str]) -> None:
        frames = []
        for symbol in choice:
            if self.wire[symbol]:
                frame = self.wire[symbol].pop(0)
                frames.append((symbol, frame))
                self.sent[symbol].append(frame)
        self.receive(frames)

    @rule(symbol=symbols, late=st.booleans())
    def other_frames_arrive(self, symbol: str, late: bool) -> None:
        self.now += 1
        frames = [self.venue.trade(symbol), self.venue.quote(symbol), b'{"e":"depthUpdate"']
        if late:
            frames.reverse()
        self.feed(self.session.receive(frames, np.full(3, self.now, np.int64)), ())

    # Snapshots, cuts, silence

    @rule(symbol=symbols, old=st.integers(0, 12))
    def a_snapshot_arrives(self, symbol: str, old: int) -> None:
        """Of now, or of some diffs ago: a cached answer, or one that was long under way."""
        ids = sorted(self.venue.truth[symbol])
        update_id = ids[max(0, len(ids) - 1 - old)]
        body = self.venue.snapshot(symbol, update_id)
        was = self.expected[symbol].state
        joins = self.expected[symbol].snapshot(update_id)
        if joins:
            self.seen_ns[symbol] = self.now
        rows = self.session.receive_snapshot(symbol, body, 1000, self.now)
        assert (len(rows) > 0) == joins
        assert was == RESYNCING or not joins
        self.feed(rows, (symbol,))

    @rule(symbol=symbols)
    def a_fetch_fails(self, symbol: str) -> None:
        self.session.wanted()
        self.session.snapshot_failed(symbol)

    @rule(cut=st.sets(symbols, min_size=1))
    def a_socket_is_cut(self, cut: set[str]) -> None:
        for symbol in cut:
            self.expected[symbol].distrust()
            self.wire[symbol].clear()
        rows = self.session.connection(1, CUT, BOOK_FAMILY, sorted(cut), 0, self.now)
        self.feed(rows, tuple(cut))

    @rule(symbol=symbols)
    def a_book_is_distrusted(self, symbol: str) -> None:
        if self.expected[symbol].state != RESYNCING:
            self.expected[symbol].distrust()
        self.feed(self.session.resync(symbol, REASON_RANGE, self.now), (symbol,))

    @rule(wait_s=st.sampled_from((1, 10, 16)))
    def time_goes_on(self, wait_s: int) -> None:
        self.now += wait_s * SECOND
        silent = [s for s in SYMBOLS if self.seen_ns[s] < self.now - STALE_AFTER]
        for symbol in silent:
            self.expected[symbol].silent()
        self.feed(self.session.timer(self.now), tuple(silent))

    @precondition(lambda self: any(b.state == RESYNCING for b in self.expected.values()))
    @rule(symbol=symbols)
    def a_broken_book_comes_back(self, symbol: str) -> None:
        """One diff that arrives and a snapshot of now are always enough, whatever went before."""
        if self.expected[symbol].state != RESYNCING:
            return
        epoch = self.expected[symbol].epoch
        self.wire[symbol].clear()
        self.receive([(symbol, self.venue.diff(symbol))])
        if not any(request.symbol == symbol for request in self.session.wanted()):
            self.session.snapshot_failed(symbol)  # it was asked for, and nobody answered
            assert any(request.symbol == symbol for request in self.session.wanted())
        self.a_snapshot_arrives(symbol, 0)
        assert self.expected[symbol].state == SYNCED
        assert self.expected[symbol].epoch == epoch

    # What always holds

    @invariant()
    def states_and_epochs_are_those_of_the_venues_page(self) -> None:
        states = self.session.states().tolist()
        for s, symbol in enumerate(SYMBOLS):
            book = self.expected[symbol]
            assert states[s] == [book.state, book.epoch, 1]
            info = self.engine.ladder.info[s]
            assert (info[books.I_STATE], info[books.I_EPOCH]) == (book.state, book.epoch)

    @invariant()
    def a_book_that_says_synced_is_the_true_book(self) -> None:
        for s, symbol in enumerate(SYMBOLS):
            book = self.expected[symbol]
            found = [books.levels(self.engine.ladder, s, side).tolist() for side in (0, 1)]
            if book.state == RESYNCING:
                assert found == [[], []]
                continue
            assert book.state in (SYNCED, STALE)
            assert self.session.book_id(symbol) == book.known
            bids, asks = self.venue.truth[symbol][book.known]
            assert found[0] == [list(level) for level in sorted(bids.items(), reverse=True)]
            assert found[1] == [list(level) for level in sorted(asks.items())]
            if book.state == SYNCED:
                bid, bid_lots, ask, ask_lots = self.engine.ladder.touch[s].tolist()
                best = (max(bids), min(asks))
                quoted = self.engine.ladder.info[s, books.I_QUOTE_ID]
                truth = self.venue.truth[symbol].get(int(quoted))
                if truth is not None:
                    best = (max(truth[0]), min(truth[1]))
                    assert (bid_lots, ask_lots) == (truth[0][best[0]], truth[1][best[1]])
                assert (bid, ask) == best


TestBooksUnderLosses = BooksUnderLosses.TestCase
TestBooksUnderLosses.settings = settings(
    max_examples=60,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
