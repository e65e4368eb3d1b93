"""The true book: two sorted lists of levels a symbol, and the changes that wait for the next diff.

Every change takes a new update id and is remembered, so that snapshot and diffs follow from the
same moves and cannot disagree. Keys: a bid's price, an ask's price negated; the best level stands
last.
"""

from __future__ import annotations

from typing import Any

from foreshock.market.jit import inlined
from foreshock.simulation.draws import uniform
from foreshock.simulation.state import (
    CAPACITY,
    CHANGED,
    CHANGED_KEYS,
    CHANGES,
    FIRST_ID,
    IS_USDM,
    KEYS,
    LEVELS,
    LOTS,
    PREVIOUS_ID,
    UPDATE_ID,
    Book,
)


@inlined
def place_of(b: Book, s: int, side: int, n: int, key: int) -> int:
    """Index of the first level whose key is not below `key` (n if none)."""
    low, high = 0, n
    while low < high:
        middle = (low + high) >> 1
        if b.ladder[s, KEYS + side, middle] < key:
            low = middle + 1
        else:
            high = middle
    return low


@inlined
def forget_doubles(b: Book, s: int, side: int) -> None:
    """Sort the waiting changes of a side by key and keep each once."""
    n = b.whole[s, CHANGES + side]
    for i in range(1, n):
        key = b.ladder[s, CHANGED_KEYS + side, i]
        j = i - 1
        while j >= 0 and b.ladder[s, CHANGED_KEYS + side, j] > key:
            b.ladder[s, CHANGED_KEYS + side, j + 1] = b.ladder[s, CHANGED_KEYS + side, j]
            j -= 1
        b.ladder[s, CHANGED_KEYS + side, j + 1] = key
    kept = 0
    for i in range(n):
        if (
            kept == 0
            or b.ladder[s, CHANGED_KEYS + side, kept - 1] != b.ladder[s, CHANGED_KEYS + side, i]
        ):
            b.ladder[s, CHANGED_KEYS + side, kept] = b.ladder[s, CHANGED_KEYS + side, i]
            kept += 1
    b.whole[s, CHANGES + side] = kept


@inlined
def remember(b: Book, s: int, side: int, key: int) -> None:
    """Give the change at `key` an update id and keep it for the next diff."""
    # The matching engine of USD-M numbers all its symbols together, so that ids leap.
    step = 1 + int(uniform(b.random, s) * 40.0) if b.whole[s, IS_USDM] else 1
    b.whole[s, UPDATE_ID] += step
    if b.whole[s, FIRST_ID] == 0:
        spot_first = b.whole[s, PREVIOUS_ID] + 1
        b.whole[s, FIRST_ID] = b.whole[s, UPDATE_ID] if b.whole[s, IS_USDM] else spot_first
    n = b.whole[s, CHANGES + side]
    if n > 0 and b.ladder[s, CHANGED_KEYS + side, n - 1] == key:
        return
    b.ladder[s, CHANGED_KEYS + side, n] = key
    b.whole[s, CHANGES + side] = n + 1
    if n + 1 == CHANGED:
        forget_doubles(b, s, side)


@inlined
def remove_at(b: Book, s: int, side: int, place: int) -> None:
    """Delete the level at index `place`."""
    n = b.whole[s, LEVELS + side]
    remember(b, s, side, b.ladder[s, KEYS + side, place])
    for i in range(place, n - 1):
        b.ladder[s, KEYS + side, i] = b.ladder[s, KEYS + side, i + 1]
        b.ladder[s, LOTS + side, i] = b.ladder[s, LOTS + side, i + 1]
    b.whole[s, LEVELS + side] = n - 1


@inlined
def put(b: Book, s: int, side: int, key: int, lots: int, add: bool) -> None:
    """Set the level at `key` to `lots` (above zero), or add to it. A full side loses its farthest
    level first; a level beyond that one is then not put at all."""
    n = b.whole[s, LEVELS + side]
    place = place_of(b, s, side, n, key)
    if place < n and b.ladder[s, KEYS + side, place] == key:
        b.ladder[s, LOTS + side, place] = b.ladder[s, LOTS + side, place] + lots if add else lots
        remember(b, s, side, key)
        return
    if n == CAPACITY:
        if place == 0:
            return
        remove_at(b, s, side, 0)
        n -= 1
        place -= 1
    for i in range(n, place, -1):
        b.ladder[s, KEYS + side, i] = b.ladder[s, KEYS + side, i - 1]
        b.ladder[s, LOTS + side, i] = b.ladder[s, LOTS + side, i - 1]
    b.ladder[s, KEYS + side, place] = key
    b.ladder[s, LOTS + side, place] = lots
    b.whole[s, LEVELS + side] = n + 1
    remember(b, s, side, key)


@inlined
def best(b: Book, s: int, side: int) -> int:
    """Key of the best level; the side must not be empty."""
    return int(b.ladder[s, KEYS + side, b.whole[s, LEVELS + side] - 1])


@inlined
def lots_at(b: Book, s: int, side: int, key: int) -> int:
    """Size at `key`, 0 where there is no level."""
    n = b.whole[s, LEVELS + side]
    place = place_of(b, s, side, n, key)
    if place < n and b.ladder[s, KEYS + side, place] == key:
        return int(b.ladder[s, LOTS + side, place])
    return 0


@inlined
def list_changes(b: Book, s: int, side: int, levels: Any, at: int) -> int:
    """Write the waiting changes of a side to `levels` from `at` on, as price ticks and present
    lots; returns how many. Spot tells the best level first on both sides, USD-M goes up in
    price."""
    forget_doubles(b, s, side)
    n = b.whole[s, CHANGES + side]
    down = side == 1 or not b.whole[s, IS_USDM]
    for i in range(n):
        key = b.ladder[s, CHANGED_KEYS + side, n - 1 - i if down else i]
        levels[at + i, 0] = key if side == 0 else -key
        levels[at + i, 1] = lots_at(b, s, side, key)
    return int(n)
