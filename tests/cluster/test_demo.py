"""The demo as a user runs it: one real process with its own Ray, sockets, stores and HTTP, attacked
while it runs, then stopped by Ctrl-C, and its recording replayed.

The tests share one running demo and run in the order in which they stand."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmarks._demo import RunningDemo, running_demo

SYMBOLS = 12
SMALL = {
    "simulation.symbols": str(SYMBOLS),
    "training.history_s": "1800",
    "training.trials": "1",
    "labels.horizons_s": "[20, 30]",
    # Half an hour of history holds no sample that the gate would believe; the demo's hour does.
    "training.certificate_rows": "5000",
    "training.promotion.alpha": "0.1",
    "training.promotion.min_trades": "5",
    "training.promotion.min_surges": "10",
    "training.promotion.min_active_periods": "5",
    "training.promotion.max_overfitting": "0.5",
    "retraining.enabled": "true",
    "retraining.schedules": """[
        {name: direction, at: ["00:00"], arguments: [--trials, "1", --no-ray]},
        {name: hopeless, at: ["00:00"], arguments: [--dataset, no/such/place]}]""",
}
PATIENCE_S = 90.0
pytestmark = pytest.mark.timeout(420)


def flags(var: Path) -> list[str]:
    given = {**SMALL, "paths.var_dir": str(var)}
    return [part for key, value in given.items() for part in ("--set", f"{key}={value}")]


def until(what: Callable[[], Any], patience_s: float = PATIENCE_S) -> Any:
    """The first thing that `what` returns and that is true; fails when patience ends."""
    end, last = time.monotonic() + patience_s, None
    while time.monotonic() < end:
        try:
            last = what()
            if last:
                return last
        except httpx.HTTPError as error:
            last = error
        time.sleep(0.3)
    pytest.fail(f"waited {patience_s} s in vain; last: {last!r}")


class Running:
    """The running demo and its doors."""

    def __init__(self, demo: RunningDemo, var: Path) -> None:
        self.demo, self.var = demo, var
        self.api = demo.wait_for("api")
        self.site = self.api.removesuffix("/api/v1")
        self.exchange = demo.wait_for("exchange_rest")
        self.http = httpx.Client(timeout=20)

    def get(self, path: str, **query: Any) -> httpx.Response:
        return self.http.get(self.api + path, params=query)

    def books(self) -> dict[str, dict[str, Any]]:
        """State and epoch by symbol, as the doors tell them."""
        found = self.get("/symbols").json()["symbols"]
        return {entry["symbol"]: entry for entry in found}

    def fault(self, **what: Any) -> None:
        self.http.post(f"{self.exchange}/foreshock/fault", json=what).raise_for_status()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    var = tmp_path_factory.mktemp("var")
    # Known for long and never trained: the midnight that was missed is made up for at once.
    past = [{"schedule": s, "scope": "pooled", "since_ns": 1} for s in ("direction", "hopeless")]
    (var / "retraining.json").write_text(json.dumps(past))
    with running_demo("--keep", *flags(var)) as demo:
        found = Running(demo, var)
        with found.http:
            yield found


def processes_of(session: int) -> dict[int, str]:
    """Processes of a session that are not zombies, with their command lines."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            if int(fields[3]) == session and fields[0] != "Z":
                found[int(entry.name)] = command
    return found


def pids_of(running: Running, title: str) -> list[int]:
    """Processes that this very demo's Ray started, by the beginning of their title."""
    mine = set(descendants(running.demo.process.pid))
    return [pid for pid in mine if command_of(pid).startswith(title)]


def command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def descendants(root: int) -> list[int]:
    """Every process below `root`."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            parents.setdefault(parent, []).append(int(entry.name))
    out, waiting = [], [root]
    while waiting:
        children = parents.get(waiting.pop(), [])
        out += children
        waiting += children
    return out


def test_every_symbol_gets_verdicts_with_probabilities(running: Running) -> None:
    def predicted() -> Any:
        answers = [running.get(f"/predictions/{symbol}") for symbol in running.books()]
        return len(answers) == SYMBOLS and all(a.status_code == 200 for a in answers) and answers

    for answer in until(predicted):
        body = answer.json()
        assert body["symbol"] in running.books()
        text = answer.text
        assert '"probabilit' in text and '"bill' in text and '"reason"' in text


def test_every_door_answers_and_errors_have_one_envelope(running: Running) -> None:
    for path in ("/health", "/health/detailed", "/symbols", "/signals", "/retraining"):
        assert running.get(path).status_code == 200, path
    assert running.http.get(f"{running.site}/health").status_code == 200
    metrics = running.http.get(f"{running.site}/metrics")
    assert metrics.status_code == 200 and "# TYPE foreshock_" in metrics.text
    page = running.http.get(f"{running.site}/docs")
    assert page.status_code == 200 and "/api/v1/predict" in page.text
    for spelled in ("BTCUSDT", "btc/usdt", "BTC/USDT:USDT"):
        answer = running.get("/predict", symbol=spelled)
        assert answer.status_code == 200 and answer.json()["symbol"] == "BTCUSDT"
    refused = [
        running.get("/predictions/NOSUCHUSDT"),
        running.get("/predict"),
        running.http.post(f"{running.api}/predict", content=b"{not json"),
        running.get("/no/such/door"),
    ]
    for answer in refused:
        assert 400 <= answer.status_code < 500
        body = answer.json()
        assert set(body) == {"error", "fallback"}
        assert {"code", "message", "details"} <= set(body["error"])
    assert refused[0].status_code == 404


def test_a_gap_on_one_symbol_touches_no_other(running: Running) -> None:
    before = running.books()
    running.fault(kind="drop_next_depth", symbol="ETHUSDT", count=1)
    until(lambda: running.books()["ETHUSDT"]["book_epoch"] > before["ETHUSDT"]["book_epoch"])
    until(lambda: running.books()["ETHUSDT"]["book_state"] == "SYNCED")
    after = running.books()
    others = set(after) - {"ETHUSDT"}
    assert {s: after[s]["book_epoch"] for s in others} == {
        s: before[s]["book_epoch"] for s in others
    }


def test_rubbish_is_dropped_and_a_cut_connection_comes_back(running: Running) -> None:
    before = running.books()
    running.fault(kind="garbage", symbol="", count=50)
    running.fault(kind="cut", symbol="BTCUSDT")
    until(
        lambda: all(
            now["book_epoch"] > before[s]["book_epoch"] and now["book_state"] == "SYNCED"
            for s, now in running.books().items()
        )
    )


def test_models_are_trained_anew_and_where_that_fails_the_one_that_speaks_goes_on(
    running: Running,
) -> None:
    def ended() -> Any:
        told = running.get("/retraining").json()
        lines = {line["schedule"]: line for line in told["targets"]}
        ran = [line["outcome"] and not line["job"] for line in lines.values()]
        return len(ran) == 2 and all(ran) and lines

    spoke = running.get("/health/detailed").json()["model"]["version"]
    lines = until(ended, 240)
    direction, hopeless = lines["direction"], lines["hopeless"]
    assert direction["cause"] == "schedule" and direction["outcome"] in ("promoted", "kept")
    assert direction["version"] and direction["trained_ns"] > direction["started_ns"]
    assert hopeless["state"] == "failed" and hopeless["failures"] >= 1
    assert "no/such/place" in hopeless["reason"]
    metrics = running.http.get(f"{running.site}/metrics").text
    assert 'foreshock_retraining_failures{schedule="hopeless",scope="pooled"}' in metrics
    assert "foreshock_model_age_seconds" in metrics
    now = running.get("/health/detailed").json()
    # The same data, settings and seed: the same model, bit for bit.
    assert now["model"]["version"] == spoke and now["retraining"]["failing"] == 1
    (model,) = now["models"]
    assert (model["version"], model["scope"], model["expired"]) == (spoke, "pooled", False)
    assert model["age_s"] is not None
    kept = json.loads((running.var / "retraining.json").read_text())
    assert {line["outcome"] for line in kept} == {direction["outcome"], "failed"}
    # Both trainings are in the ledger of trials: one recipe, tried once and then made anew.
    tried = [json.loads(line) for line in (running.var / "trials.jsonl").read_text().splitlines()]
    assert [trial["frozen"] for trial in tried] == [False, True]
    assert len({(trial["alias"], trial["recipe"], trial["data"]) for trial in tried}) == 1


def test_a_training_job_runs_beside_the_demo(running: Running) -> None:
    dataset = next((running.var / "datasets").iterdir())
    out = running.var / "artifacts" / "job"
    command = [
        str(Path(sys.executable).with_name("ray")), "job", "submit",
        "--address", running.demo.wait_for("jobs"), "--working-dir", ".", "--",
        "python", "-m", "pipelines.tune_models", "--dataset", str(dataset), "--out", str(out),
        "--trials", "1",
    ]  # fmt: skip
    done = subprocess.run(
        command,
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "RAY_AUTH_MODE": "disabled", "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert (out / "card.json").exists() and (out / "model.onnx").exists()


def test_a_killed_scorer_heals(running: Running) -> None:
    (scorer, *_) = pids_of(running, "ray::ServeReplica:foreshock:Scorer")
    os.kill(scorer, signal.SIGKILL)
    killed_ns = time.time_ns()
    until(lambda: newest_probability_ns(running) > killed_ns + 2_000_000_000)


def newest_probability_ns(running: Running) -> int:
    """Boundary of the newest prediction of one symbol that carries probabilities."""
    answer = running.get("/predictions/BTCUSDT")
    if answer.status_code != 200 or not answer.json().get("probabilities"):
        return 0
    return int(answer.json()["boundary_ns"])


def test_a_killed_watcher_is_replaced_and_its_symbols_are_watched_again(running: Running) -> None:
    (watcher, *_) = pids_of(running, "ray::_WatcherActor")
    os.kill(watcher, signal.SIGKILL)
    killed_ns = time.time_ns()
    until(lambda: newest_probability_ns(running) > killed_ns)
    until(lambda: all(b["book_state"] == "SYNCED" for b in running.books().values()))
    assert pids_of(running, "ray::_WatcherActor") != [watcher]


def test_ctrl_c_writes_the_outcome_and_leaves_no_process_behind(running: Running) -> None:
    process = running.demo.process
    family = [process.pid, *descendants(process.pid)]
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=120) == 0, "\n".join(running.demo.lines[-30:])
    until(lambda: not [c for pid in family if (c := command_of(pid))], 40)
    until(lambda: not processes_of(process.pid), 40)
    port = int(running.site.rpartition(":")[2])
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0
    outcome = running.demo.outcome()
    assert outcome["symbols"] == SYMBOLS and outcome["verdicts"] > 0
    assert outcome["seconds_to_first_verdict"] > 0
    assert outcome["latency_ms"]["p99"] > 0 and len(outcome["epochs"]) == SYMBOLS


def test_the_recording_replays_bit_for_bit(running: Running) -> None:
    (session,) = (running.var / "recordings").iterdir()
    command = [str(Path(sys.executable).with_name("foreshock")), "replay", str(session), "--json"]
    done = subprocess.run(
        [*command, "--mode", "demo", *flags(running.var)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    report = json.loads(done.stdout)
    assert report["differing_bits"] == 0 and report["first_difference"] is None
    assert report["boundaries"] > 20
    assert report["verdicts"] > 20 * SYMBOLS
