"""foreshock.stores.registry_mlflow: MLflow is made like the directory, whoever is killed meanwhile.

MLflow takes three seconds to import: one process does so, whose children are forked, and killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from foreshock.errors import StoreError
from foreshock.stores.registry import CHAMPION, DirectoryRegistry, open_registry
from foreshock.stores.registry_mlflow import model_name
from foreshock.stores.registry_runs import Run

COMMON = '''
import json, os, random, signal, sys, time, warnings
from pathlib import Path
from foreshock.stores.ledger import Ledger
from foreshock.stores.registry import DirectoryRegistry, open_registry
from foreshock.stores.registry_mlflow import client_of, local_uri
from foreshock.stores.registry_runs import Run

warnings.simplefilter("ignore")
root = Path(sys.argv[1])
scratch = root.parent

def opened():
    return open_registry(root, ledger=lambda: Ledger(scratch / "ledger.sqlite"))

def train(registry, name, version):
    """What a training leaves: a version, a run, a champion."""
    artifact = scratch / f"{name}-{version}"
    artifact.mkdir(exist_ok=True)
    (artifact / "card.json").write_text(json.dumps({"verdict": "promoted", "reason": "good"}))
    (artifact / "model.onnx").write_bytes(b"graph of " + version.encode())
    registry.register(name, version, artifact)
    registry.log_run(Run(name, 10**18, 10**18 + 1, params={"seed": version}, metrics={"skill": 0.1},
                         models=((name, version),), files={"plots/roc.png": b"png"}))
    registry.promote(name, version, "test", "better")

def told():
    """What MLflow holds: {name: {versions: [...], champion}}, and its runs by our id."""
    client, out = client_of(local_uri(root)), {}
    for model in client.search_registered_models():
        found = client.search_model_versions(f"name='{model.name}'")
        by_number = {str(v.version): v for v in found}
        champion = by_number[str(model.aliases["champion"])]
        files = {f.path for v in found for f in client.list_artifacts(
            v.run_id, v.source.split("/artifacts/")[1])}
        out[model.name] = {
            "versions": sorted(v.tags["foreshock.version"] for v in found),
            "champion": champion.tags["foreshock.version"],
            "tag": champion.tags["foreshock.champion"],
            "files": sorted(f.rpartition("/")[2] for f in files),
        }
    experiment = client.get_experiment_by_name("foreshock").experiment_id
    runs = client.search_runs([experiment])
    ids = [r.data.tags["foreshock.run"] for r in runs]
    full = [r for r in runs if not r.data.tags["foreshock.run"].startswith("model:")]
    return {"models": out, "runs": sorted(ids), "bare": len(runs) - len(full),
            "plots": [client.list_artifacts(r.info.run_id, "plots")[0].path for r in full],
            "params": sorted(r.data.params["seed"] for r in full)}
'''

# Children are forked with MLflow imported, never with one of its connections open.
IMPORTED = """
client_of(local_uri(root))
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import mlflow.store.model_registry.sqlalchemy_store, mlflow.store.tracking.sqlalchemy_store

def forked(work):
    if (pid := os.fork()) == 0:
        try:
            work()
            os._exit(0)
        except BaseException as error:
            print(repr(error), file=sys.stderr)
            os._exit(1)
    return pid

def code_of(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
"""

SEVERAL = """
children = [forked(lambda: train(opened(), "m", f"0.{n}")) for n in range(4)]
codes = [code_of(pid) for pid in children]
opened().record()
print(json.dumps({"codes": codes, **told()}))
"""

KILLED = """
rng, codes = random.Random(7), []
opened().record()
for n in range(16):
    pid = forked(lambda: train(opened(), "m", f"0.{n:02d}"))
    time.sleep(rng.uniform(0.0, 1.2))
    os.kill(pid, signal.SIGKILL)
    codes.append(code_of(pid))
code_of(forked(lambda: train(opened(), "m", "1.0")))
registry = opened()
registry.tell_ledger()
registry.record()
audit = [e["detail"]["number"] for e in Ledger(scratch / "ledger.sqlite").audit_trail()]
print(json.dumps({"codes": codes, "audit": sorted(audit), **told()}))
"""


def python(program: str, root: Path) -> Any:
    """The last line that a program of ours prints, from JSON."""
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    env.pop("MLFLOW_TRACKING_URI", None)
    done = subprocess.run(
        [sys.executable, "-c", COMMON + program, str(root)],
        capture_output=True, text=True, env=env, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.timeout(300)
def test_four_processes_at_once_leave_all_that_they_did(tmp_path: Path) -> None:
    found = python(IMPORTED + SEVERAL, tmp_path / "models")
    registry = DirectoryRegistry(tmp_path / "models")
    assert found["codes"] == [0, 0, 0, 0]
    theirs = found["models"]["m"]
    assert theirs["versions"] == sorted(registry.versions("m")) == ["0.0", "0.1", "0.2", "0.3"]
    assert theirs["champion"] == registry.aliases("m")[CHAMPION]
    assert theirs["files"] == ["card.json", "model.onnx"]
    assert "test: promote champion: better" in theirs["tag"]
    assert [change.number for change in registry.history("m")] == [1, 2, 3, 4]
    assert len(found["runs"]) == len(set(found["runs"])) == 4 + found["bare"]
    assert found["plots"] == ["plots/roc.png"] * 4
    assert found["params"] == theirs["versions"]


@pytest.mark.timeout(300)
def test_processes_that_are_killed_leave_nothing_half_done(tmp_path: Path) -> None:
    found = python(IMPORTED + KILLED, tmp_path / "models")
    registry = DirectoryRegistry(tmp_path / "models")
    assert found["codes"].count(-9) >= 5
    theirs = found["models"]["m"]
    assert theirs["versions"] == sorted(registry.versions("m"))
    assert theirs["champion"] == registry.aliases("m")[CHAMPION] == "1.0"
    # Each change once in the audit log, none lost.
    assert found["audit"] == [change.number for change in registry.history("m")]
    ours = [path.parent.name for path in (tmp_path / "models" / "runs").glob("[!.]*/run.json")]
    assert sorted(r for r in found["runs"] if not r.startswith("model:")) == sorted(ours)
    assert len(found["plots"]) == len(ours)
    for version in registry.versions("m"):
        place = registry.find("m", version)
        assert place is not None
        assert (place / "model.onnx").read_bytes() == b"graph of " + version.encode()


def test_the_registry_imports_no_mlflow_and_nothing_new_asks_it_nothing(tmp_path: Path) -> None:
    program = """
(scratch / "made").mkdir(exist_ok=True)
import foreshock.stores.registry_mlflow as m
registry = DirectoryRegistry(root)
train(registry, "m", "1")
registry.find("m"), registry.names(), registry.history("m")
print(json.dumps(sorted(name for name in sys.modules if name.split(".")[0] == "mlflow")))
"""
    assert python(program, tmp_path / "models") == []


def test_a_server_that_is_away_stops_no_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import foreshock.stores.registry_mlflow as room

    def away(registry: DirectoryRegistry, uri: str = "") -> Mapping[str, int]:
        raise StoreError(f"MLflow at {uri} was not brought up to date: refused")

    monkeypatch.setattr(room, "record", away)
    registry = open_registry(tmp_path / "models", "http://127.0.0.1:1")
    artifact = tmp_path / "artifact"
    artifact.mkdir()
    (artifact / "card.json").write_text('{"verdict": "promoted"}')
    registry.register("a", "1", artifact)
    registry.log_run(Run("a", 1, 2, models=(("a", "1"),)))
    registry.promote("a", "1", "ann")
    assert registry.aliases("a") == {CHAMPION: "1"}
    assert "MLflow is told later" in caplog.text


def test_a_server_that_hangs_is_asked_now_and_then_and_not_for_every_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import foreshock.stores.registry as house
    import foreshock.stores.registry_mlflow as room

    clock_s, asked = [0.0], []

    def hangs(registry: DirectoryRegistry, uri: str = "") -> Mapping[str, int]:
        asked.append(clock_s[0])
        clock_s[0] += 40.0  # two looks of twenty seconds
        raise StoreError("it was not brought up to date: timed out")

    monkeypatch.setattr(room, "record", hangs)
    monkeypatch.setattr(house.time, "monotonic", lambda: clock_s[0])
    registry = open_registry(tmp_path / "models", "http://127.0.0.1:1")
    for number in range(1000):  # hundreds of models, a second each
        registry.log_run(Run("a", number, number + 1))
        clock_s[0] += 1.0
    assert len(asked) == 3 and clock_s[0] == 1000 + 3 * 40.0


def test_what_is_told_of_a_failure_has_no_password(tmp_path: Path) -> None:
    program = """
import foreshock.stores.registry_mlflow as m
from foreshock.errors import StoreError
m._PAUSE_S = 0.0
root.mkdir()
registry = DirectoryRegistry(root)
try:
    registry.record("http://ann:secret@127.0.0.1:1")
except StoreError as error:
    print(json.dumps([str(error), str(error.__cause__)]))
"""
    said, cause = python(program, tmp_path / "models")
    assert "http://127.0.0.1:1" in said and "secret" not in said
    assert cause == "None"


def test_names_are_ones_that_mlflow_takes() -> None:
    assert model_name("binance.binance-usdm.bars@group:liquid") == (
        "binance.binance-usdm.bars@group-liquid"
    )
