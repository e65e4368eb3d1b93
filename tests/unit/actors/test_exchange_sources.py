"""Sources play what they were given, when it is due, and answer REST of their own present."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import orjson
import pytest

from actors.exchange_sources import RecordingSource, SimulationSource, Speed, weight_of
from foreshock.errors import InstrumentError
from foreshock.market.instruments import Instrument
from foreshock.simulation.settings import SimulationSettings
from foreshock.stores.raw_sessions import read_raw_session

MS = 1_000_000


class Event(NamedTuple):
    arrival_ns: int
    kind: str
    symbol: str
    body: bytes
    market: str = "binance-spot"


def _frame(at_ms: int, n: int) -> Event:
    body = b'{"stream":"btcusdt@depth@100ms","data":{"e":"depthUpdate","s":"BTCUSDT","u":%d}}' % n
    return Event(1_000 * MS + at_ms * MS, "frame", "BTCUSDT", body)


def _source(speed: Speed = 1.0) -> RecordingSource:
    raw = Event(1_250 * MS, "frame", "BTCUSDT", b'{"e":"trade","s":"BTCUSDT","t":1}')
    rubbish = Event(1_260 * MS, "frame", "", b"not a frame")
    snapshot = Event(1_150 * MS, "depth", "BTCUSDT", b'{"lastUpdateId":1,"bids":[],"asks":[]}')
    events = [_frame(0, 1), _frame(100, 2), snapshot, _frame(200, 3), raw, rubbish, _frame(900, 4)]
    instrument = Instrument.of("BTCUSDT", "binance-spot", "0.01", "0.00001")
    return RecordingSource(events, [instrument], "binance-spot", speed)


def test_recorded_frames_come_with_the_pace_they_were_recorded_at() -> None:
    source = _source()
    source.begin(0)
    assert [d.body for d in source.due(150 * MS)] == [
        b'{"e":"depthUpdate","s":"BTCUSDT","u":1}',
        b'{"e":"depthUpdate","s":"BTCUSDT","u":2}',
    ]
    assert source.due(150 * MS) == []
    later = source.due(300 * MS)
    assert [d.stream for d in later] == ["btcusdt@depth@100ms", "btcusdt@trade"]
    assert not source.ended
    assert len(source.due(900 * MS)) == 1 and source.ended


def test_speed_multiplies_the_pace_and_max_ignores_it() -> None:
    fast = _source(4.0)
    fast.begin(0)
    assert len(fast.due(50 * MS)) == 3
    best = _source("max")
    best.begin(0)
    assert len(best.due(0)) == 5 and best.ended


def test_a_recorded_snapshot_is_told_only_when_its_time_has_come() -> None:
    source = _source()
    source.begin(0)
    source.due(149 * MS)
    assert source.depth("BTCUSDT", 1000) is None
    source.due(150 * MS)
    assert source.depth("BTCUSDT", 1000) == b'{"lastUpdateId":1,"bids":[],"asks":[]}'
    with pytest.raises(InstrumentError):
        source.depth("NOSUCH", 1000)


def test_without_a_recorded_exchange_info_the_instruments_are_told() -> None:
    body = orjson.loads(_source().exchange_info())
    filters = {f["filterType"]: f for f in body["symbols"][0]["filters"]}
    assert filters["PRICE_FILTER"]["tickSize"] == "0.01"
    assert filters["LOT_SIZE"]["stepSize"] == "0.00001"


def test_a_real_recording_is_played_to_its_end(recordings: Path) -> None:
    place = recordings / "ws_raw" / "cryptofeed" / "2021-11-03_906605df__BINANCE.0.gz"
    session = read_raw_session([place])
    source = RecordingSource(session.events, session.instruments, session.market, "max")
    source.begin(0)
    played = 0
    while not source.ended:
        played += len(source.due(0))
    assert played == sum(event.kind == "frame" for event in session.events) > 100
    assert "aggTrade" in source.families and "depth" in source.families
    assert any(source.depth(symbol, 1000) for symbol in source.symbols)


def test_the_simulation_follows_the_wall_clock_times_its_speed() -> None:
    settings = SimulationSettings.model_validate({"symbols": 3})
    source = SimulationSource(settings, 2.0)
    source.begin(5_000 * MS)
    first = source.due(5_500 * MS)
    assert source.now_ns == settings.start_ns + 1_000 * MS
    assert {d.symbol for d in first} == set(settings.symbols)
    source.due(60_000 * MS)  # after a long sleep it catches up in bites
    assert source.now_ns == settings.start_ns + 3_000 * MS
    assert source.truth() == []


def test_rest_weights_are_the_venues() -> None:
    assert weight_of("binance-spot", "depth", 1000) == 50
    assert weight_of("binance-usdm", "depth", 1000) == 20
    assert weight_of("binance-spot", "ping", 0) == 1
