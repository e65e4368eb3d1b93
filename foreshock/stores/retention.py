"""What is forgotten and when: by age, then by a budget in a given order. Done twice it does nothing
more, and it may be cut off anywhere: the next run goes on."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from foreshock.market.clock import SECOND_NS
from foreshock.stores.cold import ColdStore, DayUsage
from foreshock.stores.schema import DAY_NS, day_of, day_start_ns

FRAMES: Final = "frames"


@dataclass(frozen=True, slots=True)
class Dropped:
    """A day of a table that goes, and why: age or budget."""

    table: str
    day: str
    bytes: int
    reason: str

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {name: getattr(self, name) for name in self.__slots__}


def by_age(
    usage: Iterable[DayUsage], today: str, keep_days: Mapping[str, int | None]
) -> list[Dropped]:
    """Days older than `keep_days` of their table; a table without a number keeps all. With 1, only
    `today` stays."""
    out = []
    for use in usage:
        days = keep_days.get(use.table)
        age = (day_start_ns(today) - day_start_ns(use.day)) // DAY_NS
        if days is not None and age >= days:
            out.append(Dropped(use.table, use.day, use.bytes, "age"))
    return out


def by_budget(
    usage: Iterable[DayUsage], today: str, budget_bytes: int | None, drop_first: Sequence[str]
) -> list[Dropped]:
    """The days that go so that the rest is within `budget_bytes`: table by table as `drop_first`
    says, the oldest first. `today` and later stay, and tables that it does not name."""
    kept = list(usage)
    total = sum(use.bytes for use in kept)
    out: list[Dropped] = []
    if budget_bytes is None:
        return out
    for table in drop_first:
        for use in sorted((u for u in kept if u.table == table), key=lambda u: u.day):
            if total <= budget_bytes or use.day >= today:
                break
            out.append(Dropped(table, use.day, use.bytes, "budget"))
            total -= use.bytes
    return out


class FrameShelf:
    """The raw frames of recordings, as days that can be dropped: the folders `journal` below
    `directory`, each of the day of its newest file. A recording without them still replays from its
    rows."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def usage(self) -> list[DayUsage]:
        """A line a day that frames were last written on."""
        days: dict[str, list[Path]] = {}
        for folder in sorted(self._directory.rglob("journal")):
            files = [path for path in folder.glob("*.parquet") if path.is_file()]
            if files:
                newest = max(path.stat().st_mtime for path in files)
                days.setdefault(day_of(int(newest) * SECOND_NS), []).extend(files)
        return [
            DayUsage(FRAMES, day, 0, sum(f.stat().st_size for f in files), len(files), True)
            for day, files in sorted(days.items())
        ]

    def drop(self, day: str) -> None:
        """Forget the frames of recordings that ended on `day`."""
        for folder in sorted(self._directory.rglob("journal")):
            files = [path for path in folder.glob("*.parquet") if path.is_file()]
            newest = max((path.stat().st_mtime for path in files), default=None)
            if newest is not None and day_of(int(newest) * SECOND_NS) == day:
                shutil.rmtree(folder, ignore_errors=True)


def keep_within(
    store: ColdStore,
    frames: FrameShelf | None,
    today: str,
    *,
    keep_days: Mapping[str, int | None],
    budget_bytes: int | None,
    drop_first: Sequence[str],
    dry_run: bool = False,
) -> list[Dropped]:
    """Drop what is too old, then what is too much; what went (or, with `dry_run`, would)."""
    usage = [*store.usage(), *(frames.usage() if frames is not None else ())]
    old = by_age(usage, today, keep_days)
    gone = {(each.table, each.day) for each in old}
    rest = [use for use in usage if (use.table, use.day) not in gone]
    out = [*old, *by_budget(rest, today, budget_bytes, drop_first)]
    if not dry_run:
        for each in out:
            if each.table != FRAMES:
                store.drop(each.table, each.day)
            elif frames is not None:
                frames.drop(each.day)
    return out
