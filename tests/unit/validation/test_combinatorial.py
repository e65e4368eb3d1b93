"""foreshock.validation.combinatorial: exact against brute force, and every path is whole."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foreshock.errors import DatasetError, OverlapError
from foreshock.validation.combinatorial import check_split, combinatorial, groups_of, paths

span = st.tuples(st.integers(0, 400), st.integers(0, 30)).map(lambda s: (s[0], s[0] + s[1]))


@settings(deadline=None)
@given(
    st.lists(span, min_size=40, max_size=90),
    st.integers(3, 6),
    st.integers(1, 2),
    st.integers(0, 9),
)
def test_the_purge_is_neither_too_much_nor_too_little(
    spans: list[tuple[int, int]], groups: int, held: int, embargo: int
) -> None:
    t0, t1 = np.array(spans, np.int64).T.copy()
    if len(np.unique(t0)) < groups:
        return
    group = groups_of(t0, groups)
    try:
        found = combinatorial(t0, t1, groups=groups, held=held, embargo_ns=embargo, memory_ns=0)
    except DatasetError:
        return  # a part came out empty: nothing to compare
    assert [split.held for split in found] == list(combinations(range(groups), held))
    for split in found:
        test = [i for i in range(len(spans)) if group[i] in split.held]
        clear = [
            i
            for i in range(len(spans))
            if group[i] not in split.held
            and all(t0[i] > t1[j] + embargo or t1[i] < t0[j] - embargo for j in test)
        ]
        assert sorted(split.test.tolist()) == test
        assert sorted(split.train.tolist()) == clear
        assert split.purged == len(spans) - len(test) - len(clear)
        check_split(split, t0, t1, embargo)


@pytest.mark.parametrize(("groups", "held"), [(6, 2), (5, 1), (8, 3), (4, 3)])
def test_every_path_tests_every_group_once_with_a_split_that_held_it(
    groups: int, held: int
) -> None:
    found = paths(groups, held)
    chosen = list(combinations(range(groups), held))
    assert found.shape == (comb(groups, held) * held // groups, groups)
    for g in range(groups):
        assert all(g in chosen[number] for number in found[:, g])
        assert len(set(found[:, g])) == len(found)


def test_an_embargo_shorter_than_the_features_memory_is_refused() -> None:
    t0 = np.arange(20)
    with pytest.raises(OverlapError, match="remember"):
        combinatorial(t0, t0, groups=4, held=1, embargo_ns=5, memory_ns=6)


def test_a_leak_is_named() -> None:
    t0 = np.arange(0, 200, 10)
    split = combinatorial(t0, t0 + 5, groups=4, held=1, embargo_ns=5, memory_ns=0)[1]
    leaky = replace(split, train=np.concatenate([split.train, split.test[:1]]))
    with pytest.raises(OverlapError, match=f"row {split.test[0]} of the train part"):
        check_split(leaky, t0, t0 + 5, 5)


@pytest.mark.parametrize(("groups", "held"), [(4, 0), (4, 4), (50, 1)])
def test_cuts_that_make_no_sense_are_refused(groups: int, held: int) -> None:
    t0 = np.arange(20)
    with pytest.raises(DatasetError):
        combinatorial(t0, t0, groups=groups, held=held, embargo_ns=0, memory_ns=0)
