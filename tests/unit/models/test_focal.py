"""foreshock.models.focal: derivatives against differences of the loss."""

from __future__ import annotations

import numpy as np
import pytest

from foreshock.errors import DatasetError
from foreshock.models import focal

Z = np.linspace(-8, 8, 81)
SETTINGS = [(0.0, 0.5), (1.0, 0.25), (2.0, 0.5), (2.5, 0.9)]


@pytest.mark.parametrize("gamma, alpha", SETTINGS)
@pytest.mark.parametrize("target", [0.0, 1.0])
def test_gradient_and_hessian_are_the_derivatives(
    gamma: float, alpha: float, target: float
) -> None:
    y, step = np.full(len(Z), target), 1e-5
    up, down = focal.loss(Z + step, y, gamma, alpha), focal.loss(Z - step, y, gamma, alpha)
    np.testing.assert_allclose(
        focal.gradient(Z, y, gamma, alpha), (up - down) / (2 * step), rtol=1e-5, atol=1e-9
    )
    g_up = focal.gradient(Z + step, y, gamma, alpha)
    g_down = focal.gradient(Z - step, y, gamma, alpha)
    np.testing.assert_allclose(
        focal.hessian(Z, y, gamma, alpha), (g_up - g_down) / (2 * step), rtol=1e-5, atol=1e-9
    )


def test_without_focus_it_is_half_the_log_loss() -> None:
    p = 1 / (1 + np.exp(-Z))
    np.testing.assert_allclose(focal.loss(Z, np.ones_like(Z), 0.0, 0.5), -0.5 * np.log(p))
    np.testing.assert_allclose(focal.hessian(Z, np.zeros_like(Z), 0.0, 0.5), 0.5 * p * (1 - p))


def test_far_out_nothing_overflows() -> None:
    z, y = np.array([-800.0, 800.0, -800.0, 800.0]), np.array([0.0, 1.0, 1.0, 0.0])
    slope, curve = focal.gradient_hessian(z, y, 2.0, 0.5)
    assert np.isfinite(slope).all()
    assert (curve >= focal.HESSIAN_FLOOR).all()
    assert np.isfinite(curve).all()


@pytest.mark.parametrize("gamma, alpha", SETTINGS)
def test_the_initial_score_is_the_best_constant(gamma: float, alpha: float) -> None:
    y, w = np.array([1.0, 0, 0, 0, 0, 0, 0]), np.array([2.0, 1, 1, 1, 1, 1, 1])
    best = focal.initial_score(y, w, gamma, alpha)

    def total(z: float) -> float:
        return float((w * focal.loss(np.full(len(y), z), y, gamma, alpha)).sum())

    assert total(best) <= min(total(best + 1e-3), total(best - 1e-3))
    if (gamma, alpha) == (0.0, 0.5):
        assert best == pytest.approx(np.log(2.0 / 6.0))


def test_one_class_has_no_best_constant() -> None:
    with pytest.raises(DatasetError, match="one class only"):
        focal.initial_score(np.zeros(5), np.ones(5), 2.0, 0.5)
