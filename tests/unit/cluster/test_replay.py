"""cluster.replay: the verb over sessions of ours and of others."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from cluster.judging import SESSION_FILE, kept_settings
from cluster.main import build_app
from cluster.replay import Pace, recordings_in, speed_of
from foreshock.errors import ConfigError, RecordingError
from foreshock.models.base import Domain
from foreshock.signals.policy import PolicyState
from foreshock.simulation.settings import SimulationSettings
from foreshock.stores.recordings import open_recording
from pipelines.backfill_history import backfill_simulation
from tests.unit.replay.judged import EASY, UNHEARD, record

SECONDS = 20
PLACE = Path("session/watcher/0-0")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("made")
    market = SimulationSettings.model_validate({"seed": 5, "symbols": 2})
    backfill_simulation(home / "history", market, SECONDS)
    history = open_recording(home / "history")
    domain = Domain(source="simulation", market=market.market, tier="book")
    record(home, history.rows(batch_rows=200), history.instruments, domain, PolicyState())
    return home


@pytest.fixture
def home(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "copy")
    return tmp_path / "copy"


def run(home: Path, *words: str) -> Result:
    """The verb with the registry of `home`."""
    given = ["replay", *words, "--set", f"paths.var_dir={home}"]
    return CliRunner().invoke(build_app(), given, env={"COLUMNS": "200"})


def document(home: Path, *words: str, code: int = 0) -> Any:
    # With --json the verb turns file descriptors round, which only a real process shows.
    program = "from cluster.main import main; main()"
    given = ["replay", *words, "--set", f"paths.var_dir={home}", "--json"]
    done = subprocess.run([sys.executable, "-c", program, *given], capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout)


def test_an_untouched_session_is_the_same_and_says_what_was_compared(made: Path) -> None:
    told = document(made, str(made / "session"))
    judged = told["boundaries"] - UNHEARD
    assert told["kind"] == "recording" and told["same"] is True
    assert told["differing_bits"] == 0 and told["first_difference"] is None
    assert told["compared"]["vectors"] == told["boundaries"] >= SECONDS
    assert told["compared"]["probabilities"] == told["compared"]["verdicts"] == judged
    assert told["verdicts"] == 2 * judged
    assert told["signals"] + sum(told["refusals"].values()) == told["verdicts"]
    assert len(told["models"]) == 1
    assert [Path(entry["directory"]) for entry in told["recordings"]] == [made / PLACE]
    assert told["rows"] == sum(map(len, open_recording(made / PLACE).rows()))


def test_one_recording_of_a_session_can_be_named(made: Path) -> None:
    done = run(made, str(made / PLACE))
    assert done.exit_code == 0 and "nothing differs" in done.stdout


def test_a_difference_exits_with_one_and_is_named(home: Path) -> None:
    kept = json.loads((home / "session" / SESSION_FILE).read_text())
    kept["gate"]["costs"]["taker_fee_bps"] = 42.0
    (home / "session" / SESSION_FILE).write_text(json.dumps(kept))
    told = document(home, str(home / "session"), code=1)
    first = told["first_difference"]
    assert told["same"] is False and told["differing_bits"] == 0
    assert first["stage"] == "verdicts" and first["recording"] == str(home / PLACE)
    assert first["boundary_ns"] > 0 and first["symbol"] and first["what"]
    done = run(home, str(home / "session"))
    assert done.exit_code == 1 and f"first verdicts {first['symbol']}" in done.stdout


def test_without_its_model_a_session_needs_another_word(home: Path) -> None:
    shutil.rmtree(home / "models")
    done = run(home, str(home / "session"))
    assert done.exit_code == 3 and "registry lacks" in done.stderr
    assert run(home, str(home / "session"), "--model", "champion").exit_code == 3
    told = document(home, str(home / "session"), "--model", "none")
    assert told["same"] is True and set(told["refusals"]) == {"no_model"}
    assert "verdicts" not in told["compared"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--speed", "fast"], "--speed 'fast'"),
        (["--speed", "0"], "--speed '0'"),
        (["--model", "nowhere"], "--model 'nowhere'"),
        (["another.gz"], "one directory"),
    ],
)
def test_wrong_use_exits_with_two(made: Path, words: list[str], told: str) -> None:
    done = run(made, str(made / "session"), *words)
    assert done.exit_code == 2 and told in done.stderr


def test_a_directory_without_a_recording_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="holds no recording"):
        recordings_in(tmp_path)
    assert run(tmp_path, str(tmp_path)).exit_code == 1
    assert run(tmp_path, str(tmp_path / "absent.gz")).exit_code == 1


def test_settings_are_those_that_the_session_kept(home: Path) -> None:
    assert kept_settings(home / PLACE) == EASY
    (home / "session" / SESSION_FILE).write_text("{")
    with pytest.raises(RecordingError, match=SESSION_FILE):
        kept_settings(home / PLACE)
    (home / "session" / SESSION_FILE).unlink()
    assert kept_settings(home / PLACE) is None


def test_a_raw_session_is_counted(recordings: Path, tmp_path: Path) -> None:
    raw = recordings / "ws_raw/hftbacktest/usdm/btcusdt_20230404.dat.gz"
    told = document(tmp_path, str(raw))
    assert told["kind"] == "raw" and told["same"] is None
    assert told["domain"] == "binance/binance-usdm/book" and told["boundaries"] > 90
    state = told["symbols"]["BTCUSDT"]
    assert state["book"] == "SYNCED" and state["book_epoch"] == 1
    assert 0 < state["synced_boundaries"] <= told["boundaries"]
    assert told["refusals"] == {"no_model": told["boundaries"]}


def test_boundaries_are_due_as_they_were_recorded_divided_by_the_speed() -> None:
    now_s, slept = 100.0, []

    def sleep(seconds: float) -> None:
        nonlocal now_s
        slept.append(seconds)
        now_s += seconds + 0.01  # every sleep is a little late, and it does not add up

    pace = Pace(4.0, sleep, lambda: now_s)
    for k in range(5):
        pace(SimpleNamespace(boundary_ns=10**18 + k * 10**9))  # type: ignore[arg-type]
    assert slept == pytest.approx([0.0, 0.24, 0.24, 0.24, 0.24])
    pace(SimpleNamespace(boundary_ns=10**17))  # type: ignore[arg-type]  # the next recording
    assert slept[-1] == 0.0


def test_a_paced_replay_says_a_line_a_boundary_on_stderr(made: Path) -> None:
    done = run(made, str(made / "session"), "--speed", "1000")
    lines = done.stderr.splitlines()
    assert done.exit_code == 0 and len(lines) >= SECONDS
    assert "2 SYNCED" in lines[-1] and "likeliest" in lines[-1] and "SIGNAL" in done.stderr
    assert "SYNCED" not in done.stdout


def test_max_never_waits() -> None:
    assert speed_of("max") is None and speed_of("0.5") == 0.5
    for text in ("nan", "inf", "-1", ""):
        with pytest.raises(ConfigError):
            speed_of(text)
    pace = Pace(None, sleep=lambda _: pytest.fail("it waited"))
    pace(SimpleNamespace(boundary_ns=1))  # type: ignore[arg-type]
