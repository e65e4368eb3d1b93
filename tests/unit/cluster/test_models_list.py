"""cluster.models_list: what the registry holds."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from cluster.models_list import find_models
from foreshock.errors import ModelError, StoreError
from foreshock.models.artifact import CARD
from foreshock.models.base import Domain, ModelCard
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
        metrics={},
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
