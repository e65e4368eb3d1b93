"""foreshock.costs.barrier: how far away the barriers are."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from foreshock.costs.barrier import BarrierSettings, barrier_bps


def test_volatility_bill_and_floor_take_turns() -> None:
    far, near = barrier_bps([1e-3, 1e-4, 1e-6], 100.0, [1.0, 8.0, 0.0], BarrierSettings())
    # 2σ√h = 200, 20, 0.2 bps; 1.5 bills = 1.5, 12, 0; the floor is 10.
    np.testing.assert_allclose(far, [200.0, 20.0, 10.0])
    np.testing.assert_allclose(near, [100.0, 12.0, 10.0])


def test_symbols_and_horizons_broadcast_to_a_matrix() -> None:
    far, near = barrier_bps(
        np.full((3, 1), 1e-3), np.array([60, 900]), np.zeros((3, 1)), BarrierSettings()
    )
    assert far.shape == near.shape == (3, 2)
    np.testing.assert_allclose(far[0], 20.0 * np.sqrt([60, 900]))


def test_one_symbol_alone_has_the_bits_it_has_among_others() -> None:
    random = np.random.default_rng(1)
    sigma, bill = random.uniform(0, 1e-3, 257), random.uniform(0, 30, 257)
    far, near = barrier_bps(sigma, 60, bill, BarrierSettings())
    for i in range(0, 257, 17):
        alone = barrier_bps(sigma[i], 60, bill[i], BarrierSettings())
        assert (float(alone[0]), float(alone[1])) == (far[i], near[i])


@pytest.mark.parametrize(("sigma", "bill"), [(np.nan, 5.0), (1e-3, np.nan)])
def test_what_is_not_known_makes_no_barrier(sigma: float, bill: float) -> None:
    far, near = barrier_bps(sigma, 60, bill, BarrierSettings())
    assert np.isnan(far)
    assert np.isnan(near)


def test_a_misspelt_setting_is_refused() -> None:
    with pytest.raises(ValidationError, match="k_fare"):
        BarrierSettings.model_validate({"k_fare": 3})
