from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from foreshock.engine.step import Engine
from foreshock.errors import DatasetError
from foreshock.features import catalog
from foreshock.labels.barriers import CENSORED, LabelSettings
from foreshock.market.clock import SECOND_NS
from foreshock.market.rows import RESYNCING, SYNCED
from foreshock.simulation.settings import SimulationSettings
from foreshock.stores.cold_parquet import ParquetCold
from foreshock.stores.cold_settings import Stores
from foreshock.stores.recordings import Recording, RecordingWriter, join_rows, open_recording
from pipelines import backfill_history, build_features
from pipelines.dataset_play import censored_spans, play
from pipelines.dataset_settings import DatasetSettings
from pipelines.datasets import read_dataset

SETTINGS = SimulationSettings(symbols=("BTCUSDT", "TRXUSDT"), seed=5, surge_interval_s=60.0)
LABELS = LabelSettings(horizons_s=(5, 20))
SECONDS = 150


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    directory = tmp_path_factory.mktemp("history") / "simulation"
    done = backfill_history.backfill_simulation(directory, SETTINGS, SECONDS)
    assert done["seconds"] == SECONDS
    return open_recording(directory)


def test_history_is_the_same_rows_for_the_same_seed(history: Recording, tmp_path: Path) -> None:
    backfill_history.backfill_simulation(tmp_path / "again", SETTINGS, SECONDS)
    again = join_rows(open_recording(tmp_path / "again").rows())
    assert again.tobytes() == join_rows(history.rows()).tobytes()
    assert history.meta["arrival"] == "modelled"


def test_x_holds_the_engines_vectors_where_a_verdict_could_be_given(history: Recording) -> None:
    made = build_features.build_dataset([history], LABELS)
    engine = Engine(history.instruments)
    at = {b.boundary_ns: b for rows in history.rows() for b in engine.feed(rows)}
    assert len(made) > SECONDS
    assert set(made.symbols) == set(SETTINGS.symbols)
    required = np.isin(made.feature_names, made.manifest["required_features"])
    for k in range(len(made)):
        boundary, s = at[int(made.t0_ns[k])], int(made.symbol[k])
        assert boundary.vectors[s].tobytes() == made.X[k].tobytes()
        assert boundary.book_state[s] == SYNCED
        assert boundary.warm[s][required].all()
    assert made.manifest["layout_fingerprint"] == catalog.layout().fingerprint
    assert made.manifest["domain"] == {
        "source": "simulation",
        "market": "binance-spot",
        "tier": "book",
    }


def test_labels_do_not_change_when_the_recording_goes_on(
    history: Recording, tmp_path: Path
) -> None:
    end_ns = SETTINGS.start_ns + 100 * SECOND_NS
    rows = join_rows(history.rows())
    engine, cut = Engine(history.instruments), 0
    for batch in history.rows(batch_rows=500):
        if engine.feed(batch) and int(batch["arrival_ns"][0]) > end_ns:
            break
        cut += len(batch)
    writer = RecordingWriter(tmp_path / "shorter", history.instruments, history.meta)
    writer.write(rows[:cut])
    short = build_features.build_dataset([open_recording(tmp_path / "shorter")], LABELS)
    whole = build_features.build_dataset([history], LABELS)
    assert len(short) < len(whole)
    key = {
        (int(t), int(s)): k for k, (t, s) in enumerate(zip(whole.t0_ns, whole.symbol, strict=True))
    }
    for k in range(len(short)):
        same = key[int(short.t0_ns[k]), int(short.symbol[k])]
        known = short.labels[k] != CENSORED
        assert short.X[k].tobytes() == whole.X[same].tobytes()
        assert (short.labels[k] == whole.labels[same])[known].all()
        assert (short.t1_ns[k] == whole.t1_ns[same])[known].all()


def test_steps_without_a_good_book_and_across_epochs_are_censored(history: Recording) -> None:
    settings = DatasetSettings(labels=LABELS)
    played = play(history.instruments, history.rows(), settings=settings).until(
        SETTINGS.start_ns + 6 * SECOND_NS
    )
    for k, (state, epoch) in enumerate([(1, 1), (1, 1), (0, 2), (1, 2), (1, 3), (1, 3)]):
        played.book_state[k, 0] = SYNCED if state else RESYNCING
        played.book_epoch[k, 0] = epoch
    steps = (censored_spans(played, 0, settings) - played.at_ns[0]) // SECOND_NS
    assert steps.tolist() == [[1, 2], [2, 3], [3, 4]]
    quiet = replace(played, at_ns=played.at_ns + np.array([0, 0, 0, 0, 0, 9]) * SECOND_NS)
    steps = (censored_spans(quiet, 0, settings) - played.at_ns[0]) // SECOND_NS
    assert steps.tolist() == [[1, 2], [2, 3], [3, 4], [4, 14]]


def test_a_recording_that_is_too_short_is_refused(tmp_path: Path) -> None:
    backfill_history.backfill_simulation(tmp_path / "short", SETTINGS, 8)
    with pytest.raises(DatasetError, match="too short"):
        build_features.build_dataset([open_recording(tmp_path / "short")], LABELS)


def test_the_command_line_writes_a_dataset_that_reads_back(
    history: Recording, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "dataset"
    flags = [
        str(history.directory),
        "--out",
        str(out),
        "--horizons",
        "5,20",
        "--every",
        "5",
        "--no-ray",
        "--json",
    ]
    assert build_features.main(flags) == 0
    said = json.loads(capsys.readouterr().out)
    made = read_dataset(out)
    assert said["rows"] == len(made)
    assert made.horizons_s == (5, 20)
    assert (made.t0_ns // SECOND_NS % 5 == 0).all()


def test_labels_are_kept_in_the_cold_store_once(history: Recording, tmp_path: Path) -> None:
    made = build_features.build_dataset([history], LABELS)
    for _ in range(2):
        assert build_features.keep_labels(made, Stores(), tmp_path) == made.labels.size
    found = ParquetCold(tmp_path / "cold").scan("labels")
    assert len(found) == made.labels.size
    assert set(found["fingerprint"].to_pylist()) == {made.manifest["label_fingerprint"]}
    pick = found.take(np.lexsort((found["horizon_s"].to_numpy(), found["seq"].to_numpy())))
    assert pick["label"].to_numpy().tobytes() == made.labels.tobytes()
    assert np.array_equal(pick["t1_ns"].to_numpy(), made.t1_ns.ravel())
    outcome = made.outcome_bps.ravel().astype(np.float64)
    assert np.array_equal(pick["outcome_bps"].to_numpy(), outcome, equal_nan=True)
    off = Stores.model_validate({"cold": "off"})
    assert build_features.keep_labels(made, off, tmp_path) == 0


def test_the_command_line_takes_bars_of_a_history_and_says_what_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from foreshock.stores.archive_plan import Series
    from foreshock.stores.history import History
    from tests.unit.pipelines.test_dataset_tiers import FIRST, put_bars, walk

    history = History(tmp_path / "history")
    put_bars(history, "AUSDT", walk("AUSDT", 300), np.arange(300))
    assert history.series() == [Series("binance-usdm", "klines", "1m", "AUSDT")]
    flags = [
        "--symbol", "A/USDT", "--history", str(history.directory), "--market", "binance-usdm",
        "--from", str(FIRST), "--tier", "bars", "--side", "short", "--half-spread-bps", "3",
        "--out", str(tmp_path / "store"), "--no-ray",
    ]  # fmt: skip
    assert build_features.main([*flags, "--horizons", "60,300"]) == 2
    assert "holds no whole bar" in capsys.readouterr().err
    assert build_features.main([*flags, "--horizons", "300", "--tidy"]) == 0
    said = capsys.readouterr()
    assert "1 symbols" in said.out and "1 of 1 parts made" in said.out
    assert "days" in said.err  # the bar of progress
    made = read_dataset(tmp_path / "store")
    assert (made.manifest["side"], made.manifest["half_spread_bps"]) == (-1, 3.0)
    assert not (tmp_path / "store" / ".work").exists()
    flags[1] = "MISSING"
    assert build_features.main([*flags, "--horizons", "300"]) == 1
    assert "MISSING" in capsys.readouterr().err
