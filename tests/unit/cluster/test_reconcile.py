"""`foreshock reconcile`: exit codes, the named stage, the metric; and Redis refilled."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import redis
from typer.testing import CliRunner

from cluster.main import build_app
from cluster.replay_redis import ticks
from foreshock.market.rows import TRADE, heads
from foreshock.models.base import Domain
from foreshock.signals.policy import PolicyState
from foreshock.simulation.settings import SimulationSettings
from foreshock.stores.embedded_redis import EmbeddedRedis
from foreshock.stores.journal import FRAME, entries_of
from foreshock.stores.recordings import open_recording
from tests.unit.replay.judged import record
from tests.unit.replay.live import STALE_AFTER_NS, Shell, parquet

SECONDS = 20
PLACE = Path("session/watcher/0-0")
MARKET = SimulationSettings.model_validate({"seed": 4, "symbols": 2, "market": "binance-usdm"})


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("made")
    shell = Shell(MARKET)
    shell.run(SECONDS)
    domain = Domain(source="simulation", market=MARKET.market, tier="book")
    record(home, shell.batches, shell.instruments, domain, PolicyState(), parts=shell.parts)
    manifest = home / PLACE / "manifest.json"
    told = json.loads(manifest.read_text())
    told["meta"]["stale_after_ns"] = STALE_AFTER_NS
    manifest.write_text(json.dumps(told))
    return home


@pytest.fixture
def home(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "copy")
    return tmp_path / "copy"


class Verb:
    """Runs a verb with --json in this process and reads its document."""

    def __init__(self, capfd: pytest.CaptureFixture[str]) -> None:
        self.capfd = capfd

    def __call__(self, home: Path, *words: str, code: int = 0) -> Any:
        given = [*words, "--set", f"paths.var_dir={home}", "--json"]
        done = CliRunner().invoke(build_app(), given)
        told = self.capfd.readouterr()
        assert done.exit_code == code, told.err
        return json.loads(told.out)


@pytest.fixture
def document(capfd: pytest.CaptureFixture[str]) -> Verb:
    return Verb(capfd)


def test_a_whole_session_is_the_same_from_its_frames_to_its_verdicts(
    made: Path, document: Verb
) -> None:
    told = document(made, "reconcile", str(made / "session"))
    assert told["same"] is True and told["first_difference"] is None
    assert told["differing_bits"] == 0 and told["snapshots"] == 4
    stages = ("frames", "rows", "boundaries", "book", "vectors", "bill_inputs")
    assert all(told["compared"][stage] > 0 for stage in (*stages, "probabilities", "verdicts"))
    assert told["gaps"] == len(told["recordings"][0]["gaps"]) > 0
    assert {gap["reason"] for gap in told["recordings"][0]["gaps"]} >= {"range", "cut"}
    metrics = Path(told["metrics"]).read_text()
    assert 'foreshock_replay_divergence{stage="frames"} 0.0' in metrics
    assert 'foreshock_replay_divergence{stage="verdicts"} 0.0' in metrics


def test_a_difference_exits_with_one_is_named_and_reaches_the_metric(
    home: Path, document: Verb
) -> None:
    path = parquet(home / PLACE / "journal")[0]
    table = pq.read_table(path)
    entries = list(entries_of(table))
    k = next(k for k, e in enumerate(entries) if e.call == FRAME and b'"trade"' in (e.body or b""))
    bodies = table.column("body").to_pylist()
    bodies[k] = bodies[k].replace(b'"q":"', b'"q":"1')
    index = table.schema.get_field_index("body")
    altered = table.set_column(index, "body", pa.array(bodies, pa.large_binary()))
    pq.write_table(altered, path, compression="zstd")
    target = home / "told.prom"
    told = document(
        home, "reconcile", str(home / "session"), "--metrics", str(target), code=1
    )  # fmt: skip
    first = told["first_difference"]
    assert (first["stage"], first["row"], first["what"]) == ("frames", k, "frame")
    assert first["recording"] == str(home / PLACE)
    assert 'foreshock_replay_divergence{stage="frames"} 1.0' in target.read_text()
    given = ["reconcile", str(home / "session"), "--set", f"paths.var_dir={home}"]
    done = CliRunner().invoke(build_app(), given, env={"COLUMNS": "200"})
    assert done.exit_code == 1 and f"first frames frame at {first['boundary_ns']}" in done.stdout


def test_what_is_no_session_exits_with_one(tmp_path: Path) -> None:
    given = ["reconcile", str(tmp_path), "--set", f"paths.var_dir={tmp_path}"]
    done = CliRunner().invoke(build_app(), given, env={"COLUMNS": "300"})
    assert done.exit_code == 1 and "holds no recording" in done.stderr


@pytest.mark.parametrize("speed", ["max", "500"])
def test_raw_frames_drive_the_engine_as_the_rows_do(made: Path, document: Verb, speed: str) -> None:
    told = document(made, "replay", str(made / "session"), "--from", "frames", "--speed", speed)
    rows = document(made, "replay", str(made / "session"))
    assert told["same"] is True and told["compared"] == rows["compared"]
    assert told["rows"] == rows["rows"] and told["verdicts"] == rows["verdicts"]


def test_without_all_of_its_raw_frames_a_session_is_not_replayed_from_them(home: Path) -> None:
    parquet(home / PLACE / "journal")[1].unlink()
    given = ["replay", str(home / "session"), "--set", f"paths.var_dir={home}", "--from"]
    done = CliRunner().invoke(build_app(), [*given, "frames"], env={"COLUMNS": "300"})
    assert done.exit_code == 1 and "raw frames are missing" in done.output
    shutil.rmtree(home / PLACE / "journal")
    done = CliRunner().invoke(build_app(), [*given, "frames"], env={"COLUMNS": "300"})
    assert done.exit_code == 1 and "holds no raw frames" in done.output
    assert CliRunner().invoke(build_app(), [*given, "hearsay"]).exit_code == 2


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedRedis]:
    started = EmbeddedRedis()
    yield started
    started.close()


@pytest.mark.parametrize("speed", ["max", "400"])
def test_a_session_refills_redis_once_tick_by_tick(
    made: Path, server: EmbeddedRedis, document: Verb, speed: str
) -> None:
    client = redis.Redis.from_url(server.url)
    client.flushdb()
    words = ["replay", str(made / "session"), "--redis", server.url, "--speed", speed]
    told = document(made, *words)
    recording = open_recording(made / PLACE)
    trades = sum(int((rows["kind"][heads(rows)] == TRADE).sum()) for rows in recording.rows())
    symbols = [instrument.symbol.lower() for instrument in recording.instruments]
    assert told["trades"] == trades > 100 and told["refused"] == 0
    assert sum(client.xlen(f"trades:{symbol}") for symbol in symbols) == trades
    boundaries = len(list(recording.vectors()))
    assert all(client.xlen(f"features:{symbol}") == boundaries for symbol in symbols)
    before = {symbol: client.xrange(f"trades:{symbol}") for symbol in symbols}
    again = document(made, *words[:-1], "max")
    assert again["entries"] == 0 and again["refused"] == trades + boundaries * len(symbols)
    assert before == {symbol: client.xrange(f"trades:{symbol}") for symbol in symbols}
    client.close()


def test_ticks_end_in_front_of_every_trade_and_lose_nothing(made: Path) -> None:
    import numpy as np

    rows = next(open_recording(made / PLACE).rows())
    pieces = list(ticks(rows))
    assert np.concatenate(pieces).tobytes() == rows.tobytes()
    for piece in pieces[1:]:
        kinds = piece["kind"][heads(piece)]
        assert kinds[0] == TRADE and (kinds[1:] != TRADE).all()


@pytest.mark.parametrize(
    ("words", "told"),
    [(["--form", "loud"], "--form 'loud'"), (["another"], "--redis takes one session")],
)
def test_wrong_use_of_redis_exits_with_two(made: Path, words: list[str], told: str) -> None:
    given = ["replay", str(made / "session"), *words, "--redis", "redis://127.0.0.1:1"]
    done = CliRunner().invoke(build_app(), given)
    assert done.exit_code == 2 and told in done.stderr
