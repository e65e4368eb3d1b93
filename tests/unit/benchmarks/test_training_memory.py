"""benchmarks.training_memory: what it trains on, and how it weighs processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from benchmarks.training_memory import CASES, QUICK, look_at, settings, tree_of, write_set
from foreshock.validation.walk_forward import PRESETS, final_fold, walk_forward
from pipelines.datasets import read_dataset
from pipelines.training_plan import plan_of
from pipelines.tune_models import sweep_part


def test_its_datasets_are_what_the_preset_wants_and_the_plan_reads_them(tmp_path: Path) -> None:
    place = write_set(tmp_path / "set", 2, 3)
    data = read_dataset(place)
    assert len(data) == 2 * 288 * PRESETS["10/2/2"].days
    for case in (*CASES, *QUICK):
        tree = tree_of(settings(case, tmp_path))
        walk = tree.training.walk_forward
        last = final_fold(data.t0_ns, data.end_ns, walk)
        part, folds = sweep_part(data, last, walk)
        assert len(folds) == case.folds == len(walk_forward(part.t0_ns, part.end_ns, walk))
        plan = plan_of(tree, place, symbols=case.symbols)
        assert plan["rows"] == case.symbols * len(data) // 2
        assert plan["largest_training_rows"] >= len(last.train) * case.symbols / 2


def test_a_process_and_its_children_are_weighed_once() -> None:
    before = look_at(os.getpid())
    held = np.ones(64 << 20, np.uint8)
    words = "import sys; b = bytearray(32 << 20); b[:] = b'1' * len(b); print(1, flush=True)"
    child = subprocess.Popen(
        [sys.executable, "-c", words + "; sys.stdin.read()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert child.stdout is not None and child.stdout.readline()
    after = look_at(os.getpid())
    child.communicate()
    assert 60 << 20 < after.driver - before.driver < 80 << 20
    assert 30 << 20 < after.rest - before.rest < 90 << 20
    assert after.total == after.driver + after.rest + after.store + sum(after.workers)
    assert held[-1] == 1
