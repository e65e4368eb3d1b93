"""cluster.doctor: each check says what is wrong and what to do."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from cluster.doctor import (
    check_disk,
    check_kernels,
    check_libgomp,
    check_packages,
    check_port,
    check_python,
    check_ray_auth,
    check_redis,
    examine,
)
from foreshock.settings import Config


def test_this_machine_has_what_the_tests_need() -> None:
    for check in (check_python(), check_libgomp(), check_redis(), check_disk(Path.cwd())):
        assert check.status == "ok", check


def test_a_missing_openmp_runtime_is_named_with_its_package() -> None:
    def absent(name: str) -> object:
        raise OSError(f"{name}: cannot open shared object file")

    check = check_libgomp(absent)
    assert (check.status, check.advice) == ("fail", "apt-get install libgomp1")
    assert "libgomp.so.1" in check.detail


def test_a_package_that_cannot_be_imported_fails() -> None:
    check = check_packages(("json", "no_such_package"))
    assert check.status == "fail" and "no_such_package" in check.detail


def test_a_taken_port_is_a_warning_and_a_free_one_is_not() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        check = check_port("serve.port", "127.0.0.1", port)
        assert check.status == "warn" and str(port) in check.detail and "--set" in check.advice
    assert check_port("serve.port", "127.0.0.1", port).status == "ok"


def test_an_empty_kernel_cache_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORESHOCK_KERNEL_CACHE", str(tmp_path))
    check = check_kernels()
    assert (check.status, check.advice) == ("warn", "foreshock warm")


def test_a_mode_of_ray_that_disagrees_with_the_settings_is_a_warning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    assert check_ray_auth(Config()).status == "warn"
    monkeypatch.delenv("RAY_AUTH_MODE")
    assert check_ray_auth(Config()).status == "ok"


def test_every_check_has_a_name_of_its_own() -> None:
    names = [check.name for check in examine(Config(), packages=("json",))]
    assert len(names) == len(set(names)) >= 10


@pytest.mark.parametrize("deep", ["var", "var/not/yet/there"])
def test_disk_room_is_measured_where_var_dir_will_be(tmp_path: Path, deep: str) -> None:
    assert str(tmp_path) in check_disk(tmp_path / deep).detail
