"""The embedded Redis: up in a moment, gone with its owner however that dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from foreshock.errors import StoreError
from foreshock.stores.embedded_redis import EmbeddedRedis

NO_RETRY = Retry(NoBackoff(), 0)
OWNER = """
import sys, time
from foreshock.stores.embedded_redis import EmbeddedRedis
server = EmbeddedRedis()
print(server.url, flush=True)
time.sleep(600)
"""


def gone(url: str, within_s: float = 10.0) -> bool:
    """Whether the server stops answering in time."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        try:
            with redis.Redis.from_url(url, socket_timeout=1.0, retry=NO_RETRY) as client:
                client.ping()
        except redis.ConnectionError:
            return True
        time.sleep(0.02)
    return False


def test_it_answers_only_to_its_password_and_is_gone_after_close(tmp_path):
    server = EmbeddedRedis(tmp_path)
    assert server.alive
    with redis.Redis.from_url(server.url) as client:
        assert client.config_get("save") == {"save": ""}
        assert client.info()["redis_version"] >= "6.2"
        assert client.config_get("bind") == {"bind": "127.0.0.1"}
    with (
        redis.Redis(port=server.port, retry=NO_RETRY) as stranger,
        pytest.raises(redis.AuthenticationError),
    ):
        stranger.ping()
    assert (tmp_path / "redis.conf").stat().st_mode & 0o077 == 0
    server.close()
    server.close()
    assert not server.alive
    assert gone(server.url, within_s=0.5)


def test_it_dies_with_an_owner_that_is_killed():
    owner = subprocess.Popen([sys.executable, "-c", OWNER], stdout=subprocess.PIPE, text=True)
    with owner:
        url = owner.stdout.readline().strip()
        assert url.startswith("redis://")
        os.kill(owner.pid, signal.SIGKILL)
    assert gone(url)


def test_a_server_that_was_killed_shows():
    with EmbeddedRedis() as server:
        with redis.Redis.from_url(server.url) as client:
            os.kill(client.info()["process_id"], signal.SIGKILL)
        server._guard.wait(10)
        assert not server.alive


def test_a_port_that_is_taken_is_an_error_that_says_so(tmp_path):
    with (
        EmbeddedRedis(tmp_path / "first") as first,
        pytest.raises(StoreError, match=r"(?i)address already in use|bind"),
    ):
        EmbeddedRedis(tmp_path / "second", port=first.port)
