"""pipelines.sweep_progress: a table for people, and nothing for anybody else."""

from __future__ import annotations

import io
import math

import pytest
from rich.console import Console

from foreshock.models.boosted import BoostedSettings
from foreshock.validation.search import SearchSettings
from foreshock.validation.walk_forward import WalkForwardSettings, walk_forward
from pipelines.sweep import Outcome, Sweep, Unit, plan_sweep
from pipelines.sweep_progress import Progress, progress
from pipelines.trial import Cell
from tests.reference.training import make_set


def planned() -> Sweep:
    data = make_set(steps=600, symbols=tuple(f"{c}USDT" for c in "ABCDEFGHIJKLMNO"))
    folds = walk_forward(data.t0_ns, data.end_ns, WalkForwardSettings())
    search = SearchSettings(scopes=("pooled", "symbol"))
    return plan_sweep(data, folds, BoostedSettings(), [], 4, search, 1)


def test_the_table_tells_of_scopes_and_of_the_time_left() -> None:
    sweep = planned()
    table = Progress(sweep)
    sweep.tell = table
    assert math.isnan(table.left_s)
    while (first := next(iter(sweep.ready().items())))[0][0] == "pooled":
        (scope, fold), trials = first
        for number in trials:
            unit = Unit(scope, fold, number)
            sweep.take([unit])
            failure = "MemoryError: no" if number == 3 else ""
            sweep.told(unit, Outcome([Cell(fold, 10, 0.1 * number, 0.6)], 0.1, failure))
    said = io.StringIO()
    Console(file=said, width=120).print(table)
    text = said.getvalue()
    assert f"{table.made} of ≤ {table.made + sweep.units_left} fits" in text
    assert "failed" in text and "left" in text and "pooled" in text and "+0.2000" in text
    assert "4 more" in text  # sixteen scopes on twelve lines
    assert table.left_s > 0


def test_nothing_is_drawn_where_stderr_is_no_terminal(
    capfd: pytest.CaptureFixture[str],
) -> None:
    for show in (True, False):
        with progress(planned(), show) as table:
            assert table.made == 0
    said = capfd.readouterr()
    assert (said.out, said.err) == ("", "")


def test_a_job_without_a_terminal_says_a_line_now_and_then(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.sweep_progress.EVERY_S", 0.0)
    sweep = planned()
    with progress(sweep, True) as table:
        sweep.tell = table
        (scope, fold), trials = next(iter(sweep.ready().items()))
        unit = Unit(scope, fold, trials[0])
        sweep.take([unit])
        sweep.told(unit, Outcome([Cell(fold, 10, 0.1, 0.6)], 0.1))
    said = capfd.readouterr()
    assert said.out == ""
    assert said.err.startswith("sweep: 1 of ≤ ") and said.err.endswith(" left\n")
