"""cluster.data_list, cluster.data_import and cluster.download: history from the command line."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cluster.data_list import find_data
from cluster.main import build_app
from foreshock.simulation.settings import SimulationSettings
from pipelines.backfill_history import backfill_simulation
from tests.reference.archive_server import KLINES, ArchiveServer, csv, klines

Run = Callable[..., tuple[int, Any]]


@pytest.fixture
def server() -> Iterator[ArchiveServer]:
    with ArchiveServer() as running:
        yield running


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """A verb with `--json`: its exit code and its document."""

    def of(*words: str) -> tuple[int, Any]:
        settings = ["--set", f"paths.var_dir={tmp_path}", "--json"]
        code = CliRunner().invoke(build_app(), [*words, *settings]).exit_code
        return code, json.loads(capfd.readouterr().out)

    return of


def test_recordings_and_datasets_are_found_with_their_sizes(tmp_path: Path) -> None:
    session = tmp_path / "recordings" / "session-1"
    session.mkdir(parents=True)
    (session / "rows.parquet").write_bytes(b"x" * 10)
    (session / "frames.parquet").write_bytes(b"x" * 5)
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets" / "one.parquet").write_bytes(b"x")
    (tmp_path / "datasets" / ".tmp-two.parquet").write_bytes(b"x")
    (tmp_path / "models").mkdir()
    found = find_data(tmp_path)
    assert [(e["name"], e["kind"], e["files"], e["bytes"]) for e in found] == [
        ("session-1", "recording", 2, 15),
        ("one.parquet", "dataset", 1, 1),
    ]
    assert all(entry["modified"].endswith("+00:00") for entry in found)


def test_a_recording_tells_its_market_span_rows_and_arrival(tmp_path: Path) -> None:
    settings = SimulationSettings(symbols=2, seed=5)
    done = backfill_simulation(tmp_path / "history" / "simulation", settings, 4)
    (entry,) = find_data(tmp_path)
    assert (entry["kind"], entry["arrival"], entry["source"]) == (
        "recording",
        "modelled",
        "recording",
    )
    assert len(entry["symbols"]) == 2 and 0 < entry["rows"] <= done["rows"]
    first, last = entry["span"]
    assert first.endswith("Z") and first < last


def test_download_then_list_shows_spans_gaps_and_how_arrival_is_known(
    server: ArchiveServer, tmp_path: Path, run: Run
) -> None:
    base = "data/spot/daily/klines/BTCUSDT/1h/BTCUSDT-1h-2024-03-0{}.zip"
    for n in (1, 3):
        rows = klines(date(2024, 3, n), 3_600_000)
        server.put(base.format(n), csv(rows if n == 1 else rows[:6] + rows[8:], KLINES))
    words = ["download", "BTC/USDT", "--from", "2024-03-01", "--to", "2024-03-03"]
    words += ["--interval", "1h", "--no-ray", "--no-tail"]
    words += ["--set", f"history.archive_url={server.url}"]
    code, done = run(*words)
    assert (code, done["whole"], done["absent"], done["rows"]) == (0, 2, 1, 46)
    code, found = run("data", "list")
    (entry,) = found
    assert code == 0
    assert entry["name"] == "binance-spot/klines-1h/symbol=BTCUSDT"
    assert (entry["arrival"], entry["source"]) == ("modelled", "archive")
    assert entry["span"] == ["2024-03-01T00:00:00.000Z", "2024-03-03T23:00:00.000Z"]
    assert entry["gaps"] == [
        {
            "from": "2024-03-02T00:00:00.000Z",
            "to": "2024-03-03T00:00:00.000Z",
            "cause": "absent_file",
            "rows": 24,
        },
        {
            "from": "2024-03-03T06:00:00.000Z",
            "to": "2024-03-03T08:00:00.000Z",
            "cause": "absent_rows",
            "rows": 2,
        },
    ]
    shown = CliRunner().invoke(
        build_app(), ["data", "list", "--set", f"paths.var_dir={tmp_path}"], terminal_width=200
    )
    assert shown.exit_code == 0
    assert "BTCUSDT klines: 2024-03-02T00:00:00.000Z" in shown.stdout
    assert "absent_file, 24 rows" in shown.stdout


def test_exit_codes_of_a_download(server: ArchiveServer, run: Run) -> None:
    at = ["--no-ray", "--no-tail", "--set", f"history.archive_url={server.url}"]
    code, told = run("download", "BTCUSDT", "--from", "yesterday", *at)
    assert code == 2 and "is no day" in told["error"]["message"]
    code, told = run("download", "BTCUSDT", "--kind", "metrics", *at)
    assert code == 1 and "has no metrics" in told["error"]["message"]
    span = ["--from", "2024-03-01", "--to", "2024-03-01"]
    code, told = run("download", "BTCUSDT", *span, *at)  # nothing anywhere
    assert (code, told["absent"]) == (1, 1)


def test_import_judges_keeps_and_names_what_it_refuses(tmp_path: Path, run: Run) -> None:
    rows = [[1_700_000_000_000 + i, str(i), None, "buy", 1.5, 2.0, 3.0] for i in range(9)]
    given = tmp_path / "given"
    given.mkdir()
    (given / "xrpeth_trades.json").write_text(json.dumps(rows))
    code, told = run("data", "import", str(given), "--dry-run")
    assert (code, told["rows"], told["directory"]) == (0, 9, None)
    assert find_data(tmp_path) == []
    (given / "zzz.csv").write_text("a,b\n1,2\n")
    code, told = run("data", "import", str(given))
    assert code == 1 and [Path(e["file"]).name for e in told["refused"]] == ["zzz.csv"]
    (entry,) = find_data(tmp_path)
    assert (entry["symbol"], entry["source"], entry["rows"]) == ("XRPETH", "import", 9)
