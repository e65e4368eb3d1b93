from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import create_engine
from typer.testing import CliRunner

from cluster.main import build_app
from foreshock.stores.migrations import HEAD
from tests.reference.ledger import FIRST

Run = Callable[..., tuple[int, dict[str, object]]]


@pytest.fixture
def run(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Run:
    def verb(*words: str) -> tuple[int, dict[str, object]]:
        given = ["--set", f"paths.var_dir={tmp_path}", "--json"]
        done = CliRunner().invoke(build_app(), ["ledger", *words, *given])
        return done.exit_code, json.loads(capfd.readouterr().out)

    return verb


def test_an_old_ledger_is_told_upgraded_and_taken_back(tmp_path: Path, run: Run) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    FIRST.create_all(engine)
    engine.dispose()
    code, found = run("status")
    assert (code, found["revision"], found["current"]) == (1, None, False)
    assert run("upgrade") == (0, {"before": None, "after": HEAD})
    code, found = run("status")
    assert (code, found["revision"], found["database"]) == (0, HEAD, "sqlite")
    assert run("upgrade", "--to", "0001") == (0, {"before": HEAD, "after": "0001"})
    assert run("status")[0] == 1


def test_a_step_that_is_not_known_fails_the_verb(tmp_path: Path) -> None:
    given = ["--set", f"paths.var_dir={tmp_path}"]
    done = CliRunner().invoke(build_app(), ["ledger", "upgrade", "--to", "7777", *given])
    assert done.exit_code == 1
