"""Ray on this machine: what its processes must find, and a start that leaves nothing half-done."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partialmethod
from pathlib import Path
from typing import Final

from cluster.interrupts import uninterrupted
from cluster.processes import descendants, end
from foreshock.settings import Config, Ray

ATTEMPTS: Final = 2
AGENT_PORT: Final = 52365  # Ray's own choice for the agent that takes jobs


def ray_variables(config: Config, http_port: int) -> dict[str, str]:
    """What Ray's processes must find in their environment; set before Ray is imported."""
    from serve.hosting import ray_environment

    return {
        # Outright: left to itself a local start writes a token home, and a later one asks for it.
        "RAY_AUTH_MODE": config.ray.auth_mode,
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        # Ray's workers run at nice 15: any busy process would starve the sockets.
        "RAY_worker_niceness": "0",
        "OMP_NUM_THREADS": "1",
        # A submitted job says `python`: let it be this one.
        "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}",
        **ray_environment(http_port),
    }


def job_variables(config: Config) -> dict[str, str]:
    """What a submitted job must find in its environment: it runs in a copy of the checkout, and
    looks for datasets and models where they lie."""
    return {
        "FORESHOCK__MODE": config.mode,
        "FORESHOCK__PATHS__VAR_DIR": str(config.paths.under()),
    }


@contextmanager
def _set_for_now(variables: Mapping[str, str]) -> Iterator[None]:
    """Ray's processes inherit them, and so do its jobs; this process is left as it was."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def free_port(wanted: int, host: str = "127.0.0.1") -> int:
    """`wanted` if nobody listens there, else a free one."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    return wanted


def start_ray(
    settings: Ray,
    dashboard_port: int,
    say: Callable[[str], None],
    jobs: Mapping[str, str] | None = None,
) -> None:
    """Start Ray here, or join the one that the settings name. Ctrl-C is heard when it is up. Jobs
    submitted to it find `jobs` in their environment.

    Raises what Ray raises where it cannot be had; then nothing of it runs any more."""
    from ray._private import utils

    # Ray interrupted while it starts leaves processes behind that nobody knows of; and it would set
    # a handler of its own for SIGTERM that does interrupt it.
    set_handler, utils.set_sigterm_handler = utils.set_sigterm_handler, lambda _: None
    try:
        with (
            uninterrupted(say, "stopping as soon as Ray is up") as heard,
            _set_for_now(jobs or {}),
        ):
            for attempt in range(1, ATTEMPTS + 1):
                if _try(settings, dashboard_port, last=attempt == ATTEMPTS or bool(heard)):
                    break
                say("Ray did not start in time: once more")
    finally:
        utils.set_sigterm_handler = set_handler
    if heard:
        raise KeyboardInterrupt


def _try(settings: Ray, dashboard_port: int, last: bool) -> bool:
    """Whether Ray is up; False where it gave up because the machine was too busy (it waits 30 s for
    its own node, which cannot be set), unless it was the `last` attempt."""
    import ray

    before = descendants()
    try:
        _init(settings, dashboard_port)
    except Exception as error:
        ray.shutdown()
        end({pid: at for pid, at in descendants().items() if pid not in before}, 0.0)
        if last or "timed out" not in str(error):
            raise
        return False
    return True


def _init(settings: Ray, dashboard_port: int) -> None:
    import ray

    if settings.address is not None:
        ray.init(address=settings.address, namespace=settings.namespace, log_to_driver=False)
        return
    with _agent_port(free_port(AGENT_PORT)):
        ray.init(
            address="local",
            num_cpus=settings.num_cpus,
            namespace=settings.namespace,
            include_dashboard=True,
            dashboard_host="127.0.0.1",
            dashboard_port=dashboard_port,
            log_to_driver=False,
            configure_logging=False,
        )


@contextmanager
def _agent_port(port: int) -> Iterator[None]:
    """Let the Ray that starts within have its job agent listen at `port`. `ray start` has an option
    for it, `ray.init` has none, and a second Ray on the machine would run without an agent: nobody
    could submit a job to it."""
    from ray._private.parameter import RayParams

    plain = RayParams.__init__
    RayParams.__init__ = partialmethod(plain, dashboard_agent_listen_port=port)
    try:
        yield
    finally:
        RayParams.__init__ = plain
