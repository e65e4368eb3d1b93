"""Rows as Arrow tables and back, word for word.

One table row per header (or single) row, with its ten int64 words; the pack rows behind a header
become two lists on it, `prices` and `sizes`, padding included. Apart, each column is of one nature:
recorded frames take 1.5 to 1.7 times less room than as ten columns of all words, pack rows among
them (BTCUSDT, July 2024: 37 bytes a frame; the frames themselves 50, gzipped).
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from foreshock.errors import RecordingError, RowError
from foreshock.market.rows import (
    KIND_NAMES,
    LEVELS_PER_PACK,
    META,
    WORDS,
    Rows,
    Words,
    as_rows,
    as_words,
)

COLUMNS: Final = ("arrival_ns", "event_ns", "seq", "meta", "id", "id2", "a", "b", "c", "d")
# Chosen column by column on recorded frames: delta for what rises slowly, plain zstd for ids,
# payload and levels, where delta and dictionaries only cost room. Byte streams would take 15 % less
# for the levels, but DuckDB 1.5 reads them for floats only.
ENCODINGS: Final[dict[str, Any]] = {
    "compression_level": 6,
    "use_dictionary": ["meta"],
    "column_encoding": {
        **dict.fromkeys(("arrival_ns", "event_ns", "seq"), "DELTA_BINARY_PACKED"),
        **dict.fromkeys(("id", "id2", "a", "b", "c", "d"), "PLAIN"),
        **dict.fromkeys(("prices.list.element", "sizes.list.element"), "PLAIN"),
    },
}
_KNOWN: Final = np.isin(np.arange(256), list(KIND_NAMES))


def pack_mask(words: Words) -> NDArray[np.bool_]:
    """Which rows are pack rows, bool (n,). As `market.rows.heads`, which walks row by row: this one
    only stops where a row has packs. Raises RowError as that does."""
    counts = (words[:, META] >> 16) & 0xFFFF
    turns = np.zeros(len(words) + 1, dtype=np.int8)
    end = 0
    stops = np.flatnonzero(counts)
    for i, count in zip(stops.tolist(), counts[stops].tolist(), strict=True):
        if i < end:
            continue  # a pack row, whose words are levels
        end = i + 1 + count
        if end > len(words):
            raise RowError(f"the header at row {i} announces rows beyond the end ({end})")
        turns[i + 1] += 1
        turns[end] -= 1
    packs: NDArray[np.bool_] = np.cumsum(turns[:-1]).astype(np.bool_)
    unknown = ~packs & ~_KNOWN[words[:, META] & 0xFF]
    if unknown.any():
        row = int(np.argmax(unknown))
        raise RowError(f"row {row} has the unknown kind {int(words[row, META]) & 0xFF}")
    return packs


def to_table(rows: Rows) -> pa.Table:
    """The table of `rows`. Raises RowError where they break the data language."""
    words = as_words(rows)
    is_pack = pack_mask(words)
    singles = words[~is_pack]
    columns = {
        name: pa.array(np.ascontiguousarray(singles[:, i])) for i, name in enumerate(COLUMNS)
    }
    levels = words[is_pack].reshape(-1, 2)
    ends = np.cumsum((singles[:, META] >> 16) & 0xFFFF) * LEVELS_PER_PACK
    offsets = pa.array(np.concatenate([[0], ends]).astype(np.int32))
    for i, name in enumerate(("prices", "sizes")):
        values = pa.array(np.ascontiguousarray(levels[:, i]))
        columns[name] = pa.ListArray.from_arrays(offsets, values)
    return pa.table(columns)


def from_table(table: pa.Table) -> Rows:
    """The rows of a table, the inverse of `to_table`. Raises RecordingError where it is none."""
    try:
        singles = np.stack([table.column(name).to_numpy() for name in COLUMNS], axis=1)
        prices, sizes = (_flat(table.column(name)) for name in ("prices", "sizes"))
    except (KeyError, ValueError, pa.ArrowException) as error:
        raise RecordingError(f"not a table of rows: {error}") from error
    packs = (singles[:, META] >> 16) & 0xFFFF  # the word's third and fourth byte: count
    starts = np.concatenate([[0], np.cumsum(1 + packs)]).astype(np.int64)
    if len(prices) != len(sizes) or len(prices) != int(packs.sum()) * LEVELS_PER_PACK:
        raise RecordingError(f"{len(prices)} levels, headers announce {int(packs.sum())} packs")
    out: Words = np.empty((int(starts[-1]), WORDS), dtype=np.int64)
    is_pack = np.ones(len(out), dtype=np.bool_)
    is_pack[starts[:-1]] = False
    out[starts[:-1]] = singles
    out[is_pack] = np.stack([prices, sizes], axis=1).reshape(-1, WORDS)
    return as_rows(out)


def _flat(column: pa.ChunkedArray) -> Words:
    flat: Words = pa.chunked_array([chunk.flatten() for chunk in column.chunks]).to_numpy()
    return flat
