"""A snapshot joined in passing: the ladder knows more afterwards, and nothing else has changed."""

from __future__ import annotations

import numpy as np
import pytest

from foreshock.engine.step import Engine
from foreshock.market import ladder as books
from foreshock.market.clock import MS_NS, SECOND_NS
from foreshock.market.rows import DEPTH, EPOCH, REJOINED, SNAPSHOT, as_words, heads
from foreshock.market.touch import OFI1, VALID
from foreshock.simulation.exchange import SimulatedExchange
from foreshock.simulation.settings import SimulationSettings
from foreshock.venues.binance import BinanceSession

SECONDS = 20


def play(market: str, refresh_at_s: tuple[int, ...], levels: int = 1000, answer_ms: int = 150):
    """Boundaries, rows and engine of a simulated session that refreshes its first symbol at the
    given seconds; the answers are `answer_ms` older than when they are received."""
    exchange = SimulatedExchange(SimulationSettings(seed=5, symbols=3, market=market))
    instruments = exchange.instruments()
    session, engine = BinanceSession(instruments, levels=levels), Engine(instruments)
    start_ns = exchange.now_ns
    boundaries, rows = [], []

    def see(batch):
        if len(batch):
            rows.append(batch)
            boundaries.extend(engine.feed(batch))

    see(session.start(start_ns))
    answers = []
    for step in range(SECONDS * 20):
        now_ns = start_ns + (step + 1) * 50 * MS_NS
        got = exchange.advance_buffer(now_ns)
        see(session.receive_buffer(got.data, got.starts, got.event_ns))
        for due_ns, request, body in list(answers):
            if due_ns <= now_ns:
                answers.remove((due_ns, request, body))
                see(session.receive_snapshot(request.symbol, body, request.levels, now_ns))
        if step % 20 == 0 and step // 20 in refresh_at_s:
            session.refresh(instruments[0].symbol)
        for request in session.wanted():
            body = exchange.depth(request.symbol, request.levels)
            answers.append((now_ns + answer_ms * MS_NS, request, body))
        if step % 20 == 19:
            see(session.timer(now_ns))
    return boundaries, np.concatenate(rows), engine, exchange, session


@pytest.mark.parametrize("market", ["binance-spot", "binance-usdm"])
def test_a_refresh_changes_no_bit_of_any_vector_and_no_epoch(market):
    plain, plain_rows, standing, *_ = play(market, ())
    fresh, fresh_rows, engine, *_ = play(market, (4, 9, 14))
    kinds = fresh_rows["kind"][heads(fresh_rows)]
    assert (kinds == SNAPSHOT).sum() == 3 + 3
    assert (kinds == EPOCH).sum() == (plain_rows["kind"][heads(plain_rows)] == EPOCH).sum()
    assert len(plain) == len(fresh) >= SECONDS - 1
    for one, other in zip(plain, fresh, strict=True):
        assert one.vectors.tobytes() == other.vectors.tobytes()
        assert one.warm.tobytes() == other.warm.tobytes()
        assert (one.book_epoch == other.book_epoch).all()
        assert one.bill_inputs.tobytes() == other.bill_inputs.tobytes()
    for side in (books.BID, books.ASK):
        found = books.levels(engine.ladder, 0, side)
        assert len(found) > 100
        assert found.tolist() == books.levels(standing.ladder, 0, side).tolist()


def test_rows_that_rebuild_a_standing_book_say_nothing_to_the_families():
    _, rows, *_ = play("binance-spot", (4,))
    words = as_words(rows)
    touch, ladder = books.empty_touch(len(words)), books.init(3)
    books.scan(words, touch, 0, len(words), 2**62, ladder)
    at = [i for i in heads(rows) if rows["kind"][i] == SNAPSHOT][-1]
    rebuilt = [at] + [
        i
        for i in heads(rows)
        if i > at and rows["kind"][i] == DEPTH and rows["flags"][i] & REJOINED
    ]
    assert len(rebuilt) > 1
    for i in rebuilt:
        assert not touch[i, VALID] and not touch[i, OFI1:].any()


def test_a_snapshot_older_than_what_was_kept_is_not_joined_and_asked_for_again():
    *_, exchange, session = play("binance-spot", ())
    symbol = exchange.symbols[0]
    old = exchange.depth(symbol, 1000)
    for _ in range(20):
        got = exchange.advance_buffer(exchange.now_ns + 100 * MS_NS)
        session.receive_buffer(got.data, got.starts, got.event_ns)
    session.refresh(symbol)
    assert [r.symbol for r in session.wanted()] == [symbol]
    before = session.states()
    assert len(session.receive_snapshot(symbol, old, 1000, exchange.now_ns)) == 0
    assert [(r.symbol, r.attempt) for r in session.wanted()] == [(symbol, 1)]
    assert (session.states() == before).all()


def test_a_book_asks_for_a_snapshot_before_its_touch_reaches_what_is_not_known():
    """Twenty levels a side: the price walks out of them within seconds."""
    boundaries, _, engine, *_ = play("binance-spot", (), levels=20)
    narrow, edge = engine.narrow(), engine.distrusted()
    assert narrow or edge
    assert engine.ladder.info[0, books.I_GUARD] >= 2 * books.RANGE_GUARD
    assert len(boundaries) >= SECONDS - 1 and boundaries[0].boundary_ns % SECOND_NS == 0
