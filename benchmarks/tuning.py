"""The sweep's own cost: wall time × cores over the CPU time of the same bare LightGBM fits.

    python -m benchmarks.tuning [--quick] [--json]

Symbols × 5 folds × 20 trials, one horizon, pruning off, every fit about half a second or more, on
two cores. The sweep comes first; its workers are started within its time, its Ray is not. Then
joblib (loky) makes the same fits bare, in two processes: `lightgbm.Dataset` and `lightgbm.train`
on a fold's training rows with the recipe that the sweep drew, one thread. The CPU time of these is
what both are measured by; an even sample of them, made one after the other with the second core
idle, shows how much of it the two cost each other. The sweep calibrates, fixes a threshold, tests
and keeps a journal beside; the trials of a fold share its binned rows, so that it saves some too.

Wall time means something on a quiet machine only: what the whole machine burnt stands beside it.
"""

from __future__ import annotations

from benchmarks.common import Figures, arguments, finish, say  # sets threads first

# isort: split
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np

from foreshock.models.boosted import BoostedSettings
from foreshock.models.dataset import TrainingSet
from foreshock.validation.search import Range, SearchSettings
from foreshock.validation.walk_forward import Fold, WalkForwardSettings, walk_forward
from pipelines.run_journal import journal
from pipelines.sweep import Job, ScopeResult, plan_sweep, ray_session
from pipelines.training import TrainingSettings

CORES = 2
TRIALS = 20
STEPS = 20_000
FEATURES = 60
TICKS = os.sysconf("SC_CLK_TCK")
SAMPLED = 8  # of so many bare fits one is timed
WALK = WalkForwardSettings(folds=5, mode="rolling", train_share=0.5, calibration_share=0.1)
BASE = BoostedSettings(trees=120, leaves=31, feature_share=0.8, row_share=0.8)
SEARCH = SearchSettings(
    space={
        "learning_rate": Range(low=0.02, high=0.15, log=True),
        "l2": Range(low=0.1, high=10.0, log=True),
        "min_leaf_rows": Range(low=20, high=100, log=True, whole=True),
    },
    batch=5, prune=False, scopes=("symbol",),
)  # fmt: skip
SECOND = 1_000_000_000


def made(symbols: int, seed: int = 3) -> TrainingSet:
    """Noise with a little edge: `STEPS` minutes of every symbol."""
    random = np.random.default_rng(seed)
    n = STEPS * symbols
    t0 = np.repeat(np.arange(STEPS, dtype=np.int64) * 60 * SECOND, symbols)
    X = random.standard_normal((n, FEATURES), dtype=np.float32)
    drive = 0.8 * X[:, 0] + 0.4 * X[:, 1] * X[:, 2] - 1.5
    labels = (random.random(n) < 1 / (1 + np.exp(-drive))).astype(np.int8)[:, None]
    names = [f"feature_{i}" for i in range(FEATURES)]

    def bps(value: float) -> Any:
        return np.full((n, 1), value, np.float32)

    return TrainingSet(
        X=X, labels=labels, t0_ns=t0, t1_ns=t0[:, None] + 50 * SECOND,
        symbol=np.tile(np.arange(symbols, dtype=np.int32), STEPS),
        symbols=tuple(f"S{i:02}USDT" for i in range(symbols)),
        outcome_bps=np.where(labels == 1, 30, -15).astype(np.float32),
        bill_bps=bps(8.0), far_bps=bps(30.0), near_bps=bps(15.0),
        manifest={
            "feature_names": names, "required_features": [], "horizons_s": [60],
            "feature_digests": {name: name for name in names},
            "layout_fingerprint": "0" * 16, "label_fingerprint": "1" * 16,
            "domain": {"source": "simulation", "market": "binance-spot", "tier": "bars"},
        },
    )  # fmt: skip


def bare(X: Any, y: Any, params: dict[str, Any]) -> float:
    """One fit; its CPU seconds."""
    started = time.process_time()
    rows = lgb.Dataset(X, label=y, params={"verbosity": -1, "num_threads": 1})
    lgb.train(params, rows, num_boost_round=BASE.trees)
    return time.process_time() - started


def parts(data: TrainingSet, folds: list[Fold]) -> list[tuple[str, Any, Any]]:
    """(symbol, X, y) of each symbol's training part of each fold."""
    out = []
    for number in range(len(data.symbols)):
        for fold in folds:
            rows = fold.train[data.symbol[fold.train] == number]
            y = data.labels[rows, 0].astype(np.float64)
            out.append((data.symbols[number], data.X[rows], y))
    return out


Fit = tuple[Any, Any, dict[str, Any]]  # X, y, LightGBM's parameters


def by_bare_fits(fits: list[Fit]) -> tuple[float, float]:
    """(CPU seconds of all of them, from a sample; least CPU seconds of one)."""
    seconds = [bare(*fit) for fit in fits[::SAMPLED]]
    return statistics.mean(seconds) * len(fits), min(seconds)


class Spent:
    """Wall seconds of a block, and CPU seconds of the whole machine within it."""

    def __enter__(self) -> Spent:
        self._wall, self._cpu = time.perf_counter(), _machine_cpu_s()
        return self

    def __exit__(self, *_: object) -> None:
        self.wall = time.perf_counter() - self._wall
        self.machine_cpu = _machine_cpu_s() - self._cpu

    def figures(self) -> Figures:
        """For the table."""
        return {"wall s": self.wall, "the machine's CPU s": self.machine_cpu}


def _machine_cpu_s() -> float:
    """CPU seconds of everybody since it was started; NaN where there is no /proc."""
    try:
        fields = list(map(int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]))
    except OSError:
        return float("nan")
    return (sum(fields) - fields[3] - fields[4]) / TICKS  # idle, waiting for disks


def by_joblib(fits: list[Fit]) -> tuple[Spent, float]:
    """All bare fits in two processes of joblib; their CPU seconds."""
    from joblib import Parallel, delayed

    with Spent() as spent:
        seconds = Parallel(n_jobs=CORES)(delayed(bare)(*fit) for fit in fits)
    return spent, sum(seconds)


def by_sweep(
    data: TrainingSet, folds: list[Fold], place: Path
) -> tuple[Spent, float, list[ScopeResult]]:
    """(the sweep on Ray, seconds until Ray was up, what it tried)."""
    started = time.perf_counter()
    with ray_session(num_cpus=CORES):
        up = time.perf_counter() - started
        from pipelines.sweep_ray import sweep_on_ray

        with (
            Spent() as spent,
            journal(place / "journal.jsonl", "benchmark", {}, resume=False) as (keep, _),
        ):
            sweep = plan_sweep(data, folds, BASE, [], TRIALS, SEARCH, 5, tell=keep)
            settings = TrainingSettings(walk=WALK)
            found = sweep_on_ray(sweep, Job.of(data, folds, list(sweep.scopes.values()), settings))
    assert all(t.state == "complete" for result in found for t in result.trials)
    return spent, up, found


def main() -> None:
    """Run and tell."""
    given = arguments(__doc__)
    os.environ.setdefault("RAY_worker_niceness", "0")
    symbols = 4 if given.quick else 32
    data = made(symbols)
    folds = walk_forward(data.t0_ns, data.end_ns, WALK)
    count = symbols * len(folds) * TRIALS
    say(f"{symbols} symbols × {len(folds)} folds × {TRIALS} trials = {count} fits")
    with tempfile.TemporaryDirectory(prefix="foreshock-bench-") as place:
        ours, up, found = by_sweep(data, folds, Path(place))
    say(f"sweep: {ours.wall:.1f} s, Ray was up after {up:.1f}")
    tried = {result.scope.name: [trial.recipe for trial in result.trials] for result in found}
    fits = [
        (X, y, recipe.lightgbm())
        for symbol, X, y in parts(data, folds)
        for recipe in tried[f"symbol:{symbol}"]
    ]
    assert len(fits) == count
    peer, cpu = by_joblib(fits)
    say(f"joblib: {peer.wall:.1f} s, {cpu:.1f} CPU s of fits")
    alone, least = by_bare_fits(fits)
    say(f"one at a time: {alone:.1f} CPU s, {alone / count:.3f} s a fit, at least {least:.3f}")
    results: dict[str, Figures] = {
        "foreshock sweep": {"fits": float(count), **ours.figures()},
        "joblib": {"fits": float(count), **peer.figures(), "CPU s of the fits": cpu},
        "bare fits, one at a time": {
            "fits": float(count),
            "CPU s of the fits": alone,
            "least s": least,
        },
    }
    ratios = {}
    for name, spent in (("sweep", ours), ("joblib", peer)):
        ratios[f"{name}: wall × cores / CPU of the same bare fits"] = spent.wall * CORES / cpu
        ratios[f"{name}: the same, by fits made one at a time"] = spent.wall * CORES / alone
    ratios["sweep / joblib, wall"] = ours.wall / peer.wall
    title = f"Sweep: {symbols} symbols × {len(folds)} folds × {TRIALS} trials on {CORES} cores"
    finish("tuning", given, results, ratios, title)


if __name__ == "__main__":
    main()
