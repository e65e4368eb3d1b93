"""A ClickHouse server started by hand, for tests, benchmarks and continuous integration.

    python -m scripts.clickhouse_server DIRECTORY     says its address and becomes the server

It listens on loopback ports that were free a moment ago and keeps everything in one directory:
whatever else runs on the machine is not touched. Servers from 18.16 on read the configuration.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import clickhouse_driver

READY_S = 30.0

_CONFIG = """<?xml version="1.0"?>
<yandex>
  <logger><level>warning</level><log>{root}/server.log</log><errorlog>{root}/error.log</errorlog>
  </logger>
  <tcp_port>{tcp}</tcp_port>
  <http_port>{http}</http_port>
  <interserver_http_port>{inter}</interserver_http_port>
  <listen_host>127.0.0.1</listen_host>
  <path>{root}/data/</path>
  <tmp_path>{root}/tmp/</tmp_path>
  <user_files_path>{root}/files/</user_files_path>
  <users_config>{root}/users.xml</users_config>
  <default_profile>default</default_profile>
  <default_database>default</default_database>
  <timezone>UTC</timezone>
  <mark_cache_size>67108864</mark_cache_size>
  <max_concurrent_queries>50</max_concurrent_queries>
</yandex>
"""
_USERS = """<?xml version="1.0"?>
<yandex>
  <profiles><default><max_memory_usage>4000000000</max_memory_usage></default></profiles>
  <users><default><password></password><networks><ip>127.0.0.1</ip></networks>
    <profile>default</profile><quota>default</quota></default></users>
  <quotas><default></default></quotas>
</yandex>
"""


def binary() -> str | None:
    """Where the server's program is, None where it is not installed."""
    return shutil.which("clickhouse-server")


def _free_ports(count: int) -> list[int]:
    """Ports that nobody listens on, below those that the system gives to clients: one of these may
    be taken while the server is down, by the very client that tries to reach it."""
    found: list[int] = []
    while len(found) < count:
        port = random.randrange(20_000, 32_000)
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        found.append(port)
    return found


class ClickHouseServer:
    """One server below `root`; a context manager that ends it by its own process id."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.port, http, inter = _free_ports(3)
        self._process: subprocess.Popen[bytes] | None = None
        root.mkdir(parents=True, exist_ok=True)
        written = _CONFIG.format(root=root, tcp=self.port, http=http, inter=inter)
        (root / "config.xml").write_text(written)
        (root / "users.xml").write_text(_USERS)

    @property
    def url(self) -> str:
        """Address of its default database."""
        return f"clickhouse://default@127.0.0.1:{self.port}/default"

    def start(self) -> ClickHouseServer:
        """Start it and wait until it answers. Raises RuntimeError where it does not."""
        with (self.root / "stdout.log").open("ab") as log:
            self._process = subprocess.Popen(
                self.command(),
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                cwd=self.root,
                env={**os.environ, "TZ": "UTC"},
            )
        until = time.monotonic() + READY_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > until:
                said = (self.root / "stdout.log").read_text(errors="replace")[-2000:]
                self.stop()
                raise RuntimeError(f"clickhouse-server does not answer: {said}")
            time.sleep(0.05)
        return self

    def command(self) -> list[str]:
        """What starts it, in `root`. Raises RuntimeError where it is not installed."""
        program = binary()
        if program is None:
            raise RuntimeError("clickhouse-server is not installed: apt-get has it")
        return [program, f"--config-file={self.root}/config.xml"]

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 1.0).close()
            with clickhouse_driver.Client("127.0.0.1", self.port, connect_timeout=2) as client:
                return bool(client.execute("SELECT 1") == [(1,)])
        except (OSError, EOFError, clickhouse_driver.errors.Error):
            return False

    def kill(self) -> None:
        """End it as a power cut would."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it in peace, or by force after a while."""
        self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(how)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)

    def __enter__(self) -> ClickHouseServer:
        return self.start()

    def __exit__(self, *_: Any) -> None:
        self.stop()


def main() -> None:
    """Say the address and become the server, which whoever started this ends by its process id."""
    server = ClickHouseServer(Path(sys.argv[1]).resolve())
    command = server.command()
    print(server.url, flush=True)
    os.chdir(server.root)
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
