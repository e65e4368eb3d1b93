"""foreshock.models.boosted: what is refused, and that a fit is repeatable."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from foreshock.errors import DatasetError
from foreshock.models.boosted import BoostedSettings
from tests.reference.boosted import fit
from tests.reference.training import make_set

SETTINGS = BoostedSettings(trees=12, leaves=7, min_leaf_rows=20)
Arrays = dict[str, Any]


def given() -> Arrays:
    data = make_set(steps=400)
    return {"X": data.X.copy(), "labels": data.labels.copy(), "feature_names": data.feature_names}


@pytest.mark.parametrize("objective", ["binary", "focal"])
def test_the_same_seed_and_data_give_the_same_trees(objective: str) -> None:
    data = given()
    chosen = SETTINGS.model_copy(update={"objective": objective})
    first, second = (fit(**data, settings=chosen) for _ in range(2))
    assert first.initial_scores == second.initial_scores
    for one, two in zip(first.boosters, second.boosters, strict=True):
        assert one.model_to_string() == two.model_to_string()
    other = fit(**data, settings=chosen.model_copy(update={"seed": 8}))
    assert other.boosters[0].model_to_string() != first.boosters[0].model_to_string()


@pytest.mark.parametrize("objective", ["binary", "focal"])
def test_scores_rank_surges_and_hold_the_initial_score(objective: str) -> None:
    data = given()
    model = fit(**data, settings=SETTINGS.model_copy(update={"objective": objective}))
    raw = model.raw_score(data["X"])
    known = data["labels"][:, 0] >= 0
    surge = data["labels"][:, 0] == 1
    assert raw[known & surge, 0].mean() > raw[known & ~surge, 0].mean() + 0.1
    if objective == "binary":
        p = 1 / (1 + np.exp(-raw[known, 0]))
        assert p.mean() == pytest.approx(surge[known].mean(), abs=0.02)
    assert model.base_rates[0] == pytest.approx(surge[known].mean())


def test_focal_loss_without_focus_grows_the_trees_of_log_loss() -> None:
    """Half the loss, so half the gradients and Hessians: the same leaves where no penalty says in
    what unit they are. (LightGBM draws other rows where the loss is not its own.)"""
    data = given()
    bare = SETTINGS.model_copy(update={"l2": 0.0, "row_share": 1.0, "feature_share": 1.0})
    usual = fit(**data, settings=bare)
    focal = fit(**data, settings=bare.model_copy(update={"objective": "focal", "focal_gamma": 0.0}))
    assert focal.initial_scores == pytest.approx(usual.initial_scores)
    np.testing.assert_allclose(
        focal.raw_score(data["X"]), usual.raw_score(data["X"]), rtol=1e-12, atol=1e-12
    )


def test_equal_weights_of_any_size_change_nothing() -> None:
    data = given()
    plain = fit(**data, settings=SETTINGS).raw_score(data["X"])
    light = fit(**data, settings=SETTINGS, weights=np.full(len(data["X"]), 0.02, np.float32))
    np.testing.assert_allclose(light.raw_score(data["X"]), plain, atol=1e-6)


def test_weights_count_in_both_objectives() -> None:
    data = given()
    weights = np.where(data["labels"][:, 0] == 1, 5.0, 1.0).astype(np.float32)
    for objective in ("binary", "focal"):
        chosen = SETTINGS.model_copy(update={"objective": objective})
        plain = fit(**data, settings=chosen).raw_score(data["X"])[:, 0]
        heavy = fit(**data, settings=chosen, weights=weights).raw_score(data["X"])[:, 0]
        assert heavy.mean() > plain.mean() + 0.2


def _few(a: Arrays) -> None:
    a["X"], a["labels"] = a["X"][:100], a["labels"][:100]


def _no_surge(a: Arrays) -> None:
    a["labels"][:, 1] = 0


def _all_censored(a: Arrays) -> None:
    a["labels"][:, 0] = -1


def _three_surges(a: Arrays) -> None:
    a["labels"][:, 0] = 0
    a["labels"][:3, 0] = 1


def _constant(a: Arrays) -> None:
    a["X"][:] = 1.0
    a["X"][:, 2] = np.nan


def _infinite(a: Arrays) -> None:
    a["X"][7, 3] = np.inf


def _nan_label(a: Arrays) -> None:
    a["labels"] = a["labels"].astype(np.float64)
    a["labels"][4, 0] = np.nan


def _strange_label(a: Arrays) -> None:
    a["labels"][4, 0] = 2


def _float64(a: Arrays) -> None:
    a["X"] = a["X"].astype(np.float64)


def _missing_name(a: Arrays) -> None:
    a["feature_names"] = a["feature_names"][:-1]


def _bad_weights(a: Arrays) -> None:
    a["weights"] = np.full(len(a["X"]), -1.0, np.float32)


def _weightless_surges(a: Arrays) -> None:
    a["weights"] = (a["labels"][:, 1] != 1).astype(np.float32)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (_few, "too few rows, 100 < 500"),
        (_no_surge, "horizon 1: one class only, 0 surges"),
        (_all_censored, "horizon 0: too few rows, 0"),
        (_three_surges, "too few of one class, 3 surges"),
        (_constant, "every feature is constant"),
        (_infinite, "feature_3 is infinite"),
        (_nan_label, "a label is NaN"),
        (_strange_label, "something else than -1, 0 and 1"),
        (_float64, "X is float64"),
        (_missing_name, r"expected float32 \(n, 5\)"),
        (_bad_weights, "weights must be"),
        (_weightless_surges, "horizon 1: the rows of one class weigh nothing"),
    ],
)
def test_data_that_must_not_be_trained_on_is_refused(
    spoil: Callable[[Arrays], None], reason: str
) -> None:
    arrays = given()
    spoil(arrays)
    with pytest.raises(DatasetError, match=reason):
        fit(**arrays, settings=SETTINGS)
