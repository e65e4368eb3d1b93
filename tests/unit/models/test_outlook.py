"""foreshock.models.outlook and what fits it: names, order, and constants to beat."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from foreshock.errors import DatasetError
from foreshock.models.magnitude import fit_outlook, widened
from foreshock.models.outlook import OutlookSettings, arranged

NAMES = ("a", "b")


def drawn(n: int = 2_000) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(4)
    X = random.normal(size=(n, 2)).astype(np.float32)
    return X, (2.0 * X[:, 0] + np.exp(X[:, 1]) * random.normal(size=n)).astype(np.float32)


def test_outputs_are_named_by_what_they_are() -> None:
    def names(*quantiles: float, mean: bool = False) -> dict[str, float | None]:
        return OutlookSettings(mean=mean, quantiles=quantiles).outputs

    assert names() == {}
    assert names(mean=True) == {"expected_bps": None}
    assert names(0.5) == {"q50_bps": 0.5}
    assert names(0.1, 0.9) == {"low_bps": 0.1, "high_bps": 0.9}
    assert names(0.05, 0.075, 0.9) == {"low_bps": 0.05, "q7_5_bps": 0.075, "high_bps": 0.9}
    assert OutlookSettings().promised == OutlookSettings(quantiles=(0.5,)).promised == 0.0
    assert OutlookSettings(quantiles=(0.1, 0.9)).promised == pytest.approx(0.8)
    assert OutlookSettings(quantiles=(0.1, 0.9), conformal_share=0.7).promised == 0.7


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"quantiles": (0.9, 0.1)}, "ascend"),
        ({"quantiles": (0.5, 0.5)}, "ascend"),
        ({"quantiles": (0.0, 0.5)}, "between 0 and 1"),
        ({"quantiles": (0.5,), "conformal_share": 0.8}, "needs a band"),
        ({"conformal_share": 1.0}, "less than 1"),
        ({"tree": 3}, "Extra inputs"),
    ],
)
def test_what_makes_no_sense_is_refused(wrong: dict[str, object], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        OutlookSettings.model_validate(wrong)


def test_crossed_ends_change_places_and_no_others() -> None:
    low, high = np.float32([1.0, 2.0, 3.0]), np.float32([2.0, 1.0, 3.0])
    first, last = arranged(low, high)
    assert first.tolist() == [1.0, 1.0, 3.0] and last.tolist() == [2.0, 2.0, 3.0]
    assert first.dtype == np.float32


def test_the_constants_to_beat_are_the_training_part_s_own() -> None:
    X, y = drawn()
    asked = OutlookSettings(mean=True, quantiles=(0.1, 0.5, 0.9), trees=30)
    fits = fit_outlook(asked, X, y, NAMES)
    assert list(fits) == ["expected_bps", "low_bps", "q50_bps", "high_bps"]
    assert fits["expected_bps"].initial == pytest.approx(float(y.mean()))
    assert fits["low_bps"].initial == pytest.approx(float(np.quantile(y, 0.1)))
    apart = widened(fits, 1.5)
    np.testing.assert_allclose(
        fits["low_bps"].raw_score(X) - apart["low_bps"].raw_score(X), 1.5, atol=1e-9
    )
    np.testing.assert_allclose(
        apart["high_bps"].raw_score(X) - fits["high_bps"].raw_score(X), 1.5, atol=1e-9
    )
    assert apart["q50_bps"] is fits["q50_bps"]


def test_an_outcome_that_never_moves_is_refused_before_any_fit() -> None:
    X, y = drawn()
    asked = OutlookSettings(quantiles=(0.1, 0.9))
    with pytest.raises(DatasetError, match="the target is the same throughout"):
        fit_outlook(asked, X, np.full_like(y, 3.0), NAMES)
