"""The sweep's own cost: wall time × cores over the CPU time of the same bare LightGBM fits.

    python -m benchmarks.tuning [--quick] [--json]

Symbols × 5 folds × 20 trials, one horizon, pruning off, every fit about half a second or more, on
two cores. A bare fit is `lightgbm.Dataset` and `lightgbm.train` on a fold's training rows, one
thread, one after the other; of them an even sample is timed and scaled up. joblib (loky) makes
the same bare fits in two processes. The sweep makes them too, and calibrates, fixes a threshold,
tests and keeps a journal beside; its workers are started within its time, its Ray is not. The
trials of a fold share its binned rows, so that it may spend less than bare fits do.

Wall time means something on a quiet machine only. So each ratio is told a second time with what
*other* programs burnt meanwhile taken off wall × cores; cores that stood idle still count.
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

from cluster.processes import descendants
from foreshock.models.boosted import BoostedSettings
from foreshock.models.dataset import TrainingSet
from foreshock.validation.search import Range, SearchSettings
from foreshock.validation.walk_forward import Fold, WalkForwardSettings, walk_forward
from pipelines.run_journal import journal
from pipelines.sweep import Job, plan_sweep, ray_session
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


def recipes(seed: int) -> list[dict[str, Any]]:
    """What bare fits are made with: drawn from the space, as the search begins."""
    random = np.random.default_rng(seed)
    return [
        BASE.model_copy(
            update={
                "learning_rate": float(np.exp(random.uniform(np.log(0.02), np.log(0.15)))),
                "l2": float(np.exp(random.uniform(np.log(0.1), np.log(10)))),
                "min_leaf_rows": int(np.exp(random.uniform(np.log(20), np.log(100)))),
            }
        ).lightgbm()
        for _ in range(TRIALS)
    ]


def parts(data: TrainingSet, folds: list[Fold]) -> list[tuple[Any, Any]]:
    """(X, y) of each symbol's training part of each fold."""
    out = []
    for number in range(len(data.symbols)):
        for fold in folds:
            rows = fold.train[data.symbol[fold.train] == number]
            out.append((data.X[rows], data.labels[rows, 0].astype(np.float64)))
    return out


def by_bare_fits(work: list[tuple[Any, Any]]) -> tuple[float, float]:
    """(CPU seconds of all bare fits, from a sample; least CPU seconds of one)."""
    drawn = recipes(1)
    fits = [(place, trial) for place in range(len(work)) for trial in range(TRIALS)]
    seconds = [bare(*work[place], drawn[trial]) for place, trial in fits[::SAMPLED]]
    return statistics.mean(seconds) * len(fits), min(seconds)


class Spent:
    """Wall seconds of a block; CPU seconds of this process and all below it, and of everybody
    else. On Linux; elsewhere nobody else is known of."""

    def __enter__(self) -> Spent:
        self._wall, self._own, self._all = time.perf_counter(), _own_cpu_s(), _all_cpu_s()
        return self

    def __exit__(self, *_: object) -> None:
        self.wall = time.perf_counter() - self._wall
        self.own = _own_cpu_s() - self._own
        self.others = max(0.0, _all_cpu_s() - self._all - self.own)

    @property
    def core_s(self) -> float:
        """Wall × cores."""
        return self.wall * CORES

    @property
    def core_s_ours(self) -> float:
        """Wall × cores of the machine, less what others burnt; all idle cores are charged to us."""
        return self.wall * (os.cpu_count() or CORES) - self.others

    def figures(self) -> Figures:
        """For the table."""
        return {"wall s": self.wall, "own CPU s": self.own, "others' CPU s": self.others}


def _own_cpu_s() -> float:
    """CPU seconds of this process and its descendants, ended ones that were waited for included."""
    total = 0.0
    for pid in [os.getpid(), *descendants()]:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        total += sum(map(int, fields[11:15])) / TICKS
    return total


def _all_cpu_s() -> float:
    """CPU seconds of everybody: all states but idle and waiting for disks."""
    try:
        fields = list(map(int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]))
    except OSError:
        return _own_cpu_s()
    return (sum(fields) - fields[3] - fields[4]) / TICKS


def by_joblib(work: list[tuple[Any, Any]]) -> Spent:
    """All bare fits in two processes of joblib."""
    from joblib import Parallel, delayed

    drawn = recipes(1)
    with Spent() as spent:
        Parallel(n_jobs=CORES)(delayed(bare)(X, y, params) for X, y in work for params in drawn)
    return spent


def by_sweep(data: TrainingSet, folds: list[Fold], place: Path) -> tuple[Spent, float]:
    """(the sweep on Ray, seconds until Ray was up)."""
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
    return spent, up


def main() -> None:
    """Run and tell."""
    given = arguments(__doc__)
    os.environ.setdefault("RAY_worker_niceness", "0")
    symbols = 4 if given.quick else 32
    data = made(symbols)
    folds = walk_forward(data.t0_ns, data.end_ns, WALK)
    work = parts(data, folds)
    fits = len(work) * TRIALS
    say(f"{symbols} symbols × {len(folds)} folds × {TRIALS} trials = {fits} fits")
    cpu, least = by_bare_fits(work)
    say(f"bare: {cpu:.1f} CPU s, {cpu / fits:.3f} s a fit, at least {least:.3f}")
    with tempfile.TemporaryDirectory(prefix="foreshock-bench-") as place:
        ours, up = by_sweep(data, folds, Path(place))
    say(f"sweep: {ours.wall:.1f} s, Ray was up after {up:.1f}")
    peer = by_joblib(work)
    say(f"joblib: {peer.wall:.1f} s")
    again, _ = by_bare_fits(work[:: max(1, len(work) // 10)])
    cpu = (cpu + again * len(work) / len(work[:: max(1, len(work) // 10)])) / 2
    count = float(fits)
    results: dict[str, Figures] = {
        "bare fits": {"fits": count, "own CPU s": cpu, "s a fit": cpu / fits, "least s": least},
        "foreshock sweep": {"fits": count, **ours.figures()},
        "joblib": {"fits": count, **peer.figures()},
    }
    ratios = {}
    for name, spent in (("sweep", ours), ("joblib", peer)):
        ratios[f"{name}: wall × cores / CPU of bare fits"] = spent.core_s / cpu
        ratios[f"{name}: the same, less what other programs burnt"] = spent.core_s_ours / cpu
    ratios["sweep / joblib, wall"] = ours.wall / peer.wall
    title = f"Sweep: {symbols} symbols × {len(folds)} folds × {TRIALS} trials on {CORES} cores"
    finish("tuning", given, results, ratios, title)


if __name__ == "__main__":
    main()
