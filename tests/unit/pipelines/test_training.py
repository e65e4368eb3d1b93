"""pipelines.training: what a trial sees, and what may be promoted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from foreshock.errors import DatasetError, OverlapError
from foreshock.models.boosted import BoostedSettings
from foreshock.models.calibration import CalibrationSettings
from foreshock.models.families.logistic import LogisticSettings
from foreshock.models.session import open_session, run_graph
from foreshock.stores.trials import TrialStore
from foreshock.validation.promotion import PromotionSettings
from foreshock.validation.rule import RuleSettings
from foreshock.validation.trials import Trial
from foreshock.validation.walk_forward import WalkForwardSettings, final_fold, walk_forward
from pipelines.training import Cell, TrainingSettings, evaluate, fit_final, mean_skill
from pipelines.tried import Tried, fold_returns, record, recorded, trial_of
from tests.reference.training import SECOND, make_set

SMALL = BoostedSettings(trees=15, leaves=7, min_leaf_rows=20)
# Seconds of data instead of days: periods of ten seconds. Surges here chain together, so that few
# are independent.
GATE = PromotionSettings(draws=1000, min_surges=2, max_ece=0.1)
SETTINGS = TrainingSettings(
    walk=WalkForwardSettings(folds=2, embargo_s=5),
    rule=RuleSettings(cool_down_s=1, period_s=10),
    calibration=CalibrationSettings(min_clusters=2),
    promotion=GATE,
    baselines=(),
    certificate_rows=2_000,
)


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
    with pytest.raises(DatasetError, match="horizon 20 s: one class only"):
        fit_final(SMALL, sparse, SETTINGS, trials=1)


def test_folds_whose_spans_overlap_are_never_trained_on() -> None:
    data = make_set()
    fold = walk_forward(data.t0_ns, data.end_ns, SETTINGS.walk)[0]
    order = np.argsort(data.t0_ns, kind="stable")
    wider = order[: int(np.flatnonzero(order == fold.calibration[0])[0])]
    with pytest.raises(OverlapError, match="of the train part"):
        evaluate(SMALL, data, [replace(fold, train=wider)], SETTINGS)


def test_a_real_edge_is_promoted_with_its_proof() -> None:
    data = make_set(steps=3000)
    shipped = fit_final(SMALL, data, SETTINGS, trials=1)
    card = shipped.card
    assert card.promoted, card.reason
    assert card.verdict == "promoted"
    assert card.approved == (True, True)
    assert card.trials == 1
    assert len(card.promotion) == 2 * 8
    assert {test["outcome"] for test in card.promotion} == {"passed"}
    for figures in card.metrics.values():
        assert 0 < figures["brier_skill_lower"] < figures["brier_skill"]
        assert 0 < figures["utility_bps_lower"] < figures["utility_bps"]
        assert figures["rows_spoken"] >= figures["trades"] > 0
        assert figures["precision_low"] < figures["precision_when_spoken"]
        assert figures["precision_top_1pct"] > figures["base_rate"]
    fold = final_fold(data.t0_ns, data.end_ns, SETTINGS.walk)
    assert card.spans_ns["test"][0] == data.t0_ns[fold.test].min()
    assert card.spans_ns["train"][1] + 5 * SECOND < card.spans_ns["calibration"][0]
    assert card.trained_to_ns == card.spans_ns["calibration"][1]
    assert (card.kind, card.scope, card.symbols) == ("boosted", "pooled", data.symbols)
    assert [(line["fold"], line["horizon_s"]) for line in card.folds] == [
        (0, 10), (0, 20), (1, 10), (1, 20),
    ]  # fmt: skip
    assert shipped.certificate["rows"] >= 2_000
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
    assert card.verdict == "refused"
    assert card.reason.startswith("not promoted; 10 s: refused, ")
    assert "Brier skill" in card.reason


def test_an_edge_that_does_not_pay_its_bill_is_not_promoted() -> None:
    data = make_set()
    dear = replace(data, bill_bps=np.full_like(data.bill_bps, 40.0))
    card = fit_final(SMALL, dear, SETTINGS, trials=1).card
    assert not card.promoted
    failed = {t["name"] for t in card.promotion if t["outcome"] != "passed"}
    assert {"utility", "precision"} <= failed
    assert "skill" not in failed
    assert card.metrics["10"]["trades"] == 0


def test_a_test_part_too_short_for_a_word_is_an_insufficient_sample() -> None:
    hourly = SETTINGS.model_copy(update={"rule": RuleSettings()})
    card = fit_final(SMALL, make_set(steps=3000), hourly, trials=1).card
    assert card.approved == (False, False)
    assert card.verdict == "insufficient_sample"
    assert "1 periods are fewer than 24" in card.reason
    long = SETTINGS.model_copy(update={"block_horizons": 15.0})
    card = fit_final(SMALL, make_set(), long, trials=1).card
    assert card.approved == (False, False)


def test_trials_that_nobody_has_returns_of_count_in_full() -> None:
    data = make_set(steps=3000)
    one, many = (fit_final(SMALL, data, SETTINGS, trials=n).card for n in (1, 500))
    assert (one.trials, many.trials) == (1, 500)
    first, second = (
        next(t["value"] for t in card.promotion if t["name"] == "deflated") for card in (one, many)
    )
    assert second < first


def test_the_ledger_of_trials_weighs_on_the_verdict() -> None:
    data = make_set(steps=3000)
    fold = final_fold(data.t0_ns, data.end_ns, SETTINGS.walk)
    folds = walk_forward(data.t0_ns, data.end_ns, SETTINGS.walk)
    recipes = [SMALL, SMALL.model_copy(update={"leaves": 3})]
    cells = [evaluate(recipe, data, folds, SETTINGS) for recipe in recipes]
    card = fit_final(SMALL, data, SETTINGS, 2).card
    window = (int(data.t0_ns[folds[0].test].min()), int(data.end_ns.max()))

    def line(recipe: BoostedSettings, mine: list[Cell], **more: object) -> Trial:
        told = {"alias": card.name, "window_ns": window, "data": data.fingerprint, "folds": 2}
        return trial_of(recipe, mine, **(told | more))  # type: ignore[arg-type]

    now = tuple(line(recipe, mine) for recipe, mine in zip(recipes, cells, strict=True))
    assert fit_final(
        SMALL, data, SETTINGS, 2, fold=fold, tried=Tried(now, tuple(cells[0]))
    ).card.trials == 2  # fmt: skip
    before = (
        line(recipes[0], cells[0]),  # the same trial again
        line(recipes[0], cells[0], data="the day before"),
        line(recipes[0], cells[0], alias="another"),
        *(line(recipes[1], cells[1], data=f"day {d}", frozen=True) for d in range(9)),
    )
    tried = Tried(now, tuple(cells[0]), before)
    assert fit_final(SMALL, data, SETTINGS, 2, fold=fold, tried=tried).card.trials == 3


def test_lines_of_the_ledger_come_back_as_they_were(tmp_path: Path) -> None:
    cells = [Cell(0, 10, 0.1, 0.2, returns_bps=(1.0, -0.5)), Cell(1, 10, 0.1, 0.2, "refused")]
    trial = trial_of(SMALL, cells, alias="m", window_ns=(1, 9), data="d", folds=2)
    assert trial.returns_bps == {10: ()}
    whole = trial_of(SMALL, cells[:1], alias="m", window_ns=(1, 9), data="d", folds=1, scope="x")
    assert whole.recipe != trial.recipe
    store = TrialStore(tmp_path / "trials.jsonl")
    assert record(store, [trial, whole]) == 2
    assert recorded(store) == [trial, whole]
    assert recorded(store, "other") == []
    assert fold_returns(cells, 10)[0] == 0.5
    assert np.isnan(fold_returns(cells, 10)[1])


def test_every_report_shows_the_baselines_on_the_same_rows() -> None:
    data = make_set()
    shown = SETTINGS.model_copy(update={"baselines": ("logistic", "order_flow")})
    card = fit_final(SMALL, data, shown, trials=1).card
    logistic = card.baselines["logistic"]
    assert set(logistic["10"]) == set(card.metrics["10"])
    assert logistic["10"]["rows"] == card.metrics["10"]["rows"]
    assert logistic["10"]["brier_skill"] > 0.1
    assert "order_flow needs one of" in card.baselines["order_flow"]["refused"]


def test_a_logistic_model_goes_the_same_way() -> None:
    card = fit_final(LogisticSettings(), make_set(steps=3000), SETTINGS, trials=1).card
    assert card.kind == "logistic"
    assert card.promoted, card.reason


def test_the_same_data_and_seed_give_the_same_bytes() -> None:
    first, second = (fit_final(SMALL, make_set(), SETTINGS, trials=1) for _ in range(2))
    assert first == second
