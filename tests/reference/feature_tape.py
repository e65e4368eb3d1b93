"""Turns the events of tests/reference/features.py into rows, and drives the families over them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from foreshock.features import catalog
from foreshock.market.rows import (
    DEPTH,
    EPOCH,
    QUOTE,
    SELL,
    TRADE,
    as_rows,
    as_words,
    empty_rows,
    heads,
)
from foreshock.market.touch import TOUCH_WORDS
from tests.reference.features import SECOND, Book, Event, Top, Trade

GARBAGE = (TRADE, QUOTE, EPOCH)  # pack rows behind a depth header, never to be read as rows
PACKS = len(GARBAGE)


def as_input(events: Sequence[Event]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(words, touch) of the events, in their order. Depth rows carry pack rows of garbage that
    would read as a trade, a quote and an epoch, and their touch records are garbage too."""
    rows = empty_rows(sum(1 + PACKS * (isinstance(e, Book) and not e.quote) for e in events))
    touch = np.zeros((len(rows), TOUCH_WORDS), np.int64)
    i = 0
    for seq, event in enumerate(events):
        row = rows[i]
        row["arrival_ns"], row["event_ns"], row["seq"] = event.at, event.at, seq
        row["symbol"] = event.symbol
        if isinstance(event, Trade):
            row["kind"], row["flags"] = TRADE, SELL if event.sell else 0
            row["a"], row["b"] = event.ticks, event.lots
        elif isinstance(event, Book):
            row["kind"] = QUOTE if event.quote else DEPTH
            if event.valid:
                touch[i] = [1, *event.touch, *event.ofi]
            if not event.quote:
                row["count"] = PACKS
                rows[i + 1 : i + 1 + PACKS]["kind"] = GARBAGE
                rows[i + 1 : i + 1 + PACKS]["a"] = 7
                rows[i + 1 : i + 1 + PACKS]["b"] = 7
                touch[i + 1 : i + 1 + PACKS] = 9
                i += PACKS
        else:
            row["kind"] = EPOCH
            row["a"], row["b"], row["c"] = event.state, event.number, event.family
        i += 1
    return as_words(rows), touch


def top_array(tops: dict[int, dict[int, Top]], boundary: int, n: int) -> NDArray[np.int64]:
    """The families' `top` at a boundary, from tops[symbol][boundary]."""
    out = np.zeros((n, 2, 5, 2), np.int64)
    for symbol in range(n):
        for side, levels in enumerate(tops[symbol][boundary]):
            for level, pair in enumerate(levels):
                out[symbol, side, level] = pair
    return out


def drive(
    events: Sequence[Event],
    boundaries: Iterable[int],
    tops: dict[int, dict[int, Top]],
    n: int,
    cuts: Sequence[int] = (),
) -> NDArray[np.float64]:
    """Vectors of all boundaries, float64 (boundaries, n, features), from the compiled families.

    Between two boundaries the rows are scanned in pieces, cut at `cuts` (numbers of header rows).
    """
    words, touch = as_input(events)
    index = heads(as_rows(words))
    cut_rows = sorted({int(index[c]) for c in cuts if c < len(index)})
    families = [family for _, family in catalog.FAMILIES]
    states = [family.init(n) for family in families]
    arrivals = words[index, 0]
    vectors, lo = [], 0
    for boundary in boundaries:
        inside = int(np.searchsorted(arrivals, boundary, side="left"))
        hi = int(index[inside]) if inside < len(index) else len(words)
        edges = [lo, *(c for c in cut_rows if lo < c < hi), hi]
        top = top_array(tops, boundary, n)
        columns = []
        for family, state in zip(families, states, strict=True):
            for a, b in pairwise(edges):
                family.scan(words, touch, a, b, state)
            out = np.full((n, len(family.SPECS)), -1e300)
            family.close(boundary, top, state, out)
            columns.append(out)
        vectors.append(np.concatenate(columns, axis=1))
        lo = hi
    return np.array(vectors)


def boundaries_of(start: int, seconds: int) -> list[int]:
    """`seconds` consecutive boundaries, the first one second after `start`."""
    return [start + (k + 1) * SECOND for k in range(seconds)]
