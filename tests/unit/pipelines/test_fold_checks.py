"""pipelines.fold_checks: what a fold lacks is told by part and horizon."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from foreshock.errors import DatasetError
from foreshock.market.clock import SECOND_NS as SECOND
from foreshock.models.dataset import TrainingSet
from pipelines.fold_checks import check_classes
from tests.reference.training import make_set


def parts_of(data: TrainingSet) -> dict[str, Any]:
    cut = np.array_split(np.arange(len(data)), 3)
    return dict(zip(("train", "calibration", "test"), cut, strict=True))


def test_a_fold_that_has_nothing_to_learn_from_is_refused_with_part_and_horizon() -> None:
    data = make_set(steps=600)
    parts = parts_of(data)
    check_classes(data, parts)
    for part, h, value, what in (
        ("train", 0, 0, "train part has at 10 s one class only, 0 surges in 600 known labels"),
        ("calibration", 1, 0, "calibration part has at 20 s one class only, 0 surges in 600"),
        ("calibration", 1, 1, "calibration part has at 20 s one class only, 600 surges in 600"),
        ("train", 1, -1, "train part has at 20 s no known label"),
    ):
        labels = data.labels.copy()
        labels[parts[part], h] = value
        with pytest.raises(DatasetError, match=f"the {what}"):
            check_classes(replace(data, labels=labels), parts)


def test_the_judges_part_needs_one_horizon_with_both_classes() -> None:
    data = make_set(steps=600)
    parts = parts_of(data)
    labels = data.labels.copy()
    labels[parts["test"], 0] = 0
    check_classes(replace(data, labels=labels), parts)
    labels[parts["test"], 1] = -1
    with pytest.raises(DatasetError, match="the test part has at 10 s one class only, 0 surges"):
        check_classes(replace(data, labels=labels), parts)


def test_a_calibration_part_needs_independent_surges_not_rows() -> None:
    data = make_set(steps=600, symbols=("AAAUSDT",))
    parts = parts_of(data)
    labels = data.labels.copy()
    first = parts["calibration"][:6]  # one after the other: their spans chain together
    labels[parts["calibration"]] = 0
    labels[first] = 1
    again = replace(data, labels=labels, t1_ns=data.t0_ns[:, None] + np.full((600, 2), 5 * SECOND))
    check_classes(again, parts, least_events=1)
    with pytest.raises(DatasetError, match="has 1 independent surges at 10 s, at least 2"):
        check_classes(again, parts, least_events=2)
