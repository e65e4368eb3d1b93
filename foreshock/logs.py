"""Log lines for people (console) or machines (JSON), always on stderr, and a way to say a thing
once that would otherwise be said a thousand times a second."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, Literal, TextIO

Style = Literal["console", "json"]

_MARK: Final = "_foreshock_handler"
_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


def _extra(record: logging.LogRecord) -> dict[str, Any]:
    """What the caller passed as `extra={…}`."""
    return {name: value for name, value in vars(record).items() if name not in _STANDARD}


def _utc(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, then whatever `extra` carried."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its newline."""
        body: dict[str, Any] = {
            "time": _utc(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_extra(record),
        }
        if record.exc_info:
            body["traceback"] = self.formatException(record.exc_info)
        return json.dumps(body, default=str, ensure_ascii=False)


class ConsoleFormatter(logging.Formatter):
    """`12:30:01.250 warning foreshock.venues  frame dropped  kind=truncated`."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, with the traceback below it where there is one."""
        extra = "".join(f"  {name}={value}" for name, value in _extra(record).items())
        clock = _utc(record)[11:-1]
        line = f"{clock} {record.levelname.lower():7} {record.name}  {record.getMessage()}{extra}"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


def set_up(
    level: str = "info", style: Style = "console", stream: TextIO | None = None
) -> logging.Handler:
    """Send every logger's lines to `stream` (default: stderr) and return the handler.

    Called again it replaces its own earlier handler and leaves other people's alone. Raises
    ValueError on an unknown level."""
    root = logging.getLogger()
    root.setLevel(level.upper())
    for handler in list(root.handlers):
        if getattr(handler, _MARK, False):
            root.removeHandler(handler)
    handler = logging.StreamHandler(stream if stream is not None else sys.stderr)
    handler.setFormatter(JsonFormatter() if style == "json" else ConsoleFormatter())
    setattr(handler, _MARK, True)
    root.addHandler(handler)
    return handler


class OncePerKind:
    """Logs the first of each kind and counts the rest, so that a venue gone mad fills a counter and
    not a disk. Memory is bounded: beyond `max_kinds`, new kinds are counted as "other"."""

    def __init__(self, logger: logging.Logger, max_kinds: int = 256) -> None:
        self._logger = logger
        self._max_kinds = max_kinds
        self._counts: dict[str, int] = {}

    @property
    def counts(self) -> Mapping[str, int]:
        """Kind → how often it was seen, the first time included."""
        return dict(self._counts)

    def warn(self, kind: str, message: str, *args: object) -> bool:
        """Count one of `kind`; log `message % args` where it is the first. True where logged."""
        if kind not in self._counts and len(self._counts) >= self._max_kinds:
            kind = "other"
        seen = self._counts.get(kind, 0)
        self._counts[kind] = seen + 1
        if seen == 0:
            self._logger.warning(message, *args, extra={"kind": kind})
        return seen == 0

    def report(self) -> None:
        """Say how often each kind was repeated; for the end of a run."""
        for kind, count in sorted(self._counts.items()):
            if count > 1:
                self._logger.info("seen %d times", count, extra={"kind": kind})
