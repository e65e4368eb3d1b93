"""The cold store: vectors kept for training, in partitioned Parquet, asked in SQL.

    vectors/date=YYYY-MM-DD/symbol=BTCUSDT/<first boundary>-<last boundary>.parquet

One writer per directory. Files appear whole or not at all and are named by what is in them, so a
batch that is written again lands on itself. Small files are many after a while: `compact` makes one
of a partition. Readers take a boundary that is in two files once, so they may read meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import duckdb
import numpy as np
import pyarrow as pa

from foreshock.errors import StoreError
from foreshock.market.clock import SECOND_NS
from foreshock.stores.files import finished, read_table, write_table

_BILL: Final = ("bid", "ask", "volatility_1s", "volume_60s")
_VIEW: Final = """
CREATE OR REPLACE VIEW vectors AS
SELECT * EXCLUDE (filename) FROM read_parquet(
  '{glob}', hive_partitioning = true, union_by_name = true, filename = true,
  hive_types = {{'date': DATE, 'symbol': VARCHAR}})
QUALIFY row_number() OVER (PARTITION BY symbol, boundary_ns ORDER BY filename) = 1
"""


class ColdStore:
    """Vectors on disk below `directory`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def write_vectors(
        self,
        boundaries: Sequence[Any],
        symbols: Sequence[str],
        names: Sequence[str],
        fingerprint: str,
    ) -> None:
        """Keep boundaries, each symbol's apart: hand it minutes of them, not one.

        boundaries   `foreshock.engine.outcomes.Boundary`s of the same n symbols, in order
        names        k feature names; a column each, NaN kept as NaN
        fingerprint  of the layout
        Raises StoreError where the disk refuses."""
        days: dict[str, list[Any]] = {}
        for boundary in boundaries:
            days.setdefault(_day(int(boundary.boundary_ns)), []).append(boundary)
        for day, group in days.items():
            at = np.array([b.boundary_ns for b in group], dtype=np.int64)
            vectors = np.stack([b.vectors for b in group])
            for i, symbol in enumerate(symbols):
                table = pa.table(
                    {
                        "boundary_ns": at,
                        "fingerprint": pa.array([fingerprint] * len(at)).dictionary_encode(),
                        **{
                            name: np.array([getattr(b, name)[i] for b in group])
                            for name in ("book_state", "book_epoch", "tape_epoch")
                        },
                        **{
                            name: np.array([b.bill_inputs[name][i] for b in group])
                            for name in _BILL
                        },
                        **{
                            f"feature_{name}": np.ascontiguousarray(vectors[:, i, k])
                            for k, name in enumerate(names)
                        },
                    }
                )
                write_table(self._partition(day, symbol) / _name(at), table)

    def compact(self, day: str, symbol: str) -> int:
        """Make one file of a partition; how many there were. `day` as YYYY-MM-DD."""
        folder = self._partition(day, symbol)
        paths = finished(folder, "*.parquet")
        if len(paths) < 2:
            return len(paths)
        table = pa.concat_tables([read_table(path) for path in paths], promote_options="default")
        _, first_seen = np.unique(table.column("boundary_ns").to_numpy(), return_index=True)
        table = table.take(pa.array(first_seen))
        whole = folder / _name(table.column("boundary_ns").to_numpy())
        write_table(whole, table)
        for path in paths:
            if path != whole:
                path.unlink()
        return len(paths)

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> pa.Table:
        """Ask in DuckDB's SQL over the view `vectors` (boundary_ns, date, symbol, fingerprint,
        epochs, touch, `feature_…`). Raises StoreError where it cannot be answered."""
        root = self.directory / "vectors"
        try:
            with duckdb.connect(config={"threads": 1}) as connection:
                if any(root.glob("*/*/*.parquet")):
                    glob = f"{root}/date=*/symbol=*/[0-9]*.parquet".replace("'", "''")
                    connection.execute(_VIEW.format(glob=glob))
                return connection.execute(sql, list(parameters)).to_arrow_table()
        except duckdb.Error as error:
            raise StoreError(f"{sql!r}: {error}") from error

    def _partition(self, day: str, symbol: str) -> Path:
        return self.directory / "vectors" / f"date={day}" / f"symbol={symbol}"


def _day(boundary_ns: int) -> str:
    return datetime.fromtimestamp(boundary_ns // SECOND_NS, UTC).date().isoformat()


def _name(boundaries_ns: Any) -> str:
    return f"{boundaries_ns[0]:020d}-{boundaries_ns[-1]:020d}.parquet"
