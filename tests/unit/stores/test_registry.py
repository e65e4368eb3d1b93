"""foreshock.stores.registry: versions stay, aliases move."""

from __future__ import annotations

from pathlib import Path

import pytest

from foreshock.errors import StoreError
from foreshock.stores.registry import CHALLENGER, CHAMPION, DirectoryRegistry


def artifact(place: Path, body: str) -> Path:
    place.mkdir(parents=True)
    (place / "card.json").write_text(body)
    return place


def test_an_alias_finds_the_version_it_points_at(tmp_path: Path) -> None:
    registry = DirectoryRegistry(tmp_path / "models")
    assert (registry.names(), registry.versions("a"), registry.find("a")) == ([], [], None)
    registry.register("a", "0.1.0+11", artifact(tmp_path / "one", "1"))
    registry.register("a", "0.1.0+22", artifact(tmp_path / "two", "2"))
    assert registry.find("a") is None  # nothing is champion by being registered
    registry.point("a", CHAMPION, "0.1.0+11")
    registry.point("a", CHALLENGER, "0.1.0+22")
    found = registry.find("a")
    assert found is not None
    assert (found / "card.json").read_text() == "1"
    registry.point("a", CHAMPION, "0.1.0+22")
    again = DirectoryRegistry(tmp_path / "models")
    assert again.versions("a") == ["0.1.0+11", "0.1.0+22"]
    assert again.aliases("a") == {CHAMPION: "0.1.0+22", CHALLENGER: "0.1.0+22"}
    assert again.find("a", "0.1.0+11") == tmp_path / "models" / "a" / "0.1.0+11"


def test_a_version_is_never_written_over(tmp_path: Path) -> None:
    registry = DirectoryRegistry(tmp_path / "models")
    one = artifact(tmp_path / "one", "1")
    kept = registry.register("a", "1", one)
    assert registry.register("a", "1", one) == kept
    with pytest.raises(StoreError, match="with other bytes"):
        registry.register("a", "1", artifact(tmp_path / "two", "2"))
    assert registry.versions("a") == ["1"]
    assert (kept / "card.json").read_text() == "1"


def test_what_is_not_there_is_refused(tmp_path: Path) -> None:
    registry = DirectoryRegistry(tmp_path / "models")
    with pytest.raises(StoreError, match="no version 7"):
        registry.point("a", CHAMPION, "7")
    with pytest.raises(StoreError, match="no artifact directory"):
        registry.register("a", "1", tmp_path / "nowhere")
    for name in ("../a", "", ".lock"):
        with pytest.raises(StoreError, match="cannot name"):
            registry.register(name, "1", tmp_path)
    (tmp_path / "models" / "registry.json").write_text("{")
    with pytest.raises(StoreError, match="cannot be read"):
        registry.names()
