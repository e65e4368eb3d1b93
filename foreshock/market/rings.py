"""Rings of per-step integer buckets, and the window sums that run beside them.

Every window is a whole number of sampling steps, so a window is a sum of buckets. The sums are
integers: adding the bucket that enters and taking away the one that leaves is exact, however long
it has run and wherever it was started (a float sum would drift and remember its start).

ring   int64 (n_symbols, SLOTS, q)     one bucket of q quantities a step; the newest is open
sums   int64 (n_symbols, windows, q)   over the closed buckets of each window, as of the last close
head   int64 (n_symbols,)              the open bucket's slot

The quantities of one bucket lie side by side, so that an event touches one or two cache lines.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from foreshock.market.jit import in_place

SLOTS: Final = 301  # five minutes of one-second buckets, and the open one

Ring = NDArray[np.int64]


def empty_ring(n_symbols: int, quantities: int) -> Ring:
    """A ring of zeros, int64 (n_symbols, SLOTS, quantities)."""
    return np.zeros((n_symbols, SLOTS, quantities), dtype=np.int64)


def empty_sums(n_symbols: int, windows: int, quantities: int) -> Ring:
    """Window sums of zeros, int64 (n_symbols, windows, quantities)."""
    return np.zeros((n_symbols, windows, quantities), dtype=np.int64)


@in_place
def slot_before(head: int, steps: int) -> int:
    """The slot that was open `steps` steps before `head` was, 0 <= steps < SLOTS."""
    slot = head - steps
    return slot + SLOTS if slot < 0 else slot


@in_place
def slot_after(head: int) -> int:
    """The slot that is opened next."""
    return 0 if head + 1 == SLOTS else head + 1


@in_place
def close_bucket(
    ring: Ring, sums: Ring, windows_steps: NDArray[np.int64], symbol: int, head: int
) -> None:
    """Let the open bucket of `symbol` enter every window, and the one that leaves it go.

    `windows_steps` are in steps, each below SLOTS, int64. Call `open_bucket` next.
    """
    for w in range(len(windows_steps)):
        leaving = slot_before(head, windows_steps[w])
        for q in range(ring.shape[2]):
            sums[symbol, w, q] += ring[symbol, head, q] - ring[symbol, leaving, q]


@in_place
def open_bucket(ring: Ring, symbol: int, head: int) -> int:
    """Clear the slot after `head` and return it: the bucket of the next step."""
    slot = slot_after(head)
    for q in range(ring.shape[2]):
        ring[symbol, slot, q] = 0
    return slot


@in_place
def forget(ring: Ring, sums: Ring, symbol: int) -> None:
    """Make `symbol` cold: every bucket and every window empty."""
    for q in range(ring.shape[2]):
        for slot in range(SLOTS):
            ring[symbol, slot, q] = 0
        for w in range(sums.shape[1]):
            sums[symbol, w, q] = 0
