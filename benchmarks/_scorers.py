"""Compilers of trees from the package index, each in a process of its own, held to LightGBM's
scores."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks._peers import SCRIPTS, Package, PeerError, environment
from benchmarks.common import THREADS

SCRIPT = "inference_trees"
PACKAGES: dict[str, tuple[str, ...]] = {
    # llvmlite 0.45 has no longer what it calls
    "lleaves": ("lleaves==1.3.0", "llvmlite==0.44.0", "numpy<2.5"),
    "treelite": ("treelite==4.7.0", "numpy<2.5"),
    "tl2cgen": ("tl2cgen==1.0.0", "treelite==4.7.0", "numpy<2.5"),
}
MOST_OFF = 1e-4  # float32 sums of 500 trees; whoever is further off scores another model


class Scorer:
    """One package with one model. Raises PeerError where it cannot be had or scores otherwise.

    wanted   LightGBM's raw scores (n,) of the rows in `rows`
    """

    def __init__(self, name: str, model: Path, rows: Path, wanted: NDArray[np.float64]) -> None:
        python = environment(Package(SCRIPT, PACKAGES[name]))
        out = model.with_name(f"{name}.npy")
        self._errors = model.with_name(f"{name}.log")
        with self._errors.open("w") as errors:
            self._process = subprocess.Popen(
                [str(python), str(SCRIPTS / f"{SCRIPT}.py"), name, str(model), str(rows), str(out)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env={**os.environ, **THREADS},
            )
        try:
            self.set_up_s = float(self._answer()["set_up_s"])
            self.off = float(np.abs(np.load(out) - wanted).max())
            if not self.off <= MOST_OFF:
                raise PeerError(f"cannot be compared: its scores are off by {self.off:.2g}")
        except PeerError:
            self.stop()
            raise

    def single(self) -> float:
        """Median wall time of a row, µs."""
        return float(self._ask("single")["p50_us"])

    def prepare(self) -> Callable[[], tuple[int, float]]:
        """A round: (rows, CPU seconds)."""
        return self._batch

    def stop(self) -> None:
        """End the process."""
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
        self._process.wait(30)

    def _batch(self) -> tuple[int, float]:
        answer = self._ask("batch")
        return int(answer["rows"]), float(answer["cpu_s"])

    def _ask(self, what: str) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{what}\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.wait(30)
            said = [text for text in self._errors.read_text().splitlines() if text.strip()]
            raise PeerError(f"cannot run: {said[-1] if said else 'it said nothing'}")
        found: dict[str, Any] = json.loads(line)
        return found
