"""One real local Ray for every test here: starting it takes seconds, so it is started once."""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

# Read when Ray's processes start. The authentication mode is set outright: left to itself, Ray
# would write a token into the home directory and later starts would ask for it.
os.environ.update(
    RAY_AUTH_MODE="disabled",
    RAY_USAGE_STATS_ENABLED="0",
    RAY_ENABLE_UV_RUN_RUNTIME_ENV="0",
    RAY_worker_niceness="0",
    RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO="0",
    # By which a test knows the processes of its own Ray from those of any other on the machine.
    FORESHOCK_TEST_RUN=uuid.uuid4().hex,
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything below this folder carries the marker, so that `-m "not cluster"` leaves it out,
    and comes last: unit tests run where a started Ray is an error. Of them the demo comes first:
    its Ray takes jobs, and of two Rays on one machine only the first gets the agent's port."""
    for item in items:
        if "tests/cluster/" in item.path.as_posix():
            item.add_marker(pytest.mark.cluster)
    items.sort(
        key=lambda item: (
            item.get_closest_marker("cluster") is not None,
            item.path.name != "test_demo.py",
        )
    )


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An empty home directory, so that neither a used nor a fresh machine makes a difference; the
    kernel cache stays where it is."""
    from foreshock.market.jit import cache_root

    place = str(tmp_path_factory.mktemp("home"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FORESHOCK_KERNEL_CACHE", str(cache_root()))
        patch.setenv("HOME", place)
        yield place


@pytest.fixture(scope="session")
def serve_port() -> Iterator[int]:
    """A free port for the HTTP API, with what Ray must find in the environment for it."""
    from serve.hosting import ray_environment

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ray_environment(port).items():
            patch.setenv(name, value)
        yield port


@pytest.fixture(scope="session")
def local_ray(home: str, serve_port: int) -> Iterator[Any]:
    """The module `ray`, connected to a cluster of two cores on this machine."""
    import ray

    # A stale cluster file misleads a plain init; "local" always starts a new one.
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        namespace="foreshock-tests",
        log_to_driver=False,
        configure_logging=False,
    )
    yield ray
    ray.shutdown()
