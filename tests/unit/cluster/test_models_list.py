"""cluster.models_list: the artifacts on disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster.models_list import find_models
from foreshock.errors import ModelError
from foreshock.models.artifact import CARD
from foreshock.models.base import Domain, ModelCard


def _write_card(directory: Path, version: str, promoted: bool) -> None:
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
    directory.mkdir(parents=True)
    (directory / CARD).write_text(card.model_dump_json())


def test_models_are_listed_by_name_and_version_with_their_domain(tmp_path: Path) -> None:
    _write_card(tmp_path / "surge" / "b", "0.2.0", promoted=False)
    _write_card(tmp_path / "surge" / "a", "0.1.0", promoted=True)
    _write_card(tmp_path / ".half-written", "0.3.0", promoted=True)
    found = find_models(tmp_path)
    assert [(entry["version"], entry["promoted"]) for entry in found] == [
        ("0.1.0", True),
        ("0.2.0", False),
    ]
    assert found[0]["domain"] == {"source": "simulation", "market": "binance-spot", "tier": "book"}


def test_no_directory_is_no_model(tmp_path: Path) -> None:
    assert find_models(tmp_path / "absent") == []


def test_a_card_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / CARD).write_text("{}")
    with pytest.raises(ModelError, match="broken"):
        find_models(tmp_path)
