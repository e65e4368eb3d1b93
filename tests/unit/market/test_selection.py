"""Which symbols are watched, and how that follows the venue."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from foreshock.errors import InstrumentError
from foreshock.market.rows import DELISTED, HALTED, TRADING
from foreshock.market.selection import (
    DAY_NS,
    Candidate,
    Change,
    SymbolFilter,
    change,
    listed_by_binance,
    named,
    select,
    with_tickers,
)

NOW_NS = 1_000 * DAY_NS
BTC = Candidate("BTCUSDT", "BTC", "USDT", TRADING, 0, 9e9, 0.1, 3.0)
ETH = Candidate("ETHUSDT", "ETH", "USDT", TRADING, 10 * DAY_NS, 5e9, 0.3, 4.0)
NEW = Candidate("NEWUSDT", "NEW", "USDT", TRADING, NOW_NS - 2 * DAY_NS, 8e8, 9.0, 80.0)
EUR = Candidate("BTCEUR", "BTC", "EUR", TRADING, 0, 1e8, 2.0, 3.0)
UP = Candidate("BTCUPUSDT", "BTCUP", "USDT", TRADING, 0, 1e6, 30.0, 9.0)
DARK = Candidate("DARKUSDT", "DARK", "USDT")
OFF = Candidate("OFFUSDT", "OFF", "USDT", HALTED, 0, 1e9, 1.0, 1.0)
ALL = [UP, ETH, BTC, NEW, EUR, DARK, OFF]


def chosen(*chain: dict[str, object], of: list[Candidate] = ALL) -> list[str]:
    return list(select(of, [SymbolFilter.model_validate(one) for one in chain], NOW_NS).symbols)


@pytest.mark.parametrize(
    ("one", "gone"),
    [
        ({"by": "quote", "assets": ["USDT"]}, {"BTCEUR"}),
        ({"by": "quote", "assets": ["EUR", "USDT"]}, set()),
        ({"by": "volume", "least": 1e9}, {"BTCUPUSDT", "NEWUSDT", "BTCEUR"}),
        ({"by": "age", "least": 30}, {"NEWUSDT"}),
        ({"by": "spread", "most": 5}, {"BTCUPUSDT", "NEWUSDT"}),
        ({"by": "volatility", "least": 3.5, "most": 50}, {"BTCUSDT", "BTCEUR", "NEWUSDT"}),
        ({"by": "allow", "pattern": "BTC.*"}, {"ETHUSDT", "NEWUSDT", "DARKUSDT"}),
        ({"by": "deny", "pattern": ".*(UP|DOWN)USDT"}, {"BTCUPUSDT"}),
        ({"by": "allow", "pattern": "BTC"}, {c.symbol for c in ALL}),  # the whole symbol
    ],
)
def test_each_filter_drops_what_it_says_and_never_what_is_not_known(
    one: dict[str, object], gone: set[str]
) -> None:
    assert chosen(one) == [c.symbol for c in ALL if c.symbol not in gone | {"OFFUSDT"}]


def test_filters_apply_in_order_and_each_one_that_falls_out_is_explained() -> None:
    chain = [
        SymbolFilter(by="quote", assets=("USDT",)),
        SymbolFilter(by="top", count=3),
        SymbolFilter(by="age", least=30),
    ]
    found = select(ALL, chain, NOW_NS)
    assert found.symbols == ("BTCUSDT", "ETHUSDT")  # the largest volume first
    assert found.dropped == {
        "OFFUSDT": "not trading",
        "BTCEUR": "quote USDT",
        "BTCUPUSDT": "top 3",
        "DARKUSDT": "top 3",
        "NEWUSDT": "age ≥ 30",
    }
    assert select(ALL, [chain[0], chain[2], chain[1]], NOW_NS).symbols[-1] == "BTCUPUSDT"


@pytest.mark.parametrize(
    ("one", "why"),
    [
        ({"by": "quote"}, "needs assets"),
        ({"by": "volume"}, "needs least or most"),
        ({"by": "deny", "pattern": "("}, "pattern"),
        ({"by": "top"}, "needs count"),
        ({"by": "age", "least": 5, "most": 1}, "above most"),
        ({"by": "moon", "least": 5}, "Input should be"),
        ({"by": "age", "lest": 5}, "Extra inputs"),
    ],
)
def test_a_filter_that_makes_no_sense_is_refused(one: dict[str, object], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        SymbolFilter.model_validate(one)


def test_every_usual_spelling_names_a_listed_symbol_and_all_unknown_ones_are_told_at_once() -> None:
    listed = ["BTCUSDT", "ETHUSDT"]
    assert named(["eth/usdt", "BTC/USDT:USDT", "BTCUSDT", "btc-usdt"], listed) == (
        "ETHUSDT",
        "BTCUSDT",
    )
    with pytest.raises(InstrumentError, match=r"'BTCUSTD' \(did you mean BTCUSDT\?\), 'XYZ'"):
        named(["BTCUSTD", "ETHUSDT", "XYZ"], listed)


def test_what_the_venue_says_is_read() -> None:
    usual = {"baseAsset": "A", "quoteAsset": "USDT", "contractType": "PERPETUAL"}
    listed = listed_by_binance(
        {
            "symbols": [
                {**usual, "symbol": "AUSDT", "status": "TRADING", "onboardDate": 1569398400000},
                {**usual, "symbol": "BUSDT", "status": "BREAK"},
                {**usual, "symbol": "CUSDT", "status": "SETTLING"},
                {**usual, "symbol": "AUSDT_210625", "contractType": "CURRENT_QUARTER"},
            ]
        }
    )
    assert [(c.symbol, c.status) for c in listed] == [
        ("AUSDT", TRADING),
        ("BUSDT", HALTED),
        ("CUSDT", DELISTED),
    ]
    assert listed[0].listed_ns == 1569398400 * 10**9 and listed[1].listed_ns is None
    ticker = {"symbol": "AUSDT", "quoteVolume": "12.5", "bidPrice": "99", "askPrice": "101",
              "highPrice": "110", "lowPrice": "100"}  # fmt: skip
    a, b, _ = with_tickers(listed, [ticker, {"symbol": "BUSDT", "bidPrice": "x"}, {}])
    assert a.quote_volume == 12.5
    assert a.spread_bps == pytest.approx(200.0) and a.volatility_pct == pytest.approx(10.0)
    assert b.quote_volume == 0.0 and b.spread_bps is None and b.volatility_pct is None


def test_listings_halts_and_delistings_change_what_is_watched() -> None:
    watched = {"BTCUSDT": TRADING, "ETHUSDT": TRADING, "OFFUSDT": HALTED, "XUSDT": TRADING}
    now = [BTC, replace(ETH, status=HALTED), replace(OFF, status=TRADING), NEW, UP]
    found = change(watched, now, ["BTCUSDT", "NEWUSDT"])
    assert found == Change(("NEWUSDT",), ("XUSDT",), ("ETHUSDT",), ("OFFUSDT",))
    assert found and not change({"BTCUSDT": TRADING}, [BTC, NEW], ["BTCUSDT"])


def test_a_watched_symbol_stays_although_a_filter_would_not_take_it_now() -> None:
    assert not change({"BTCUSDT": TRADING, "ETHUSDT": TRADING}, [BTC, ETH], ["ETHUSDT"])


STATUSES = st.dictionaries(
    st.sampled_from(["A", "B", "C", "D"]), st.sampled_from([TRADING, HALTED, DELISTED])
)


@given(watched=STATUSES, now=STATUSES, wanted=st.lists(st.sampled_from("ABCD"), unique=True))
def test_following_a_change_leads_to_where_nothing_changes(
    watched: dict[str, int], now: dict[str, int], wanted: list[str]
) -> None:
    listed = [Candidate(symbol, symbol, "USDT", status) for symbol, status in now.items()]
    found = change(watched, listed, wanted)
    after = {s: now.get(s, DELISTED) for s in [*watched, *found.listed] if s not in found.gone}
    assert not change(after, listed, wanted)
    assert DELISTED not in after.values()
    assert {s for s in wanted if now.get(s) == TRADING} <= set(after)
