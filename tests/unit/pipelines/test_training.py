"""pipelines.training: what a trial sees, and what may be promoted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from foreshock.errors import DatasetError, OverlapError
from foreshock.models.boosted import BoostedSettings
from foreshock.models.session import open_session, run_graph
from foreshock.validation.walk_forward import WalkForwardSettings, final_fold, walk_forward
from pipelines.training import TrainingSettings, evaluate, fit_final, mean_skill
from tests.reference.training import SECOND, make_set

SMALL = BoostedSettings(trees=15, leaves=7, min_leaf_rows=20)
SETTINGS = TrainingSettings(walk=WalkForwardSettings(folds=2, embargo_s=5), draws=60)


def test_a_trial_finds_an_edge_and_none_where_there_is_none() -> None:
    for edge, low, high in ((2.0, 0.15, 0.8), (0.0, -0.2, 0.01)):
        data = make_set(edge=edge)
        folds = walk_forward(data.t0_ns, data.end_ns, SETTINGS.walk)
        cells = evaluate(SMALL, data, folds, SETTINGS)
        assert [(c.fold, c.horizon_s) for c in cells] == [(0, 10), (0, 20), (1, 10), (1, 20)]
        assert low < mean_skill(cells) < high


def test_a_trial_does_not_see_later_test_parts() -> None:
    data = make_set()
    folds = walk_forward(data.t0_ns, data.end_ns, SETTINGS.walk)
    honest = evaluate(SMALL, data, folds[:1], SETTINGS)
    X, labels = data.X.copy(), data.labels.copy()
    later = data.t0_ns > data.t0_ns[folds[0].test].max()
    X[later], labels[later] = 7.0, 1
    assert evaluate(SMALL, replace(data, X=X, labels=labels), folds[:1], SETTINGS) == honest


def test_what_a_fold_has_too_little_of_is_a_refused_cell() -> None:
    data = make_set()
    labels = data.labels.copy()
    labels[:, 1] = np.where(labels[:, 1] == 1, 0, labels[:, 1])
    sparse = replace(data, labels=labels)
    folds = walk_forward(data.t0_ns, data.end_ns, SETTINGS.walk)
    cells = evaluate(SMALL, sparse, folds, SETTINGS)
    assert [bool(c.refused) for c in cells] == [False, True, False, True]
    assert "one class only" in cells[1].refused
    assert np.isfinite(mean_skill(cells))
    with pytest.raises(DatasetError, match="horizon 1: one class only"):
        fit_final(SMALL, sparse, SETTINGS, trials=1)


def test_folds_whose_spans_overlap_are_never_trained_on() -> None:
    data = make_set()
    fold = walk_forward(data.t0_ns, data.end_ns, SETTINGS.walk)[0]
    order = np.argsort(data.t0_ns, kind="stable")
    wider = order[: int(np.flatnonzero(order == fold.calibration[0])[0])]
    with pytest.raises(OverlapError, match="of the train part"):
        evaluate(SMALL, data, [replace(fold, train=wider)], SETTINGS)


def test_a_real_edge_is_promoted_with_its_proof() -> None:
    data = make_set()
    shipped = fit_final(SMALL, data, SETTINGS, trials=3)
    card = shipped.card
    assert card.promoted
    assert card.approved == (True, True)
    assert card.trials == 3
    for figures in card.metrics.values():
        assert 0 < figures["brier_skill_lower"] < figures["brier_skill"]
        assert figures["utility_bps"] > 0
        assert figures["rows_spoken"] > 0
    fold = final_fold(data.t0_ns, data.end_ns, SETTINGS.walk)
    assert card.spans_ns["test"][0] == data.t0_ns[fold.test].min()
    assert card.spans_ns["train"][1] + 5 * SECOND < card.spans_ns["calibration"][0]
    # Calibrated on the graph's own scores of the calibration part.
    p = run_graph(open_session(shipped.graph), data.X, "probability")
    for h in range(2):
        rows = fold.calibration[data.labels[fold.calibration, h] >= 0]
        assert p[rows, h].mean() == pytest.approx(data.labels[rows, h].mean(), abs=0.03)


@pytest.mark.parametrize("seed", range(3))
def test_a_market_without_an_edge_is_not_promoted(seed: int) -> None:
    card = fit_final(SMALL, make_set(seed=seed, edge=0.0), SETTINGS, trials=1).card
    assert not card.promoted
    assert card.approved == (False, False)
    assert card.reason.startswith("not promoted; 10 s: Brier skill")


def test_an_edge_that_does_not_pay_its_bill_is_not_promoted() -> None:
    data = make_set()
    dear = replace(data, bill_bps=np.full_like(data.bill_bps, 40.0))
    card = fit_final(SMALL, dear, SETTINGS, trials=1).card
    assert not card.promoted
    assert "utility after costs is 0.00 bps" in card.reason


def test_a_test_part_too_short_for_a_bound_is_not_promoted() -> None:
    long = SETTINGS.model_copy(update={"block_horizons": 10.0})
    card = fit_final(SMALL, make_set(), long, trials=1).card
    assert card.approved == (False, False)
    assert "give no bound" in card.reason


def test_the_same_data_and_seed_give_the_same_bytes() -> None:
    first, second = (fit_final(SMALL, make_set(), SETTINGS, trials=1) for _ in range(2))
    assert first == second
