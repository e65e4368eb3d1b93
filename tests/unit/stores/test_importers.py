"""foreshock.stores.importers: recordings of others are judged for what they are."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from foreshock.errors import ArchiveError
from foreshock.market.clock import MS_NS
from foreshock.stores.archive_plan import Series
from foreshock.stores.history import History
from foreshock.stores.history_list import OUTAGE, as_object, list_history
from foreshock.stores.importers import Imported, import_file

Judge = Callable[[str], list[Imported]]
MINUTE_NS = 60 * 10**9


@pytest.fixture
def judged(recordings: Path) -> Judge:
    def of(pattern: str) -> list[Imported]:
        (path,) = sorted(recordings.glob(pattern))
        return import_file(None, path)

    return of


def stamp(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 10**9


def test_the_outages_of_april_2021_are_found_and_called_so(
    recordings: Path, tmp_path: Path
) -> None:
    whole = pq.read_table(
        recordings / "klines" / "spot_1m_2021-04_94pairs.parquet",
        filters=[
            ("symbol", "in", ["BTCUSDT", "ETHUSDT", "DOGEUSDT"]),
            ("date", ">=", datetime(2021, 4, 19, tzinfo=UTC)),
            ("date", "<", datetime(2021, 4, 27, tzinfo=UTC)),
        ],
    )
    path = tmp_path / "spot_bars.parquet"
    pq.write_table(whole, path)
    found = import_file(History(tmp_path / "history"), path)
    assert len(found) == 3
    for entry in found:
        assert entry.series.kind == "klines" and entry.series.interval == "1m"
        assert [(b - a) // MINUTE_NS - 1 for a, b in entry.judgement.gaps] == [150, 284]
        assert "no taker-buy volume" in entry.judgement.known[0]
    listed = [as_object(entry) for entry in list_history(History(tmp_path / "history"))]
    assert [entry["symbol"] for entry in listed] == ["BTCUSDT", "DOGEUSDT", "ETHUSDT"]
    for entry in listed:
        days = [gap["from"][:10] for gap in entry["gaps"]]
        assert days == ["2021-04-20", "2021-04-25"]
        assert {gap["cause"] for gap in entry["gaps"]} == {OUTAGE}
        assert (entry["source"], entry["arrival"]) == ("import", "modelled")
        assert entry["rows"] == whole.num_rows // 3


def test_bars_without_gaps_have_none(judged: Judge) -> None:
    found = judged("klines/spot_1m_2026-03_5pairs.parquet")
    assert sum(entry.judgement.rows for entry in found) == 215_996
    assert len(found) == 5
    for entry in found:
        judgement = entry.judgement
        assert judgement.gaps == [] and judgement.duplicates == judgement.conflicts == 0


@pytest.mark.parametrize(
    ("pattern", "kind", "rows", "faults"),
    [
        ("ticks/xrp_rawaggtrade.json.gz", "aggTrades", 12_477, {}),
        ("ticks/xrpeth_trades*.json.gz", "aggTrades", 12_477, {}),
        ("ticks/BTCUSDT_trades.csv.gz", "trades", 1_038, {"duplicates": 1_962}),
        ("ticks/qa/test*trade_stream_spot_trxusdt*", "trades", 10_000, {}),
        ("ticks/qa/test*trade_stream_coin_m*", "trades", 10_000, {}),
        ("ticks/qa/test*difference_depth*spot*", "depth", 10_000, {}),
        ("ticks/qa/test*depth_snapshot_spot*", "depthSnapshots", 20_000, {}),
        ("derivs/usdm_mark8h*", "markPriceKlines", 5_702, {}),
        ("derivs/usdm_funding_2023*", "fundingRate", 5_702, {}),
        ("derivs/usdm_open_interest_4h*", "metrics", 90_215, {}),
        ("derivs/venues7_candles*", "klines", 53_336, {}),
        ("derivs/venues7_liquidation*", "liquidationVolume", 173, {}),
        ("derivs/forceorder*/Ale*large_liqs*", "liquidations", 162, {}),
        ("derivs/forceorder*/Ale*binance_liqs*", "liquidations", 101, {"bad_rows": 1}),
        ("onchain_macro/sharafa32/sopr*", "series", 5_837, {}),
    ],
)
def test_each_form_is_read_whole_and_its_faults_are_counted(
    judged: Judge, pattern: str, kind: str, rows: int, faults: dict[str, int]
) -> None:
    found = judged(pattern)
    assert {entry.series.kind for entry in found} == {kind}
    assert sum(entry.judgement.rows for entry in found) == rows
    names = ("duplicates", "conflicts", "bad_rows")
    counted = {n: max(getattr(entry.judgement, n) for entry in found) for n in names}
    assert {name: n for name, n in counted.items() if n} == faults
    assert all(entry.judgement.missing_ids == [] for entry in found)


def test_two_copies_of_one_tape_say_the_same(recordings: Path, tmp_path: Path) -> None:
    series = Series("binance-spot", "aggTrades", "", "XRPETH")
    tables = []
    for name in ("xrp_rawaggtrade.json.gz", "xrpeth_trades_2019-10-11_13.json.gz"):
        history = History(tmp_path / name)
        import_file(history, recordings / "ticks" / name)
        days = history.read(series, date(2019, 10, 11), date(2019, 10, 13))
        tables.append(pa.concat_tables([table for _, table in days]))
    for column in ("id", "event_ns", "price", "size", "buyer_is_maker"):
        assert tables[0].column(column).equals(tables[1].column(column)), column


def test_a_report_on_top_is_weighed_and_an_excerpt_is_called_one(judged: Judge) -> None:
    found = judged("ticks/qa/merged*")
    kinds = [entry.series.kind for entry in found]
    assert sorted(kinds) == ["depth", "depth", "depthSnapshots", "trades"]
    for entry in found:
        told = " / ".join(entry.judgement.known)
        assert "POSITIVE and speaks of 5457672 rows; 9856 are here" in told
        assert "an excerpt" in told
    assert any("0 breaks" in text for entry in found for text in entry.judgement.known)


def test_recorded_arrival_is_kept(recordings: Path, tmp_path: Path) -> None:
    (path,) = recordings.glob("ticks/qa/test*trade_stream_spot_trxusdt*")
    history = History(tmp_path)
    (entry,) = import_file(history, path)
    (listed,) = list_history(history)
    assert listed.arrival == "recorded" and entry.judgement.units == ("us",)
    again = {p: p.read_bytes() for p in tmp_path.rglob("*.parquet")}
    import_file(history, path)
    assert {p: p.read_bytes() for p in tmp_path.rglob("*.parquet")} == again


def test_raw_sessions_tell_their_clock_and_their_sequence(judged: Judge) -> None:
    (entry,) = judged("ws_raw/hftbacktest/usdm/ethusdt_20240718.gz")
    assert (entry.series.kind, entry.series.symbol) == ("trades", "ETHUSDT")
    told = " / ".join(entry.judgement.known)
    assert "0 breaks of their sequence" in told
    assert "behind the venue's" in told  # 1.5 s, as its readers know


def test_what_a_file_does_not_say_must_be_given(recordings: Path, tmp_path: Path) -> None:
    (trades,) = recordings.glob("derivs/forceorder*/Ale*trades*")
    with pytest.raises(ArchiveError, match="give --market") as caught:
        import_file(None, trades)
    assert caught.value.reason == "market"
    found = import_file(None, trades, market="binance-usdm")
    assert sum(entry.judgement.rows for entry in found) == 273
    assert all("only trades above a size" in entry.judgement.known[0] for entry in found)
    public = recordings / "ticks" / "freqtrade_public_trades_list_2023-02-02.csv.gz"
    with pytest.raises(ArchiveError, match="give --symbol"):
        import_file(None, public, market="binance-spot")
    (entry,) = import_file(None, public, market="binance-spot", symbol="ETH/USDT")
    assert entry.series.symbol == "ETHUSDT"


def test_clock_times_in_an_unknown_zone_are_bad_rows(recordings: Path) -> None:
    (trades,) = recordings.glob("derivs/forceorder*/Bands*trades*")
    found = import_file(None, trades, market="binance-usdm")
    bad = found[0].judgement.bad_rows
    assert bad == 1_546 and sum(e.judgement.rows + e.judgement.duplicates for e in found) == (
        22_181 - bad
    )
    assert any("rows that cannot be read" in text for text in found[0].judgement.known)


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("a.csv", b"x,y\n1,2\n"),
        ("b.json", b'{"a": 1}'),
        ("c.json", b'[{"a": 1}]'),
        ("d.csv", b""),
        ("e.json", b"[[1,2]]"),
        ("f.parquet", b"PAR1"),
        ("g.csv.gz", gzip.compress(b"id,price\n")[:-9]),
        ("h.csv.gz", b"no gzip"),
        ("i.csv", b"symbol,date,open\n"),
        ("j.csv", b"# a report and nothing else\n"),
        ("k.csv", b"\xff\xfe\x00 \xff,\xff\n"),
    ],
)
def test_a_file_of_no_known_form_is_refused_by_name(tmp_path: Path, name: str, body: bytes) -> None:
    (tmp_path / name).write_bytes(body)
    with pytest.raises(ArchiveError):
        import_file(None, tmp_path / name)


@pytest.mark.parametrize("venue", ["../../up", ".", "a/b", "", "x" * 60])
def test_names_in_a_file_never_lead_out_of_the_history(tmp_path: Path, venue: str) -> None:
    rows = "".join(f"{venue},BTC,{1_700_000_000 + 3_600 * i},1,1,1,1,1\n" for i in range(3))
    path = tmp_path / "bars.csv"
    path.write_text("venue,coin,timestamp,o,h,l,c,v\n" + rows)
    with pytest.raises(ArchiveError) as caught:
        import_file(History(tmp_path / "history"), path)
    assert caught.value.reason == "market"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bars.csv"]


def test_a_plain_trade_list_without_recordings(tmp_path: Path) -> None:
    rows = [[1_700_000_000_000 + i, str(i), None, "sell", 1.5, 2.0, 3.0] for i in (1, 2, 4)]
    path = tmp_path / "xrpeth_trades.json"
    path.write_text(json.dumps(rows))
    (entry,) = import_file(History(tmp_path / "h"), path)
    assert entry.judgement.missing_ids == [
        [3, 3, rows[1][0] * MS_NS, rows[2][0] * MS_NS]  # type: ignore[operator]
    ]
