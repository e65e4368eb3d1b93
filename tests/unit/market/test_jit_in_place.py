from __future__ import annotations

import numba
import numpy as np
import pytest

from foreshock.market.jit import in_place, in_place_kernel


@in_place
def _add(a: np.ndarray, k: int) -> None:
    view = a[k]
    view[0] += k


@in_place_kernel
def _add_all(a: np.ndarray) -> None:
    for k in range(a.shape[0]):
        _add(a, k)


@in_place_kernel
def _allocating(n: int) -> float:
    return np.zeros(n).sum()


def test_an_in_place_kernel_writes_through_views_of_what_it_is_given() -> None:
    a = np.ones((3, 2), np.int64)
    _add_all(a)
    assert a.tolist() == [[1, 1], [2, 1], [3, 1]]


def test_an_in_place_kernel_that_allocates_does_not_compile() -> None:
    with pytest.raises(numba.core.errors.NumbaError):
        _allocating(3)
