"""History as rows of the data language, so that the engine runs over archives as it runs live.

Prices and sizes become ticks and lots, exactly, or the table is refused. Arrival is modelled
(`archive_delays`) and every row says so (MODELLED). What an archive knows of a moment reaches us
later: a bar when it has closed, a metric `METRIC_LAG_NS` after the time it speaks of.

trades, aggTrades → TRADE · klines → BAR · metrics, fundingRate → METRIC
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from foreshock.errors import ArchiveError
from foreshock.market.clock import SECOND_NS
from foreshock.market.instruments import Instrument
from foreshock.market.rows import (
    BAR,
    METRIC,
    METRIC_FUNDING_RATE,
    METRIC_LONG_SHORT_ACCOUNTS,
    METRIC_OPEN_INTEREST,
    METRIC_OPEN_INTEREST_VALUE,
    METRIC_TAKER_BUY_SELL,
    METRIC_TOP_LONG_SHORT_ACCOUNTS,
    METRIC_TOP_LONG_SHORT_POSITIONS,
    MODELLED,
    SELL,
    TRADE,
    Rows,
    as_words,
    empty_rows,
)
from foreshock.stores.archive_delays import Delays
from foreshock.stores.archive_kinds import INTERVALS_NS
from foreshock.stores.archive_plan import Series

METRIC_LAG_NS: Final = 300 * SECOND_NS  # when metrics are published is not recorded: an interval
MAX_DECIMALS: Final = 12
_EXACT: Final = 2**53
_METRICS: Final[Mapping[str, int]] = {
    "open_interest": METRIC_OPEN_INTEREST,
    "open_interest_value": METRIC_OPEN_INTEREST_VALUE,
    "long_short_accounts": METRIC_LONG_SHORT_ACCOUNTS,
    "top_long_short_accounts": METRIC_TOP_LONG_SHORT_ACCOUNTS,
    "top_long_short_positions": METRIC_TOP_LONG_SHORT_POSITIONS,
    "taker_buy_sell": METRIC_TAKER_BUY_SELL,
    "rate": METRIC_FUNDING_RATE,
}


def decimals_of(values: NDArray[np.float64]) -> int:
    """The fewest decimals that print every value, at most 12. Raises ArchiveError where 12 are not
    enough: such numbers were computed, not printed by a venue."""
    values = values[np.isfinite(values)]
    for decimals in range(MAX_DECIMALS + 1):
        scaled = np.rint(values * 10.0**decimals)
        if (np.abs(scaled) < _EXACT).all() and (scaled / 10.0**decimals == values).all():
            return decimals
    raise ArchiveError("decimals", f"{values[:3]} … have more than {MAX_DECIMALS} decimals")


def instrument_of(series: Series, tables: Iterable[pa.Table]) -> Instrument:
    """The instrument as its rows tell: tick and lot are the finest decimals seen. Raises
    ArchiveError without rows."""
    price = size = -1
    for table in tables:
        if table.num_rows:
            names = table.column_names
            prices = ("price",) if "price" in names else ("open", "high", "low", "close")
            sizes = ("size",) if "size" in names else ("volume",)
            price = max(price, *(decimals_of(table.column(n).to_numpy()) for n in prices))
            size = max(size, *(decimals_of(table.column(n).to_numpy()) for n in sizes))
    if price < 0:
        raise ArchiveError("empty", f"{series.folder} has no rows to tell tick and lot from")
    return Instrument.of(series.symbol, series.market, f"1e-{price}", f"1e-{size}")


def _units(values: NDArray[np.float64], decimals: int, units: int, what: str) -> NDArray[np.int64]:
    """Whole ticks or lots. Raises ArchiveError off the grid, and on NaN and infinity."""
    if not np.isfinite(values).all():
        value = values[np.flatnonzero(~np.isfinite(values))[0]]
        raise ArchiveError("grid", f"{what} {value!r} is no number")
    out: NDArray[np.int64] = np.rint(values * 10.0**decimals / units).astype(np.int64)
    wrong = out * units / 10.0**decimals != values
    if wrong.any():
        value = values[np.flatnonzero(wrong)[0]]
        raise ArchiveError("grid", f"{what} {value!r} is off the grid of {units}e-{decimals}")
    return out


def trade_rows(
    table: pa.Table,
    instrument: Instrument,
    symbol: int,
    delays: Delays,
    seed: int,
    not_before_ns: int = 0,
) -> Rows:
    """TRADE rows of trades or aggTrades in order of id; seq is not set. Arrival never runs
    backwards, nor before `not_before_ns`; a recorded one is kept. Raises ArchiveError off the
    instrument's grid."""
    n = table.num_rows
    rows = empty_rows(n)
    known = "arrival_ns" in table.column_names
    event = np.maximum.accumulate(table.column("event_ns").to_numpy()) if n else np.zeros(0, "i8")
    ids = table.column("id").to_numpy()
    if known:
        arrival = table.column("arrival_ns").to_numpy()
        rows["arrival_ns"] = np.maximum.accumulate(np.maximum(arrival, not_before_ns))
    else:
        rows["arrival_ns"] = delays.arrivals(event, seed, instrument.symbol, not_before_ns)
    rows["event_ns"] = table.column("event_ns").to_numpy()
    rows["kind"], rows["symbol"], rows["id"] = TRADE, symbol, ids
    maker = table.column("buyer_is_maker").to_numpy(zero_copy_only=False).astype(np.uint8)
    rows["flags"] = (0 if known else MODELLED) | maker * SELL
    rows["a"] = _units(
        table.column("price").to_numpy(), instrument.tick_decimals, instrument.tick_units, "price"
    )
    rows["b"] = _units(
        table.column("size").to_numpy(), instrument.lot_decimals, instrument.lot_units, "size"
    )
    rows["id2"] = 1
    if "first_id" in table.column_names:
        rows["id2"] = table.column("last_id").to_numpy() - table.column("first_id").to_numpy() + 1
    return rows


def bar_rows(
    table: pa.Table, series: Series, instrument: Instrument, symbol: int, delays: Delays, seed: int
) -> Rows:
    """BAR rows, each a header with its pack, known when the bar has closed."""
    n, step_ns = table.num_rows, INTERVALS_NS[series.interval]
    rows = empty_rows(2 * n)
    opened = table.column("open_ns").to_numpy()
    head = rows[::2]
    head["event_ns"] = opened + step_ns
    head["arrival_ns"] = delays.arrivals(opened + step_ns, seed, instrument.symbol)
    head["kind"], head["flags"], head["count"], head["symbol"] = BAR, MODELLED, 1, symbol
    head["id"], head["a"], head["b"] = opened, step_ns, 1
    head["id2"] = _whole(table, "trades")
    packs = as_words(rows)[1::2]
    tick = (instrument.tick_decimals, instrument.tick_units, "price")
    lot = (instrument.lot_decimals, instrument.lot_units, "volume")
    for at, name in enumerate(("open", "high", "low", "close")):
        packs[:, at] = _units(table.column(name).to_numpy(), *tick)
    packs[:, 4] = _units(table.column("volume").to_numpy(), *lot)
    packs[:, 5] = _units(_filled(table, "taker_buy_volume"), *lot)
    packs[:, 6] = _filled(table, "quote_volume").view(np.int64)
    packs[:, 7] = _filled(table, "taker_buy_quote_volume").view(np.int64)
    return rows


def metric_rows(table: pa.Table, symbol: int, name: str, delays: Delays, seed: int) -> Rows:
    """METRIC rows, one for each value that is there, in order of time."""
    as_of = table.column("event_ns").to_numpy()
    lag_ns = 0 if "rate" in table.column_names else METRIC_LAG_NS
    arrival = delays.arrivals(as_of + lag_ns, seed, name)
    parts = []
    for column, number in _METRICS.items():
        if column in table.column_names:
            values = _filled(table, column, np.nan)
            rows = empty_rows(int(np.isfinite(values).sum()))
            there = np.isfinite(values)
            rows["arrival_ns"], rows["event_ns"] = arrival[there], as_of[there]
            rows["id"], rows["kind"], rows["symbol"] = as_of[there], METRIC, symbol
            rows["flags"], rows["a"], rows["b"] = MODELLED, number, values[there].view(np.int64)
            parts.append(rows)
    rows = np.concatenate([empty_rows(), *parts])
    return rows[np.argsort(rows["arrival_ns"], kind="stable")]


def _whole(table: pa.Table, name: str) -> NDArray[np.int64]:
    return _filled(table, name).astype(np.int64)


def _filled(table: pa.Table, name: str, instead: float = 0.0) -> NDArray[np.float64]:
    """A column as float64; nulls, and columns that the source lacks, become `instead`."""
    if name not in table.column_names:
        return np.full(table.num_rows, instead)
    values = table.column(name).to_numpy().astype(np.float64)
    return np.ascontiguousarray(np.where(np.isnan(values), instead, values))
