"""Diffs, trades, losses, doubles, reorderings, overlaps, cuts, silences, halts and snapshots in any
order: a state machine."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from foreshock.engine.step import Engine
from foreshock.market import ladder as books
from foreshock.market.instruments import SPOT, USDM
from foreshock.market.rows import (
    BOOK,
    CONNECTED,
    CUT,
    EPOCH,
    REASON_RANGE,
    RESYNCING,
    STALE,
    SYNCED,
    TAPE,
    Rows,
    heads,
)
from foreshock.venues.binance import BOOK_FAMILY, TAPE_FAMILY, BinanceSession
from foreshock.venues.silence import TAPE_FLOOR_NS
from tests.reference.book import Continuity, Diff
from tests.reference.silence import RateTwin
from tests.reference.venue import Venue

SECOND = 1_000_000_000
SYMBOLS = ["BTCUSDT", "ETHUSDT", "XRPUSDT"]
symbols = st.sampled_from(SYMBOLS)
some = st.sets(symbols, min_size=1)
numbers = st.integers(1, 3)
families = st.sampled_from((BOOK, TAPE))
STALE_AFTER = 15 * SECOND


FAMILIES = {BOOK: BOOK_FAMILY, TAPE: TAPE_FAMILY}


@dataclass
class Tape:
    """What is expected of a symbol's tape."""

    state: int = SYNCED
    epoch: int = 1
    last: int = -1

    def trade(self, trade_id: int) -> bool:
        """A trade arrived: whether it is new. A jump of ids is a new epoch."""
        if trade_id <= self.last:
            return False
        if self.last >= 0 and trade_id > self.last + 1:
            self.epoch += 1
        self.last, self.state = trade_id, SYNCED
        return True

    def anew(self, state: int) -> None:
        """A new epoch, that goes on with whatever comes."""
        self.state, self.epoch, self.last = state, self.epoch + 1, -1


def exchange_info(stopped: set[str]) -> bytes:
    """The venue's list, with what trades and what does not."""
    steps = [
        {"filterType": "PRICE_FILTER", "tickSize": "0.01"},
        {"filterType": "LOT_SIZE", "stepSize": "0.001"},
    ]
    told = [
        {"symbol": s, "status": "BREAK" if s in stopped else "TRADING", "filters": steps}
        for s in SYMBOLS
    ]
    return json.dumps({"symbols": told}).encode()


class BooksUnderLosses(RuleBasedStateMachine):
    """A venue whose truth is known, a wire that loses, doubles and reorders, and a session with an
    engine behind it. `expected` is what the venue's page says of every symbol."""

    @initialize(market=st.sampled_from((SPOT, USDM)), seed=st.integers(0, 50))
    def begin(self, market: str, seed: int) -> None:
        self.venue = Venue(market, SYMBOLS, seed)
        self.session = BinanceSession(self.venue.instruments(), stale_after_ns=STALE_AFTER)
        self.engine = Engine(self.venue.instruments())
        self.expected = {s: Continuity(market) for s in SYMBOLS}
        self.tapes = {s: Tape() for s in SYMBOLS}
        self.rates = {
            (s, family): RateTwin(floor_ns)
            for s in SYMBOLS
            for family, floor_ns in ((BOOK, STALE_AFTER), (TAPE, TAPE_FLOOR_NS))
        }
        self.carriers: dict[tuple[str, int], set[int]] = {key: set() for key in self.rates}
        self.halted: set[str] = set()
        self.told: set[tuple[str, bool]] = set()
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
                self.rates[symbol, BOOK].heard(self.now)
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
        frames = [self.venue.trade(symbol), self.venue.quote(symbol), b'{"e":"depthUpdate"',
                  self.venue.kline(symbol), self.venue.liquidation(symbol)]  # fmt: skip
        if late:
            frames.reverse()
        self.tape_speaks(symbol, self.venue.trade_id[symbol])
        self.feed(self.session.receive(frames, np.full(5, self.now, np.int64)), (symbol,))

    def tape_speaks(self, symbol: str, trade_id: int) -> None:
        if self.tapes[symbol].trade(trade_id):
            self.rates[symbol, TAPE].heard(self.now)

    @rule(symbol=symbols)
    def a_trade_is_lost(self, symbol: str) -> None:
        self.venue.trade(symbol)

    @rule(symbol=symbols, n=st.integers(1, 4))
    def two_sockets_bring_the_same_trades(self, symbol: str, n: int) -> None:
        self.now += 1
        frames = []
        for _ in range(n):
            frames.append(self.venue.trade(symbol))
            self.tape_speaks(symbol, self.venue.trade_id[symbol])
        copies = [*frames, *frames]
        self.feed(self.session.receive(copies, np.full(2 * n, self.now, np.int64)), (symbol,))

    # Snapshots, cuts, silence

    @rule(symbol=symbols, old=st.integers(0, 12))
    def a_snapshot_arrives(self, symbol: str, old: int) -> None:
        """Of now, or of some diffs ago: a cached answer, or one that was long under way."""
        ids = sorted(self.venue.truth[symbol])
        update_id = ids[max(0, len(ids) - 1 - old)]
        body = self.venue.snapshot(symbol, update_id)
        was = self.expected[symbol].state
        joins = symbol not in self.halted and self.expected[symbol].snapshot(update_id)
        if joins:
            self.rates[symbol, BOOK].watch(self.now)
        rows = self.session.receive_snapshot(symbol, body, 1000, self.now)
        assert (len(rows) > 0) == joins
        assert was == RESYNCING or not joins
        self.feed(rows, (symbol,))

    @rule(symbol=symbols)
    def a_fetch_fails(self, symbol: str) -> None:
        self.session.wanted()
        self.session.snapshot_failed(symbol)

    @rule(number=numbers, family=families, some=some)
    def a_socket_is_connected(self, number: int, family: int, some: set[str]) -> None:
        for symbol in some:
            self.carriers[symbol, family].add(number)
            if not self.rates[symbol, family].heard_ns and symbol not in self.halted:
                self.rates[symbol, family].watch(self.now)
            if family == TAPE and symbol not in self.halted:
                self.tapes[symbol].state = SYNCED
        bit = FAMILIES[family]
        rows = self.session.connection(number, CONNECTED, bit, sorted(some), 0, self.now)
        self.feed(rows, tuple(some) if family == TAPE else ())

    @rule(number=numbers, family=families, some=some)
    def a_socket_is_cut(self, number: int, family: int, some: set[str]) -> None:
        """What another socket carries goes on without an epoch."""
        broken = []
        for symbol in some:
            self.carriers[symbol, family].discard(number)
            if self.carriers[symbol, family]:
                continue
            broken.append(symbol)
            self.rates[symbol, family].watch(0)
            if family == BOOK:
                self.expected[symbol].distrust()
                self.wire[symbol].clear()
            else:
                self.tapes[symbol].anew(STALE)
        bit = FAMILIES[family]
        rows = self.session.connection(number, CUT, bit, sorted(some), 0, self.now)
        self.feed(rows, tuple(broken))

    @rule(stopped=st.sets(symbols, max_size=2))
    def the_venue_says_who_trades(self, stopped: set[str]) -> None:
        """A halt distrusts a book and keeps it from being joined; its end begins anew."""
        changed = self.halted ^ stopped
        for symbol in changed:
            self.expected[symbol].distrust()
            self.tapes[symbol].anew(STALE if symbol in stopped else SYNCED)
            for family in FAMILIES:
                watched = symbol not in stopped and self.carriers[symbol, family]
                self.rates[symbol, family].watch(self.now if watched else 0)
        self.halted = stopped
        body = exchange_info(stopped)
        self.feed(self.session.receive_answer("instruments", "", body, self.now), tuple(changed))
        for symbol in sorted(stopped):
            self.receive([(symbol, self.venue.diff(symbol))])
            self.a_snapshot_arrives(symbol, 0)

    @rule(symbol=symbols)
    def a_book_is_distrusted(self, symbol: str) -> None:
        if self.expected[symbol].state != RESYNCING:
            self.expected[symbol].distrust()
        self.feed(self.session.resync(symbol, REASON_RANGE, self.now), (symbol,))

    @rule(wait_s=st.sampled_from((1, 10, 16, 61, 245)))
    def time_goes_on(self, wait_s: int) -> None:
        self.now += wait_s * SECOND
        silent = {
            key
            for key, rate in self.rates.items()
            if rate.silent(self.now) and key[0] not in self.halted
        }
        for symbol, family in silent:
            if family == BOOK:
                self.expected[symbol].silent()
            else:
                self.tapes[symbol].state = STALE
        self.feed(self.session.timer(self.now), tuple(symbol for symbol, _ in silent))
        named = {(name.split("@")[0].upper(), "depth" in name) for name in self.session.silent()
                 if "depth" in name or "trade" in name}  # fmt: skip
        now_silent = {(symbol, family == BOOK) for symbol, family in silent}
        assert named == now_silent - self.told
        self.told = now_silent

    @precondition(lambda self: any(b.state == RESYNCING for b in self.expected.values()))
    @rule(symbol=symbols)
    def a_broken_book_comes_back(self, symbol: str) -> None:
        """One diff that arrives and a snapshot of now are always enough, whatever went before."""
        if self.expected[symbol].state != RESYNCING:
            return
        assert not {request.symbol for request in self.session.wanted()} & self.halted
        self.the_venue_says_who_trades(set())
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
            tape = self.tapes[symbol]
            assert states[s] == [book.state, book.epoch, tape.epoch]
            assert self.session.tape_state(symbol) == tape.state
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
    max_examples=80,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
