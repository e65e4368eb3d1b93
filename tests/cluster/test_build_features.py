"""The dataset on a real Ray: the bytes of one process, and readable by ray.data."""

from __future__ import annotations

import os
import signal
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from foreshock.costs.total import CostSettings
from foreshock.errors import DatasetError
from foreshock.labels.barriers import LabelSettings
from pipelines.dataset_cut import RecordingSession
from pipelines.dataset_run import runner
from pipelines.dataset_settings import DatasetSettings
from pipelines.dataset_store import build_store
from pipelines.datasets import files_of, read_dataset
from tests.reference.days import around_midnights, record

SETTINGS = DatasetSettings(
    labels=LabelSettings(horizons_s=(5, 20), c_bill=0.0), costs=CostSettings(taker_fee_bps=0.0)
)


@pytest.fixture(scope="module")
def sessions(tmp_path_factory: pytest.TempPathFactory) -> list[RecordingSession]:
    place = tmp_path_factory.mktemp("days") / "session"
    return [RecordingSession(str(record(place, around_midnights(2), pieces=3)))]


@pytest.fixture(scope="module")
def store(
    local_ray: Any, sessions: list[RecordingSession], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    place = tmp_path_factory.mktemp("store") / "on-ray"
    built = build_store(place, sessions, SETTINGS, use_ray=True)
    assert local_ray.is_initialized()  # a connection that was there before stays
    assert (built.made, len(built.done)) == (6, 6)
    return place


@pytest.mark.timeout(240)
def test_a_build_on_ray_writes_the_bytes_of_one_in_process(
    store: Path, sessions: list[RecordingSession], tmp_path: Path
) -> None:
    build_store(tmp_path / "serial", sessions, SETTINGS, use_ray=False)
    paths = sorted(p for p in store.rglob("*") if p.is_file() and ".work" not in p.parts)
    assert len(paths) == 7
    for path in paths:
        assert path.read_bytes() == (tmp_path / "serial" / path.relative_to(store)).read_bytes()


@pytest.mark.timeout(240)
def test_ray_data_reads_it_for_training(store: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ray.data's own
        import ray.data

        ray.data.DataContext.get_current().enable_progress_bars = False
        columns = ["t0_ns", "f_flow_imbalance_10s", "labels_20", "symbol"]
        found = ray.data.read_parquet([str(p) for p in files_of(store)], columns=columns)
        batches = list(found.iter_batches(batch_size=128, batch_format="numpy"))
    data = read_dataset(store)
    assert sum(len(b["t0_ns"]) for b in batches) == len(data)
    key = np.lexsort([np.concatenate([b[n] for b in batches]) for n in ("symbol", "t0_ns")])
    label = np.concatenate([b["labels_20"] for b in batches])[key]
    assert np.array_equal(label, data.labels[:, 1])


@pytest.mark.timeout(240)
def test_a_task_whose_process_is_killed_is_run_again_and_calls_stay_in_order(
    local_ray: Any, tmp_path: Path
) -> None:
    del local_ray

    def call(chain: int, number: int) -> tuple[int, int, bool]:
        mark = tmp_path / f"{chain}-{number}"
        if (chain, number) == (1, 1) and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        mark.touch()
        return chain, number, number == 0 or (tmp_path / f"{chain}-{number - 1}").exists()

    told: list[None] = []
    chains = [[(c, n) for n in range(3)] for c in range(3)] + [[]]
    with runner(use_ray=True, parallel=2) as run:
        found = run(call, chains, lambda: told.append(None))
    assert found == [[(c, n, True) for n in range(3)] for c in range(3)] + [[]]
    assert len(told) == 9


@pytest.mark.timeout(240)
def test_an_error_in_a_task_is_the_error_of_the_build(
    local_ray: Any, sessions: list[RecordingSession], tmp_path: Path
) -> None:
    del local_ray
    batches = around_midnights(1)
    late = np.flatnonzero(batches[0]["count"] == 0)[-30]
    batches[0]["arrival_ns"][late] -= 100_000_000_000
    broken = record(tmp_path / "broken", batches)
    with pytest.raises(DatasetError, match="has seq"):
        build_store(tmp_path / "store", [RecordingSession(str(broken))], SETTINGS, use_ray=True)
