"""Intervals of seqs against sets of numbers."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from foreshock.stores.spans import add, subtract, take_new

spans = st.tuples(st.integers(0, 30), st.integers(0, 8)).map(lambda t: (t[0], t[0] + t[1]))


def numbers(pieces) -> set[int]:
    return {k for low, high in pieces for k in range(low, high + 1)}


@given(st.lists(spans, max_size=12), spans)
def test_adding_and_subtracting_are_those_of_sets(given_spans, wanted):
    covered = []
    for span in given_spans:
        covered = add(covered, span)
    assert numbers(covered) == numbers(given_spans)
    assert all(a[1] + 1 < b[0] for a, b in pairwise(covered))
    assert numbers(subtract(wanted, covered)) == numbers([wanted]) - numbers(given_spans)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.lists(spans, max_size=4)), max_size=8))
def test_every_number_is_new_to_exactly_one_taker(files):
    covered, seen = {}, {"a": [], "b": []}
    for shard, pieces in files:
        new = take_new(covered, {shard: pieces})
        assert set(new) <= {shard}
        for piece in new.get(shard, []):
            seen[shard] += range(piece[0], piece[1] + 1)
    for shard, found in seen.items():
        assert len(found) == len(set(found))
        assert set(found) == set().union(*(numbers(p) for s, p in files if s == shard), set())
