"""Turns the events of tests/reference/features.py into rows, and drives the families over them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from foreshock.features.catalog import FeatureSet
from foreshock.features.settings import FeatureSettings
from foreshock.market import ladder as books
from foreshock.market.instruments import SPOT, Instrument
from foreshock.market.rows import (
    BAR,
    CONTEXT,
    DEPTH,
    EPOCH,
    LIQUIDATION,
    MARK,
    METRIC,
    QUOTE,
    SELL,
    SYNCED,
    TRADE,
    Rows,
    as_rows,
    as_words,
    empty_rows,
    heads,
)
from foreshock.market.touch import TOUCH_WORDS
from tests.reference.features import (
    SECOND,
    Bar,
    Book,
    Context,
    Epoch,
    Event,
    Liquidation,
    Mark,
    Metric,
    Top,
    Trade,
)

GARBAGE = (TRADE, QUOTE, EPOCH)  # pack rows behind a depth header, never to be read as rows
PACKS = len(GARBAGE)


def instruments(n: int) -> list[Instrument]:
    """n symbols of one tick of 0.01 and one lot of 0.001."""
    return [Instrument.of(f"S{k}USDT", SPOT, "0.01", "0.001") for k in range(n)]


def _bits(value: float) -> int:
    return int(np.float64(value).view(np.int64))


def _room(event: Event) -> int:
    if isinstance(event, Bar):
        return 2
    return 1 + PACKS * (isinstance(event, Book) and not event.quote)


def as_input(events: Sequence[Event]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(words, touch) of the events, in their order. Depth rows carry pack rows of garbage that
    would read as a trade, a quote and an epoch, and their touch records are garbage too."""
    rows = empty_rows(sum(_room(event) for event in events))
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
        elif isinstance(event, Epoch):
            row["kind"] = EPOCH
            row["a"], row["b"], row["c"] = event.state, event.number, event.family
        else:
            _fact(rows, i, event)
        i += _room(event)
    return as_words(rows), touch


def _fact(rows: Rows, i: int, event: Bar | Mark | Metric | Liquidation | Context) -> None:
    row = rows[i]
    if isinstance(event, Bar):
        row["kind"], row["count"] = BAR, 1
        row["id"], row["id2"] = event.opened, event.trades
        row["a"], row["b"] = event.seconds * SECOND, int(event.closed)
        bought = 0 if event.bought is None else event.bought
        as_words(rows[i + 1 : i + 2])[0] = [*event.ohlc, event.lots, bought, 0, 0, 0, 0]
    elif isinstance(event, Mark):
        row["kind"], row["id"] = MARK, event.next_funding
        row["a"], row["b"], row["c"] = map(_bits, (event.mark, event.index, event.funding))
    elif isinstance(event, Metric):
        row["kind"], row["id"] = METRIC, event.as_of
        row["a"], row["b"] = event.field, _bits(event.value)
    elif isinstance(event, Liquidation):
        row["kind"], row["flags"] = LIQUIDATION, SELL if event.long else 0
        row["a"], row["b"], row["c"] = event.ticks, event.lots, _bits(float(event.ticks))
    else:
        row["kind"], row["id"], row["id2"] = CONTEXT, event.at, event.boundary
        row["a"], row["b"] = event.field, _bits(event.value)


def ladder_with(tops: dict[int, dict[int, Top]], boundary: int, ladder: books.Ladder) -> None:
    """Make the ladder what tops[symbol][boundary] says: SYNCED, with these levels and no others,
    known over its whole window."""
    ladder.top[:], ladder.info[:] = 0, 0
    for symbol in range(len(ladder.top)):
        if ladder.bits[symbol].any():
            ladder.lots[symbol], ladder.bits[symbol] = 0, 0
        info = ladder.info[symbol]
        info[books.I_STATE], info[books.I_KNOWN_HIGH] = SYNCED, books.WINDOW - 1
        for side, levels in enumerate(tops[symbol][boundary]):
            ladder.top[symbol, side, : len(levels)] = levels[: books.OFI_LEVELS] or 0
            best = (books.I_BEST_BID, books.I_BEST_ASK)[side]
            info[best] = levels[0][0] if levels else 0
            for ticks, lots in levels:
                ladder.lots[symbol, side, ticks] = lots
                ladder.bits[symbol, side, ticks >> 6] |= np.uint64(1 << (ticks & 63))


def drive(
    events: Sequence[Event],
    boundaries: Iterable[int],
    tops: dict[int, dict[int, Top]],
    n: int,
    cuts: Sequence[int] = (),
    features: FeatureSettings | None = None,
) -> NDArray[np.float64]:
    """Vectors of all boundaries, float64 (boundaries, n, features), from the compiled families,
    those of the whole catalogue unless `features` says which.

    Between two boundaries the rows are scanned in pieces, cut at `cuts` (numbers of header rows).
    """
    words, touch = as_input(events)
    index = heads(as_rows(words))
    cut_rows = sorted({int(index[c]) for c in cuts if c < len(index)})
    chosen = FeatureSet(features or FeatureSettings())
    states, ladder = chosen.init(instruments(n)), books.init(n)
    arrivals = words[index, 0]
    vectors, lo = [], 0
    for boundary in boundaries:
        inside = int(np.searchsorted(arrivals, boundary, side="left"))
        hi = int(index[inside]) if inside < len(index) else len(words)
        edges = [lo, *(c for c in cut_rows if lo < c < hi), hi]
        ladder_with(tops, boundary, ladder)
        columns = []
        for (_, family, given), state in zip(chosen.families, states, strict=True):
            for a, b in pairwise(edges):
                family.scan(words, touch, a, b, state)
            out = np.full((n, len(family.specs(given))), -1e300)
            family.close(boundary, ladder, state, out)
            columns.append(out)
        vectors.append(np.concatenate(columns, axis=1))
        lo = hi
    return np.array(vectors)


def boundaries_of(start: int, seconds: int) -> list[int]:
    """`seconds` consecutive boundaries, the first one second after `start`."""
    return [start + (k + 1) * SECOND for k in range(seconds)]
