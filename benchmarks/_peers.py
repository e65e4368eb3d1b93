"""Peers from the package index, each in an environment of its own, measured beside us.

An environment is made once, with `python -m venv` and pip, below FORESHOCK_PEERS (else
~/.cache/foreshock/peers), and named by what is in it. A peer that cannot be installed or run is
named with the reason. Peers tell their own CPU time and what they think the best prices are.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks._mix import Mix
from benchmarks.common import THREADS, say

SCRIPTS = Path(__file__).resolve().parent / "peers"
INSTALL_WAIT_S = 900
EPSILON = 1e-6  # prices are told as floats


@dataclass(frozen=True, slots=True)
class Package:
    """What a peer needs: its script in `benchmarks/peers`, and the packages of its environment."""

    script: str
    requirements: tuple[str, ...]


class PeerError(Exception):
    """The peer cannot be installed or run; the message says why, in one line."""


def home() -> Path:
    """Where the environments are."""
    given = os.environ.get("FORESHOCK_PEERS")
    return Path(given) if given else Path.home() / ".cache" / "foreshock" / "peers"


def environment(package: Package) -> Path:
    """The Python of an environment with the package in it, made if it is not there. Raises
    PeerError."""
    named = hashlib.sha256(" ".join((sys.version, *package.requirements)).encode()).hexdigest()[:10]
    place = home() / f"{package.script}-{named}"
    place.parent.mkdir(parents=True, exist_ok=True)
    with (place.parent / f"{place.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another run may be at it
        if not (place / "complete").exists():
            say(f"installing {' '.join(package.requirements)}")
            shutil.rmtree(place, ignore_errors=True)
            _run([sys.executable, "-m", "venv", str(place)])
            pip = [str(place / "bin" / "python"), "-m", "pip", "--disable-pip-version-check"]
            _run([*pip, "install", "--quiet", *package.requirements])
            (place / "complete").touch()
    return place / "bin" / "python"


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_WAIT_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PeerError(f"cannot be installed: {error}") from error
    if done.returncode:
        raise PeerError(f"cannot be installed: {_last_line(done.stderr)}")


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"


class Peer:
    """A contestant in a process of its own. Raises PeerError where it cannot be had."""

    def __init__(self, package: Package, given: Mix) -> None:
        self._names = [instrument.symbol for instrument in given.instruments]
        self._touch = dict(zip(self._names, given.touch, strict=True))
        python = environment(package)
        self._folder = TemporaryDirectory(prefix="foreshock-peer-")
        frames = Path(self._folder.name) / "frames"
        head = {"symbols": self._names, "snapshots": [body.decode() for body in given.snapshots]}
        with frames.open("wb") as stream:
            stream.write(json.dumps(head).encode() + b"\n")
            stream.writelines(frame + b"\n" for frame in given.frames[given.warmup :])
        self._errors = (Path(self._folder.name) / "errors").open("w+")
        self._process = subprocess.Popen(
            [str(python), str(SCRIPTS / f"{package.script}.py"), str(frames)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env={**os.environ, **THREADS},
        )
        try:
            self._answer()
        except PeerError:
            self.close()
            raise

    def prepare(self) -> Callable[[], tuple[int, float]]:
        """A round: (units, CPU seconds), as the peer tells them. Its state is fresh each time."""
        return self._round

    def _round(self) -> tuple[int, float]:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write("round\n")
            self._process.stdin.flush()
        except OSError as error:
            raise PeerError(f"cannot run: {self._why() or error}") from error
        told = self._answer()
        for symbol, mine in self._touch.items():
            theirs = told["touch"].get(symbol)
            if theirs is None or any(
                abs(a - b) > EPSILON for a, b in zip(mine, theirs, strict=True)
            ):
                raise PeerError(f"its book of {symbol} is wrong: {theirs}, not {list(mine)}")
        return told["units"], told["cpu_s"]

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.wait(10)
            raise PeerError(f"cannot run: {self._why()}")
        found: dict[str, Any] = json.loads(line)
        return found

    def _why(self) -> str:
        self._errors.seek(0)
        return _last_line(self._errors.read())

    def close(self) -> None:
        """End the process."""
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._errors.close()
        self._folder.cleanup()
