"""Kinds of models: each fits, exports and scores alike, and learns from its training rows alone."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import BaseModel

from foreshock.errors import DatasetError, ModelError
from foreshock.features import catalog
from foreshock.features.settings import FeatureSettings
from foreshock.models.boosted import BoostedSettings, bin_rows
from foreshock.models.calibration import CalibrationSettings, calibrate
from foreshock.models.certificate import certify
from foreshock.models.families.logistic import LogisticSettings
from foreshock.models.families.order_flow import OrderFlowSettings
from foreshock.models.family import FAMILIES, fit_one, importance_of, recipe_of
from foreshock.models.magnitude import MagnitudeSettings, fit_magnitude
from foreshock.models.onnx import build_graph
from foreshock.models.parts import Linear, TreeSum
from foreshock.models.preparation import fit_scaling, strongest
from foreshock.models.session import open_session, run_graph
from foreshock.validation import measures
from tests.reference.boosted import fit

NAMES = ("flow_imbalance_60s", "noise", "half_known", "constant", "far_out")
KINDS = tuple(FAMILIES)


def material(
    n: int = 6_000, seed: int = 3
) -> tuple[NDArray[np.float32], NDArray[np.int8], NDArray[np.float64]]:
    """(X, labels, true probabilities): what happens depends on two columns."""
    random = np.random.default_rng(seed)
    X = random.standard_normal((n, len(NAMES))).astype(np.float32)
    X[random.random(n) < 0.4, 2] = np.nan
    X[:, 3] = 1.5
    X[:, 4] = X[:, 4] * 1e6 + 1e6
    p = 1.0 / (1.0 + np.exp(-(-2.0 + 1.0 * X[:, 0] + 0.5 * np.nan_to_num(X[:, 2]))))
    return X, (random.random(n) < p).astype(np.int8), p.astype(np.float64)


def recipe(kind: str) -> BaseModel:
    small = {"trees": 30} if "boosted" in kind else {}
    return recipe_of({"kind": kind, **small})


def test_a_family_is_called_as_its_module_and_its_recipes_say_so() -> None:
    assert {"boosted", "logistic", "order_flow", "xgboosted"} <= set(KINDS)
    for kind, family in FAMILIES.items():
        assert family.kind == kind
        assert family.settings().model_dump()["kind"] == kind
        assert isinstance(recipe_of({"kind": kind}), family.settings)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_goes_the_whole_way_to_a_certified_graph(kind: str) -> None:
    X, y, _ = material()
    fitted = fit_one(recipe(kind), X, y, None, NAMES)
    assert fitted.kind == kind and fitted.base_rate == pytest.approx(float(y.mean()))
    raw = run_graph(open_session(build_graph([fitted.part], len(NAMES))), X, "raw_score")[:, 0]
    np.testing.assert_allclose(raw, fitted.raw_score(X), atol=1e-4, rtol=1e-5)
    table = calibrate(raw, y, np.arange(len(y)), CalibrationSettings())
    graph = build_graph([fitted.part], len(NAMES), [table])
    certificate = certify([fitted], graph, [table], X, rows_least=2_000)
    assert certificate["graph_sha256"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_rows_give_the_same_model_and_unknown_rows_none(kind: str) -> None:
    X, y, _ = material()
    first, again = (fit_one(recipe(kind), X, y, None, NAMES) for _ in range(2))
    graphs = {build_graph([each.part], len(NAMES)) for each in (first, again)}
    more = np.concatenate([X, np.full((50, len(NAMES)), 9e9, np.float32)])
    unknown = np.concatenate([y, np.full(50, -1, np.int8)])
    third = fit_one(recipe(kind), more, unknown, None, NAMES)
    graphs.add(build_graph([third.part], len(NAMES)))
    assert len(graphs) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_what_must_not_be_trained_on_is_refused_by_name(kind: str) -> None:
    X, y, _ = material(800)
    with pytest.raises(DatasetError, match="too few rows"):
        fit_one(recipe(kind), X[:400], y[:400], None, NAMES)
    with pytest.raises(DatasetError, match="one class only"):
        fit_one(recipe(kind), X, np.zeros_like(y), None, NAMES)
    with pytest.raises(DatasetError, match="infinite"):
        broken = X.copy()
        broken[3, 1] = np.inf
        fit_one(recipe(kind), broken, y, None, NAMES)
    with pytest.raises(DatasetError, match="every feature is constant"):
        fit_one(recipe(kind), np.ones_like(X), y, None, NAMES)


def test_order_flow_is_known_at_every_tier_that_has_any() -> None:
    names = {spec.name: spec.needs for spec in catalog.layout(FeatureSettings())}
    asked = OrderFlowSettings().columns
    assert {names[name] for name in asked} == {"tape", "bars"}
    X, y, _ = material()
    fitted = fit_one(OrderFlowSettings(), X, y, None, ("a", "taker_buy_share_5m", "b", "c", "d"))
    assert isinstance(fitted.part, Linear)
    np.testing.assert_array_equal(np.flatnonzero(fitted.part.weight), [1])


def test_order_flow_passes_over_what_the_rows_do_not_know() -> None:
    X, y, _ = material()
    X[:, 0] = np.nan  # candles of a source that does not say who took
    names = (
        "taker_buy_share_60s",
        "obv_change_20",
        "taker_buy_share_1h",
        "taker_buy_share_5m",
        "d",
    )
    # The fourth is there and never moves.
    fitted = fit_one(OrderFlowSettings(), X[:, [0, 1, 0, 3, 4]], y, None, names)
    assert isinstance(fitted.part, Linear)
    np.testing.assert_array_equal(np.flatnonzero(fitted.part.weight), [1])
    with pytest.raises(DatasetError, match="no flow is known"):
        fit_one(
            OrderFlowSettings(), X[:, [0, 1, 0, 3, 4]], y, None, ("taker_buy_share_60s", *"abcd")
        )


def test_an_unknown_kind_or_setting_is_named() -> None:
    with pytest.raises(ModelError, match="no kind of model is called 'oracle'"):
        recipe_of({"kind": "oracle"})
    with pytest.raises(ModelError, match="logistic"):
        recipe_of({"kind": "logistic", "trees": 3})
    with pytest.raises(DatasetError, match="no flow"):
        X, y, _ = material(800)
        fit_one(recipe("order_flow"), X, y, None, ("a", "b", "c", "d", "e"))


def test_shared_bins_change_no_byte() -> None:
    X, y, _ = material()
    weights = np.random.default_rng(1).random(len(y)).astype(np.float32)
    shared = bin_rows(X, y, NAMES)
    recipes = [
        BoostedSettings(trees=20),
        BoostedSettings(trees=20, objective="focal", leaves=7),
        BoostedSettings(trees=20, min_leaf_rows=400),
        BoostedSettings(trees=20, class_weight="balanced"),
        BoostedSettings(trees=20),
    ]
    for settings in recipes:
        alone = fit_one(settings, X, y, weights, NAMES)
        together = fit_one(settings, X, y, weights, NAMES, shared)
        assert build_graph([alone.part], 5) == build_graph([together.part], 5)


def test_only_the_strongest_columns_are_split_on_where_so_many_are_asked_for() -> None:
    X, y, _ = material()
    recipe_ = BoostedSettings(trees=20, columns=2)
    alone = fit_one(recipe_, X, y, None, NAMES)
    assert isinstance(alone.part, TreeSum)
    split = {int(f) for tree in alone.part.trees for f in tree.feature[tree.splits]}
    assert split == set(strongest(X, y, 2).tolist()) == {0, 2}
    for shared in (bin_rows(X, y, NAMES), bin_rows(X, y, NAMES, columns=2)):
        together = fit_one(recipe_, X, y, None, NAMES, shared)
        assert build_graph([alone.part], 5) == build_graph([together.part], 5)
    np.testing.assert_array_equal(X[:, 3], 1.5)  # what was given is as it was


def test_balanced_classes_are_weights_and_calibration_takes_them_back() -> None:
    X, y, _ = material()
    plain = fit_one(BoostedSettings(trees=40), X, y, None, NAMES)
    equal = fit_one(BoostedSettings(trees=40, class_weight="balanced"), X, y, None, NAMES)
    assert equal.raw_score(X).mean() > plain.raw_score(X).mean() + 0.5
    share = float(y.mean())
    by_hand = np.where(y > 0, 0.5 / share, 0.5 / (1.0 - share)).astype(np.float32)
    weighted = fit_one(BoostedSettings(trees=40), X, y, by_hand, NAMES)
    np.testing.assert_allclose(weighted.raw_score(X), equal.raw_score(X), atol=1e-5)
    raw = equal.raw_score(X).astype(np.float32)
    table = calibrate(raw, y, np.arange(len(y)), CalibrationSettings())
    assert float(table.apply(raw).mean()) == pytest.approx(share, abs=0.01)


def test_many_horizons_are_many_single_ones() -> None:
    X, y, _ = material()
    settings = BoostedSettings(trees=15)
    both = fit(X, np.stack([y, 1 - y], axis=1).astype(np.int8), settings, NAMES)
    single = fit_one(settings, X, y, None, NAMES)
    np.testing.assert_array_equal(both.raw_score(X)[:, 0], single.raw_score(X))


def test_poison_in_the_test_part_changes_nothing() -> None:
    X, y, _ = material()
    train = np.arange(4_000)
    poisoned, lied = X.copy(), y.copy()
    poisoned[4_000:], lied[4_000:] = 1e30, 1 - y[4_000:]
    chosen = [recipe(kind) for kind in KINDS]
    chosen += [BoostedSettings(trees=10, columns=2), LogisticSettings(columns=2)]
    for one in chosen:
        graphs = {
            build_graph([fit_one(one, a[train], b[train], None, NAMES).part], len(NAMES))
            for a, b in ((X, y), (poisoned, lied))
        }
        assert len(graphs) == 1
    np.testing.assert_array_equal(strongest(X[train], y[train], 2), [0, 2])


def test_scaling_is_the_median_and_the_quartiles() -> None:
    X, _, _ = material()
    scaling = fit_scaling(X)
    known = X[~np.isnan(X[:, 2]), 2].astype(np.float64)
    low, middle, high = np.quantile(known, (0.25, 0.5, 0.75))
    assert scaling.centre[2] == np.float32(middle)
    assert scaling.scale[2] == np.float32((high - low) / 1.349)
    assert scaling.useful.tolist() == [True, True, True, False, True]
    z = scaling.apply(np.array([[np.nan] * 5, [1e9] * 5], np.float32), 4.0)
    assert (z[0] == 0.0).all() and z[1, 3] == 0.0 and z[1, 0] == 4.0
    nothing = fit_scaling(np.full((4, 1), np.nan, np.float32))
    assert not nothing.useful[0] and nothing.scale[0] == 1.0


@pytest.mark.parametrize("count", [1, 3, 99])
def test_the_strongest_columns_are_those_of_the_naive_twin(count: int) -> None:
    X, y, _ = material(1_500)
    filled = np.where(np.isnan(X), np.nanmedian(X, axis=0), X).astype(np.float64)
    strength = [
        0.0 if column.std() == 0 else abs(np.corrcoef(column, y)[0, 1]) for column in filled.T
    ]
    naive = sorted(sorted(range(5), key=lambda j: (-strength[j], j))[:count])
    assert strongest(X, y, count).tolist() == naive


@pytest.mark.parametrize(("events", "method"), [(50, "platt"), (200, "beta"), (20_000, "isotonic")])
@pytest.mark.parametrize("kind", ["boosted", "logistic"])
def test_on_simulated_truth_probabilities_are_true(kind: str, events: int, method: str) -> None:
    X, y, _ = material(60_000, seed=5)
    train, held, test = (slice(0, 20_000), slice(20_000, 40_000), slice(40_000, None))
    fitted = fit_one(recipe(kind), X[train], y[train], None, NAMES)
    raw = fitted.raw_score(X[held]).astype(np.float32)
    table = calibrate(raw, y[held], np.arange(20_000) % events, CalibrationSettings())
    assert table.method == method
    p = table.apply(fitted.raw_score(X[test]).astype(np.float32))
    slope, _ = measures.calibration_line(y[test], p)
    assert measures.brier_skill(y[test], p) > 0.05
    assert 0.9 <= slope <= 1.1
    assert measures.expected_calibration_error(y[test], p) <= 0.02


def test_magnitude_and_bands_leave_by_the_same_graph() -> None:
    X, y, _ = material()
    random = np.random.default_rng(2)
    move = (5.0 * X[:, 0] + random.standard_normal(len(X))).astype(np.float32)
    move[::7] = np.nan
    mean = fit_magnitude(MagnitudeSettings(), X, move, NAMES)
    low, high = (
        fit_magnitude(MagnitudeSettings(objective="quantile", level=q), X, move, NAMES)
        for q in (0.1, 0.9)
    )
    known = np.isfinite(move)
    below, above = low.raw_score(X)[known], high.raw_score(X)[known]
    inside = ((move[known] >= below) & (move[known] <= above)).mean()
    assert 0.74 <= inside <= 0.86
    assert np.corrcoef(mean.raw_score(X)[known], move[known])[0, 1] > 0.9
    fitted = fit_one(BoostedSettings(trees=20), X, y, None, NAMES)
    raw = fitted.raw_score(X).astype(np.float32)
    table = calibrate(raw, y, np.arange(len(y)), CalibrationSettings())
    extra = {"magnitude": [mean.part], "band": [low.part, high.part]}
    graph = build_graph([fitted.part], len(NAMES), [table], extra)
    session = open_session(graph)
    np.testing.assert_allclose(
        run_graph(session, X, "magnitude")[:, 0], mean.raw_score(X), atol=1e-3, rtol=1e-5
    )
    assert run_graph(session, X, "band").shape == (len(X), 2)
    fits = {"magnitude": [mean], "band": [low, high]}
    certify([fitted], graph, [table], X, rows_least=2_000, extra=fits)


def test_a_magnitude_that_cannot_be_learned_is_refused() -> None:
    X, _, _ = material(800)
    with pytest.raises(DatasetError, match="too few"):
        fit_magnitude(MagnitudeSettings(), X, np.full(800, np.nan, np.float32), NAMES)
    with pytest.raises(DatasetError, match="nothing to regress"):
        fit_magnitude(MagnitudeSettings(), X, np.ones(800, np.float32), NAMES)


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_model_leans_on_is_what_the_truth_is_made_of(kind: str) -> None:
    X, y, _ = material()
    shares = importance_of(fit_one(recipe(kind), X, y, None, NAMES), NAMES)
    assert sum(shares.values()) == pytest.approx(1.0)
    assert max(shares, key=lambda name: shares[name]) == "flow_imbalance_60s"
    assert "constant" not in shares
