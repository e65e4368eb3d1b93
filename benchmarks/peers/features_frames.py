"""The sixteen features of `benchmarks/_tape.py` in pandas, polars and DuckDB, a process of its own.

    python features_frames.py pandas|polars|duckdb TAPE.npz OUT.npy

Says {"cpu_s": [one a round]} as a line for each "round" it reads, and writes the columns of the
last one. One thread each.
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np

WINDOWS = (5, 10, 30, 60, 300)


def by_pandas(tape):
    import pandas as pd

    frame = pd.DataFrame(
        {
            "symbol": tape["symbol"],
            "second": tape["second"],
            "signed": np.where(tape["sell"], -tape["lots"], tape["lots"]),
            "lots": tape["lots"],
            "side": np.where(tape["sell"], -1, 1),
            "trades": 1,
            "notional": tape["ticks"] * tape["lots"],
            "ticks": tape["ticks"],
        }
    )

    def work():
        grouped = frame.groupby(["second", "symbol"])
        names = ["signed", "lots", "side", "trades", "notional"]
        # A column a symbol: rolling over time is then one call for all of them.
        sums = grouped[names].sum().unstack("symbol", fill_value=0)
        last = grouped["ticks"].last().unstack("symbol")
        seconds = pd.RangeIndex(int(frame["second"].iloc[-1]) + 1)
        sums = sums.reindex(seconds, fill_value=0)
        last = last.reindex(seconds).ffill()
        rolled = {w: sums.rolling(w, min_periods=1).sum() for w in WINDOWS}
        squares = np.log(last / last.shift(1)) ** 2
        slow = squares.rolling(60).mean()
        fast = squares.rolling(10).mean()
        out = [rolled[w]["signed"] / rolled[w]["lots"] for w in WINDOWS]
        out += [rolled[w]["side"] / rolled[w]["trades"] for w in (10, 60)]
        out += [np.log1p(rolled[w]["trades"] / w) for w in (10, 60)]
        out.append((rolled[5]["trades"] * 12) / rolled[60]["trades"])
        out += [1e4 * (last * rolled[w]["lots"] / rolled[w]["notional"] - 1) for w in (30, 60)]
        out.append(1e4 * np.sqrt(slow))
        out += [1e4 * (last / last.shift(w) - 1) for w in (10, 60)]
        out.append(np.sqrt(fast / slow))
        columns = np.stack([np.asarray(column, dtype=np.float64).T for column in out], axis=2)
        return columns.reshape(-1, len(out))

    return work


def by_polars(tape):
    import polars as pl

    frame = pl.DataFrame(
        {name: tape[name] for name in ("symbol", "second", "ticks", "lots", "sell")}
    )

    def work():
        signed = pl.when("sell").then(-pl.col("lots")).otherwise("lots")
        side = pl.when("sell").then(-1).otherwise(1)
        sums = (
            frame.lazy()
            .group_by("symbol", "second")
            .agg(
                signed.sum().alias("signed"),
                pl.col("lots").sum(),
                side.sum().alias("side"),
                pl.len().alias("trades").cast(pl.Int64),
                (pl.col("ticks") * pl.col("lots")).sum().alias("notional"),
                pl.col("ticks").last().alias("last"),
            )
        )
        seconds = pl.LazyFrame({"second": np.arange(int(tape["second"][-1]) + 1)})
        symbols = pl.LazyFrame({"symbol": np.arange(int(tape["symbol"].max()) + 1)})
        cells = symbols.join(seconds, how="cross", maintain_order="left_right")
        key = ["symbol", "second"]
        grid = cells.join(sums, on=key, how="left", maintain_order="left").with_columns(
            pl.col("signed", "lots", "side", "trades", "notional").fill_null(0),
            pl.col("last").forward_fill().over("symbol").cast(pl.Float64),
        )

        def rolled(name, w):
            return pl.col(name).rolling_sum(w, min_samples=1).over("symbol")

        last = pl.col("last")
        before = last.shift(1).over("symbol")
        grid = grid.with_columns(((last / before).log() ** 2).alias("squares"))
        slow, fast = (pl.col("squares").rolling_mean(w).over("symbol") for w in (60, 10))
        columns = [rolled("signed", w) / rolled("lots", w) for w in WINDOWS]
        columns += [rolled("side", w) / rolled("trades", w) for w in (10, 60)]
        columns += [(rolled("trades", w) / w).log1p() for w in (10, 60)]
        columns.append((rolled("trades", 5) * 12) / rolled("trades", 60))
        columns += [1e4 * (last * rolled("lots", w) / rolled("notional", w) - 1) for w in (30, 60)]
        columns.append(1e4 * slow.sqrt())
        columns += [1e4 * (last / last.shift(w).over("symbol") - 1) for w in (10, 60)]
        columns.append((fast / slow).sqrt())
        named = [column.cast(pl.Float64).alias(str(k)) for k, column in enumerate(columns)]
        return grid.select(named).collect().to_numpy()

    return work


def by_duckdb(tape):
    import duckdb
    import pyarrow as pa

    ticks = pa.table(
        {name: tape[name] for name in ("symbol", "at_ns", "second", "ticks", "lots", "sell")}
    )
    connection = duckdb.connect()
    connection.execute("SET threads = 1")
    connection.register("ticks", ticks)

    by = "PARTITION BY symbol ORDER BY second"

    def over(name, w):
        return f"sum({name}) OVER ({by} ROWS {w - 1} PRECEDING)"

    def ago(w):
        return f"lag(last, {w}) OVER ({by})"

    def mean(w):
        return f"avg(squares) OVER ({by} ROWS {w - 1} PRECEDING)"

    columns = [f"{over('signed', w)} / {over('lots', w)}" for w in WINDOWS]
    columns += [f"{over('side', w)} / {over('trades', w)}" for w in (10, 60)]
    columns += [f"ln(1 + {over('trades', w)} / {w}.0)" for w in (10, 60)]
    columns.append(f"{over('trades', 5)} * 12 / {over('trades', 60)}")
    columns += [f"1e4 * (last * {over('lots', w)} / {over('notional', w)} - 1)" for w in (30, 60)]
    columns.append(f"1e4 * sqrt({mean(60)})")
    columns += [f"1e4 * (last / {ago(w)} - 1)" for w in (10, 60)]
    columns.append(f"sqrt({mean(10)} / {mean(60)})")
    chosen = ", ".join(f"({text})::DOUBLE AS c{k}" for k, text in enumerate(columns))
    query = f"""
        WITH sums AS (
            SELECT symbol, second, sum(CASE WHEN sell THEN -lots ELSE lots END) AS signed,
                   sum(lots) AS lots, sum(CASE WHEN sell THEN -1 ELSE 1 END) AS side,
                   count(*) AS trades, sum(ticks * lots) AS notional, arg_max(ticks, at_ns) AS last
            FROM ticks GROUP BY symbol, second
        ), grid AS (
            SELECT s.symbol, g.second, coalesce(signed, 0) AS signed, coalesce(lots, 0) AS lots,
                   coalesce(side, 0) AS side, coalesce(trades, 0) AS trades,
                   coalesce(notional, 0) AS notional,
                   last_value(last IGNORE NULLS)
                       OVER (PARTITION BY s.symbol ORDER BY g.second)::DOUBLE AS last
            FROM range(0, {int(tape["symbol"].max()) + 1}) AS s(symbol)
            CROSS JOIN range(0, {int(tape["second"][-1]) + 1}) AS g(second)
            LEFT JOIN sums ON sums.second = g.second AND sums.symbol = s.symbol
        ), moved AS (
            SELECT *, ln(last / {ago(1)}) ** 2 AS squares FROM grid
        )
        SELECT {chosen} FROM moved ORDER BY symbol, second
    """

    def work():
        found = connection.execute(query).fetch_arrow_table()
        return np.stack([column.to_numpy() for column in found.columns], axis=1)

    return work


def main() -> None:
    """See the head of this file."""
    name, source, out = sys.argv[1:]
    with np.load(source) as found:
        tape = {key: found[key] for key in found.files}
    work = {"pandas": by_pandas, "polars": by_polars, "duckdb": by_duckdb}[name](tape)
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        if line.strip() != "round":
            continue
        started = time.process_time()
        columns = work()
        taken = time.process_time() - started
        np.save(out, columns)
        print(json.dumps({"cpu_s": taken}), flush=True)


if __name__ == "__main__":
    main()
