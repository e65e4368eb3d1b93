"""The look-ahead audit over the whole path from rows to the matrix, and over ten planted leaks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cluster.audit_leakage import dataset_build
from foreshock.errors import DatasetError
from foreshock.market.clock import SECOND_NS
from foreshock.market.rows import EPOCH, TIMER, Rows, heads
from foreshock.replay.leakage import Audited, Matrix, altered
from foreshock.replay.planted import LEAKS, planted
from foreshock.settings import Config, load
from foreshock.simulation.settings import SimulationSettings
from foreshock.stores.recordings import Recording, open_recording
from pipelines.backfill_history import backfill_simulation

HORIZON_S = 5


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    place: Path = tmp_path_factory.mktemp("hindsight") / "session"
    backfill_simulation(place, SimulationSettings(seed=11, symbols=2), 150)
    return open_recording(place)


@pytest.fixture(scope="module")
def tree() -> Config:
    tree = load().tree
    labels = tree.labels.model_copy(update={"horizons_s": (HORIZON_S,)})
    return tree.model_copy(update={"labels": labels})


def cut(recording: Recording, cuts: int) -> Audited:
    return Audited(
        recording.instruments, recording.rows(), window_s=40, horizon_s=HORIZON_S, cuts=cuts, seed=3
    )


def test_no_column_of_the_dataset_knows_the_future(recording: Recording, tree: Config) -> None:
    report = cut(recording, 6).audit(dataset_build(recording.instruments, tree))
    assert report.alarms == ()
    assert report.rows > 6 * 40  # it did look


@pytest.mark.parametrize("leak", LEAKS)
def test_a_planted_leak_is_caught_and_nothing_else_is_blamed(
    leak: str, recording: Recording, tree: Config
) -> None:
    report = cut(recording, 3).audit(planted(dataset_build(recording.instruments, tree), leak))
    assert report.leaky == (leak,)
    alarm = report.alarms[0]
    assert alarm.t0_ns <= alarm.cut_ns and alarm.rows >= 1


def test_rows_that_exist_because_of_the_future_are_told(recording: Recording, tree: Config) -> None:
    honest = dataset_build(recording.instruments, tree)

    def survivors(rows: Rows, start: bytes | None) -> Matrix:
        """Keeps a row only where the next one's first feature is larger."""
        said = honest(rows, start)
        keep = np.append(said.values[1:, 0] > said.values[:-1, 0], True)
        return Matrix(said.t0_ns[keep], said.symbol[keep], said.values[keep], said.names)

    assert "(rows)" in cut(recording, 6).audit(survivors).leaky


def test_the_altered_future_leaves_the_past_and_the_order_alone(recording: Recording) -> None:
    rows = np.concatenate(list(recording.rows()))
    places = heads(rows)
    cut_ns = int(rows["arrival_ns"][places[len(places) // 2]]) // SECOND_NS * SECOND_NS
    other = altered(rows, cut_ns, seed=1)
    first = places[rows["arrival_ns"][places] >= cut_ns][0]
    assert (other[:first] == rows[:first]).all()
    for name in ("arrival_ns", "event_ns", "seq", "kind", "count", "symbol", "id", "id2"):
        assert (other[places][name] == rows[places][name]).all()
    future = places[places >= first]
    changed = (other[future] != rows[future]) | np.isin(rows["kind"][future], (EPOCH, TIMER))
    assert changed.mean() > 0.5


def test_an_input_that_is_too_short_is_refused(recording: Recording) -> None:
    with pytest.raises(DatasetError, match="too short"):
        Audited(
            recording.instruments, recording.rows(), window_s=100, horizon_s=100, cuts=1, seed=0
        )
