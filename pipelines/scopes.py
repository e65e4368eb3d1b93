"""Whom a model is for: all symbols, a group of like liquidity, or one symbol.

Every scope is cut at the same times as the whole: its folds are the whole's, with its own symbols'
rows. So no scope sees what the judge keeps, and the scopes' figures can be laid side by side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

import numpy as np
from numpy.typing import NDArray

from foreshock.errors import DatasetError
from foreshock.models.dataset import TrainingSet
from foreshock.validation.search import POOLED, SearchSettings
from foreshock.validation.walk_forward import Fold

GROUPS = ("low", "middle", "high")


@dataclass(frozen=True, slots=True)
class Scope:
    """A name ("pooled", "group:high", "symbol:BTCUSDT") and the numbers of its symbols, ascending
    indices into `TrainingSet.symbols`."""

    name: str
    symbols: tuple[int, ...]

    def rows(self, data: TrainingSet) -> NDArray[np.int64]:
        """Its rows of `data`, in order."""
        if len(self.symbols) == len(data.symbols):
            return np.arange(len(data))
        return np.flatnonzero(np.isin(data.symbol, self.symbols)).astype(np.int64)

    def fold(self, whole: Fold, data: TrainingSet) -> Fold:
        """Its part of a fold of the whole; parts may come out empty."""
        if len(self.symbols) == len(data.symbols):
            return whole
        mine = {
            name: rows[np.isin(data.symbol[rows], self.symbols)]
            for name, rows in whole.parts.items()
        }
        return replace(whole, **mine)


def scopes_of(data: TrainingSet, folds: Sequence[Fold], settings: SearchSettings) -> list[Scope]:
    """The scopes that `settings` name: pooled first, then groups, then symbols, by name.

    data   what the sweep may see, whose first fold's training part tells who is how liquid

    Raises DatasetError on groups that name a symbol twice or one that is not there, and where three
    groups are asked of fewer than three symbols.
    """
    out = []
    kinds = set(settings.scopes)
    if POOLED in kinds:
        out.append(Scope(POOLED, tuple(range(len(data.symbols)))))
    if "group" in kinds:
        groups = _given(data, settings) if settings.groups else _terciles(data, folds[0], settings)
        out += [Scope(f"group:{name}", members) for name, members in groups.items()]
    if "symbol" in kinds:
        out += [
            Scope(f"symbol:{name}", (number,))
            for name, number in sorted((name, i) for i, name in enumerate(data.symbols))
        ]
    return out


def liquidity(data: TrainingSet, rows: NDArray[np.int64], settings: SearchSettings) -> list[float]:
    """How liquid each symbol is, from `rows`; more is more liquid, only the order means anything.
    A symbol without rows is the least liquid."""
    found = next(
        (name for p in settings.liquidity for name in data.feature_names if fnmatchcase(name, p)),
        None,
    )
    if found is None:
        values = -data.bill_bps[rows].astype(np.float64).mean(axis=1)
    else:
        values = data.X[rows, data.feature_names.index(found)].astype(np.float64)
    out = []
    for number in range(len(data.symbols)):
        known = values[(data.symbol[rows] == number) & np.isfinite(values)]
        out.append(float(np.median(known)) if len(known) else -np.inf)
    return out


def _terciles(
    data: TrainingSet, first: Fold, settings: SearchSettings
) -> dict[str, tuple[int, ...]]:
    count = len(data.symbols)
    if count < len(GROUPS):
        raise DatasetError(f"{count} symbols make no {len(GROUPS)} groups: leave out scope group")
    told = liquidity(data, first.train, settings)
    order = sorted(range(count), key=lambda i: (told[i], data.symbols[i]))
    edges = [round(count * k / len(GROUPS)) for k in range(len(GROUPS) + 1)]
    return {name: tuple(sorted(order[edges[k] : edges[k + 1]])) for k, name in enumerate(GROUPS)}


def _given(data: TrainingSet, settings: SearchSettings) -> dict[str, tuple[int, ...]]:
    named = [symbol for members in settings.groups.values() for symbol in members]
    twice = sorted({symbol for symbol in named if named.count(symbol) > 1})
    unknown = sorted(set(named) - set(data.symbols))
    if twice or unknown:
        raise DatasetError(
            f"liquidity groups: {f'{twice} named twice' if twice else f'no rows of {unknown}'}"
        )
    return {
        name: tuple(sorted(data.symbols.index(symbol) for symbol in members))
        for name, members in sorted(settings.groups.items())
    }
