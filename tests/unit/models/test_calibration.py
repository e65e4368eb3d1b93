"""foreshock.models.calibration: monotone, bounded, and fitted to independent events."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foreshock.errors import DatasetError
from foreshock.models.calibration import MAX_KNOTS, CalibrationSettings, Table, calibrate

SETTINGS = CalibrationSettings()


def sample(seed: int, n: int, slope: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    raw = random.normal(-1.0, 1.5, n).astype(np.float32)
    chance = 1 / (1 + np.exp(-slope * raw.astype(np.float64)))
    return raw, (random.random(n) < chance).astype(np.int8)


def fitted(seed: int, n: int, events: int, slope: float = 1.0, **changes: float) -> Table:
    raw, label = sample(seed, n, slope)
    chosen = SETTINGS.model_copy(update=changes)
    return calibrate(raw, label, np.arange(n, dtype=np.int64) % events, chosen)


@pytest.mark.parametrize(
    ("events", "method"), [(19, "platt"), (20, "beta"), (49, "beta"), (50, "isotonic")]
)
def test_the_number_of_independent_surges_chooses_the_method(events: int, method: str) -> None:
    chosen = {"beta_clusters": 20, "isotonic_clusters": 50}
    assert fitted(1, 4000, events, **chosen).method == method


def test_isotonic_is_for_a_thousand_independent_surges() -> None:
    assert SETTINGS.isotonic_clusters == 1_000


@pytest.mark.parametrize("shift, scale", [(-7.0, 0.1), (0.0, 0.05), (-4.0, 3.0), (0.0, 50.0)])
@pytest.mark.parametrize("events", [50, 200, 2_000])
def test_the_unit_of_the_score_does_not_matter(shift: float, scale: float, events: int) -> None:
    random = np.random.default_rng(7)
    z = random.standard_normal(100_000)
    truth = 1 / (1 + np.exp(-(0.8 * z - 3.5)))
    label = (random.random(len(z)) < truth).astype(np.int8)
    raw = (shift + scale * z).astype(np.float32)
    limits = CalibrationSettings(max_slope=100.0)
    table = calibrate(raw, label, np.arange(len(z), dtype=np.int64) % events, limits)
    assert np.abs(table.apply(raw) - truth).mean() < 0.1 * truth.mean()


def test_beta_bends_where_platt_cannot() -> None:
    random = np.random.default_rng(4)
    raw = random.normal(-1.0, 2.0, 60_000)
    truth = 0.05 + 0.3 / (1 + np.exp(-raw))  # neither end is ever sure
    label = (random.random(len(raw)) < truth).astype(np.int8)
    x = raw.astype(np.float32)
    cluster = np.arange(len(raw), dtype=np.int64) % 150
    errors = {
        method: float(np.abs(table.apply(x) - truth).mean())
        for method, table in (
            ("beta", calibrate(x, label, cluster, SETTINGS)),
            ("platt", calibrate(x, label, cluster % 50, SETTINGS)),
        )
    }
    assert errors["beta"] < errors["platt"] < 0.05


def test_a_score_that_says_the_opposite_is_flat() -> None:
    raw, label = sample(3, 5_000)
    for events in (10, 200, 5_000):
        cluster = np.arange(5_000, dtype=np.int64) % events
        table = calibrate(-raw, label, cluster, SETTINGS)
        p = table.apply(-raw)
        assert np.quantile(p, 0.99) - np.quantile(p, 0.01) < 0.02


@pytest.mark.parametrize("events", [10, 200, 5000])
@pytest.mark.parametrize("slope", [0.3, 1.0, 20.0])
@pytest.mark.parametrize("seed", range(3))
def test_every_table_is_short_monotone_clipped_and_not_steep(
    events: int, slope: float, seed: int
) -> None:
    table = fitted(seed, 5000, events, slope, p_min=0.01)
    assert 1 <= len(table.raw) <= MAX_KNOTS
    assert (np.diff(table.raw) > 0).all()
    assert (np.diff(table.probability) >= 0).all()
    assert table.probability.min() >= np.float32(0.01)
    assert table.probability.max() <= np.float32(0.99)
    assert table.slope <= SETTINGS.max_slope * 1.001


@pytest.mark.parametrize("events", [10, 200, 40_000])
def test_probabilities_come_out_as_they_are(events: int) -> None:
    table = fitted(5, 40_000, events)
    raw, _ = sample(6, 5000)
    truth = 1 / (1 + np.exp(-raw.astype(np.float64)))
    assert np.abs(table.apply(raw) - truth).mean() < 0.02


@settings(deadline=None, max_examples=80)
@given(
    st.lists(st.integers(-500, 500), min_size=1, max_size=64, unique=True),
    st.data(),
)
def test_a_table_never_falls_in_float32(knots: list[int], data: st.DataObject) -> None:
    raw = np.sort(np.array(knots) * 0.0371).astype(np.float32)
    levels = data.draw(
        st.lists(st.floats(0, 1, width=32), min_size=len(knots), max_size=len(knots))
    )
    table = Table(raw, np.sort(np.array(levels, np.float32)), "isotonic")
    beside = np.concatenate(
        [raw, np.nextafter(raw, np.float32(99)), np.nextafter(raw, -np.float32(99))]
    )
    grid = np.linspace(-25, 25, 400).astype(np.float32)
    x = np.unique(np.concatenate([beside, grid]))
    p = table.apply(x)
    assert (np.diff(p) >= 0).all()
    assert p.min() >= table.probability[0]
    assert p.max() <= table.probability[-1]


def test_a_score_that_says_the_opposite_is_flattened_to_the_base_rate() -> None:
    raw, label = sample(2, 4000)
    cluster = np.arange(4000, dtype=np.int64)
    for settings_ in (SETTINGS, SETTINGS.model_copy(update={"isotonic_clusters": 10**6})):
        table = calibrate(-raw, label, cluster, settings_)
        p = table.apply(-raw)
        assert np.ptp(p) < 0.05
        assert p.mean() == pytest.approx(label.mean(), abs=0.02)


def test_a_constant_score_gives_one_knot_at_the_base_rate() -> None:
    _, label = sample(3, 500)
    for events in (10, 500):
        table = calibrate(
            np.full(500, -1.5, np.float32), label, np.arange(500, dtype=np.int64) % events, SETTINGS
        )
        assert (len(table.raw), table.method) == (1, "flat")
        assert table.apply(np.array([3.0], np.float32))[0] == pytest.approx(label.mean(), abs=1e-6)


def test_too_few_independent_surges_are_refused() -> None:
    with pytest.raises(DatasetError, match="needs 5 independent surges, there are 4"):
        fitted(1, 4000, 4)


def test_one_class_and_scores_that_are_no_numbers_are_refused() -> None:
    raw, label = sample(1, 100)
    cluster = np.arange(100, dtype=np.int64)
    with pytest.raises(DatasetError, match="one class"):
        calibrate(raw, np.ones(100, np.int8), cluster, SETTINGS)
    raw[3] = np.nan
    with pytest.raises(DatasetError, match="not finite"):
        calibrate(raw, label, cluster, SETTINGS)
