"""What is Bybit's and OKX's own: rules and spellings that the conformance suite does not know."""

from __future__ import annotations

import json
import zlib
from typing import Any

import numpy as np
import pytest

from foreshock.errors import InstrumentError
from foreshock.market.clock import SECOND_NS
from foreshock.market.instruments import OKX, Instrument
from foreshock.market.rows import (
    BACKFILL,
    BAR,
    BOOK,
    CONNECTED,
    EPOCH,
    LIQUIDATION,
    MARK,
    METRIC,
    METRIC_FUNDING_RATE,
    METRIC_OPEN_INTEREST,
    REASON_CHECKSUM,
    REASON_CROSSED,
    REASON_GAP,
    REASON_JOINED,
    RESYNCING,
    SELL,
    SNAPSHOT,
    SYNCED,
    TRADE,
    Rows,
    as_words,
    heads,
    levels_of,
)
from foreshock.venues.bybit import bybit_session
from foreshock.venues.bybit_wire import BybitWire
from foreshock.venues.fact_rows import REMEMBERED
from foreshock.venues.facts import count, digits_of, steps
from foreshock.venues.okx import Okx, inst_id, okx_session, symbol_of
from foreshock.venues.okx_wire import OkxWire
from foreshock.venues.socket_session import ASK_AGAIN_NS
from foreshock.venues.text_book import TextBook
from tests.reference.exchanges import START_MS, BybitExchange, OkxExchange

SYMBOLS = ["BTCUSDT", "ETHUSDT"]
NOW_NS = START_MS * 1_000_000 + 3_600 * SECOND_NS


def receive(session: Any, *frames: bytes, now_ns: int = NOW_NS) -> Rows:
    return session.receive(list(frames), np.full(len(frames), now_ns, np.int64))


def bybit() -> tuple[Any, BybitExchange]:
    exchange = BybitExchange(SYMBOLS, 1)
    session = bybit_session(exchange.instruments())
    session.start(NOW_NS)
    receive(session, *(exchange.snapshot(s) for s in SYMBOLS))
    return session, exchange


def okx(checked: bool = True) -> tuple[Any, OkxExchange]:
    exchange = OkxExchange(SYMBOLS, 1)
    exchange.checked = checked
    session = okx_session(exchange.instruments(), contracts=dict.fromkeys(SYMBOLS, "0.01"))
    session.start(NOW_NS)
    receive(session, *(exchange.snapshot(s) for s in SYMBOLS))
    return session, exchange


def kinds(rows: Rows) -> list[int]:
    return rows["kind"][heads(rows)].tolist()


def epochs(rows: Rows) -> list[tuple[int, ...]]:
    found = [rows[head] for head in heads(rows) if rows["kind"][head] == EPOCH]
    return [tuple(int(row[name]) for name in ("symbol", "c", "a", "b", "d")) for row in found]


def real(bits: int) -> float:
    return float(np.int64(bits).view(np.float64))


def test_numbers_are_put_on_a_grid_in_integers() -> None:
    assert digits_of("28145.1000") == (281451, 1)
    assert steps("0.30000000", 1, 1) == (3, True)
    assert steps("123456789012345.678", 3, 1) == (123456789012345678, True)
    assert steps("0.35", 1, 1) == (3, False)
    assert steps("1.23", 4, 1, digits_of("0.01")) == (123, True)
    for rubbish in ("", "-1", "1e3", ".5", "1.", "٣", "NaN", " 1", "1234567890123456789", 5, None):
        with pytest.raises(ValueError, match=r"plain decimal|digits"):
            digits_of(rubbish)
    for rubbish in (True, 1.0, "x", -1, 2**63, None):
        with pytest.raises(ValueError, match="no integer"):
            count(rubbish)


# Bybit


def test_a_restart_of_the_service_replaces_the_book_in_a_new_epoch() -> None:
    session, exchange = bybit()
    exchange.update_id["BTCUSDT"] = 1
    rows = receive(session, exchange.snapshot("BTCUSDT"))
    assert [e[2:] for e in epochs(rows)] == [
        (RESYNCING, 2, REASON_GAP), (SYNCED, 2, REASON_JOINED),
    ]  # fmt: skip
    assert kinds(rows) == [EPOCH, SNAPSHOT, EPOCH]
    exchange.update_id["BTCUSDT"] = 1
    assert kinds(receive(session, exchange.diff("BTCUSDT"))) == [3]
    assert session.book_id("BTCUSDT") == 2


def test_a_restart_that_brings_nothing_leaves_the_book_waiting() -> None:
    session, exchange = bybit()
    rows = receive(session, exchange.spell_diff("BTCUSDT", 0, 1, [], []))
    assert [e[2:] for e in epochs(rows)] == [(RESYNCING, 2, REASON_GAP)]
    assert [request.symbol for request in session.wanted()] == ["BTCUSDT"]


def test_the_older_snapshot_of_a_second_socket_breaks_nothing() -> None:
    session, exchange = bybit()
    old = exchange.snapshot("BTCUSDT")
    receive(session, exchange.diff("BTCUSDT"))
    assert len(receive(session, old)) == 0
    assert session.states()[0].tolist() == [SYNCED, 1, 1]


def test_ids_that_fall_without_a_word_are_noticed_by_the_venues_own_time() -> None:
    session, exchange = bybit()
    late = exchange.spell_diff("BTCUSDT", 9, 10, [], [(10_001, 5)])
    rows = receive(session, late)
    assert [e[2:] for e in epochs(rows)] == [(RESYNCING, 2, REASON_GAP)]


def test_a_crossed_or_one_sided_snapshot_joins_nothing() -> None:
    session, exchange = bybit()
    for bids, asks, reason in (
        ([(10_005, 1)], [(10_001, 1)], REASON_CROSSED), ([(10_005, 1)], [], REASON_GAP),
    ):  # fmt: skip
        rows = receive(session, exchange.spell_snapshot("ETHUSDT", 9_000, bids, asks))
        assert SNAPSHOT not in kinds(rows)
        assert session.states()[1][0] == RESYNCING
        if rows.size:
            assert epochs(rows)[0][4] == reason


def test_a_snapshot_that_does_not_come_is_asked_for_again_later_each_time() -> None:
    session, exchange = bybit()
    session.resync("BTCUSDT", REASON_CROSSED, NOW_NS)
    asked, now_ns = [], NOW_NS
    for _ in range(400):
        asked += [(now_ns - NOW_NS) // SECOND_NS for _ in session.wanted()]
        now_ns += SECOND_NS
        session.timer(now_ns)
    gaps = np.diff(asked).tolist()
    assert gaps == sorted(gaps)
    assert gaps[0] == ASK_AGAIN_NS // SECOND_NS
    assert len(asked) <= 7
    receive(session, exchange.snapshot("BTCUSDT"), now_ns=now_ns)
    assert session.wanted() == []


def test_what_is_connected_brings_its_snapshots_by_itself() -> None:
    exchange = BybitExchange(SYMBOLS, 1)
    session = bybit_session(exchange.instruments())
    session.start(NOW_NS)
    session.connection(0, CONNECTED, 3, SYMBOLS, 0, NOW_NS)
    assert session.wanted() == []
    session.timer(NOW_NS + ASK_AGAIN_NS)
    assert len(session.wanted()) == 2


def test_a_refreshed_book_keeps_its_epoch() -> None:
    session, exchange = bybit()
    session.refresh("BTCUSDT")
    assert [request.symbol for request in session.wanted()] == ["BTCUSDT"]
    exchange.diff("BTCUSDT")
    rows = receive(session, exchange.snapshot("BTCUSDT"))
    assert kinds(rows) == [SNAPSHOT]
    assert session.states()[0].tolist() == [SYNCED, 1, 1]


def test_a_ticker_delta_keeps_what_it_does_not_name() -> None:
    session, exchange = bybit()
    first = exchange.ticker("BTCUSDT", "snapshot", markPrice="100.5", indexPrice="100.25",
                            fundingRate="0.0001", nextFundingTime="1700003600000",
                            openInterest="12.5")  # fmt: skip
    delta = exchange.ticker("BTCUSDT", "delta", markPrice="101.5")
    rows = receive(session, first, delta)
    assert kinds(rows) == [MARK, METRIC, MARK]
    assert [real(rows[name][2]) for name in "abc"] == [101.5, 100.25, 0.0001]
    assert rows["id"][2] == 1_700_003_600_000 * 1_000_000
    assert (rows["a"][1], real(rows["b"][1])) == (METRIC_OPEN_INTEREST, 12.5)
    assert receive(session, first).size == 0


def test_a_long_that_was_liquidated_is_a_sale() -> None:
    for session, exchange in (bybit(), okx()):
        stream = (
            "allLiquidation.BTCUSDT" if "bybit" in session.market else "liquidation-orders:SWAP"
        )
        rows = receive(session, exchange.each("BTCUSDT")[stream])
        assert kinds(rows) == [LIQUIDATION]
        assert rows["flags"][0] == SELL
        assert rows["a"][0] == 9_990
        assert rows["b"][0] == (500 if "bybit" in session.market else 15)


def test_bars_asked_for_over_rest_are_history_and_only_the_newest_may_be_open() -> None:
    session, _ = bybit()
    bars = [[str(START_MS + 60_000 * k), "100.00", "100.02", "99.99", "100.01", "1.5", "150.1"]
            for k in (2, 1, 0)]  # fmt: skip
    body = json.dumps({"retCode": 0, "result": {"list": bars}}).encode()
    rows = session.receive_answer("bars", "BTCUSDT", body, NOW_NS)
    at = heads(rows)
    assert kinds(rows) == [BAR] * 3
    assert rows["flags"][at].tolist() == [BACKFILL] * 3
    assert rows["b"][at].tolist() == [1, 1, 0]
    assert as_words(rows)[1][:6].tolist() == [10_000, 10_002, 9_999, 10_001, 1_500, -1]
    (asked,) = BybitWire().history(["BTCUSDT"], NOW_NS)
    assert BybitWire().later(asked, body) is None
    assert (asked.kind, asked.path, asked.every_s) == ("bars", "/v5/market/kline", 0.0)


@pytest.mark.parametrize("kind", ["open_interest", "funding_rate"])
def test_polled_metrics_come_once_and_oldest_first(kind: str) -> None:
    session, _ = bybit()
    listed = [
        {"openInterest": str(k), "timestamp": str(START_MS + k), "fundingRate": str(k),
         "fundingRateTimestamp": str(START_MS + k)}
        for k in (3, 2)
    ]  # fmt: skip
    body = json.dumps({"retCode": 0, "result": {"list": listed}}).encode()
    rows = session.receive_answer(kind, "BTCUSDT", body, NOW_NS)
    field = METRIC_OPEN_INTEREST if kind == "open_interest" else METRIC_FUNDING_RATE
    assert [(int(r["a"]), real(r["b"])) for r in rows] == [(field, 2.0), (field, 3.0)]
    assert session.receive_answer(kind, "BTCUSDT", body, NOW_NS).size == 0
    refused = json.dumps({"retCode": 10006, "retMsg": "Too many visits!"}).encode()
    assert session.receive_answer(kind, "BTCUSDT", refused, NOW_NS).size == 0
    assert session.counts["malformed"] == 1


def test_one_frame_may_bring_several_trades_and_a_copy_is_known_by_its_name() -> None:
    session, exchange = bybit()
    frame = json.loads(exchange.trade("BTCUSDT"))
    frame["data"].append({**frame["data"][0], "i": "another"})
    assert kinds(receive(session, json.dumps(frame).encode())) == [TRADE, TRADE]
    first = exchange.trade("BTCUSDT")
    receive(session, first, *(exchange.trade("BTCUSDT") for _ in range(REMEMBERED - 1)))
    assert receive(session, first).size == 0
    assert session.counts["repeated"] == 1


# OKX


def test_names_of_swaps_and_symbols_are_each_others_inverse() -> None:
    for symbol in ("BTCUSDT", "1000PEPEUSDT", "SOLUSDC"):
        assert symbol_of(inst_id(symbol)) == symbol
    with pytest.raises(InstrumentError, match="quoted"):
        inst_id("BTCEUR")
    for name in ("BTC-USD-SWAP", "BTC-USDT", "BTC-USDT-251226", "-USDT-SWAP", 5):
        with pytest.raises(ValueError, match=r"linear swap|short text"):
            symbol_of(name)


def test_the_checksum_is_that_of_the_strings_as_sent() -> None:
    # Two levels, the bids one more: bid:ask:bid, joined by colons.
    book = TextBook()
    book.apply([("3366.1", "7"), ("3366", "6")], [("3366.8", "9")])
    crc = zlib.crc32(b"3366.1:7:3366.8:9:3366:6")
    assert Okx().checksum(book) == (crc - 2**32 if crc >= 2**31 else crc)
    book.apply([("3366.10", "0")], [])
    assert book.best(25) == ([("3366", "6")], [("3366.8", "9")])


def test_a_book_that_is_not_the_venues_is_distrusted_for_its_checksum() -> None:
    session, exchange = okx()
    good = json.loads(exchange.diff("BTCUSDT"))
    good["data"][0]["checksum"] ^= 1
    rows = receive(session, json.dumps(good).encode())
    assert [e[2:] for e in epochs(rows)] == [(RESYNCING, 2, REASON_CHECKSUM)]
    assert rows["flags"][0]  # kept for the record, not applied
    receive(session, exchange.snapshot("BTCUSDT"))
    assert session.states()[0].tolist() == [SYNCED, 2, 1]
    assert epochs(receive(session, exchange.diff("BTCUSDT"))) == []


@pytest.mark.parametrize("absent", [True, False])
def test_a_checksum_that_is_retired_is_nothing_to_compare(absent: bool) -> None:
    session, exchange = okx(checked=False)
    for _ in range(5):
        frame = json.loads(exchange.diff("BTCUSDT"))
        assert frame["data"][0]["checksum"] == 0
        if absent:
            del frame["data"][0]["checksum"]
        assert epochs(receive(session, json.dumps(frame).encode())) == []
    assert session.states()[0].tolist() == [SYNCED, 1, 1]


def test_a_frame_that_says_nothing_changed_is_heard_and_leaves_no_row() -> None:
    session, exchange = okx()
    assert receive(session, exchange.unchanged("BTCUSDT")).size == 0
    now_ns = NOW_NS + 3_600 * SECOND_NS
    session.timer(now_ns)
    rows = receive(session, exchange.unchanged("BTCUSDT"), now_ns=now_ns)
    assert [e[2] for e in epochs(rows)] == [SYNCED]


def test_a_reset_for_maintenance_goes_on_from_the_lower_id() -> None:
    session, exchange = okx()
    previous = exchange.update_id["BTCUSDT"]
    exchange.update_id["BTCUSDT"] = 3
    reset = exchange.spell_diff("BTCUSDT", previous, 3, [], [])
    assert epochs(receive(session, reset)) == []
    assert session.book_id("BTCUSDT") == 3
    assert epochs(receive(session, reset, exchange.diff("BTCUSDT"))) == []
    assert session.states()[0].tolist() == [SYNCED, 1, 1]


def test_sizes_in_contracts_are_unreadable_until_the_contract_is_known() -> None:
    exchange = OkxExchange(SYMBOLS, 1)
    session = okx_session(exchange.instruments())
    session.start(NOW_NS)
    frames = [exchange.snapshot("BTCUSDT"), exchange.trade("BTCUSDT")]
    assert receive(session, *frames).size == 0
    assert session.counts["no_contract"] == 2
    assert session.receive_answer("instruments", "", exchange.listing(), NOW_NS).size == 0
    assert [request.symbol for request in session.wanted()] == SYMBOLS
    rows = receive(session, exchange.snapshot("BTCUSDT"), frames[1])
    bids, _ = levels_of(rows, 0)
    assert dict(bids.tolist()) == exchange.bids["BTCUSDT"]
    assert epochs(rows) == [(0, BOOK, SYNCED, 1, REASON_JOINED)]


def test_lots_are_base_currency_whatever_a_contract_is_worth() -> None:
    listed = {"instId": "PEPE-USDT-SWAP", "instType": "SWAP", "ctType": "linear",
              "ctVal": "10000000", "ctMult": "1", "lotSz": "0.1", "tickSz": "0.000000001",
              "state": "live"}  # fmt: skip
    (fact,) = Okx().answer("instruments", "", json.dumps({"code": "0", "data": [listed]}).encode())
    (one,) = fact.listed
    assert (one.symbol, one.lot_size, one.contract) == ("PEPEUSDT", "1000000.0", "10000000")
    instrument = Instrument.of(one.symbol, OKX, one.tick_size, one.lot_size)
    lots = steps("2.5", instrument.lot_decimals, instrument.lot_units, digits_of(one.contract))
    assert lots == (25, True)
    assert 25 * instrument.lot_size == 2.5 * 10_000_000


def test_the_mark_and_the_funding_rate_come_over_two_channels_into_one_row() -> None:
    session, exchange = okx()
    frames = exchange.each("BTCUSDT")
    mark, rate = frames["mark-price:BTC-USDT-SWAP"], frames["funding-rate:BTC-USDT-SWAP"]
    rows = receive(session, rate, mark)
    assert kinds(rows) == [MARK]
    assert [real(rows[name][0]) for name in "ac"] == [100.005, -0.0001]
    assert np.isnan(real(rows["b"][0]))  # the index price is not asked for


def test_the_heartbeats_and_what_they_bring_back_are_no_news() -> None:
    assert OkxWire().heartbeat == (25.0, "ping")
    assert BybitWire().heartbeat == (20.0, '{"op":"ping"}')
    for session, answer in (
        (okx()[0], b"pong"),
        (okx()[0], b'{"event":"subscribe","arg":{"channel":"books","instId":"BTC-USDT-SWAP"}}'),
        (bybit()[0], b'{"success":true,"ret_msg":"pong","conn_id":"x","op":"ping"}'),
    ):
        assert receive(session, answer).size == 0
        assert session.counts["answer"] == 1


def test_the_whole_markets_streams_are_asked_for_once() -> None:
    parts = OkxWire().subscriptions([*SYMBOLS, "XRPUSDT"], "trade", 1)
    whole = [name for part in parts for name in part.streams if name.endswith(":SWAP")]
    assert whole == ["instruments:SWAP", "liquidation-orders:SWAP"]
    args = json.loads(parts[0].messages[0])["args"]
    assert args[0] == {"channel": "instruments", "instType": "SWAP"}
    assert {"channel": "books", "instId": "BTC-USDT-SWAP"} in args
