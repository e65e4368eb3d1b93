"""From a recorder's batches to the cold store: drawn into tables, gathered, appended.

Files of two seconds would be too many, so that rows are held until there are `hold_rows` of them or
the first is `hold_s` old by the rows' own clock. What is held when a process is killed is in the
recording, and `foreshock store load` brings it: batches are named by what they hold, and only what
is missing is added.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import pyarrow as pa

from foreshock.market.clock import SECOND_NS
from foreshock.market.instruments import Instrument
from foreshock.market.rows import Rows
from foreshock.stores.cold_tables import RowTables, vectors_table
from foreshock.stores.schema import TABLES, Batch
from foreshock.stores.spill import Sink

ROW_TABLES: Final = ("rows", "trades", "bars", "metrics")


class ColdWriter:
    """Writes one shard: one life of one recorder, whose rows come in the order of their seqs.

    sink    a cold store, or a `Spill` before one
    tables  which tables are kept
    """

    def __init__(
        self,
        sink: Sink,
        instruments: Sequence[Instrument],
        shard: str,
        *,
        tables: Sequence[str] = tuple(TABLES),
        hold_rows: int = 200_000,
        hold_s: float = 30.0,
    ) -> None:
        self.shard = shard
        self._sink = sink
        self._symbols = [each.symbol for each in instruments]
        self._draw = RowTables(instruments, shard)
        self._tables = frozenset(tables)
        self._hold_rows, self._hold_ns = hold_rows, int(hold_s * SECOND_NS)
        self._held: dict[str, list[pa.Table]] = {}
        self._first_seq, self._last_seq, self._since_ns, self._n_rows = -1, -1, 0, 0
        self._vectors: list[pa.Table] = []

    def write(self, rows: Rows) -> None:
        """Take a batch of rows, headers with their packs. Raises RowError where they break the data
        language, and what the sink raises."""
        if not len(rows):
            return
        drawn = self._draw.draw(rows)
        seqs = drawn["rows"].column("seq")
        if self._first_seq < 0:
            self._first_seq, self._since_ns = seqs[0].as_py(), int(rows["arrival_ns"][0])
        self._last_seq = seqs[-1].as_py()
        for name, table in drawn.items():
            if name in self._tables:
                self._held.setdefault(name, []).append(table)
        self._n_rows += len(rows)
        newest_ns = drawn["rows"].column("arrival_ns")[-1].as_py()
        if self._n_rows >= self._hold_rows or newest_ns - self._since_ns >= self._hold_ns:
            self.flush()

    def write_boundaries(
        self, boundaries: Sequence[Any], names: Sequence[str], fingerprint: str
    ) -> None:
        """Take boundaries with the names of their features; they go with the next rows."""
        if boundaries and "vectors" in self._tables:
            made = vectors_table(boundaries, self._symbols, names, fingerprint, self.shard)
            self._vectors.append(made)

    def flush(self) -> None:
        """Hand over what is held."""
        held, self._held = self._held, {}
        if self._first_seq >= 0:
            batch = Batch(self.shard, self._first_seq, self._last_seq)
            for name in ROW_TABLES:
                if name in held:
                    self._sink.append(name, pa.concat_tables(held[name]), batch)
        vectors, self._vectors = self._vectors, []
        if vectors:
            made = pa.concat_tables(vectors)
            at = made.column("seq")
            self._sink.append("vectors", made, Batch(self.shard, at[0].as_py(), at[-1].as_py()))
        self._first_seq, self._n_rows = -1, 0
