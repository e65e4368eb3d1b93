"""cluster.output: one document on stdout, the rest on stderr, and exit codes that stay."""

from __future__ import annotations

import json
import os
from collections.abc import Callable

import pytest
import typer

from cluster.output import Answer, PartMissingError, answer
from foreshock.errors import ConfigError, ForeshockError, StoreError


def _run(work: Callable[[], Answer], as_json: bool) -> int:
    with pytest.raises(typer.Exit) as caught:
        answer(work, as_json)
    return caught.value.exit_code


def _raising(error: Exception) -> Callable[[], Answer]:
    def work() -> Answer:
        raise error

    return work


def test_json_alone_goes_to_stdout_whoever_else_prints(capfd: pytest.CaptureFixture[str]) -> None:
    def work() -> Answer:
        print("from python")
        os.write(1, b"from below python\n")
        os.system("echo from a child")
        return Answer({"a": [1, None]}, lambda console: console.print("for people"))

    assert _run(work, True) == 0
    out, err = capfd.readouterr()
    assert json.loads(out) == {"a": [1, None]}
    for line in ("from python", "from below python", "from a child"):
        assert line in err


def test_stdout_works_again_afterwards(capfd: pytest.CaptureFixture[str]) -> None:
    _run(lambda: Answer({}, lambda console: None), True)
    capfd.readouterr()
    print("back")
    os.write(1, b"and below\n")
    assert "back" in (out := capfd.readouterr().out) and "and below" in out


def test_without_json_the_table_goes_to_stdout(capfd: pytest.CaptureFixture[str]) -> None:
    assert _run(lambda: Answer({}, lambda console: console.print("for people")), False) == 0
    assert capfd.readouterr().out == "for people\n"


@pytest.mark.parametrize("as_json", [True, False])
@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("unknown [x]"), 2),
        (StoreError("cannot reach [x]"), 1),
        (ForeshockError("other [x]"), 1),
        (PartMissingError("no [x]"), 3),
        (ModuleNotFoundError("No module named '[x]'", name="[x]"), 3),
    ],
)
def test_errors_become_a_sentence_and_an_exit_code(
    capfd: pytest.CaptureFixture[str], error: Exception, code: int, as_json: bool
) -> None:
    assert _run(_raising(error), as_json) == code
    out, err = capfd.readouterr()
    assert err.startswith("foreshock: ") and "[x]" in err and "Traceback" not in err
    if as_json:
        assert json.loads(out)["error"]["kind"] == type(error).__name__
    else:
        assert out == ""


def test_a_failed_check_exits_with_one_and_still_prints(capfd: pytest.CaptureFixture[str]) -> None:
    assert _run(lambda: Answer({"ok": False}, lambda console: None, passed=False), True) == 1
    assert json.loads(capfd.readouterr().out) == {"ok": False}


@pytest.mark.parametrize("as_json", [True, False])
def test_a_bug_keeps_its_traceback(as_json: bool) -> None:
    with pytest.raises(ZeroDivisionError):
        answer(_raising(ZeroDivisionError()), as_json)
