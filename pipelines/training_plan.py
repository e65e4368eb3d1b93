"""What a training would take, before it begins: fits, rows and bytes, from a manifest alone.

The arrays have known shapes; what libraries add was measured (0085-memory-by-phases.md of the
decisions; `python -m benchmarks.training_memory` measures it anew). One after the other there are

    load    the driver holds the rows as they were read, joined, and put in order
    sweep   the driver holds the rows, and once more what the allocator keeps of the parts, which
            are too small to be given back; the object store what the sweep may see; and each worker
            its fold: the rows that are known, copied for the trainer, their bins of one byte a
            value, the trainer's sample of a column's values, and what it keeps of other folds
            (`pipelines.trial.Cache`). Rows of all symbols are a view; a scope's own are cut out
    final   the workers are gone; the driver cuts out the last fold's rows, fits on them, and fits
            the baselines

and the peak is the largest of the three.
"""

from __future__ import annotations

import os
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

from rich.table import Table

from foreshock.errors import DatasetError
from foreshock.settings import Config
from foreshock.validation.walk_forward import WalkForwardSettings
from pipelines.datasets import read_manifest
from pipelines.trial import Cache

# Resident memory of a process with the trainer's libraries, and what is added to it.
DRIVER_BYTES: Final = 210 << 20
WORKER_BYTES: Final = 330 << 20
PARQUET_BYTES: Final = 130 << 20
RAY_BYTES: Final = 350 << 20  # its own processes, and its libraries in the driver
FINAL_BYTES: Final = 140 << 20  # pictures, MLflow, the certificate's batches
JUDGED_BYTES: Final = 340  # a row: the judge's and baselines' scores, the reference, the record
X_BYTES: Final = 4
BIN_BYTES: Final = 1
CHECK_BYTES: Final = 1  # whether a value is finite
ROW_BYTES: Final = 8 + 4 + 4  # t0, symbol, weight
HORIZON_BYTES: Final = 1 + 8 + 4 * 4  # label, t1, outcome, bill, far, near
# A row's label, weight and score in the trainer, and its gradient and Hessian there and here.
FIT_BYTES: Final = 4 + 4 + 8 + 8 + 8
# LightGBM looks at so many values of each column first, in vectors that double as they grow.
SAMPLE_ROWS, SAMPLE_BYTES = 200_000, 2 * (8 + 4)
# A linear baseline's columns, imputed, scaled and clipped: three copies of float64.
LINEAR_COLUMNS, LINEAR_BYTES = 60, 3 * 8


def plan_of(
    tree: Config,
    dataset: Path,
    trials: int | None = None,
    symbols: int | None = None,
    memory: int | None = None,
    *,
    use_ray: bool = True,
) -> dict[str, Any]:
    """What `foreshock train` would do with a dataset, JSON-ready.

    symbols   plan for so many symbols like those of the dataset, instead of its own
    memory    bytes there are; default, this machine's
    use_ray   False: the sweep runs in the driver, without an object store

    `fits` says whether the peak stays below the memory. Raises DatasetError where the directory is
    no dataset, or has none of the features.
    """
    training, body = tree.training, read_manifest(dataset)
    manifest, own = body["manifest"], len(body["symbols"])
    if not own:
        raise DatasetError(f"{dataset} has no symbols")
    count = symbols or own
    rows = round(body["rows"] * count / own)
    columns = sum(
        any(fnmatchcase(name, p) for p in training.features) for name in manifest["feature_names"]
    )
    if not columns:
        raise DatasetError(f"no feature of the dataset is called {list(training.features)}")
    horizons = len(manifest["horizons_s"])
    days = len({path.split("/")[1] for path in body["parts"]})
    seen, swept, train, folds = shares(training.walk_forward, days)
    row_bytes = columns * X_BYTES + ROW_BYTES + horizons * HORIZON_BYTES
    scopes = scope_sizes(tree, count)
    workers = (training.max_concurrent or os.cpu_count() or 1) if use_ray else 1
    train_rows = round(rows * train * max(members / count for _, members, _ in scopes))
    store = round(rows * seen * row_bytes)
    worker = max(
        _fold_bytes(round(rows * swept * part), columns, horizons, folds, part < 1)
        for part in (members / count for _, members, _ in scopes)
    )
    # Parts are put in their place as they are read: the rows are held once.
    load = rows * (row_bytes + columns * CHECK_BYTES) + DRIVER_BYTES + PARQUET_BYTES
    held = sweep = rows * row_bytes + DRIVER_BYTES
    if use_ray:
        worker += WORKER_BYTES
        sweep += RAY_BYTES + store
    sweep += workers * worker
    final = held + FINAL_BYTES + rows * JUDGED_BYTES + _final_bytes(train_rows, columns)
    peak = max(load, sweep, final)
    have = memory or os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    tried = (trials or training.trials) + len(training.search.baselines)
    fits_most = sum(number for *_, number in scopes) * tried * folds * horizons
    return {
        "dataset": str(dataset),
        "symbols": count,
        "rows": rows,
        "columns": columns,
        "horizons": horizons,
        "days": days,
        "folds": folds,
        "scopes": {name: number for name, _, number in scopes},
        "trials": tried,
        "fits_at_most": fits_most,
        "workers": workers,
        "bytes": {
            "row": row_bytes,
            "load": load,
            "sweep": sweep,
            "final": final,
            "object_store": store if use_ray else 0,
            "worker": worker,
            "peak": peak,
            "memory": have,
        },
        "largest_training_rows": train_rows,
        "fits": peak <= have,
    }


def _fold_bytes(rows: int, columns: int, horizons: int, folds: int, cut: bool) -> int:
    """What a worker holds of a scope at most: one fold that is being binned, others in the cache.

    cut   the scope has some symbols only: its rows are cut out and kept
    """
    kept = rows * columns * (horizons * BIN_BYTES + (X_BYTES if cut else 0))
    return _binning_bytes(rows, columns) + min(folds * kept, kept + Cache().limit_bytes)


def _binning_bytes(rows: int, columns: int) -> int:
    """While rows are binned: those with a known label, the trainer's sample, a fit's own arrays."""
    sample = min(rows, SAMPLE_ROWS) * columns * SAMPLE_BYTES
    return rows * (columns * X_BYTES + FIT_BYTES) + sample


def _final_bytes(rows: int, columns: int) -> int:
    """The last fold cut out, with the dearer of the shipped fit and a linear baseline."""
    trees = _binning_bytes(rows, columns) + rows * columns * BIN_BYTES
    linear = rows * (columns * X_BYTES + min(columns, LINEAR_COLUMNS) * LINEAR_BYTES)
    return rows * columns * X_BYTES + max(trees, linear)


def shares(walk: WalkForwardSettings, days: int) -> tuple[float, float, float, int]:
    """Shares of the rows: (what the sweep may see, the largest training part of its folds, that of
    the final fit), and how many folds there are."""
    cut = walk.cut
    if cut is None:
        seen = 1.0 - walk.final_test_share
        tested = 1.0 - walk.train_share - walk.calibration_share
        last = 1.0 - tested / walk.folds - walk.calibration_share
        train = walk.train_share if walk.mode == "rolling" else last
        return seen, seen * train, seen - walk.calibration_share, walk.folds
    whole = max(days, cut.days)
    before = (whole - cut.test) / whole
    kept = (cut.test + cut.calibration) / whole
    train = cut.train / whole if walk.mode == "rolling" else before - kept
    final = cut.train / whole if walk.mode == "rolling" else 1.0 - kept
    return before, train, final, cut.folds


def scope_sizes(tree: Config, symbols: int) -> list[tuple[str, int, int]]:
    """(kind, symbols of its widest scope, how many scopes) of each kind that competes."""
    search = tree.training.search
    groups = search.groups or {name: () for name in ("low", "middle", "high")}
    widest = max((len(members) for members in groups.values()), default=0) or -(-symbols // 3)
    sizes = {
        "pooled": ("pooled", symbols, 1),
        "group": ("group", widest, len(groups)),
        "symbol": ("symbol", 1, symbols),
    }
    return [sizes[kind] for kind in dict.fromkeys(search.scopes)]


def table_of(plan: dict[str, Any]) -> Table:
    """The plan for people."""
    table = Table(title=f"training on {plan['dataset']}", show_header=False)
    shape = f"{plan['rows']:,} rows × {plan['columns']} columns × {plan['horizons']} horizons"
    table.add_row("data", f"{shape}, {plan['symbols']} symbols, {plan['days']} days")
    scopes = ", ".join(f"{n} {name}" for name, n in plan["scopes"].items())
    table.add_row("scopes", scopes)
    told = f"{plan['trials']} trials × {plan['folds']} folds × {plan['horizons']} horizons a scope"
    table.add_row("fits", f"at most {plan['fits_at_most']:,}: {told}")
    size = plan["bytes"]
    rows = f"{plan['rows']:,} rows × {size['row']} B"
    table.add_row("load", f"{_gib(size['load'])}: {rows}, three times while it is put in order")
    worker = f"{_gib(size['worker'])} each, {plan['largest_training_rows']:,} rows a fit at most"
    table.add_row(
        "sweep",
        f"{_gib(size['sweep'])}: object store {_gib(size['object_store'])}, "
        f"workers {plan['workers']} × {worker}",
    )
    table.add_row("final fit", f"{_gib(size['final'])}, with its baselines")
    word = "fits in" if plan["fits"] else "does NOT fit in"
    table.add_row("peak", f"{_gib(size['peak'])}, which {word} {_gib(size['memory'])}")
    return table


def _gib(count: int) -> str:
    return f"{count / (1 << 30):.2f} GiB"
