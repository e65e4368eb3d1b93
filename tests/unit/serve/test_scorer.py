from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from foreshock.errors import ModelError
from foreshock.features import catalog
from foreshock.features.settings import FeatureSettings
from foreshock.models import artifact
from foreshock.models.base import Domain
from foreshock.stores.registry import CHAMPION, DirectoryRegistry
from serve import scorer as module
from serve.scorer import Scorer, champion_of
from tests.unit.serve.material import DOMAIN, FEATURES, boundary, own, train

LAYOUT = catalog.layout()


def scorer_of(root: Path, domain: Domain = DOMAIN) -> Scorer:
    registry = DirectoryRegistry(root)
    return Scorer(lambda wanted: champion_of(registry, wanted), domain, LAYOUT)


def test_scores_are_the_artifact_s_own(models_dir: Path) -> None:
    path = champion_of(DirectoryRegistry(models_dir), DOMAIN)
    assert path is not None
    model, matrix = artifact.load(path), boundary(5).vectors
    scores, facts, fingerprint = scorer_of(models_dir).score(matrix, LAYOUT.fingerprint)
    assert scores is not None and facts is not None
    np.testing.assert_array_equal(scores, model.score(own(matrix)))
    assert facts.version == model.card.version
    assert fingerprint == model.card.layout_fingerprint


def test_further_outputs_of_a_graph_change_no_score(tmp_path: Path) -> None:
    plain, more = train(tmp_path / "a"), train(tmp_path / "b", outlook=("expected_bps", "low_bps"))
    matrix = boundary(5).vectors
    scores = [
        scorer_of(tmp_path / name).score(matrix, LAYOUT.fingerprint)[0] for name in ("a", "b")
    ]
    assert plain.version != more.version and scores[0] is not None
    np.testing.assert_array_equal(scores[0], scores[1])
    path = champion_of(DirectoryRegistry(tmp_path / "b"), DOMAIN)
    assert path is not None
    assert set(artifact.load(path).outputs) >= {"probability", "expected_bps", "low_bps"}


def test_no_champion_means_no_scores(tmp_path: Path) -> None:
    assert scorer_of(tmp_path).score(boundary().vectors, LAYOUT.fingerprint) == (None, None, None)


def test_a_champion_of_another_domain_does_not_speak(models_dir: Path) -> None:
    other = Domain(source="simulation", market="binance-usdm", tier="book")
    assert scorer_of(models_dir, other).score(boundary().vectors, LAYOUT.fingerprint) == (
        None,
        None,
        None,
    )


def test_a_new_champion_speaks_without_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = train(tmp_path, seed=1)
    scorer = scorer_of(tmp_path)
    matrix = boundary().vectors
    assert scorer.score(matrix, LAYOUT.fingerprint)[1].version == first.version  # type: ignore[union-attr]
    second = train(tmp_path, seed=2)
    monkeypatch.setattr(module, "FOLLOW_S", 0.0)
    assert scorer.score(matrix, LAYOUT.fingerprint)[1].version == second.version  # type: ignore[union-attr]


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
    scores, facts, _ = scorer.score(boundary().vectors, LAYOUT.fingerprint)
    assert scores is not None and facts is not None and facts.version == first.version


def test_a_pinned_model_wins_over_the_champion(tmp_path: Path) -> None:
    first = train(tmp_path, seed=1)
    train(tmp_path, seed=2)
    pinned = DirectoryRegistry(tmp_path).find(first.name, first.version)
    scorer = scorer_of(tmp_path)
    scorer.reconfigure({"model": str(pinned)})
    assert scorer.score(boundary().vectors, LAYOUT.fingerprint)[1].version == first.version  # type: ignore[union-attr]
    scorer.reconfigure({"model": None})
    assert scorer.score(boundary().vectors, LAYOUT.fingerprint)[1].version != first.version  # type: ignore[union-attr]


def test_vectors_of_another_width_are_refused(models_dir: Path) -> None:
    with pytest.raises(ModelError, match="expected float32"):
        scorer_of(models_dir).score(np.zeros((1, 3), np.float32), LAYOUT.fingerprint)


def test_vectors_in_the_model_s_own_layout_are_scored_and_others_are_not(models_dir: Path) -> None:
    scorer, matrix = scorer_of(models_dir), boundary(3).vectors
    whole = scorer.score(matrix, LAYOUT.fingerprint)
    alone = scorer.score(own(matrix), LAYOUT.only(FEATURES).fingerprint)
    np.testing.assert_array_equal(alone[0], whole[0])
    assert alone[1] is not None and alone[1].required is not None
    assert len(alone[1].required) == len(FEATURES)
    scores, facts, fingerprint = scorer.score(matrix, "another")
    assert scores is None and facts is not None
    assert fingerprint == LAYOUT.only(FEATURES).fingerprint


def test_two_sets_run_side_by_side_and_give_one_model_the_same_scores(models_dir: Path) -> None:
    registry = DirectoryRegistry(models_dir)
    small = catalog.layout(FeatureSettings(families=("flow", "depth", "variation")))
    other = Scorer(lambda wanted: champion_of(registry, wanted), DOMAIN, small)
    matrix = boundary(4).vectors
    columns = list(LAYOUT.columns(small.names))
    here = scorer_of(models_dir).score(matrix, LAYOUT.fingerprint)[0]
    there = other.score(np.ascontiguousarray(matrix[:, columns]), small.fingerprint)[0]
    np.testing.assert_array_equal(here, there)


def test_a_model_whose_features_are_not_computed_does_not_speak(models_dir: Path) -> None:
    registry = DirectoryRegistry(models_dir)
    tape = catalog.layout(FeatureSettings(families=("flow",)))
    blind = Scorer(lambda wanted: champion_of(registry, wanted), DOMAIN, tape)
    assert blind.score(np.zeros((1, len(tape)), np.float32), tape.fingerprint) == (None,) * 3


def test_a_model_of_the_tape_speaks_where_a_book_is_watched_too_but_not_the_other_way(
    tmp_path: Path,
) -> None:
    tape = Domain(source="binance", market="binance-usdm", tier="tape")
    card = train(tmp_path, domain=tape)
    scores, facts, _ = scorer_of(tmp_path).score(boundary().vectors, LAYOUT.fingerprint)
    assert scores is not None and facts is not None and facts.version == card.version
    bars = Domain(source="binance", market="binance-usdm", tier="bars")
    assert scorer_of(tmp_path, bars).score(boundary().vectors, LAYOUT.fingerprint)[0] is None
