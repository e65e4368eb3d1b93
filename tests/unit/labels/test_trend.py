"""foreshock.labels.trend: the slope's t against numpy's own least squares."""

from __future__ import annotations

import numpy as np
import pytest

from foreshock.errors import DatasetError
from foreshock.labels.trend import scan_trends


def t_of_slope(y: np.ndarray) -> float:
    x = np.arange(len(y), dtype=float)
    design = np.stack([np.ones(len(y)), x], axis=1)
    beta, *_ = np.linalg.lstsq(design, y, rcond=None)
    left = y - design @ beta
    error = np.sqrt(left @ left / (len(y) - 2) * np.linalg.inv(design.T @ design)[1, 1])
    return float(beta[1] / error)


def test_the_winning_span_is_the_one_with_the_largest_t() -> None:
    rng = np.random.default_rng(3)
    price = 100 * np.exp(np.cumsum(rng.normal(0, 1e-3, 400)))
    begin = np.arange(0, 370, 7)
    found = scan_trends(price, begin, shortest=5, longest=30)
    for i, start in enumerate(begin):
        ts = {n: t_of_slope(np.log(price[start : start + n])) for n in range(5, 31)}
        best = max(ts, key=lambda n: abs(ts[n]))
        assert found.rows[i] == best
        np.testing.assert_allclose(found.t[i], ts[best], rtol=1e-6)
        assert found.sign[i] == np.sign(ts[best])


def test_a_straight_line_is_found_up_and_down_and_a_flat_one_has_no_sign() -> None:
    up = np.exp(np.linspace(0, 0.1, 50))
    price = np.concatenate([up, up[::-1], np.full(50, up[0])])
    found = scan_trends(price, np.array([0, 50, 100]), shortest=3, longest=50)
    assert found.sign.tolist() == [1, -1, 0]


def test_a_path_that_ends_too_early_has_no_trend() -> None:
    found = scan_trends(np.full(10, 5.0), np.array([1, 0]), shortest=3, longest=10)
    assert found.rows.tolist()[0] == -1 and np.isnan(found.t[0]) and found.sign[0] == 0


@pytest.mark.parametrize("bad", [0.0, -1.0, np.nan, np.inf])
def test_prices_that_are_none_are_refused(bad: float) -> None:
    with pytest.raises(DatasetError, match="above zero"):
        scan_trends(np.array([1.0, bad, 1.0, 1.0]), np.array([0]), shortest=3, longest=4)


def test_spans_without_a_degree_of_freedom_are_refused() -> None:
    with pytest.raises(DatasetError, match="3 ≤ shortest"):
        scan_trends(np.ones(9), np.array([0]), shortest=2, longest=4)
