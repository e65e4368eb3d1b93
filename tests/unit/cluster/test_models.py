"""cluster.models: what the registry holds, and who lets what speak."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cluster.main import build_app
from cluster.models_find import differences, find_models, resolve
from foreshock.errors import ModelError, StoreError
from foreshock.models.artifact import CARD
from foreshock.models.base import Domain, ModelCard
from foreshock.stores.ledger import Ledger
from foreshock.stores.registry import CHALLENGER, CHAMPION, DirectoryRegistry


def _register(models: Path, scratch: Path, version: str, promoted: bool) -> None:
    card = ModelCard(
        name="surge",
        version=version,
        domain=Domain(source="simulation", market="binance-spot", tier="book"),
        horizons_s=(60, 300),
        feature_names=("a",),
        required_features=("a",),
        layout_fingerprint="l",
        label_fingerprint="s",
        data_fingerprint="d",
        thresholds=(0.5, 0.5),
        approved=(promoted, False),
        base_rates=(0.1, 0.1),
        metrics={"60": {"skill": 0.1, "calibration_method": "platt"}},
        spans_ns={},
        trials=2,
        settings={},
        promoted=promoted,
        reason="because",
    )
    artifact = scratch / version
    artifact.mkdir()
    (artifact / CARD).write_text(card.model_dump_json())
    DirectoryRegistry(models).register(card.name, version, artifact)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """Three versions, the last one champion and the second challenger."""
    place = tmp_path / "models"
    for version, promoted in (("0.2.0", False), ("0.1.0", True), ("0.3.0", True)):
        _register(place, tmp_path, version, promoted)
    registry = DirectoryRegistry(place)
    registry.point("surge", CHAMPION, "0.3.0")
    registry.point("surge", CHALLENGER, "0.1.0")
    return place


def test_versions_are_listed_as_they_were_registered_with_their_aliases(models: Path) -> None:
    found = find_models(models)
    assert [(entry["version"], entry["promoted"], entry["aliases"]) for entry in found] == [
        ("0.2.0", False, []),
        ("0.1.0", True, ["challenger"]),
        ("0.3.0", True, ["champion"]),
    ]
    assert found[0]["domain"] == {"source": "simulation", "market": "binance-spot", "tier": "book"}
    assert all((Path(entry["path"]) / CARD).is_file() for entry in found)


def test_what_is_not_registered_is_not_listed(models: Path) -> None:
    shutil.copytree(models / "surge" / "0.1.0", models / "surge" / ".unfinished-x")
    shutil.copytree(models / "surge" / "0.1.0", models / "surge" / "0.9.0")
    assert len(find_models(models)) == 3


def test_no_directory_is_no_model(tmp_path: Path) -> None:
    assert find_models(tmp_path / "absent") == []


def test_a_card_that_cannot_be_read_is_named(models: Path) -> None:
    (models / "surge" / "0.1.0" / CARD).write_text("{}")
    with pytest.raises(ModelError, match=r"0\.1\.0"):
        find_models(models)


def test_a_registry_that_cannot_be_read_is_named(models: Path) -> None:
    (models / "registry.json").write_text("{")
    with pytest.raises(StoreError, match="registry"):
        find_models(models)


Verb = Callable[..., tuple[int, Any]]


@pytest.fixture
def verb(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Verb:
    """A verb's exit code and the document that it prints."""

    def run(*words: str) -> tuple[int, Any]:
        given = ["models", *words, "--json", "--set", f"paths.var_dir={tmp_path}"]
        capfd.readouterr()
        code = build_app()(given, standalone_mode=False)
        return code, json.loads(capfd.readouterr().out)

    return run


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """The record in MLflow takes seconds and has tests of its own."""
    monkeypatch.setattr(DirectoryRegistry, "record", lambda self, uri=None: {})


def test_a_model_is_promoted_rolled_back_and_shown(
    models: Path, tmp_path: Path, quiet: None, verb: Verb
) -> None:
    code, told = verb("promote", "0.1.0", "--reason", "calmer", "--actor", "ann")
    assert (code, told["before"], told["version"], told["audited"]) == (0, "0.3.0", "0.1.0", True)
    assert DirectoryRegistry(models).aliases("surge") == {CHAMPION: "0.1.0"}
    code, told = verb("show", "surge")
    assert (told["version"], told["aliases"], told["card"]["trials"]) == ("0.1.0", ["champion"], 2)
    assert told["history"][-1]["reason"] == "calmer"
    code, told = verb("rollback", "surge", "--actor", "ann", "--reason", "not calmer")
    assert (code, told["version"]) == (0, "0.3.0")
    ledger = Ledger(tmp_path / "ledger.sqlite")
    trail = [(e["actor"], e["action"], e["detail"]["reason"]) for e in ledger.audit_trail()]
    ledger.close()
    assert trail[:2] == [
        ("ann", "model.rollback", "not calmer"),
        ("ann", "model.promote", "calmer"),
    ]


def test_what_the_gate_refused_is_forced_with_a_reason_or_not_at_all(
    models: Path, quiet: None, verb: Verb
) -> None:
    code, told = verb("promote", "0.2.0", "--reason", "I like it")
    assert code == 1
    assert "the gate said refused: because" in told["error"]["message"]
    code, told = verb("promote", "0.2.0", "--force")
    assert code == 1
    assert "with a reason" in told["error"]["message"]
    assert DirectoryRegistry(models).aliases("surge")[CHAMPION] == "0.3.0"
    code, told = verb("promote", "0.2.0", "--force", "--reason", "a drill")
    assert (code, told["action"], told["verdict"]) == (0, "force", "refused")


def test_any_model_but_the_champion_may_be_challenger(
    models: Path, quiet: None, verb: Verb
) -> None:
    given = ("promote", "0.2.0", "--challenger", "--actor", "ann", "--reason", "watch it")
    code, told = verb(*given)
    assert (code, told["action"], told["alias"], told["before"]) == (
        0, "point", "challenger", "0.1.0",
    )  # fmt: skip
    assert told["audited"]
    registry = DirectoryRegistry(models)
    assert registry.aliases("surge") == {CHAMPION: "0.3.0", CHALLENGER: "0.2.0"}
    assert registry.history("surge")[-1].reason == "watch it"
    code, told = verb("compare", "surge=challenger", "surge=champion")
    assert [each["version"] for each in told["models"]] == ["0.2.0", "0.3.0"]
    code, told = verb("promote", "0.3.0", "--challenger")
    assert code == 1 and "nobody challenges itself" in told["error"]["message"]


def test_two_cards_lie_side_by_side(models: Path, verb: Verb) -> None:
    code, told = verb("compare", "0.2.0", "surge=champion")
    assert code == 0
    assert [each["version"] for each in told["models"]] == ["0.2.0", "0.3.0"]
    assert {each["what"] for each in told["differences"]} == {"version", "approved", "promoted"}
    assert [f for f in told["figures"] if f["figure"] == "skill"] == [
        {"horizon_s": 60, "figure": "skill", "one": 0.1, "other": 0.1}
    ]


def test_a_model_has_several_names(models: Path) -> None:
    registry = DirectoryRegistry(models)
    for wanted in ("surge", "surge=champion", "surge=0.3.0", "0.3.0", "0.3"):
        assert resolve(registry, wanted) == ("surge", "0.3.0"), wanted
    for wanted, why in (("0.", "several"), ("tremor", "no model"), ("surge=9", "no 9")):
        with pytest.raises(StoreError, match=why):
            resolve(registry, wanted)


def test_differences_are_found_at_any_depth() -> None:
    one = {"a": 1, "b": {"c": 2, "d": [1]}, "e": 3}
    other = {"a": 1, "b": {"c": 5, "d": [1]}, "f": 4}
    assert differences(one, other) == [("b.c", 2, 5), ("e", 3, None), ("f", None, 4)]
