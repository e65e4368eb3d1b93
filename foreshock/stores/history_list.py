"""What is in a history, and what is not: a line for each series, with every gap and its cause.

cause            what is known of it
outage           rows are missing in nearly all series of the market at once: it stood still
absent_rows      the venue's file is whole and has no rows there: a halt, or an outage that too few
                 series are at hand to tell
missing_ids      ids that the venue counted are not in the file
absent_file      the archive has no file of those days
damaged_file     it has one that cannot be read, or is not what its checksum says
not_downloaded   nobody asked for those days
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from itertools import pairwise
from typing import Any, Final

from foreshock.errors import RecordingError
from foreshock.stores.archive_kinds import INTERVALS_NS
from foreshock.stores.archive_plan import Series
from foreshock.stores.history import ABSENT, ARCHIVE, DAMAGED, DayFile, History

OUTAGE, ABSENT_ROWS, MISSING_IDS = "outage", "absent_rows", "missing_ids"
ABSENT_FILE, DAMAGED_FILE, NOT_DOWNLOADED = "absent_file", "damaged_file", "not_downloaded"
ALIKE: Final = 3  # an outage needs so many series at hand, and nearly all of them in it
SHARE: Final = 0.9
_NOTED: Final = {ABSENT: ABSENT_FILE, DAMAGED: DAMAGED_FILE}


@dataclass(frozen=True, slots=True)
class Gap:
    """A span without rows, [from_ns, to_ns): from the first row that should be there, or the last
    that is where no step is known, to the next that is. `rows` are missing, 0 where unknown."""

    from_ns: int
    to_ns: int
    cause: str
    rows: int = 0


@dataclass(frozen=True, slots=True)
class Listed:
    """One series of a history.

    sources   days by source: archive, rest, import
    arrival   "modelled", "recorded", or "mixed"
    gaps      in order of time
    faults    what the judgements counted: duplicates, conflicts, out_of_order, bad_rows, …
    known     facts that the sources told, each once
    problem   why it cannot be read; "" where it can
    """

    series: Series
    days: int
    rows: int
    bytes: int
    first_ns: int
    last_ns: int
    sources: dict[str, int]
    arrival: str
    gaps: list[Gap]
    faults: dict[str, int]
    known: list[str]
    problem: str = ""


def list_history(history: History) -> list[Listed]:
    """Every series, in order. A series with a damaged file is listed with its problem."""
    found: list[Listed] = []
    for series in history.series():
        try:
            found.append(_listed(history, series))
        except RecordingError as error:
            found.append(Listed(series, 0, 0, 0, 0, 0, {}, "modelled", [], {}, [], str(error)))
    return _with_outages([entry for entry in found if entry.days or entry.problem or entry.gaps])


def _listed(history: History, series: Series) -> Listed:
    files = history.days(series)
    best: dict[date, list[DayFile]] = {}
    for file in files:
        best.setdefault(file.day, []).append(file)
    chosen = [f for day in best.values() for f in (day[:1] if day[0].source == ARCHIVE else day)]
    full = [f for f in chosen if f.judgement.rows]
    faults = ("duplicates", "conflicts", "out_of_order", "bad_rows", "foreign_rows")
    counts = {name: sum(getattr(f.judgement, name) for f in chosen) for name in faults}
    arrivals = {f.arrival for f in chosen}
    sources: dict[str, int] = {}
    for file in chosen:
        sources[file.source] = sources.get(file.source, 0) + 1
    return Listed(
        series=series,
        days=len(best),
        rows=sum(f.judgement.rows for f in chosen),
        bytes=sum(f.path.stat().st_size for f in files),
        first_ns=min((f.judgement.first_ns for f in full), default=0),
        last_ns=max((f.judgement.last_ns for f in full), default=0),
        sources=sources,
        arrival="mixed" if len(arrivals) > 1 else next(iter(arrivals), "modelled"),
        gaps=_gaps(series, full, _noted(history, series)),
        faults={name: n for name, n in counts.items() if n},
        known=list(dict.fromkeys(text for f in chosen for text in f.judgement.known)),
    )


def _noted(history: History, series: Series) -> list[tuple[date, date, str]]:
    return [
        (date.fromisoformat(n["first"]), date.fromisoformat(n["last"]), _NOTED[n["state"]])
        for n in history.noted(series).values()
        if n["state"] in _NOTED
    ]


def _gaps(
    series: Series, files: Sequence[DayFile], noted: Sequence[tuple[date, date, str]]
) -> list[Gap]:
    step_ns = INTERVALS_NS.get(series.interval, 0)
    out: list[Gap] = []
    for file in files:
        judged = file.judgement
        out += [_gap(a, b, step_ns, ABSENT_ROWS) for a, b in judged.gaps]
        out += [
            Gap(a, b, MISSING_IDS, last - first + 1) for first, last, a, b in judged.missing_ids
        ]
    for before, after in pairwise(files):
        a, b = before.judgement, after.judgement
        by_id = b.first_id > a.last_id > 0
        if by_id and b.first_id == a.last_id + 1:
            continue
        if b.first_ns <= a.last_ns:
            continue  # sources that overlap
        skipped = (after.day - before.last).days > 1
        if skipped:
            first = date.fromordinal(before.last.toordinal() + 1)
            last = date.fromordinal(after.day.toordinal() - 1)
            missing = b.first_id - a.last_id - 1 if by_id else 0
            gap = _gap(a.last_ns, b.first_ns, step_ns, _cause(first, last, noted))
            out.append(replace(gap, rows=missing) if missing else gap)
        elif by_id:
            out.append(Gap(a.last_ns, b.first_ns, MISSING_IDS, b.first_id - a.last_id - 1))
        elif a.gap_ns and b.first_ns - a.last_ns > a.gap_ns:
            out.append(_gap(a.last_ns, b.first_ns, step_ns, ABSENT_ROWS))
    return sorted(out, key=lambda gap: gap.from_ns)


def _gap(before_ns: int, after_ns: int, step_ns: int, cause: str) -> Gap:
    rows = (after_ns - before_ns) // step_ns - 1 if step_ns else 0
    return Gap(before_ns + step_ns, after_ns, cause, rows)


def _cause(first: date, last: date, noted: Sequence[tuple[date, date, str]]) -> str:
    """Why days have no file: what was noted of most of them."""
    votes: dict[str, int] = {}
    for n in range(first.toordinal(), last.toordinal() + 1):
        day = date.fromordinal(n)
        why = next((w for lo, hi, w in noted if lo <= day <= hi), NOT_DOWNLOADED)
        votes[why] = votes.get(why, 0) + 1
    return max(votes, key=lambda why: votes[why])


def _with_outages(found: list[Listed]) -> list[Listed]:
    groups: dict[tuple[str, str, str], list[Listed]] = {}
    for entry in found:
        key = (entry.series.market, entry.series.kind, entry.series.interval)
        groups.setdefault(key, []).append(entry)
    return [
        replace(
            entry,
            gaps=[
                replace(gap, cause=OUTAGE)
                if gap.cause == ABSENT_ROWS and _is_outage(gap, group)
                else gap
                for gap in entry.gaps
            ],
        )
        for entry in found
        for group in [groups[entry.series.market, entry.series.kind, entry.series.interval]]
    ]


def _is_outage(gap: Gap, group: Iterable[Listed]) -> bool:
    around = [e for e in group if e.first_ns < gap.from_ns and e.last_ns >= gap.to_ns]
    missing = sum(any(_alike(gap, other) for other in entry.gaps) for entry in around)
    return len(around) >= ALIKE and missing >= SHARE * len(around)


def _alike(a: Gap, b: Gap) -> bool:
    """Whether two gaps share half of the time that either takes."""
    shared = min(a.to_ns, b.to_ns) - max(a.from_ns, b.from_ns)
    return 2 * shared >= max(a.to_ns, b.to_ns) - min(a.from_ns, b.from_ns)


def as_object(entry: Listed) -> dict[str, Any]:
    """JSON-ready; stamps as ISO 8601, UTC."""

    def iso(stamp_ns: int) -> str:
        moment = datetime.fromtimestamp(stamp_ns // 1_000_000 / 1000, UTC)
        return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")

    series = entry.series
    return {
        "market": series.market,
        "kind": series.kind,
        "interval": series.interval or None,
        "symbol": series.symbol,
        "span": [iso(entry.first_ns), iso(entry.last_ns)] if entry.rows else None,
        "days": entry.days,
        "rows": entry.rows,
        "bytes": entry.bytes,
        "gaps": [
            {"from": iso(g.from_ns), "to": iso(g.to_ns), "cause": g.cause, "rows": g.rows}
            for g in entry.gaps
        ],
        "arrival": entry.arrival,
        "source": "+".join(entry.sources) or None,
        "faults": entry.faults,
        "known": entry.known,
        "problem": entry.problem or None,
    }
