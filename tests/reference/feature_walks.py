"""Random walks of an hour and more, and the comparison of one family with its slow twin on them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import numpy as np

from foreshock.features.catalog import FeatureSet
from foreshock.features.settings import FeatureSettings
from foreshock.market.rows import STALE, SYNCED, TAPE
from tests.reference.feature_tape import boundaries_of, drive
from tests.reference.features import SECOND, Epoch, Event, Trade

START = 1_700_000_000 * SECOND  # 20 s after a full minute
N = 3
Twin = Callable[[list[Event], int, int, int], dict[str, float]]


def walk(seed: int, seconds: int) -> list[Event]:
    """Trades of three symbols: one walks by every second, one by jumps every now and then, one
    stands still for minutes; and each has an epoch that ends in mid-tape."""
    rng = np.random.default_rng(seed)
    events: list[Event] = [Epoch(START, symbol, TAPE, SYNCED, 1) for symbol in range(N)]
    for symbol, (price, gap_s, largest) in enumerate(
        ((60_000, 0.7, 9), (95, 6, 3), (2_000, 40, 60))
    ):
        at = START + int(rng.integers(0, SECOND))
        while at < START + seconds * SECOND:
            price = max(1, price + int(rng.integers(-largest, largest + 1)))
            lots = int(rng.integers(1, 50))
            events.append(Trade(at, symbol, bool(rng.random() < 0.5), price, lots))
            at += int(rng.exponential(gap_s * SECOND))
            if rng.random() < 0.1:
                at = at // SECOND * SECOND  # on a boundary exactly
    cut = START + int(seconds * 0.06) * SECOND
    events += [
        Epoch(cut, 0, TAPE, SYNCED, 2),
        Epoch(cut, 1, TAPE, STALE, 1),
        Epoch(cut + 3 * SECOND + 5, 1, TAPE, SYNCED, 1),
        Epoch(cut, 2, TAPE, SYNCED, 1),  # the same good epoch again: nothing is lost
    ]
    return sorted(events, key=lambda e: e.at)


def assert_equals_twin(
    family: str, twin: Twin, seed: int, seconds: int, asked: Iterable[int],
    features: FeatureSettings | None = None,
) -> None:  # fmt: skip
    """Every feature of the family at the `asked` seconds of a walk; and that each was a number
    somewhere."""
    given = (features or FeatureSettings()).model_copy(update={"families": (family,)})
    names = FeatureSet(given).layout.names
    events, boundaries = walk(seed, seconds), boundaries_of(START, seconds)
    tops = {s: {b: [[], []] for b in boundaries} for s in range(N)}
    found = drive(events, boundaries, tops, N, features=given)
    some = np.zeros(len(names), bool)
    for k in sorted({*asked, seconds - 1}):
        for symbol in range(N):
            wanted = twin(events, symbol, boundaries[k], boundaries[0])
            assert set(wanted) == set(names)
            some |= np.isfinite(found[k, symbol])
            for name, value in zip(names, found[k, symbol].tolist(), strict=True):
                want = wanted[name]
                assert math.isclose(value, want, rel_tol=1e-9, abs_tol=1e-9) or (
                    math.isnan(value) and math.isnan(want)
                ), f"{name} of symbol {symbol} at second {k + 1}: {value} is not {want}"
    assert some.all(), [name for name, one in zip(names, some, strict=True) if not one]
