"""The demo as a user runs it: one real process with its own Ray, sockets, stores and HTTP, attacked
while it runs, then ended by Ctrl-C, and its recording replayed.

The tests share one running demo and build on each other: they run in the order in which they stand.
Nothing here waits for a fixed time; deadlines are generous, because machines are slow and busy."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from cluster.first_model import has_model, simulation_domain
from cluster.judging import Judging
from cluster.replay import recordings_in
from foreshock.market.clock import Clock
from foreshock.replay.reconcile import reconcile
from foreshock.settings import load
from foreshock.stores.recordings import open_recording
from pipelines.datasets import write_dataset
from tests.cluster.running_demo import PATIENCE_S, ROOT, RunningDemo, running_demo, until
from tests.reference.training import make_set
from tests.unit.serve.material import train

HORIZONS_S = (10, 20)
SMALL = {"simulation.symbols": "6", "labels.horizons_s": str(list(HORIZONS_S))}
REFUSED = {"not_warm", "book_resyncing", "book_stale", "no_model", "stale", "store_down"}
EXIT_S = 60.0
pytestmark = pytest.mark.timeout(600)


def register_champion(place: Path, settings: dict[str, str]) -> None:
    """A champion that was trained on drawn vectors a second ago: what is tried here is the running,
    not the learning."""
    tree = load({"mode": "demo", **settings, "paths.var_dir": str(place / "var")}).tree
    domain = simulation_domain(tree)
    train(
        tree.paths.under("models"),
        domain,
        horizons_s=HORIZONS_S,
        label_fingerprint=tree.label_settings().fingerprint,
    )
    assert has_model(tree, domain)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDemo]:
    """The running demo."""
    place = tmp_path_factory.mktemp("demo")
    register_champion(place, SMALL)
    with running_demo(place, SMALL, "--keep") as running:
        running.wait_for("api")
        yield running


class Watch:
    """Asks for predictions all the while a block runs, and remembers every answer."""

    def __init__(self, demo: RunningDemo) -> None:
        self._demo, self._over = demo, threading.Event()
        self._thread = threading.Thread(target=self._ask)
        self.answers: list[tuple[int, Any]] = []

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _ask(self) -> None:
        while not self._over.wait(0.1):
            answer = self._demo.get("/predict", symbol="BTCUSDT")
            self.answers.append((answer.status_code, answer.json()))

    def assert_tidy(self) -> None:
        """Each answer is a prediction, or an error in its envelope that says why there is none."""
        assert self.answers
        for status, body in self.answers:
            if status == 200:
                assert body["probabilities"], body
            else:
                assert set(body) == {"error", "fallback"}, body
                assert body["error"]["code"] in REFUSED, body


def comes_back(demo: RunningDemo, after_ns: int) -> Callable[[], bool]:
    """Whether every book stands, and every symbol has a prediction of after that moment."""
    return lambda: demo.synced() and all(demo.newest(s) > after_ns for s in demo.books())


def watched_again(demo: RunningDemo, after_ns: int) -> Callable[[], bool]:
    """Whether every book stands and was judged at a boundary of after that moment; the verdict may
    be that its features are cold."""
    return lambda: all(
        book["book_state"] == "SYNCED" and (book["boundary_ns"] or 0) > after_ns
        for book in demo.books().values()
    )


def test_every_symbol_gets_verdicts_with_probabilities(demo: RunningDemo) -> None:
    until(comes_back(demo, 0))
    symbols = demo.books()
    assert len(symbols) == 6
    for symbol in symbols:
        body = demo.get(f"/predictions/{symbol}").json()
        assert body["symbol"] == symbol and body["domain"] == "simulation/binance-spot/book"
        assert set(body["probabilities"]) == {str(h) for h in HORIZONS_S}
        assert all(0.0 <= p <= 1.0 for p in body["probabilities"].values())
        assert body["horizon_s"] in HORIZONS_S and body["reason"] and body["id"]
        bill = body["bill"]
        parts = ("fees_bps", "spread_bps", "impact_bps", "funding_bps", "latency_bps")
        assert bill["total_bps"] == pytest.approx(sum(bill[part] for part in parts))
        assert bill["fees_bps"] > 0 and body["far_bps"] > 0 and body["near_bps"] > 0
        assert body["book_state"] == "SYNCED" and body["book_epoch"] >= 1


def test_every_door_answers_as_its_page_says(demo: RunningDemo) -> None:
    health = demo.get("/health").json()
    assert health["status"] == "ok" and health["symbols"] == 6 and health["model_version"]
    detailed = demo.get("/health/detailed").json()
    assert detailed["stores"] == {"hot": "ok", "ledger": "ok"}
    assert detailed["books"] == {"SYNCED": 6} and detailed["model"]["horizons_s"] == [10, 20]
    metrics = demo.http.get(f"{demo.site}/metrics").text
    for name in ("foreshock_up 1", "foreshock_verdicts_total{", "foreshock_symbols{"):
        assert name in metrics
    page = demo.http.get(f"{demo.site}/docs")
    assert page.status_code == 200 and "/api/v1/predict" in page.text
    signals = demo.get("/signals", limit=5).json()
    assert signals["count"] == len(signals["signals"]) <= 5
    for spelled in ("BTCUSDT", "btc/usdt", "BTC-USDT", "BTC/USDT:USDT"):
        answer = demo.get("/predict", symbol=spelled)
        assert answer.status_code == 200 and answer.json()["symbol"] == "BTCUSDT"
    predict = f"{demo.urls['api']}/predict"
    both = demo.http.post(predict, json={"symbols": ["ETHUSDT", "NOSUCHUSDT"]}).json()
    assert both["predictions"][0]["probabilities"] and "error" in both["predictions"][1]
    vectors = {
        "fingerprint": detailed["model"]["layout_fingerprint"],
        "features": [[0.0] * 20, [None] * 20],
    }
    scored = demo.http.post(predict, json=vectors).json()
    assert len(scored["probabilities"][0]) == 2 and scored["probabilities"][1] is None


@pytest.mark.parametrize(
    ("status", "code", "ask"),
    [
        (404, "unknown_symbol", lambda d: d.get("/predictions/NOSUCHUSDT")),
        (404, "unknown_symbol", lambda d: d.get("/predict", symbol="NOSUCHUSDT")),
        (404, "not_found", lambda d: d.get("/no/such/door")),
        (405, "method_not_allowed", lambda d: d.http.delete(d.urls["api"] + "/signals")),
        (422, "invalid", lambda d: d.get("/predict")),
        (422, "invalid", lambda d: d.get("/signals", limit=0)),
        (400, "bad_json", lambda d: d.http.post(d.urls["api"] + "/predict", content=b"{no")),
        (422, "invalid", lambda d: d.http.post(d.urls["api"] + "/predict", json={"a": 1})),
        (
            409,
            "layout_mismatch",
            lambda d: d.http.post(
                d.urls["api"] + "/predict", json={"fingerprint": "x", "features": [[0.0] * 20]}
            ),
        ),
    ],
)
def test_an_error_is_an_envelope(demo: RunningDemo, status: int, code: str, ask: Any) -> None:
    answer = ask(demo)
    body = answer.json()
    assert (answer.status_code, body["error"]["code"]) == (status, code)
    assert set(body) == {"error", "fallback"}
    assert body["error"]["message"] and isinstance(body["error"]["details"], dict)
    assert set(body["fallback"]) == {"regime", "confidence", "recommendation"}


def test_a_gap_on_one_symbol_touches_no_other(demo: RunningDemo) -> None:
    before = demo.epochs()
    demo.fault(kind="drop_next_depth", symbol="ETHUSDT", count=1)
    until(lambda: demo.epochs()["ETHUSDT"] > before["ETHUSDT"])
    until(demo.synced)
    after = demo.epochs()
    assert after.pop("ETHUSDT") == before.pop("ETHUSDT") + 1
    assert after == before


def test_a_killed_supervisor_starts_again_and_all_is_watched_anew(demo: RunningDemo) -> None:
    (supervisor,) = demo.family("ray::Supervisor")
    with Watch(demo) as watch:
        os.kill(supervisor, signal.SIGKILL)
        until(lambda: demo.family("ray::Supervisor") not in ([], [supervisor]))
        until(watched_again(demo, Clock().now_ns()))
    watch.assert_tidy()
    until(lambda: len(demo.family("ray::_WatcherActor")) == 1)


def test_rubbish_is_dropped_and_touches_no_book(demo: RunningDemo) -> None:
    before = demo.epochs()
    demo.fault(kind="garbage", count=50)
    until(watched_again(demo, Clock().now_ns()))
    assert demo.epochs() == before


def test_a_cut_connection_comes_back_with_every_book_in_a_new_epoch(demo: RunningDemo) -> None:
    before = demo.epochs()
    demo.fault(kind="cut", symbol="BTCUSDT")
    until(lambda: demo.epochs() == {symbol: epoch + 1 for symbol, epoch in before.items()})
    until(watched_again(demo, Clock().now_ns()))


def test_a_killed_scorer_heals_and_no_answer_is_an_accident(demo: RunningDemo) -> None:
    scorers = demo.family("ray::ServeReplica:foreshock:Scorer")
    with Watch(demo) as watch:
        for scorer in scorers:
            os.kill(scorer, signal.SIGKILL)
        until(lambda: set(demo.family("ray::ServeReplica:foreshock:Scorer")) - set(scorers))
        until(comes_back(demo, Clock().now_ns()))
    watch.assert_tidy()


def test_a_killed_watcher_is_replaced_and_its_symbols_are_watched_again(demo: RunningDemo) -> None:
    (watcher,) = demo.family("ray::_WatcherActor")
    with Watch(demo) as watch:
        os.kill(watcher, signal.SIGKILL)
        until(watched_again(demo, Clock().now_ns()))
    watch.assert_tidy()
    assert watcher not in demo.family("ray::_WatcherActor")


def test_a_watcher_that_is_stopped_and_dies_for_nobody_is_replaced(demo: RunningDemo) -> None:
    (watcher,) = demo.family("ray::_WatcherActor")
    os.kill(watcher, signal.SIGSTOP)
    until(watched_again(demo, Clock().now_ns()))
    until(lambda: watcher not in demo.family("ray::_WatcherActor"))


def test_a_training_job_runs_beside_the_demo(demo: RunningDemo, tmp_path: Path) -> None:
    dataset, out = tmp_path / "dataset", tmp_path / "artifact"
    write_dataset(dataset, make_set(steps=900))
    done = subprocess.run(
        [str(Path(sys.executable).with_name("ray")), "job", "submit",
         "--address", demo.urls["jobs"], "--working-dir", ".", "--",
         "python", "-m", "pipelines.tune_models", "--dataset", str(dataset), "--out", str(out),
         "--trials", "1"],
        cwd=ROOT, capture_output=True, text=True, timeout=400,
        env={k: v for k, v in os.environ.items() if not k.startswith("RAY_")},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "succeeded" in done.stdout
    assert (out / "card.json").exists() and (out / "model.onnx").exists()
    until(comes_back(demo, Clock().now_ns()))


def test_ctrl_c_writes_the_outcome_and_leaves_nothing_behind(demo: RunningDemo) -> None:
    assert len(demo.family()) > 10
    demo.press_ctrl_c()
    assert demo.process.wait(timeout=EXIT_S) == 0, "\n".join(demo.lines[-30:])
    until(lambda: not demo.family(), 30)
    for url in demo.urls.values():
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", urlsplit(url).port or 0)) != 0, url
    outcome = demo.outcome()
    assert outcome["symbols"] == 6 and outcome["seconds_to_first_verdict"] > 0
    assert outcome["rows"] > outcome["frames"] > 0
    assert outcome["vectors"] >= outcome["verdicts"] > 0
    assert outcome["verdicts"] == outcome["signals"] + sum(outcome["refusals"].values())
    assert 0 < outcome["latency_ms"]["p50"] <= outcome["latency_ms"]["p99"]
    assert len(outcome["epochs"]) == 6 and min(outcome["epochs"].values()) >= 1
    assert outcome["books"] == {"SYNCED": 6}
    assert outcome["restarts"] == 2  # one was killed and one was stopped
    assert outcome["frames_by_outcome"]["malformed"] >= 10
    assert {"precision", "recall"} <= set(outcome["truth"])
    assert outcome["urls"] == demo.urls


def test_the_recording_replays_bit_for_bit(demo: RunningDemo) -> None:
    tree = demo.config
    recordings = [open_recording(at) for at in recordings_in(tree.paths.under("recordings"))]
    assert len(recordings) == 4  # of four watchers, one behind the other
    reports = [reconcile(one, Judging.of(one, tree)) for one in recordings]
    assert [(report.first, report.holes) for report in reports] == [(None, 0)] * 4
    for report in reports:
        assert report.compared["vectors"] == report.compared["bill_inputs"] > 3
        assert report.compared["probabilities"] > 0 and report.compared["verdicts"] > 0


@pytest.mark.parametrize("moment", ["starting Ray", "starting the watchers"])
def test_ctrl_c_while_it_starts_leaves_nothing_behind(tmp_path: Path, moment: str) -> None:
    settings = {**SMALL, "simulation.symbols": "2"}
    place = tmp_path / "demo"
    register_champion(place, settings)
    with running_demo(place, settings) as starting:
        until(lambda: any(moment in line for line in starting.lines))
        starting.press_ctrl_c()
        assert starting.process.wait(timeout=EXIT_S) == 1, "\n".join(starting.lines[-30:])
        until(lambda: not starting.family(), 30)
        assert starting.outcome()["seconds_to_first_verdict"] is None


@pytest.mark.recordings
def test_a_recorded_session_is_played_and_judged_without_a_model(
    tmp_path: Path, recordings: Path
) -> None:
    session = recordings / "ws_raw" / "hftbacktest" / "usdm" / "btcusdt_20230404.dat.gz"
    flags = ("--recording", str(session), "--speed", "5", "--for", "5s")
    with running_demo(tmp_path / "demo", {}, *flags) as playing:
        assert playing.process.wait(timeout=PATIENCE_S) == 0, "\n".join(playing.lines[-30:])
        outcome = playing.outcome()
    assert outcome["domain"] == "binance/binance-usdm/book" and outcome["truth"] is None
    assert outcome["books"] == {"SYNCED": 1} and outcome["epochs"] == {"BTCUSDT": 1}
    assert outcome["signals"] == 0 and outcome["refusals"]["no_model"] > 0
    assert outcome["rows"] > outcome["frames"] > 1_000
