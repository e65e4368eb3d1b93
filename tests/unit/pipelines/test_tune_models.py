"""pipelines.tune_models: the command, in process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from foreshock.models.artifact import load
from foreshock.stores.registry import CHAMPION, DirectoryRegistry
from pipelines.datasets import write_dataset
from pipelines.tune_models import main
from tests.reference.training import make_set


@pytest.fixture(autouse=True)
def _nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No `.env` or environment of the machine has a say."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FORESHOCK__TRAINING__FEATURES", '["*"]')


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    code = main([*arguments, "--no-ray", "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_a_model_is_made_registered_and_champion(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = make_set()
    write_dataset(tmp_path / "set", data)
    code, report = run(
        capsys, "--dataset", "set", "--out", "made/model", "--trials", "2", "--registry", "models"
    )
    assert code == 0
    assert report["promoted"]
    assert len(report["trials"]) == 2
    registry = DirectoryRegistry(tmp_path / "models")
    place = registry.find(report["name"], CHAMPION)
    assert place is not None
    model = load(place)
    assert model.card.version == report["version"]
    assert model.card.trials == 2
    assert model.card.data_fingerprint == data.fingerprint
    assert model.score(data.X[:3]).shape == (3, 2)
    again, _ = run(capsys, "--dataset", "set", "--out", "again", "--trials", "2")
    assert again == 0
    for name in ("model.onnx", "card.json", "certificate.json"):
        assert (tmp_path / "again" / name).read_bytes() == (place / name).read_bytes()


def test_a_model_without_an_edge_is_kept_but_never_champion(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_dataset(tmp_path / "set", make_set(edge=0.0))
    code, report = run(
        capsys, "--dataset", "set", "--out", "model", "--trials", "1", "--registry", "models"
    )
    assert code == 0
    assert not report["promoted"]
    assert load(tmp_path / "model").card.reason == report["reason"]
    registry = DirectoryRegistry(tmp_path / "models")
    assert registry.versions(report["name"]) == [report["version"]]
    assert registry.aliases(report["name"]) == {}


def test_a_refusal_is_exit_code_1_with_its_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_dataset(tmp_path / "set", make_set(steps=100))
    code, report = run(capsys, "--dataset", "set", "--out", "model", "--trials", "1")
    assert (code, report["error"]) == (1, "DatasetError")
    assert "leave nothing of the train part: 99 s of data" in report["message"]
    assert not (tmp_path / "model").exists()
    code, report = run(capsys, "--dataset", "nowhere", "--out", "model")
    assert (code, report["error"]) == (1, "DatasetError")
    assert main(["--dataset", "nowhere", "--out", "model", "--no-ray"]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("DatasetError: ")


@pytest.mark.parametrize("arguments", [[], ["--dataset", "a", "--out", "b", "--trials", "0"]])
def test_wrong_use_is_exit_code_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
