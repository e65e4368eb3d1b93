"""Import what others recorded into a history, each file judged for what it is.

A file is recognised by its content (`importer_forms`), becomes tables of a kind, and lands as days
(sparse series as years) with source `import`. Its report says how many rows there are, what was
wrong with them, where they have gaps, and what nobody can know from the file. Nothing is guessed: a
symbol or market that a file and its name do not tell must be given, or the file is refused
(ArchiveError, reason `symbol` or `market`).
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from hashlib import blake2b
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from foreshock.errors import ArchiveError, InstrumentError
from foreshock.market.instruments import SPOT, USDM, canonical_symbol
from foreshock.stores.archive_judge import Judgement, judge
from foreshock.stores.archive_kinds import DAY_NS, INTERVALS_NS, KINDS
from foreshock.stores.archive_plan import Series
from foreshock.stores.history import IMPORT, History, day_of, split_days
from foreshock.stores.importer_forms import EVERY_NS, Form
from foreshock.stores.importer_readers import Told, read_file

COINM: Final = "binance-coinm"
_MARKET_WORDS: Final = (
    (re.compile(r"coin_?-?m"), COINM),
    (re.compile(r"usd_?-?m|um_futures|perp"), USDM),
    (re.compile(r"spot"), SPOT),
)
_PLAIN: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")
SPARSE: Final = 48  # rows a day; with fewer, a file holds a year


@dataclass(frozen=True, slots=True)
class Imported:
    """A series of an imported file and the judgement of its rows; `form` is how it was read."""

    file: str
    form: str
    series: Series
    judgement: Judgement
    files: int

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        told = self.judgement.as_dict()
        series = {name: getattr(self.series, name) for name in Series.__slots__}
        return {"file": self.file, "form": self.form, **series, "files": self.files, **told}


def import_file(
    history: History | None, path: Path, market: str | None = None, symbol: str | None = None
) -> list[Imported]:
    """Import one file; says a report for each series in it. The same file lands on itself.

    history          None judges and keeps nothing
    market, symbol   what the file does not say itself; both win over its name
    Raises ArchiveError on a file of no known form, or that lacks what only the caller can tell, and
    RecordingError on one that cannot be read."""
    try:
        parts = read_file(path)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ArchiveError("truncated", f"{path} cannot be unpacked: {error}") from error
    out: list[Imported] = []
    name = blake2b(path.name.encode(), digest_size=4).hexdigest()
    for part in parts:
        for series, table in _series(part, path, market, symbol):
            table, judged = _judged(part, series, table)
            files = 0
            for first, last, rows in _files(table):
                if history is None:
                    break
                files += 1
                _, of_file = judge(rows, part.form.kind, judged.gap_ns, counts_by_one=_by_one(part))
                told = of_file.told(known=judged.known, units=judged.units)
                history.write_day(
                    series,
                    first,
                    rows,
                    told,
                    source=IMPORT,
                    origin=path.name,
                    name=name,
                    last=last,
                )
            out.append(Imported(path.name, part.form.kind.name, series, judged, files))
    return out


def _files(table: pa.Table) -> Iterator[tuple[date, date, pa.Table]]:
    """(first day, last day, rows) of the files that a table makes: a day each, or a year where days
    hold a few rows only."""
    if not table.num_rows:
        return
    time = _time_of(table)
    stamps = table.column(time).to_numpy()
    days = stamps // DAY_NS
    if table.num_rows > SPARSE * len(np.unique(days)):
        for day, rows in split_days(table, time):
            yield day, day, rows
        return
    years = stamps.astype("datetime64[ns]").astype("datetime64[Y]")
    for year in np.unique(years):
        here = years == year
        yield (
            day_of(int(stamps[here].min())),
            day_of(int(stamps[here].max())),
            table.filter(pa.array(here)),
        )


def _by_one(part: Told) -> bool:
    return part.form.kind.id_step and part.form.by_one


def _time_of(table: pa.Table) -> str:
    return "open_ns" if "open_ns" in table.column_names else "event_ns"


def _judged(part: Told, series: Series, table: pa.Table) -> tuple[pa.Table, Judgement]:
    gap_ns = EVERY_NS.get(series.kind, 0)
    if series.interval:
        step_ns = INTERVALS_NS[series.interval]
        gap_ns = step_ns if series.kind.endswith("lines") else step_ns + step_ns // 2
    table, judged = judge(table, part.form.kind, gap_ns, counts_by_one=_by_one(part))
    known = [*part.form.known, *part.known]
    if (
        "volume" in table.column_names
        and table.num_rows
        and not pc.any(pc.not_equal(table.column("volume"), 0.0)).as_py()
    ):
        known.append("volume is zero throughout: prices of an index or mark, not of trades")
    return table, judged.told(
        known=tuple(known),
        units=tuple(sorted(part.reading.units)),
        bad_rows=part.reading.bad_rows,
    )


def _series(
    part: Told, path: Path, market: str | None, symbol: str | None
) -> Iterator[tuple[Series, pa.Table]]:
    """(series, its rows in the schema of what it becomes) for each market and symbol there is."""
    for (venue, pair, contract), table in _split(part.table):
        whose = market or _market(venue, contract, path, part)
        try:
            spelled = symbol or pair or _symbol_in(path)
            known = canonical_symbol(spelled) if spelled else ""
        except InstrumentError:
            part.reading.bad(table.num_rows, spelled or "")
            continue
        if not known:
            raise ArchiveError("symbol", f"{path.name} does not say its symbol: give --symbol")
        kind = part.form.becomes
        if kind == "klines" and "mark" in path.stem.lower():
            kind = "markPriceKlines"
        time = table.column(_time_of(table)).to_numpy()
        interval = _interval(time) if part.form.interval == "?" else part.form.interval
        yield Series(whose, kind, interval, known), _shaped(table, part.form, kind)


def _split(table: pa.Table) -> Iterator[tuple[tuple[str, str, str], pa.Table]]:
    """Rows by (market, symbol, contract) as far as the columns say."""
    names = [n for n in ("market", "symbol", "contract") if n in table.column_names]
    rest = table.drop_columns(names)
    if not names:
        yield ("", "", ""), rest
        return
    joined = pc.binary_join_element_wise(
        *[table.column(n) if n in names else "" for n in ("market", "symbol", "contract")], "\x1f"
    ).combine_chunks()
    coded = joined.dictionary_encode()
    codes = coded.indices.to_numpy(zero_copy_only=False)
    order = np.argsort(codes, kind="stable")
    bounds = np.flatnonzero(np.diff(codes[order], prepend=-1, append=-1))
    for lo, hi in pairwise(bounds):
        key = coded.dictionary[int(codes[order[lo]])].as_py().split("\x1f")
        yield (key[0], key[1], key[2]), rest.take(pa.array(order[lo:hi]))


def _market(venue: str, contract: str, path: Path, part: Told) -> str:
    if part.market or part.form.market:
        return part.market or part.form.market
    if venue:
        named = f"{venue}-{contract}".lower() if contract else venue.lower()
        if _PLAIN.fullmatch(named) is None:
            raise ArchiveError("market", f"{path.name}: {named!r} is no name of a market")
        return named
    text = path.stem.lower()
    for word, market in _MARKET_WORDS:
        if word.search(text):
            return market
    raise ArchiveError("market", f"{path.name} does not say its market: give --market")


def _symbol_in(path: Path) -> str:
    """The one pair that a file's name holds, "" where there is none."""
    found = re.findall(r"[a-zA-Z0-9]{2,10}(?:usdt|USDT|usd_perp)", path.name)
    if found:
        return str(found[0])
    other = re.match(r"([a-z]{3,5}(?:eth|btc|bnb))_", path.name)
    return other[1] if other else ""


def _interval(times: Any) -> str:
    """The commonest distance between rows. Raises ArchiveError where no interval of the venue's is
    that long."""
    steps = np.diff(np.unique(times))
    if not len(steps):
        return "1m"
    lengths, counts = np.unique(steps, return_counts=True)
    step = int(lengths[counts.argmax()])
    for name, length in INTERVALS_NS.items():
        if length == step:
            return name
    raise ArchiveError("interval", f"rows are {step / 1e9:g} s apart, which is no known interval")


def _shaped(table: pa.Table, form: Form, kind: str) -> pa.Table:
    """In the schema of the history's kind where there is one: what the source lacks is null."""
    target = KINDS.get(kind)
    if "side" in table.column_names and kind in ("trades",):
        sides = pc.utf8_lower(table.column("side"))
        maker = pc.equal(sides, "sell")
        table = table.append_column("buyer_is_maker", maker).drop_columns(["side"])
    if target is None:
        return table
    columns = {f.name: _column(table, f) for f in target.schema}
    if "arrival_ns" in table.column_names:
        columns["arrival_ns"] = table.column("arrival_ns")
    return pa.table(columns)


def _column(table: pa.Table, field: pa.Field) -> Any:
    if field.name in table.column_names:
        return table.column(field.name).cast(field.type)
    return pa.nulls(table.num_rows, field.type)
