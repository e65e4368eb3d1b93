from __future__ import annotations

import math

import numpy as np
import pytest
from pydantic import ValidationError

from foreshock.features import series
from foreshock.features.series import SeriesSettings, Transform
from foreshock.market import ladder as books
from foreshock.market.rows import CONTEXT_SERIES
from tests.reference.feature_tape import as_input, instruments
from tests.reference.features import SECOND, Context, Event
from tests.reference.features_series import series_features

DAY = 86_400 * SECOND
START = 1_700_000_000 * SECOND // DAY * DAY
SETTINGS = SeriesSettings()
NAMES = [one.name for one in SETTINGS.features]


def vectors(events: list[Event], boundaries: list[int]) -> np.ndarray:
    words, touch = as_input(sorted(events, key=lambda e: e.at))
    state, ladder = series.init(instruments(2), SETTINGS), books.init(2)
    found, lo = np.full((len(boundaries), 2, len(NAMES)), -1e300), 0
    for k, boundary in enumerate(boundaries):
        hi = int(np.searchsorted(words[:, 0], boundary, side="left"))
        series.scan(words, touch, lo, hi, state)
        series.close(boundary, ladder, state, found[k])
        lo = hi
    return found


def told(name: str, of: int, value: float, at: int | None = None) -> Context:
    field = CONTEXT_SERIES + SETTINGS.names.index(name)
    return Context(of + DAY if at is None else at, -1, field, value, of)


def value_of(events: list[Event], boundary: int, name: str) -> float:
    return float(vectors(events, [boundary])[0, 0, NAMES.index(name)])


@pytest.mark.parametrize("seed", [1, 2])
def test_every_feature_equals_its_naive_twin(seed: int) -> None:
    rng = np.random.default_rng(seed)
    events: list[Event] = []
    for k in range(len(SETTINGS.names)):
        step = DAY if k else DAY // 24
        for n in range(260):
            of = START + n * DAY if k else START + 250 * DAY + n * step
            at = of + DAY + int(rng.integers(0, DAY // 2))
            if rng.random() < 0.05:
                continue
            value = math.exp(rng.normal(0, 0.3)) if rng.random() < 0.97 else rng.normal()
            value = float(rng.choice([np.nan, np.inf, 0.0])) if rng.random() < 0.01 else value
            events.append(Context(at, -1, CONTEXT_SERIES + k, float(value), of))
            if rng.random() < 0.05:  # revised, once while it is the newest, once long after
                later = at + int(rng.choice([1, 20 * DAY]))
                events.append(Context(later, -1, CONTEXT_SERIES + k, float(value) + 1, of))
    events.sort(key=lambda e: e.at)
    boundaries = [START + 9 * DAY * k + 12 * DAY // 10 for k in range(1, 29)]
    boundaries += [START + 255 * DAY, START + 268 * DAY]
    found, some = vectors(events, boundaries), np.zeros(len(NAMES), bool)
    for k, boundary in enumerate(boundaries):
        wanted = series_features(events, boundary, SETTINGS)
        assert list(wanted) == NAMES
        some |= np.isfinite(found[k, 0])
        assert found[k, 0].tobytes() == found[k, 1].tobytes()
        for name, value in zip(NAMES, found[k, 0].tolist(), strict=True):
            want = wanted[name]
            assert math.isclose(value, want, rel_tol=1e-9, abs_tol=1e-9) or (
                math.isnan(value) and math.isnan(want)
            ), f"{name} at boundary {k}: {value} is not {want}"
    assert some.all(), [name for name, one in zip(NAMES, some, strict=True) if not one]


def test_a_source_that_is_not_connected_is_nan_and_never_zero() -> None:
    found = vectors([told("fear_greed", START, 30.0)], [START + 2 * DAY])[0, 0]
    assert np.flatnonzero(np.isfinite(found)).tolist() == [NAMES.index("fear_greed_index")]


def test_a_value_holds_from_when_it_became_known_and_until_its_limit() -> None:
    events: list[Event] = [told("fear_greed", START, 30.0)]
    assert math.isnan(value_of(events, START + DAY, "fear_greed_index"))
    assert value_of(events, START + DAY + SECOND, "fear_greed_index") == 30.0
    assert value_of(events, START + 5 * DAY, "fear_greed_index") == 30.0
    assert math.isnan(value_of(events, START + 5 * DAY + SECOND, "fear_greed_index"))


def test_a_revision_holds_from_its_own_row_on_and_never_before() -> None:
    events: list[Event] = [told("mvrv", START, 2.0), told("mvrv", START, 3.0, START + 2 * DAY)]
    found = vectors(events, [START + 2 * DAY, START + 2 * DAY + SECOND])
    assert found[:, 0, NAMES.index("mvrv")].tolist() == [2.0, 3.0]


def test_a_row_that_says_it_becomes_known_later_is_not_taken() -> None:
    early = told("mvrv", START, 2.0, START - SECOND)  # before the time that it is of
    assert math.isnan(value_of([early], START + SECOND, "mvrv"))


def test_a_dollar_that_mirrors_bitcoin_has_an_inverse_of_one() -> None:
    rng = np.random.default_rng(0)
    price = np.exp(np.cumsum(rng.normal(0, 0.01, 40)))
    events: list[Event] = []
    for k, p in enumerate(price.tolist()):
        events += [told("btc_price", START + k * DAY, p), told("dxy", START + k * DAY, 1 / p)]
    assert value_of(events, START + 41 * DAY, "dxy_inverse") == pytest.approx(1.0)
    events = [e for e in events if e.boundary != START + 7 * DAY]  # a hole is not a problem
    assert value_of(events, START + 41 * DAY, "dxy_inverse") == pytest.approx(1.0)


def test_settings_that_name_no_series_or_no_span_are_refused() -> None:
    for wrong in (
        Transform(name="x", series="nothing"),
        Transform(name="x", series="dxy", kind="change"),
        Transform(name="x", series="dxy", kind="correlation", span_s=9),
    ):
        with pytest.raises(ValidationError):
            SeriesSettings(features=(wrong,))
