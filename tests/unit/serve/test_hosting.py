from __future__ import annotations

import stat
from pathlib import Path

import pytest

from serve.hosting import haproxy_binary, ray_environment


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without what a session's own fixtures put into the environment."""
    import os

    for name in [name for name in os.environ if name.startswith("RAY_SERVE_")]:
        monkeypatch.delenv(name)


def test_two_clusters_share_neither_files_nor_ports(tmp_path: Path) -> None:
    one = ray_environment(8001, tmp_path / "a")
    two = ray_environment(8002, tmp_path / "b")
    assert one["RAY_SERVE_ENABLE_HA_PROXY"] == "1"
    for name in one:
        if name.endswith(("_LOC", "_PATH", "_BASE", "_FILE")):
            assert one[name] != two[name], name
    for given in (one, two):
        ports = [value for name, value in given.items() if name.endswith("_PORT")]
        assert len(ports) == len(set(ports)) == 4


def test_the_admin_socket_lies_in_a_directory_closed_to_others(tmp_path: Path) -> None:
    place = Path(ray_environment(8001, tmp_path / "a")["RAY_SERVE_HAPROXY_SOCKET_PATH"]).parent
    assert stat.S_IMODE(place.stat().st_mode) == 0o700


def test_what_the_environment_says_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_SERVE_HAPROXY_STATS_PORT", "4242")
    assert ray_environment(8001, tmp_path)["RAY_SERVE_HAPROXY_STATS_PORT"] == "4242"


def test_without_a_binary_the_default_proxy_is_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_SERVE_HAPROXY_BINARY_PATH", str(tmp_path / "absent"))
    assert haproxy_binary() is None
    assert ray_environment(8001, tmp_path) == {"RAY_SERVE_ENABLE_HA_PROXY": "0"}


def test_a_path_too_long_for_sockets_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="too long"):
        ray_environment(8001, tmp_path / ("x" * 80))
