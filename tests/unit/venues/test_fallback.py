"""The primary venue and its fallback: one input, two markets, never mixed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from foreshock.costs.total import CostSettings
from foreshock.engine.outcomes import Boundary
from foreshock.engine.step import Engine
from foreshock.errors import ConfigError, InstrumentError
from foreshock.market.clock import SECOND_NS
from foreshock.market.rows import (
    ALL,
    CONNECTED,
    CONTROL,
    CONTROL_VENUE,
    CUT,
    DEPTH,
    FALLBACK,
    SYNCED,
    TIMER,
    Rows,
    heads,
)
from foreshock.models.base import Domain
from foreshock.signals.gate import GateSettings, ModelFacts, Reason, judge
from foreshock.signals.policy import PolicyState
from foreshock.venues.fallback import FallbackSession, SwitchRule
from foreshock.venues.registry import venue_of
from tests.reference.exchanges import EXCHANGES, START_MS

SYMBOLS = ["BTCUSDT", "ETHUSDT"]
NOW_NS = START_MS * 1_000_000 + 3_600 * SECOND_NS
MARKETS = ("binance-usdm", "bybit-linear", "okx-swap")
RULE = SwitchRule(down_after_s=10, back_after_s=60)


class Whole:
    """A composite, its exchanges, a clock, and every row that it gave."""

    def __init__(self, n: int = 2) -> None:
        self.exchanges: list[Any] = [EXCHANGES[m](SYMBOLS, 1) for m in MARKETS[:n]]
        sessions = [
            venue_of(exchange.market).session(exchange.instruments()) for exchange in self.exchanges
        ]
        self.session = FallbackSession(sessions[0], sessions[1:], RULE)
        self.now_ns = NOW_NS
        self.rows: list[Rows] = []
        self.take(self.session.start(NOW_NS))

    def take(self, rows: Rows) -> Rows:
        self.rows.append(rows)
        return rows

    def socket(self, leg: int, state: int, number: int = 0) -> Rows:
        return self.take(
            self.session.legs[leg].connection(100 * leg + number, state, 3, SYMBOLS, 0, self.now_ns)
        )

    def join(self, leg: int) -> None:
        body = self.exchanges[leg].listing()
        view = self.session.legs[leg]
        self.take(view.receive_answer("instruments", "", body, self.now_ns))
        for s in SYMBOLS:
            self.take(self.exchanges[leg].bring(view, s, self.now_ns))

    def trade(self, leg: int) -> Rows:
        exchange = self.exchanges[leg]
        frames = [say(s) for s in SYMBOLS for say in (exchange.diff, exchange.trade)]
        stamps = np.full(len(frames), self.now_ns)
        return self.take(self.session.legs[leg].receive(frames, stamps))

    def wait(self, seconds: int, *legs: int) -> list[int]:
        """Timers every second, with trading on these legs; the venues switched to."""
        taken = []
        for _ in range(seconds):
            self.now_ns += SECOND_NS
            for leg in legs:
                self.trade(leg)
            rows = self.take(self.session.timer(self.now_ns))
            assert (rows["kind"] == TIMER).sum() == 1
            switches = rows[(rows["kind"] == CONTROL) & (rows["a"] == CONTROL_VENUE)]
            taken += switches["b"].tolist()
        return taken

    def everything(self) -> Rows:
        return np.concatenate(self.rows)


def through_an_outage() -> Whole:
    """Up, down until the fallback stands in, and back."""
    whole = Whole()
    whole.socket(0, CONNECTED)
    whole.join(0)
    assert whole.wait(5, 0) == []
    whole.socket(0, CUT)
    assert whole.wait(9) == []
    assert whole.session.open_legs == (0,)
    assert whole.wait(1) == [1]
    assert whole.session.open_legs == (0, 1)
    whole.socket(1, CONNECTED)
    whole.join(1)
    assert whole.wait(20, 1) == []
    whole.socket(0, CONNECTED)
    whole.join(0)
    assert whole.wait(59, 0, 1) == []
    assert whole.wait(1, 0, 1) == [0]
    assert whole.session.open_legs == (0,)
    whole.socket(1, CUT)
    whole.wait(5, 0)
    return whole


def test_the_switch_follows_its_rule_there_and_back() -> None:
    whole = through_an_outage()
    assert whole.session.active == 0


def test_rows_of_the_fallback_are_of_other_instruments_and_flagged_every_one() -> None:
    rows = through_an_outage().everything()
    rows = rows[heads(rows)]
    mine = rows[rows["symbol"] != ALL]
    flagged = (mine["flags"] & FALLBACK) > 0
    assert flagged.any()
    assert not flagged.all()
    assert np.array_equal(flagged, mine["symbol"] >= len(SYMBOLS))
    assert rows["seq"].tolist() == list(range(len(rows)))
    assert np.all(np.diff(rows["arrival_ns"]) >= 0)


def test_the_engine_keeps_two_books_of_one_symbol_apart() -> None:
    whole = Whole()
    for leg in (0, 1):
        whole.socket(leg, CONNECTED)
    whole.join(0)
    whole.socket(0, CUT)
    whole.wait(10)
    whole.join(1)
    whole.socket(0, CONNECTED)
    whole.join(0)
    whole.wait(5, 0, 1)
    whole.wait(1)
    assert [i.market for i in whole.session.instruments] == [
        m for m in MARKETS[:2] for _ in SYMBOLS
    ]
    boundary = Engine(whole.session.instruments).feed(whole.everything())[-1]
    assert boundary.book_state.tolist() == [SYNCED] * 4
    for leg, exchange in enumerate(whole.exchanges):
        bids = boundary.bill_inputs["bid"][whole.session.span(leg)]
        assert bids == pytest.approx([max(exchange.bids[s]) / 100 for s in SYMBOLS], rel=1e-12)


def test_a_model_of_the_primarys_market_refuses_the_fallbacks_symbols() -> None:
    whole = through_an_outage()
    boundary = Engine(whole.session.instruments).feed(whole.everything())[-1]
    domains = [
        Domain(source=source, market=market, tier="book")
        for source, market in zip(("binance", "bybit"), whole.session.markets, strict=True)
    ]
    model = ModelFacts("1", (60,), (0.5,), domains[0])
    reasons = []
    for leg, domain in enumerate(domains):
        verdicts, _ = judge(
            boundary=part(boundary, whole.session.span(leg)),
            symbols=SYMBOLS,
            probabilities=np.full((2, 1), 0.9, np.float32),
            model=model,
            session_domain=domain,
            state=PolicyState(),
            settings=GateSettings(costs=CostSettings.for_market("binance-usdm")),
        )
        reasons.append({verdict.reason for verdict in verdicts})
    assert Reason.MODEL_DOMAIN not in reasons[0]
    assert reasons[1] == {Reason.MODEL_DOMAIN}


def part(boundary: Boundary, span: slice) -> Any:
    """One leg's share of a boundary."""
    cut = {name: getattr(boundary, name) for name in Boundary.__slots__}
    for name, value in cut.items():
        if isinstance(value, np.ndarray):
            cut[name] = value[span]
    return SimpleNamespace(**cut)


def test_a_single_cut_socket_or_a_short_outage_switches_nothing() -> None:
    whole = Whole()
    whole.socket(0, CONNECTED, 0)
    whole.socket(0, CONNECTED, 1)
    whole.socket(0, CUT, 1)
    assert whole.wait(30) == []
    for _ in range(5):
        whole.socket(0, CUT, 0)
        assert whole.wait(9) == []
        whole.socket(0, CONNECTED, 0)
        assert whole.wait(1) == []


def test_a_venue_that_never_answered_or_says_that_it_is_down_is_left_too() -> None:
    assert Whole().wait(10) == [1]
    whole = Whole()
    whole.socket(0, CONNECTED)
    whole.session.told(0, False, whole.now_ns)
    assert whole.wait(10) == [1]
    whole.session.told(0, True, whole.now_ns)
    assert whole.wait(60) == [0]


def test_the_next_fallback_is_taken_where_the_first_is_down_too() -> None:
    whole = Whole(3)
    assert whole.wait(40) == [1, 2]
    assert whole.session.open_legs == (0, 2)
    whole.socket(2, CONNECTED)
    whole.socket(0, CONNECTED)
    assert whole.wait(30) == []
    whole.socket(0, CUT)
    whole.socket(0, CONNECTED)  # not stable: it counts anew
    assert whole.wait(59) == []
    assert whole.wait(1) == [0]


def test_a_fallback_says_nothing_before_it_is_listened_to() -> None:
    whole = Whole()
    whole.socket(0, CONNECTED)
    whole.join(0)
    whole.wait(30, 0)
    rows = whole.everything()
    rows = rows[heads(rows)]
    assert rows["symbol"].max() == len(SYMBOLS) - 1
    assert not (rows["flags"] & FALLBACK).any()
    assert DEPTH in rows["kind"]


def test_legs_must_hold_the_same_symbols_of_different_markets() -> None:
    spot = [venue_of("binance-spot").session(EXCHANGES["binance-spot"](s, 1).instruments())
            for s in (["BTCUSDT"], ["BTCUSDT"])]  # fmt: skip
    with pytest.raises(InstrumentError, match="same symbols"):
        FallbackSession(spot[0], spot[1:])
    eth = EXCHANGES["bybit-linear"](["ETHUSDT"], 1).instruments()
    other = venue_of("bybit-linear").session(eth)
    with pytest.raises(InstrumentError, match="same symbols"):
        FallbackSession(spot[0], [other])
    with pytest.raises(ConfigError, match="above zero"):
        SwitchRule(down_after_s=0)
