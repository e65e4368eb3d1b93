"""foreshock.stores.registry_runs: a training's record is written once and never changed."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from foreshock.errors import StoreError
from foreshock.stores.registry_runs import FILES, Run, flat, read_runs, write_run


def run(**more: object) -> Run:
    given: dict[str, object] = {
        "params": {"trees": {"leaves": 31}},
        "metrics": {"60s.brier_skill": 0.1, "lost": math.nan},
        "models": (("a", "1"),),
        "files": {"card.json": b"{}", "plots/roc.png": b"png"},
    }
    return Run("a", 5, 9, **{**given, **more})  # type: ignore[arg-type]


def test_a_run_is_written_with_its_files_and_read_again(tmp_path: Path) -> None:
    place = write_run(tmp_path / "runs", run())
    assert (place / FILES / "plots" / "roc.png").read_bytes() == b"png"
    (found,) = read_runs(tmp_path / "runs").values()
    assert found["metrics"] == {"60s.brier_skill": 0.1}  # JSON has no NaN
    assert found["models"] == [["a", "1"]]
    assert write_run(tmp_path / "runs", run()) == place
    assert len(read_runs(tmp_path / "runs")) == 1


def test_whatever_differs_is_another_run(tmp_path: Path) -> None:
    others = [run(params={}), run(files={"card.json": b"[]"}), run(state="failed")]
    assert len({each.id for each in [run(), *others]}) == 4


def test_what_a_dead_process_left_is_no_run(tmp_path: Path) -> None:
    (tmp_path / "runs" / ".unfinished-x").mkdir(parents=True)
    (tmp_path / "runs" / ".unfinished-x" / "run.json").write_text("{")
    assert read_runs(tmp_path / "runs") == {}


@pytest.mark.parametrize("name", ["../card.json", "/etc/passwd", "a/../../b", ""])
def test_no_file_lies_outside_of_its_run(tmp_path: Path, name: str) -> None:
    with pytest.raises(StoreError, match="cannot name"):
        write_run(tmp_path / "runs", run(files={name: b""}))


def test_settings_are_laid_out_by_dotted_names() -> None:
    told = flat({"a": {"b": 1, "c": [1, 2]}, "d": "words", "e": {}, "f": None})
    assert told == {"a.b": "1", "a.c": "[1, 2]", "d": "words", "e": "{}", "f": "null"}
