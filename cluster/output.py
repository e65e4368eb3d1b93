"""One place that decides what a verb prints and how it exits.

With `--json` a verb writes exactly one JSON document to stdout, and whatever anything else prints
meanwhile, child processes included, goes to stderr. Without, it writes a table for people.

exit code  meaning
0          done
1          failed a check, or an error of ours
2          wrong use: an unknown option or setting
3          a part is missing: a package, a program, a file that set-up should have brought
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, TextIO

import orjson
import typer
from rich.console import Console

from foreshock.errors import ConfigError, ForeshockError

DONE: Final = 0
FAILED: Final = 1
WRONG_USE: Final = 2
MISSING: Final = 3


class PartMissingError(Exception):
    """A part that the verb needs is not there; the message says which and how to get it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a verb found.

    document  JSON-ready; what `--json` prints
    show      prints the same for people
    passed    False where a check failed: the exit code is then 1
    """

    document: Any
    show: Callable[[Console], None]
    passed: bool = field(default=True)


def as_json(document: Any) -> str:
    """The document as indented JSON with sorted nothing: keys stay in the order they were made."""
    options = orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS
    return orjson.dumps(document, default=str, option=options).decode()


@contextmanager
def _stdout_kept_clean() -> Iterator[TextIO]:
    """Yields the real stdout; until the end, everything that prints to stdout prints to stderr.

    The file descriptor itself is turned round, since Ray's processes know nothing of sys.stdout."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    python_stdout, sys.stdout = sys.stdout, sys.stderr
    try:
        with os.fdopen(os.dup(kept), "w") as real:
            yield real
    finally:
        sys.stdout = python_stdout
        os.dup2(kept, 1)
        os.close(kept)


def _judge(error: Exception) -> tuple[int, str]:
    """Exit code and sentence for an error that is nobody's bug. Raises any other again."""
    if isinstance(error, ConfigError):
        return WRONG_USE, str(error)
    if isinstance(error, ForeshockError):
        return FAILED, str(error)
    if isinstance(error, PartMissingError):
        return MISSING, str(error)
    if isinstance(error, ModuleNotFoundError):
        return MISSING, f"{error.name} cannot be imported: `make setup` installs what is needed"
    raise error


def answer(work: Callable[[], Answer], json: bool) -> None:
    """Do the verb's work, print what it found and leave with its exit code.

    Errors of the ForeshockError tree become one tidy sentence on stderr, and with `json` a document
    {"error": {"kind", "message"}} on stdout; anything else is a bug and keeps its traceback."""
    if json:
        with _stdout_kept_clean() as real:
            code, document = _document(work)
            real.write(as_json(document) + "\n")
        raise typer.Exit(code)
    try:
        found = work()
    except Exception as error:
        code, sentence = _judge(error)
        console = Console(stderr=True, highlight=False)
        console.print(f"[red]foreshock:[/] {_plain(sentence)}", soft_wrap=True)  # one line
        raise typer.Exit(code) from None
    found.show(Console(highlight=False))
    raise typer.Exit(DONE if found.passed else FAILED)


def _document(work: Callable[[], Answer]) -> tuple[int, Any]:
    try:
        found = work()
    except Exception as error:
        code, sentence = _judge(error)
        print(f"foreshock: {sentence}", file=sys.stderr)
        return code, {"error": {"kind": type(error).__name__, "message": sentence}}
    return (DONE if found.passed else FAILED), found.document


def _plain(text: str) -> str:
    """Text with rich's markup brackets taken literally."""
    return text.replace("[", r"\[")
