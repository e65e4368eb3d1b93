from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from foreshock.costs.total import CostSettings
from foreshock.engine.message import BoundaryMessage
from foreshock.features import catalog
from foreshock.market.rows import RESYNCING
from foreshock.signals.gate import GateSettings
from foreshock.stores.hot import RedisHot
from foreshock.stores.ledger import Ledger
from foreshock.stores.registry import DirectoryRegistry
from serve.api import create_api
from serve.board import Board
from serve.gate import Gate
from serve.metrics import render
from serve.scorer import Scorer, Scores, champion_of
from serve.settings import ServeSettings
from tests.unit.serve.conftest import Client
from tests.unit.serve.material import DOMAIN, FEATURES, HORIZONS_S, boundary

SECOND_NS = 1_000_000_000
EASY = GateSettings(
    probability_threshold=0.0,
    utility_threshold_bps=-1e9,
    costs=CostSettings(taker_fee_bps=0.0, funding_interval_h=0.0),
)


class Site:
    """The doors over real stores, with a clock that tests turn."""

    def __init__(self, hot: RedisHot, models_dir: Path, ledger: Path) -> None:
        registry = DirectoryRegistry(models_dir)
        self.scorer = Scorer(lambda domain: champion_of(registry, domain), DOMAIN, catalog.layout())
        self.now_ns = 0
        self.ledger = Ledger(ledger)
        self.board = Board(hot, lambda: Ledger(ledger), monotonic=self._monotonic)
        self._reads = 0.0
        self.gate = Gate(self.score, hot, None, ServeSettings(), EASY, catalog.layout())
        self.client = Client(
            create_api(
                self.board,
                ServeSettings(max_body_bytes=60_000, max_symbols=3, max_vectors=2),
                score=self.score,
                symbols=("BTCUSDT", "ETHUSDT", "SOLUSDT"),
                now_ns=lambda: self.now_ns,
            )
        )

    def _monotonic(self) -> float:
        self._reads += 1.0
        return self._reads

    async def score(self, matrix: Any, fingerprint: str, symbols: Any = None) -> Scores:
        return self.scorer.score(matrix, fingerprint, symbols)

    def tell(self, symbols: tuple[str, ...], at_s: int = 0, **more: Any) -> None:
        given = more.pop("boundary", None) or boundary(len(symbols), at_s, **more)
        message = BoundaryMessage("w0", symbols, DOMAIN, given, live=False)
        asyncio.run(self.gate.judge(message))
        self.now_ns = self.board._hot.verdicts()[symbols[0]]["judged_ns"] + 250_000_000


@pytest.fixture
def site(hot: RedisHot, models_dir: Path, tmp_path: Path) -> Iterator[Site]:
    built = Site(hot, models_dir, tmp_path / "ledger.sqlite")
    yield built
    built.board.close()
    built.ledger.close()


def error_of(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """Check the envelope, and return its details."""
    assert response.status_code == status, response.text
    body = response.json()
    assert set(body) >= {"error", "fallback"}
    assert set(body["error"]) == {"code", "message", "details"}
    assert {"reason", "retry_after_seconds"} <= set(body["error"]["details"])
    assert set(body["fallback"]) == {"regime", "confidence", "recommendation"}
    assert body["error"]["code"] == code
    details: dict[str, Any] = body["error"]["details"]
    retry = details["retry_after_seconds"]
    assert (retry is None) == ("retry-after" not in response.headers)
    return details


def test_a_prediction_shows_probabilities_age_and_bill(site: Site) -> None:
    site.tell(("BTCUSDT",))
    body = site.client.get("/api/v1/predict?symbol=BTCUSDT").json()
    assert list(body["probabilities"]) == [str(h) for h in HORIZONS_S]
    exact = site.scorer.score(boundary(1).vectors, catalog.layout().fingerprint)[0]
    assert exact is not None
    assert list(body["probabilities"].values()) == exact[0].astype(float).tolist()
    assert body["age_ms"] == pytest.approx(250)
    assert body["stale"] is False
    assert body["bill"]["total_bps"] > 0
    assert body["reason"] == "signal" and body["signal"] is True


@pytest.mark.parametrize(
    "spelling", ["BTCUSDT", "btcusdt", "btc/usdt", "BTC/USDT:USDT", "BTC-USDT"]
)
def test_every_spelling_of_a_symbol_works_at_every_door(site: Site, spelling: str) -> None:
    site.tell(("BTCUSDT",))
    answers = [
        site.client("GET", "/api/v1/predict", params={"symbol": spelling}),
        site.client.get(f"/api/v1/predictions/{spelling}"),
        site.client.post("/api/v1/predict", {"symbol": spelling}),
    ]
    assert [answer.json()["symbol"] for answer in answers] == ["BTCUSDT"] * 3


def test_several_symbols_are_answered_each_for_itself(site: Site) -> None:
    site.tell(("BTCUSDT",))
    body = site.client.post("/api/v1/predict", {"symbols": ["BTCUSDT", "ETHUSDT", "NOPE"]}).json()
    first, second, third = body["predictions"]
    assert first["probabilities"]
    assert second["error"]["code"] == "not_warm" and second["symbol"] == "ETHUSDT"
    assert third["error"]["code"] == "unknown_symbol"


def test_an_unknown_symbol_is_404_with_the_nearest_names(site: Site) -> None:
    details = error_of(site.client.get("/api/v1/predictions/BTCUSD"), 404, "unknown_symbol")
    assert details["nearest"][0] == "BTCUSDT"


def test_a_watched_symbol_without_a_boundary_is_not_warm(site: Site) -> None:
    details = error_of(site.client.get("/api/v1/predict?symbol=ETHUSDT"), 409, "not_warm")
    assert "spread_bps" in details["missing"]
    assert details["retry_after_seconds"] == catalog.REQUIRED_WARMUP_S


def test_a_cold_symbol_names_what_is_missing_and_no_number(site: Site) -> None:
    site.tell(("BTCUSDT",), warm=False)
    response = site.client.get("/api/v1/predict?symbol=BTCUSDT")
    details = error_of(response, 409, "not_warm")
    assert details["reason"] == "cold"
    needed = {"spread_bps", "momentum_10s", "flow_imbalance_10s", "queue_imbalance", "ofi_10s",
              "trade_intensity_10s"}  # fmt: skip
    assert set(details["missing"]) == needed
    assert "probabilit" not in str(details)


def test_a_book_out_of_sync_gets_no_number(site: Site) -> None:
    site.tell(("BTCUSDT",), state=RESYNCING)
    details = error_of(site.client.get("/api/v1/predict?symbol=BTCUSDT"), 409, "book_resyncing")
    assert details["book_state"] == "RESYNCING"


def test_an_old_prediction_is_marked_and_then_refused(site: Site) -> None:
    site.tell(("BTCUSDT",))
    site.now_ns += 4 * SECOND_NS
    assert site.client.get("/api/v1/predict?symbol=BTCUSDT").json()["stale"] is True
    site.now_ns += 40 * SECOND_NS
    details = error_of(site.client.get("/api/v1/predict?symbol=BTCUSDT"), 503, "stale")
    assert details["age_ms"] == pytest.approx(44_250)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "bad_json"),
        (b"{", 400, "bad_json"),
        (b"\xff\xfe", 400, "bad_json"),
        (b"[]", 422, "invalid"),
        ({}, 422, "invalid"),
        ({"symbol": 5}, 422, "invalid"),
        ({"symbol": ""}, 422, "invalid"),
        ({"symbol": "BTC USDT!"}, 422, "invalid"),
        ({"symbol": "BTCUSDT", "symbols": ["BTCUSDT"]}, 422, "invalid"),
        ({"symbols": []}, 422, "invalid"),
        ({"symbols": ["BTCUSDT"] * 4}, 422, "invalid"),
        ({"symbol": "BTCUSDT", "surprise": 1}, 422, "invalid"),
        ({"features": [[1.0]]}, 422, "invalid"),
        ({"features": [[1.0], [1.0, 2.0]], "fingerprint": "x"}, 422, "invalid"),
        ({"features": [[1.0]], "fingerprint": "x"}, 409, "layout_mismatch"),
        ({"features": [[1.0]], "fingerprint": catalog.layout().fingerprint}, 422, "invalid"),
        ({"features": [[]], "fingerprint": catalog.layout().fingerprint}, 422, "invalid"),
        ({"features": [["a"]], "fingerprint": "x"}, 422, "invalid"),
        ({"features": [[1.0]] * 3, "fingerprint": "x"}, 422, "invalid"),
        (b'{"symbol":"' + b"A" * 70_000 + b'"}', 413, "too_large"),
    ],
)
def test_a_bad_request_gets_the_envelope(site: Site, body: Any, status: int, code: str) -> None:
    error_of(site.client.post("/api/v1/predict", body), status, code)


def test_a_body_without_an_announced_length_is_cut_off_too(site: Site) -> None:
    async def chunks() -> Any:
        for _ in range(100):
            yield b"A" * 1_000

    response = site.client("POST", "/api/v1/predict", content=chunks())
    error_of(response, 413, "too_large")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing", 404, "not_found"),
        ("GET", "/api/v1/nothing", 404, "not_found"),
        ("DELETE", "/api/v1/predict", 405, "method_not_allowed"),
        ("GET", "/api/v1/predict", 422, "invalid"),
        ("GET", "/api/v1/signals?limit=0", 422, "invalid"),
        ("GET", "/api/v1/signals?limit=many", 422, "invalid"),
        ("GET", "/api/v1/signals?symbol=NOPEUSDT", 404, "unknown_symbol"),
        ("GET", "/api/v1/predictions/%20", 422, "invalid"),
    ],
)
def test_wrong_ways_get_the_envelope(
    site: Site, method: str, path: str, status: int, code: str
) -> None:
    error_of(site.client(method, path), status, code)


def test_vectors_of_a_client_get_the_model_s_scores(site: Site) -> None:
    matrix = boundary(2).vectors
    rows = [row.astype(float).tolist() for row in matrix]
    fingerprint = catalog.layout().fingerprint
    asked = {"features": rows, "fingerprint": fingerprint}
    body = site.client.post("/api/v1/predict", asked).json()
    exact = site.scorer.score(matrix, catalog.layout().fingerprint)[0]
    assert exact is not None
    np.testing.assert_array_equal(np.array(body["probabilities"], np.float32), exact)
    assert body["horizons_s"] == list(HORIZONS_S)
    required = catalog.layout().names.index("spread_bps")
    rows[0][required] = None
    body = site.client.post("/api/v1/predict", asked).json()
    assert body["probabilities"][0] is None and body["probabilities"][1] is not None


def test_vectors_of_another_layout_are_refused(site: Site) -> None:
    rows = boundary(1).vectors.astype(float).tolist()
    answer = site.client.post("/api/v1/predict", {"features": rows, "fingerprint": "0"})
    details = error_of(answer, 409, "layout_mismatch")
    assert details["layout_fingerprint"] == catalog.layout().only(FEATURES).fingerprint


def test_a_scorer_that_is_away_is_503(site: Site, hot: RedisHot) -> None:
    async def score(matrix: Any, fingerprint: str, symbols: Any = None) -> Scores:
        raise ConnectionError

    client = Client(create_api(site.board, score=score))
    asked = {"features": [[1.0]], "fingerprint": "x"}
    error_of(client.post("/api/v1/predict", asked), 503, "scorer_down")
    error_of(Client(create_api(site.board)).post("/api/v1/predict", asked), 503, "scorer_down")


def test_signals_come_newest_first_each_once_from_stream_and_ledger(site: Site) -> None:
    for at_s in (0, 100, 200):
        site.tell(("BTCUSDT", "ETHUSDT"), at_s)
    older = dict(site.board._hot.last_signals()[-1])
    old_ns = older["boundary_ns"] - SECOND_NS
    only_ledger = {**older, "id": "f" * 32, "boundary_ns": old_ns}
    site.ledger.record([*site.board._hot.last_signals(), only_ledger])
    body = site.client.get("/api/v1/signals").json()
    assert body["count"] == 7
    stamps = [signal["boundary_ns"] for signal in body["signals"]]
    assert stamps == sorted(stamps, reverse=True) and stamps[-1] == old_ns
    assert len({signal["id"] for signal in body["signals"]}) == 7
    eth = site.client.get("/api/v1/signals?symbol=eth/usdt&limit=2").json()["signals"]
    assert [signal["symbol"] for signal in eth] == ["ETHUSDT"] * 2
    since = site.client.get(f"/api/v1/signals?since_ns={stamps[0]}").json()["signals"]
    assert [signal["boundary_ns"] for signal in since] == [stamps[0]] * 2


def test_symbols_lists_what_is_watched(site: Site) -> None:
    site.tell(("BTCUSDT",))
    body = site.client.get("/api/v1/symbols").json()
    assert [line["symbol"] for line in body["symbols"]] == ["BTCUSDT", "ETHUSDT", "SOLUSDT"]
    known, unknown = body["symbols"][:2]
    assert known["bid"] == 100.0 and known["book_state"] == "SYNCED" and not known["stale"]
    assert unknown["bid"] is None and unknown["stale"]


def test_health_says_idle_before_and_ok_after_a_boundary(site: Site) -> None:
    assert site.client.get("/health").json()["status"] == "idle"
    site.tell(("BTCUSDT",))
    site.now_ns += 10_000_000
    body = site.client.get("/health").json()
    assert body["status"] == "ok" and body["model_version"]
    detailed = site.client.get("/health/detailed").json()
    assert detailed["stores"] == {"hot": "ok", "ledger": "ok"}
    assert detailed["books"] == {"SYNCED": 1}
    assert detailed["gate"]["verdicts"] == {"signal": 1}
    assert detailed["model"]["layout_fingerprint"] == catalog.layout().only(FEATURES).fingerprint
    assert "known" not in detailed["gate"]
    assert set(site.client.get("/api/v1/health").json()) == set(body)


def test_features_are_explained_and_say_which_have_a_value_now(site: Site) -> None:
    told = boundary(2)
    column = catalog.layout().names.index("ofi_10s")
    told.vectors[:, column] = np.nan
    told.vectors[0, 0] = np.nan
    site.tell(("BTCUSDT", "ETHUSDT"), boundary=told)
    body = site.client.get("/api/v1/features").json()
    assert body["layout_fingerprint"] == catalog.layout().fingerprint
    assert body["count"] == len(body["features"]) == len(catalog.layout())
    assert body["symbols"] == 2 and body["silent"] == ["ofi_10s"]
    assert body["features"][0]["symbols_known"] == 1
    assert body["features"][column]["symbols_known"] == 0 and body["features"][column]["formula"]


def test_metrics_are_prometheus_text(site: Site) -> None:
    site.tell(("BTCUSDT",))
    site.tell(("BTCUSDT",), 1)
    response = site.client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain")
    found = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }
    assert found["foreshock_verdicts_total", (("reason", "signal"),)] == 1
    assert found["foreshock_verdicts_total", (("reason", "cool_down"),)] == 1
    assert found["foreshock_signals_total", ()] == 1
    assert found["foreshock_symbols", (("book_state", "SYNCED"),)] == 1
    # The note of a boundary goes out with it, and cannot know how long that takes.
    assert found["foreshock_gate_seconds_count", ()] == 1
    assert found["foreshock_gate_seconds_bucket", (("le", "+Inf"),)] == 1
    assert found["foreshock_up", ()] == 1
    assert found["foreshock_verdict_age_seconds", (("symbol", "BTCUSDT"),)] == pytest.approx(0.25)


def test_metrics_tell_how_each_watcher_goes() -> None:
    health = {"clock_offset_s": -1.4, "lag_s": 0.012, "shedding": 1.0}
    facts = {"watchers": {"w-0": {"received_ns": 0, "health": health}, "w-1": {"received_ns": 0}}}
    text = render(facts, {}, {}, 10**9).decode()
    assert 'foreshock_watcher_clock_offset_seconds{watcher="w-0"} -1.4' in text
    assert 'foreshock_watcher_lag_seconds{watcher="w-0"} 0.012' in text
    assert 'foreshock_watcher_shedding{watcher="w-0"} 1.0' in text
    assert 'shedding{watcher="w-1"}' not in text  # it said nothing of itself


def test_docs_need_no_other_host(site: Site) -> None:
    page = site.client.get("/docs")
    assert page.status_code == 200
    assert not re.findall(r"(?:src|href|url)\s*[=(]\s*['\"]?\s*(?:https?:)?//", page.text)
    assert "<script" not in page.text
    for path in ("/api/v1/predict", "/api/v1/signals", "/health", "/metrics"):
        assert f"<code>{path}</code>" in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert site.client.get("/openapi.json").json()["paths"].keys() >= {"/api/v1/predict"}
    assert site.client.get("/").status_code == 307


def test_every_curl_line_of_the_docs_is_answered(site: Site) -> None:
    site.tell(("BTCUSDT",))
    text = site.client.get("/docs").text.replace("&#x27;", "'").replace("&quot;", '"')
    lines = re.findall(r"curl (?:-X (\w+) )?'http://[^/]+(/[^']*)'(?:[^\n]*-d '([^']*)')?", text)
    assert len(lines) >= 8
    for method, path, data in lines:
        more = {"content": data} if data else {}
        assert site.client(method or "GET", path, **more).status_code == 200, (method, path, data)


@pytest.fixture
def dark(tmp_path: Path) -> Iterator[Client]:
    """Doors whose store is away."""
    board = Board(RedisHot("redis://127.0.0.1:1/0", timeout_s=0.2))
    yield Client(create_api(board, symbols=("BTCUSDT",)))
    board.close()


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/predict?symbol=BTCUSDT",
        "/api/v1/predictions/BTCUSDT",
        "/api/v1/signals",
        "/api/v1/symbols",
        "/health",
        "/health/detailed",
    ],
)
def test_without_the_store_doors_say_degraded(dark: Client, path: str) -> None:
    details = error_of(dark.get(path), 503, "store_down")
    assert details["reason"] == "degraded" and details["retry_after_seconds"] > 0


def test_without_the_store_metrics_still_answer(dark: Client) -> None:
    response = dark.get("/metrics")
    assert response.status_code == 200 and "foreshock_up 0.0" in response.text
    assert dark.get("/docs").status_code == 200


def test_a_fault_of_ours_is_500_and_tells_nothing_inside(site: Site) -> None:
    class Broken(Board):
        def verdicts(self) -> Any:
            raise ZeroDivisionError("secret")

    client = Client(create_api(Broken(site.board._hot)))
    response = client.get("/api/v1/predict?symbol=BTCUSDT")
    error_of(response, 500, "internal")
    assert "secret" not in response.text
