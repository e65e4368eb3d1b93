"""pipelines.outlook: the outcome's size beside the chance of a surge; it decides nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from foreshock.models.dataset import TrainingSet
from foreshock.models.outlook import OutlookSettings, arranged
from foreshock.models.session import open_session, run_graph
from foreshock.stores.registry import DirectoryRegistry
from foreshock.validation.walk_forward import final_fold
from pipelines.evidence import evidence_of
from pipelines.outlook import known_outcome, make_outlook
from pipelines.training import TrainingSettings, fit_final
from pipelines.tune_models import tune
from tests.reference.training import make_set
from tests.unit.pipelines.test_training import SETTINGS, SMALL

ASKED = OutlookSettings(
    mean=True, quantiles=(0.1, 0.5, 0.9), conformal_share=0.8, venn_abers=True, trees=40
)
WITH = SETTINGS.model_copy(update={"outlook": ASKED})


def spread_out(seed: int = 0, steps: int = 1_500) -> TrainingSet:
    """Outcomes whose mean follows one feature and whose spread another: the 0.1 and 0.9 quantiles
    are 10 x0 ∓ 12.8 exp(0.7 x2), and rows are independent."""
    data = make_set(seed=seed, steps=steps)
    X = np.nan_to_num(data.X)
    noise = np.random.default_rng(seed + 100).standard_normal((len(X), 2))
    outcome = 10.0 * X[:, :1] + 10.0 * np.exp(0.7 * X[:, 2:3]) * noise
    outcome[data.labels < 0] = np.nan
    return replace(data, outcome_bps=outcome.astype(np.float32))


def test_the_band_holds_what_it_promises_and_follows_the_spread() -> None:
    """Eight markets: the shares held lie about the promise as the few rows behind it allow, and on
    average on it."""
    shares, expected = [], 0
    for seed in range(8):
        data = spread_out(seed)
        fold = final_fold(data.t0_ns, data.end_ns, SETTINGS.walk)
        made = make_outlook(data, fold, ASKED)
        rows = fold.test[data.labels[fold.test, 0] >= 0]
        came = known_outcome(data, rows, 0)
        low, high = arranged(
            *(made.fits[name][0].raw_score(data.X[rows]) for name in ("low_bps", "high_bps"))
        )
        shares.append(float(((came >= low) & (came <= high)).mean()))
        true = 2 * 12.8155 * np.exp(0.7 * np.nan_to_num(data.X[rows, 2]))
        expected += np.corrcoef(np.log(high - low), np.log(true))[0, 1] > 0.85
        spread = np.sqrt(0.8 * 0.2 / made.held[0] + 0.8 * 0.2 / len(rows))
        assert abs(shares[-1] - 0.8) < 3.5 * spread
    assert abs(np.mean(shares) - 0.8) < 3.0 * spread / np.sqrt(8)
    assert expected == 8


def test_figures_are_judged_on_the_test_part_and_written_on_the_card() -> None:
    shipped = fit_final(SMALL, spread_out(steps=3_000), WITH, trials=1)
    told = shipped.card.outlook
    assert told["outputs"] == {"expected_bps": None, "low_bps": 0.1, "q50_bps": 0.5,
                               "high_bps": 0.9}  # fmt: skip
    assert set(told["band_margin_bps"]) == {"10", "20"} and told["band_share"] == 0.8
    for figures in shipped.card.metrics.values():
        of = {name.removeprefix("outlook_"): value for name, value in figures.items()}
        for word in ("expected", "low", "q50", "high"):
            assert 0.0 < of[f"{word}_skill_lower"] < of[f"{word}_skill"] < 0.5
        assert of["band_share_low"] < of["band_share"] < of["band_share_high"]
        assert of["band_promised_low"] < of["band_promised"] == 0.8 < of["band_promised_high"]
        assert of["band_share_low"] < of["band_promised_high"]
        assert of["band_share_high"] > of["band_promised_low"]
        assert of["band_crossed"] < 0.02
        assert 25.0 < of["band_width_bps"] < 45.0
        assert 0.0 < of["range_width"] < 0.3
        assert of["range_bins_inside"] >= 0.7


def test_the_certificate_names_each_output_with_its_own_bound() -> None:
    shipped = fit_final(SMALL, spread_out(), WITH, trials=1)
    assert list(shipped.certificate["extra"]) == list(ASKED.outputs)
    for columns in shipped.certificate["extra"].values():
        assert len(columns) == 2
        for column in columns:
            assert column["trees"] == 40 and column["leaves_different"] == 0
            assert 0.0 < column["raw_error"] <= column["raw_bound"] < 1e-2


def test_it_changes_no_probability_and_no_verdict() -> None:
    data = spread_out()
    plain, more = (fit_final(SMALL, data, settings, trials=1) for settings in (SETTINGS, WITH))
    p, q = (run_graph(open_session(each.graph), data.X, "probability") for each in (plain, more))
    np.testing.assert_array_equal(p, q)
    assert plain.card.promotion == more.card.promotion
    assert plain.card.thresholds == more.card.thresholds
    assert plain.card.outlook == {} and plain.certificate["extra"] == {}
    beside = {n: v for n, v in more.card.metrics["10"].items() if not n.startswith("outlook_")}
    assert beside == plain.card.metrics["10"]


def test_a_poisoned_test_part_changes_no_byte_of_the_graph() -> None:
    data = spread_out()
    fold = final_fold(data.t0_ns, data.end_ns, SETTINGS.walk)
    arrays = {name: values.copy() for name, values in data.arrays().items()}
    rows = fold.test
    arrays["X"][rows], arrays["outcome_bps"][rows] = 5.0, 1e4
    arrays["labels"][rows] = np.arange(len(rows))[:, None] % 2
    honest = fit_final(SMALL, data, WITH, trials=1)
    poisoned = fit_final(SMALL, replace(data, **arrays), WITH, trials=1)
    assert honest.graph == poisoned.graph
    assert honest.card.outlook == poisoned.card.outlook != {}
    assert honest.card.metrics != poisoned.card.metrics


def test_the_same_data_and_seed_give_the_same_bytes() -> None:
    first, second = (fit_final(SMALL, spread_out(), WITH, trials=1) for _ in range(2))
    assert first == second


def flat(data: TrainingSet) -> TrainingSet:
    return replace(data, outcome_bps=np.where(data.labels < 0, np.nan, 5.0).astype(np.float32))


def test_what_cannot_be_had_is_told_by_name_and_costs_no_model() -> None:
    shipped = fit_final(SMALL, flat(spread_out()), WITH, trials=1)
    assert shipped.card.outlook == {
        "refused": "outlook of 10 s: the target is the same throughout: there is nothing to regress"
    }
    assert shipped.certificate["extra"] == {}
    assert shipped.card.metrics["10"]["brier_skill"] > 0.1
    data = spread_out()
    fold = final_fold(data.t0_ns, data.end_ns, SETTINGS.walk)
    bold = ASKED.model_copy(update={"conformal_share": 0.999})
    assert "cannot promise a share of 0.999" in make_outlook(data, fold, bold).refused
    many = ASKED.model_copy(update={"min_rows": 10**6})
    assert "too few rows with a known target" in make_outlook(data, fold, many).refused


@pytest.mark.parametrize("asked", [{"mean": True}, {"quantiles": (0.5,)}, {"venn_abers": True}])
def test_each_can_be_had_alone(asked: dict[str, object]) -> None:
    alone = OutlookSettings.model_validate({**asked, "trees": 10})
    settings: TrainingSettings = SETTINGS.model_copy(update={"outlook": alone})
    shipped = fit_final(SMALL, spread_out(), settings, trials=1)
    names = {n for n in shipped.card.metrics["10"] if n.startswith("outlook_")}
    assert len(names) == 2 and None not in {shipped.card.metrics["10"][n] for n in names}
    assert list(shipped.certificate["extra"]) == list(alone.outputs)


def test_evidence_has_the_outputs_and_the_baselines_words() -> None:
    data = spread_out()
    fold = final_fold(data.t0_ns, data.end_ns, SETTINGS.walk)
    settings = WITH.model_copy(update={"baselines": ("logistic", "order_flow")})
    shipped = fit_final(SMALL, data, settings, trials=1)
    run = evidence_of(shipped.card, shipped.graph, data, fold.test, baselines=shipped.baselines)
    for h, told in enumerate(run.horizons):
        assert set(told.outlook) == {"outcome_bps", *ASKED.outputs}
        assert all(np.isfinite(each).all() for each in told.outlook.values())
        assert list(told.baselines) == ["logistic"]  # order flow has no column here
        card = shipped.card.baselines["logistic"][str(told.horizon_s)]
        brier = float(np.mean((told.baselines["logistic"] - told.label) ** 2))
        assert brier == pytest.approx(card["brier"])
        assert told.outlook["outcome_bps"].shape == told.label.shape, h


def test_the_record_of_a_training_shows_outlook_and_baselines(tmp_path: Path) -> None:
    registry = DirectoryRegistry(tmp_path / "models")
    settings = WITH.model_copy(update={"baselines": ("logistic",)})
    made = tune(
        spread_out(), tmp_path / "model", settings=settings, base=SMALL, trials=1, seed=1,
        use_ray=False, registry=registry,
    )  # fmt: skip
    (path,) = (tmp_path / "models" / "runs").rglob("report.json")
    horizon = json.loads(path.read_text())["horizons"][0]
    assert horizon["outlook"]["band_share"] == made["metrics"]["10"]["outlook_band_share"]
    assert horizon["baselines"]["logistic"]["lead_lower"] is not None
    assert "How far, beside whether" in path.with_name("report.html").read_text()
