from __future__ import annotations

import math

import numpy as np
import pytest

from foreshock.errors import ConfigError
from foreshock.features import catalog, context
from foreshock.features.context import ContextSettings
from foreshock.features.settings import FeatureSettings
from foreshock.market import ladder as books
from foreshock.market.context import GatherSettings
from foreshock.market.rows import (
    CONTEXT_LEADER,
    CONTEXT_MEAN,
    CONTEXT_RETURN_RANK,
    CONTEXT_SERIES,
    STALE,
    SYNCED,
    TAPE,
)
from tests.reference.feature_tape import as_input, boundaries_of, drive, instruments
from tests.reference.features import SECOND, Context, Epoch, Event, Trade
from tests.reference.features_context import context_features

START = 1_700_000_000 * SECOND
N = 2
CHOSEN = FeatureSettings(families=("context",))
NAMES = catalog.layout(CHOSEN).names
ALL = -1


def tape(seed: int, seconds: int, settings: ContextSettings | None = None) -> list[Event]:
    """Two symbols that follow two leaders, one loosely, one with a broken tape; context that now
    and then comes too late, twice, or as rubbish."""
    given = (settings or ContextSettings()).gathered
    rng = np.random.default_rng(seed)
    events: list[Event] = [Epoch(START, s, TAPE, SYNCED, 1) for s in range(N)]
    leaders, own = [50_000.0, 3_000.0], [20_000.0, 700.0]
    for k in range(seconds):
        closed = START + k * SECOND
        moved = rng.normal(0, 2e-4, 2)
        for s, rate in ((0, 0.9), (1, 0.3)):
            own[s] *= math.exp(0.7 * moved[0] + rng.normal(0, 2e-4))
            if rng.random() < rate:
                at = closed + int(rng.integers(0, SECOND))
                events.append(Trade(at, s, bool(rng.random() < 0.5), round(own[s]), 3))
        late = rng.random() < 0.03
        at = closed + int(rng.integers(0, SECOND)) + late * SECOND
        for n in range(2):
            leaders[n] *= math.exp(moved[n])
            value = leaders[n] if rng.random() < 0.97 else float(rng.choice([0.0, -1.0, np.nan]))
            events.append(Context(at, ALL, CONTEXT_LEADER + n, value, closed))
        for field in range(200, 1000, 100):
            for w in range(len(given.windows_s)):
                for symbol in (ALL,) if field < 600 else range(N):
                    value = float(rng.normal()) if rng.random() < 0.95 else math.inf
                    events.append(Context(at, symbol, field + w, value, closed))
        if rng.random() < 0.02:
            events.append(Context(at, ALL, CONTEXT_MEAN, 9.0, closed - SECOND))
    cut = START + (seconds // 8) * SECOND + 7
    events += [
        Epoch(cut, 0, TAPE, SYNCED, 2),
        Epoch(cut, 1, TAPE, STALE, 1),
        Epoch(cut + 3 * SECOND, 1, TAPE, SYNCED, 1),
        Epoch(cut + 40 * SECOND, 1, TAPE, SYNCED, 1),  # the same good epoch again: nothing is lost
    ]
    return sorted(events, key=lambda e: e.at)


def vectors(
    events: list[Event], seconds: int, features: FeatureSettings = CHOSEN, n: int = N
) -> np.ndarray:
    boundaries = boundaries_of(START, seconds)
    tops = {s: {b: [[], []] for b in boundaries} for s in range(n)}
    return drive(events, boundaries, tops, n, features=features)


def assert_equals_twin(settings: ContextSettings, seed: int, seconds: int, every: int) -> None:
    features = FeatureSettings(families=("context",), context=settings)
    names = catalog.layout(features).names
    events, boundaries = tape(seed, seconds, settings), boundaries_of(START, seconds)
    found = vectors(events, seconds, features)
    some = np.zeros(len(names), bool)
    for k in [*range(seed, seconds, every), seconds - 1]:
        near = [e for e in events if isinstance(e, (Trade, Epoch)) or e.at > boundaries[k] - 400e9]
        for s in range(N):
            wanted = context_features(near, s, boundaries[k], boundaries[0], settings)
            assert set(wanted) == set(names)
            some |= np.isfinite(found[k, s])
            for name, value in zip(names, found[k, s].tolist(), strict=True):
                want = wanted[name]
                assert math.isclose(value, want, rel_tol=1e-9, abs_tol=1e-9) or (
                    math.isnan(value) and math.isnan(want)
                ), f"{name} of symbol {s} at second {k + 1}: {value} is not {want}"
    assert some.all(), [name for name, one in zip(names, some, strict=True) if not one]


@pytest.mark.parametrize("seed", [1, 2])
def test_every_feature_equals_its_naive_twin(seed: int) -> None:
    assert_equals_twin(ContextSettings(), seed, 900, 97)


def test_other_windows_leads_and_leaders_equal_the_twin_too() -> None:
    settings = ContextSettings(
        gathered=GatherSettings(leaders=("BTCUSDT", "SOLUSDT"), windows_s=(5, 30, 120)),
        leader_return_s=(3,), regress_s=(30,), residual_s=(7,), leads_s=(2, 60),
    )  # fmt: skip
    assert_equals_twin(settings, 3, 300, 41)


def test_it_looks_back_from_one_second_before_and_knows_nothing_of_what_came_too_late() -> None:
    def seen(at_s: float, of_s: int) -> list[bool]:
        at, of = START + round(at_s * SECOND), START + of_s * SECOND
        found = vectors([Context(at, ALL, CONTEXT_MEAN, 0.5, of)], 5)
        return np.isfinite(found[:, 0, NAMES.index("market_return_60s")]).tolist()

    assert seen(2.3, 2) == [False, False, True, False, False]  # at the boundary 3 s, of 2 s
    assert seen(2.0, 2) == [False, False, True, False, False]
    assert not any(seen(3.0, 2))  # the boundary of 3 s is closed already
    assert not any(seen(1.9, 2))  # nobody can know it
    assert not any(seen(0.5, 0))  # of a boundary that this engine never closed


def test_a_symbol_that_is_twice_as_fast_as_its_leader_has_a_beta_of_two_and_no_residual() -> None:
    events: list[Event] = []
    rng = np.random.default_rng(0)
    logs = 15.0 + np.cumsum(rng.normal(0, 1e-3, 400))
    for k, level in enumerate(logs.tolist()):
        at = START + k * SECOND
        own = round(math.exp(2 * (level - 15.0)) * 10**9)
        events.append(Trade(at - 1, 0, False, own, 1))
        events.append(Context(at + 1, ALL, CONTEXT_LEADER, math.exp(level), at))
    found = dict(zip(NAMES, vectors(events, 399)[-1, 0].tolist(), strict=True))
    assert found["beta_btc_5m"] == pytest.approx(2.0, abs=1e-4)
    assert found["correlation_btc_5m"] == pytest.approx(1.0, abs=1e-6)
    assert found["residual_btc_60s"] == pytest.approx(0.0, abs=0.05)
    assert abs(found["lead_correlation_btc_1s"]) < 0.2
    assert math.isnan(found["beta_eth_5m"])


def test_who_follows_a_leader_five_seconds_later_shows_it_in_the_lead_correlation() -> None:
    rng = np.random.default_rng(1)
    logs = 12.0 + np.cumsum(rng.normal(0, 1e-3, 400))
    events: list[Event] = []
    for k in range(5, 400):
        at = START + k * SECOND
        events.append(Trade(at - 1, 0, False, round(math.exp(logs[k - 5]) * 1e4), 1))
        events.append(Context(at + 1, ALL, CONTEXT_LEADER, math.exp(logs[k]), at))
    found = dict(zip(NAMES, vectors(events, 399)[-1, 0].tolist(), strict=True))
    assert found["lead_correlation_btc_5s"] > 0.999
    assert abs(found["correlation_btc_5m"]) < 0.2


def test_a_leader_that_stands_still_has_no_beta_and_the_biggest_jumps_break_no_sum() -> None:
    still = [Context(START + k * SECOND, ALL, CONTEXT_LEADER, 5.0, START + k * SECOND)
             for k in range(400)]  # fmt: skip
    wild: list[Event] = []
    for k in range(400):
        wild.append(Trade(START + k * SECOND, 0, False, 1 if k % 2 else 2**40, 1))
        wild.append(
            Context(START + k * SECOND, ALL, CONTEXT_LEADER, 1e-9 if k % 2 else 1e9,
                    START + k * SECOND)
        )  # fmt: skip
    found = vectors(still, 400)[-1, 0]
    assert math.isnan(found[NAMES.index("beta_btc_5m")])
    assert found[NAMES.index("btc_return_5m")] == 0.0
    found = vectors(wild, 400)[-1, 0]
    assert found[NAMES.index("correlation_btc_5m")] == pytest.approx(-1.0, abs=1e-3)


def test_after_a_break_of_the_tape_no_own_return_of_before_is_left() -> None:
    events = [e for e in tape(5, 500) if not isinstance(e, Epoch)]
    at = START + 200 * SECOND
    events = sorted([*events, Epoch(at, 0, TAPE, SYNCED, 2)], key=lambda e: e.at)
    without = [e for e in events if not (isinstance(e, Trade) and e.symbol == 0 and e.at < at)]
    assert vectors(events, 500)[200:].tobytes() == vectors(without, 500)[200:].tobytes()


def test_a_jump_of_time_starts_anew() -> None:
    events = tape(6, 420)
    words, touch = as_input(events)
    given, ladder = ContextSettings(), books.init(N)
    out = np.empty((N, len(NAMES)))
    state = context.init(instruments(N), given)
    context.scan(words, touch, 0, len(words), state)
    for k in range(1, 421):
        context.close(START + k * SECOND, ladder, state, out)
    context.close(START + 500 * SECOND, ladder, state, out)
    assert np.isnan(out).all()
    assert (state.moves == context.MISSING).all() and not state.sums.any()


def test_slow_series_and_unknown_fields_change_nothing() -> None:
    strangers = [
        Context(START + SECOND, symbol, field, 1.0, START + SECOND)
        for symbol, field in (
            (ALL, CONTEXT_SERIES), (0, CONTEXT_SERIES + 3), (ALL, CONTEXT_LEADER + 2), (ALL, 0),
            (ALL, -1), (0, CONTEXT_LEADER), (0, CONTEXT_RETURN_RANK + 2), (N, CONTEXT_RETURN_RANK),
            (-2, CONTEXT_LEADER), (ALL, CONTEXT_RETURN_RANK), (ALL, 1 << 40), (ALL, -100),
        )
    ]  # fmt: skip
    words, touch = as_input(strangers)
    state = context.init(instruments(N), ContextSettings())
    out, ladder = np.empty((N, len(NAMES))), books.init(N)
    context.close(START + SECOND, ladder, state, out)
    context.scan(words, touch, 0, len(words), state)
    context.close(START + 2 * SECOND, ladder, state, out)
    assert np.isnan(out).all()


def test_what_is_gathered_is_part_of_the_fingerprint() -> None:
    def fingerprint(**changes: object) -> str:
        gathered = GatherSettings.model_validate(changes)
        settings = FeatureSettings(context=ContextSettings(gathered=gathered))
        return catalog.layout(settings).fingerprint

    plain = fingerprint()
    assert plain == fingerprint(leaders=("BTCUSDT", "ETHUSDT"))
    sectors = [{"name": "all", "assets": ["BTC", "ETH"]}]
    for changed in ({"leaders": ["BTCUSDT"]}, {"surge_floor_bps": 11}, {"sectors": sectors}):
        assert fingerprint(**changed) != plain


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"leads_s": [61]}, "at most 60"),
        ({"regress_s": []}, "at least one"),
        ({"regress_s": [301]}, "at most 300"),
        ({"gathered": {"windows_s": [300, 60]}}, "ascend"),
        ({"gathered": {"leaders": ["A", "A"]}}, "twice"),
    ],
)
def test_settings_that_cannot_be_are_refused(given: dict, why: str) -> None:
    with pytest.raises((ConfigError, ValueError), match=why):
        ContextSettings.model_validate(given)
