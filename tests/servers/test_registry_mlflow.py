"""foreshock.stores.registry_mlflow against a real MLflow server, whenever it goes away.

The server is the one of FORESHOCK_TEST_MLFLOW_URL and is shared: names are a test's own. MLflow is
imported in processes of their own, which print one line of JSON and, if it keeps quiet, no other.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from foreshock.stores.registry import CHAMPION, DirectoryRegistry

URL = os.environ.get("FORESHOCK_TEST_MLFLOW_URL")
pytestmark = [
    pytest.mark.servers,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not URL, reason="FORESHOCK_TEST_MLFLOW_URL names no MLflow server"),
]

CARD_OF = {
    "domain": {"source": "simulation", "market": "binance-spot", "tier": "book"},
    "horizons_s": [60],
    "feature_names": ["a"],
    "required_features": ["a"],
    "layout_fingerprint": "l",
    "label_fingerprint": "s",
    "data_fingerprint": "d",
    "thresholds": [0.5],
    "approved": [True],
    "base_rates": [0.1],
    "metrics": {"60": {"skill": 0.1}},
    "spans_ns": {},
    "trials": 2,
    "settings": {},
    "promoted": True,
    "reason": "because",
}

COMMON = '''
import hashlib, json, os, random, sys, tempfile, time, warnings
from pathlib import Path
from foreshock.stores.registry import DirectoryRegistry, open_registry
from foreshock.stores.registry_mlflow import EXPERIMENT, client_of, model_name
from foreshock.stores.registry_runs import Run

warnings.simplefilter("ignore")
root, uri, mark = Path(sys.argv[1]), sys.argv[2], sys.argv[3]

def train(registry, name, version, verdict="promoted"):
    """What a training leaves, in its order: a version, a champion if it is good, a run."""
    artifact = Path(tempfile.mkdtemp(dir=registry.root.parent))
    (artifact / "card.json").write_text(json.dumps({"verdict": verdict, "reason": "because"}))
    (artifact / "model.onnx").write_bytes(b"graph of " + version.encode())
    registry.register(name, version, artifact)
    if verdict == "promoted":
        registry.promote(name, version, "test", "better")
    registry.log_run(Run(
        name, 10**18, 10**18 + 10**9, params={"seed": version, "walk": {"folds": 5}},
        metrics={"60/skill": 0.1}, tags={"verdict": verdict}, models=((name, version),),
        files={"plots/roc.png": b"png", "report.html": b"<html>"}))

def told(*names):
    """What the server says of these models and of the runs that made them."""
    client, out = client_of(uri), {}
    for name in names:
        theirs = model_name(name)
        model = client.get_registered_model(theirs)
        versions = client.search_model_versions(f"name='{theirs}'")
        ours = {str(v.version): v.tags["foreshock.version"] for v in versions}
        runs = [client.get_run(v.run_id) for v in versions]
        out[name] = {
            "versions": sorted(ours.values()),
            "aliases": {alias: ours[str(n)] for alias, n in model.aliases.items()},
            "tags": {v.tags["foreshock.version"]: dict(v.tags) for v in versions},
            "graphs": {v.tags["foreshock.version"]: graph_of(client, v) for v in versions},
            "params": sorted(r.data.params["seed"] for r in runs if "seed" in r.data.params),
            "folds": sorted({r.data.params.get("walk.folds") for r in runs} - {None}),
            "metrics": sorted({r.data.metrics["60/skill"] for r in runs if r.data.metrics}),
            "states": sorted({r.info.status for r in runs}),
            "plots": sorted({f.path for r in runs
                             for f in client.list_artifacts(r.info.run_id, "plots")}),
        }
    return out

def graph_of(client, version):
    folder = version.source.split("/artifacts/")[1]
    with tempfile.TemporaryDirectory() as place:
        path = client.download_artifacts(version.run_id, folder + "/model.onnx", place)
        return Path(path).read_bytes().decode()

def runs_of(name):
    """Our ids of the runs of a name on the server, the bare ones of versions without a run too."""
    client = client_of(uri)
    experiment = client.get_experiment_by_name(EXPERIMENT).experiment_id
    return [r.data.tags["foreshock.run"] for r in client.search_runs([experiment], max_results=1000)
            if name in r.info.run_name]
'''

# Forwards to the real server until so many answers have come back; the next one is lost on its way,
# and from then on nobody is there.
RELAY = """
import socket, threading
from urllib.parse import urlsplit

class Relay:
    def __init__(self, url):
        self.to = urlsplit(url).hostname, urlsplit(url).port
        self.door = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.door.getsockname()[1]}"
        self.left = 0
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            near, _ = self.door.accept()
            if self.left <= 0:
                near.close()
                continue
            far = socket.create_connection(self.to)
            for work in (self.ask, self.answer):
                threading.Thread(target=work, args=(near, far), daemon=True).start()

    def ask(self, near, far):
        try:
            while body := near.recv(1 << 16):
                far.sendall(body)
        except OSError:
            pass
        far.close()

    def answer(self, near, far):
        try:
            while body := far.recv(1 << 16):
                self.left -= 1
                if self.left < 0:
                    break
                near.sendall(body)
        except OSError:
            pass
        for end in (near, far):  # a thread that waits in recv is not woken by close
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            end.close()
"""


def python(program: str, root: Path, mark: str, url: str | None = URL) -> Any:
    """The one line that a program of ours prints, from JSON."""
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    env.pop("MLFLOW_TRACKING_URI", None)
    root.parent.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-c", COMMON + program, str(root), str(url), mark],
        capture_output=True, text=True, env=env, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def mark() -> str:
    """A word that no other test has in its names."""
    return f"t{secrets.token_hex(4)}"


@pytest.fixture
def dead_url() -> str:
    """Where nobody listens, with a password."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    return f"http://ann:secret-word@127.0.0.1:{port}"


def test_a_server_holds_what_the_directory_holds(tmp_path: Path, mark: str) -> None:
    program = """
names = [f"{mark}.binance.usdm@group:liquid", f"{mark}.现货.币安人生USDT"]
registry = open_registry(root, uri)
for name in names:
    train(registry, name, "0.1.0+aa")
    train(registry, name, "0.2.0+bb")
train(registry, names[0], "0.3.0+cc", "refused")
registry.point(names[0], "challenger", "0.3.0+cc")
registry.rollback(names[1], "ann", "worse")
new = registry.record()
print(json.dumps({"told": told(*names), "new": new, "again": registry.record(),
                  "runs": runs_of(mark)}))
"""
    root = tmp_path / "models"
    found = python(program, root, mark)
    registry = DirectoryRegistry(root)
    for name, theirs in found["told"].items():
        assert theirs["versions"] == sorted(registry.versions(name))
        assert theirs["aliases"] == registry.aliases(name)
        assert theirs["graphs"] == {v: f"graph of {v}" for v in theirs["versions"]}
        assert theirs["params"] == theirs["versions"]
        assert (theirs["folds"], theirs["metrics"]) == (["5"], [0.1])
        assert (theirs["states"], theirs["plots"]) == (["FINISHED"], ["plots/roc.png"])
    liquid, coin = found["told"].values()
    assert liquid["aliases"] == {"champion": "0.2.0+bb", "challenger": "0.3.0+cc"}
    assert liquid["tags"]["0.3.0+cc"]["verdict"] == "refused"
    assert coin["aliases"] == {"champion": "0.1.0+aa"}
    assert "ann: rollback champion: worse" in coin["tags"]["0.1.0+aa"]["foreshock.champion"]
    assert found["again"] == {"runs": 0, "versions": 0, "aliases": 0}
    # Each version hangs on the run that made it, none on one that was made up for it.
    assert len(found["runs"]) == len(set(found["runs"])) == 5
    assert not [run for run in found["runs"] if run.startswith("model:")]


def test_a_server_lost_at_any_answer_is_caught_up_with_and_each_thing_is_there_once(
    tmp_path: Path, mark: str
) -> None:
    program = """
import logging
import foreshock.stores.registry_mlflow as room
from foreshock.errors import StoreError

logging.disable()
room._PAUSE_S = 0.0
relay, names, lost = Relay(uri), [], 0
for answers in range(0, 42, 3):
    place = root.with_name(f"models-{answers}")
    relay.left, name = answers, f"{mark}-{answers:02d}"
    train(open_registry(place, relay.url), name, "1")
    names.append(name)
    lost += relay.left < 0
    relay.left = 10**9
    open_registry(place, relay.url).record()
print(json.dumps({"told": told(*names), "lost": lost, "runs": runs_of(mark)}))
"""
    found = python(RELAY + program, tmp_path / "models", mark)
    assert found["lost"] >= 9  # the others were given answers enough
    assert len(found["told"]) == 14
    for name, theirs in found["told"].items():
        assert (theirs["versions"], theirs["aliases"]) == (["1"], {"champion": "1"}), name
        assert theirs["graphs"] == {"1": "graph of 1"}, name
        assert "test: promote champion: better" in theirs["tags"]["1"]["foreshock.champion"], name
        assert theirs["states"] == ["FINISHED"], name
    ours = [r for r in found["runs"] if not r.startswith("model:")]
    assert len(ours) == len(set(ours)) == 14


def test_processes_and_machines_tell_one_server_at_once(tmp_path: Path, mark: str) -> None:
    program = """
client_of(uri)
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import mlflow.store.tracking.rest_store, mlflow.store.model_registry.rest_store

def forked(place, version):
    if (pid := os.fork()) == 0:
        try:
            train(open_registry(place, uri), mark, version)
            os._exit(0)
        except BaseException as error:
            print(repr(error), file=sys.stderr)
            os._exit(1)
    return pid

here, there = root.with_name("here"), root.with_name("there")
children = [forked(place, f"{place.name}-{n}") for n in range(3) for place in (here, there)]
codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
for place in (there, here):
    (place / "mlflow.json").unlink(missing_ok=True)
    open_registry(place, uri).record()
print(json.dumps({"codes": codes, "told": told(mark)[mark], "runs": runs_of(mark)}))
"""
    found = python(program, tmp_path / "models", mark)
    assert found["codes"] == [0] * 6
    theirs = found["told"]
    expected = sorted(f"{place}-{n}" for place in ("here", "there") for n in range(3))
    assert theirs["versions"] == expected
    assert theirs["graphs"] == {version: f"graph of {version}" for version in expected}
    # Whoever told it last says who is champion.
    assert theirs["aliases"] == DirectoryRegistry(tmp_path / "here").aliases(mark)
    ours = [r for r in found["runs"] if not r.startswith("model:")]
    assert len(ours) == len(set(ours)) == 6


def test_the_verbs_tell_the_server_and_do_without_it(
    tmp_path: Path, mark: str, dead_url: str
) -> None:
    registry = DirectoryRegistry(tmp_path / "models")
    for version in ("0.1.0", "0.2.0"):
        card = json.dumps({**CARD_OF, "name": mark, "version": version})
        artifact = tmp_path / version
        artifact.mkdir()
        (artifact / "card.json").write_text(card)
        (artifact / "model.onnx").write_text(f"graph of {version}")
        registry.register(mark, version, artifact)

    def verb(*words: str, url: str | None = URL) -> tuple[Any, str]:
        given = [sys.executable, "-c", "import cluster.main as m; m.main()", "models"]
        given += [*words, "--json", "--set", f"paths.var_dir={tmp_path}"]
        given += ["--set", f"registry.mlflow={url}"]
        done = subprocess.run(given, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout), done.stderr

    answer, told = verb("promote", "0.1.0", "--actor", "ann", "--reason", "first", url=dead_url)
    assert (answer["version"], answer["recorded"], answer["audited"]) == ("0.1.0", False, True)
    assert "secret-word" not in told
    answer, _ = verb("promote", "0.2.0", "--actor", "ann", "--reason", "better")
    assert (answer["version"], answer["recorded"]) == ("0.2.0", True)
    answer, _ = verb("rollback", mark, "--actor", "ann", "--reason", "worse")
    assert (answer["version"], answer["recorded"]) == ("0.1.0", True)
    theirs = python("print(json.dumps(told(mark)[mark]))", tmp_path / "models", mark)
    assert theirs["versions"] == ["0.1.0", "0.2.0"]
    assert theirs["aliases"] == registry.aliases(mark) == {CHAMPION: "0.1.0"}
    for version, words in (("0.1.0", "rollback champion: worse"), ("0.2.0", "promote champion")):
        assert words in theirs["tags"][version]["foreshock.champion"]
    assert "secret-word" not in "".join(
        path.read_text() for path in (tmp_path / "models").glob("*.json")
    )
