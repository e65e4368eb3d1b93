"""pipelines.download_history: a local server's archives become judged days, come what may."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from foreshock.errors import ArchiveError, StoreError
from foreshock.market.clock import MS_NS, SECOND_NS
from foreshock.market.instruments import SPOT, USDM
from foreshock.stores.archive_plan import Series
from foreshock.stores.history import History, start_ns
from foreshock.stores.history_settings import HistorySettings
from foreshock.stores.importers import import_file
from pipelines import backfill_history
from pipelines.download_history import Report, Wanted, _alone, download
from tests.reference.archive_server import (
    AGG_TRADES,
    FUNDING,
    KLINES,
    METRICS,
    ArchiveServer,
    agg_trades,
    csv,
    day_ms,
    klines,
)

FIRST = date(2024, 12, 30)
NOW_NS = start_ns(date(2025, 2, 10)) + 12 * 3600 * SECOND_NS
BARS = Series(SPOT, "klines", "1h", "BTCUSDT")
SPOT_BARS = "data/spot/daily/klines/BTCUSDT/1h/BTCUSDT-1h-{}.zip"
HOUR_MS = 3_600_000


@pytest.fixture
def server() -> Iterator[ArchiveServer]:
    with ArchiveServer() as running:
        yield running


def days(first: date, n: int) -> list[date]:
    return [first + timedelta(days=i) for i in range(n)]


def put_bars(server: ArchiveServer, first: date = FIRST, n: int = 4) -> None:
    """Bars of spot: µs from 2025 on, a header on every other day."""
    for i, day in enumerate(days(first, n)):
        scale = 1000 if day.year >= 2025 else 1
        rows = klines(day, HOUR_MS, scale=scale)
        server.put(SPOT_BARS.format(day), csv(rows, KLINES if i % 2 else ""))


def settings(server: ArchiveServer, **changes: Any) -> HistorySettings:
    return HistorySettings(
        **{"archive_url": server.url, "back_off_s": 0, "attempts": 3, "timeout_s": 10, **changes}
    )


def run(server: ArchiveServer, place: Path, n: int = 4, **changes: Any) -> Report:
    asked = {
        "market": SPOT,
        "kinds": ("klines",),
        "symbols": ("BTCUSDT",),
        "first": FIRST,
        "last": FIRST + timedelta(days=n - 1),
        "interval": "1h",
        "tail": False,
        "use_ray": False,
    }
    wanted = Wanted(**{**asked, **changes})
    return download(wanted, History(place), settings(server), now_ns=NOW_NS, rest_url=server.url)


def everything(place: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(place)): path.read_bytes()
        for path in sorted(place.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


def test_days_with_and_without_header_in_ms_and_us_become_the_same_table(
    server: ArchiveServer, tmp_path: Path
) -> None:
    put_bars(server)
    report = run(server, tmp_path)
    assert report.passed and report.as_dict()["whole"] == 4 and report.as_dict()["rows"] == 96
    read = list(History(tmp_path).read(BARS, FIRST, FIRST + timedelta(days=3)))
    assert [day for day, _ in read] == days(FIRST, 4)
    units = [f.judgement.units for f in History(tmp_path).days(BARS)]
    assert units == [("ms",), ("ms",), ("us",), ("us",)]
    for day, table in read:
        truth = klines(day, HOUR_MS)
        at = np.array([int(row[0]) for row in truth]) * MS_NS
        assert (table.column("open_ns").to_numpy() == at).all()
        assert table.column("close").to_pylist() == [float(row[4]) for row in truth]
        assert table.column("trades").to_pylist() == [int(row[8]) for row in truth]


def test_a_second_run_asks_the_archive_for_nothing(server: ArchiveServer, tmp_path: Path) -> None:
    put_bars(server)
    run(server, tmp_path)
    before, asked = everything(tmp_path), sum(server.asked.values())
    again = run(server, tmp_path)
    assert sum(server.asked.values()) == asked
    assert again.planned == 0 and again.at_hand_days == 4 and again.passed
    assert everything(tmp_path) == before


def test_a_day_that_was_deleted_is_fetched_again_alone(
    server: ArchiveServer, tmp_path: Path
) -> None:
    put_bars(server)
    run(server, tmp_path)
    before = everything(tmp_path)
    lost = next(tmp_path.rglob("date=2024-12-31/archive.parquet"))
    lost.unlink()
    assert run(server, tmp_path).planned == 1
    assert everything(tmp_path) == before


def test_whole_months_come_as_one_file_and_broken_ones_day_by_day(
    server: ArchiveServer, tmp_path: Path
) -> None:
    january = days(date(2025, 1, 1), 31)
    rows = [row for day in january for row in klines(day, HOUR_MS, scale=1000)]
    server.put("data/spot/monthly/klines/BTCUSDT/1h/BTCUSDT-1h-2025-01.zip", csv(rows))
    put_bars(server, FIRST, 2)
    report = run(server, tmp_path, n=33)
    assert report.planned == 3 and report.as_dict()["rows"] == 33 * 24
    by_day = tmp_path / "by-day"
    put_bars(server, FIRST, 33)
    del server.files["data/spot/monthly/klines/BTCUSDT/1h/BTCUSDT-1h-2025-01.zip"]
    del server.files["data/spot/monthly/klines/BTCUSDT/1h/BTCUSDT-1h-2025-01.zip.CHECKSUM"]
    report = run(server, by_day, n=33)  # the month is not there yet: its days are
    assert report.passed and report.as_dict()["absent"] == 0
    for (day, one), (same, other) in zip(
        History(tmp_path).read(BARS, FIRST, date(2025, 1, 31)),
        History(by_day).read(BARS, FIRST, date(2025, 1, 31)),
        strict=True,
    ):
        assert day == same and one.equals(other)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        ("checksum", "checksum"),
        ("truncated", "truncated"),
        ("flipped", "corrupt"),
        ("html", "not_a_zip"),
        ("nothing", "empty"),
        ("two", "members"),
        ("columns", "columns"),
    ],
)
def test_a_damaged_file_is_named_and_leaves_no_day(
    server: ArchiveServer, tmp_path: Path, damage: str, reason: str
) -> None:
    put_bars(server)
    path = SPOT_BARS.format("2024-12-31")
    body = server.files[path]
    if damage == "checksum":
        server.put_bytes(path, body, sha256="0" * 64)
    elif damage == "truncated":
        server.put_bytes(path, body[: len(body) // 2])
    elif damage == "flipped":
        middle = len(body) // 2
        server.put_bytes(path, body[:middle] + bytes([body[middle] ^ 0xFF]) + body[middle + 1 :])
    elif damage == "html":
        server.put_bytes(path, b"<!DOCTYPE html><html><body>service unavailable</body></html>")
    elif damage == "nothing":
        server.put_bytes(path, b"")
    elif damage == "two":
        import io
        import zipfile

        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as archive:
            archive.writestr("a.csv", "1")
            archive.writestr("b.csv", "2")
        server.put_bytes(path, out.getvalue())
    else:
        server.put(path, "1,2,3\n")
    report = run(server, tmp_path)
    told = report.as_dict()
    assert not report.passed and told["damaged"] == 1 and told["whole"] == 3
    assert [o["reason"] for o in told["not_whole"]] == [reason]
    assert not list(tmp_path.rglob("date=2024-12-31/*.parquet"))
    assert not list(tmp_path.rglob(".part-*"))
    server.put(path, csv(klines(date(2024, 12, 31), HOUR_MS)))  # the venue mends it
    mended = run(server, tmp_path)
    assert mended.passed and mended.planned == 1


def test_absent_days_are_remembered_once_they_are_old(
    server: ArchiveServer, tmp_path: Path
) -> None:
    put_bars(server, FIRST, 4)
    del server.files[SPOT_BARS.format("2024-12-31")]
    report = run(server, tmp_path)
    assert report.passed and report.as_dict()["absent"] == 1
    assert run(server, tmp_path).planned == 0


@pytest.mark.parametrize("faults", [["503", "cut"], ["429", "html"], ["cut", "cut"], ["500"]])
def test_what_fails_once_is_asked_again(
    server: ArchiveServer, tmp_path: Path, faults: list[str]
) -> None:
    put_bars(server)
    server.faults[SPOT_BARS.format("2025-01-01")] = faults
    report = run(server, tmp_path)
    assert report.passed and report.as_dict()["whole"] == 4
    clean = tmp_path / "clean"
    run(server, clean)
    assert everything(clean) == {
        name: body for name, body in everything(tmp_path).items() if not name.startswith("clean")
    }


def test_a_server_that_keeps_failing_is_left_alone_and_the_exit_says_so(
    server: ArchiveServer, tmp_path: Path
) -> None:
    put_bars(server)
    path = SPOT_BARS.format("2025-01-01")
    server.faults[path] = ["503"] * 9
    report = run(server, tmp_path)
    assert not report.passed and report.as_dict()["failed"] == 1
    assert server.asked[path] == 3
    server.faults.clear()
    assert run(server, tmp_path).planned == 1


def test_a_server_that_falls_silent_is_asked_again(server: ArchiveServer, tmp_path: Path) -> None:
    put_bars(server)
    path = SPOT_BARS.format("2025-01-01")
    server.faults[path] = ["stall"]
    wanted = Wanted(SPOT, ("klines",), ("BTCUSDT",), FIRST, date(2025, 1, 2), "1h", False, False)
    patience = settings(server, timeout_s=2)
    report = download(wanted, History(tmp_path), patience, now_ns=NOW_NS)
    assert report.passed and report.as_dict()["whole"] == 4
    assert server.asked[path] == 2


def test_a_broken_download_goes_on_from_its_last_byte(
    server: ArchiveServer, tmp_path: Path
) -> None:
    put_bars(server)
    path = SPOT_BARS.format("2025-01-01")
    server.faults[path] = ["cut"]
    outcome = next(o for o in run(server, tmp_path).outcomes if o.file == path)
    assert outcome.bytes == len(server.files[path])


def test_a_download_killed_in_the_middle_is_resumed(server: ArchiveServer, tmp_path: Path) -> None:
    put_bars(server)
    path = SPOT_BARS.format("2025-01-01")
    server.faults[path] = ["hold"]
    words = [
        *(sys.executable, "-m", "pipelines.download_history", "BTCUSDT", "--no-ray", "--no-tail"),
        *("--from", str(FIRST), "--to", "2025-01-02", "--interval", "1h", "--out", str(tmp_path)),
    ]
    environment = {**os.environ, "FORESHOCK__HISTORY__ARCHIVE_URL": server.url}
    process = subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL)
    assert server.held.wait(60)
    while not any(p.stat().st_size for p in tmp_path.rglob(".part-*2025-01-01.zip")):
        assert process.poll() is None
    process.kill()
    assert process.wait() == -9
    assert len(list(tmp_path.rglob("archive.parquet"))) == 2
    server.gate.set()
    report = run(server, tmp_path)
    assert report.planned == 2 and report.passed
    resumed = next(o for o in report.outcomes if o.file == path)
    assert 0 < resumed.bytes < len(server.files[path])
    clean = tmp_path.parent / "clean"
    run(server, clean)
    assert everything(tmp_path) == everything(clean)


def test_two_downloads_into_one_history_are_refused(server: ArchiveServer, tmp_path: Path) -> None:
    with _alone(tmp_path), pytest.raises(StoreError, match="another download"):
        run(server, tmp_path)


def test_kinds_that_a_market_does_not_have_are_refused(
    server: ArchiveServer, tmp_path: Path
) -> None:
    with pytest.raises(ArchiveError, match="has no metrics"):
        run(server, tmp_path, kinds=("metrics",))
    with pytest.raises(ArchiveError, match="none of klines"):
        run(server, tmp_path, kinds=("candles",))
    with pytest.raises(ArchiveError, match="backwards"):
        run(server, tmp_path, n=0)


def test_metrics_and_funding_of_futures(server: ArchiveServer, tmp_path: Path) -> None:
    base, start = "data/futures/um", day_ms(FIRST) // 1000
    times = np.array([start + 300 * i for i in range(1, 289)], "datetime64[s]")
    rows = [
        [str(at).replace("T", " "), "BTCUSDT", f"{1000 + i}", "5", "", "1.1", "0.9", "1.5"]
        for i, at in enumerate(times)
    ]
    rows[10], rows[11] = rows[11], rows[10]  # the venue does not put them in order
    path = f"{base}/daily/metrics/BTCUSDT/BTCUSDT-metrics-{FIRST}.zip"
    server.put(path, csv([*rows, ["2024-12-30 00:05:00", "ETHUSDT", *rows[0][2:]]], METRICS))
    month = days(date(2024, 12, 1), 31)
    funding = [
        [str(day_ms(d) + 8 * HOUR_MS * i + 3), "8", "-0.0001"] for d in month for i in (0, 1, 2)
    ]
    path = f"{base}/monthly/fundingRate/BTCUSDT/BTCUSDT-fundingRate-2024-12.zip"
    server.put(path, csv(funding, FUNDING))
    report = run(server, tmp_path, n=1, market=USDM, kinds=("metrics", "fundingRate"))
    assert report.passed and report.as_dict()["rows"] == 288 + 93
    history = History(tmp_path)
    metrics = Series(USDM, "metrics", "", "BTCUSDT")
    (_, table), *_ = history.read(metrics, FIRST, FIRST)
    judged = history.days(metrics)[0].judgement
    assert judged.out_of_order == 1 and judged.gaps == [] and judged.units == ("text",)
    assert table.column("open_interest").to_pylist() == [1000.0 + i for i in range(288)]
    assert table.column("top_long_short_accounts").null_count == 288
    noted = history.noted(metrics)[f"BTCUSDT-metrics-{FIRST}.zip"]
    assert noted["foreign_rows"] == 1
    assert len(history.days(Series(USDM, "fundingRate", "", "BTCUSDT"))) == 31


def test_the_tail_comes_over_rest_until_the_archive_has_it(
    server: ArchiveServer, tmp_path: Path
) -> None:
    today = date(2025, 2, 10)
    yesterday = today - timedelta(days=1)
    bars = {int(r[0]): r for d in (yesterday, today) for r in klines(d, HOUR_MS)}
    trades = [r for d in (yesterday, today) for r in agg_trades(d, 1500)]

    def answer_bars(asked: dict[str, str]) -> Any:
        span = range(int(asked["startTime"]), int(asked["endTime"]) + 1)
        rows = [r for at, r in sorted(bars.items()) if at in span][: int(asked["limit"])]
        return [[int(r[0]), *r[1:6], int(r[6]), r[7], int(r[8]), *r[9:]] for r in rows]

    def answer_trades(asked: dict[str, str]) -> Any:
        if "fromId" in asked:
            rows = [r for r in trades if int(r[0]) >= int(asked["fromId"])]
        else:
            span = range(int(asked["startTime"]), int(asked["endTime"]) + 1)
            rows = [r for r in trades if int(r[5]) in span]
        names = ("a", "p", "q", "f", "l", "T")
        return [
            {
                **dict(zip(names, r, strict=False)),
                "a": int(r[0]),
                "T": int(r[5]),
                "m": r[6] == "true",
            }
            for r in rows[: int(asked["limit"])]
        ]

    server.rest |= {"api/v3/klines": answer_bars, "api/v3/aggTrades": answer_trades}
    server.faults["api/v3/klines"] = ["429"]
    span = {"first": yesterday, "last": today, "tail": True}
    report = run(server, tmp_path, kinds=("klines", "aggTrades"), **span)
    assert report.passed and report.as_dict()["tail_days"] == 4
    history = History(tmp_path)
    read = dict(history.read(BARS, yesterday, today))
    assert (read[yesterday].num_rows, read[today].num_rows) == (24, 12)  # closed bars alone
    tape = dict(history.read(Series(SPOT, "aggTrades", "", "BTCUSDT"), yesterday, today))
    assert tape[yesterday].num_rows == 1500
    noon = day_ms(today) + 12 * HOUR_MS
    assert tape[today].num_rows == sum(day_ms(today) <= int(r[5]) < noon for r in trades)
    assert {f.source for f in history.days(BARS)} == {"rest"}

    server.put(SPOT_BARS.format(yesterday), csv(klines(yesterday, HOUR_MS, scale=1000)))
    run(server, tmp_path, **span)
    assert [f.source for f in history.days(BARS)] == ["archive", "rest"]
    assert dict(history.read(BARS, yesterday, today))[yesterday].equals(read[yesterday])


def test_backfill_history_with_pairs_named_downloads_them(
    server: ArchiveServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    put_bars(server)
    monkeypatch.setenv("FORESHOCK__HISTORY__ARCHIVE_URL", server.url)
    words = ["btc/usdt", "--from", str(FIRST), "--to", "2025-01-02", "--interval", "1h"]
    code = backfill_history.main(
        [*words, "--no-ray", "--no-tail", "--json", "--out", str(tmp_path)]
    )
    assert code == 0 and '"whole": 4' in capsys.readouterr().out
    assert backfill_history.main(["BTCUSDT", "--from", "yesterday"]) == 2


def test_a_recorded_tape_served_as_archives_comes_back_the_same(
    recordings: Path, server: ArchiveServer, tmp_path: Path
) -> None:
    series = Series(SPOT, "aggTrades", "", "XRPETH")
    taken = History(tmp_path / "taken")
    import_file(taken, recordings / "ticks" / "xrp_rawaggtrade.json.gz")
    first, last = date(2019, 10, 11), date(2019, 10, 13)
    truth = dict(taken.read(series, first, last))
    assert len(truth) == 3
    for day, table in truth.items():
        rows = [
            [
                *(str(trade["id"]), f"{trade['price']:.8f}", f"{trade['size']:.8f}"),
                *(str(trade["first_id"]), str(trade["last_id"])),
                *(str(trade["event_ns"] // MS_NS), str(trade["buyer_is_maker"]), "True"),
            ]
            for trade in table.to_pylist()
        ]
        path = f"data/spot/daily/aggTrades/XRPETH/XRPETH-aggTrades-{day}.zip"
        server.put(path, csv(rows))
    asked = {"kinds": ("aggTrades",), "symbols": ("XRP/ETH",), "first": first, "last": last}
    assert run(server, tmp_path / "fetched", **asked).passed
    fetched = dict(History(tmp_path / "fetched").read(series, first, last))
    assert fetched.keys() == truth.keys()
    for day, table in truth.items():
        assert fetched[day].equals(table.select(fetched[day].column_names)), day


def test_repeated_contradicting_and_missing_rows_are_judged(
    server: ArchiveServer, tmp_path: Path
) -> None:
    rows = agg_trades(FIRST, 100, spelled=("True", "False"))
    contradiction = [*rows[5][:1], "101.00", *rows[5][2:]]
    bad = [*rows[6][:1], "not a price", *rows[6][2:]]
    text = csv(
        [*rows[:3], rows[2], rows[4], rows[3], rows[5], contradiction, bad, *rows[10:]], AGG_TRADES
    )
    server.put("data/spot/daily/aggTrades/BTCUSDT/BTCUSDT-aggTrades-2024-12-30.zip", text + "7,7\n")
    run(server, tmp_path, n=1, kinds=("aggTrades",))
    series = Series(SPOT, "aggTrades", "", "BTCUSDT")
    judged = History(tmp_path).days(series)[0].judgement
    assert (judged.duplicates, judged.conflicts, judged.out_of_order) == (1, 1, 1)
    first = int(rows[0][0])
    assert [gap[:2] for gap in judged.missing_ids] == [[first + 6, first + 9]]
    noted = History(tmp_path).noted(series)["BTCUSDT-aggTrades-2024-12-30.zip"]
    assert noted["bad_rows"] == 2 and noted["first_bad"]
    (_, table), *_ = History(tmp_path).read(series, FIRST, FIRST)
    assert table.column("price").to_pylist()[5] == float(rows[5][1])
    assert table.column("buyer_is_maker").to_pylist()[:3] == [r[6] == "True" for r in rows[:3]]
