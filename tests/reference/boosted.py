"""Boosted ensembles of several horizons at once, for tests: the product fits one by one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import lightgbm as lgb
import numpy as np
from numpy.typing import NDArray

from foreshock.models.boosted import BoostedSettings, fit_one, refuse


@dataclass(frozen=True, slots=True)
class BoostedModel:
    """H boosters with their initial scores."""

    boosters: tuple[lgb.Booster, ...]
    initial_scores: tuple[float, ...]
    feature_names: tuple[str, ...]
    base_rates: tuple[float, ...]  # shares of surges, not weighted
    settings: BoostedSettings

    def raw_score(self, X: NDArray[np.float32]) -> NDArray[np.float64]:
        """Log-odds-like scores (n, H), initial scores added; not probabilities."""
        columns = [
            np.asarray(booster.predict(X, raw_score=True, num_threads=1), np.float64) + initial
            for booster, initial in zip(self.boosters, self.initial_scores, strict=True)
        ]
        return np.stack(columns, axis=1)


def fit(
    X: NDArray[np.float32],
    labels: NDArray[np.int8],
    settings: BoostedSettings,
    feature_names: Sequence[str],
    weights: NDArray[np.float32] | None = None,
) -> BoostedModel:
    """Fit H ensembles on vectors (n, k) and labels (n, H) in {-1, 0, 1}; -1 rows are left out.

    Raises as `foreshock.models.boosted.refuse`.
    """
    refuse(X, labels, settings, feature_names, weights)
    fitted = [
        fit_one(settings, X, labels[:, h], weights, feature_names) for h in range(labels.shape[1])
    ]
    return BoostedModel(
        tuple(each.booster for each in fitted),
        tuple(each.initial for each in fitted),
        tuple(feature_names),
        tuple(each.base_rate for each in fitted),
        settings,
    )
