"""What a wheel, an editable install, the lock and an upload to a cluster hold."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

BUILD = "import sys; from hatchling import build; print(getattr(build, sys.argv[1])(sys.argv[2]))"


def _built(repository: Path, how: str, target: Path) -> zipfile.ZipFile:
    done = subprocess.run(
        [sys.executable, "-c", BUILD, how, str(target)],
        cwd=repository,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return zipfile.ZipFile(target / done.stdout.split()[-1])


def test_a_wheel_holds_the_library_alone_and_no_command_that_cannot_run(
    repository: Path, tmp_path: Path
) -> None:
    with _built(repository, "build_wheel", tmp_path) as wheel:
        tops = {name.partition("/")[0] for name in wheel.namelist()}
        assert "foreshock/py.typed" in wheel.namelist()
        assert not any("entry_points" in name or "/scripts/" in name for name in wheel.namelist())
    assert {top for top in tops if not top.endswith(".dist-info")} == {"foreshock"}


def test_an_editable_install_brings_the_checkout_and_the_command(
    repository: Path, tmp_path: Path
) -> None:
    with _built(repository, "build_editable", tmp_path) as wheel:
        scripts = [name for name in wheel.namelist() if name.endswith(".data/scripts/foreshock")]
        assert len(scripts) == 1
        assert wheel.read(scripts[0]).startswith(b"#!python\n")
        (path_file,) = [name for name in wheel.namelist() if name.endswith(".pth")]
        assert wheel.read(path_file).decode().split() == [str(repository)]


def test_the_lock_is_hashed_and_names_no_host(repository: Path) -> None:
    lock = (repository / "requirements.lock").read_text()
    assert not re.search(r"https?://|--(extra-)?index-url|--find-links", lock)
    pins = re.findall(r"^([a-z0-9-]+)(?:\[[a-z,]+\])?==", lock, flags=re.M)
    assert len(pins) > 50
    assert lock.count("--hash=sha256:") >= len(pins)


def _required(repository: Path) -> list[str]:
    project = tomllib.loads((repository / "pyproject.toml").read_text())
    lines = project["project"]["dependencies"] + project["dependency-groups"]["dev"]
    return [re.split(r"[\[<>=]", line)[0] for line in lines]


def test_every_requirement_is_locked(repository: Path) -> None:
    lock = (repository / "requirements.lock").read_text().lower()
    missing = [name for name in _required(repository) if f"\n{name.lower()}==" not in f"\n{lock}"]
    assert missing == []


def test_every_dependency_has_its_reason_among_the_decisions(repository: Path) -> None:
    told = (repository / "docs" / "decisions" / "0002-dependencies.md").read_text()
    missing = [name for name in _required(repository) if not re.search(rf"\b{name}\b", told)]
    assert missing == []


@pytest.mark.parametrize("name", [".venv", "var", "tests", "docs", ".git"])
def test_an_upload_to_a_cluster_leaves_out_what_jobs_do_not_need(
    repository: Path, name: str
) -> None:
    assert f"/{name}/" in (repository / ".rayignore").read_text().splitlines()
