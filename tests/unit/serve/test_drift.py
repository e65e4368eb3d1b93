"""The gate notes how far live vectors have left training; the doors show it, and retraining too."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from foreshock.features import catalog
from foreshock.stores.hot import RedisHot
from foreshock.stores.registry import CHAMPION, DirectoryRegistry
from foreshock.validation.drift import write_reference
from serve.api import create_api
from serve.board import Board
from serve.drift import EVERY_S, Drift, reference_in
from serve.facts import NOTE, RETRAINING_NOTE
from serve.gate import Gate
from serve.scorer import Scorer, champions_of
from serve.settings import ServeSettings
from tests.unit.serve.conftest import Client
from tests.unit.serve.material import DOMAIN, FEATURES, boundary, train
from tests.unit.serve.test_gate import EASY, tell

LAYOUT = catalog.layout()


def gate_of(root: Path, hot: RedisHot) -> Gate:
    registry = DirectoryRegistry(root)
    scorer = Scorer(lambda domain: champions_of(registry, domain), DOMAIN, LAYOUT)

    async def score(matrix: Any, fingerprint: str, symbols: Any = None) -> Any:
        return scorer.score(matrix, fingerprint, symbols)

    drift = Drift(partial(reference_in, registry), LAYOUT, half_life_s=3_600.0)
    return Gate(score, hot, None, ServeSettings(), EASY, LAYOUT, drift=drift)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    card = train(tmp_path)
    path = DirectoryRegistry(tmp_path).find(card.name, CHAMPION)
    assert path is not None
    # As the material draws its vectors: normal.
    rows = np.random.default_rng(5).normal(size=(20_000, len(FEATURES))).astype(np.float32)
    write_reference(path, rows, card.feature_names)
    return tmp_path


def drift_in(hot: RedisHot) -> dict[str, Any] | None:
    found: dict[str, Any] | None = orjson.loads(hot.note(NOTE) or b"{}").get("drift")
    return found


def play(gate: Gate, shift: float) -> None:
    symbols = tuple(f"S{i}USDT" for i in range(40))
    for step in range(200):
        at_s = step * EVERY_S
        closed = boundary(len(symbols), at_s, seed=step)
        closed = replace(closed, vectors=closed.vectors + np.float32(shift))
        tell(gate, at_s, symbols, boundary=closed)


@pytest.mark.parametrize(("shift", "drifted"), [(0.0, False), (2.0, True)])
def test_vectors_of_another_market_are_noticed(
    root: Path, hot: RedisHot, shift: float, drifted: bool
) -> None:
    play(gate_of(root, hot), shift)
    told = drift_in(hot)
    assert told is not None and told["enough"] and len(told["psi"]) == len(FEATURES)
    assert (np.mean(np.array(told["psi"]) >= 0.25) >= 0.3) == drifted
    assert set(told["worst"]) <= set(FEATURES) and (told["ks"] > 0.5) == drifted


def test_a_model_without_a_reference_is_not_watched_and_others_seconds_are_passed_over(
    root: Path, tmp_path: Path, hot: RedisHot
) -> None:
    gate = gate_of(root, hot)
    tell(gate, 1)
    assert drift_in(hot) is None
    tell(gate, EVERY_S)
    told = drift_in(hot)
    assert told is not None and told["seen_s"] == 0.0 and not told["enough"]
    bare = tmp_path / "bare"
    train(bare, seed=9)
    silent = gate_of(bare, hot)
    tell(silent, 10 * EVERY_S)
    assert drift_in(hot) is None


def test_a_damaged_reference_stops_no_verdict(
    root: Path, hot: RedisHot, caplog: pytest.LogCaptureFixture
) -> None:
    (reference,) = root.glob("*/*/reference.json")
    reference.write_text("{}")
    assert tell(gate_of(root, hot), EVERY_S)["reasons"] == {"signal": 2}
    assert drift_in(hot) is None and "no reference of a model" in caplog.text


def test_retraining_is_shown_by_every_door(root: Path, hot: RedisHot) -> None:
    ask = Client(create_api(Board(hot)))
    assert ask.get("/api/v1/retraining").json()["enabled"] is False
    tell(gate_of(root, hot), EVERY_S)
    line = {
        "schedule": "direction", "scope": "pooled", "state": "failed", "failures": 2,
        "trained_ns": 1, "reason": "no dataset",
    }  # fmt: skip
    hot.publish(notes={RETRAINING_NOTE: orjson.dumps({"targets": [line], "failing": 1})})
    import time

    time.sleep(0.06)  # the board reads once for so long
    told = ask.get("/api/v1/retraining").json()
    assert told["enabled"] is True and told["targets"] == [line]
    (model,) = told["models"]
    assert model["scope"] == "pooled" and model["expired"] is False
    detailed = ask.get("/health/detailed").json()
    assert detailed["retraining"]["failing"] == 1 and detailed["models"] == told["models"]
    metrics = ask.get("/metrics").text
    assert 'foreshock_retraining_failures{schedule="direction",scope="pooled"} 2.0' in metrics
    assert 'foreshock_drift_psi{of="worst"}' in metrics
    assert f'foreshock_model_expired{{scope="pooled",version="{model["version"]}"}} 0.0' in metrics
