"""The driver plays the shell for raw sessions: same rows for any batch size, timers, snapshots."""

from __future__ import annotations

import numpy as np
import pytest

from foreshock.engine.step import Engine
from foreshock.market.instruments import SPOT, USDM
from foreshock.market.rows import (
    EPOCH,
    REASON_CROSSED,
    REASON_RANGE,
    RESYNCING,
    SYNCED,
    TIMER,
    heads,
)
from foreshock.replay.driver import distrust, replay, rows_of_raw, tape_of
from foreshock.stores.raw_sessions import RawEvent
from foreshock.venues.binance import BinanceSession
from tests.reference.frames import lines_of
from tests.reference.venue import Venue

SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND + 123
SYMBOLS = ["BTCUSDT", "ETHUSDT"]


def raw(market: str, seconds: int = 12) -> tuple[Venue, list[RawEvent]]:
    """Frames of some seconds, a snapshot of each symbol in the third, and other events between."""
    venue, events = Venue(market, SYMBOLS, 2), []
    events.append(RawEvent(START, "connected", "", b"wss://x", market))
    for k in range(seconds * 10):
        now = START + k * SECOND // 10
        symbol = SYMBOLS[k % 2]
        for body in (venue.diff(symbol), venue.trade(symbol), venue.quote(symbol)):
            events.append(RawEvent(now, "frame", symbol, body, market))
        if k in (30, 31):
            events.append(RawEvent(now, "depth", symbol, venue.snapshot(symbol), market))
    events.append(RawEvent(START + seconds * SECOND, "exchange_info", "", b"{}", market))
    return venue, events


def rows_for(venue: Venue, events: list[RawEvent], batch: int) -> np.ndarray:
    session = BinanceSession(venue.instruments())
    return np.concatenate(list(rows_of_raw(session, events, batch=batch)))


@pytest.mark.parametrize("market", [SPOT, USDM])
def test_the_rows_are_the_same_for_any_batch_size(market: str) -> None:
    venue, events = raw(market)
    whole = rows_for(venue, events, 10**6)
    for batch in (1, 2, 7, 256):
        assert rows_for(venue, events, batch).tobytes() == whole.tobytes()


def test_every_step_ends_with_a_timer_row_on_its_boundary() -> None:
    venue, events = raw(SPOT)
    events = [e for e in events if not START + 5 * SECOND < e.arrival_ns < START + 8 * SECOND]
    rows = rows_for(venue, events, 256)
    at = heads(rows)
    timers = rows[at][rows["kind"][at] == TIMER]
    first = START // SECOND + 1
    assert (timers["arrival_ns"] // SECOND).tolist() == list(range(first, first + 13))
    assert not (timers["arrival_ns"] % SECOND).any()
    assert (np.diff(rows["arrival_ns"][at]) >= 0).all()


def test_books_join_when_their_snapshot_arrived_and_replay_closes_every_step() -> None:
    venue, events = raw(USDM)
    session, engine = BinanceSession(venue.instruments()), Engine(venue.instruments())
    boundaries = list(replay(engine, rows_of_raw(session, events)))
    states = [b.book_state.tolist() for b in boundaries]
    assert states == [[RESYNCING] * 2] * 3 + [[SYNCED] * 2] * 10
    assert session.counts["ok"] == 12 * 30


def test_nothing_recorded_is_nothing_replayed() -> None:
    session = BinanceSession(Venue(SPOT, SYMBOLS, 1).instruments())
    assert list(rows_of_raw(session, [])) == []


def test_the_tape_of_a_session_is_the_one_it_carries() -> None:
    venue = Venue(SPOT, SYMBOLS, 1)

    def events(*bodies: bytes) -> list[RawEvent]:
        return [RawEvent(START, "frame", "BTCUSDT", body, SPOT) for body in bodies]

    quote = venue.quote("BTCUSDT")
    assert tape_of(events(quote, venue.agg_trade("BTCUSDT"))) == "aggTrade"
    assert tape_of(events(quote, venue.trade("BTCUSDT"))) == "trade"
    assert tape_of(events(quote)) == "trade"


def test_distrusted_books_get_the_rows_that_open_their_new_epochs() -> None:
    venue, events = raw(SPOT)
    session, engine = BinanceSession(venue.instruments()), Engine(venue.instruments())
    list(replay(engine, rows_of_raw(session, events)))
    now = START + 60 * SECOND
    assert distrust(engine, session, now) == []
    u = venue.update_id
    empty = ",".join(f'["{t // 100}.{t % 100:02d}","0"]' for t in venue.bids["BTCUSDT"])
    crossing = f'["{max(venue.asks["ETHUSDT"]) / 100}","9"]'
    frames = [
        f'{{"e":"depthUpdate","s":"{s}","U":{u[s] + 1},"u":{u[s] + 2},'
        f'"b":[{bids}],"a":[]}}'.encode()
        for s, bids in (("BTCUSDT", empty), ("ETHUSDT", crossing))
    ]
    engine.feed(session.receive(frames, np.array([now, now])))
    rows = distrust(engine, session, now)
    lines = [line for part in rows for line in lines_of(part)]
    assert [(e.kind, e.symbol, e.a, e.b, e.d) for e in lines] == [
        (EPOCH, 0, RESYNCING, 2, REASON_RANGE),
        (EPOCH, 1, RESYNCING, 2, REASON_CROSSED),
    ]
    assert distrust(engine, session, now) == []  # the session knows already
    for part in rows:
        engine.feed(part)
    assert engine.distrusted() == []
