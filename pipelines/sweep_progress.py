"""A live table of a running sweep: what is done, what is best, how long it will take. Where stderr
is no terminal, as in a job, a line of it now and then."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from pydantic import BaseModel
from rich.console import Console
from rich.live import Live
from rich.table import Table

from pipelines.suggest import Suggestions
from pipelines.sweep import Outcome, Sweep, Unit

LINES = 12
EVERY_S = 60.0  # between two lines of a job's log


class Progress:
    """Counts what is told; is a `pipelines.sweep.Tell` and draws itself for rich."""

    def __init__(self, sweep: Sweep) -> None:
        self._sweep = sweep
        self._started = self._said = time.monotonic()
        self.lines: Callable[[str], None] | None = None
        self.made = self.known = self.failed = 0

    def __call__(self, unit: Unit, recipe: BaseModel, outcome: Outcome, *, known: bool) -> None:
        """Count one outcome."""
        self.made += not known
        self.known += known
        self.failed += bool(outcome.failure)
        if self.lines is not None and time.monotonic() - self._said >= EVERY_S:
            self._said = time.monotonic()
            self.lines(self._title())

    @property
    def left_s(self) -> float:
        """Seconds until the end if nothing more is given up, at the pace so far; NaN before the
        first result."""
        spent = time.monotonic() - self._started
        return spent / self.made * self._sweep.units_left if self.made else math.nan

    def _title(self) -> str:
        done, left = self.made + self.known, self._sweep.units_left
        when = "…" if math.isnan(self.left_s) else f"≤ {_clock(self.left_s)} left"
        kept = f", {self.known} from the journal" if self.known else ""
        bad = f", {self.failed} failed" if self.failed else ""
        return f"sweep: {done} of ≤ {done + left} fits{kept}{bad}, {when}"

    def __rich__(self) -> Table:
        table = Table(title=self._title())
        for heading in ("scope", "trials", "pruned", "failed", "best skill"):
            table.add_column(heading, justify="left" if heading == "scope" else "right")
        searches = list(self._sweep.searches.items())
        for scope, search in searches[:LINES]:
            table.add_row(scope, *_figures([search]))
        if len(searches) > LINES:
            rest = [search for _, search in searches[LINES:]]
            table.add_row(f"{len(rest)} more", *_figures(rest))
        return table


@contextmanager
def progress(sweep: Sweep, show: bool) -> Iterator[Progress]:
    """A table on stderr while the sweep runs, if `show`; a line a minute if no terminal."""
    table = Progress(sweep)
    console = Console(stderr=True)
    if not (show and console.is_terminal):
        if show:
            table.lines = partial(print, file=sys.stderr, flush=True)
        yield table
        return
    with Live(table, console=console, refresh_per_second=2):
        yield table


def _figures(searches: list[Suggestions]) -> list[str]:
    trials = [trial for search in searches for trial in search.trials]
    count = {state: sum(t.state == state for t in trials) for state in ("pruned", "failed")}
    ended = sum(t.state != "running" for t in trials)
    skills = [t.skill for t in trials if t.state == "complete" and math.isfinite(t.skill)]
    best = f"{max(skills):+.4f}" if skills else ""
    return [f"{ended}/{len(trials)}", str(count["pruned"]), str(count["failed"]), best]


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
