"""`foreshock up`: wrong use, and what `stay` and its words make of a supervisor's status."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import ray
from typer.testing import CliRunner

from cluster.main import build_app
from cluster.session import polite_end, status_line, tally, watched
from cluster.system import System
from foreshock.errors import ConfigError, InstrumentError
from foreshock.settings import load

FILTERS = [
    {"filterType": "PRICE_FILTER", "tickSize": "0.01"},
    {"filterType": "LOT_SIZE", "stepSize": "0.001"},
]


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


NOWHERE = ["--set", "venue.rest_url=http://127.0.0.1:1"]


@pytest.mark.parametrize("verb", [["up", "--live"], ["up", "--mode", "live"], ["demo", "--live"]])
def test_live_without_a_way_to_the_venue_says_so_and_exits_with_three_within_seconds(
    tmp_path: Path, verb: list[str]
) -> None:
    began_s = time.monotonic()
    store = ["--set", f"paths.var_dir={tmp_path}"]
    done = CliRunner().invoke(build_app(), [*verb, *NOWHERE, *store])
    assert time.monotonic() - began_s < 10
    assert done.exit_code == 3
    assert "http://127.0.0.1:1 does not answer" in " ".join(done.output.split())
    assert not ray.is_initialized()


@pytest.mark.parametrize(
    "arguments",
    [["up", "--live", "--mode", "demo"], ["demo", "--live", "--recording", "x"]],
)
def test_live_contradicts_what_is_not_live(arguments: list[str]) -> None:
    done = CliRunner().invoke(build_app(), arguments)
    assert done.exit_code == 2 and "contradict each other" in done.output


@pytest.fixture
def venue() -> Iterator[str]:
    """A venue that lists BTCUSDT and ETHUSDT; its REST address."""
    listed = [
        {"symbol": s, "status": "TRADING", "quoteAsset": "USDT", "filters": FILTERS}
        for s in ("BTCUSDT", "ETHUSDT")
    ]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps({"symbols": listed} if "exchangeInfo" in self.path else []).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def listed_for(venue: str, **more: Any) -> list[str]:
    given = {"mode": "live", "venue.rest_url": venue, **more}
    tree = load(given, environment={}, dotenv=Path("no-such-file")).tree
    system = System(tree, watched(tree)[1])
    return [instrument.symbol for instrument in system._listed_by_venue()]


def test_symbols_that_the_venue_does_not_list_are_named_and_any_spelling_is_understood(
    venue: str,
) -> None:
    asked = '["eth/usdt", "BTC/USDT:USDT"]'
    assert listed_for(venue, **{"venue.symbols": asked}) == ["ETHUSDT", "BTCUSDT"]
    with pytest.raises(InstrumentError, match=r"'BTCUSTD' \(did you mean BTCUSDT\?\)"):
        listed_for(venue, **{"venue.symbols": '["BTCUSTD", "ETHUSDT"]'})


def test_filters_select_from_what_the_venue_lists_and_may_not_select_nothing(venue: str) -> None:
    chain = '[{"by": "quote", "assets": ["USDT"]}, {"by": "deny", "pattern": "ETH.*"}]'
    assert listed_for(venue, **{"venue.filters": chain}) == ["BTCUSDT"]
    with pytest.raises(InstrumentError, match="none of the 2 symbols"):
        listed_for(venue, **{"venue.filters": '[{"by": "allow", "pattern": "XYZ"}]'})


def test_a_watcher_that_sheds_or_listens_elsewhere_is_told() -> None:
    late = {**_watcher("w", 1, {}, 1.0), "shedding": "slow", "lag_ms": 312.4}
    away = {**_watcher("x", 1, {}, 1.0), "fallback": True, "domain": "bybit/bybit-linear/book"}
    calm = {**_watcher("y", 1, {}, 1.0), "shedding": "nothing", "lag_ms": 0.1, "fallback": False}
    found = tally({"watchers": [late, away, calm]})
    assert found["problems"] == [
        "w: 312 ms behind, gives up slow",
        "x: the primary is down, listening to bybit/bybit-linear/book",
    ]
    assert "gives up slow" in status_line(found)


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
