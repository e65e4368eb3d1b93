from __future__ import annotations

import numpy as np
import pytest

from foreshock.market.rings import (
    SLOTS,
    close_bucket,
    empty_ring,
    empty_sums,
    forget,
    open_bucket,
    slot_after,
    slot_before,
)

WINDOWS = (1, 5, 60, 300)


def roll(counts: list[int], ring: np.ndarray, sums: np.ndarray) -> list[list[int]]:
    head, seen = 0, []
    for count in counts:
        ring[1, head, 0] += count
        close_bucket(ring, sums, WINDOWS, 1, head)
        head = open_bucket(ring, 1, head)
        seen.append([int(sums[1, w, 0]) for w in range(len(WINDOWS))])
    return seen


def test_window_sums_equal_the_sums_of_their_last_buckets_over_several_turns_of_the_ring() -> None:
    rng = np.random.default_rng(5)
    counts = [int(c) for c in rng.integers(-(10**12), 10**12, 3 * SLOTS)]
    seen = roll(counts, empty_ring(2, 1), empty_sums(2, len(WINDOWS), 1))
    for k in range(len(counts)):
        assert seen[k] == [sum(counts[max(0, k + 1 - w) : k + 1]) for w in WINDOWS]


def test_a_bucket_of_one_symbol_never_reaches_another() -> None:
    ring, sums = empty_ring(2, 1), empty_sums(2, len(WINDOWS), 1)
    roll([3] * 10, ring, sums)
    assert not ring[0].any()
    assert not sums[0].any()


def test_forgetting_leaves_nothing_behind() -> None:
    ring, sums = empty_ring(2, 1), empty_sums(2, len(WINDOWS), 1)
    roll([3] * 10, ring, sums)
    forget(ring, sums, 1)
    assert not ring.any()
    assert not sums.any()
    assert roll([2, 0], ring, sums) == [[2, 2, 2, 2], [0, 2, 2, 2]]


@pytest.mark.parametrize("head", [0, 1, 150, SLOTS - 1])
def test_slots_wrap_around(head: int) -> None:
    assert slot_after(head) == (head + 1) % SLOTS
    for steps in (0, 1, 60, SLOTS - 1):
        assert slot_before(head, steps) == (head - steps) % SLOTS
