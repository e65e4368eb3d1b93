"""Reconcile: a recorded session replays to the same bits, and whatever was altered is named."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cluster.output import PartMissingError
from foreshock.engine.step import Engine
from foreshock.market.rows import TRADE
from foreshock.models.base import Domain
from foreshock.replay.compare import STAGES, Reconciliation
from foreshock.replay.driver import replay_raw, tape_of
from foreshock.replay.reconcile import reconcile
from foreshock.signals.policy import PolicyState
from foreshock.simulation.settings import SimulationSettings
from foreshock.stores.files import read_table
from foreshock.stores.raw_sessions import read_raw_session
from foreshock.stores.recordings import (
    RecordedBoundary,
    Recording,
    RecordingWriter,
    open_recording,
)
from foreshock.stores.row_tables import from_table
from foreshock.venues.binance import BinanceSession
from pipelines.backfill_history import backfill_simulation
from tests.unit.replay.judged import PARTS, UNHEARD, judging, record
from tests.unit.serve.material import train

SIMULATED = Domain(source="simulation", market="binance-spot", tier="book")
SECONDS = 60
MARKET = SimulationSettings.model_validate({"seed": 5, "symbols": 3})
SYMBOLS = list(MARKET.symbols)
PLACE = Path("session/watcher/0-0")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A judged session of three simulated pairs. Before it, the first pair had just signalled."""
    home = tmp_path_factory.mktemp("made")
    backfill_simulation(home / "history", MARKET, SECONDS)
    history = open_recording(home / "history")
    start_ns = MARKET.start_ns + UNHEARD * 10**9
    before = PolicyState(last_signal_ns={SYMBOLS[0]: start_ns}, killed=frozenset({SYMBOLS[2]}))
    record(home, history.rows(batch_rows=300), history.instruments, SIMULATED, before)
    return home


@pytest.fixture
def home(made: Path, tmp_path: Path) -> Path:
    """A copy that may be damaged."""
    shutil.copytree(made, tmp_path / "copy")
    return tmp_path / "copy"


def checked(home: Path) -> Reconciliation:
    recording = open_recording(home / PLACE)
    return reconcile(recording, judging(home, recording))


def alter(home: Path, at: int, change: Callable[[RecordedBoundary], RecordedBoundary]) -> int:
    """Write one recorded boundary anew; its time."""
    recording = open_recording(home / PLACE)
    writer = RecordingWriter(home / PLACE, recording.instruments, recording.meta)
    said = list(recording.vectors())
    said[at] = change(said[at])
    shutil.rmtree(home / PLACE / "vectors")
    writer.write_boundaries(
        said,
        [one.probabilities for one in said],
        [one.verdicts for one in said],
        [one.policy for one in said],
    )
    return said[at].boundary_ns


def test_an_untouched_session_replays_to_the_same_bits_through_every_stage(made: Path) -> None:
    found = checked(made)
    assert found.first is None and found.same is True and found.differing_bits == 0
    assert found.boundaries >= SECONDS - 1 and found.holes == found.skipped == 0
    judged = found.boundaries - UNHEARD - found.unrecorded
    engine = found.boundaries - found.unrecorded
    assert {stage: found.compared[stage] for stage in STAGES} == {
        **dict.fromkeys(STAGES, engine), "probabilities": judged, "verdicts": judged,
        "frames": 0, "rows": 0,
    }  # fmt: skip
    assert found.snapshots == PARTS
    assert found.reasons.total() == len(SYMBOLS) * judged
    assert found.reasons["signal"] and found.reasons["cool_down"] and found.reasons["kill_switch"]


def test_every_closed_boundary_is_shown_in_order(made: Path) -> None:
    seen: list[int] = []
    found = reconcile(open_recording(made / PLACE), each=lambda b: seen.append(b.boundary_ns))
    assert len(seen) == found.boundaries
    assert np.unique(np.diff(seen)).tolist() == [10**9]
    assert not found.reasons and not found.compared["verdicts"]


def test_a_changed_bit_of_a_vector_is_found_with_its_symbol_and_feature(home: Path) -> None:
    def change(said: RecordedBoundary) -> RecordedBoundary:
        said.vectors.view(np.uint32)[1, 4] ^= 1
        return said

    at_ns = alter(home, 20, change)
    found = checked(home)
    assert found.first is not None and found.same is False
    name = Engine(open_recording(home / PLACE).instruments).layout.names[4]
    first = found.first
    assert (first.stage, first.boundary_ns, first.symbol, first.what) == (
        "vectors", at_ns, SYMBOLS[1], name,
    )  # fmt: skip
    assert found.differing == {"vectors": 1} and found.differing_bits == 1


@pytest.mark.parametrize(
    ("stage", "part"),
    [
        ("book", "rows"), ("book", "book_epoch"), ("book", "tape_epoch"), ("book", "book_state"),
        ("vectors", "warm"),
    ],
)  # fmt: skip
def test_a_changed_state_is_found_at_its_stage(home: Path, stage: str, part: str) -> None:
    def change(said: RecordedBoundary) -> RecordedBoundary:
        array = getattr(said, part)
        array.reshape(len(array), -1)[2, 0] ^= 1
        return said

    at_ns = alter(home, 30, change)
    first = checked(home).first
    assert first is not None
    assert (first.stage, first.boundary_ns, first.symbol) == (stage, at_ns, SYMBOLS[2])
    assert first.what is not None and first.what.startswith(part)


def test_a_changed_bill_input_is_named_by_its_field(home: Path) -> None:
    def change(said: RecordedBoundary) -> RecordedBoundary:
        said.bill_inputs["ask_notional"][0] += 1.0
        return said

    alter(home, 40, change)
    first = checked(home).first
    assert first is not None
    assert (first.stage, first.symbol, first.what) == ("bill_inputs", SYMBOLS[0], "ask_notional")


def test_a_changed_probability_is_found_with_its_horizon(home: Path) -> None:
    def change(said: RecordedBoundary) -> RecordedBoundary:
        assert said.probabilities is not None
        said.probabilities.view(np.uint32)[0, 1] ^= 2
        return said

    alter(home, 25, change)
    found = checked(home)
    assert found.first is not None and found.differing == {"probabilities": 1}
    assert (found.first.stage, found.first.what) == ("probabilities", "300 s")


def test_a_changed_verdict_is_found_by_its_field_and_counts_no_bits(home: Path) -> None:
    def change(said: RecordedBoundary) -> RecordedBoundary:
        assert said.verdicts is not None
        said.verdicts[1]["bill"]["impact_bps"] += 0.25
        return said

    alter(home, 35, change)
    found = checked(home)
    assert found.first is not None and found.same is False
    assert found.differing == {"verdicts": 1} and found.differing_bits == 0
    assert (found.first.stage, found.first.symbol, found.first.what) == (
        "verdicts", SYMBOLS[1], "bill",
    )  # fmt: skip


def test_a_boundary_that_never_closes_and_one_that_closes_late_are_found(home: Path) -> None:
    alter(home, 10, lambda said: replace(said, closed_by_seq=said.closed_by_seq + 1))
    first = checked(home).first
    assert first is not None and (first.stage, first.what) == ("boundaries", "closed_by_seq")
    last = sorted((home / PLACE / "rows").iterdir())[-1]
    last.unlink()
    found = checked(home)
    assert found.differing["boundaries"] > SECONDS // PARTS - 3


def rewrite_rows(home: Path, part: int, change: Callable[[np.ndarray], np.ndarray]) -> None:
    path = sorted((home / PLACE / "rows").iterdir())[part]
    recording = open_recording(home / PLACE)
    rows = from_table(read_table(path)).copy()
    path.unlink()
    RecordingWriter(home / PLACE, recording.instruments, recording.meta).write(change(rows))


def test_a_changed_row_is_found_at_the_next_boundary(home: Path) -> None:
    changed_ns = 0

    def change(rows: np.ndarray) -> np.ndarray:
        nonlocal changed_ns
        k = int(np.flatnonzero(rows["kind"] == TRADE)[3])
        rows["b"][k] += 1
        changed_ns = int(rows["arrival_ns"][k])
        return rows

    rewrite_rows(home, 1, change)
    first = checked(home).first
    assert first is not None
    assert first.stage in ("vectors", "bill_inputs")
    assert 0 < first.boundary_ns - changed_ns <= 10**9


def test_rows_that_are_missing_are_a_difference_and_the_replay_goes_on_behind_them(
    home: Path,
) -> None:
    sorted((home / PLACE / "rows").iterdir())[1].unlink()
    found = checked(home)
    assert found.first is not None and found.first.stage == "rows" and found.holes == 1
    assert set(found.differing) == {"rows"}  # behind the snapshot everything is the same again
    whole = len(list(open_recording(home / PLACE).vectors()))
    assert found.skipped > 0 and found.compared["vectors"] + found.skipped == whole
    assert found.compared["vectors"] >= whole // 2


def test_rows_that_are_missing_without_a_snapshot_behind_them_end_the_replay(home: Path) -> None:
    sorted((home / PLACE / "rows").iterdir())[1].unlink()
    shutil.rmtree(home / PLACE / "snapshots")
    found = checked(home)
    assert found.holes == 1 and set(found.differing) == {"rows"}
    assert found.skipped > SECONDS // 2


def test_a_recording_without_what_was_said_compares_nothing(home: Path) -> None:
    shutil.rmtree(home / PLACE / "vectors")
    found = checked(home)
    assert found.same is None and found.unrecorded == found.boundaries > 0


def test_another_model_is_asked_but_not_compared(home: Path) -> None:
    other = train(home / "models", SIMULATED, seed=8)
    recording = open_recording(home / PLACE)
    judge = judging(home, recording, "champion")  # names are tried in order: still the first
    mine = home / "models" / other.name / other.version
    judge = judging(home, recording, str(mine))
    found = reconcile(recording, judge)
    assert judge.versions == [other.version]
    assert found.same is True and found.compared["vectors"] and not found.compared["verdicts"]
    assert found.reasons.total() == len(SYMBOLS) * found.boundaries


def test_no_model_gives_refusals_without_a_comparison(made: Path) -> None:
    recording = open_recording(made / PLACE)
    found = reconcile(recording, judging(made, recording, "none"))
    assert set(found.reasons) == {"no_model"} and not found.compared["verdicts"]


def test_a_model_that_the_registry_lacks_is_a_missing_part(home: Path) -> None:
    shutil.rmtree(home / "models")
    with pytest.raises(PartMissingError, match="registry lacks"):
        checked(home)


def test_a_real_session_replays_to_the_same_bits(recordings: Path, tmp_path: Path) -> None:
    raw = read_raw_session(recordings / "ws_raw/hftbacktest/usdm/btcusdt_20230404.dat.gz")
    live = BinanceSession(raw.instruments, tape=tape_of(raw.events))
    batches = [rows for rows, _ in replay_raw(Engine(raw.instruments), live, raw.events)]
    domain = Domain(source="binance", market=raw.market, tier="book")
    record(tmp_path, batches, raw.instruments, domain, PolicyState())
    recording: Recording = open_recording(tmp_path / PLACE)
    found = reconcile(recording, judging(tmp_path, recording))
    assert found.first is None
    assert found.compared["probabilities"] == found.boundaries - UNHEARD > 90
