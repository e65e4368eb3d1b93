"""A demo as its users run it: one real process with its own Ray, sockets, stores and HTTP.

It has its own process group, as a shell gives it one, and an environment variable of its own by
which everything that it ever started can be found again."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from foreshock.settings import Config, load

ROOT = Path(__file__).resolve().parents[2]
MARK = "FORESHOCK_TEST_RUN"
URL = re.compile(r"^\s+(\w+)\s+((?:http|ws)://\S+)$")
PATIENCE_S = 180.0  # slow and busy machines: a deadline, not an expectation


class ImpatientError(AssertionError):
    """Something that had to happen did not."""


def until(what: Callable[[], Any], patience_s: float = PATIENCE_S, every_s: float = 0.2) -> Any:
    """The first thing that `what` returns and that is true. Doors may be away meanwhile. Raises
    ImpatientError with what it saw last."""
    deadline_s, last = time.monotonic() + patience_s, None
    while time.monotonic() < deadline_s:
        try:
            last = what()
            if last:
                return last
        except (httpx.HTTPError, KeyError, ValueError) as error:
            last = error
        time.sleep(every_s)
    raise ImpatientError(f"waited {patience_s:g} s in vain; last: {last!r}")


@dataclass(slots=True)
class RunningDemo:
    """The process, what it said, and its doors."""

    process: subprocess.Popen[str]
    mark: str
    out: Path
    settings: dict[str, str]
    lines: list[str] = field(default_factory=list)
    urls: dict[str, str] = field(default_factory=dict)
    http: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=20, trust_env=False))

    @property
    def config(self) -> Config:
        """The configuration that the process runs with."""
        return load({"mode": "demo", **self.settings}).tree

    @property
    def site(self) -> str:
        """Address of the HTTP API, without a path."""
        return self.urls["api"].removesuffix("/api/v1")

    def wait_for(self, name: str) -> str:
        """The URL of that name, once the demo says it."""

        def said() -> str | None:
            if self.process.poll() is not None:
                raise ImpatientError("the demo ended:\n" + "\n".join(self.lines[-30:]))
            return self.urls.get(name)

        return str(until(said))

    def get(self, path: str, **query: Any) -> httpx.Response:
        """GET below /api/v1."""
        return self.http.get(f"{self.urls['api']}{path}", params=query)

    def books(self) -> dict[str, dict[str, Any]]:
        """What /symbols says, by symbol."""
        return {entry["symbol"]: entry for entry in self.get("/symbols").json()["symbols"]}

    def synced(self) -> bool:
        """Whether every book stands."""
        return all(book["book_state"] == "SYNCED" for book in self.books().values())

    def epochs(self) -> dict[str, int]:
        """Epoch of the book by symbol."""
        return {symbol: book["book_epoch"] for symbol, book in self.books().items()}

    def newest(self, symbol: str) -> int:
        """Boundary of the newest prediction of a symbol; 0 where there is none now."""
        answer = self.get(f"/predictions/{symbol}")
        return int(answer.json()["boundary_ns"]) if answer.status_code == 200 else 0

    def fault(self, **what: Any) -> None:
        """Have the exchange make a fault."""
        where = f"{self.urls['exchange_rest']}/foreshock/fault"
        self.http.post(where, json=what).raise_for_status()

    def family(self, title: str = "") -> list[int]:
        """Living processes that this demo started, itself among them, by the beginning of their
        command line; found by the mark and the session, so that orphans count."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                pid = int(entry.name)
                if self._is_of_family(pid) and command_of(pid).startswith(title):
                    found.append(pid)
        return found

    def _is_of_family(self, pid: int) -> bool:
        state, session = state_of(pid)
        if state in ("", "Z", "X"):
            return False
        try:
            marked = f"{MARK}={self.mark}".encode() in Path(f"/proc/{pid}/environ").read_bytes()
        except OSError:
            marked = False
        return marked or session == self.process.pid

    def press_ctrl_c(self) -> None:
        """As a terminal does it: every process of the foreground group hears of it."""
        os.killpg(self.process.pid, signal.SIGINT)

    def outcome(self) -> dict[str, Any]:
        """What it wrote at its end."""
        found: dict[str, Any] = json.loads(self.out.read_text())
        return found

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as stream:
            for line in stream:
                self.lines.append(line.rstrip())
                if found := URL.match(line):
                    self.urls[found[1]] = found[2]


def state_of(pid: int) -> tuple[str, int]:
    """(state letter, session) of a process; ("", 0) where there is none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return "", 0
    return fields[0], int(fields[3])


def command_of(pid: int) -> str:
    """Command line; empty where there is none."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    except (OSError, UnicodeDecodeError):
        return ""


@contextmanager
def running_demo(place: Path, settings: dict[str, str], *flags: str) -> Iterator[RunningDemo]:
    """`foreshock demo --plain` with these settings and flags, everything of it below `place`.
    Whatever is left of it when the block is left is killed, process by process."""
    mark = uuid.uuid4().hex
    place.mkdir(parents=True, exist_ok=True)
    settings = {"paths.var_dir": str(place / "var"), **settings}
    given = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "FORESHOCK__"))}
    process = subprocess.Popen(
        [str(Path(sys.executable).with_name("foreshock")), "demo", "--plain",
         "--json", str(place / "out.json"), *flags, *given],
        cwd=ROOT, env={**environment, MARK: mark}, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip
    demo = RunningDemo(process, mark, place / "out.json", settings)
    reader = threading.Thread(target=demo._read, daemon=True)
    reader.start()
    try:
        yield demo
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(timeout=90)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for pid in demo.family():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        demo.http.close()
        reader.join(timeout=20)
