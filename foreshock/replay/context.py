"""Context rows put into an input that has none: history out of archives, as if a supervisor had
been there (market/context.py, stores/series_book.py)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from foreshock.engine.step import Engine
from foreshock.market.context import GATHER_NS, Gatherer, GatherSettings, context_rows
from foreshock.market.jit import kernel
from foreshock.market.rows import (
    ARRIVAL,
    META,
    MODELLED,
    SEQ,
    WORDS,
    Rows,
    as_rows,
    as_words,
    empty_rows,
    heads,
)
from foreshock.market.words import count_of
from foreshock.stores.series import known_rows
from foreshock.stores.series_book import SeriesBook


@kernel
def _merge(
    words: NDArray[np.int64], more: NDArray[np.int64], seq: int, out: NDArray[np.int64]
) -> tuple[int, int, int]:
    """Write all of `words` and, in front of the first row of it that is later, each row of `more`,
    none of which has packs; headers are numbered from `seq`. Returns (rows written, rows of `more`
    taken, next number)."""
    i, j, k = 0, 0, 0
    while i < len(words):
        while j < len(more) and more[j, ARRIVAL] < words[i, ARRIVAL]:
            out[k] = more[j]
            out[k, SEQ] = seq
            j, k, seq = j + 1, k + 1, seq + 1
        stop = i + 1 + count_of(words[i, META])
        out[k] = words[i]
        out[k, SEQ] = seq
        i, k, seq = i + 1, k + 1, seq + 1
        while i < stop:
            out[k] = words[i]
            i, k = i + 1, k + 1
    return k, j, seq


def _merged(batch: Rows, more: Rows, seq: int) -> tuple[Rows, int, int]:
    """(both, rows of `more` taken, next number), as `_merge` says."""
    words, extra = as_words(batch), as_words(more)
    out = np.empty((len(words) + len(extra), WORDS), np.int64)
    n, taken, seq = _merge(words, extra, seq, out)
    return as_rows(out[:n]), taken, seq


def with_context(
    batches: Iterable[Rows], engine: Engine, settings: GatherSettings | None = None
) -> Iterator[Rows]:
    """The same rows, numbered anew, and behind each sampling boundary of one second the context of
    it, as late as it may be. What is told of a symbol is its tape: without one there is no context.

    engine   a cold one, which is used up: it says where the boundaries are and what was traded. Its
             features do not matter

    Raises SequenceError and RowError, as the engine does."""
    symbols = [instrument.symbol for instrument in engine.instruments]
    gatherer = Gatherer(symbols, settings)
    waiting, seq = empty_rows(), 0
    for batch in batches:
        told = [waiting]
        for boundary in engine.feed(batch):
            at_ns = boundary.boundary_ns
            body = gatherer.alone(at_ns, boundary.bill_inputs)
            due_ns = at_ns + GATHER_NS
            told.append(context_rows(body, len(symbols), at_ns, due_ns, due_ns, 0))
        more = np.concatenate(told)
        more["flags"] = MODELLED
        rows, taken, seq = _merged(batch, more, seq)
        waiting = more[taken:]
        yield rows


def with_series(batches: Iterable[Rows], book: SeriesBook) -> Iterator[Rows]:
    """The same rows, numbered anew, and the values of slow series as they became known. What was
    known before the first row comes with it, as a watcher is told at its start."""
    waiting, seq, until_ns = empty_rows(), 0, 0
    for batch in batches:
        if not len(batch):
            continue
        at = heads(batch)
        first_ns, last_ns = (int(batch["arrival_ns"][at[k]]) for k in (0, -1))
        if not until_ns:
            waiting, until_ns = known_rows(book.by(first_ns)), first_ns
            waiting["arrival_ns"] = first_ns
        more = np.concatenate([waiting, known_rows(book.between(until_ns, last_ns))])
        until_ns = last_ns
        rows, taken, seq = _merged(batch, more, seq)
        waiting = more[taken:]
        yield rows
