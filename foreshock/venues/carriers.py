"""Which connections carry a symbol's streams: with two of them, the cut of one breaks nothing."""

from __future__ import annotations

from collections.abc import Iterable

from foreshock.market.rows import BOOK, TAPE


class Carriers:
    """Connection numbers by symbol index and family."""

    def __init__(self, n_symbols: int) -> None:
        self._by: dict[tuple[int, int], set[int]] = {
            (s, family): set() for s in range(n_symbols) for family in (BOOK, TAPE)
        }

    def connected(
        self, number: int, families: int, symbols: Iterable[int]
    ) -> list[tuple[int, int]]:
        """Connection `number` carries these families (bit mask) of these symbols too. Returns each
        (symbol, family), in order."""
        keys = _keys(families, symbols)
        for key in keys:
            self._by[key].add(number)
        return keys

    def carried(self, s: int, family: int) -> bool:
        """Whether anybody does."""
        return bool(self._by[s, family])

    def cut(self, number: int, families: int, symbols: Iterable[int]) -> list[tuple[int, int]]:
        """It does no more. Returns the (symbol, family) that nobody carries now, in order."""
        out = []
        for key in _keys(families, symbols):
            self._by[key].discard(number)
            if not self._by[key]:
                out.append(key)
        return out


def _keys(families: int, symbols: Iterable[int]) -> list[tuple[int, int]]:
    return [(s, f) for s in symbols for f in (BOOK, TAPE) if families & (1 << f)]
