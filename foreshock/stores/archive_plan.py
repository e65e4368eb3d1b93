"""Which files of the archive hold a span of days: whole months as one file, the rest day by day."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta

from foreshock.errors import ArchiveError
from foreshock.market.instruments import canonical_symbol
from foreshock.stores.archive_kinds import KINDS, MARKET_PATHS, Kind, kind_of


@dataclass(frozen=True, slots=True, order=True)
class Series:
    """What one run of files is about. `interval` is "" where the kind has none."""

    market: str
    kind: str
    interval: str
    symbol: str

    @property
    def folder(self) -> str:
        """Relative path of its directory in a history."""
        kind = f"{self.kind}-{self.interval}" if self.interval else self.kind
        return f"{self.market}/{kind}/symbol={self.symbol}"

    @property
    def spec(self) -> Kind:
        """Its kind. Raises ArchiveError where there is none."""
        return kind_of(self.kind, self.market, self.interval)


@dataclass(frozen=True, slots=True, order=True)
class ArchiveFile:
    """One file of the archive: the days [first, last] of a series."""

    series: Series
    first: date
    last: date

    @property
    def monthly(self) -> bool:
        """True for a month's file."""
        return self.first != self.last

    @property
    def name(self) -> str:
        """Name of the zip."""
        series = self.series
        day = f"{self.first:%Y-%m}" if self.monthly else f"{self.first:%Y-%m-%d}"
        return f"{series.symbol}-{series.interval or series.kind}-{day}.zip"

    @property
    def path(self) -> str:
        """Path below the archive's base address."""
        series = self.series
        period = "monthly" if self.monthly else "daily"
        inner = f"{series.interval}/" if series.interval else ""
        where = f"data/{MARKET_PATHS[series.market]}/{period}/{series.kind}/{series.symbol}"
        return f"{where}/{inner}{self.name}"

    @property
    def days(self) -> list[date]:
        """Its days, in order."""
        return list(_days(self.first, self.last))

    def by_day(self) -> list[ArchiveFile]:
        """The daily files that say the same; none where the kind has no daily files."""
        if not self.monthly or "daily" not in self.series.spec.periods:
            return []
        return [ArchiveFile(self.series, day, day) for day in self.days]


def series_of(
    market: str, kinds: Iterable[str], symbols: Iterable[str], interval: str
) -> list[Series]:
    """Every kind of every symbol, in order and once. Raises ArchiveError or InstrumentError."""
    out: dict[Series, None] = {}
    for symbol in symbols:
        for name in kinds:
            kind = kind_of(name, market, interval)
            known = canonical_symbol(symbol)
            out.setdefault(Series(market, name, interval if kind.interval else "", known))
    return list(out)


def plan(
    series: Series, first: date, last: date, today: date, there: Collection[date] = ()
) -> list[ArchiveFile]:
    """The files to fetch for the days [first, last] of which `there` are at hand already.

    A month that was asked for as a whole, is over, and lacks more than a few days comes as one
    file; where a kind has monthly files only, any month that is touched and over. Today and later
    days are in no file. Raises ArchiveError where the span runs backwards."""
    if last < first:
        raise ArchiveError("span", f"{first} … {last} runs backwards")
    periods = KINDS[series.kind].periods
    out: list[ArchiveFile] = []
    for start, end in _months(first, last):
        lo, hi = max(start, first), min(end, last, today - timedelta(days=1))
        lacking = [day for day in _days(lo, hi) if day not in there]
        if not lacking:
            continue
        whole = (start, end) == (lo, hi) and len(lacking) > 3
        if "monthly" in periods and end < today and (whole or "daily" not in periods):
            out.append(ArchiveFile(series, start, end))
        elif "daily" in periods:
            out += [ArchiveFile(series, day, day) for day in lacking]
    return out


def _days(first: date, last: date) -> Iterator[date]:
    while first <= last:
        yield first
        first += timedelta(days=1)


def _months(first: date, last: date) -> Iterator[tuple[date, date]]:
    start = first.replace(day=1)
    while start <= last:
        following = (start + timedelta(days=32)).replace(day=1)
        yield start, following - timedelta(days=1)
        start = following
