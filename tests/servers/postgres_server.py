"""A PostgreSQL server of a test's own, to be killed and started again, and where tests find one."""

from __future__ import annotations

import glob
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import psycopg
import pytest

URL_VARIABLE = "FORESHOCK_TEST_LEDGER_URL"
GIVEN = os.environ.get(URL_VARIABLE)
READY_S = 60.0


def programs() -> Path:
    """Folder of initdb and postgres; the test is skipped where they are not installed."""
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"))
    program = found[-1] if found else shutil.which("initdb")
    if program is None:
        pytest.skip("no PostgreSQL is installed")
    return Path(program).parent


class PostgresServer:
    """One server on a loopback port that stays the same over deaths; a context manager."""

    def __init__(self) -> None:
        self._bin = programs()
        # Not below pytest's folder, which only its owner may enter: the server refuses to be root.
        self._home = Path(tempfile.mkdtemp(prefix="foreshock-pg-"))
        self._data = self._home / "data"
        self._data.mkdir(mode=0o700)
        self._as: dict[str, int | str] = {}
        if os.geteuid() == 0:
            user = pwd.getpwnam("postgres")
            self._home.chmod(0o755)
            os.chown(self._data, user.pw_uid, user.pw_gid)
            self._as = {"user": user.pw_uid, "group": user.pw_gid}
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port: int = probe.getsockname()[1]
        self.url = f"postgresql+psycopg://foreshock@127.0.0.1:{self.port}/postgres"
        self._process: subprocess.Popen[bytes] | None = None
        made = [
            str(self._bin / "initdb"), "-D", str(self._data), "-U", "foreshock",
            "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync",
        ]  # fmt: skip
        subprocess.run(made, check=True, capture_output=True, cwd="/", **self._as)  # type: ignore[call-overload]

    def start(self) -> PostgresServer:
        """Start it, unless it runs, and wait until it answers."""
        if self._process is not None and self._process.poll() is None:
            return self
        arguments = ["-h", "127.0.0.1", "-p", str(self.port), "-k", "", "-D", str(self._data)]
        with (self._home / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(self._bin / "postgres"), *arguments],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", **self._as,
            )  # type: ignore[call-overload]  # fmt: skip
        deadline = time.monotonic() + READY_S
        while True:
            try:
                psycopg.connect(self.url.replace("+psycopg", "")).close()
                return self
            except psycopg.OperationalError:
                assert time.monotonic() < deadline, (self._home / "server.log").read_text()[-800:]
                time.sleep(0.05)

    def kill(self) -> None:
        """kill -9; its children notice and end themselves."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def close(self) -> None:
        """Stop it at once and remove its files."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait()
        shutil.rmtree(self._home, ignore_errors=True)

    def __enter__(self) -> PostgresServer:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()
