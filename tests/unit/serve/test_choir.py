"""Routing by scope with real models: the right one speaks, and its bits are its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cluster.judging import Judging
from foreshock.features import catalog
from foreshock.models import artifact
from foreshock.models.artifact import CARD
from foreshock.signals.gate import ModelFacts, Panel
from foreshock.stores.hot import RedisHot
from foreshock.stores.recordings import RecordedBoundary
from foreshock.stores.registry import CHAMPION, DirectoryRegistry
from serve import scorer as module
from serve.facts import NOTE
from serve.scorer import Scorer, champion_of, champions_of
from tests.unit.serve.material import DOMAIN, T0_NS, boundary, own, train
from tests.unit.serve.test_gate import EASY, gate_of, tell

LAYOUT = catalog.layout()
SYMBOLS = ("AAAUSDT", "BBBUSDT", "CCCUSDT", "DDDUSDT", "EEEUSDT")


def scoped(root: Path, seed: int, scope: str, symbols: tuple[str, ...], **more: Any) -> Path:
    """A champion of a scope: a small real model under a card of its own."""
    made = root.with_name(f"{root.name}-made-{seed}")
    card = train(made, seed=seed)
    place = made / f".made-{seed}"
    told = json.loads((place / CARD).read_text())
    name = f"{card.name}.{scope.replace(':', '.')}"  # who speaks is said by the card
    told |= {"name": name, "scope": scope, "symbols": list(symbols), **more}
    (place / CARD).write_text(json.dumps(told))
    registry = DirectoryRegistry(root)
    registry.register(name, card.version, place)
    registry.point(name, CHAMPION, card.version)
    path = registry.find(name)
    assert path is not None
    return path


def scorer_of(root: Path) -> Scorer:
    registry = DirectoryRegistry(root)
    return Scorer(lambda domain: champions_of(registry, domain), DOMAIN, LAYOUT)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    place = tmp_path / "models"
    train(place, seed=1)
    scoped(place, 2, "group:big", ("AAAUSDT", "BBBUSDT"))
    scoped(place, 3, "symbol:AAAUSDT", ("AAAUSDT",))
    return place


def version(root: Path, seed: int) -> str:
    registry = DirectoryRegistry(root)
    return next(
        v for name in registry.names() for v in registry.versions(name) if f"0.0.{seed}+" in v
    )


def test_each_symbol_is_scored_by_its_own_model_with_its_own_bits(root: Path) -> None:
    matrix = boundary(5).vectors
    scores, panel, _ = scorer_of(root).score(matrix, LAYOUT.fingerprint, SYMBOLS)
    assert isinstance(panel, Panel) and scores is not None
    spoke = [facts.version for row in range(5) if (facts := panel.of(row))]
    assert spoke == [version(root, seed) for seed in (3, 2, 1, 1, 1)]
    registry = DirectoryRegistry(root)
    for row, wanted in enumerate(spoke):
        path = next(p for n in registry.names() if (p := registry.find(n, wanted)))
        alone = artifact.load(path).score(own(matrix[row : row + 1]))
        np.testing.assert_array_equal(scores[row : row + 1], alone)


def test_the_bits_do_not_depend_on_who_is_asked_together(root: Path) -> None:
    scorer, matrix = scorer_of(root), boundary(5).vectors
    whole = scorer.score(matrix, LAYOUT.fingerprint, SYMBOLS)[0]
    assert whole is not None
    random = np.random.default_rng(1)
    for _ in range(20):
        rows = random.permutation(5)[: random.integers(1, 6)]
        part = scorer.score(matrix[rows], LAYOUT.fingerprint, [SYMBOLS[r] for r in rows])[0]
        np.testing.assert_array_equal(part, whole[rows])


def test_one_model_for_all_answers_with_its_facts_alone(tmp_path: Path) -> None:
    train(tmp_path, seed=1)
    scorer, matrix = scorer_of(tmp_path), boundary(5).vectors
    scores, facts, own_fingerprint = scorer.score(matrix, LAYOUT.fingerprint, SYMBOLS)
    named, unnamed = scores, scorer.score(matrix, LAYOUT.fingerprint)
    assert isinstance(facts, ModelFacts) and own_fingerprint == unnamed[2]
    np.testing.assert_array_equal(named, unnamed[0])


def test_symbols_without_a_model_are_refused_and_the_others_are_not(
    tmp_path: Path, hot: RedisHot
) -> None:
    scoped(tmp_path / "models", 3, "symbol:AAAUSDT", ("AAAUSDT",))
    scorer = scorer_of(tmp_path / "models")
    assert scorer.score(boundary(1).vectors, LAYOUT.fingerprint, ("BBBUSDT",)) == (None,) * 3
    assert tell(gate_of(scorer, hot))["reasons"] == {"signal": 1, "no_model": 1}
    stored = hot.verdicts()
    assert stored["AAAUSDT"]["model_version"] == version(tmp_path / "models", 3)
    assert stored["BBBUSDT"]["model_version"] is None


def test_a_new_champion_of_a_scope_speaks_without_a_restart_and_a_damaged_one_does_not(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FOLLOW_S", 0.0)
    scorer, matrix = scorer_of(root), boundary(5).vectors

    def speaks(row: int) -> str:
        facts = scorer.score(matrix, LAYOUT.fingerprint, SYMBOLS)[1]
        assert isinstance(facts, Panel)
        spoken = facts.of(row)
        assert spoken is not None
        return spoken.version

    scoped(root, 4, "symbol:AAAUSDT", ("AAAUSDT",))
    assert speaks(0) == version(root, 4)
    damaged = scoped(root, 5, "symbol:AAAUSDT", ("AAAUSDT",))
    (damaged / "model.onnx").write_bytes(b"damaged")
    assert speaks(0) == version(root, 4) and speaks(4) == version(root, 1)


def test_the_champion_for_any_symbol_is_the_pooled_one(root: Path) -> None:
    path = champion_of(DirectoryRegistry(root), DOMAIN)
    assert path is not None and artifact.load_card(path).scope == "pooled"


def test_a_replay_takes_each_symbols_model_from_the_record(root: Path, hot: RedisHot) -> None:
    summary = tell(gate_of(scorer_of(root), hot), symbols=SYMBOLS, tell_all=True)
    closed = boundary(5)
    said = RecordedBoundary(
        **{name: getattr(closed, name) for name in closed.__slots__},
        probabilities=summary["scores"], verdicts=summary["said"], policy=summary["policy"],
    )  # fmt: skip
    registry = DirectoryRegistry(root)
    judging = Judging(SYMBOLS, DOMAIN, registry, EASY, judged=True)
    scoped(root, 6, "symbol:AAAUSDT", ("AAAUSDT",))  # who is champion now says nothing of then
    opinion = judging(closed, said)
    np.testing.assert_array_equal(opinion.scores, summary["scores"])
    assert opinion.verdicts == summary["said"]
    assert judging.versions == sorted(version(root, seed) for seed in (1, 2, 3))
    chosen = Judging(SYMBOLS, DOMAIN, registry, EASY, "champion")(closed, None)
    assert chosen.verdicts is not None
    assert [v["model_version"] for v in chosen.verdicts] == [
        version(root, seed) for seed in (6, 2, 1, 1, 1)
    ]


def test_an_expired_model_is_silent_and_shows_its_age(root: Path, hot: RedisHot) -> None:
    aged = {"trained_to_ns": T0_NS - 10 * 10**9, "max_age_s": 11.0}
    scoped(root, 7, "symbol:BBBUSDT", ("BBBUSDT",), **aged)
    gate = gate_of(scorer_of(root), hot)
    assert tell(gate, symbols=SYMBOLS[:2])["reasons"] == {"signal": 2}
    told = json.loads(hot.note(NOTE) or b"")["models"]
    (young,) = [model for model in told if model["scope"] == "symbol:BBBUSDT"]
    assert (young["age_s"], young["max_age_s"], young["expired"]) == (10.0, 11.0, False)
    assert tell(gate, 2, SYMBOLS[:2])["reasons"] == {"cool_down": 1, "model_expired": 1}
    (old,) = [model for model in json.loads(hot.note(NOTE) or b"")["models"] if model["expired"]]
    assert old["version"] == version(root, 7) and old["age_s"] == 12.0
