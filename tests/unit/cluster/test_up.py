"""`foreshock up`: wrong use, and what `stay` and its words make of a supervisor's status."""

from __future__ import annotations

import json
import os
import signal
import threading
from typing import Any

import pytest
from typer.testing import CliRunner

from cluster.main import build_app
from cluster.session import polite_end, status_line, tally, watched
from foreshock.errors import ConfigError
from foreshock.settings import load


def _watcher(name: str, symbols: int, verdicts: dict[str, int], p50: float) -> dict[str, Any]:
    told = {f"S{i}": {"book": "SYNCED" if i else "STALE", "book_epoch": 1} for i in range(symbols)}
    return {
        "name": name,
        "symbols": told,
        "frames": 10,
        "rows": 20,
        "verdicts": verdicts,
        "shed_rows": 1,
        "latency_ms": {"p50": p50, "p99": 2 * p50, "n": 5},
        "problem": None,
    }


STATUS = {
    "watchers": [
        _watcher("watcher-0", 3, {"signal": 2, "cold": 5}, 4.0),
        _watcher("watcher-1", 2, {"cold": 1}, 6.0),
        {"name": "watcher-2", "problem": "starting"},
    ],
    "restarts": 1,
}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [(["--for", "a while"], "is no duration"), (["--mode", "replay"], "demo or live")],
)
def test_wrong_use_exits_with_two_before_anything_starts(
    capfd: pytest.CaptureFixture[str], arguments: list[str], told: str
) -> None:
    done = CliRunner().invoke(build_app(), ["up", *arguments, "--json"])
    assert done.exit_code == 2
    assert told in json.loads(capfd.readouterr().out)["error"]["message"]


def test_watchers_are_summed_and_the_slowest_latency_counts() -> None:
    found = tally(STATUS)
    assert (found["symbols"], found["frames"], found["rows"]) == (5, 20, 40)
    assert found["books"] == {"STALE": 2, "SYNCED": 3}
    assert (found["verdicts"], found["signals"], found["refusals"]) == (8, 2, {"cold": 6})
    assert found["latency_ms"] == {"p50": 6.0, "p99": 12.0}
    assert (found["shed_rows"], found["restarts"]) == (2, 1)
    assert found["problems"] == ["watcher-2: starting"]


def test_the_status_line_says_what_matters() -> None:
    line = status_line(tally(STATUS))
    for words in (
        "5 symbols (2 STALE, 3 SYNCED)",
        "8 verdicts, 2 signals",
        "p50 6 ms, p99 12 ms",
        "2 rows not recorded",
        "1 restarts",
        "watcher-2: starting",
    ):
        assert words in line


def test_before_the_first_status_there_is_nothing() -> None:
    assert status_line(tally({})) == "0 symbols (no book yet) · 0 frames · 0 rows"


def test_demo_listens_to_its_own_exchange_and_live_to_the_venue() -> None:
    exchange, domain = watched(load({"mode": "demo"}).tree)
    assert exchange is not None and str(domain) == "simulation/binance-spot/book"
    exchange, domain = watched(load({"mode": "live"}).tree)
    assert exchange is None and str(domain) == "binance/binance-spot/book"
    with pytest.raises(ConfigError, match="mode replay listens to nothing"):
        watched(load({"mode": "replay"}).tree)


@pytest.mark.parametrize("kind", [signal.SIGTERM, signal.SIGHUP])
def test_a_polite_kill_is_a_ctrl_c_and_only_within(kind: signal.Signals) -> None:
    before = signal.getsignal(kind)
    with pytest.raises(KeyboardInterrupt), polite_end():
        os.kill(os.getpid(), kind)
        threading.Event().wait(10)
    assert signal.getsignal(kind) == before
