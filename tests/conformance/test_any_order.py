"""Whatever happens in whatever order, to every venue: no SYNCED book is wrong, no epoch runs back,
no symbol's book is touched by what befell another."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from foreshock.market.clock import SECOND_NS
from foreshock.market.rows import CONNECTED, CUT, REASON_CROSSED, RESYNCING, SYNCED, heads
from foreshock.venues.session import BOOK_FAMILY, TAPE_FAMILY
from tests.conformance.conftest import MARKETS, SYMBOLS, Stage, make_stage

WHICH = st.integers(0, len(SYMBOLS) - 1)
NUMBERS = st.integers(0, 1)
FAMILIES = BOOK_FAMILY | TAPE_FAMILY


class AnyOrder(RuleBasedStateMachine):
    """One stage, and everything that may happen to it."""

    market = ""

    def __init__(self) -> None:
        super().__init__()
        self.stage: Stage = make_stage(self.market, joined=False)
        self.before = self.stage.states()
        self.kept: list[bytes] = []
        self.may_change: set[int] = set()

    def _only(self, *which: int) -> None:
        self.before, self.may_change = self.stage.states(), set(which)

    @rule(which=WHICH, n=st.integers(1, 3))
    def diffs(self, which: int, n: int) -> None:
        self._only(which)
        self.kept = [self.stage.exchange.diff(SYMBOLS[which]) for _ in range(n)]
        self.stage.receive(*self.kept)

    @rule(which=WHICH)
    def lost(self, which: int) -> None:
        self._only()
        self.stage.exchange.diff(SYMBOLS[which])

    @rule(which=WHICH)
    def swapped(self, which: int) -> None:
        self._only(which)
        first, second = (self.stage.exchange.diff(SYMBOLS[which]) for _ in range(2))
        self.stage.receive(second, first)

    @rule()
    def again(self) -> None:
        self._only()
        self.stage.receive(*self.kept, *(frame[:-3] for frame in self.kept))

    @rule(which=WHICH)
    def brought(self, which: int) -> None:
        self._only(which)
        self.stage.bring(SYMBOLS[which])

    @rule()
    def asked(self) -> None:
        wanted = [SYMBOLS.index(request.symbol) for request in self.stage.session.wanted()]
        self._only(*wanted)
        for s in wanted:
            self.stage.bring(SYMBOLS[s])

    @rule(which=WHICH)
    def distrusted(self, which: int) -> None:
        self._only(which)
        session = self.stage.session
        self.stage.take(session.resync(SYMBOLS[which], REASON_CROSSED, self.stage.now_ns))

    @rule(which=WHICH)
    def refreshed(self, which: int) -> None:
        self._only()
        self.stage.session.refresh(SYMBOLS[which])

    @rule(number=NUMBERS, up=st.booleans())
    def connection(self, number: int, up: bool) -> None:
        self._only(*range(len(SYMBOLS)))
        state = CONNECTED if up else CUT
        session = self.stage.session
        self.stage.take(session.connection(number, state, FAMILIES, SYMBOLS, 0, self.stage.now_ns))

    @rule(seconds=st.sampled_from([1, 20, 7_200]))
    def waited(self, seconds: int) -> None:
        self._only(*range(len(SYMBOLS)))
        self.stage.now_ns += seconds * SECOND_NS
        self.stage.take(self.stage.session.timer(self.stage.now_ns))

    @rule(which=WHICH)
    def everything_else(self, which: int) -> None:
        self._only(which)
        self.stage.receive(*self.stage.exchange.each(SYMBOLS[which]).values())

    @invariant()
    def books_are_the_truth(self) -> None:
        for s, symbol in enumerate(SYMBOLS):
            if self.stage.states()[s][0] != RESYNCING:
                book = self.stage.books[s]
                truth = self.stage.exchange.truth[symbol][self.stage.session.book_id(symbol)]
                assert (book.bids, book.asks) == truth
            assert self.stage.books[s].state == self.stage.states()[s][0]
            assert self.stage.books[s].epoch == self.stage.states()[s][1]

    @invariant()
    def others_are_untouched(self) -> None:
        for s, (was, now) in enumerate(zip(self.before, self.stage.states(), strict=True)):
            assert was[1] <= now[1] <= was[1] + 4
            assert s in self.may_change or was == now or (was[0], now[0]) == (2, SYNCED)

    @invariant()
    def rows_are_one_sequence(self) -> None:
        rows = self.stage.everything()
        at = heads(rows)
        assert rows["seq"][at].tolist() == list(range(len(at)))
        self.stage.rows = [rows]


@pytest.mark.parametrize("market", sorted(MARKETS))
def test_no_order_of_events_bends_a_book(market: str) -> None:
    machine = type("AnyOrderOfIt", (AnyOrder,), {"market": market})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=25, stateful_step_count=25, deadline=None, derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )  # fmt: skip
