"""Training sets on disk: a directory of Parquet files by symbol and day, and a manifest.

    DIR/manifest.json    what the columns mean; symbols, rows, parts; from `build_features` gaps,
                         epochs, balance too
    DIR/symbol=BTCUSDT/day=2024-07-18/<part>.parquet
                         t0_ns, weight?, one column f_<name> a feature, and for each horizon h
                         labels_h, t1_ns_h, outcome_bps_h, bill_bps_h, far_bps_h, near_bps_h (and
                         mfe_bps_h, mae_bps_h where they were measured); ordered by t0_ns

What Parquet calls hive partitions: DuckDB, Spark and `ray.data` read it as it lies.
"""

from __future__ import annotations

import json
import os
import reprlib
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import BaseModel, StrictInt, StrictStr, ValidationError

from foreshock.errors import DatasetError
from foreshock.market.clock import SECOND_NS
from foreshock.models.dataset import TrainingSet, check_manifest
from foreshock.stores.files import whole_file

MANIFEST = "manifest.json"
PER_HORIZON = ("labels", "t1_ns", "outcome_bps", "bill_bps", "far_bps", "near_bps")
DAY_NS = 86_400 * SECOND_NS


def part_path(symbol: str, day: int, name: str) -> str:
    """Where the rows of a symbol and day lie, relative to the dataset."""
    return f"symbol={symbol}/day={np.datetime64(day, 'D')}/{name}.parquet"


def write_dataset(directory: Path, data: TrainingSet, *, replace: bool = False) -> Path:
    """Check `data`, write it and return the directory, which appears whole, by a rename, or not at
    all.

    The same data give the same bytes. Raises DatasetError on data that must not be trained on, and
    where `directory` exists unless `replace`.
    """
    data = data.check().in_order()
    if directory.exists() and not replace:
        raise DatasetError(f"{directory} exists already")
    directory.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent))
    try:
        parts: dict[str, int] = {}
        days = data.t0_ns // DAY_NS
        for number, symbol in enumerate(data.symbols):
            mine = np.flatnonzero(data.symbol == number)
            for day in np.unique(days[mine]).tolist():
                rows = mine[days[mine] == day]
                arrays = {name: array[rows] for name, array in data.arrays().items()}
                path = part_path(symbol, day, "rows")
                (temporary / path).parent.mkdir(parents=True)
                table = table_of(arrays, data.feature_names, data.horizons_s)
                pq.write_table(table, temporary / path, compression="zstd")
                parts[path] = len(rows)
        write_manifest(temporary, data.manifest, data.symbols, parts)
        temporary.chmod(0o755)
        if directory.exists():
            shutil.rmtree(directory)
        os.rename(temporary, directory)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return directory


def write_manifest(
    directory: Path, manifest: Mapping[str, Any], symbols: Sequence[str],
    parts: Mapping[str, int], **more: Any,
) -> dict[str, Any]:  # fmt: skip
    """Write DIR/manifest.json of the `parts` (path → rows) that lie there; says what it holds. Its
    fingerprint is of the manifest and of every part's bytes."""
    body = {
        "manifest": dict(manifest),
        "symbols": list(symbols),
        "rows": sum(parts.values()),
        "parts": dict(sorted(parts.items())),
        "fingerprint": _fingerprint(directory, manifest, symbols, parts),
        **more,
    }
    with whole_file(directory / MANIFEST) as temporary:
        temporary.write_text(json.dumps(body, sort_keys=True, indent=2) + "\n")
    return body


def _fingerprint(
    directory: Path, manifest: Mapping[str, Any], symbols: Sequence[str], parts: Iterable[str]
) -> str:
    digest = sha256(json.dumps([dict(manifest), list(symbols)], sort_keys=True).encode())
    for path in sorted(parts):
        digest.update(path.encode() + (directory / path).read_bytes())
    return digest.hexdigest()[:16]


class _Document(BaseModel):
    """DIR/manifest.json, as `write_manifest` writes it."""

    manifest: Mapping[StrictStr, Any]
    symbols: Sequence[StrictStr]
    rows: StrictInt
    parts: Mapping[StrictStr, StrictInt]
    fingerprint: StrictStr


def read_manifest(directory: Path) -> dict[str, Any]:
    """DIR/manifest.json. Raises DatasetError, naming the directory and the key, where it is missing
    or says not what a dataset must."""
    try:
        body: dict[str, Any] = json.loads((directory / MANIFEST).read_text())
        told = _Document.model_validate(body)
        check_manifest(told.manifest)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(("manifest.json", *map(str, first["loc"])))
        raise DatasetError(
            f"{directory} is no readable dataset: {place}: {first['msg']}, got "
            f"{reprlib.repr(first['input'])}"
        ) from error
    except (OSError, ValueError, DatasetError) as error:
        why = str(error) if isinstance(error, DatasetError) else repr(error)
        raise DatasetError(f"{directory} is no readable dataset: {why}") from error
    if sum(told.parts.values()) != told.rows:
        raise DatasetError(
            f"{directory} is no readable dataset: it tells of {told.rows} rows, its parts of "
            f"{sum(told.parts.values())}"
        )
    return body


def files_of(directory: Path, symbols: Iterable[str] | None = None) -> list[Path]:
    """The Parquet files of a dataset, of some symbols or all: what `ray.data.read_parquet` or any
    other reader is handed, with hive partitions `symbol` and `day`. Raises DatasetError."""
    body = read_manifest(directory)
    wanted = set(body["symbols"] if symbols is None else symbols)
    unknown = sorted(wanted - set(body["symbols"]))
    if unknown:
        raise DatasetError(f"{directory} holds no {unknown}")
    return [directory / path for path in body["parts"] if _symbol_of(path) in wanted]


def read_dataset(directory: Path, symbols: Iterable[str] | None = None) -> TrainingSet:
    """Read a dataset, or some symbols of it, into memory, and check it. Raises DatasetError where a
    file is missing, damaged, or not the one that the manifest tells of.

    The times come first: they tell each row's place, so that a part is put there as it is read and
    nothing is ever held twice."""
    body = read_manifest(directory)
    names: tuple[str, ...] = tuple(body["symbols"])
    files = files_of(directory, symbols)
    times, numbers = [], []
    for file in files:
        path = file.relative_to(directory).as_posix()
        times.append(_read(directory, file, body["manifest"], ["t0_ns"])["t0_ns"])
        if len(times[-1]) != body["parts"][path]:
            raise DatasetError(
                f"{file} holds {len(times[-1])} rows, the manifest tells of {body['parts'][path]}"
            )
        numbers.append(np.full(len(times[-1]), names.index(_symbol_of(path)), np.int32))
    if not sum(map(len, times)):
        raise DatasetError(f"{directory} holds no rows")
    symbol = np.concatenate(numbers)
    order = np.lexsort((symbol, np.concatenate(times)))  # as `TrainingSet.in_order`
    places = np.empty_like(order)
    places[order] = np.arange(len(order))
    arrays: dict[str, Any] = {}
    done = 0
    for file, there in zip(files, times, strict=True):
        found = _read(directory, file, body["manifest"])
        if not arrays:
            arrays = {n: np.empty((len(order), *v.shape[1:]), v.dtype) for n, v in found.items()}
        if {n: v.dtype for n, v in found.items()} != {n: v.dtype for n, v in arrays.items()}:
            raise DatasetError(f"{file} has not the columns of {files[0]}")
        for name, value in found.items():
            arrays[name][places[done : done + len(there)]] = value
        done += len(there)
    told = (body["manifest"], names, body["parts"])
    if symbols is None and _fingerprint(directory, *told) != body["fingerprint"]:
        raise DatasetError(f"{directory} holds other bytes than its manifest tells of")
    data = TrainingSet(symbols=names, manifest=body["manifest"], symbol=symbol[order], **arrays)
    return data.check()


def _read(
    directory: Path, file: Path, manifest: Mapping[str, Any], columns: list[str] | None = None
) -> dict[str, NDArray[Any]]:
    """The fields of one part, or single columns as they are."""
    try:
        table = pq.ParquetFile(file).read(columns, use_threads=False)
        if columns is None:
            return _arrays(table, manifest)
        return {name: np.ascontiguousarray(table.column(name).to_numpy()) for name in columns}
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        raise DatasetError(f"{directory} is no readable dataset: {error!r}") from error


def table_of(
    arrays: Mapping[str, NDArray[Any]], features: Sequence[str], horizons_s: Sequence[int],
    extra: Sequence[str] = (),
) -> pa.Table:  # fmt: skip
    """The table of one symbol's rows, from the fields of a TrainingSet; `extra` fields have a
    column for each horizon too."""
    columns: dict[str, Any] = {"t0_ns": arrays["t0_ns"]}
    if "weights" in arrays:
        columns["weight"] = arrays["weights"]
    for column, name in enumerate(features):
        columns[f"f_{name}"] = np.ascontiguousarray(arrays["X"][:, column])
    for field in (*PER_HORIZON, *extra):
        for column, horizon in enumerate(horizons_s):
            columns[f"{field}_{horizon}"] = np.ascontiguousarray(arrays[field][:, column])
    return pa.table(columns)


def _arrays(table: pa.Table, manifest: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    def column(name: str) -> NDArray[Any]:
        return np.ascontiguousarray(table.column(name).to_numpy())

    def matrix(prefix: str, names: list[Any]) -> NDArray[Any]:
        return np.stack([column(f"{prefix}_{name}") for name in names], axis=1)

    found = {
        "X": matrix("f", list(manifest["feature_names"])),
        "t0_ns": column("t0_ns"),
        **{field: matrix(field, list(manifest["horizons_s"])) for field in PER_HORIZON},
    }
    if "weight" in table.column_names:
        found["weights"] = column("weight")
    return found


def _symbol_of(path: str) -> str:
    return path.partition("/")[0].removeprefix("symbol=")
