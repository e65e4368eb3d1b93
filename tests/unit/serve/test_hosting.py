from __future__ import annotations

import os
import socket
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from foreshock.errors import ConfigError
from serve.envelope import DoorError, whole_response
from serve.hosting import haproxy_binary, put_error_page, ray_environment, tidy


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without what a session's own fixtures put into the environment."""
    for name in [name for name in os.environ if name.startswith("RAY_SERVE_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def short() -> Iterator[Path]:
    """A directory whose name leaves room for sockets, which pytest's own does not."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="s") as name:
        yield Path(name)


def test_two_clusters_share_neither_files_nor_ports(short: Path) -> None:
    one = ray_environment(8001, short / "a")
    two = ray_environment(8002, short / "b")
    assert one["RAY_SERVE_ENABLE_HA_PROXY"] == "1"
    for name in one:
        if name.endswith(("_LOC", "_PATH", "_BASE", "_FILE")):
            assert one[name] != two[name], name
    for given in (one, two):
        ports = [value for name, value in given.items() if name.endswith("_PORT")]
        assert len(ports) == len(set(ports)) == 4


def test_the_admin_socket_lies_in_a_directory_closed_to_others(short: Path) -> None:
    place = Path(ray_environment(8001, short / "a")["RAY_SERVE_HAPROXY_SOCKET_PATH"]).parent
    assert stat.S_IMODE(place.stat().st_mode) == 0o700


def test_what_the_environment_says_is_kept(short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_SERVE_HAPROXY_STATS_PORT", "4242")
    assert ray_environment(8001, short)["RAY_SERVE_HAPROXY_STATS_PORT"] == "4242"


def test_without_a_binary_the_default_proxy_is_chosen(
    short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_SERVE_HAPROXY_BINARY_PATH", str(short / "absent"))
    assert haproxy_binary() is None
    assert ray_environment(8001, short) == {"RAY_SERVE_ENABLE_HA_PROXY": "0"}


def test_a_path_too_long_for_sockets_is_refused(short: Path) -> None:
    with pytest.raises(ConfigError, match="too long"):
        ray_environment(8001, short / ("x" * 80))


def test_a_long_temporary_directory_is_no_obstacle(
    short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(short / ("x" * 80)))
    place = Path(ray_environment(1)["RAY_SERVE_HAPROXY_CONFIG_FILE_LOC"]).parent
    assert place == Path(f"/tmp/foreshock-{os.getuid()}-1")
    place.rmdir()


def test_leftovers_are_removed_and_a_proxy_that_lives_is_not(short: Path) -> None:
    dead, alive = short / ("d" * 56), short / ("a" * 56)
    for node in (dead, alive):
        node.mkdir()
        (node / "haproxy.cfg").touch()
    socket_name = Path(ray_environment(8001, short / "other")["RAY_SERVE_HAPROXY_SOCKET_PATH"]).name
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(alive / socket_name))
        listener.listen()
        ray_environment(8001, short)
    assert alive.is_dir() and not dead.exists()


def test_nothing_is_left_behind(short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = ray_environment(8001, short / "place")
    monkeypatch.setenv(*next(item for item in given.items() if item[0].endswith("_FILE_LOC")))
    (short / "place" / ("d" * 56)).mkdir()
    tidy()
    assert not (short / "place").exists()
    tidy()


def test_the_page_of_the_proxy_is_the_envelope(
    short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = whole_response(DoorError(503, "unavailable", "nobody", retry_after_seconds=2.0))
    assert put_error_page(page) == 0
    written = short / "node" / "500.http"
    written.parent.mkdir()
    written.write_bytes(b"Ray's own")
    monkeypatch.setenv("RAY_SERVE_HAPROXY_CONFIG_FILE_LOC", str(short / "haproxy.cfg"))
    assert put_error_page(page) == 1
    head, _, body = written.read_bytes().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
    assert f"Content-Length: {len(body)}".encode() in head
    assert orjson.loads(body)["error"]["code"] == "unavailable"
