"""What a training holds in memory, measured, beside what `foreshock train --plan` says before.

    python -m benchmarks.training_memory [--quick] [--json]

A dataset of 8, 40 and 400 symbols as the preset 10/2/2 wants it, a row every five minutes, is
written to disk and trained on by `python -m pipelines.tune_models` as anybody would: one trial of
the pooled scope, with two workers of Ray and in one process. Meanwhile every process of it is
looked at four times a second: pages that several share are counted once, by the share of each
(Pss of /proc/PID/smaps_rollup), so that the object store is in the sum exactly once.

    load    until the first worker is there: the dataset is read and put in order
    sweep   while there are workers
    final   after them: the shipped model is fitted, certified, judged beside its baselines

The peak is the largest sum at one moment, not the sum of the largest. With 400 symbols there are 60
columns and two folds, so that the literal run fits on a small machine beside others; the width of a
whole set of bars is measured with fewer symbols. `--quick`: 8 symbols of 60 columns.
"""

from __future__ import annotations

from benchmarks.common import ROOT, Figures, arguments, finish, say  # sets threads first

# isort: split
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow.parquet as pq

from foreshock.settings import Config, load
from foreshock.validation.walk_forward import PRESETS
from pipelines.datasets import part_path, table_of, write_manifest
from pipelines.training_plan import plan_of

SECOND: Final = 1_000_000_000
DAY: Final = 86_400 * SECOND
STRIDE_S: Final = 300
START: Final = 1_700_006_400 * SECOND  # a midnight
HORIZON_S: Final = 900
BARS_COLUMNS: Final = 310  # of a set made from bars with every family of features
LOOK_EVERY_S: Final = 0.25
GIB: Final = 1 << 30


@dataclass(frozen=True, slots=True)
class Case:
    """One training: its dataset, and how it is run."""

    symbols: int
    columns: int
    folds: int
    workers: int  # 0: in one process

    @property
    def name(self) -> str:
        """For the table."""
        how = f"{self.workers} workers" if self.workers else "in one process"
        return f"{self.symbols} symbols × {self.columns} columns, {self.folds} folds, {how}"


CASES: Final = (
    Case(8, BARS_COLUMNS, 5, 2),
    Case(8, BARS_COLUMNS, 5, 0),
    Case(40, BARS_COLUMNS, 2, 2),
    Case(40, BARS_COLUMNS, 2, 0),
    Case(400, 60, 2, 2),
)
QUICK: Final = (Case(8, 60, 2, 2), Case(8, 60, 2, 0))


def write_set(place: Path, symbols: int, columns: int, seed: int = 3) -> Path:
    """A dataset with a little edge: a row a symbol every five minutes for as many days as the
    preset wants. Values have few bits, so that its files stay small."""
    random = np.random.default_rng(seed)
    days, steps = PRESETS["10/2/2"].days, DAY // (STRIDE_S * SECOND)
    names = [f"feature_{i:03d}" for i in range(columns)]
    listed = [f"S{i:03d}USDT" for i in range(symbols)]
    parts: dict[str, int] = {}
    for symbol in listed:
        for day in range(days):
            t0 = START + day * DAY + np.arange(steps, dtype=np.int64) * STRIDE_S * SECOND
            X = random.integers(-64, 65, (steps, columns), dtype=np.int8).astype(np.float32) / 32
            drive = 0.8 * X[:, 0] + 0.4 * X[:, 1] * X[:, 2] - 1.5
            label = (random.random(steps) < 1 / (1 + np.exp(-drive))).astype(np.int8)[:, None]
            flat = {"bill_bps": 8.0, "far_bps": 30.0, "near_bps": 15.0}
            arrays = {
                "X": X, "t0_ns": t0, "labels": label, "t1_ns": t0[:, None] + HORIZON_S * SECOND,
                "outcome_bps": np.where(label == 1, 30, -15).astype(np.float32),
                **{name: np.full((steps, 1), v, np.float32) for name, v in flat.items()},
            }  # fmt: skip
            path = part_path(symbol, int(t0[0]) // DAY, "rows")
            (place / path).parent.mkdir(parents=True)
            pq.write_table(table_of(arrays, names, [HORIZON_S]), place / path, compression="zstd")
            parts[path] = steps
    manifest = {
        "feature_names": names, "required_features": [], "horizons_s": [HORIZON_S],
        "feature_digests": {name: name for name in names}, "layout_fingerprint": "0" * 16,
        "label_fingerprint": "1" * 16,
        "domain": {"source": "simulation", "market": "binance-usdm", "tier": "bars"},
    }  # fmt: skip
    write_manifest(place, manifest, listed, parts)
    return place


def settings(case: Case, var: Path) -> dict[str, str]:
    """The settings of the training, as variables."""
    cut = {**PRESETS["10/2/2"].model_dump(), "folds": case.folds}
    given: dict[str, Any] = {
        "paths.var_dir": str(var),
        "training.features": '["*"]',
        "training.certificate_rows": 1_000_000,
        "training.trials": 1,
        "training.max_concurrent": case.workers,
        "training.walk_forward.preset": "10/2/2",
        "training.walk_forward.presets": json.dumps({"10/2/2": cut}),
    }
    return {f"FORESHOCK__{k.replace('.', '__').upper()}": str(v) for k, v in given.items()}


def tree_of(variables: dict[str, str]) -> Config:
    """The same, as the training reads them."""
    return load(environment=variables, dotenv=Path(os.devnull)).tree


@dataclass(slots=True)
class Look:
    """Bytes of one moment: the driver, each worker, Ray's own processes, the object store."""

    driver: int = 0
    workers: list[int] = field(default_factory=list)
    rest: int = 0
    store: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return self.driver + sum(self.workers) + self.rest + self.store


def look_at(driver: int) -> Look:
    """A process and all that descend from it."""
    seen = Look()
    for pid in _family(driver):
        try:
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
            title = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue  # it has ended meanwhile
        size = {line.split(":")[0]: line.split()[1] for line in rollup.splitlines()[1:]}
        own = (int(size["Pss_Anon"]) + int(size["Pss_File"])) << 10
        seen.store += int(size["Pss_Shmem"]) << 10
        if pid == driver:
            seen.driver = own
        elif title.startswith(b"ray::") and b"IDLE" not in title and b"Desk" not in title:
            seen.workers.append(own)
        else:
            seen.rest += own
    return seen


def _family(root: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
        except (OSError, IndexError):
            continue
        children.setdefault(parent, []).append(int(path.parent.name))
    found = [root]
    for pid in found:
        found += children.get(pid, [])
    return found


def watched(case: Case, dataset: Path, var: Path) -> tuple[dict[str, list[Look]], float]:
    """Train; (looks by phase, wall seconds)."""
    words = ["-m", "pipelines.tune_models", "--json", "--dataset", str(dataset)]
    words += ["--out", str(var / "artifact"), "--registry", str(var / "models")]
    words += [] if case.workers else ["--no-ray"]
    variables = {**os.environ, **settings(case, var)}
    variables.pop("MLFLOW_TRACKING_URI", None)
    phases: dict[str, list[Look]] = {"load": [], "sweep": [], "final": []}
    started, phase = time.perf_counter(), "load"
    with (var / "log").open("wb") as log:
        child = subprocess.Popen(
            [sys.executable, *words], cwd=ROOT, env=variables, stdout=log, stderr=log
        )
        try:
            while child.poll() is None:
                seen = look_at(child.pid)
                if seen.workers:
                    phase = "sweep"
                elif phase == "sweep":
                    phase = "final"
                phases[phase].append(seen)
                time.sleep(LOOK_EVERY_S)
        finally:
            if child.poll() is None:
                child.terminate()
                child.wait()
    if child.returncode:
        raise SystemExit(
            f"the training ended with {child.returncode}:\n{(var / 'log').read_text()}"
        )
    return phases, time.perf_counter() - started


def measured(case: Case, dataset: Path, var: Path) -> Figures:
    """A line of the table."""
    plan = plan_of(tree_of(settings(case, var)), dataset, use_ray=bool(case.workers))
    say(f"{case.name}: the plan says {plan['bytes']['peak'] / GIB:.2f} GiB")
    phases, seconds = watched(case, dataset, var)
    every = [seen for looks in phases.values() for seen in looks]
    peak = max(seen.total for seen in every)
    out: Figures = {
        "rows": float(plan["rows"]),
        "planned GiB": plan["bytes"]["peak"] / GIB,
        "measured GiB": peak / GIB,
        "measured / planned": peak / plan["bytes"]["peak"],
    }
    for phase, looks in phases.items():
        if case.workers:
            out[f"{phase}: planned"] = plan["bytes"][phase] / GIB
            out[f"{phase}: measured"] = max((seen.total for seen in looks), default=0) / GIB
    out |= {
        "a worker": max((max(seen.workers, default=0) for seen in every), default=0) / GIB,
        "object store": max(seen.store for seen in every) / GIB,
        "Ray's own": max(seen.rest for seen in every) / GIB,
        "wall s": seconds,
    }
    return out


def main() -> None:
    """Run and tell."""
    given = arguments(__doc__)
    os.environ.setdefault("RAY_worker_niceness", "0")
    results: dict[str, Figures] = {}
    with tempfile.TemporaryDirectory(prefix="foreshock-bench-") as place:
        for number, case in enumerate(QUICK if given.quick else CASES):
            dataset = Path(place, f"{case.symbols}x{case.columns}")
            if not dataset.exists():
                write_set(dataset, case.symbols, case.columns)
            var = Path(place, f"var{number}")
            var.mkdir()
            results[case.name] = measured(case, dataset, var)
            say(f"{case.name}: {results[case.name]['measured GiB']:.2f} GiB")
    ratios = {
        f"{name}: measured / planned": float(figures["measured / planned"])
        for name, figures in results.items()
    }
    finish("training_memory", given, results, ratios, "Memory of a training")


if __name__ == "__main__":
    main()
