"""Rows, vectors and labels as tables of the cold store, in the columns that people ask for. `rows`
keeps every word; trades, bars and metrics are drawn from it, prices and sizes in real units."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from foreshock.market.clock import MS_NS
from foreshock.market.instruments import Instrument
from foreshock.market.rows import (
    ALL,
    ARRIVAL,
    BAR,
    EVENT,
    ID,
    ID2,
    INSTRUMENT,
    LIQUIDATION,
    MARK,
    META,
    METRIC,
    METRIC_NAMES,
    SELL,
    SEQ,
    TRADE,
    A,
    B,
    C,
    D,
    Rows,
    Words,
    as_words,
)
from foreshock.stores.row_tables import pack_mask, to_table
from foreshock.stores.schema import TABLES, Batch

_BILL: Final = ("bid", "ask", "volatility_1s", "volume_60s")
_MARKS: Final = ((A, "mark_price"), (B, "index_price"), (C, "funding_rate_estimate"))
_SIDES: Final = pa.array(["buy", "sell"])


def coded(words: Sequence[str], codes: NDArray[Any]) -> pa.DictionaryArray:
    """`words[code]` for each code, as Arrow keeps words that repeat."""
    return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32)), pa.array(list(words)))


class RowTables:
    """Draws tables from the rows of one shard, in order: instruments change on the way."""

    def __init__(self, instruments: Sequence[Instrument], shard: str) -> None:
        self._symbols = [*(each.symbol for each in instruments), ""]  # the last one is ALL's
        self._shard = shard
        # Units and powers of ten of a tick and of a lot, by symbol.
        self._scales = np.array(
            [
                (i.tick_units, 10.0**i.tick_decimals, i.lot_units, 10.0**i.lot_decimals)
                for i in instruments
            ]
            or np.zeros((0, 4)),
            dtype=np.float64,
        )

    def draw(self, rows: Rows) -> dict[str, pa.Table]:
        """The tables that `rows` have anything for, headers with their packs. Raises RowError where
        they break the data language."""
        words = as_words(rows)
        at = np.flatnonzero(~pack_mask(words))
        heads = words[at]
        symbol = heads[:, META] >> 32
        price, qty = self._units(heads, symbol)
        kind = heads[:, META] & 0xFF
        made = {"rows": to_table(rows)}
        made["rows"] = self._placed(made["rows"], heads, "rows")
        for name, draw in (("trades", self._trades), ("bars", self._bars)):
            made[name] = draw(words, at, heads, kind, price, qty)
        made["metrics"] = self._metrics(heads, kind, price, qty)
        return {name: table for name, table in made.items() if len(table)}

    def _units(self, heads: Words, symbol: NDArray[np.int64]) -> tuple[Any, Any]:
        """(tick, lot) units of each row, each (units, power of ten); an INSTRUMENT row changes its
        symbol's from there on."""
        known = np.vstack([self._scales, np.ones((1, 4))])  # ALL (-1) takes the last line
        scales = known[symbol]
        for i in np.flatnonzero((heads[:, META] & 0xFF) == INSTRUMENT):
            tick_decimals, tick_units, lot_decimals, lot_units = heads[i, [A, B, C, D]].tolist()
            s = int(symbol[i])
            if s == ALL or tick_units <= 0 or lot_units <= 0:
                continue
            scale = (tick_units, 10.0**tick_decimals, lot_units, 10.0**lot_decimals)
            scales[i:][symbol[i:] == s] = scale
            self._scales[s] = scale
        return scales[:, :2], scales[:, 2:]

    def _placed(self, table: pa.Table, heads: Words, name: str) -> pa.Table:
        """`table` of the rows `heads` with the columns that every table has, in its order."""
        codes = heads[:, META] >> 32
        codes = np.where(codes == ALL, len(self._symbols) - 1, codes)
        table = table.append_column("symbol", coded(self._symbols, codes))
        table = table.append_column("shard", coded([self._shard], np.zeros(len(heads))))
        if "seq" not in table.column_names:
            table = table.append_column("seq", pa.array(heads[:, SEQ]))
        if "event_ns" in TABLES[name].columns and "event_ns" not in table.column_names:
            table = table.append_column("event_ns", pa.array(heads[:, EVENT]))
        if "arrival_ns" not in table.column_names:
            table = table.append_column("arrival_ns", pa.array(heads[:, ARRIVAL]))
        if "flags" in TABLES[name].columns:
            flags = ((heads[:, META] >> 8) & 0xFF).astype(np.uint8)
            table = table.append_column("flags", pa.array(flags))
        return table.select(list(TABLES[name].columns))

    def _trades(
        self, _words: Words, _at: Any, heads: Words, kind: Any, price: Any, qty: Any
    ) -> pa.Table:
        one = kind == TRADE
        heads, price, qty = heads[one], price[one], qty[one]
        drawn = pa.table(
            {
                "ts": heads[:, EVENT] // MS_NS,
                "price": _real(heads[:, A], price),
                "qty": _real(heads[:, B], qty),
                "side": pa.DictionaryArray.from_arrays(
                    pa.array(((heads[:, META] >> 8) & SELL).astype(np.int32)), _SIDES
                ),
                "price_ticks": heads[:, A].copy(),
                "size_lots": heads[:, B].copy(),
                "trade_id": heads[:, ID].copy(),
            }
        )
        return self._placed(drawn, heads, "trades")

    def _bars(
        self, words: Words, at: Any, heads: Words, kind: Any, price: Any, qty: Any
    ) -> pa.Table:
        """Bars that are closed: the open ones before are in `rows`."""
        one = (kind == BAR) & (heads[:, B] == 1)
        pack = words[at[one] + 1] if one.any() else words[:0]
        heads, price, qty = heads[one], price[one], qty[one]
        names = ("open", "high", "low", "close")
        quote = np.ascontiguousarray(pack[:, 6:8]).view(np.float64)
        drawn = pa.table(
            {
                "open_ns": heads[:, ID].copy(),
                "fills": heads[:, ID2].copy(),
                "interval_ns": heads[:, A].copy(),
                **{name: _real(pack[:, i], price) for i, name in enumerate(names)},
                "volume": _real(pack[:, 4], qty),
                "taker_buy_volume": _real(pack[:, 5], qty),
                "quote_volume": quote[:, 0].copy(),
                "taker_buy_quote_volume": quote[:, 1].copy(),
            }
        )
        return self._placed(drawn, heads, "bars")

    def _metrics(self, heads: Words, kind: Any, price: Any, qty: Any) -> pa.Table:
        """METRIC rows by their names; a MARK's three numbers; a LIQUIDATION's notional in quote
        currency as liquidated_long or liquidated_short. NaN is not kept."""
        values = heads.view(np.float64)
        parts: list[tuple[NDArray[np.int64], str, NDArray[np.float64]]] = []
        for field, name in METRIC_NAMES.items():
            at = np.flatnonzero((kind == METRIC) & (heads[:, A] == field))
            parts.append((at, name, values[at, B]))
        for column, name in _MARKS:
            at = np.flatnonzero(kind == MARK)
            parts.append((at, name, values[at, column]))
        sold = ((heads[:, META] >> 8) & SELL).astype(np.bool_)
        for name, which in (("liquidated_long", sold), ("liquidated_short", ~sold)):
            at = np.flatnonzero((kind == LIQUIDATION) & which)
            notional = _real(heads[at, A], price[at]) * _real(heads[at, B], qty[at])
            parts.append((at, name, notional))
        at = np.concatenate([part[0] for part in parts])
        found = np.concatenate([part[2] for part in parts])
        code = np.repeat(np.arange(len(parts)), [len(part[0]) for part in parts])
        keep = np.flatnonzero(~np.isnan(found))
        keep = keep[np.argsort(at[keep], kind="stable")]
        at, found, code = at[keep], found[keep], code[keep]
        heads = heads[at]
        as_of = np.where(kind[at] == METRIC, heads[:, ID], heads[:, EVENT])
        names = [part[1] for part in parts]
        drawn = pa.table({"field": coded(names, code), "value": found, "as_of_ns": as_of})
        return self._placed(drawn, heads, "metrics")


def _real(integers: NDArray[np.int64], scale: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ticks or lots in currency: one division, correctly rounded as `Instrument.price`."""
    out: NDArray[np.float64] = integers * scale[:, 0] / scale[:, 1]
    return out


def vectors_table(
    boundaries: Sequence[Any],
    symbols: Sequence[str],
    names: Sequence[str],
    fingerprint: str,
    shard: str,
) -> pa.Table:
    """Boundaries as rows of `vectors`, a row for each symbol at each.

    boundaries   `foreshock.engine.outcomes.Boundary`s of the same n symbols, in order
    names        k feature names, a column `feature_<name>` each; NaN stays NaN
    `seq` is the boundary itself: one row of input may close two."""
    n = len(symbols)
    at = np.repeat(np.array([b.boundary_ns for b in boundaries], np.int64), n)
    count = len(boundaries)
    inputs = np.concatenate([b.bill_inputs for b in boundaries])
    vectors = np.concatenate([b.vectors for b in boundaries]).astype(np.float32, copy=False)
    states = {
        name: np.concatenate([getattr(b, name) for b in boundaries])
        for name in ("book_state", "book_epoch", "tape_epoch")
    }
    return pa.table(
        {
            "symbol": coded(symbols, np.tile(np.arange(n), count)),
            "shard": coded([shard], np.zeros(n * count)),
            "seq": at,
            "boundary_ns": at,
            "fingerprint": coded([fingerprint], np.zeros(n * count)),
            **states,
            **{name: np.ascontiguousarray(inputs[name]) for name in _BILL},
            **{
                f"feature_{name}": np.ascontiguousarray(vectors[:, k])
                for k, name in enumerate(names)
            },
        }
    )


def labels_table(made: Any) -> tuple[pa.Table, Batch]:
    """A dataset's labels as rows of `labels`, a row for each of its n rows and H horizons.

    made   a `foreshock.models.dataset.TrainingSet`; its fingerprint is the shard, so that the same
           dataset made again adds nothing. Censored labels are -1, their outcome NaN."""
    n, horizons = made.labels.shape
    shard = f"dataset@{made.fingerprint}"
    label_fingerprint = str(made.manifest["label_fingerprint"])
    flat = ("t1_ns", "outcome_bps", "far_bps", "near_bps", "bill_bps")
    table = pa.table(
        {
            "symbol": coded(made.symbols, np.repeat(made.symbol, horizons)),
            "shard": coded([shard], np.zeros(n * horizons)),
            "seq": np.repeat(np.arange(n), horizons),
            "t0_ns": np.repeat(made.t0_ns, horizons),
            "horizon_s": np.tile(np.array(made.horizons_s, np.int64), n),
            "fingerprint": coded([label_fingerprint], np.zeros(n * horizons)),
            "label": made.labels.ravel(),
            **{name: np.ascontiguousarray(getattr(made, name)).ravel() for name in flat},
        }
    )
    return table, Batch(shard, 0, n - 1)
