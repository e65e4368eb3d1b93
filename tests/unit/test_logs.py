"""foreshock.logs: lines for people, lines for machines, and saying things once."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from foreshock.logs import OncePerKind, Style, set_up


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    """The root logger, put back as it was afterwards."""
    logger = logging.getLogger()
    handlers, level = list(logger.handlers), logger.level
    yield logger
    logger.handlers[:] = handlers
    logger.setLevel(level)


def _lines(style: Style, level: str = "info") -> io.StringIO:
    stream = io.StringIO()
    set_up(level, style, stream)
    return stream


def test_json_lines_carry_level_logger_message_and_extras(root: logging.Logger) -> None:
    stream = _lines("json")
    logging.getLogger("foreshock.x").warning("lost %d", 3, extra={"symbol": "BTCUSDT"})
    body = json.loads(stream.getvalue())
    assert body.pop("time").endswith("Z")
    assert body == {
        "level": "warning",
        "logger": "foreshock.x",
        "message": "lost 3",
        "symbol": "BTCUSDT",
    }


def test_console_lines_carry_extras_behind_the_message(root: logging.Logger) -> None:
    stream = _lines("console")
    logging.getLogger("foreshock.x").info("hello", extra={"kind": "a"})
    assert stream.getvalue().rstrip().endswith("info    foreshock.x  hello  kind=a")


@pytest.mark.parametrize("style", ["json", "console"])
def test_an_exception_keeps_its_traceback(root: logging.Logger, style: Style) -> None:
    stream = _lines(style)
    try:
        raise ValueError("the value")
    except ValueError:
        logging.getLogger("x").exception("failed")
    assert "ValueError: the value" in stream.getvalue()


def test_lines_below_the_level_are_not_written(root: logging.Logger) -> None:
    stream = _lines("console", "error")
    logging.getLogger("x").warning("no")
    assert stream.getvalue() == ""


def test_setting_up_twice_writes_each_line_once(root: logging.Logger) -> None:
    first, second = _lines("console"), _lines("console")
    logging.getLogger("x").warning("once")
    assert first.getvalue() == ""
    assert second.getvalue().count("once") == 1


def test_other_peoples_handlers_are_left_alone(root: logging.Logger) -> None:
    theirs = logging.NullHandler()
    root.addHandler(theirs)
    _lines("console")
    assert theirs in root.handlers


def test_each_kind_is_logged_once_and_counted_every_time(
    caplog: pytest.LogCaptureFixture,
) -> None:
    once = OncePerKind(logging.getLogger("x"))
    said = [once.warn(kind, "dropped %s", kind) for kind in ("a", "b", "a", "a")]
    assert said == [True, True, False, False]
    assert once.counts == {"a": 3, "b": 1}
    assert [record.message for record in caplog.records] == ["dropped a", "dropped b"]
    with caplog.at_level(logging.INFO):
        once.report()
    assert caplog.records[-1].message == "seen 3 times"


def test_kinds_without_end_do_not_fill_the_memory() -> None:
    once = OncePerKind(logging.getLogger("x"), max_kinds=2)
    for number in range(100):
        once.warn(f"kind {number}", "dropped")
    assert once.counts == {"kind 0": 1, "kind 1": 1, "other": 98}
