"""Ticks and lots from the venue's decimal strings, and the spellings of a symbol."""

from __future__ import annotations

from fractions import Fraction

import pytest

from foreshock.errors import InstrumentError
from foreshock.market.instruments import (
    SPOT,
    USDM,
    Instrument,
    by_symbol,
    canonical_symbol,
    from_exchange_info,
)


@pytest.mark.parametrize(
    "text",
    ["BTCUSDT", "btcusdt", "btc/usdt", "BTC-USDT", "BTC_USDT", " BTC/USDT:USDT ", "BTCUSDT-PERP",
     "BTCUSDTPERP", "btcusdt_perp"],
)  # fmt: skip
def test_all_usual_spellings_name_one_symbol(text: str) -> None:
    assert canonical_symbol(text) == "BTCUSDT"


@pytest.mark.parametrize("text", ["", "-", "B", "PERP", "BTC USDT", "BTC$USDT", "Ä1", "A" * 33])
def test_what_is_no_symbol_is_refused_with_what_was_given(text: str) -> None:
    with pytest.raises(InstrumentError) as error:
        canonical_symbol(text)
    assert repr(text) in str(error.value)


@pytest.mark.parametrize(
    ("size", "decimals", "units"),
    [("0.01000000", 2, 1), ("0.05", 2, 5), ("1.00", 0, 1), ("10", 0, 10), ("0.00000001", 8, 1),
     ("2.5", 1, 25), ("1e-7", 7, 1), ("5e3", 0, 5000)],
)  # fmt: skip
def test_steps_become_whole_units(size: str, decimals: int, units: int) -> None:
    instrument = Instrument.of("BTCUSDT", SPOT, size, size)
    assert (instrument.tick_decimals, instrument.tick_units) == (decimals, units)
    assert (instrument.lot_decimals, instrument.lot_units) == (decimals, units)
    assert Fraction(instrument.tick_size) == Fraction(float(size)) == Fraction(instrument.lot_size)


@pytest.mark.parametrize(
    "size", ["0", "-1", "x", "", "NaN", "inf", "0.0000000000001", "1e18", "9" * 30]
)
def test_steps_that_cannot_be_used_are_refused(size: str) -> None:
    for tick, lot in ((size, "1"), ("1", size)):
        with pytest.raises(InstrumentError, match="BTCUSDT"):
            Instrument.of("BTCUSDT", USDM, tick, lot)


def test_an_unknown_market_is_refused() -> None:
    with pytest.raises(InstrumentError, match="kraken"):
        Instrument.of("BTCUSDT", "kraken", "1", "1")


def test_a_price_is_the_nearest_float() -> None:
    instrument = Instrument.of("BTCUSDT", USDM, "0.10", "0.001")
    for ticks in (1, 3, 281451, 999_999_999_999):
        assert instrument.price(ticks) == float(f"{ticks // 10}.{ticks % 10}")


def test_an_instrument_survives_json() -> None:
    instrument = Instrument.of("ETHUSDT", USDM, "0.05", "0.001")
    assert Instrument.from_dict(instrument.as_dict()) == instrument


def filters(tick: str, lot: str) -> list[dict[str, str]]:
    return [
        {"filterType": "PRICE_FILTER", "tickSize": tick},
        {"filterType": "LOT_SIZE", "stepSize": lot},
    ]


def test_exchange_info_gives_what_can_be_used_and_leaves_the_rest() -> None:
    body = {
        "symbols": [
            {"symbol": "BTCUSDT", "filters": filters("0.01", "0.00001")},
            {"symbol": "BTCUSDT_210625", "filters": filters("0.01", "0.001")},
            {"symbol": "币安人生USDT", "filters": filters("0.01", "0.001")},
            {"symbol": "NOTICK", "filters": filters("0.00000000", "1")},
            {"symbol": "NOLOT", "filters": filters("0.01", "0.00000000")},
            {"symbol": "BARE", "filters": []},
            {"symbol": "ETHUSDT", "filters": filters("0.05", "0.001")},
        ]
    }
    found = from_exchange_info(body, SPOT)
    assert list(by_symbol(found)) == ["BTCUSDT", "ETHUSDT"]
    assert found[1].tick_units == 5
    assert from_exchange_info({}, SPOT) == []
