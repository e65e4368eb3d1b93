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
from pipelines.dataset_find import newest_dataset

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


def test_what_the_trainer_refuses_exits_with_one(tmp_path: Path, train: Train) -> None:
    (tmp_path / "manifest.json").write_text("{}")
    code, document = train(
        "--dataset", str(tmp_path), "--no-ray", "--set", f"paths.var_dir={tmp_path / 'var'}"
    )
    assert code == 1
    assert "DatasetError" in document["error"]["message"]


def test_fewer_than_one_trial_is_wrong_use() -> None:
    done = CliRunner().invoke(build_app(), ["train", "--trials", "0"])
    assert done.exit_code == 2 and "--trials" in done.stderr
