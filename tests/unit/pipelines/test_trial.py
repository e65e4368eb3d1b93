"""pipelines.trial: what one trial on one fold learns, and from what."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from foreshock.errors import OverlapError
from foreshock.models.boosted import BoostedSettings
from foreshock.models.dataset import TrainingSet
from foreshock.validation import measures
from foreshock.validation.rule import RuleSettings, net_bps, take
from foreshock.validation.walk_forward import Fold, WalkForwardSettings, walk_forward
from pipelines.training import TrainingSettings
from pipelines.trial import Cache, Cell, evaluate_fold, fit_threshold, mean_skill
from tests.reference.boosted import fit
from tests.reference.training import SECOND, make_set

RECIPE = BoostedSettings(trees=12, leaves=7, min_leaf_rows=20)
SETTINGS = TrainingSettings(walk=WalkForwardSettings(folds=2, embargo_s=5), certificate_rows=20_000)


def made(**given: object) -> tuple[TrainingSet, list[Fold]]:
    data = make_set(**given)  # type: ignore[arg-type]
    return data, walk_forward(data.t0_ns, data.end_ns, SETTINGS.walk)


def test_an_edge_is_found_and_none_where_there_is_none() -> None:
    for edge, low, high in ((2.0, 0.15, 0.8), (0.0, -0.2, 0.01)):
        data, folds = made(edge=edge)
        cells = evaluate_fold(RECIPE, data, 1, folds[1], SETTINGS)
        assert [(cell.fold, cell.horizon_s) for cell in cells] == [(1, 10), (1, 20)]
        assert low < mean_skill(cells) < high
        for cell in cells:
            assert [number for number, _ in cell.by_symbol] == [0, 1, 2]
            assert (cell.trades > 0) == any(cell.returns_bps)


@pytest.mark.parametrize("objective", ["binary", "focal"])
def test_shared_bins_change_no_figure(objective: str) -> None:
    data, folds = made()
    recipes = [
        RECIPE.model_copy(update={"objective": objective, "learning_rate": rate, "leaves": leaves})
        for rate, leaves in ((0.05, 7), (0.2, 15), (0.1, 5))
    ]
    alone = [evaluate_fold(recipe, data, 0, folds[0], SETTINGS) for recipe in recipes]
    cache = Cache()
    for recipe, cells in zip(reversed(recipes), reversed(alone), strict=True):
        assert evaluate_fold(recipe, data, 0, folds[0], SETTINGS, cache) == cells
    small = Cache(limit_bytes=1)
    assert evaluate_fold(recipes[0], data, 0, folds[0], SETTINGS, small) == alone[0]


def test_nothing_is_learned_from_the_test_part_or_from_later() -> None:
    data, folds = made()
    fold = folds[0]
    honest = evaluate_fold(RECIPE, data, 0, fold, SETTINGS)
    X, labels, outcome = data.X.copy(), data.labels.copy(), data.outcome_bps.copy()
    later = data.t0_ns > data.t0_ns[fold.test].max()
    X[later], labels[later], outcome[later] = 7.0, 1, 500.0
    poisoned = replace(data, X=X, labels=labels, outcome_bps=outcome)
    assert evaluate_fold(RECIPE, poisoned, 0, fold, SETTINGS) == honest
    # In the test part itself: what is traded does not follow what came of it.
    half = fold.test[: len(fold.test) // 2]
    outcome = data.outcome_bps.copy()
    outcome[half] = -outcome[half]
    other = evaluate_fold(RECIPE, replace(data, outcome_bps=outcome), 0, fold, SETTINGS)
    assert [cell.trades for cell in other] == [cell.trades for cell in honest]
    assert [cell.skill for cell in other] == [cell.skill for cell in honest]


def test_the_returns_by_period_add_up_to_the_trades() -> None:
    data, folds = made()
    fold = folds[1]
    short = RuleSettings(cool_down_s=0.0, period_s=30)
    settings = SETTINGS.model_copy(update={"rule": short})
    begin, end = int(data.t0_ns[fold.test].min()), int(data.end_ns[fold.test].max()) + 1
    (cell, _) = evaluate_fold(
        RECIPE, data, 1, fold, settings, window_ns=(begin - 60 * SECOND, end)
    )  # fmt: skip
    assert len(cell.returns_bps) == -(-(end - begin + 60 * SECOND) // (30 * SECOND))
    assert cell.returns_bps[:2] == (0.0, 0.0)
    # Every trade of the set earns 22 or loses 23 bps, of a third of the capital.
    total = sum(cell.returns_bps) * 3
    wins = (total + 23 * cell.trades) / 45
    assert cell.trades > 20 and abs(wins - round(wins)) < 1e-6


def test_a_fold_whose_spans_overlap_is_never_trained_on() -> None:
    data, folds = made()
    order = np.argsort(data.t0_ns, kind="stable")
    wider = order[: int(np.flatnonzero(order == folds[0].calibration[0])[0])]
    with pytest.raises(OverlapError, match="of the train part"):
        evaluate_fold(RECIPE, data, 0, replace(folds[0], train=wider), SETTINGS)


def test_the_threshold_earns_the_most_that_any_level_with_enough_rows_does() -> None:
    data, folds = made()
    bold = RECIPE.model_copy(update={"learning_rate": 0.3})
    model = fit(data.X[folds[1].train], data.labels[folds[1].train], bold, data.feature_names)
    rows = folds[1].calibration
    rows = rows[data.labels[rows, 0] >= 0]
    p = 1.0 / (1.0 + np.exp(-model.raw_score(data.X[rows])[:, 0]))
    rule = RuleSettings(cool_down_s=5.0)
    chosen = fit_threshold(p, data, rows, 0, 20, rule)

    def earned(level: float) -> float:
        spoken = measures.speaks(
            p, data.far_bps[rows, 0], data.near_bps[rows, 0], data.bill_bps[rows, 0], level
        )
        taken = take(spoken, data.t0_ns[rows], data.t1_ns[rows, 0], data.symbol[rows], rule)
        net = net_bps(data.outcome_bps[rows, 0], data.bill_bps[rows, 0])
        return float(net[taken].sum())

    assert (p >= chosen).sum() >= 20
    levels = np.quantile(p, np.linspace(0, 0.9, 10))
    assert earned(chosen) > 0.97 * max(earned(float(level)) for level in levels)
    dear = replace(data, bill_bps=np.full_like(data.bill_bps, 28.0))
    assert fit_threshold(p, dear, rows, 0, 20, rule) >= (15 + 28) / 45 - 1e-6


def test_the_mean_skill_leaves_out_what_was_refused() -> None:
    nan = float("nan")
    cells = [Cell(0, 60, 0.2, 0.1), Cell(0, 300, nan, nan, "too few"), Cell(1, 60, 0.4, 0.1)]
    assert mean_skill(cells) == pytest.approx(0.3)
    assert np.isnan(mean_skill(cells[1:2]))
