"""What a training would take, before it begins: fits, rows and bytes, from a manifest alone.

Bytes are those of the arrays, whose shapes are known, and a floor for the interpreter with its
libraries: the driver holds the dataset, the object store what the sweep may see, and each worker
the training rows of the fold it works on, twice for a moment (cut out, known labels only), their
bins of one byte a value, and what it keeps of other folds (`pipelines.trial.Cache`).
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

# Resident memory of a process with the trainer's libraries imported, measured.
DRIVER_BYTES: Final = 450 << 20
WORKER_BYTES: Final = 330 << 20
X_BYTES: Final = 4
BIN_BYTES: Final = 1
ROW_BYTES: Final = 8 + 4 + 4  # t0, symbol, weight
HORIZON_BYTES: Final = 1 + 8 + 4 * 4  # label, t1, outcome, bill, far, near
# A row's label, weight and score in the trainer, and its gradient and Hessian there and here.
FIT_BYTES: Final = 4 + 4 + 8 + 8 + 8


def plan_of(
    tree: Config,
    dataset: Path,
    trials: int | None = None,
    symbols: int | None = None,
    memory: int | None = None,
) -> dict[str, Any]:
    """What `foreshock train` would do with a dataset, JSON-ready.

    symbols   plan for so many symbols like those of the dataset, instead of its own
    memory    bytes there are; default, this machine's

    `fits` says whether the peak of driver, store and workers stays below the memory. Raises
    DatasetError where the directory is no dataset, or has none of the features.
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
    seen, train, folds = shares(training.walk_forward, days)
    row_bytes = columns * X_BYTES + ROW_BYTES + horizons * HORIZON_BYTES
    scopes = scope_sizes(tree, count)
    workers = training.max_concurrent or os.cpu_count() or 1
    widest = max(members / count for _, members, _ in scopes)
    train_rows = round(rows * train * widest)
    driver = rows * row_bytes * 2 + DRIVER_BYTES  # read and put in order
    store = round(rows * seen * row_bytes)
    worker = train_rows * (columns * (2 * X_BYTES + BIN_BYTES) + FIT_BYTES) + WORKER_BYTES
    worker += min(store * folds, Cache().limit_bytes)
    have = memory or os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    tried = (trials or training.trials) + len(training.search.baselines)
    fits_most = sum(number for *_, number in scopes) * tried * folds * horizons
    peak = driver + store + workers * worker
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
            "driver": driver,
            "object_store": store,
            "worker": worker,
            "peak": peak,
            "memory": have,
        },
        "largest_training_rows": train_rows,
        "fits": peak <= have,
    }


def shares(walk: WalkForwardSettings, days: int) -> tuple[float, float, int]:
    """(share of the rows that the sweep may see, largest share that one fit trains on, folds)."""
    cut = walk.cut
    if cut is None:
        final_train = 1.0 - walk.final_test_share - walk.calibration_share
        seen = 1.0 - walk.final_test_share
        tested = 1.0 - walk.train_share - walk.calibration_share
        last = 1.0 - tested / walk.folds - walk.calibration_share
        train = walk.train_share if walk.mode == "rolling" else last
        return seen, max(final_train, seen * train), walk.folds
    whole = max(days, cut.days)
    final_train = (whole - cut.test - cut.calibration) / whole
    train = cut.train / whole if walk.mode == "rolling" else final_train
    return (whole - cut.test) / whole, train, cut.folds


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
    table.add_row("driver", f"{_gib(size['driver'])}: {rows}, twice while it is put in order")
    table.add_row("object store", f"{_gib(size['object_store'])}: what the sweep may see, once")
    table.add_row(
        f"{plan['workers']} workers",
        f"{_gib(size['worker'])} each: {plan['largest_training_rows']:,} rows of the largest fit",
    )
    word = "fits in" if plan["fits"] else "does NOT fit in"
    table.add_row("peak", f"{_gib(size['peak'])}, which {word} {_gib(size['memory'])}")
    return table


def _gib(count: int) -> str:
    return f"{count / (1 << 30):.2f} GiB"
