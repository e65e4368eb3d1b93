"""foreshock.models.artifact: a directory that is whole, certified and repeatable."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from foreshock.errors import CertificateError, DomainError, ModelError
from foreshock.models.artifact import graph_digest, load, load_card, save
from foreshock.models.base import Domain, ModelCard, ScoringModel
from foreshock.models.certificate import certify
from foreshock.models.session import open_session, run_graph


@pytest.fixture(scope="session")
def parts(exported: Any) -> tuple[bytes, ModelCard, dict[str, Any]]:
    """Graph, card and certificate of one model."""
    manifest = exported.data.manifest
    card = ModelCard(
        name="simulation.binance-spot.book",
        version=f"0.1.0+{graph_digest(exported.graph)}",
        domain=Domain.model_validate(manifest["domain"]),
        horizons_s=exported.data.horizons_s,
        feature_names=exported.data.feature_names,
        required_features=tuple(manifest["required_features"]),
        layout_fingerprint=manifest["layout_fingerprint"],
        label_fingerprint=manifest["label_fingerprint"],
        data_fingerprint=exported.data.fingerprint,
        thresholds=(0.5, 0.6),
        approved=(True, False),
        base_rates=tuple(each.base_rate for each in exported.fitted),
        metrics={"10": {"brier": 0.1}, "20": {"brier": None}},
        spans_ns={"train": (0, 1)},
        trials=3,
        settings={},
        promoted=True,
        reason="a test",
    )
    proof = certify(exported.fitted, exported.graph, exported.tables, exported.data.X, rows_least=0)
    return exported.graph, card, proof


def test_what_is_saved_is_what_scores(exported: Any, parts: Any, tmp_path: Path) -> None:
    model = load(save(tmp_path / "model", *parts))
    assert isinstance(model, ScoringModel)
    assert model.card == parts[1]
    assert model.required.tolist() == [True, True, False, False, False, False]
    session = open_session(exported.graph)
    for output, method in (("probability", model.score), ("raw_score", model.raw_score)):
        np.testing.assert_array_equal(
            method(exported.data.X), run_graph(session, exported.data.X, output)
        )


def test_saving_again_gives_the_same_bytes_and_leaves_nothing_else(
    parts: Any, tmp_path: Path
) -> None:
    first, second = save(tmp_path / "a", *parts), save(tmp_path / "b", *parts)
    for name in ("model.onnx", "card.json", "certificate.json"):
        assert (first / name).read_bytes() == (second / name).read_bytes()
    assert save(first, *parts) == first  # the same model again is no accident
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b"]


def test_another_model_is_never_written_over(parts: Any, tmp_path: Path) -> None:
    graph, card, proof = parts
    place = save(tmp_path / "model", graph, card, proof)
    with pytest.raises(ModelError, match="holds another model"):
        save(place, graph, card.model_copy(update={"reason": "another"}), proof)
    assert load_card(place) == card


def test_an_uncertified_graph_is_neither_saved_nor_loaded(parts: Any, tmp_path: Path) -> None:
    graph, card, proof = parts
    with pytest.raises(CertificateError, match="certificate is of graph"):
        save(tmp_path / "model", graph, card, {**proof, "graph_sha256": "0" * 64})
    place = save(tmp_path / "model", graph, card, proof)
    body = bytearray(graph)
    body[len(body) // 2] ^= 1
    (place / "model.onnx").write_bytes(bytes(body))
    with pytest.raises(CertificateError, match="this one is"):
        load(place)


@pytest.mark.parametrize("name", ["model.onnx", "card.json", "certificate.json"])
def test_a_missing_or_damaged_file_is_refused(name: str, parts: Any, tmp_path: Path) -> None:
    place = save(tmp_path / "model", *parts)
    if name != "model.onnx":
        (place / name).write_text("{")
        with pytest.raises(ModelError, match="no readable model"):
            load(place)
    (place / name).unlink()
    with pytest.raises(ModelError, match="no readable model"):
        load(place)


def test_a_card_that_does_not_fit_its_graph_is_refused(parts: Any, tmp_path: Path) -> None:
    place = save(tmp_path / "model", *parts)
    card = json.loads((place / "card.json").read_text())
    card["horizons_s"].append(30)
    (place / "card.json").write_text(json.dumps(card))
    with pytest.raises(ModelError, match="the card says 6 to 3"):
        load(place)


def test_a_model_speaks_in_its_own_domain_only() -> None:
    spot = Domain(source="simulation", market="binance-spot", tier="book")
    spot.require(spot.model_copy())
    for change in ({"source": "binance"}, {"market": "binance-usdm"}, {"tier": "tape"}):
        with pytest.raises(DomainError, match="was made for simulation/binance-spot/book"):
            spot.require(spot.model_copy(update=change))
