"""`foreshock train`: which dataset it takes, how it calls the trainer, and how it ends."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cluster.main import build_app
from cluster.output import PartMissingError
from cluster.train import arguments, dataset_for, environment, report_in
from foreshock.errors import ForeshockError
from foreshock.features import catalog
from foreshock.settings import Config, load
from foreshock.stores.registry import DirectoryRegistry
from pipelines.dataset_find import newest_dataset
from pipelines.datasets import write_dataset, write_manifest
from tests.reference.training import make_set

Train = Callable[..., tuple[int, Any]]


def _config(var: Path, **given: Any) -> Config:
    return load({"paths.var_dir": str(var), **given}, environment={}).tree


def _dataset(config: Config, name: str, age_s: int = 0, **other: Any) -> Path:
    told = {
        "label_fingerprint": config.label_settings().fingerprint,
        "feature_digests": {spec.name: spec.digest for spec in catalog.layout()},
        "domain": {"source": "simulation", "market": "binance-spot", "tier": "book"},
        **other,
    }
    place = config.paths.under("datasets", name)
    place.mkdir(parents=True)
    manifest = place / "manifest.json"
    manifest.write_text(json.dumps({"manifest": told}))
    stamp = manifest.stat().st_mtime - age_s
    os.utime(manifest, (stamp, stamp))
    return place


@pytest.fixture
def train(capfd: pytest.CaptureFixture[str]) -> Train:
    """Runs the verb; returns exit code and document."""

    def run(*given: str) -> tuple[int, Any]:
        done = CliRunner().invoke(build_app(), ["train", *given, "--json"])
        return done.exit_code, json.loads(capfd.readouterr().out)

    return run


def test_the_newest_dataset_that_fits_the_settings_is_taken(tmp_path: Path) -> None:
    config = _config(tmp_path)
    _dataset(config, "old", age_s=100)
    right = _dataset(config, "right", age_s=50)
    _dataset(config, "other-surge", label_fingerprint="0")
    digests = {spec.name: spec.digest for spec in catalog.layout()}
    _dataset(config, "other-features", feature_digests={**digests, "spread_bps": "0"})
    _dataset(config, "of-the-venue", domain={"source": "binance"})
    _dataset(config, ".half-written")
    (config.paths.under("datasets") / "broken").mkdir()
    (config.paths.under("datasets") / "broken" / "manifest.json").write_text("[]")
    _dataset(config, "digests-as-a-list", feature_digests=["spread_bps"])
    assert newest_dataset(config) == right
    assert dataset_for(config, lambda _: None) == right


def test_outside_the_demo_no_dataset_is_made_up(tmp_path: Path, train: Train) -> None:
    config = _config(tmp_path, mode="live")
    _dataset(config, "simulated")
    with pytest.raises(PartMissingError, match="--dataset"):
        dataset_for(config, lambda _: None)
    flags = ("--mode", "live", "--set", f"paths.var_dir={tmp_path}")
    assert train(*flags)[0] == 3


def test_the_trainer_gets_paths_and_only_the_flags_that_were_given(tmp_path: Path) -> None:
    paths = (tmp_path / "d", tmp_path / "o", tmp_path / "m")
    plain = arguments(*paths, None, False)
    assert plain[:3] == ["-m", "pipelines.tune_models", "--json"]
    assert "--trials" not in plain and "--no-ray" not in plain
    assert arguments(*paths, 3, True) == [*plain, "--trials", "3", "--no-ray"]


def test_the_trainer_sees_the_training_settings_wherever_they_were_set(tmp_path: Path) -> None:
    given = {
        "training.trials": 7,
        "training.walk_forward.embargo_s": 90,
        "training.walk_forward.mode": "rolling",
        "training.walk_forward.train_share": 1e-05,
        "training.search.space": {"l2": {"low": 0.5, "high": 2.0, "log": True}},
        "training.search.groups": {"big": ["BTCUSDT"]},
        "paths.var_dir": tmp_path,
    }
    config = load({"mode": "live", **given}, environment={}).tree
    seen = load(environment=environment(config)).tree
    assert (seen.training, seen.mode) == (config.training, "live")
    assert seen.paths.under() == tmp_path


def test_the_report_is_the_last_json_line() -> None:
    said = 'warming up\n{"promoted": false}\nnoise {"a": 1}\n{"promoted": true}\n{no json\n'
    assert report_in(said, "ended") == {"promoted": True}


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ('{"error": "DatasetError", "message": "one class"}\n', "DatasetError: one class"),
        ("Traceback\n", "the training ended with 7 and gave no report"),
        ("", "gave no report"),
    ],
)
def test_a_training_without_report_failed(said: str, told: str) -> None:
    with pytest.raises(ForeshockError, match=told):
        report_in(said, "the training ended with 7")


def test_a_directory_that_is_no_dataset_exits_with_one(tmp_path: Path, train: Train) -> None:
    code, document = train("--dataset", str(tmp_path))
    assert code == 1 and document["error"]["kind"] == "DatasetError"


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("manifest", [1], "manifest.json.manifest: Input should be"),
        ("manifest", {"horizons_s": [5]}, "the manifest lacks ['feature_names'"),
        ("symbols", None, "manifest.json.symbols: Input should be"),
        ("parts", [1], "manifest.json.parts: Input should be"),
        ("parts", {}, "it tells of 3 rows, its parts of 0"),
        ("rows", "3", "manifest.json.rows: Input should be a valid integer, got '3'"),
    ],
)
def test_a_manifest_that_is_none_is_refused_before_anything_starts(
    tmp_path: Path, train: Train, key: str, value: Any, told: str
) -> None:
    manifest = make_set(steps=5).manifest
    whole = {"symbols": ["A"], "rows": 3, "parts": {"a": 3}, "fingerprint": "0"}
    body = {"manifest": manifest, **whole, key: value}
    (tmp_path / "manifest.json").write_text(json.dumps(body))
    code, document = train("--dataset", str(tmp_path))
    assert (code, document["error"]["kind"]) == (1, "DatasetError")
    assert document["error"]["message"].startswith(f"{tmp_path} is no readable dataset: ")
    assert told in document["error"]["message"]


def test_a_horizon_that_the_dataset_lacks_is_refused_where_a_flag_asks_for_it(
    tmp_path: Path, train: Train
) -> None:
    write_dataset(tmp_path / "set", make_set(steps=60))
    place = ("--dataset", str(tmp_path / "set"), "--set", 'training.features=["*"]')
    code, document = train(*place, "--set", "labels.horizons_s=[7, 10]")
    assert code == 1
    assert "has horizons of [10, 20] s, not of [7] (flag labels.horizons_s)" in str(document)
    assert train(*place, "--plan", "--set", "labels.horizons_s=[10]")[0] == 0
    assert train(*place, "--plan")[0] == 0  # what the mode's own file says is no wish


def test_what_cannot_be_kept_is_not_begun(tmp_path: Path, train: Train) -> None:
    write_dataset(tmp_path / "set", make_set(steps=60))
    for name in ("models", "runs"):
        var = tmp_path / name
        var.mkdir()
        (var / name).write_text("in the way")
        code, document = train(
            "--dataset", str(tmp_path / "set"), "--set", f"paths.var_dir={var}", "--no-ray"
        )
        assert (code, document["error"]["kind"]) == (1, "StoreError")
        assert f"nothing can be kept in {var / name}: File exists" in document["error"]["message"]
    (tmp_path / "var" / "trials.jsonl").mkdir(parents=True)
    code, document = train(
        "--dataset", str(tmp_path / "set"), "--set", f"paths.var_dir={tmp_path / 'var'}"
    )
    assert (code, document["error"]["kind"]) == (1, "StoreError")
    assert "trials.jsonl cannot be read" in document["error"]["message"]


def test_a_label_of_the_future_is_refused_by_its_name(tmp_path: Path, train: Train) -> None:
    """The whole way: the verb, its trainer in a process of its own, the dataset on disk."""
    data = make_set(steps=60)
    known = data.labels >= 0
    last = int(data.t1_ns[known].max())
    to_ns = {**dict.fromkeys(data.symbols, last), data.symbols[1]: last - 1}
    place = write_dataset(tmp_path / "set", data)
    body = json.loads((place / "manifest.json").read_text())
    manifest = {**body["manifest"], "recorded_to_ns": to_ns}
    write_manifest(place, manifest, body["symbols"], body["parts"])
    code, document = train(
        "--dataset", str(place), "--no-ray", "--set", f"paths.var_dir={tmp_path / 'var'}"
    )
    assert code == 1
    message = document["error"]["message"]
    assert "DatasetError: a label of the future: BBBUSDT at t0_ns" in message
    assert message.endswith(f"whose span ends at {last}, but recorded is only up to {last - 1}")
    assert DirectoryRegistry(tmp_path / "var" / "models").names() == []


def test_fewer_than_one_trial_is_wrong_use() -> None:
    done = CliRunner().invoke(build_app(), ["train", "--trials", "0"])
    assert done.exit_code == 2 and "--trials" in done.stderr
