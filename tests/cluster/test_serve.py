"""The doors, the gate and the scorer on a real cluster, with HAProxy before them."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from foreshock.costs.total import CostSettings
from foreshock.engine.message import BoundaryMessage
from foreshock.features import catalog
from foreshock.signals.gate import GateSettings
from foreshock.stores.embedded_redis import EmbeddedRedis
from foreshock.stores.ledger import Ledger
from tests.unit.serve.material import DOMAIN, boundary, recorded, train

pytestmark = pytest.mark.timeout(300)
SYMBOLS = ("BTCUSDT", "ETHUSDT")
EASY = GateSettings(
    probability_threshold=0.0,
    utility_threshold_bps=-1e9,
    cool_down_s=3_600.0,
    costs=CostSettings(taker_fee_bps=0.0, funding_interval_h=0.0),
)


@dataclass
class Running:
    """A deployed application with its stores."""

    site: Any
    models: Path
    ledger: Path
    client: httpx.Client
    at_s: int = 0

    def tell(self, **more: Any) -> dict[str, Any]:
        """The next boundary through the gate; its summary."""
        self.at_s += 1
        given = {"watcher": "w0", "symbols": SYMBOLS, "domain": DOMAIN, "live": False}
        given |= {"boundary": boundary(len(more.get("symbols", SYMBOLS)), self.at_s)} | more
        summary: dict[str, Any] = self.site.gate.judge.remote(BoundaryMessage(**given)).result(
            timeout_s=60
        )
        return summary

    def tell_until(self, wanted: Any, seconds: float = 90.0) -> dict[str, Any]:
        """Boundaries until one's summary is as wanted. Calls that find nobody are made again."""
        from ray.exceptions import RayActorError

        deadline = time.monotonic() + seconds
        while True:
            summary: dict[str, Any] = {}
            try:
                summary = self.tell()
            except RayActorError:
                time.sleep(0.2)
            if summary and wanted(summary):
                return summary
            assert time.monotonic() < deadline, summary
            time.sleep(0.1)


@pytest.fixture(scope="module")
def running(
    local_ray: Any, serve_port: int, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    from serve.app import Wiring, deploy, undeploy
    from serve.settings import ServeSettings

    place = tmp_path_factory.mktemp("serve")
    train(place / "models", seed=1)
    with EmbeddedRedis() as redis:
        wiring = Wiring(
            redis_url=redis.url,
            ledger=place / "ledger.sqlite",
            registry_dir=place / "models",
            domain=DOMAIN,
            symbols=(*SYMBOLS, "SOLUSDT"),
            gate=EASY,
        )
        site = deploy(ServeSettings(port=serve_port), wiring)
        with httpx.Client(base_url=site.url, timeout=20.0) as client:
            yield Running(site, place / "models", place / "ledger.sqlite", client)
        undeploy()


def test_the_services_leave_room_for_a_training_job(running: Running, local_ray: Any) -> None:
    free = local_ray.available_resources()["CPU"]
    assert local_ray.cluster_resources()["CPU"] - free <= 0.4 + 1e-6


def test_haproxy_is_before_the_doors(running: Running) -> None:
    assert running.site.haproxy
    port = os.environ["RAY_SERVE_HAPROXY_METRICS_PORT"]
    line = r'^haproxy_frontend_http_requests_total\{proxy="http_frontend"\} (\d+)'
    counted = 0
    deadline = time.monotonic() + 30.0
    # Each change of the routes starts HAProxy anew beside the old one: the two answer by turns.
    while not counted and time.monotonic() < deadline:
        running.client.get("/health")
        told = httpx.get(f"http://127.0.0.1:{port}/metrics").text
        found = re.search(line, told, re.MULTILINE)
        counted = int(found[1]) if found else 0
    assert counted > 0


def test_a_boundary_goes_in_at_the_gate_and_comes_out_at_every_door(running: Running) -> None:
    summary = running.tell()
    assert summary["probabilities"] and summary["verdicts"] == 2, summary
    get = running.client.get
    prediction = get("/api/v1/predict", params={"symbol": "btc/usdt"}).json()
    assert prediction["symbol"] == "BTCUSDT" and len(prediction["probabilities"]) == 2
    assert get("/api/v1/predictions/ETH/USDT:USDT").json()["symbol"] == "ETHUSDT"
    several = running.client.post("/api/v1/predict", json={"symbols": list(SYMBOLS)}).json()
    assert [each["symbol"] for each in several["predictions"]] == list(SYMBOLS)
    assert get("/api/v1/signals").json()["count"] == 2
    assert get("/api/v1/symbols").json()["count"] == 3
    assert get("/health").json()["status"] == "ok"
    assert get("/health/detailed").json()["stores"] == {"hot": "ok", "ledger": "ok"}
    assert "foreshock_verdicts_total" in get("/metrics").text
    assert "<h1>" in get("/docs").text


def test_errors_keep_their_envelope_behind_the_proxy(running: Running) -> None:
    cases = {
        "/api/v1/predict?symbol=SOLUSDT": (409, "not_warm"),
        "/api/v1/predict?symbol=NOPEUSDT": (404, "unknown_symbol"),
        "/api/v1/predict": (422, "invalid"),
        "/nowhere": (404, "not_found"),
    }
    for path, expected in cases.items():
        response = running.client.get(path)
        assert (response.status_code, response.json()["error"]["code"]) == expected
        assert set(response.json()["fallback"]) == {"regime", "confidence", "recommendation"}


def test_vectors_of_a_client_reach_the_scorer(running: Running) -> None:
    fingerprint = catalog.layout().fingerprint  # what the watchers speak; the model reads its own
    rows = boundary(3).vectors.astype(float).tolist()
    asked = {"features": rows, "fingerprint": fingerprint}
    answer = running.client.post("/api/v1/predict", json=asked).json()
    assert len(answer["probabilities"]) == 3
    narrow = {"features": [[1.0, 2.0]], "fingerprint": fingerprint}
    refused = running.client.post("/api/v1/predict", json=narrow)
    assert refused.status_code == 422
    assert refused.json()["error"]["message"].startswith("vectors are")


def test_recorded_boundaries_pass_through(running: Running, recordings: Path) -> None:
    symbols, found = recorded(recordings)
    given = {"symbols": symbols, "watcher": "w1"}
    summaries = [running.tell(boundary=each, **given) for each in found[5:60:6]]
    assert summaries[-1]["probabilities"]
    assert {reason for s in summaries for reason in s["reasons"]} <= {
        "cold", "book_resyncing", "signal", "cool_down", "duplicate",
    }  # fmt: skip


def test_a_new_champion_speaks_without_a_restart(running: Running) -> None:
    pid = running.site.scorer.whoami.remote().result(timeout_s=20)
    card = train(running.models, seed=2)
    running.tell_until(lambda summary: summary["model_version"] == card.version)
    assert running.site.scorer.whoami.remote().result(timeout_s=20) == pid


def test_killed_replicas_come_back_and_nothing_is_said_twice(running: Running) -> None:
    running.tell()
    before = running.client.get("/api/v1/signals").json()["signals"]
    scorer = running.site.scorer.whoami.remote().result(timeout_s=20)
    gate = running.site.gate.whoami.remote().result(timeout_s=20)
    os.kill(scorer, signal.SIGKILL)
    refusal = running.tell()
    assert not refusal["probabilities"] and refusal["reasons"] == {"no_model": 2}
    os.kill(gate, signal.SIGKILL)
    back = running.tell_until(lambda summary: summary["probabilities"])
    assert back["reasons"] == {"cool_down": 2}, "the cool-down outlived the gate"
    assert running.site.gate.whoami.remote().result(timeout_s=20) != gate
    after = running.client.get("/api/v1/signals").json()["signals"]
    assert after == before
    ledger = Ledger(running.ledger)
    kept = {line["id"] for line in ledger.signals(limit=1_000)}
    ledger.close()
    assert {line["id"] for line in before} <= kept


def test_a_killed_ingress_comes_back_and_the_proxy_keeps_the_envelope(running: Running) -> None:
    running.tell()
    os.kill(_ingress(), signal.SIGKILL)
    answers = []
    deadline = time.monotonic() + 60
    while not (answers and answers[-1].status_code == 200):
        assert time.monotonic() < deadline
        try:
            answers.append(httpx.get(f"{running.site.url}/api/v1/symbols", timeout=20.0))
        except httpx.RemoteProtocolError:
            continue  # cut off in the middle: what a client takes as a reason to ask again
        time.sleep(0.05)
    for refused in answers[:-1]:
        assert refused.status_code == 503
        assert refused.json()["error"]["details"]["reason"] == "no_replica"
        assert "retry-after" in refused.headers


def _ingress() -> int:
    """Process id of this run's HTTP replica, by the title that Ray gives it."""
    mark = f"FORESHOCK_TEST_RUN={os.environ['FORESHOCK_TEST_RUN']}".encode()
    for place in Path("/proc").iterdir():
        try:
            if (
                place.name.isdigit()
                and b"ServeReplica:foreshock:Api" in (place / "cmdline").read_bytes()
                and mark in (place / "environ").read_bytes()
            ):
                return int(place.name)
        except OSError:
            continue
    raise AssertionError("there is no ingress")
