"""foreshock.models.rounds: the curve of a fit is that of the trainer's own first trees."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xgboost
from sklearn.metrics import log_loss

from foreshock.models.family import fit_one, recipe_of
from foreshock.models.rounds import ROWS, loss_by_round
from tests.unit.models.test_family import NAMES, material


def test_it_is_what_lightgbm_says_after_so_many_trees() -> None:
    X, y, _ = material(n=ROWS)
    fitted: Any = fit_one(recipe_of({"kind": "boosted", "trees": 25}), X, y, None, NAMES)
    found = loss_by_round(fitted, X, y)
    assert found is not None and found.shape == (25,)
    for trees in (1, 2, 10, 25):
        raw = fitted.booster.predict(X, raw_score=True, num_iteration=trees)
        p = 1.0 / (1.0 + np.exp(-(raw + fitted.part.initial)))
        assert found[trees - 1] == pytest.approx(log_loss(y, p), rel=1e-9)
    assert (np.diff(found) < 0).all()  # on the rows that it was trained on
    assert found[-1] == pytest.approx(
        log_loss(y, 1.0 / (1.0 + np.exp(-fitted.raw_score(X)))), rel=1e-9
    )


def test_it_is_what_xgboost_says_after_so_many_trees() -> None:
    X, y, _ = material(n=ROWS)
    fitted: Any = fit_one(recipe_of({"kind": "xgboosted", "trees": 12}), X, y, None, NAMES)
    found = loss_by_round(fitted, X, y)
    assert found is not None
    p = fitted.booster.predict(
        xgboost.DMatrix(X, feature_names=fitted.booster.feature_names), iteration_range=(0, 5)
    )
    assert found[4] == pytest.approx(log_loss(y, p), abs=1e-5)  # it adds in float32


def test_rows_without_a_label_and_families_without_trees_say_nothing() -> None:
    X, y, _ = material(n=4_000)
    fitted = fit_one(recipe_of({"kind": "boosted", "trees": 5}), X, y, None, NAMES)
    masked = y.copy()
    masked[::2] = -1
    half = loss_by_round(fitted, X[1::2], y[1::2])
    assert half is not None
    np.testing.assert_array_equal(loss_by_round(fitted, X, masked), half)
    assert loss_by_round(fitted, X, np.full_like(y, -1)) is None
    linear = fit_one(recipe_of({"kind": "logistic"}), X, y, None, NAMES)
    assert loss_by_round(linear, X, y) is None
