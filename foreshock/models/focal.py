"""Focal loss: gradient, Hessian and initial score, exactly.

Lin et al. 2017, "Focal Loss for Dense Object Detection", eq. 5: with s = ±1 for the two classes,
p_t = σ(s·z) and a_t = α or 1 − α,

    L(z)   = −a_t (1 − p_t)^γ log p_t
    L'(z)  = s a_t (1 − p_t)^γ (γ p_t log p_t + p_t − 1)
    L''(z) = a_t p_t (1 − p_t)^γ [(1 − p_t)(γ log p_t + γ + 1) − γ(γ p_t log p_t + p_t − 1)]

The loss is not convex: L'' falls below zero for badly wrong rows. Newton steps need it above, so
`gradient_hessian` floors it; the gradient stays exact. γ = 0, α = ½ is half the log loss.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from foreshock.errors import DatasetError

Floats = NDArray[np.float64]
HESSIAN_FLOOR: Final = 1e-6


def _terms(z: Floats, y: Floats, gamma: float, alpha: float) -> tuple[Floats, ...]:
    s = np.where(y > 0, 1.0, -1.0)
    weight = np.where(y > 0, alpha, 1.0 - alpha)
    log_p = -np.logaddexp(0.0, -s * z)
    log_q = -np.logaddexp(0.0, s * z)
    return s, weight, log_p, np.exp(log_p), np.exp(log_q), np.exp(gamma * log_q)


def loss(z: Floats, y: Floats, gamma: float, alpha: float) -> Floats:
    """Focal loss of raw scores z (n,) and classes y (n,) in {0, 1}."""
    _, weight, log_p, _, _, focus = _terms(z, y, gamma, alpha)
    out: Floats = -weight * focus * log_p
    return out


def gradient(z: Floats, y: Floats, gamma: float, alpha: float) -> Floats:
    """dL/dz, shape (n,)."""
    s, weight, log_p, p, q, focus = _terms(z, y, gamma, alpha)
    out: Floats = s * weight * focus * (gamma * p * log_p - q)
    return out


def hessian(z: Floats, y: Floats, gamma: float, alpha: float) -> Floats:
    """d²L/dz², shape (n,); may be below zero."""
    _, weight, log_p, p, q, focus = _terms(z, y, gamma, alpha)
    inner = q * (gamma * log_p + gamma + 1.0) - gamma * (gamma * p * log_p - q)
    out: Floats = weight * p * focus * inner
    return out


def gradient_hessian(z: Floats, y: Floats, gamma: float, alpha: float) -> tuple[Floats, Floats]:
    """(gradient, Hessian floored at HESSIAN_FLOOR), for a booster."""
    return gradient(z, y, gamma, alpha), np.maximum(hessian(z, y, gamma, alpha), HESSIAN_FLOOR)


def initial_score(y: Floats, weights: Floats, gamma: float, alpha: float) -> float:
    """The constant z with the least weighted loss: where the mean gradient crosses zero.

    Raises DatasetError where only one class has weight: the best constant is then infinite.
    """
    positive, negative = float(weights[y > 0].sum()), float(weights[y <= 0].sum())
    if positive <= 0 or negative <= 0:
        raise DatasetError(f"one class only: weight {positive:g} of surges, {negative:g} of others")
    low, high = -40.0, 40.0
    one, zero = np.ones(1), np.zeros(1)
    for _ in range(200):
        z = np.array([(low + high) / 2.0])
        slope = positive * float(gradient(z, one, gamma, alpha)[0])
        slope += negative * float(gradient(z, zero, gamma, alpha)[0])
        low, high = (low, float(z[0])) if slope > 0 else (float(z[0]), high)
    return (low + high) / 2.0
