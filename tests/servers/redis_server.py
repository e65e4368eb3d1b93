"""A Redis server of a test's own, to be killed and started again, and where tests find one.

Contract tests take an address: of the server that is embedded, and of a real one, which is the
variable's where it is set and else one that is started here from what the machine has installed.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from foreshock.stores.embedded_redis import redis_server_binary

URL_VARIABLE = "FORESHOCK_TEST_REDIS_URL"
GIVEN = os.environ.get(URL_VARIABLE)
READY_S = 20.0


def program(kind: str) -> Path:
    """Path of the "embedded" or the "real" server; the test is skipped where there is none."""
    if kind == "embedded":
        return redis_server_binary()
    found = shutil.which("redis-server")
    if found is None:
        pytest.skip("no redis-server is installed")
    return Path(found)


class RedisServer:
    """One server on a loopback port that stays the same over deaths; a context manager."""

    def __init__(self, binary: Path, home: Path) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self._binary, self._home = binary, home
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port: int = probe.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *, keeping: bool = False) -> RedisServer:
        """Start it and wait until it answers. `keeping`: every write is on disk before its answer,
        and is there again after a death."""
        append = ("yes", "always") if keeping else ("no", "no")
        arguments = [
            "--bind", "127.0.0.1", "--port", str(self.port), "--save", "",
            "--appendonly", append[0], "--appendfsync", append[1], "--dir", str(self._home),
        ]  # fmt: skip
        with (self._home / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(self._binary), *arguments], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        deadline = time.monotonic() + READY_S
        with redis.Redis.from_url(self.url, retry=Retry(NoBackoff(), 0)) as client:
            while True:
                try:
                    client.ping()
                    return self
                except redis.RedisError:
                    assert self._process.poll() is None and time.monotonic() < deadline, (
                        self._home / "server.log"
                    ).read_text()[-500:]
                    time.sleep(0.01)

    def kill(self) -> None:
        """kill -9."""
        self._send(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()

    def pause(self) -> None:
        """It is there and does not answer."""
        self._send(signal.SIGSTOP)

    def resume(self) -> None:
        """It goes on."""
        self._send(signal.SIGCONT)

    def __enter__(self) -> RedisServer:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.kill()

    def _send(self, number: int) -> None:
        if self._process is not None and self._process.poll() is None:
            os.kill(self._process.pid, number)
