"""The cold store's part of `benchmarks.stores`: rows a second in, compacted, scanned and asked.

Wall-clock time, since a server's work is in another process; writer and server share the machine.
Every contestant gets the same tape of 200 symbols in batches of 500,000 trades of 13 columns, each
durable when its append returns; scans give all columns as Arrow, and the aggregate is notional by
symbol. `rows` are what watchers make, 80 bytes each: four trades to a depth frame of 20 + 20 levels
in nine rows, written word for word beside the trades drawn from them.
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.common import Figures, say
from foreshock.market.instruments import SPOT, Instrument
from foreshock.market.rows import (
    DEPTH,
    SELL,
    TRADE,
    Rows,
    as_words,
    empty_rows,
    pack_levels,
    packs_for,
)
from foreshock.stores.cold import ColdStore
from foreshock.stores.cold_clickhouse import ClickHouseCold
from foreshock.stores.cold_parquet import ParquetCold
from foreshock.stores.cold_tables import RowTables
from foreshock.stores.cold_writer import ColdWriter
from foreshock.stores.row_tables import pack_mask
from foreshock.stores.schema import Batch, day_start_ns
from scripts.clickhouse_server import ClickHouseServer, binary

FLOORS: Final = {  # rows/s
    "parquet: trades in": 2_000_000,
    "parquet: scan": 10_000_000,
    "parquet: aggregate": 10_000_000,
    "clickhouse: trades in": 1_000_000,
}
SYMBOLS: Final = 200
INSTRUMENTS: Final = tuple(
    Instrument.of(f"PAIR{k}USDT", SPOT, "0.01", "0.001") for k in range(SYMBOLS)
)
BATCH: Final = 500_000
DAY: Final = "2026-01-05"
_SQL: Final = "SELECT symbol, sum(price * qty) AS notional FROM trades {final} GROUP BY symbol"


def tape(n: int) -> Rows:
    """n trades of all symbols at random, 15 µs apart, within one day."""
    rng = np.random.default_rng(11)
    rows, k = empty_rows(n), np.arange(n)
    rows["kind"], rows["seq"], rows["symbol"] = TRADE, k, rng.integers(0, SYMBOLS, n)
    rows["arrival_ns"] = day_start_ns(DAY) + 15_000 * k
    rows["event_ns"] = rows["arrival_ns"] - rng.integers(1, 4_000_000, n)
    rows["id"], rows["flags"] = k, np.where(rng.random(n) < 0.5, SELL, 0)
    rows["a"] = 6_700_000 + np.cumsum(rng.integers(-2, 3, n))
    rows["b"] = rng.geometric(0.01, n)
    return rows


def mixed(frames: int) -> Rows:
    """A depth frame of 20 + 20 levels to four trades, with packs."""
    rng, block = np.random.default_rng(5), empty_rows(5 + packs_for(40))
    levels = np.stack([np.arange(1, 21), np.arange(21, 41)], axis=1)
    block["kind"][:4] = TRADE
    block["kind"][4] = DEPTH
    pack_levels(block, 4, levels, levels)
    rows = np.tile(block, frames // 5)
    heads = np.flatnonzero(~pack_mask(as_words(rows)))
    k = np.arange(len(heads))
    rows["seq"][heads], rows["symbol"][heads] = k, rng.integers(0, SYMBOLS, len(k))
    rows["arrival_ns"][heads] = rows["event_ns"][heads] = day_start_ns(DAY) + 15_000 * k
    trades = heads[rows["kind"][heads] == TRADE]
    rows["a"][trades], rows["b"][trades] = rng.integers(10**6, 10**7, (2, len(trades)))
    return rows


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _fill(store: ColdStore, batches: list[pa.Table]) -> None:
    first = 0
    for batch in batches:
        store.append("trades", batch, Batch("s/0", first, first + len(batch) - 1))
        first += len(batch)


def _store(name: str, store: ColdStore, batches: list[pa.Table]) -> dict[str, float]:
    """Rows a second by what was done; the store is empty before."""
    n, final = sum(map(len, batches)), "FINAL" if name == "clickhouse" else ""
    spent = {"trades in": _timed(lambda: _fill(store, batches))}
    compacted = _timed(lambda: store.compact("trades", DAY))
    if name == "parquet":  # a server may have merged its parts by itself
        spent["compaction"] = compacted
    if len(store.scan("trades", columns=["seq"])) != n:
        raise AssertionError(f"{name} does not hold what was written")
    spent["scan"] = _timed(lambda: store.scan("trades"))
    spent["aggregate"] = _timed(lambda: store.query(_SQL.format(final=final)))
    return {f"{name}: {what}": n / seconds for what, seconds in spent.items()}


def _rows_in(store: ColdStore, rows: Rows) -> float:
    def write() -> None:
        writer = ColdWriter(store, INSTRUMENTS, "s/1", hold_rows=1)
        step = 13 * 20_000  # whole frames: five of 13 rows
        for first in range(0, len(rows), step):
            writer.write(rows[first : first + step])
        writer.flush()

    return len(rows) / _timed(write)


def _peers(home: Path, batches: list[pa.Table]) -> dict[str, float]:
    """The same tables as pyarrow writes and reads them by default: no key, no order, no retry."""
    n, path = sum(map(len, batches)), home / "plain"
    path.mkdir()

    def write() -> None:
        for k, batch in enumerate(batches):
            pq.write_table(batch, path / f"{k}.parquet", compression="zstd")

    spent = {"in": _timed(write)}
    spent["scan"] = _timed(lambda: pq.read_table(path, use_threads=False))
    return {f"pyarrow's defaults: {what}": n / seconds for what, seconds in spent.items()}


@contextmanager
def _server(home: Path) -> Iterator[str | None]:
    if binary() is None:
        yield None
        return
    with ClickHouseServer(home) as server:
        yield server.url


def cold(quick: bool) -> tuple[dict[str, Figures], dict[str, float]]:
    """(results by contestant, ratios): medians of turns, against the floors and pyarrow."""
    rounds, count = (1, 2) if quick else (5, 6)
    draw = RowTables(INSTRUMENTS, "s/0")
    whole = tape(count * BATCH)
    batches = [draw.draw(whole[k : k + BATCH])["trades"] for k in range(0, len(whole), BATCH)]
    rows = mixed(200_000 if quick else 1_000_000)
    seen: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as place, _server(Path(place) / "server") as url:
        for turn in range(rounds + 1):
            home = Path(place) / f"turn-{turn}"
            home.mkdir()
            stores: dict[str, ColdStore] = {"parquet": ParquetCold(home / "cold")}
            if url is not None:
                stores["clickhouse"] = ClickHouseCold(url)
            found: dict[str, float] = _peers(home, batches)
            for name, store in stores.items():
                found |= _store(name, store, batches)
                found[f"{name}: rows in, with trades drawn"] = _rows_in(store, rows)
                for use in store.usage():
                    store.drop(use.table, use.day)
                store.close()
            shutil.rmtree(home)
            if turn or quick:  # the first warms up
                for name, rate in found.items():
                    seen.setdefault(name, []).append(rate)
            say(f"cold: round {turn} of {rounds}" if turn else "cold: warmed up")
    middle = {name: statistics.median(rates) for name, rates in seen.items()}
    results: dict[str, Figures] = {
        f"cold {name}": {"rows/s": rate} for name, rate in middle.items()
    }
    if url is None:
        results["cold clickhouse"] = {"rows/s": "cannot run: not installed"}
    ratios = {
        f"cold {name} over its floor": middle[name] / floor
        for name, floor in FLOORS.items()
        if name in middle
    }
    for what, theirs in (("trades in", "in"), ("scan", "scan")):
        ours = middle[f"parquet: {what}"]
        ratios[f"cold parquet: {what} over pyarrow's defaults"] = (
            ours / middle[f"pyarrow's defaults: {theirs}"]
        )
    return results, ratios
