"""An hour with a jump in it: the clock, the rows, or both. Reconcile bridges each and says so."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from foreshock.market.clock import SECOND_NS
from foreshock.market.rows import Rows, heads
from foreshock.models.base import Domain
from foreshock.replay.compare import Reconciliation
from foreshock.replay.reconcile import reconcile
from foreshock.signals.policy import PolicyState
from foreshock.simulation.settings import SimulationSettings
from foreshock.stores.gaps import NOT_RECORDED, gaps_of
from foreshock.stores.recordings import open_recording
from tests.unit.replay.judged import PARTS, judging, record
from tests.unit.replay.live import Shell, parquet

MARKET = SimulationSettings.model_validate({"seed": 6, "symbols": 2})
PLACE = Path("session/watcher/0-0")
JUMP_S = 3_600


def jumped(batches: list[Rows]) -> list[Rows]:
    """The second half an hour later, as after a machine slept; no row is missing."""
    out = [rows.copy() for rows in batches]
    half = int(out[len(out) // 2]["arrival_ns"][0])
    for rows in out:
        at = heads(rows)
        late = at[rows["arrival_ns"][at] >= half]
        rows["arrival_ns"][late] += JUMP_S * SECOND_NS
    return out


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("made")
    shell = Shell(MARKET)
    shell.run(24)
    domain = Domain(source="simulation", market=MARKET.market, tier="book")
    record(home, jumped(shell.batches), shell.instruments, domain, PolicyState())
    return home


@pytest.fixture
def home(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "copy")
    return tmp_path / "copy"


def checked(home: Path) -> Reconciliation:
    return reconcile(open_recording(home / PLACE))


def gaps(home: Path) -> list[str]:
    return [gap.reason for gap in gaps_of(home / PLACE, list(MARKET.symbols)) if not gap.symbol]


def test_every_second_of_the_hour_closes_and_no_bit_differs(made: Path) -> None:
    recording = open_recording(made / PLACE)
    found = reconcile(recording, judging(made, recording))
    assert found.same is True and found.holes == 0
    assert found.boundaries > JUMP_S and found.compared["verdicts"] > JUMP_S
    assert gaps(made) == []


def test_rows_that_were_shed_in_the_jump_are_bridged_by_the_next_snapshot(home: Path) -> None:
    parquet(home / PLACE / "rows")[PARTS // 2].unlink()
    found = checked(home)
    assert found.holes == 1 and set(found.differing) == {"rows"}
    assert found.first is not None and "in front of seq" in str(found.first.what)
    assert any("goes on behind the snapshot at seq" in word for word in found.words)
    said = len(list(open_recording(home / PLACE).vectors()))
    assert found.compared["vectors"] + found.skipped == said and found.skipped > 0
    assert found.compared["vectors"] > 5
    assert gaps(home) == [NOT_RECORDED]


def test_a_snapshot_that_is_damaged_too_is_passed_over_for_the_next(home: Path) -> None:
    parquet(home / PLACE / "rows")[1].unlink()
    second = sorted((home / PLACE / "snapshots").iterdir())[1]
    second.write_bytes(b"nothing of the kind")
    found = checked(home)
    seqs = open_recording(home / PLACE).snapshot_seqs()
    assert any(f"goes on behind the snapshot at seq {seqs[2]}" in word for word in found.words)
    assert found.compared["vectors"] > 0


def test_without_any_snapshot_behind_the_hole_the_replay_ends_and_says_so(home: Path) -> None:
    parquet(home / PLACE / "rows")[1].unlink()
    shutil.rmtree(home / PLACE / "snapshots")
    found = checked(home)
    assert any("the replay ends there" in word for word in found.words)
    assert found.skipped > JUMP_S and found.first is not None and found.first.stage == "rows"
