"""`foreshock status` against a real HTTP server in a thread."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from cluster.main import build_app
from cluster.status import site_of
from foreshock.errors import ConfigError

Answers = Mapping[str, tuple[int, Any]]
SYMBOL = {
    "symbol": "BTCUSDT",
    "last": 64000.5,
    "book_state": "SYNCED",
    "probability": 0.25,
    "signal": False,
    "reason": "below_probability",
    "age_ms": 400.0,
    "stale": False,
}
HEALTH = {
    "status": "ok",
    "version": "0.1.0",
    "silent_ms": 300.0,
    "model_version": "1.2.3",
    "stores": {"hot": "ok", "ledger": "ok"},
    "books": {"SYNCED": 1},
}
ERROR = {"error": {"code": "store_down", "message": "the hot store is away"}}
DETAILED, SYMBOLS = "/api/v1/health/detailed", "/api/v1/symbols"
WELL: Answers = {DETAILED: (200, HEALTH), SYMBOLS: (200, {"symbols": [SYMBOL], "count": 1})}


@pytest.fixture
def served() -> Iterator[Callable[[Answers], str]]:
    """A function that serves canned answers by path and returns the address."""
    servers: list[ThreadingHTTPServer] = []

    def serve(answers: Answers) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                code, body = answers.get(self.path, (404, ERROR))
                told = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(code)
                self.send_header("Content-Length", str(len(told)))
                self.end_headers()
                self.wfile.write(told)

            def log_message(self, *_: object) -> None:
                """Quiet."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return f"http://127.0.0.1:{server.server_address[1]}"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


def _status(*arguments: str) -> Result:
    return CliRunner().invoke(build_app(), ["status", *arguments], env={"COLUMNS": "200"})


def test_a_healthy_installation_is_told_in_a_document(
    served: Callable[[Answers], str], capfd: pytest.CaptureFixture[str]
) -> None:
    site = served(WELL)
    told = _status("--api", site, "--json")
    assert told.exit_code == 0, told.output
    assert json.loads(capfd.readouterr().out) == {
        "api": site,
        "health": HEALTH,
        "symbols": [SYMBOL],
    }


def test_people_get_a_table(served: Callable[[Answers], str]) -> None:
    told = _status("--api", served(WELL) + "/api/v1/")
    assert told.exit_code == 0
    for word in ("ok, heard 0.3 s ago", "1.2.3", "BTCUSDT", "64000.5", "SYNCED", "0.250", "0.4 s"):
        assert word in told.stdout


def test_a_symbol_without_verdict_or_price_has_a_row_too(
    served: Callable[[Answers], str],
) -> None:
    bare = {**dict.fromkeys(SYMBOL), "symbol": "NEWUSDT", "stale": True}
    told = _status("--api", served({**WELL, SYMBOLS: (200, {"symbols": [bare]})}))
    assert told.exit_code == 0
    assert "NEWUSDT" in told.stdout and "none yet" in told.stdout


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_degraded_exits_with_one_and_says_why(
    served: Callable[[Answers], str], capfd: pytest.CaptureFixture[str], form: tuple[str, ...]
) -> None:
    degraded = {**ERROR, "status": "degraded", "stores": {"hot": "refused"}}
    told = _status("--api", served({DETAILED: (503, degraded), SYMBOLS: (503, ERROR)}), *form)
    assert told.exit_code == 1
    said = told.stdout + capfd.readouterr().out
    assert "degraded" in said and "the hot store is away" in said


def test_an_idle_installation_is_not_a_degraded_one(served: Callable[[Answers], str]) -> None:
    idle = {**HEALTH, "status": "idle", "silent_ms": None}
    told = _status("--api", served({**WELL, DETAILED: (200, idle)}))
    assert told.exit_code == 0
    assert "idle, nothing heard yet" in told.stdout


def test_where_nothing_answers_the_exit_code_is_three(capfd: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # bound, never listening: nobody else takes the port
        told = _status("--api", f"http://127.0.0.1:{held.getsockname()[1]}", "--json")
    assert told.exit_code == 3
    assert json.loads(capfd.readouterr().out)["error"]["kind"] == "PartMissingError"
    assert "foreshock up" in told.stderr


@pytest.mark.parametrize("body", [b"<html>hello</html>", [1, 2], {"hello": "world"}])
def test_something_else_that_answers_is_no_foreshock(
    served: Callable[[Answers], str], body: Any
) -> None:
    told = _status("--api", served({DETAILED: (200, body)}))
    assert told.exit_code == 1
    assert "of a foreshock" in told.stderr


@pytest.mark.parametrize("address", ["127.0.0.1:8000", "ftp://host", "http://", ""])
def test_what_is_no_address_is_wrong_use(address: str) -> None:
    with pytest.raises(ConfigError, match="--api"):
        site_of(address)
    assert _status("--api", address).exit_code == 2
