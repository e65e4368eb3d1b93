"""pipelines.training_plan: what a training would take, from a manifest."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from foreshock.errors import DatasetError
from foreshock.settings import Config, load
from foreshock.validation.walk_forward import final_fold, sweep_rows, walk_forward
from pipelines.datasets import write_dataset
from pipelines.training_plan import plan_of, table_of
from tests.reference.training import make_set


def config(**given: Any) -> Config:
    return load({"training.features": ["*"], **given}, environment={}, dotenv=Path("none")).tree


def test_the_plan_counts_what_the_arrays_have(tmp_path: Path) -> None:
    data = make_set()
    place = write_dataset(tmp_path / "set", data)
    tree = config(**{"training.trials": 5, "training.max_concurrent": 2})
    plan = plan_of(tree, place)
    assert (plan["rows"], plan["columns"], plan["horizons"]) == (len(data), 6, 2)
    arrays = sum(array.nbytes for array in data.arrays().values())
    assert plan["bytes"]["row"] * len(data) == arrays + 4 * len(data)  # it has no weights
    walk = tree.training.walk_forward
    seen = sweep_rows(data.t0_ns, data.end_ns, walk)
    part = data.take(seen)
    folds = walk_forward(part.t0_ns, part.end_ns, walk)
    largest = max(len(fold.train) for fold in folds)
    largest = max(largest, len(final_fold(data.t0_ns, data.end_ns, walk).train))
    assert largest <= plan["largest_training_rows"] <= 1.15 * largest
    assert plan["fits_at_most"] == 5 * len(folds) * 2
    assert plan["fits"]


def test_scopes_and_symbols_are_multiplied_and_memory_decides(tmp_path: Path) -> None:
    place = write_dataset(tmp_path / "set", make_set())
    tree = config(**{"training.trials": 4, "training.search.scopes": ["pooled", "group", "symbol"]})
    small = plan_of(tree, place)
    plan = plan_of(tree, place, trials=20, symbols=400)
    assert plan["scopes"] == {"pooled": 1, "group": 3, "symbol": 400}
    assert plan["rows"] == small["rows"] // 3 * 400
    assert plan["fits_at_most"] == 404 * 20 * 3 * 2
    peak = plan["bytes"]["peak"]
    assert plan_of(tree, place, symbols=400, memory=peak)["fits"]
    tight = plan_of(tree, place, symbols=400, memory=peak - 1)
    assert not tight["fits"]
    said = io.StringIO()
    Console(file=said, width=200).print(table_of(tight))
    assert "does NOT fit in" in said.getvalue() and "400 symbols" in said.getvalue()
    size = plan["bytes"]
    assert peak == max(size["load"], size["sweep"], size["final"])
    here = plan_of(tree, place, symbols=400, use_ray=False)["bytes"]
    assert here["object_store"] == 0 and here["sweep"] < size["sweep"]
    assert (here["load"], here["final"]) == (size["load"], size["final"])
    alone = config(**{"training.search.scopes": ["symbol"]})
    assert plan_of(alone, place)["bytes"]["worker"] < small["bytes"]["worker"]


def test_what_is_no_dataset_or_has_no_such_column_is_refused(tmp_path: Path) -> None:
    place = write_dataset(tmp_path / "set", make_set())
    with pytest.raises(DatasetError, match="no feature of the dataset is called"):
        plan_of(config(**{"training.features": ["spread_*"]}), place)
    with pytest.raises(DatasetError, match="no readable dataset"):
        plan_of(config(), tmp_path)
