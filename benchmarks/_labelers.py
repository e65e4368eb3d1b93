"""Labelers of the package index, each in a process of its own, held to our labels."""

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

SCRIPT = "labels_barriers"
PACKAGES: dict[str, tuple[str, ...]] = {
    "vectorbt": ("vectorbt==1.2.0", "numpy==2.4.6"),
    "quantreo": ("quantreo==0.1.1", "numpy==2.4.6"),
    "RiskLabAI": ("RiskLabAI==2.0.1", "numpy==2.4.6"),
    # pkg_resources and scikit-learn are imported but not asked for
    "mlfinpy": ("mlfinpy==0.1.2", "scikit-learn", "setuptools<81"),
}
LEAST_ALIKE = 0.99  # a level may be passed by a rounding: some compare ratios, some logarithms


class Labeler:
    """One package at one case. Raises PeerError where it cannot be had or labels other things."""

    def __init__(self, name: str, case: Path, wanted: NDArray[np.float64]) -> None:
        python = environment(Package(SCRIPT, PACKAGES[name]))
        out = case.with_name(f"{case.stem}-{name}.npy")
        self._errors = case.with_name(f"{case.stem}-{name}.log")
        with self._errors.open("w") as errors:
            self._process = subprocess.Popen(
                [str(python), str(SCRIPTS / f"{SCRIPT}.py"), name, str(case), str(out)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env={**os.environ, **THREADS},
            )
        self._answer()
        alike = float((np.load(out) == wanted).mean())
        if alike < LEAST_ALIKE:
            self.stop()
            raise PeerError(f"cannot be compared: {alike:.1%} of its labels are ours")

    def prepare(self) -> Callable[[], tuple[int, float]]:
        """A round: (labels, CPU seconds)."""
        return self._round

    def stop(self) -> None:
        """End the process."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait(30)

    def _round(self) -> tuple[int, float]:
        assert self._process.stdin is not None
        self._process.stdin.write("round\n")
        self._process.stdin.flush()
        answer = self._answer()
        return int(answer["labels"]), float(answer["cpu_s"])

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.wait(30)
            said = [text for text in self._errors.read_text().splitlines() if text.strip()]
            raise PeerError(f"cannot run: {said[-1] if said else 'it said nothing'}")
        found: dict[str, Any] = json.loads(line)
        return found
