"""How every benchmark here is run and told: one set of flags, one document, one table.

    python -m benchmarks.NAME [--quick] [--json]

A benchmark measures process CPU time, median of several rounds, the contestants taking turns
within a round so that a machine that is shared treats them alike. Libraries are held to one thread.
A full run writes its table into docs/performance.md between its own markers, a `--quick` one does
not: its figures are checks. Judge by the ratios: they are taken side by side in one run.
"""

from __future__ import annotations

import os

THREADS = {
    name: "1"
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
}
os.environ.update(THREADS)  # before any library reads them

import argparse  # noqa: E402
import json  # noqa: E402
import platform  # noqa: E402
import statistics  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
from collections.abc import Callable, Mapping  # noqa: E402
from dataclasses import dataclass  # noqa: E402
from importlib import metadata, util  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any, Protocol  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "performance.md"

Figures = dict[str, float | str]


@dataclass(frozen=True, slots=True)
class Arguments:
    """What the command line asked for."""

    quick: bool
    json: bool


def arguments(description: str | None) -> Arguments:
    """Read --quick and --json."""
    parser = argparse.ArgumentParser(description=(description or "").split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help="a short run; writes no table")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    given = parser.parse_args()
    return Arguments(given.quick, given.json)


def machine() -> dict[str, Any]:
    """What this ran on, without naming the host."""
    try:
        cpu = Path("/proc/cpuinfo").read_text().split("model name", 1)[1].split("\n", 1)[0]
        cpu = cpu.lstrip("\t :")
    except (OSError, IndexError):
        cpu = platform.processor() or platform.machine()
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "load_1min": round(os.getloadavg()[0], 2),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "libraries": {name: metadata.version(name) for name in ("numpy", "numba", "orjson")},
    }


def say(text: str) -> None:
    """A line for people, on stderr."""
    print(text, file=sys.stderr, flush=True)


def missing(module: str) -> str:
    """Why a peer cannot run, or "" where it can."""
    return "" if util.find_spec(module) else "cannot run: not installed"


class Contestant(Protocol):
    """Somebody who can be measured."""

    def prepare(self) -> Callable[[], int | tuple[int, float]]:
        """A fresh state, unmeasured, and the work on it, which returns how many units it did; one
        that works in another process returns its CPU seconds beside them."""


def take_turns(
    contestants: Mapping[str, Contestant], rounds: int
) -> dict[str, tuple[float, float]]:
    """(median, spread) of units per CPU-second for each contestant. The first round only warms up.
    The spread is half the range over the median."""
    rates: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(rounds + 1):
        for name, contestant in contestants.items():
            work = contestant.prepare()
            started = time.process_time()
            done = work()
            taken = time.process_time() - started
            units, taken = done if isinstance(done, tuple) else (done, taken)
            if turn:
                rates[name].append(units / taken)
        say(f"round {turn} of {rounds}" if turn else "warmed up")
    out = {}
    for name, seen in rates.items():
        middle = statistics.median(seen)
        out[name] = (middle, (max(seen) - min(seen)) / 2 / middle)
    return out


def _cell(value: float | str) -> str:
    if isinstance(value, str):
        return value
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def table(results: Mapping[str, Figures]) -> str:
    """Results as a Markdown table, a line a contestant."""
    columns = list(dict.fromkeys(figure for figures in results.values() for figure in figures))
    lines = ["| contestant | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for name, figures in results.items():
        cells = [_cell(figures.get(column, "")) for column in columns]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def write_table(name: str, text: str, page: Path = PAGE) -> None:
    """Put `text` between the markers of `name` on the page; a new section goes to its end."""
    start, stop = f"<!-- benchmark:{name} -->", f"<!-- /benchmark:{name} -->"
    body = f"{start}\n{text}\n{stop}"
    old = page.read_text() if page.exists() else "# Performance\n\n" + _PREFACE
    if start in old:
        before, rest = old.split(start, 1)
        new = before + body + rest.split(stop, 1)[1]
    else:
        new = old.rstrip("\n") + "\n\n" + body + "\n"
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(new)


_PREFACE = (
    "Written by the benchmarks themselves (`make bench`). Rates are per second of CPU time of one"
    " core, medians;\nthe ratios were taken side by side in one run and say more than the absolute"
    " figures.\n"
)


def finish(
    name: str,
    given: Arguments,
    results: Mapping[str, Figures],
    ratios: Mapping[str, float],
    title: str,
) -> None:
    """Tell the results: a table on stderr, the document with --json, the page after a full run."""
    here = machine()
    text = table(results)
    said = "\n".join(f"- {what}: {value:.3g}" for what, value in ratios.items())
    say(f"\n{text}\n\n{said}")
    if not given.quick:
        stamp = f"{here['cpu']}, {here['cores']} cores, Python {here['python']}."
        write_table(name, f"## {title}\n\n{stamp}\n\n{text}\n\n{said}")
    if given.json:
        print(
            json.dumps(
                {
                    "name": name,
                    "quick": given.quick,
                    "machine": here,
                    "results": results,
                    "ratios": ratios,
                }
            )
        )
