"""Compile every kernel of the library before the first frame needs it."""

from __future__ import annotations

import time

import numpy as np

from foreshock.engine.step import Engine
from foreshock.labels.barriers import label_quotes
from foreshock.labels.bootstrap import sequential_bootstrap
from foreshock.labels.excursion import excursions
from foreshock.labels.trend import scan_trends
from foreshock.market.clock import SECOND_NS
from foreshock.market.instruments import BYBIT, SPOT, USDM, Instrument
from foreshock.market.jit import cache_root
from foreshock.replay.context import with_context
from foreshock.stores.hot_layout import tape_in
from foreshock.venues.binance import BinanceSession
from foreshock.venues.fallback import FallbackSession
from foreshock.venues.registry import venue_of

_START_NS = 1_700_000_000 * SECOND_NS

_DEPTH = (
    b'{"stream":"x@depth","data":{"e":"depthUpdate","E":1700000000001,"T":1700000000001,'
    b'"s":"WARMUSDT","U":%d,"u":%d,"pu":%d,"b":[["10.00","1.0"]],"a":[["10.02","1.0"]]}}'
)
_TRADE = (
    b'{"stream":"x@trade","data":{"e":"trade","E":1700000000001,"T":1700000000001,"s":"WARMUSDT",'
    b'"t":%d,"p":"10.02","q":"0.5","m":false}}'
)
_QUOTE = (
    b'{"stream":"x@bookTicker","data":{"u":%d,"s":"WARMUSDT","b":"10.00","B":"1.0",'
    b'"a":"10.02","A":"1.0"}}'
)
_FALLBACK_TRADE = (
    b'{"topic":"publicTrade.WARMUSDT","type":"snapshot","ts":1700000000001,"data":[{'
    b'"T":1700000000001,"s":"WARMUSDT","S":"Buy","v":"0.5","p":"10.02","i":"1"}]}'
)
_SNAPSHOT = b'{"lastUpdateId":1,"bids":[["10.00","2.0"]],"asks":[["10.02","2.0"]]}'


def warm_live() -> None:
    """Session, books, families and engine: what a watcher runs."""
    for market in (SPOT, USDM):
        instruments = [Instrument.of("WARMUSDT", market, "0.01", "0.1")]
        session, engine = BinanceSession(instruments), Engine(instruments)
        engine.feed(session.start(_START_NS))
        frames = [_DEPTH % (1, 2, 1), _TRADE % 1, _QUOTE % 3, _DEPTH % (3, 4, 2)]
        stamps = _START_NS + np.arange(1, len(frames) + 1, dtype=np.int64)
        engine.feed(session.receive(frames, stamps))
        session.wanted()
        engine.feed(session.receive_snapshot("WARMUSDT", _SNAPSHOT, 1000, _START_NS + 10))
        closing = session.timer(_START_NS + 2 * SECOND_NS)
        engine.feed(closing)
        tape_in(closing)


def warm_fallback() -> None:
    """A primary venue with one that stands in for it."""
    primary, other = (
        venue_of(market).session([Instrument.of("WARMUSDT", market, "0.01", "0.1")])
        for market in (USDM, BYBIT)
    )
    session = FallbackSession(primary, [other])
    session.start(_START_NS)
    session.legs[1].receive([_FALLBACK_TRADE], np.full(1, _START_NS + 1))


def warm_labels() -> None:
    """The label kernels: what a dataset is built with."""
    times = np.arange(4, dtype=np.int64) * SECOND_NS
    level, bps = np.full(4, 100.0), np.full(1, 10.0)
    labels = label_quotes(times[:1], bps, bps, times, level, level, horizon_s=1, latency_ms=0)
    excursions(labels, level, level)
    scan_trends(level, times[:1], shortest=3, longest=4)
    sequential_bootstrap(times[:1], times[:1], SECOND_NS, 1, 0)


def warm_history() -> None:
    """What histories are merged with."""
    instruments = [Instrument.of("WARMUSDT", SPOT, "0.01", "0.1")]
    session = BinanceSession(instruments)
    session.start(_START_NS)
    ticks = [session.timer(_START_NS + k * SECOND_NS) for k in range(1, 4)]
    engine = Engine(instruments)
    for _ in with_context(ticks, engine):
        pass


def warm() -> dict[str, float | str]:
    """Run a handful of frames and labels through the kernels. Returns how long it took and where
    the compiled kernels are. Seconds from a filled cache, about a minute without."""
    started = time.perf_counter()
    warm_live()
    warm_fallback()
    warm_labels()
    warm_history()
    return {
        "seconds": round(time.perf_counter() - started, 3),
        "cache": str(cache_root()),
    }
