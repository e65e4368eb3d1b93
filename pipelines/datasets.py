"""Training sets on disk: a directory of Parquet files, one a day, and a manifest.

    DIR/manifest.json                   what the columns mean, symbols, rows, fingerprint
    DIR/day=2024-07-18/rows.parquet     symbol, t0_ns, weight?, one column a feature, and for each
                                        horizon h label_h, t1_ns_h, outcome_bps_h, bill_bps_h,
                                        far_bps_h, near_bps_h; ordered by (t0_ns, symbol)

The directory appears whole, by a rename, or not at all.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from foreshock.errors import DatasetError
from foreshock.market.clock import SECOND_NS
from foreshock.models.dataset import TrainingSet

MANIFEST = "manifest.json"
PER_HORIZON = ("labels", "t1_ns", "outcome_bps", "bill_bps", "far_bps", "near_bps")
DAY_NS = 86_400 * SECOND_NS


def write_dataset(directory: Path, data: TrainingSet, *, replace: bool = False) -> Path:
    """Check `data`, write it in order of (t0, symbol) and return the directory.

    The same data give the same bytes. Raises DatasetError on data that must not be trained on, and
    where `directory` exists unless `replace`.
    """
    data = data.check().in_order()
    if directory.exists() and not replace:
        raise DatasetError(f"{directory} exists already")
    directory.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent))
    try:
        table, days = _table(data), data.t0_ns // DAY_NS
        for day in np.unique(days):
            first, stop = np.searchsorted(days, [day, day + 1])
            folder = temporary / f"day={np.datetime64(int(day), 'D')}"
            folder.mkdir()
            part = table.slice(int(first), int(stop - first))
            pq.write_table(part, folder / "rows.parquet", compression="zstd")
        manifest = {
            "manifest": dict(data.manifest),
            "symbols": list(data.symbols),
            "rows": len(data),
            "fingerprint": data.fingerprint,
        }
        (temporary / MANIFEST).write_text(json.dumps(manifest, sort_keys=True, indent=2) + "\n")
        temporary.chmod(0o755)
        if directory.exists():
            shutil.rmtree(directory)
        os.rename(temporary, directory)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return directory


def read_dataset(directory: Path) -> TrainingSet:
    """Read what `write_dataset` wrote, and check it. Raises DatasetError where a file is missing,
    damaged, or not the one that the manifest tells of."""
    try:
        body = json.loads((directory / MANIFEST).read_text())
        files = sorted(directory.glob("day=*/rows.parquet"))
        tables = [pq.ParquetFile(file).read(use_threads=False) for file in files]
        if not tables:
            raise DatasetError(f"{directory} holds no rows")
        data = _training_set(pa.concat_tables(tables), body["manifest"], tuple(body["symbols"]))
        rows, fingerprint = body["rows"], body["fingerprint"]
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        raise DatasetError(f"{directory} is no readable dataset: {error!r}") from error
    if len(data) != rows or data.fingerprint != fingerprint:
        raise DatasetError(
            f"{directory} holds {len(data)} rows with fingerprint {data.fingerprint}, the manifest "
            f"tells of {rows} with {fingerprint}"
        )
    return data.check()


def _table(data: TrainingSet) -> pa.Table:
    columns: dict[str, Any] = {"symbol": data.symbol, "t0_ns": data.t0_ns}
    if data.weights is not None:
        columns["weight"] = data.weights
    for column, name in enumerate(data.feature_names):
        columns[f"f_{name}"] = np.ascontiguousarray(data.X[:, column])
    for field in PER_HORIZON:
        for column, horizon in enumerate(data.horizons_s):
            values = getattr(data, field)[:, column]
            columns[f"{field}_{horizon}"] = np.ascontiguousarray(values)
    return pa.table(columns)


def _training_set(
    table: pa.Table, manifest: dict[str, Any], symbols: tuple[str, ...]
) -> TrainingSet:
    def column(name: str) -> np.ndarray[Any, Any]:
        return np.ascontiguousarray(table.column(name).to_numpy())

    def matrix(prefix: str, names: list[Any]) -> np.ndarray[Any, Any]:
        return np.stack([column(f"{prefix}_{name}") for name in names], axis=1)

    horizons = list(manifest["horizons_s"])
    return TrainingSet(
        X=matrix("f", list(manifest["feature_names"])),
        t0_ns=column("t0_ns"),
        symbol=column("symbol"),
        symbols=symbols,
        manifest=manifest,
        weights=column("weight") if "weight" in table.column_names else None,
        **{field: matrix(field, horizons) for field in PER_HORIZON},
    )
