"""pipelines.dataset_store: a dataset by symbol and day is the dataset, however it was made."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from foreshock.costs.total import CostSettings
from foreshock.errors import DatasetError, StoreError
from foreshock.labels.balance import balance
from foreshock.labels.barriers import LabelSettings
from foreshock.market.rows import ALL, Rows, heads
from foreshock.stores.recordings import open_recording
from pipelines import dataset_cut, dataset_settings
from pipelines.build_features import build_dataset
from pipelines.dataset_cut import RecordingSession
from pipelines.dataset_run import alone
from pipelines.dataset_settings import DatasetSettings
from pipelines.dataset_store import Built, build_store, clear_work
from pipelines.datasets import files_of, read_dataset, read_manifest, write_manifest
from tests.reference.days import DAY, FIRST_DAY, SECOND, SYMBOLS, around_midnights, record

LABELS = LabelSettings(horizons_s=(5, 20), c_bill=0.0)
SETTINGS = DatasetSettings(labels=LABELS, costs=CostSettings(taker_fee_bps=0.0))
NIGHTS = 2


@pytest.fixture(scope="module")
def batches() -> list[Rows]:
    return around_midnights(NIGHTS)


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory, batches: list[Rows]) -> Path:
    return record(tmp_path_factory.mktemp("days") / "session", batches, pieces=3)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, recording: Path) -> Built:
    return build(tmp_path_factory.mktemp("store") / "store", recording)


def build(directory: Path, *recordings: Path, settings: DatasetSettings = SETTINGS) -> Built:
    sessions = [RecordingSession(str(path)) for path in recordings]
    return build_store(directory, sessions, settings, use_ray=False)


def bytes_of(directory: Path) -> dict[str, bytes]:
    """Everything that a reader of the dataset sees."""
    paths = [*directory.glob("symbol=*/day=*/*.parquet"), directory / "manifest.json"]
    return {p.relative_to(directory).as_posix(): p.read_bytes() for p in sorted(paths)}


def test_midnights_and_tasks_of_one_symbol_change_no_bit(recording: Path, store: Built) -> None:
    """The same rows gone through one engine of all symbols at once are the same dataset."""
    once = build_dataset([open_recording(recording)], LABELS, SETTINGS.costs)
    found = read_dataset(store.directory)
    assert store.planned == store.made == len(SYMBOLS) * (NIGHTS + 1)
    assert len(once) > 600 and set((once.t0_ns // DAY).tolist()) == {19_922, 19_923, 19_924}
    for name, array in once.arrays().items():
        if name == "weights":  # sums begin at other places
            np.testing.assert_allclose(found.arrays()[name], array, rtol=1e-6)
        else:
            assert found.arrays()[name].tobytes() == array.tobytes(), name
    assert found.manifest == once.manifest


def test_labels_and_weights_look_over_midnight(store: Built) -> None:
    data = read_dataset(store.directory)
    midnight = (FIRST_DAY + 1) * DAY
    before = (data.t0_ns < midnight) & (data.t0_ns >= midnight - 20 * SECOND)
    assert before.sum() == 20 * len(SYMBOLS)
    assert (data.labels[before] >= 0).all() and (data.t1_ns[before, 1] > midnight).any()


def test_the_same_build_again_makes_nothing(recording: Path, store: Built) -> None:
    seen = bytes_of(store.directory)
    again = build(store.directory, recording)
    assert (again.planned, again.made) == (store.planned, 0)
    assert bytes_of(store.directory) == seen


def test_a_day_is_made_anew_only_where_it_was_lost(
    recording: Path, store: Built, tmp_path: Path
) -> None:
    place = tmp_path / "store"
    build(place, recording)
    last = sorted(place.glob("symbol=AAAUSDT/day=*/*.parquet"))[-1]
    whole = last.read_bytes()
    last.write_bytes(whole[: len(whole) // 2])
    assert build(place, recording).made == 1
    clear_work(place)  # nothing to start from but the rows
    last.unlink()
    assert build(place, recording).made == NIGHTS + 1
    assert bytes_of(place) == bytes_of(store.directory)


def test_a_new_day_makes_itself_and_the_day_whose_labels_look_into_it(
    batches: list[Rows], tmp_path: Path
) -> None:
    place, directory = tmp_path / "store", tmp_path / "growing" / "session"
    longer = around_midnights(NIGHTS + 1)
    assert all(a.tobytes() == b.tobytes() for a, b in zip(batches, longer, strict=False))
    record(directory, longer[:-1])
    build(place, directory)
    record(directory, longer)
    grown = build(place, directory)
    # The last night brought its own day and rows of the day that had been the last one.
    assert grown.planned == len(SYMBOLS) * (NIGHTS + 2)
    assert grown.made == len(SYMBOLS) * 3
    build(tmp_path / "scratch", directory)
    assert bytes_of(place) == bytes_of(tmp_path / "scratch")


def test_a_build_that_was_killed_goes_on(recording: Path, store: Built, tmp_path: Path) -> None:
    place = tmp_path / "store"
    code = f"""
import os, signal
from pathlib import Path
from pipelines import dataset_settings, dataset_store
dataset_settings._code_digest = lambda: {dataset_settings._code_digest()!r}
from tests.unit.pipelines.test_dataset_store import build
real, done = dataset_store.build_day, []
def build_day(job):
    if len(done) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    done.append(job)
    return real(job)
dataset_store.build_day = build_day
build(Path({str(place)!r}), Path({str(recording)!r}))
"""
    killed = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not (place / "manifest.json").exists()
    with pytest.raises(DatasetError, match="no readable dataset"):
        read_dataset(place)
    kept = {path: path.stat().st_mtime_ns for path in place.glob("symbol=*/day=*/*.parquet")}
    assert len(kept) == 2
    assert build(place, recording).made == store.planned - 2
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in kept.items())
    assert bytes_of(place) == bytes_of(store.directory)


def test_other_settings_make_it_anew(recording: Path, store: Built, tmp_path: Path) -> None:
    place = tmp_path / "store"
    build(place, recording)
    changed = SETTINGS.model_copy(update={"every_s": 5})
    built = build(place, recording, settings=changed)
    assert built.made == store.planned
    data = read_dataset(place)
    assert (data.t0_ns // SECOND % 5 == 0).all()
    short = SETTINGS.model_copy(update={"side": -1})
    build(place, recording, settings=short)
    mirrored = read_dataset(place)
    assert mirrored.manifest["side"] == -1
    assert (mirrored.labels != read_dataset(store.directory).labels).any()


def test_groups_and_batches_of_rows_do_not_matter(
    recording: Path, store: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataset_cut, "FILES_PER_GROUP", 1)
    monkeypatch.setattr(dataset_cut, "PENDING_ROWS", 200)
    build(tmp_path / "store", recording)
    found, whole = read_dataset(tmp_path / "store"), read_dataset(store.directory)
    assert found.fingerprint == whole.fingerprint


def test_the_manifest_counts_what_the_rows_say(store: Built) -> None:
    data, body = read_dataset(store.directory), store.document
    assert body == json.loads((store.directory / "manifest.json").read_text())
    for h, horizon_s in enumerate(data.horizons_s):
        label, t1_ns = data.labels[:, h], data.t1_ns[:, h]
        told = balance(label, data.t0_ns, t1_ns, data.symbol, SECOND)
        for name, value in told.as_dict().items():
            assert body["balance"][str(horizon_s)][name] == pytest.approx(value, rel=1e-9), name
    night = body["coverage"][SYMBOLS[0]]
    assert night["rows"] == int((data.symbol == 0).sum())
    assert (night["first_ns"], night["last_ns"]) == (data.t0_ns.min(), data.t0_ns.max())
    assert sum(night["of_them"].values()) == night["boundaries"]
    assert night["of_them"]["warm"] > 0 and night["of_them"]["epoch"] == 10
    # The silent hours between two nights, and the book that was lost in the second one.
    assert (len(night["gaps"]), night["epochs"]) == (2, 2)
    assert night["gaps_ns"] == pytest.approx(DAY - 230 * SECOND, abs=5 * SECOND)
    other = body["coverage"][SYMBOLS[1]]
    assert (len(other["gaps"]), other["epochs"]) == (1, 1)


def test_a_label_that_was_known_before_its_span_was_recorded_is_refused(
    recording: Path, store: Built, tmp_path: Path
) -> None:
    data = read_dataset(store.directory)
    manifest, recorded = store.document["manifest"], {}
    for rows in open_recording(recording).rows():
        head = rows[heads(rows)]
        for number, symbol in enumerate(SYMBOLS):
            mine = head["arrival_ns"][np.isin(head["symbol"], (number, ALL))]
            recorded[symbol] = max(recorded.get(symbol, 0), int(mine.max(initial=0)))
    assert manifest["recorded_to_ns"] == recorded
    place = tmp_path / "store"
    shutil.copytree(store.directory, place)
    early = {**recorded, SYMBOLS[0]: int(data.t1_ns.min())}
    parts = store.document["parts"]
    write_manifest(place, {**manifest, "recorded_to_ns": early}, data.symbols, parts)
    with pytest.raises(DatasetError, match=f"a label of the future: {SYMBOLS[0]} at t0_ns"):
        read_dataset(place)
    assert len(read_dataset(place, [SYMBOLS[1]]))


def test_parts_are_found_by_symbol_and_excursions_bound_the_outcome(store: Built) -> None:
    import pyarrow.parquet as pq

    one = read_dataset(store.directory, [SYMBOLS[1]])
    assert set(one.symbol.tolist()) == {1}
    with pytest.raises(DatasetError, match="holds no"):
        files_of(store.directory, ["CCCUSDT"])
    for path in files_of(store.directory, SYMBOLS[:1]):
        table = pq.ParquetFile(path).read()
        known = table["labels_20"].to_numpy() >= 0
        best, worst = (table[f"{name}_20"].to_numpy()[known] for name in ("mfe_bps", "mae_bps"))
        assert (best >= worst).all() and np.isfinite(best).all()
        surged = table["labels_20"].to_numpy()[known] == 1
        assert (best[surged] >= table["far_bps_20"].to_numpy()[known][surged] - 1e-3).all()


def test_one_symbol_in_two_sessions_at_the_same_time_is_refused(
    recording: Path, batches: list[Rows], tmp_path: Path
) -> None:
    other = record(tmp_path / "other", batches[:1])
    with pytest.raises(DatasetError, match="AAAUSDT is in two sessions at the same time"):
        build(tmp_path / "store", recording, other)


def test_sessions_behind_each_other_are_one_dataset(batches: list[Rows], tmp_path: Path) -> None:
    sessions = [record(tmp_path / str(k), [batch]) for k, batch in enumerate(batches)]
    # The second one starts without its epochs: nothing of it may be believed.
    built = build(tmp_path / "store", *sessions)
    alone = build(tmp_path / "alone", sessions[0])
    assert built.document["rows"] == alone.document["rows"]
    assert len(built.document["parts"]) == 2 * len(alone.document["parts"])


def test_two_builds_at_the_same_time_are_refused(recording: Path, tmp_path: Path) -> None:
    place = tmp_path / "store"
    with (
        alone(place / ".work"),
        pytest.raises(StoreError, match="another build"),
    ):
        build(place, recording)


def test_a_session_too_short_for_a_label_is_refused_and_leaves_no_manifest(
    batches: list[Rows], tmp_path: Path
) -> None:
    short = record(tmp_path / "short", [batches[0][: heads(batches[0])[20]]])
    with pytest.raises(DatasetError, match="can be labelled"):
        build(tmp_path / "store", short)
    with pytest.raises(DatasetError, match="no readable dataset"):
        read_manifest(tmp_path / "store")
