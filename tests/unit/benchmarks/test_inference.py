"""benchmarks.inference: all score the same model, and who scores another is named."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from benchmarks import _scorers, inference
from benchmarks._peers import PeerError
from benchmarks._scorers import Scorer

# Stands in for a compiler of trees: the right scores, with the fault asked for.
PROGRAM = """
    import sys
    sys.path.insert(0, {peers!r})
    import inference_trees, numpy
    def by_this(path):
        wanted = numpy.load(path.replace("model.txt", "wanted.npy"))
        return lambda X: wanted[:len(X)] + {fault}
    inference_trees.SINGLE_CALLS = 5
    inference_trees.PACKAGES = {{"treelite": by_this}}
    inference_trees.main()
"""


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, np.ndarray]:
    folder = tmp_path_factory.mktemp("case")
    booster, X = inference.trained(3, 7)
    booster.save_model(folder / "model.txt")
    np.save(folder / "rows.npy", X[:50])
    wanted = booster.predict(X[:50], raw_score=True)
    np.save(folder / "wanted.npy", wanted)
    return folder / "model.txt", folder / "rows.npy", wanted


def scorer(
    case: tuple[Path, Path, np.ndarray], folder: Path, patch: pytest.MonkeyPatch, fault: str
) -> Scorer:
    program = PROGRAM.format(peers=str(_scorers.SCRIPTS), fault=fault)
    (folder / "inference_trees.py").write_text(textwrap.dedent(program))
    patch.setattr(_scorers, "environment", lambda package: Path(sys.executable))
    real, _scorers.SCRIPTS = _scorers.SCRIPTS, folder
    try:
        return Scorer("treelite", *case)
    finally:
        _scorers.SCRIPTS = real


def test_a_peer_tells_its_times(
    case: tuple[Path, Path, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = scorer(case, tmp_path, monkeypatch, "0.0")
    try:
        assert one.off == 0.0
        assert one.single() > 0
        rows, cpu_s = one.prepare()()
        assert rows == 50 and cpu_s > 0
    finally:
        one.stop()


@pytest.mark.parametrize(
    ("fault", "why"), [("0.001", "scores are off by 0.001"), ("1 / 0", "ZeroDivisionError")]
)
def test_a_peer_that_scores_otherwise_or_crashes_is_named(
    case: tuple[Path, Path, np.ndarray],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fault: str,
    why: str,
) -> None:
    with pytest.raises(PeerError, match=why):
        scorer(case, tmp_path, monkeypatch, fault)


def test_lightgbms_fast_way_and_the_graph_score_the_same_rows() -> None:
    booster, X = inference.trained(3, 7)
    fast = inference.fast_single_row(booster)
    exact = booster.predict(X[:20], raw_score=True)
    assert [fast(row[None]) for row in X[:20]] == exact.tolist()


def test_the_linear_part_of_the_benchmark_can_be_scored() -> None:
    score = inference.graph_score([inference.linear_part()] * 2)
    p = score(np.zeros((3, inference.FEATURES), np.float32))
    assert p.shape == (3, 2) and np.allclose(p, 0.5, atol=0.01)
