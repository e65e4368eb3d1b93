"""How Binance is asked: every stream once, in parts that the venue takes, on the right route."""

from __future__ import annotations

import json

import pytest

from foreshock.errors import InstrumentError
from foreshock.market.instruments import SPOT, USDM
from foreshock.venues.binance_answers import METRIC_KINDS
from foreshock.venues.binance_wire import STREAMS_PER_MESSAGE, STREAMS_PER_SOCKET, BinanceWire
from foreshock.venues.session import BOOK_FAMILY, TAPE_FAMILY
from foreshock.venues.wire import Request

SYMBOLS = [f"S{k}USDT" for k in range(700)]


@pytest.mark.parametrize("market", [SPOT, USDM])
@pytest.mark.parametrize("tape", ["trade", "aggTrade"])
@pytest.mark.parametrize("per_socket", [1, 40, 5_000])
def test_every_stream_is_asked_for_once_a_route(market: str, tape: str, per_socket: int) -> None:
    parts = BinanceWire(market).subscriptions(SYMBOLS, tape, per_socket)
    for path in {part.path for part in parts}:
        mine = [part for part in parts if part.path == path]
        asked = [stream for part in mine for stream in part.streams]
        assert len(asked) == len(set(asked))
        assert [symbol for part in mine for symbol in part.symbols] == SYMBOLS
    for part in parts:
        assert len(part.symbols) <= per_socket and len(part.streams) <= STREAMS_PER_SOCKET
        said = [json.loads(message) for message in part.messages]
        assert [stream for one in said for stream in one["params"]] == list(part.streams)
        assert max(len(one["params"]) for one in said) <= STREAMS_PER_MESSAGE
        assert [one["id"] for one in said] == list(range(1, len(said) + 1))


def test_usdm_books_and_tapes_come_over_routes_of_their_own() -> None:
    public, market = BinanceWire(USDM).subscriptions(["BTCUSDT"], "aggTrade", 100)
    assert (public.path, public.families) == ("/public/stream", BOOK_FAMILY)
    assert public.streams == ("btcusdt@depth@100ms", "btcusdt@bookTicker")
    assert (market.path, market.families) == ("/market/stream", TAPE_FAMILY)
    assert market.streams == (
        "btcusdt@aggTrade", "btcusdt@kline_1m", "btcusdt@markPrice@1s", "btcusdt@forceOrder",
    )  # fmt: skip
    public, market = BinanceWire(USDM).subscriptions(["BTCUSDT"], "trade", 100)
    assert "btcusdt@trade" in public.streams and "btcusdt@trade" in market.streams


def test_a_silent_stream_is_dropped_and_taken_again_on_the_socket_that_has_it() -> None:
    wire = BinanceWire(USDM)
    public, market = wire.subscriptions(["BTCUSDT"], "aggTrade", 100)
    dropped, taken = wire.resubscribe(public, ["btcusdt@bookTicker", "btcusdt@aggTrade"])
    assert json.loads(dropped) == {
        "method": "UNSUBSCRIBE", "params": ["btcusdt@bookTicker"], "id": 1,
    }  # fmt: skip
    assert json.loads(taken)["params"] == ["btcusdt@bookTicker"]
    assert wire.resubscribe(market, ["ethusdt@aggTrade"]) == ()


@pytest.mark.parametrize(
    ("market", "levels", "weight"),
    [(SPOT, 100, 5), (SPOT, 101, 25), (SPOT, 1000, 50), (SPOT, 5000, 250), (USDM, 50, 2),
     (USDM, 500, 10), (USDM, 1000, 20)],
)  # fmt: skip
def test_a_snapshot_weighs_what_the_venue_says(market: str, levels: int, weight: int) -> None:
    request = BinanceWire(market).snapshot("BTCUSDT", levels)
    assert request.weight == weight
    assert request.params == {"symbol": "BTCUSDT", "limit": levels}


def test_polls_stay_within_the_limits_and_their_answers_are_understood() -> None:
    wire = BinanceWire(USDM)
    polls = wire.polls(SYMBOLS)
    assert {poll.kind for poll in polls} == METRIC_KINDS
    weight = sum(poll.weight * 60 / poll.every_s for poll in polls)
    assert weight < wire.weight_per_minute / 2
    ratios = sum(300 / poll.every_s for poll in polls if poll.path.startswith("/futures/data"))
    assert ratios <= 1_000
    assert BinanceWire(SPOT).polls(SYMBOLS) == []
    assert wire.instruments().every_s > 0


def test_the_venues_clock_and_weight_are_read_or_refused() -> None:
    wire = BinanceWire(SPOT)
    assert wire.venue_ns(b'{"serverTime":1700000000123}') == 1_700_000_000_123_000_000
    for bad in (b"", b"[]", b"{}", b'{"serverTime":"1"}', b'{"serverTime":true}', b"\xff"):
        with pytest.raises(ValueError):
            wire.venue_ns(bad)
    assert wire.used_weight({"x-mbx-used-weight-1m": "17"}) == 17
    assert wire.used_weight({"X-MBX-USED-WEIGHT-1M": "x"}) is None
    assert wire.used_weight({}) is None


def test_a_market_of_another_venue_is_refused() -> None:
    with pytest.raises(InstrumentError, match="okx"):
        BinanceWire("okx-swap")


@pytest.mark.parametrize(("market", "page", "pages"), [(SPOT, 1000, 2), (USDM, 499, 4)])
def test_more_than_a_day_of_bars_is_asked_for_page_by_page(
    market: str, page: int, pages: int
) -> None:
    wire, now_ms = BinanceWire(market), 1_700_000_012_345
    asked = wire.history(["BTCUSDT"], now_ms * 1_000_000)
    wanted: Request | None = next(request for request in asked if request.kind == "bars")
    seen: list[int] = []
    weight = 0
    while wanted is not None:
        assert wanted.params["limit"] == page and wanted.every_s == 0
        weight += wanted.weight
        first_ms = int(wanted.params["startTime"])
        opened = list(range(first_ms, now_ms, 60_000))[:page]
        assert not seen or opened[0] == seen.pop()
        seen += opened
        wanted = wire.later(wanted, json.dumps([[ms] for ms in opened]).encode())
    assert weight == 2 * pages and len(seen) > 24 * 60
    assert seen == list(range(seen[0], now_ms, 60_000))


def test_rubbish_is_no_page_that_another_follows() -> None:
    wire = BinanceWire(SPOT)
    (request,) = wire.history(["BTCUSDT"], 10**18)
    for body in ([], {}, [[1]] * 999):
        assert wire.later(request, json.dumps(body).encode()) is None
    for last in (["x"], [], 7, [0], [None]):
        with pytest.raises(ValueError):
            wire.later(request, json.dumps([last] * 1000).encode())


def test_settled_funding_is_asked_for_before_any_bar_and_on_usdm_only() -> None:
    asked = [
        (request.kind, request.symbol) for request in BinanceWire(USDM).history(SYMBOLS, 10**18)
    ]
    assert asked == [("funding_rate", s) for s in SYMBOLS] + [("bars", s) for s in SYMBOLS]
    assert {request.kind for request in BinanceWire(SPOT).history(SYMBOLS, 10**18)} == {"bars"}
