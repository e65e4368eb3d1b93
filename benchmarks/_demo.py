"""A demo as a process of its own, for benchmarks that measure the running whole."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.common import ROOT

URL = re.compile(r"^\s+(\w+)\s+((?:http|ws)://\S+)$")
START_LIMIT_S = 600.0  # the first run trains a model


@dataclass(slots=True)
class RunningDemo:
    """The process, what it said, and where its doors are."""

    process: subprocess.Popen[str]
    out: Path
    urls: dict[str, str] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)

    def wait_for(self, name: str) -> str:
        """The URL of that name, once the demo says it. Raises RuntimeError if it never does."""
        until = time.monotonic() + START_LIMIT_S
        while name not in self.urls:
            if self.process.poll() is not None or time.monotonic() > until:
                raise RuntimeError("the demo did not come up:\n" + "\n".join(self.lines[-20:]))
            time.sleep(0.1)
        return self.urls[name]

    def outcome(self) -> dict[str, Any]:
        """What it wrote at its end; waits for that."""
        self.process.wait(timeout=START_LIMIT_S)
        found: dict[str, Any] = json.loads(self.out.read_text())
        return found

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip())
            if found := URL.match(line):
                self.urls[found[1]] = found[2]


@contextmanager
def running_demo(*flags: str) -> Iterator[RunningDemo]:
    """`foreshock demo --plain` with more flags; ended by Ctrl-C when the block is left."""
    with tempfile.TemporaryDirectory(prefix="foreshock-") as place:
        out = Path(place) / "out.json"
        environment = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}
        process = subprocess.Popen(
            [str(Path(sys.executable).with_name("foreshock")), "demo", "--plain",
             "--json", str(out), *flags],
            cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, start_new_session=True,
        )  # fmt: skip
        demo = RunningDemo(process, out)
        reader = threading.Thread(target=demo._read, daemon=True)
        reader.start()
        try:
            yield demo
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
                process.wait(timeout=90)
            reader.join(timeout=10)
            assert process.stdout is not None
            process.stdout.close()
