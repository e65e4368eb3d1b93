"""pipelines.distributed, what needs no Ray: summaries of files, and what they refuse."""

from __future__ import annotations

from dataclasses import replace
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from foreshock.errors import DatasetError
from foreshock.models.dataset import TrainingSet
from foreshock.models.xgboosted import XGBoostedSettings
from pipelines.datasets import files_of, write_dataset
from pipelines.distributed import Chosen, Summary, fit_distributed, refuse, summarise
from tests.reference.training import SECOND, START, make_set

ALWAYS = (0, 2**63 - 1)
COLUMNS = [f"f_feature_{i}" for i in range(6)]


@pytest.fixture(scope="module")
def data() -> TrainingSet:
    found = make_set(steps=400)
    weights = np.random.default_rng(0).uniform(0.1, 1.0, len(found)).astype(np.float32)
    found.X[:, 3] = 2.5
    found.X[found.symbol == 1, 4] = np.nan
    return replace(found, weights=weights)


@pytest.fixture(scope="module")
def files(data: TrainingSet, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return files_of(write_dataset(tmp_path_factory.mktemp("set") / "set", data))


@pytest.mark.parametrize("span", [ALWAYS, (START + 50 * SECOND, START + 300 * SECOND)])
def test_summaries_of_files_add_up_to_that_of_the_rows(
    data: TrainingSet, files: list[Path], span: tuple[int, int]
) -> None:
    chosen = Chosen(20, *span)
    found = reduce(add, [summarise(file, COLUMNS, chosen) for file in files])
    mine = (data.labels[:, 1] >= 0) & (data.t0_ns >= span[0]) & (data.t1_ns[:, 1] < span[1])
    y, w = data.labels[mine, 1], data.weights
    assert w is not None
    assert (found.rows, found.positives) == (mine.sum(), (y == 1).sum())
    assert found.weight == pytest.approx((w[mine][y == 0].sum(), w[mine][y == 1].sum()))
    np.testing.assert_array_equal(found.low, np.nanmin(data.X[mine], axis=0))
    np.testing.assert_array_equal(found.high, np.nanmax(data.X[mine], axis=0))


def test_a_column_that_a_file_lacks_altogether_has_no_ends(files: list[Path]) -> None:
    found = summarise(files[1], COLUMNS, Chosen(20, *ALWAYS))
    assert (found.low[4], found.high[4]) == (np.inf, -np.inf)


def test_a_time_without_rows_is_an_empty_summary(files: list[Path]) -> None:
    found = summarise(files[0], COLUMNS, Chosen(20, 0, START))
    assert (found.rows, found.positives, found.weight) == (0, 0, (0.0, 0.0))


GOOD = Summary(1000, 100, (900.0, 100.0), np.array([0.0, 2.0]), np.array([1.0, 2.0]))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"rows": 499}, "too few rows, 499 < 500"),
        ({"positives": 0}, "one class only"),
        ({"positives": 1000}, "one class only"),
        ({"positives": 19}, "too few of one class"),
        ({"high": np.array([np.inf, 2.0])}, "feature a is infinite"),
        ({"low": np.array([0.0, -np.inf])}, "feature b is infinite"),
        ({"high": np.array([0.0, 2.0])}, "every feature is constant"),
        (
            {"low": np.array([np.inf, 2.0]), "high": np.array([-np.inf, 2.0])},
            "every feature is constant",
        ),
    ],
)
def test_rows_that_must_not_be_trained_on_are_refused(change: dict[str, Any], why: str) -> None:
    refuse(GOOD, XGBoostedSettings(), ["a", "b"], 20)
    with pytest.raises(DatasetError, match=why):
        refuse(replace(GOOD, **change), XGBoostedSettings(), ["a", "b"], 20)


def test_a_horizon_that_the_dataset_has_not_is_refused(files: list[Path]) -> None:
    directory = files[0].parents[2]
    with pytest.raises(DatasetError, match="no horizon of 99 s"):
        fit_distributed(directory, 99, XGBoostedSettings(), None)  # type: ignore[arg-type]
