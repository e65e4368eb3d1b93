"""pipelines.run_journal: what was finished is known to whoever comes after."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from foreshock.errors import StoreError
from foreshock.models.boosted import BoostedSettings
from pipelines.datasets import write_dataset
from pipelines.run_journal import fingerprint_of, journal, read_journal
from pipelines.sweep import Outcome, Unit
from pipelines.trial import Cell
from tests.reference.training import make_set

RECIPE = BoostedSettings()
UNIT = Unit("symbol:BTCUSDT", 1, 7)
CELL = Cell(1, 60, 0.1 + 0.2, math.pi, "", 3, (0.1, -1e-300, 5.0), ((0, 0.25), (3, -0.5)))
OUTCOME = Outcome([CELL, Cell(1, 300, math.nan, math.nan, "too few rows")], 0.5)
ROOT = Path(__file__).parents[3]


def same(one: Outcome, two: Outcome) -> bool:
    """NaN is no reason to differ."""
    return repr(one) == repr(two)


def write(path: Path, *outcomes: tuple[Unit, Outcome], resume: bool = False) -> int:
    with journal(path, "abc", {"trials": 3}, resume=resume) as (keep, known):
        for unit, outcome in outcomes:
            keep(unit, RECIPE, outcome, known=False)
        return len(known)


def test_what_is_written_is_read_to_the_last_bit(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "abc.jsonl"
    failed = (UNIT._replace(fold=2), Outcome([], 0.1, "MemoryError: "))
    assert write(path, (UNIT, OUTCOME), failed) == 0
    known, whole = read_journal(path, "abc")
    assert whole == path.stat().st_size
    assert list(known) == [(UNIT, RECIPE.model_dump_json()), (failed[0], RECIPE.model_dump_json())]
    for outcome, read in zip((OUTCOME, failed[1]), known.values(), strict=True):
        assert same(outcome, read)
    assert write(path, resume=True) == 2
    assert write(path) == 0  # without resume it begins anew
    assert read_journal(path, "abc")[0] == {}


def test_a_line_that_was_cut_short_is_left_out_and_written_over(tmp_path: Path) -> None:
    path = tmp_path / "abc.jsonl"
    write(path, (UNIT, OUTCOME), (UNIT._replace(trial=8), OUTCOME))
    text = path.read_bytes()
    for cut in range(len(text) - 1, text.index(b"\n") + 1, -41):
        path.write_bytes(text[:cut])
        lines = text[:cut].count(b"\n") - 1
        assert write(path, (UNIT._replace(trial=9), OUTCOME), resume=True) == lines
        assert len(read_journal(path, "abc")[0]) == lines + 1


def test_what_a_dead_worker_took_with_it_is_tried_again(tmp_path: Path) -> None:
    path = tmp_path / "abc.jsonl"
    write(path, (UNIT, Outcome([], 0.0, "the worker died over it", lost=True)))
    assert read_journal(path, "abc")[0] == {}


def test_another_sweeps_journal_a_damaged_one_and_a_busy_one_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "abc.jsonl"
    write(path, (UNIT, OUTCOME))
    with pytest.raises(StoreError, match="of another sweep: abc, this one is xyz"):
        read_journal(path, "xyz")
    with journal(path, "abc", {}, resume=True), pytest.raises(StoreError, match="another training"):
        write(path)
    path.write_bytes(path.read_bytes() + b"{}\n" + b"{}\n")
    with pytest.raises(StoreError, match="line 3 is damaged"):
        read_journal(path, "abc")


def test_the_fingerprint_follows_all_that_decides() -> None:
    first = fingerprint_of(seed=1, data="a")
    assert first == fingerprint_of(data="a", seed=1)
    assert len({first, fingerprint_of(seed=2, data="a"), fingerprint_of(seed=1, data="b")}) == 3


@pytest.mark.timeout(180)
def test_a_killed_process_is_followed_by_one_that_goes_on(tmp_path: Path) -> None:
    write_dataset(tmp_path / "set", make_set(steps=4000))
    (tmp_path / "sweep.yaml").write_text(
        "training: {trials: 10, features: ['*'], walk_forward: {folds: 2}, search: {batch: 3}}\n"
    )
    variables = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}

    def command(out: str, *more: str) -> list[str]:
        words = ["--dataset", "set", "--config", "sweep.yaml", "--out", out, "--json", "--no-ray"]
        return [sys.executable, "-m", "pipelines.tune_models", *words, *more]

    def ended(*words: str) -> dict[str, object]:
        done = subprocess.run(
            command(*words), cwd=tmp_path, env=variables, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout))

    process = subprocess.Popen(command("half"), cwd=tmp_path, env=variables)
    lines = 0
    while lines < 5:
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.01)
        for file in (tmp_path / "var" / "runs").glob("*.jsonl"):
            lines = len(file.read_bytes().splitlines())
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "half").exists()
    resumed, whole = ended("resumed", "--resume"), ended("whole")
    assert int(str(resumed["fits_known"])) >= 4
    assert whole["fits_known"] == 0 and whole["scopes"] == resumed["scopes"]
    for name in ("model.onnx", "card.json", "certificate.json"):
        one, two = (tmp_path / out / name for out in ("resumed", "whole"))
        assert one.read_bytes() == two.read_bytes()
