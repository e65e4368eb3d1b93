"""`foreshock record`: what it refuses, and what it counts on disk. That it records is tested with a
running cluster."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cluster.main import build_app
from cluster.record import new_directory, rows_on_disk
from foreshock.errors import ConfigError, RecordingError
from foreshock.market.instruments import SPOT, Instrument
from foreshock.market.rows import TIMER, empty_rows
from foreshock.stores.recordings import RecordingWriter


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--for", "soon"], "'soon' is no duration"),
        (["--mode", "replay"], "foreshock replay"),
        (["--set", "venue.market=nasdaq"], "venue.market"),
        (["--mode", "demo", "--out", str(Path(__file__).parent)], "no empty directory"),
    ],
)
def test_wrong_use_exits_with_two_before_anything_starts(
    capfd: pytest.CaptureFixture[str], arguments: list[str], told: str
) -> None:
    done = CliRunner().invoke(build_app(), ["record", *arguments, "--json"])
    assert done.exit_code == 2
    assert told in json.loads(capfd.readouterr().out)["error"]["message"]


def test_a_recording_never_lands_beside_another(tmp_path: Path) -> None:
    assert new_directory(tmp_path / "new") == tmp_path / "new"
    assert new_directory(tmp_path) == tmp_path
    (tmp_path / "session.json").touch()
    for taken in (tmp_path, tmp_path / "session.json"):
        with pytest.raises(ConfigError, match="no empty directory"):
            new_directory(taken)


def test_rows_of_every_watcher_are_counted(tmp_path: Path) -> None:
    for name, batches in (("watcher/0-0", (3, 4)), ("watcher/1-0", (5,))):
        writer = RecordingWriter(tmp_path / name, [_instrument()], {})
        first = 0
        for n in batches:
            rows = empty_rows(n)
            rows["seq"] = range(first, first + n)
            rows["kind"] = TIMER
            writer.write(rows)
            first += n
    assert rows_on_disk(tmp_path) == 12 and rows_on_disk(tmp_path, "journal") == 0


def test_a_session_without_rows_is_no_recording(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="no recording with rows"):
        rows_on_disk(tmp_path)


def _instrument() -> Instrument:
    return Instrument.of("BTCUSDT", SPOT, "0.01", "0.00001")
