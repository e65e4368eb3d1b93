"""Processes below this one, with real ones."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator

import pytest

from cluster.processes import descendants, end, living


@pytest.fixture
def family() -> Iterator[subprocess.Popen[str]]:
    """A shell that has a child, and says the child's process id."""
    script = "sleep 600 & echo $!; wait"
    with subprocess.Popen(["/bin/sh", "-c", script], stdout=subprocess.PIPE, text=True) as shell:
        yield shell
        shell.kill()


def child_of(shell: subprocess.Popen[str]) -> int:
    assert shell.stdout is not None
    return int(shell.stdout.readline())


def test_descendants_are_children_and_their_children(family: subprocess.Popen[str]) -> None:
    child = child_of(family)
    assert {family.pid, child} <= descendants().keys()
    assert descendants(family.pid).keys() == {child}
    end(descendants(family.pid), 0.0)


def test_what_does_not_end_by_itself_is_killed(family: subprocess.Popen[str]) -> None:
    child = child_of(family)
    ours = {pid: at for pid, at in descendants().items() if pid in (family.pid, child)}
    assert sorted(end(ours, 0.0)) == sorted([family.pid, child])
    family.wait(timeout=20)
    assert living(ours) == []


def test_what_ends_by_itself_is_left_to_it(family: subprocess.Popen[str]) -> None:
    ours = {child_of(family): descendants(family.pid).popitem()[1]}
    began_s = time.monotonic()
    with subprocess.Popen(["/bin/sh", "-c", f"sleep 0.2; kill {next(iter(ours))}"]):
        assert end(ours, 30.0) == []
    assert time.monotonic() - began_s < 25.0


def test_a_process_that_took_over_an_id_is_not_touched(family: subprocess.Popen[str]) -> None:
    child = child_of(family)
    (started,) = descendants(family.pid).values()
    assert living({child: started}) == [child]
    assert end({child: started - 1}, 0.0) == []
    assert living({child: started}) == [child]
    end({child: started}, 0.0)
