"""Ctrl-C and polite kills at moments when nothing may end half-way."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def uninterrupted(say: Callable[[str], None], word: str) -> Iterator[list[int]]:
    """Ctrl-C and polite kills are collected instead of raised: the block must not end half-way,
    and ends in seconds anyway. The handlers of before are in force again behind it."""
    heard: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield heard
        return

    def hear(number: int, _: object) -> None:
        heard.append(number)
        say(word)

    kinds = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {kind: signal.signal(kind, hear) for kind in kinds}
    try:
        yield heard
    finally:
        for kind, handler in before.items():
            signal.signal(kind, signal.SIG_DFL if handler is None else handler)
