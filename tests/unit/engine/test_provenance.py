"""What a recording was made with is compared with this build, and every change has its words."""

from __future__ import annotations

import json
from typing import Any

import pytest

from foreshock.engine.provenance import changes, code_digest, made_with
from foreshock.features import catalog

NAMES = list(catalog.layout().names)


def altered(**given: Any) -> dict[str, Any]:
    return {**json.loads(json.dumps(made_with())), **given}


def test_what_this_build_made_has_not_changed() -> None:
    found = changes(altered())
    assert found.words == () and not found.features
    assert found.columns == {k: k for k in range(len(NAMES))}


def test_a_meta_that_tells_nothing_is_not_compared() -> None:
    found = changes({})
    assert found.words == () and found.columns is not None


@pytest.mark.parametrize("name", ["code", "version", "numba", "numpy", "cpu"])
def test_another_build_is_told_and_still_compared(name: str) -> None:
    found = changes(altered(**{name: "other"}))
    (word,) = found.words
    assert word.startswith(f"{name} is ") and word.endswith("recorded with other")
    assert not found.features and len(found.columns or ()) == len(NAMES)


def test_features_that_went_came_or_changed_are_named_and_the_rest_is_mapped() -> None:
    features = made_with()["features"]
    recorded = [["gone", "0"], *features[1:3], [features[3][0], "otherwise"], *features[4:]]
    found = changes(altered(layout="f" * 16, features=recorded))
    assert found.features
    assert "features removed: gone" in found.words
    assert f"features added: {NAMES[0]}" in found.words
    assert f"features defined anew: {NAMES[3]}" in found.words
    assert found.columns == {k: k for k in range(len(NAMES)) if k not in (0, 3)}


def test_another_order_of_features_is_told_and_mapped_by_name() -> None:
    features = made_with()["features"]
    recorded = [features[1], features[0], *features[2:]]
    found = changes(altered(layout="f" * 16, features=recorded))
    assert "features come in another order" in found.words
    assert found.columns is not None and (found.columns[0], found.columns[1]) == (1, 0)


def test_the_code_digest_is_of_all_files_and_stays() -> None:
    assert code_digest() == code_digest() and len(code_digest()) == 16
