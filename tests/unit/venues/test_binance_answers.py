"""REST answers: what is cut out of the venue's list, and what changes it tells."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from foreshock.market.instruments import SPOT, USDM, Instrument
from foreshock.market.rows import DELISTED, HALTED, METRIC_FUNDING_RATE, TRADING
from foreshock.venues.binance_answers import changes, cut_to, metrics, past_bars

BTC = Instrument.of("BTCUSDT", USDM, "0.1", "0.001")
ETH = Instrument.of("ETHUSDT", USDM, "0.01", "0.001")
KNOWN = {i.symbol: i for i in (BTC, ETH)}


def entry(symbol: str, tick: str = "0.10", lot: str = "0.001", **more: str) -> dict[str, Any]:
    filters = [
        {"filterType": "LOT_SIZE", "stepSize": lot},
        {"filterType": "PRICE_FILTER", "tickSize": tick},
    ]
    return {"symbol": symbol, "filters": filters} | more


def answer(*entries: dict[str, Any]) -> bytes:
    return json.dumps({"timezone": "UTC", "symbols": entries}).encode()


def test_a_list_that_says_nothing_new_changes_nothing() -> None:
    same = answer(entry("ETHUSDT", "0.01000"), entry("BTCUSDT"), entry("SOLUSDT", "0.001"))
    assert list(changes(same, KNOWN, USDM)) == []


@pytest.mark.parametrize(
    ("status", "becomes"),
    [("BREAK", HALTED), ("HALT", HALTED), ("SETTLING", HALTED), ("PENDING_TRADING", HALTED),
     ("something new", HALTED), ("CLOSE", DELISTED)],
)  # fmt: skip
def test_whatever_is_not_trading_has_stopped(status: str, becomes: int) -> None:
    told = answer(entry("BTCUSDT", status=status), entry("ETHUSDT", "0.01"))
    assert list(changes(told, KNOWN, USDM)) == [replace(BTC, status=becomes, version=2)]


def test_versions_count_on_and_a_return_is_one_too() -> None:
    known = KNOWN | {"BTCUSDT": replace(BTC, status=HALTED, version=7)}
    told = answer(entry("BTCUSDT", status="TRADING"), entry("ETHUSDT", "0.01"))
    assert list(changes(told, known, USDM)) == [replace(BTC, status=TRADING, version=8)]


def test_a_listed_symbol_without_a_usable_step_is_halted() -> None:
    told = answer(entry("BTCUSDT", tick="0.00"), entry("ETHUSDT", "0.01"))
    assert list(changes(told, KNOWN, USDM)) == [replace(BTC, status=HALTED, version=2)]


@pytest.mark.parametrize("tick", ["x", "-1", "NaN", None, 7, "1e-30"])
def test_a_step_that_cannot_be_read_is_rubbish_and_never_a_change(tick: Any) -> None:
    try:
        found = list(changes(answer(entry("BTCUSDT", tick=tick)), KNOWN, USDM))
    except ValueError:
        return
    assert {i.status for i in found} <= {HALTED, DELISTED} or tick == 7


def test_a_list_is_cut_to_what_is_asked_for_and_says_the_same() -> None:
    whole = answer(*(entry(f"S{k}USDT") for k in range(500)), entry("BTCUSDT", "0.2"))
    mine = cut_to(whole, KNOWN)
    assert len(mine) < len(whole) / 100
    assert list(changes(mine, KNOWN, USDM)) == list(changes(whole, KNOWN, USDM))
    for bad in (b"[]", b"{}", b'{"symbols":{}}', b'{"symbols":[1]}', b"{"):
        with pytest.raises(ValueError):
            cut_to(bad, KNOWN)


def test_settled_fundings_come_oldest_first_with_the_symbols_that_they_name() -> None:
    body = json.dumps(
        [{"symbol": s, "fundingRate": "0.0001", "fundingTime": t} for s, t in (("B", 9), ("A", 4))]
    ).encode()
    found = metrics("funding_rate", "", body)
    assert [(m.symbol, m.field, m.as_of_ns) for m in found] == [
        ("A", METRIC_FUNDING_RATE, 4_000_000), ("B", METRIC_FUNDING_RATE, 9_000_000),
    ]  # fmt: skip


@pytest.mark.parametrize("value", ["NaN", "inf", None, True, [], "", "1e999"])
def test_a_value_that_is_no_finite_number_is_refused(value: object) -> None:
    body = json.dumps({"openInterest": value, "symbol": "BTCUSDT", "time": 5}).encode()
    with pytest.raises(ValueError):
        metrics("open_interest", "BTCUSDT", body)


def test_spot_lists_are_read_alike() -> None:
    btc = Instrument.of("BTCUSDT", SPOT, "0.1", "0.001")
    told = answer(entry("BTCUSDT", "0.01", status="TRADING"))
    (changed,) = changes(told, {"BTCUSDT": btc}, SPOT)
    assert (changed.market, changed.tick_size, changed.version) == (SPOT, 0.01, 2)


MINUTE_MS = 60_000
OPEN_MS = 1_700_000_040_000


def kline(k: int, close: str = "64210.10", high: str = "64220.50", **changed: Any) -> list[Any]:
    bar = [OPEN_MS + k * MINUTE_MS, "64210.0", high, "64200.00", close, "1.234",
           OPEN_MS + (k + 1) * MINUTE_MS - 1, "79235.1", 17, "0.500", "32105.05", "0"]  # fmt: skip
    for at, value in changed.items():
        bar[int(at[1:])] = value
    return bar


def bars(*entries: list[Any]) -> tuple[list, list]:
    head, packs = past_bars(json.dumps(list(entries)).encode(), BTC)
    return head.tolist(), packs.tolist()


def test_bars_of_the_past_are_ticks_and_lots_like_those_of_the_stream() -> None:
    head, packs = bars(kline(0), kline(1), kline(2))
    assert head[0] == [OPEN_MS, OPEN_MS + MINUTE_MS - 1, 17]
    turnover, taker = np.array([79235.1, 32105.05]).view(np.int64).tolist()
    assert packs[0] == [642100, 642205, 642000, 642101, 1234, 500, turnover, taker, -1, -1]
    assert head[1][0] == OPEN_MS + MINUTE_MS


def test_the_last_bar_of_an_answer_may_not_be_over_and_is_left_out() -> None:
    assert [h[0] for h in bars(kline(0), kline(1), kline(2))[0]] == [OPEN_MS, OPEN_MS + MINUTE_MS]
    assert bars(kline(0)) == ([], []) and bars() == ([], [])


def test_bars_off_the_grid_of_today_are_left_out_and_volume_is_cut_to_a_lot() -> None:
    head, packs = bars(
        kline(0, close="64210.15"), kline(1, c5="1.2349"), kline(2, c1="0"), kline(3)
    )
    assert [h[0] for h in head] == [OPEN_MS + MINUTE_MS]
    assert packs[0][4] == 1234


@pytest.mark.parametrize(
    "body",
    [b"{}", b"[[1]]", b"[1]", b"nonsense", json.dumps([kline(1), kline(0)]).encode(),
     json.dumps([kline(0), kline(0)]).encode(), json.dumps([kline(0, c1="nan")]).encode(),
     json.dumps([kline(0, c2="1e400")]).encode(), json.dumps([kline(0, c0="x")]).encode(),
     json.dumps([kline(0, c8=True)]).encode(), json.dumps([kline(0, c3=None)]).encode(),
     json.dumps([kline(0, c3=[1, 2])]).encode(), json.dumps([kline(0, c0=2**62)]).encode()],
)  # fmt: skip
def test_bars_that_are_none_are_refused(body: bytes) -> None:
    with pytest.raises(ValueError):
        past_bars(body, BTC)
