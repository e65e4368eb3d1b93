"""Fetch the venue's past: `python -m pipelines.download_history BTCUSDT --kind klines --from …`.

    ray job submit --working-dir . -- python -m pipelines.download_history …

Files of the public archive are fetched by Ray tasks, so many at a time as `history.parallel` says,
wherever they run (the directory must be one that all nodes share); with `--no-ray` one by one in
this process. Days are the state: whatever ends a download, the next one goes on from there, and one
that finds everything asks the archive for nothing.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from foreshock.errors import ConfigError, ForeshockError, StoreError
from foreshock.market.instruments import SPOT
from foreshock.settings import Config, load
from foreshock.stores.archive_plan import ArchiveFile, Series, plan, series_of
from foreshock.stores.history import ABSENT, DAMAGED, WHOLE, History, day_of
from foreshock.stores.history_settings import HistorySettings
from pipelines.download import FAILED, Outcome, fetch
from pipelines.download_tail import fetch_tail
from pipelines.sweep import ray_session

PUBLIC_REST: Final = {SPOT: "https://api.binance.com"}
OTHER_REST: Final = "https://fapi.binance.com"
KEPT_ABSENT_DAYS: Final = 7  # after so long the archive will not have it any more


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a download is asked for; days are inclusive, UTC."""

    market: str
    kinds: tuple[str, ...]
    symbols: tuple[str, ...]
    first: date
    last: date
    interval: str = "1m"
    tail: bool = True
    use_ray: bool = True


@dataclass(slots=True)
class Report:
    """What a download did."""

    directory: str
    planned: int = 0
    at_hand_days: int = 0
    outcomes: list[Outcome] = field(default_factory=list)
    tail: list[Outcome] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        """False where a file is damaged or could not be had, or nothing at all is there."""
        states = {o.state for o in (*self.outcomes, *self.tail)}
        if states & {DAMAGED, FAILED}:
            return False
        return self.at_hand_days > 0 or not states or WHOLE in states

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready; files that are whole are counted, all others named."""
        everything = [*self.outcomes, *self.tail]
        return {
            "directory": self.directory,
            "planned": self.planned,
            "at_hand_days": self.at_hand_days,
            **{WHOLE: 0, ABSENT: 0, DAMAGED: 0, FAILED: 0},
            **Counter(o.state for o in self.outcomes),
            "tail_days": sum(o.state == WHOLE for o in self.tail),
            "rows": sum(o.rows for o in everything),
            "bytes": sum(o.bytes for o in everything),
            "seconds": round(self.seconds, 3),
            "not_whole": [o.as_dict() for o in everything if o.state != WHOLE],
        }


def download(
    wanted: Wanted,
    history: History,
    settings: HistorySettings,
    *,
    now_ns: int,
    rest_url: str | None = None,
    show: bool = False,
) -> Report:
    """Fetch what is lacking. Raises ArchiveError or InstrumentError on a wish that cannot be, and
    StoreError where another download writes there."""
    started, today = time.monotonic(), day_of(now_ns)
    every = series_of(wanted.market, wanted.kinds, wanted.symbols, wanted.interval)
    report = Report(str(history.directory))
    with _alone(history.directory):
        files: list[ArchiveFile] = []
        for series in every:
            there = _settled(history, series, today)
            asked = range(wanted.first.toordinal(), wanted.last.toordinal() + 1)
            report.at_hand_days += sum(date.fromordinal(n) in there for n in asked)
            files += plan(series, wanted.first, wanted.last, today, there)
        report.planned = len(files)
        run = _on_ray if wanted.use_ray and files else _one_by_one
        session = ray_session() if wanted.use_ray and files else nullcontext()
        with session, _progress(len(files), show) as tell:
            found = run(history, files, settings, today, tell)
            instead = [
                day
                for file, outcome in zip(files, found, strict=True)
                if outcome.state == ABSENT
                for day in file.by_day()
            ]
            tell(0, len(instead))
            found += run(history, instead, settings, today, tell)
        replaced = {f.path for f in files if f.by_day()}
        report.outcomes = [o for o in found if o.state != ABSENT or o.file not in replaced]
        if wanted.tail:
            rest = rest_url or PUBLIC_REST.get(wanted.market, OTHER_REST)
            for series in every:
                for day in _tail_days(history, series, wanted, today, settings.tail_days):
                    report.tail.append(fetch_tail(history, series, day, now_ns, settings, rest))
    report.seconds = time.monotonic() - started
    return report


def _settled(history: History, series: Series, today: date) -> set[date]:
    """Days that need no asking: whole ones, and those that were absent when they were old enough
    to be there."""
    out = history.covered(series)
    for note in history.noted(series).values():
        first, last = date.fromisoformat(note["first"]), date.fromisoformat(note["last"])
        old = (date.fromisoformat(note.get("asked", note["last"])) - last).days > KEPT_ABSENT_DAYS
        if note["state"] == ABSENT and old and first == last:
            out.add(first)
    return out - {today}


def _tail_days(
    history: History, series: Series, wanted: Wanted, today: date, most: int
) -> list[date]:
    """Recent days of the span that the archive has not told of; none for kinds that REST lacks."""
    if not most or not series.spec.rest:
        return []
    covered = history.covered(series)
    first = max(wanted.first, today - timedelta(days=most))
    span = range(first.toordinal(), min(wanted.last, today).toordinal() + 1)
    return [day for n in span if (day := date.fromordinal(n)) not in covered]


Tell = Callable[[int, int], None]


def _one_by_one(
    history: History,
    files: Sequence[ArchiveFile],
    settings: HistorySettings,
    today: date,
    tell: Tell,
) -> list[Outcome]:
    out = []
    for file in files:
        out.append(fetch(history, file, settings, today))
        tell(1, 0)
    return out


def _on_ray(
    history: History,
    files: Sequence[ArchiveFile],
    settings: HistorySettings,
    today: date,
    tell: Tell,
) -> list[Outcome]:
    import ray

    # The network is what a task waits for: tasks are bounded by number, not by cores.
    task = ray.remote(num_cpus=0.05, max_retries=3)(fetch)
    found: dict[int, Outcome] = {}
    flying: dict[Any, int] = {}
    waiting = iter(enumerate(files))
    while len(found) < len(files):
        while len(flying) < settings.parallel and (following := next(waiting, None)) is not None:
            at, file = following
            flying[task.remote(history, file, settings, today)] = at
        for done in ray.wait(list(flying), num_returns=1)[0]:
            at = flying.pop(done)
            try:
                found[at] = ray.get(done)
            except ray.exceptions.RayError as error:  # the task's process died, three times over
                found[at] = Outcome(files[at].path, FAILED, 0, 0, "task", str(error)[:500])
            tell(1, 0)
    return [found[at] for at in range(len(files))]


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Two downloads into one history would write over each other's parts. Raises StoreError."""
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StoreError(f"another download writes to {directory}") from error
        yield


@contextmanager
def _progress(files: int, show: bool) -> Iterator[Tell]:
    """A bar on stderr; yields what is told (files done, files more than was thought)."""
    columns = (TextColumn("files"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not show) as progress:
        bar, total = progress.add_task("files", total=files), files

        def tell(done: int, more: int) -> None:
            nonlocal total
            total += more
            progress.update(bar, advance=done, total=total)

        yield tell


def wanted_of(flags: argparse.Namespace, tree: Config) -> Wanted:
    """What the command line asks for. Raises ConfigError on a day that is none."""
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    last = _day(flags.to) if flags.to else yesterday
    return Wanted(
        market=flags.market or tree.venue.market,
        kinds=tuple(flags.kind or ("klines",)),
        symbols=tuple(flags.symbols or tree.venue.symbols),
        first=_day(getattr(flags, "from")) if getattr(flags, "from") else last,
        last=last,
        interval=flags.interval,
        tail=not flags.no_tail,
        use_ray=not flags.no_ray,
    )


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(f"{text!r} is no day such as 2024-03-01") from error


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, prog="pipelines.download_history")
    parser.add_argument("symbols", nargs="*", help="default: venue.symbols")
    parser.add_argument("--market", help="binance-spot or binance-usdm; default: venue.market")
    parser.add_argument("--kind", action="append", help="may be given often; default: klines")
    parser.add_argument("--from", metavar="DAY", help="first day, UTC; default: the last one")
    parser.add_argument("--to", metavar="DAY", help="last day, UTC; default: yesterday")
    parser.add_argument("--interval", default="1m", help="of klines; default: 1m")
    parser.add_argument("--out", type=Path, help="default: <var_dir>/history")
    parser.add_argument("--no-tail", action="store_true", help="ask the archive only, never REST")
    parser.add_argument("--no-ray", action="store_true", help="one by one in this process")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    flags = parser.parse_args(arguments)
    try:
        tree = load().tree
        report = download(
            wanted_of(flags, tree),
            History(flags.out or tree.paths.under("history")),
            tree.history,
            now_ns=time.time_ns(),
            rest_url=tree.venue.rest_url,
            show=not flags.json,
        )
    except ConfigError as error:
        print(f"download_history: {error}", file=sys.stderr)
        return 2
    except ForeshockError as error:
        print(f"download_history: {error}", file=sys.stderr)
        return 1
    if flags.json:
        json.dump(report.as_dict(), sys.stdout)
    else:
        told = report.as_dict()
        print(
            f"{told['whole']} files, {told['rows']} rows, {told['absent']} absent, "
            f"{told['damaged']} damaged, {told['failed']} failed: {told['directory']}"
        )
    return 0 if report.passed else 1


if __name__ == "__main__":
    sys.exit(main())
