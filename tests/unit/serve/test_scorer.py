from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from foreshock.errors import ModelError
from foreshock.models import artifact
from foreshock.models.base import Domain
from foreshock.stores.registry import CHAMPION, DirectoryRegistry
from serve import scorer as module
from serve.scorer import Scorer, champion_of
from tests.unit.serve.material import DOMAIN, boundary, train


def scorer_of(root: Path, domain: Domain = DOMAIN) -> Scorer:
    registry = DirectoryRegistry(root)
    return Scorer(lambda wanted: champion_of(registry, wanted), domain)


def test_scores_are_the_artifact_s_own(models_dir: Path) -> None:
    path = champion_of(DirectoryRegistry(models_dir), DOMAIN)
    assert path is not None
    model, matrix = artifact.load(path), boundary(5).vectors
    scores, facts, fingerprint = scorer_of(models_dir).score(matrix)
    assert scores is not None and facts is not None
    np.testing.assert_array_equal(scores, model.score(matrix))
    assert facts.version == model.card.version
    assert fingerprint == model.card.layout_fingerprint


def test_no_champion_means_no_scores(tmp_path: Path) -> None:
    assert scorer_of(tmp_path).score(boundary().vectors) == (None, None, None)


def test_a_champion_of_another_domain_does_not_speak(models_dir: Path) -> None:
    other = Domain(source="simulation", market="binance-usdm", tier="book")
    assert scorer_of(models_dir, other).score(boundary().vectors) == (None, None, None)


def test_a_new_champion_speaks_without_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = train(tmp_path, seed=1)
    scorer = scorer_of(tmp_path)
    matrix = boundary().vectors
    assert scorer.score(matrix)[1].version == first.version  # type: ignore[union-attr]
    second = train(tmp_path, seed=2)
    monkeypatch.setattr(module, "FOLLOW_S", 0.0)
    assert scorer.score(matrix)[1].version == second.version  # type: ignore[union-attr]


def test_a_damaged_newcomer_leaves_the_old_model_speaking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = train(tmp_path, seed=1)
    scorer = scorer_of(tmp_path)
    train(tmp_path, seed=2)
    path = DirectoryRegistry(tmp_path).find(first.name, CHAMPION)
    assert path is not None
    (path / "model.onnx").write_bytes(b"damaged")
    monkeypatch.setattr(module, "FOLLOW_S", 0.0)
    scores, facts, _ = scorer.score(boundary().vectors)
    assert scores is not None and facts is not None and facts.version == first.version


def test_a_pinned_model_wins_over_the_champion(tmp_path: Path) -> None:
    first = train(tmp_path, seed=1)
    train(tmp_path, seed=2)
    pinned = DirectoryRegistry(tmp_path).find(first.name, first.version)
    scorer = scorer_of(tmp_path)
    scorer.reconfigure({"model": str(pinned)})
    assert scorer.score(boundary().vectors)[1].version == first.version  # type: ignore[union-attr]
    scorer.reconfigure({"model": None})
    assert scorer.score(boundary().vectors)[1].version != first.version  # type: ignore[union-attr]


def test_vectors_of_another_width_are_refused(models_dir: Path) -> None:
    with pytest.raises(ModelError, match="expected float32"):
        scorer_of(models_dir).score(np.zeros((1, 3), np.float32))
