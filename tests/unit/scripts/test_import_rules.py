"""scripts.import_rules: the table of who may import whom."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.import_rules import parse_rules, violations

RULES = parse_rules(["market ->", "costs ->", "models -> features.vector", "features ->"])
COMMON = ("market",)


def _found(module: str, *targets: str) -> list[str]:
    return violations({module: set(targets)}, "lib", RULES, COMMON)


def test_rules_are_read_from_lines_with_an_arrow() -> None:
    assert parse_rules(["a -> b, c.d", "b ->"]) == {"a": ("b", "c.d"), "b": ()}
    for lines in (["a b"], ["a ->", "a -> b"]):
        with pytest.raises(ValueError, match="import rule"):
            parse_rules(lines)


def test_a_room_may_import_itself_what_is_common_and_what_its_line_says() -> None:
    assert _found("lib.models.trees", "lib.models.base", "lib.market.rows") == []
    assert _found("lib.models.trees", "lib.features.vector", "numpy") == []


def test_a_line_that_names_one_file_does_not_allow_the_whole_room() -> None:
    assert _found("lib.models.trees", "lib.features.flow") == [
        "lib.models.trees imports lib.features.flow"
    ]


def test_anything_else_is_refused_and_so_is_a_room_without_a_line() -> None:
    assert _found("lib.market.rows", "lib.costs") == ["lib.market.rows imports lib.costs"]
    assert _found("lib.new.room", "numpy") == [
        "lib.new.room: the room lib.new has no line in the table"
    ]


def test_a_name_that_merely_begins_alike_is_another_room() -> None:
    assert _found("lib.costs", "lib.market_data") == []  # not ours: the table has no such room
    assert _found("lib.models", "lib.features.vector2") == [
        "lib.models imports lib.features.vector2"
    ]


PLANTS = (
    ("foreshock/market", "import foreshock.costs", "foreshock.market.planted imports"),
    ("foreshock/features", "from foreshock.models import base", "foreshock.features.planted"),
    ("foreshock/engine", "import ray", "foreshock.engine.planted -> ray"),
    ("foreshock/venues", "import asyncio", "foreshock.venues.planted -> asyncio"),
    ("foreshock/signals", "import duckdb", "foreshock.signals.planted -> duckdb"),
    ("actors", "import pipelines", "actors.planted imports pipelines"),
    ("pipelines", "import actors", "pipelines.planted imports actors"),
    ("serve", "import cluster", "serve.planted imports cluster"),
    ("foreshock/costs", "import serve", "foreshock.costs.planted imports serve"),
)


def test_planted_imports_break_the_contracts_of_the_project(
    tmp_path: Path, repository: Path
) -> None:
    for name in ("foreshock", "actors", "pipelines", "serve", "cluster", "scripts"):
        shutil.copytree(
            repository / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__")
        )
    shutil.copy(repository / "pyproject.toml", tmp_path)
    for place, line, _ in PLANTS:
        (tmp_path / place / "planted.py").write_text(f"def _late() -> None:\n    {line}\n")
    command = Path(sys.executable).parent / "lint-imports"
    done = subprocess.run(
        [command, "--no-cache"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert [told for _, _, told in PLANTS if told not in done.stdout] == []
