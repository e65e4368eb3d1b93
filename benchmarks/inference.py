"""Scoring: the exported graph beside the trainer and the compilers of trees.

500 trees of 31 leaves over 60 features, trained on noise with a faint edge, 3 % of the values
missing. `p50_us` is the median wall time of a call with one row, another row each call, on one
thread: the goal is 30. `rows_per_cpu_s` is of calls with 4,096 rows. `off` is the largest
difference of a raw score from LightGBM's own. Ours is the whole graph, calibration included,
through the call that the servers use. A peer runs in an environment and a process of its own.
"""

from __future__ import annotations

from benchmarks.common import Contestant, Figures, arguments, finish, say, take_turns  # isort: skip

import ctypes
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import lightgbm as lgb
import numpy as np
from numpy.typing import NDArray

from benchmarks._peers import PeerError
from benchmarks._scorers import PACKAGES, Scorer
from foreshock.models.calibration import Table
from foreshock.models.onnx import build_graph
from foreshock.models.parts import Linear, Part, TreeSum
from foreshock.models.session import open_session, run_graph
from foreshock.models.trees import flatten

FEATURES, LEAVES, BATCH = 60, 31, 4096
SINGLE_CALLS = 4000
GOAL_US = 30.0
Score = Callable[[NDArray[np.float32]], Any]
US = "foreshock: onnxruntime"


def trained(trees: int, leaves: int) -> tuple[lgb.Booster, NDArray[np.float32]]:
    """A booster of so many full trees, and rows to score (BATCH, FEATURES)."""
    random = np.random.default_rng(1)
    X = random.normal(size=(20_000, FEATURES)).astype(np.float32)
    X[random.random(X.shape) < 0.03] = np.nan
    y = np.nan_to_num(X[:, 0]) + random.normal(size=len(X)) > 0
    params = {"objective": "binary", "num_leaves": leaves, "num_threads": 1, "verbosity": -1}
    return lgb.train({**params, "boost_from_average": False}, lgb.Dataset(X, y), trees), X[:BATCH]


def sigmoid_table() -> Table:
    """A calibration of 64 knots."""
    knots = np.linspace(-6, 6, 64)
    return Table(knots.astype(np.float32), (1 / (1 + np.exp(-knots))).astype(np.float32), "platt")


def graph_score(parts: list[Part]) -> Score:
    """The call of the servers: one graph, probabilities of all its horizons."""
    session = open_session(build_graph(parts, FEATURES, [sigmoid_table()] * len(parts)))
    return lambda X: run_graph(session, X, "probability")


def linear_part() -> Linear:
    """60 columns, imputed, scaled, clipped and weighed."""
    random = np.random.default_rng(2)
    ones = np.ones(FEATURES, np.float32)
    weight = random.normal(size=FEATURES).astype(np.float32)
    return Linear(ones * 0, ones, ones * 0, weight, 0.0, 4.0)


def fast_single_row(booster: lgb.Booster) -> Score:
    """LightGBM's own fastest way to score a row: its C interface, set up beforehand."""
    library = lgb.basic._LIB
    config = ctypes.c_void_p()
    raw, floats, threads = ctypes.c_int(1), ctypes.c_int(0), ctypes.c_char_p(b"num_threads=1")
    handle = booster._handle if hasattr(booster, "_handle") else booster.handle
    done = library.LGBM_BoosterPredictForMatSingleRowFastInit(
        handle, raw, ctypes.c_int(0), ctypes.c_int(-1), floats, ctypes.c_int32(FEATURES), threads,
        ctypes.byref(config),
    )  # fmt: skip
    assert done == 0, "LightGBM refused"
    length, out = ctypes.c_int64(), ctypes.c_double()

    def score(row: NDArray[np.float32]) -> float:
        library.LGBM_BoosterPredictForMatSingleRowFast(
            config, row.ctypes.data_as(ctypes.c_void_p), ctypes.byref(length), ctypes.byref(out)
        )
        return out.value

    return score


@dataclass(frozen=True, slots=True)
class Local:
    """A way to score in this process."""

    score: Score
    rows: NDArray[np.float32]

    def single(self) -> float:
        """Median wall time of a row, µs."""
        spent = []
        for i in range(SINGLE_CALLS):
            row = self.rows[i % len(self.rows)][None]
            began = time.perf_counter_ns()
            self.score(row)
            spent.append(time.perf_counter_ns() - began)
        return median(spent) / 1e3

    def prepare(self) -> Callable[[], int]:
        def work() -> int:
            self.score(self.rows)
            return len(self.rows)

        return work


def singles(contestants: Mapping[str, Any], rounds: int) -> dict[str, float]:
    """The best of the medians of each, taken in turns: what else the machine does only adds."""
    seen: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(rounds):
        for name, contestant in contestants.items():
            seen[name].append(contestant.single())
        say(f"single rows, round {turn + 1} of {rounds}")
    return {name: min(times) for name, times in seen.items()}


def peers(
    folder: Path, booster: lgb.Booster, X: NDArray[np.float32], failed: dict[str, Figures]
) -> dict[str, Scorer]:
    """Those that can run; the reason of each that cannot is put in `failed`."""
    model, rows = folder / "model.txt", folder / "rows.npy"
    booster.save_model(model)
    np.save(rows, X)
    wanted = np.asarray(booster.predict(X, raw_score=True), np.float64)
    out = {}
    for name in PACKAGES:
        try:
            out[name] = Scorer(name, model, rows, wanted)
        except PeerError as error:
            failed[name] = {"p50_us": f"not available: {error}"}
            say(f"{name}: {error}")
    return out


def main() -> None:
    given = arguments(__doc__)
    booster, X = trained(100 if given.quick else 500, LEAVES)
    part = TreeSum(tuple(flatten(booster)), 0.0)
    small = TreeSum(tuple(flatten(trained(120, 15)[0])), 0.0)
    local: dict[str, Local] = {
        US: Local(graph_score([part]), X),
        "LightGBM predict": Local(lambda X: booster.predict(X, raw_score=True, num_threads=1), X),
        "foreshock: 4 horizons of 120 trees × 15 leaves": Local(graph_score([small] * 4), X),
        "foreshock: a linear part of 60 columns": Local(graph_score([linear_part()]), X),
    }
    alone = {"LightGBM, single row, fast": Local(fast_single_row(booster), X)}
    exact = np.asarray(booster.predict(X, raw_score=True), np.float64)
    raw = run_graph(open_session(build_graph([part], FEATURES)), X, "raw_score")[:, 0]
    off = {US: float(np.abs(raw - exact).max()), "LightGBM predict": 0.0}
    failed: dict[str, Figures] = {}
    rounds = 3 if given.quick else 7
    with TemporaryDirectory() as folder:
        others = peers(Path(folder), booster, X, failed)
        off |= {name: other.off for name, other in others.items()}
        took = singles({**local, **alone, **others}, rounds)
        contestants: dict[str, Contestant] = {**local, **others}
        rates = take_turns(contestants, rounds)
        for other in others.values():
            other.stop()
    results: dict[str, Figures] = {}
    for name, p50 in took.items():
        figures: Figures = {"p50_us": p50}
        if name in rates:
            figures["rows_per_cpu_s"], figures["spread"] = rates[name]
        figures["off"] = f"{off[name]:.1g}" if name in off else ""
        figures["set_up_s"] = others[name].set_up_s if name in others else ""
        results[name] = figures
    ratios = {"a single row / the goal of 30 µs": took[US] / GOAL_US} | {
        f"rows per CPU-second, foreshock / {name}": rates[US][0] / rates[name][0]
        for name in ("LightGBM predict", *others)
    }
    title = "Inference: 500 trees of 31 leaves, 60 features"
    finish("inference", given, results | failed, ratios, title)


if __name__ == "__main__":
    main()
