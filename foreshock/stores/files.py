"""Files that are either whole or not there: written under another name, then renamed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from foreshock.errors import RecordingError, StoreError

_UNFINISHED = ".unfinished-"


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`; what is written there becomes `path` at the end, in
    the place of an older file of that name. Nothing stays behind if the body raises. Raises
    StoreError where the disk refuses."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{_UNFINISHED}{os.getpid()}-{path.name}")
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def finished(folder: Path, pattern: str) -> list[Path]:
    """Whole files of `folder`, in the order of their names; empty where there is no folder."""
    return sorted(p for p in folder.glob(pattern) if not p.name.startswith(_UNFINISHED))


def write_table(path: Path, table: pa.Table, **encodings: object) -> None:
    """Write one Parquet file, zstd, atomically. Raises StoreError."""
    with whole_file(path) as temporary:
        pq.write_table(table, temporary, compression="zstd", **encodings)


def read_table(path: Path) -> pa.Table:
    """Read one Parquet file, on one thread. Raises RecordingError naming a damaged file."""
    try:
        return pq.ParquetFile(path).read(use_threads=False)
    except (OSError, pa.ArrowException) as error:
        raise RecordingError(f"{path} cannot be read: {error}") from error
