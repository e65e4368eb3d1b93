from __future__ import annotations

import math

import numpy as np
import pytest

from foreshock.features import catalog, derivatives
from foreshock.features.derivatives_specs import DerivativesSettings
from foreshock.features.settings import FeatureSettings
from foreshock.market import ladder as books
from tests.reference.feature_tape import as_input, instruments
from tests.reference.features import SECOND, Event, Liquidation, Mark, Metric
from tests.reference.features_derivatives import derivatives_features

START = 1_700_000_000 * SECOND
HOUR, DAY = 3600 * SECOND, 86_400 * SECOND
SETTINGS = DerivativesSettings()
NAMES = catalog.layout(FeatureSettings(families=("derivatives",))).names
NEXT = START // (8 * HOUR) * 8 * HOUR + 8 * HOUR


def vectors(events: list[Event], boundaries: list[int], n: int = 2) -> np.ndarray:
    """Of the family alone, at boundaries as far apart as they are."""
    words, touch = as_input(sorted(events, key=lambda e: e.at))
    state, ladder = derivatives.init(instruments(n), SETTINGS), books.init(n)
    found, lo = np.full((len(boundaries), n, len(NAMES)), -1e300), 0
    for k, boundary in enumerate(boundaries):
        hi = int(np.searchsorted(words[:, 0], boundary, side="left"))
        derivatives.scan(words, touch, lo, hi, state)
        derivatives.close(boundary, ladder, state, found[k])
        lo = hi
    return found


def value_of(events: list[Event], boundary: int, name: str) -> float:
    return float(vectors(events, [boundary])[0, 0, NAMES.index(name)])


def random_facts(seed: int, hours: int) -> list[Event]:
    """Marks that fall silent, metrics that come late, twice or as rubbish, liquidations."""
    rng = np.random.default_rng(seed)
    events: list[Event] = []
    rubbish = [math.nan, math.inf, -math.inf, 0.0, -1.0]
    for s in range(2):
        mark = 30_000.0
        for k in range(hours * 120):
            at = START + k * 30 * SECOND + int(rng.integers(0, 20 * SECOND))
            mark *= math.exp(rng.normal(0, 1e-4))
            told = mark if rng.random() < 0.98 else float(rng.choice(rubbish))
            index = mark * (1 + rng.normal(0, 1e-4))
            index = index if rng.random() < 0.98 else float(rng.choice(rubbish))
            rate = float(rng.normal(1e-4, 5e-5)) if rng.random() < 0.98 else math.nan
            settles = at // (8 * HOUR) * 8 * HOUR + 8 * HOUR
            if rng.random() < 0.95:
                late = 0 if rng.random() < 0.02 else settles
                events.append(Mark(at, s, told, index, rate, late))
            if rng.random() < 0.02:
                lots = int(rng.integers(0, 50))
                ticks = int(rng.integers(0, 9))
                events.append(Liquidation(at, s, bool(rng.random() < 0.5), ticks, lots))
        for k in range(hours * 12):
            of = START + k * 300 * SECOND
            for field in range(0, 8):
                if rng.random() < 0.06:
                    continue
                value = math.exp(rng.normal(0, 0.1))
                if rng.random() < 0.02:
                    value = float(rng.choice(rubbish))
                shift = int(rng.choice([0, 0, 0, 0, -400, 100, 90_000])) * SECOND
                late = int(rng.integers(0, 200 * SECOND))
                kind_of = of + shift if field != 7 else of // (8 * HOUR) * 8 * HOUR + 3_000_000
                events.append(Metric(of + late, s, field, value * 1e-4 ** (field == 7), kind_of))
        events += [
            Metric(START + k, s, 7, float(rng.normal(1e-4, 1e-4)), NEXT - (95 - k) * 8 * HOUR)
            for k in range(90)
        ]
    return sorted(events, key=lambda e: e.at)


@pytest.mark.parametrize("seed", [1, 2])
def test_every_feature_equals_its_naive_twin(seed: int) -> None:
    hours = 27
    events = random_facts(seed, hours)
    rng = np.random.default_rng(seed)
    picked = sorted({int(k) for k in rng.integers(60, hours * 3600, 60)} | {25 * 3600, 26 * 3600})
    boundaries = [START + k * SECOND for k in picked]
    found, some = vectors(events, boundaries), np.zeros(len(NAMES), bool)
    for k, boundary in enumerate(boundaries):
        for s in range(2):
            wanted = derivatives_features(events, s, boundary, SETTINGS, 1e-5)
            assert set(wanted) == set(NAMES)
            some |= np.isfinite(found[k, s])
            for name, value in zip(NAMES, found[k, s].tolist(), strict=True):
                want = wanted[name]
                assert math.isclose(value, want, rel_tol=1e-9, abs_tol=1e-9) or (
                    math.isnan(value) and math.isnan(want)
                ), f"{name} of symbol {s} at second {picked[k]}: {value} is not {want}"
    assert some.all(), [name for name, one in zip(NAMES, some, strict=True) if not one]


def test_what_has_not_come_is_not_known_and_never_zero() -> None:
    assert np.isnan(vectors([], [START])).all()


def test_a_premium_of_one_percent_is_a_hundred_bps_and_earned_three_times_a_day() -> None:
    events: list[Event] = [Mark(START, 0, 101.0, 100.0, 1e-4, NEXT)]
    at = START + SECOND
    assert value_of(events, at, "basis") == pytest.approx(100.0)
    assert value_of(events, at, "basis_annualized") == pytest.approx(0.01 * 3 * 365)
    assert value_of(events, at, "funding_annualized") == pytest.approx(1e-4 * 3 * 365)
    assert value_of(events, at, "time_to_funding") == (NEXT - at) / SECOND


def test_a_mark_older_than_its_limit_is_unknown() -> None:
    events: list[Event] = [Mark(START, 0, 101.0, 100.0, 1e-4, NEXT)]
    assert math.isfinite(value_of(events, START + 60 * SECOND, "funding_rate"))
    assert math.isnan(value_of(events, START + 61 * SECOND, "funding_rate"))


def test_the_rate_announced_last_is_settled_when_the_next_funding_moves_on() -> None:
    events: list[Event] = [
        Mark(NEXT - SECOND, 0, 1.0, 1.0, 3e-4, NEXT),
        Mark(NEXT + SECOND, 0, 1.0, 1.0, 1e-4, NEXT + 8 * HOUR),
    ]
    assert value_of(events, NEXT + 2 * SECOND, "funding_change") == pytest.approx(-2e-4)
    told = [*events, Metric(NEXT + SECOND + 1, 0, 7, 2e-4, NEXT + 3_000_000)]  # the venue's word
    assert value_of(told, NEXT + 2 * SECOND, "funding_change") == pytest.approx(-1e-4)
    assert value_of(told, NEXT + 2 * SECOND, "funding_mean_72h") == pytest.approx(2e-4)


def test_open_interest_is_compared_by_the_time_it_is_of() -> None:
    def oi(of: int, value: float, at: int | None = None) -> Metric:
        return Metric(of if at is None else at, 0, 1, value, of)

    before, now = oi(START, 100.0), oi(START + HOUR, 110.0)
    at = START + HOUR + SECOND
    assert value_of([before, now], at, "oi_change_1h") == pytest.approx(0.1)
    late = oi(START + HOUR - 300 * SECOND, 1.0, START + HOUR + 1)  # of before the newest
    assert value_of([before, now, late], at, "oi_change_1h") == pytest.approx(0.1)
    ahead = oi(START + 2 * HOUR, 1.0, START + HOUR + 1)  # of a time that has not been
    assert value_of([before, now, ahead], at, "oi_change_1h") == pytest.approx(0.1)
    assert math.isnan(value_of([before, now], START + HOUR + 901 * SECOND, "oi_change_1h"))


def test_only_longs_liquidated_is_one_and_a_still_window_counts_zero() -> None:
    events: list[Event] = [Liquidation(START, 0, True, 10, 5)]
    assert value_of(events, START + SECOND, "liq_imbalance_60s") == 1.0
    assert value_of(events, START + SECOND, "liq_count_60s") == math.log(2)
    assert math.isnan(value_of(events, START + 61 * SECOND, "liq_imbalance_60s"))
    assert value_of(events, START + 61 * SECOND, "liq_count_60s") == 0.0
    assert value_of(events, START + 61 * SECOND, "liq_imbalance_1h") == 1.0
