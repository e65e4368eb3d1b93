"""Hypothesis looks for a tape on which a family and its naive twin part, or a cut that shows."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from foreshock.features import catalog
from foreshock.features.settings import FeatureSettings
from foreshock.market.rows import BOOK, RESYNCING, STALE, SYNCED, TAPE
from tests.reference.feature_tape import boundaries_of, drive
from tests.reference.features import SECOND, Book, Epoch, Event, Top, Trade
from tests.reference.features_depth import depth_features
from tests.reference.features_resilience import resilience_features

CHOSEN = FeatureSettings(families=("depth", "resilience"))
NAMES = catalog.layout(CHOSEN).names
START = 1_700_000_000 * SECOND
N = 2

gaps_ns = st.sampled_from([0, 0, 0, 1, 999, 10**7, 4 * 10**8, SECOND, 5 * SECOND, 17 * SECOND])
lots = st.one_of(st.integers(1, 20), st.sampled_from([10**6, 10**9]))
ticks = st.one_of(st.integers(99, 103), st.sampled_from([1, 10**6]))


@st.composite
def events(draw: st.DrawFn, at: int) -> Event:
    symbol = draw(st.integers(0, N - 1))
    kind = draw(st.sampled_from("tttttbbbbe"))
    if kind == "t":
        return Trade(at, symbol, draw(st.booleans()), draw(ticks), draw(lots))
    if kind == "b":
        bid = draw(ticks)
        touch = (bid, draw(lots), bid + draw(st.integers(1, 3)), draw(lots))
        ofi = tuple(draw(st.integers(-(10**6), 10**6)) for _ in range(5))
        return Book(at, symbol, draw(st.booleans()), touch, ofi, quote=draw(st.booleans()))
    family = draw(st.sampled_from([BOOK, TAPE]))
    state = draw(st.sampled_from([RESYNCING, SYNCED, SYNCED, STALE]))
    return Epoch(at, symbol, family, state, draw(st.integers(1, 2)))


@st.composite
def tapes(draw: st.DrawFn) -> tuple[list[Event], list[int]]:
    at, tape = START, []
    for _ in range(draw(st.integers(1, 35))):
        gap = draw(gaps_ns)
        at = at + gap if draw(st.integers(0, 5)) else -(-(at + gap) // SECOND) * SECOND
        tape.append(draw(events(at)))
    return tape, boundaries_of(START, (at - START) // SECOND + 2 + draw(st.integers(0, 70)))


def tops_for(boundaries: list[int], seed: int) -> dict[int, dict[int, Top]]:
    rng = np.random.default_rng(seed)
    side = [
        [(100 + k, int(rng.integers(1, 99))) for k in range(rng.integers(0, 6))] for _ in "1234"
    ]
    return {
        s: {b: [side[(k + s) % 4], side[(k + 1) % 4]] for k, b in enumerate(boundaries)}
        for s in range(N)
    }


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(tapes(), st.integers(0, 2**16))
def test_families_equal_their_naive_twins_on_any_tape(
    tape: tuple[list[Event], list[int]], seed: int
) -> None:
    events, boundaries = tape
    tops = tops_for(boundaries, seed)
    found = drive(events, boundaries, tops, N, features=CHOSEN)
    stride = max(1, len(boundaries) // 12)
    for k in range(seed % stride, len(boundaries), stride):
        symbol = (seed + k) % N
        asked = (events, symbol, boundaries[k], tops[symbol])
        wanted = depth_features(*asked) | resilience_features(*asked)
        for column, name in enumerate(NAMES):
            got, want = float(found[k, symbol, column]), wanted[name]
            assert math.isclose(got, want, rel_tol=1e-9, abs_tol=1e-9) or (
                math.isnan(got) and math.isnan(want)
            ), f"{name} of symbol {symbol} at second {k + 1}: {got} is not {want}"


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(tapes(), st.lists(st.integers(0, 40), max_size=20))
def test_any_cut_gives_the_same_bits_on_any_tape(
    tape: tuple[list[Event], list[int]], cuts: list[int]
) -> None:
    events, boundaries = tape
    tops = tops_for(boundaries, 1)
    whole = drive(events, boundaries, tops, N)
    assert drive(events, boundaries, tops, N, cuts).tobytes() == whole.tobytes()
