"""Bars, mark prices, liquidations, regimes and schedules follow from the market, not into it."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from typing import Any

import numpy as np
import orjson
import pytest
from pydantic import ValidationError

from foreshock.market.rows import BAR, LIQUIDATION, MARK
from foreshock.simulation.exchange import SimulatedExchange
from foreshock.simulation.settings import SimulationSettings, streams_of
from foreshock.venues.binance import BinanceSession

SECOND_NS = 1_000_000_000
FOUR = ("trade", "aggTrade", "depth", "bookTicker")


def _settings(**changes: Any) -> SimulationSettings:
    return SimulationSettings.model_validate({"symbols": 3, "market": "binance-usdm", **changes})


def _digest(settings: SimulationSettings, cuts: list[float], families: tuple[str, ...]) -> str:
    """Of all frames of these families."""
    exchange, digest = SimulatedExchange(settings), hashlib.sha256()
    for cut in cuts:
        for frame in exchange.advance(settings.start_ns + int(cut * SECOND_NS)):
            if frame.stream.partition("@")[0] in families:
                digest.update(frame.wrapped)
    return digest.hexdigest()


def test_the_market_does_not_depend_on_which_streams_are_on() -> None:
    everything = _settings(streams=streams_of("binance-usdm"), regime_s=5.0)
    some = _settings(streams=FOUR, regime_s=5.0)
    assert _digest(everything, [20.0], FOUR) == _digest(some, [20.0], FOUR)


def test_the_same_seed_gives_the_same_bytes_however_the_run_is_cut() -> None:
    schedule = [
        {"symbol": "BTCUSDT", "action": "halt", "at_s": 3.3, "seconds": 4.0},
        {"symbol": "ETHUSDT", "action": "list", "at_s": 5.7},
        {"symbol": "BNBUSDT", "action": "delist", "at_s": 11.2},
    ]
    settings = _settings(streams=streams_of("binance-usdm"), regime_s=4.0, schedule=schedule)
    names = tuple(name.partition("@")[0] for name in (*FOUR, "kline_1m", "markPrice", "forceOrder"))
    cuts = [*np.sort(np.random.default_rng(2).uniform(0, 20, 60)).tolist(), 20.0]
    assert _digest(settings, cuts, names) == _digest(settings, [20.0], names)


def test_a_schedule_silences_and_the_list_says_so() -> None:
    schedule = [
        {"symbol": "BTCUSDT", "action": "halt", "at_s": 2.0, "seconds": 3.0},
        {"symbol": "ETHUSDT", "action": "list", "at_s": 4.0},
        {"symbol": "BNBUSDT", "action": "delist", "at_s": 6.0},
    ]
    settings = _settings(schedule=schedule, streams=FOUR)
    exchange = SimulatedExchange(settings)
    heard: dict[str, list[float]] = defaultdict(list)
    listed = {}
    for second in range(1, 11):
        for frame in exchange.advance(settings.start_ns + second * SECOND_NS):
            heard[frame.symbol].append((frame.event_ns - settings.start_ns) / SECOND_NS)
        told = orjson.loads(exchange.exchange_info())["symbols"]
        listed[second] = {entry["symbol"]: entry["status"] for entry in told}
    assert not [t for t in heard["BTCUSDT"] if 2.0 + 1e-6 < t < 5.0]
    assert [t for t in heard["BTCUSDT"] if t >= 5.0] and min(heard["ETHUSDT"]) >= 4.0
    assert max(heard["BNBUSDT"]) <= 6.0
    assert listed[3] == {"BTCUSDT": "BREAK", "BNBUSDT": "TRADING"}
    assert listed[10] == {"BTCUSDT": "TRADING", "ETHUSDT": "TRADING"}
    assert [entry["what"] for entry in exchange.calendar()] == ["halt", "list", "delist"]


def test_our_own_session_reads_every_stream_and_a_bar_is_its_trades() -> None:
    # A minute and a half from a whole minute on.
    settings = _settings(streams=streams_of("binance-usdm"), start_ns=1_790_000_040 * SECOND_NS)
    exchange = SimulatedExchange(settings)
    session = BinanceSession(exchange.instruments(), tape="aggTrade")
    frames = exchange.advance(settings.start_ns + 90 * SECOND_NS)
    stamps = np.array([frame.event_ns for frame in frames], np.int64)
    rows = session.receive([frame.wrapped for frame in frames], stamps)
    counts = session.counts
    assert counts["malformed"] == counts["bad_number"] == 0
    assert {MARK, BAR, LIQUIDATION} <= set(rows["kind"].tolist())
    bodies = [(frame.symbol, orjson.loads(frame.body)) for frame in frames]
    trades = [
        (float(b["p"]), float(b["q"]))
        for s, b in bodies
        if s == "BTCUSDT" and b["e"] == "aggTrade" and b["T"] < 1_790_000_100_000
    ]
    bars = [b["k"] for s, b in bodies if s == "BTCUSDT" and b["e"] == "kline" and b["k"]["x"]]
    prices = [price for price, _ in trades]
    assert len(bars) == 1 and bars[0]["n"] == len(trades)
    ohlc = [float(bars[0][name]) for name in "ohlc"]
    assert ohlc == [prices[0], max(prices), min(prices), prices[-1]]
    assert float(bars[0]["v"]) == pytest.approx(sum(size for _, size in trades))
    assert float(bars[0]["q"]) == pytest.approx(sum(p * q for p, q in trades))


def test_at_most_one_liquidation_a_symbol_and_second_is_told_and_more_happen() -> None:
    settings = _settings(streams=["forceOrder"], regime_s=20.0, surge_interval_s=60.0)
    exchange = SimulatedExchange(settings)
    told = [(f.symbol, f.event_ns) for f in exchange.advance(settings.start_ns + 400 * SECOND_NS)]
    assert len(set(told)) == len(told) > 5
    assert sum(exchange.liquidations().values()) > len(told)


def test_a_higher_branching_ratio_clusters_the_trades() -> None:
    def clustering(branching: float) -> float:
        settings = _settings(branching=branching, streams=["trade"], edge=0.0, symbols=4)
        exchange = SimulatedExchange(settings)
        got = exchange.advance_buffer(settings.start_ns + 300 * SECOND_NS)
        counts = np.bincount((got.event_ns - settings.start_ns) // (2 * SECOND_NS))
        return float(counts.var() / counts.mean())

    assert clustering(0.8) > 1.5 * clustering(0.0)


def test_funding_is_settled_when_the_mark_price_said() -> None:
    settings = _settings(streams=["markPrice"], funding_interval_s=10)
    exchange = SimulatedExchange(settings)
    marks = [
        orjson.loads(frame.body)
        for frame in exchange.advance(settings.start_ns + 25 * SECOND_NS)
        if frame.symbol == "BTCUSDT"
    ]
    settled = orjson.loads(exchange.answer("/fapi/v1/fundingRate", {"symbol": "BTCUSDT"}, 2) or b"")
    announced = {mark["T"]: mark["r"] for mark in marks}
    assert [entry["fundingRate"] for entry in settled] == [
        announced[entry["fundingTime"]] for entry in settled
    ]
    assert len(settled) == 2


def test_rest_answers_are_read_and_spot_has_no_derivatives() -> None:
    exchange = SimulatedExchange(_settings(streams=streams_of("binance-usdm")))
    exchange.advance_buffer(exchange.now_ns + 65 * SECOND_NS)
    one = {"symbol": "BTCUSDT"}
    for path in ("klines", "ticker/24hr", "ticker/bookTicker", "premiumIndex", "openInterest"):
        assert exchange.answer(f"/fapi/v1/{path}", one, 100), path
    for name in ("globalLongShortAccountRatio", "takerlongshortRatio"):
        told = orjson.loads(exchange.answer(f"/futures/data/{name}", one, 3) or b"")
        assert len(told) == 3
    assert exchange.answer("/fapi/v1/nothing", one, 1) is None
    with pytest.raises(ValidationError):
        SimulationSettings.model_validate({"streams": ["markPrice"]})
