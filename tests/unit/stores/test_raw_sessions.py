"""The readers of recorded sessions: small ones written here, and the real ones at hand."""

from __future__ import annotations

import gzip
from collections import Counter

import orjson
import pyarrow as pa
import pytest

from foreshock.errors import RecordingError
from foreshock.market.instruments import Instrument
from foreshock.stores.raw_sessions import read_raw_session

TICKER = (
    b'{"stream":"ausdt@bookTicker","data":{"u":1,"s":"AUSDT","b":"1.250","B":"3.0","a":"1.26",'
    b'"A":"4"}}'
)
TRADE = (
    b'{"stream":"ausdt@trade","data":{"e":"trade","E":1,"s":"AUSDT","t":1,"p":"1.2555","q":"0.10",'
    b'"M":true}}'
)
DEPTH = b'{"lastUpdateId": 5, "bids": [["1.2", "0.001"]], "asks": []}'
INFO = orjson.dumps(
    {
        "symbols": [
            {
                "symbol": "AUSDT",
                "filters": [
                    {"filterType": "PRICE_FILTER", "tickSize": "0.01000000"},
                    {"filterType": "LOT_SIZE", "stepSize": "0.10000000"},
                ],
            }
        ]
    }
)


def hftbacktest(path, *lines: bytes):
    path.write_bytes(gzip.compress(b"\n".join(lines) + b"\n"))
    return path


def kinds(session) -> list[str]:
    return [event.kind for event in session.events]


@pytest.mark.parametrize(
    ("stamp", "arrival_ns"),
    [(b"1680652800004107", 1680652800004107000), (b"1680652800004107123", 1680652800004107123)],
)
def test_hftbacktest_stamps_in_micro_or_nanoseconds_become_ns(tmp_path, stamp, arrival_ns):
    session = read_raw_session(hftbacktest(tmp_path / "a.gz", stamp + b" " + TICKER))
    assert session.events[-1] == (arrival_ns, "frame", "AUSDT", TICKER, "binance-spot")


def test_an_inline_depth_answer_belongs_to_the_symbol_of_the_files_frames(tmp_path):
    session = read_raw_session(
        hftbacktest(
            tmp_path / "a.gz",
            b"1680652800000001 " + TICKER,
            b"1680652800000002 " + DEPTH,
            b"1680652800000003 " + TRADE,
        )
    )
    assert kinds(session) == ["connected", "frame", "depth", "frame"]
    assert session.events[2][2:4] == ("AUSDT", DEPTH)
    # ticks of 1.2555, lots of 0.001: the finest seen, zeros at the end aside
    assert session.instruments == [Instrument.of("AUSDT", "binance-spot", "0.0001", "0.001")]


def test_a_stamp_that_runs_backwards_takes_the_one_before_it(tmp_path):
    session = read_raw_session(
        hftbacktest(
            tmp_path / "a.gz",
            b"1680652800000009 " + TICKER,
            b"1680652800000002 " + TRADE,
        )
    )
    assert [event.body for event in session.events[1:]] == [TICKER, TRADE]
    assert {event.arrival_ns for event in session.events} == {1680652800000009000}


def test_files_are_merged_by_arrival_and_share_one_connection(tmp_path):
    other = TRADE.replace(b"AUSDT", b"BUSDT").replace(b"ausdt", b"busdt")
    session = read_raw_session(
        [
            hftbacktest(
                tmp_path / "a.gz", b"1680652800000001 " + TICKER, b"1680652800000003 " + TRADE
            ),
            hftbacktest(tmp_path / "b.gz", b"1680652800000002 " + other),
        ]
    )
    assert [event.body for event in session.events] == [b"", TICKER, other, TRADE]
    assert [instrument.symbol for instrument in session.instruments] == ["AUSDT", "BUSDT"]


def cryptofeed(folder):
    stem = "2021-04-17_00__BINANCE"
    host = b"https://api.binance.com/api/v3/"
    main = folder / f"{stem}.0.gz"
    main.write_bytes(
        gzip.compress(host + b"exchangeInfo -> 10.5: " + INFO + b"\nconfiguration: {}\n")
    )
    (folder / f"{stem}.http.0.0.gz").write_bytes(
        gzip.compress(host + b"depth?symbol=AUSDT&limit=1000 -> 12.25: " + DEPTH + b"\n")
    )
    (folder / f"{stem}.ws.1.0.gz").write_bytes(
        gzip.compress(
            b"wss://stream.binance.com:9443/stream?streams=ausdt@trade <-> 11.0\n12.0: "
            + TICKER
            + b"\n12.5000001: "
            + TRADE
            + b"\n"
        )
    )
    return main


def test_any_part_of_a_cryptofeed_session_brings_its_siblings(tmp_path):
    main = cryptofeed(tmp_path)
    (tmp_path / "2021-04-17_00__BINANCE_US.0.gz").write_bytes(b"not ours")
    whole = read_raw_session(main)
    assert kinds(whole) == ["exchange_info", "connected", "frame", "depth", "frame"]
    assert whole.events[-1].arrival_ns == 12_500_000_100
    assert whole.instruments == [Instrument.of("AUSDT", "binance-spot", "0.01", "0.1")]
    for part in tmp_path.glob("*BINANCE.*"):
        assert read_raw_session(part) == whole


def test_the_second_cryptofeed_layout_tells_the_same(tmp_path):
    lines = [
        {"t": "header", "format": 2},
        {"t": "http", "ts": 10.5, "url": "https://api.binance.com/api/v3/exchangeInfo",
         "data": INFO.decode()},
        {"t": "http", "ts": 12.25, "data": DEPTH.decode(),
         "url": "https://api.binance.com/api/v3/depth?symbol=AUSDT&limit=1000"},
        {"t": "connect", "ts": 11.0,
         "addr": "wss://stream.binance.com:9443/stream?streams=ausdt@trade"},
        {"t": "recv", "ts": 12.0, "data": TICKER.decode()},
        {"t": "recv", "ts": 12.5000001, "data": TRADE.decode()},
    ]  # fmt: skip
    path = tmp_path / "2026__BINANCE.jsonl.zst"
    with pa.output_stream(str(path), compression="zstd") as stream:
        stream.write(b"\n".join(orjson.dumps(line) for line in lines) + b"\n")
    second, first = read_raw_session(path), read_raw_session(cryptofeed(tmp_path))
    assert sorted(second.events) == sorted(first.events)
    assert second.instruments == first.instruments


@pytest.mark.parametrize(
    ("lines", "place"),
    [
        ([b"1680652800000001 " + TICKER, b"1680652800000002 {oops"], "a.gz:2"),
        ([b"1680652800000001 " + DEPTH, b"1680652800000002 " + TICKER], "a.gz:1"),
        ([b"once upon a time"], "a.gz:1"),
        ([b"12.0: " + TICKER, b"wss://stream.bybit.com/v5 <-> 13.0"], "a.gz:2"),
        ([b"1680652800000001 " + TICKER, b"168: 1"], "a.gz:2"),
    ],
)
def test_damage_is_named_by_file_and_line(tmp_path, lines, place):
    with pytest.raises(RecordingError, match=place):
        read_raw_session(hftbacktest(tmp_path / "a.gz", *lines))


def test_a_file_cut_short_an_empty_one_and_none_at_all_are_errors(tmp_path):
    whole = gzip.compress(b"\n".join([b"1680652800000001 " + TICKER] * 500))
    (tmp_path / "cut.gz").write_bytes(whole[:-20])
    (tmp_path / "empty.gz").write_bytes(gzip.compress(b""))
    for name, word in (("cut.gz", "after line"), ("empty.gz", "nothing"), ("no.gz", "not a file")):
        with pytest.raises(RecordingError, match=word):
            read_raw_session(tmp_path / name)


def test_two_markets_are_not_one_session(tmp_path):
    futures = TRADE.replace(b'"M":true', b'"X":"MARKET"')
    spot = hftbacktest(tmp_path / "a.gz", b"1680652800000001 " + TICKER)
    usdm = hftbacktest(tmp_path / "b.gz", b"1680652800000001 " + futures)
    with pytest.raises(RecordingError, match="mix the markets"):
        read_raw_session([spot, usdm])


@pytest.mark.recordings
@pytest.mark.parametrize(
    ("names", "market", "expected"),
    [
        (["hftbacktest/usdm/btcusdt_20240718.gz", "hftbacktest/usdm/ethusdt_20240718.gz"],
         "binance-usdm", {"frame": 25415, "depth": 2, "connected": 1}),
        (["hftbacktest/usdm/btcusdt_20230404.dat.gz"],
         "binance-usdm", {"frame": 13383, "depth": 1, "connected": 1}),
        (["hftbacktest/spot/btcusdt_20230405.dat.gz"],
         "binance-spot", {"frame": 15088, "connected": 1}),
        (["cryptofeed/2021-04-17_3525dc8c__BINANCE.ws.1.0.gz"],
         "binance-spot", {"frame": 1228, "depth": 10, "exchange_info": 1, "connected": 1}),
        (["cryptofeed/2021-11-03_906605df__BINANCE_US.0.gz"],
         "binance-spot", {"frame": 480, "depth": 4, "exchange_info": 1, "connected": 1}),
        (["cryptofeed/2021-11-03_906605df__BINANCE_FUTURES.0.gz"],
         "binance-usdm", {"frame": 1535, "depth": 4, "exchange_info": 1, "connected": 1}),
    ],
)  # fmt: skip
def test_real_sessions_are_read_whole(recordings, names, market, expected):
    session = read_raw_session([recordings / "ws_raw" / name for name in names])
    assert session.market == market
    assert Counter(kinds(session)) == expected
    stamps = [event.arrival_ns for event in session.events]
    assert stamps == sorted(stamps)
    named = {event.symbol for event in session.events if event.kind == "frame"}
    assert named <= {instrument.symbol for instrument in session.instruments}


@pytest.mark.recordings
@pytest.mark.parametrize("exchange", ["BINANCE", "BINANCE_FUTURES", "BINANCE_US"])
def test_one_real_session_in_two_layouts_is_the_same_session(recordings, exchange):
    folder = recordings / "ws_raw" / "cryptofeed"
    first = read_raw_session(folder / f"2021-11-03_906605df__{exchange}.0.gz")
    second = read_raw_session(folder / f"2026-08-09_57d5f18d__{exchange}.jsonl.zst")
    frames = [[e for e in each.events if e.kind == "frame"] for each in (first, second)]
    assert frames[0] == frames[1]
    assert first.instruments == second.instruments
