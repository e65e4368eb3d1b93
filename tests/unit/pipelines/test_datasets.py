"""pipelines.datasets: what is written is what is read, or it is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from foreshock.errors import DatasetError
from pipelines.datasets import files_of, read_dataset, write_dataset
from tests.reference.training import START, make_set

DAY_NS = 86_400 * 1_000_000_000


def test_a_round_trip_keeps_every_byte(tmp_path: Path) -> None:
    data = make_set(steps=50)
    data = replace(data, weights=np.linspace(0, 1, len(data)).astype(np.float32))
    back = read_dataset(write_dataset(tmp_path / "set", data))
    assert back.fingerprint == data.fingerprint
    for name, array in data.arrays().items():
        found = back.arrays()[name]
        assert found.dtype == array.dtype
        assert found.tobytes() == np.ascontiguousarray(array).tobytes(), name
    assert read_dataset(write_dataset(tmp_path / "bare", make_set(steps=5))).weights is None


def test_days_are_files_and_rows_come_back_in_order(tmp_path: Path) -> None:
    data = make_set(steps=40)
    shift = np.where(np.arange(len(data)) % 2, DAY_NS, 0)
    data = replace(data, t0_ns=data.t0_ns + shift, t1_ns=data.t1_ns + shift[:, None])
    place = write_dataset(tmp_path / "set", data)
    first = str(np.datetime64(START // DAY_NS, "D"))
    days = sorted({p.parent.name for p in place.rglob("*.parquet")})
    assert days == [f"day={first}", f"day={np.datetime64(first) + 1}"]
    assert {p.parent.parent.name for p in files_of(place)} == {f"symbol={s}" for s in data.symbols}
    assert read_dataset(place).fingerprint == data.in_order().fingerprint


def test_a_part_with_other_columns_than_the_first_is_refused(tmp_path: Path) -> None:
    place = write_dataset(tmp_path / "set", make_set(steps=30))
    last = files_of(place)[-1]
    table = pq.ParquetFile(last).read()
    column = next(name for name in table.column_names if name.startswith("f_"))
    at = table.column_names.index(column)
    wider = table.set_column(at, column, table.column(column).cast("double"))
    pq.write_table(wider, last)
    with pytest.raises(DatasetError, match="has not the columns of"):
        read_dataset(place)
    pq.write_table(table.append_column("weight", table.column(column)), last)
    with pytest.raises(DatasetError, match="has not the columns of"):
        read_dataset(place)


def test_the_same_data_give_the_same_bytes_and_nothing_is_left_over(tmp_path: Path) -> None:
    data = make_set(steps=30)
    one, two = write_dataset(tmp_path / "one", data), write_dataset(tmp_path / "two", data)
    for path in one.rglob("*.*"):
        if path.is_file():
            assert path.read_bytes() == (two / path.relative_to(one)).read_bytes()
    with pytest.raises(DatasetError, match="exists already"):
        write_dataset(one, data)
    write_dataset(one, make_set(seed=1, steps=30), replace=True)
    assert read_dataset(one).fingerprint == make_set(seed=1, steps=30).fingerprint
    assert sorted(p.name for p in tmp_path.iterdir()) == ["one", "two"]


def test_a_bad_set_is_not_written(tmp_path: Path) -> None:
    data = make_set(steps=5)
    data.X[0, 0] = np.inf
    with pytest.raises(DatasetError, match="infinite"):
        write_dataset(tmp_path / "set", data)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_directory_is_refused(tmp_path: Path) -> None:
    place = write_dataset(tmp_path / "set", make_set(steps=30))
    rows = next(place.rglob("rows.parquet"))
    whole = rows.read_bytes()
    pq.write_table(pq.ParquetFile(rows).read().slice(0, 7), rows)
    with pytest.raises(DatasetError, match="holds 7 rows"):
        read_dataset(place)
    rows.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DatasetError, match="no readable dataset"):
        read_dataset(place)
    rows.unlink()
    with pytest.raises(DatasetError, match="no readable dataset"):
        read_dataset(place)
    (place / "manifest.json").write_text(json.dumps({"rows": 1}))
    with pytest.raises(DatasetError, match="no r"):
        read_dataset(place)
    with pytest.raises(DatasetError, match="no readable dataset"):
        read_dataset(tmp_path / "nowhere")
