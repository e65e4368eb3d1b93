"""Random books and tapes of a few minutes, for the families of the book."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import numpy as np

from foreshock.features.catalog import FeatureSet
from foreshock.features.settings import FeatureSettings
from foreshock.market.rows import BOOK, RESYNCING, STALE, SYNCED, TAPE
from tests.reference.feature_tape import boundaries_of, drive
from tests.reference.features import SECOND, Book, Epoch, Event, Top, Trade

START = 1_700_000_000 * SECOND
N = 3
Tops = dict[int, dict[int, Top]]
Twin = Callable[[list[Event], int, int, dict[int, Top]], dict[str, float]]


def book_walk(seed: int, seconds: int) -> list[Event]:
    """Three symbols whose touch walks and is traded at: a lively one, one whose spread and sizes
    hardly ever change, and a thin one. Book and tape are cut and joined again."""
    rng = np.random.default_rng(seed)
    events: list[Event] = [
        Epoch(START, symbol, family, SYNCED, 1) for symbol in range(N) for family in (BOOK, TAPE)
    ]
    for symbol, (bid, spread, gap_s) in enumerate(
        ((60_000, 3, 0.15), (900, 1, 0.4), (5_000, 9, 4))
    ):
        at, size = START + 1, 40
        while at < START + seconds * SECOND:
            if rng.random() < (0.05 if symbol == 1 else 0.4):
                bid = max(20, bid + int(rng.integers(-2, 3)))
                wide = int(rng.integers(1, spread + 1)) * (6 if rng.random() < 0.1 else 1)
                ask = bid + (1 if symbol == 1 else wide)
            else:
                ask = bid + 1
            lots = (int(rng.integers(1, size)), int(rng.integers(1, size)))
            choice = rng.random()
            if choice < 0.5:
                ofi = tuple(int(o) for o in rng.integers(-size, size + 1, 5))
                valid = bool(rng.random() < 0.97)
                touch = (bid, lots[0], ask, lots[1])
                events.append(Book(at, symbol, valid, touch, ofi, quote=bool(rng.random() < 0.5)))
            else:
                sell = bool(rng.random() < 0.5)
                ticks = (bid if sell else ask) + int(rng.random() < 0.1)
                large = 30 if rng.random() < 0.05 else 1
                events.append(Trade(at, symbol, sell, ticks, int(rng.integers(1, size)) * large))
            at += 1 + int(rng.exponential(gap_s * SECOND))
            if rng.random() < 0.05:
                at = at // SECOND * SECOND  # on a boundary exactly
    for second, symbol, family, state, number in (
        (30, 2, BOOK, RESYNCING, 1), (33, 2, BOOK, SYNCED, 2), (41, 0, TAPE, STALE, 1),
        (44, 0, TAPE, SYNCED, 1), (50, 1, TAPE, SYNCED, 2), (55, 0, BOOK, SYNCED, 1),
    ):  # fmt: skip
        events.append(Epoch(START + second * SECOND + 123, symbol, family, state, number))
    return sorted(events, key=lambda e: e.at)


def random_tops(seed: int, boundaries: list[int]) -> Tops:
    """Five levels a side or, seldom, fewer or none; those of symbol 1 never change for long."""
    rng = np.random.default_rng(seed)

    def side(first: int, way: int, most: int) -> list[tuple[int, int]]:
        levels = 5 if rng.random() < 0.995 else int(rng.integers(0, 5))
        return [(first + way * k, int(rng.integers(1, most))) for k in range(levels)]

    out: Tops = {symbol: {} for symbol in range(N)}
    for k, boundary in enumerate(boundaries):
        for symbol in range(N):
            if symbol == 1 and k % 90:
                out[symbol][boundary] = out[symbol][boundaries[k - 1]]
            else:
                out[symbol][boundary] = [side(1000, -1, 900), side(1001, 1, 900)]
    return out


def assert_equals_twin(
    family: str, twin: Twin, seed: int, seconds: int, asked: Iterable[int],
    features: FeatureSettings | None = None, all_known: bool = True,
) -> None:  # fmt: skip
    """Every feature of the family at the `asked` seconds; and that each was a number somewhere."""
    given = (features or FeatureSettings()).model_copy(update={"families": (family,)})
    names = FeatureSet(given).layout.names
    events, boundaries = book_walk(seed, seconds), boundaries_of(START, seconds)
    tops = random_tops(seed, boundaries)
    found = drive(events, boundaries, tops, N, features=given)
    some = np.zeros(len(names), bool)
    for k in sorted({*asked, seconds - 1}):
        for symbol in range(N):
            wanted = twin(events, symbol, boundaries[k], tops[symbol])
            assert set(wanted) == set(names)
            some |= np.isfinite(found[k, symbol])
            for name, value in zip(names, found[k, symbol].tolist(), strict=True):
                want = wanted[name]
                assert math.isclose(value, want, rel_tol=1e-9, abs_tol=1e-9) or (
                    math.isnan(value) and math.isnan(want)
                ), f"{name} of symbol {symbol} at second {k + 1}: {value} is not {want}"
    missing = [name for name, one in zip(names, some, strict=True) if not one]
    assert not all_known or not missing, missing
