"""Contracts that every family keeps, on one random tape of three symbols."""

from __future__ import annotations

import math

import numpy as np
import pytest

from foreshock.features.catalog import FeatureSet
from foreshock.features.settings import FeatureSettings
from foreshock.features.vector import WITH_EPOCHS
from foreshock.market import ladder as books
from foreshock.market.rows import BOOK, RESYNCING, STALE, SYNCED, TAPE
from tests.reference.feature_tape import (
    as_input,
    boundaries_of,
    drive,
    instruments,
    ladder_with,
)
from tests.reference.features import (
    SECOND,
    Bar,
    Book,
    Context,
    Epoch,
    Event,
    Liquidation,
    Mark,
    Metric,
    Top,
    Trade,
    features_at,
)

CHOSEN = FeatureSettings(families=("flow",))
NAMES = FeatureSet(CHOSEN).layout.names
START = 1_700_000_000 * SECOND
SECONDS = 190
N = 3


def random_tape(seed: int, resets: bool = True) -> list[Event]:
    """Three symbols: a lively one, one that trades every few seconds, and one whose book is cut."""
    rng = np.random.default_rng(seed)
    events: list[Event] = [
        Epoch(START, symbol, family, SYNCED, 1) for symbol in range(N) for family in (BOOK, TAPE)
    ]
    price = [50_000, 3_000, 400]
    for _ in range(1500):
        at = START + int(rng.integers(0, SECONDS * SECOND))
        if rng.random() < 0.1:
            at = at // SECOND * SECOND  # on a boundary exactly
        symbol = int(rng.choice(N, p=[0.6, 0.1, 0.3]))
        if rng.random() < 0.5:
            lots = int(rng.pareto(1.2) * 10) + 1
            ticks = price[symbol] + int(rng.integers(-20, 21))
            events.append(Trade(at, symbol, bool(rng.random() < 0.5), ticks, lots))
        else:
            bid = price[symbol] + int(rng.integers(-20, 20))
            ask = bid + int(rng.integers(1, 4))
            lots = rng.integers(1, 1000, 2)
            ofi = rng.integers(-500, 501, 5)
            events.append(
                Book(
                    at,
                    symbol,
                    bool(rng.random() < 0.9),
                    (bid, int(lots[0]), ask, int(lots[1])),
                    tuple(int(o) for o in ofi),
                    quote=bool(rng.random() < 0.5),
                )
            )
    if resets:
        for second, symbol, family, state, number in (
            (97, 2, BOOK, RESYNCING, 1),
            (99, 2, BOOK, SYNCED, 2),
            (85, 1, TAPE, STALE, 1),
            (90, 1, TAPE, SYNCED, 1),
            (60, 0, TAPE, SYNCED, 2),
            (150, 0, BOOK, SYNCED, 1),  # the same good epoch again: nothing is lost
        ):
            at = START + second * SECOND + 123
            events.append(Epoch(at, symbol, family, state, number))
    facts = random_context(seed) + random_bars(seed) + random_derivatives(seed)
    return sorted(events + facts, key=lambda e: e.at)


def random_bars(seed: int) -> list[Event]:
    """Four hours of candles, told at once, and those that close meanwhile; one has a hole."""
    rng = np.random.default_rng(2_000 + seed)
    events: list[Event] = []
    for symbol in range(N):
        price = 5_000
        for minute in range(-240, SECONDS // 60 + 1):
            if (symbol, minute) == (1, -100):
                continue
            opened = START // (60 * SECOND) * 60 * SECOND + minute * 60 * SECOND
            last = price + int(rng.integers(-9, 10))
            ohlc = (price, max(price, last) + 2, min(price, last) - 1, last)
            at = max(START, opened + 60 * SECOND + int(rng.integers(1, SECOND)))
            lots = int(rng.integers(0, 500))
            events.append(Bar(at, symbol, opened, ohlc, lots, lots // 2))
            price = last
    return events


def random_derivatives(seed: int) -> list[Event]:
    """Marks, metrics of the last day told within minutes, liquidations, and slow series."""
    rng = np.random.default_rng(3_000 + seed)
    events: list[Event] = []
    for k in range(400):
        at, s = START + int(rng.integers(0, SECONDS * SECOND)), int(rng.integers(0, N))
        value = float(rng.uniform(0.9, 1.1))
        events += [
            Mark(at, s, value, float(rng.uniform(0.9, 1.1)), value / 1e4, START + 10**13),
            Metric(at, s, 1 + k % 7, value, at - (400 - k) * 300 * SECOND),
            Liquidation(at, s, bool(rng.random() < 0.5), 400, 1 + k % 9),
            Context(at, -1, 1_000 + k % 27, value, START - (400 - k) * 20_000 * SECOND),
        ]
    return events


def random_context(seed: int) -> list[Event]:
    """What the others did at every second's boundary; now and then it comes too late."""
    rng = np.random.default_rng(1_000 + seed)
    events: list[Event] = []
    for second in range(SECONDS):
        boundary = START + second * SECOND
        at = boundary + int(rng.integers(0, 1.1 * SECOND))
        for field in (100, 101, 200, 201, 300, 400, 500, 600, 601, 700, 800, 900):
            for symbol in (-1,) if field < 600 else range(N):
                events.append(Context(at, symbol, field, float(rng.uniform(0.9, 1.1)), boundary))
    return events


def random_tops(seed: int, boundaries: list[int]) -> dict[int, dict[int, Top]]:
    rng = np.random.default_rng(seed)

    def side(first: int, way: int) -> list[tuple[int, int]]:
        levels = int(rng.integers(0, 6))
        return [(first + way * k, int(rng.integers(1, 900))) for k in range(levels)]

    return {s: {b: [side(1000, -1), side(1001, 1)] for b in boundaries} for s in range(N)}


BOUNDARIES = boundaries_of(START, SECONDS)
TOPS = random_tops(3, BOUNDARIES)


def assert_same(found: np.ndarray, wanted: dict[str, float], where: str) -> None:
    for column, name in enumerate(NAMES):
        want, got = wanted[name], float(found[column])
        assert math.isclose(got, want, rel_tol=1e-9, abs_tol=1e-9) or (
            math.isnan(got) and math.isnan(want)
        ), f"{name} {where}: {got} is not {want}"


@pytest.mark.parametrize("seed", [1, 2])
def test_every_feature_equals_its_naive_twin(seed: int) -> None:
    events = random_tape(seed)
    found = drive(events, BOUNDARIES, TOPS, N, features=CHOSEN)
    some_value = np.zeros(len(NAMES), bool)
    for k in range(seed, SECONDS, 3):
        for symbol in range(N):
            wanted = features_at(events, symbol, BOUNDARIES[k], TOPS[symbol])
            assert set(wanted) == set(NAMES)
            assert_same(found[k, symbol], wanted, f"of symbol {symbol} at second {k + 1}")
            some_value |= np.isfinite(found[k, symbol])
    assert some_value.all()


def test_any_cut_into_chunks_gives_the_same_bits() -> None:
    events = random_tape(4)
    whole = drive(events, BOUNDARIES, TOPS, N)
    rng = np.random.default_rng(0)
    one_by_one = range(len(events))
    anywhere = [int(c) for c in rng.integers(0, len(events), 200)]
    for cuts in (one_by_one, anywhere):
        assert drive(events, BOUNDARIES, TOPS, N, cuts).tobytes() == whole.tobytes()


def test_what_comes_later_changes_nothing_earlier() -> None:
    events = random_tape(6)
    whole = drive(events, BOUNDARIES, TOPS, N)
    rng = np.random.default_rng(1)
    for k in rng.integers(20, SECONDS - 1, 6):
        boundary = BOUNDARIES[k]
        later = [e for e in random_tape(int(k) + 100) if e.at >= boundary]
        changed = sorted([e for e in events if e.at < boundary] + later, key=lambda e: e.at)
        tops = {
            s: {b: TOPS[s][b] if b <= boundary else [[(1, 1)], [(2, 5)]] for b in BOUNDARIES}
            for s in range(N)
        }
        found = drive(changed, BOUNDARIES, tops, N)
        assert found[: k + 1].tobytes() == whole[: k + 1].tobytes()
        assert found[k + 1 :].tobytes() != whole[k + 1 :].tobytes()


def test_one_symbols_rows_do_not_touch_anothers() -> None:
    events = random_tape(7)
    whole = drive(events, BOUNDARIES, TOPS, N)
    for symbol in range(N):
        of_one = [e for e in events if e.symbol in (symbol, -1)]
        alone = drive(of_one, BOUNDARIES, TOPS, N)
        assert alone[:, symbol].tobytes() == whole[:, symbol].tobytes()


def test_after_a_reset_nothing_of_the_old_epoch_is_left() -> None:
    events = random_tape(8, resets=False)
    at = START + 100 * SECOND
    epochs = [Epoch(at, s, family, SYNCED, 2) for s in range(N) for family in (BOOK, TAPE)]
    before = [e for e in events if e.at < at]
    after = epochs + [e for e in events if e.at >= at]
    joined = drive(before + after, BOUNDARIES, TOPS, N)[100:]
    fresh = drive(after, BOUNDARIES[100:], TOPS, N)
    ends = [spec.needs in WITH_EPOCHS for spec in FeatureSet().layout]  # all else has no epoch
    assert joined[:, :, ends].tobytes() == fresh[:, :, ends].tobytes()


def arrays_of(state: object) -> dict[str, np.ndarray]:
    return {name: getattr(state, name) for name in state._fields if name != "params"}


def test_steps_one_row_at_a_time_equal_a_scan() -> None:
    events = random_tape(9)[:300]
    words, touch = as_input(events)
    ladder = books.init(N)
    ladder_with(TOPS, BOUNDARIES[0], ladder)
    for _, family, given in FeatureSet().families:
        scanned, stepped = (family.init(instruments(N), given) for _ in range(2))
        family.scan(words, touch, 0, len(words), scanned)
        i = 0
        while i < len(words):
            family.step(words, touch, i, stepped)
            i += 1 + int(words[i, 3] >> 16 & 0xFFFF)
        for name, array in arrays_of(scanned).items():
            assert array.tobytes() == getattr(stepped, name).tobytes()
        out = np.empty((2, N, len(family.specs(given))))
        family.close(BOUNDARIES[-1], ladder, scanned, out[0])
        family.close(BOUNDARIES[-1], ladder, stepped, out[1])
        assert out[0].tobytes() == out[1].tobytes()


def test_rows_of_all_symbols_and_of_unknown_ones_change_nothing() -> None:
    book = Book(START, 0, True, (10, 1, 11, 1), (1, 1, 1, 1, 1))
    strangers: list[Event] = []
    for symbol in (-1, N, N + 1000):
        strangers += [
            Trade(START, symbol, False, 10, 10),
            Book(START, symbol, True, book.touch, book.ofi),
            Epoch(START, symbol, BOOK, RESYNCING, 9),
            Epoch(START, symbol, TAPE, RESYNCING, 9),
            Bar(START, symbol, START - 60 * SECOND, (10, 12, 9, 11), 10),
            Mark(START, symbol, 1.0, 1.0, 1e-4),
            Metric(START, symbol, 1, 1.0),
            Liquidation(START, symbol, True, 10, 10),
        ]
    words, touch = as_input(strangers)
    for _, family, given in FeatureSet().families:
        state, cold = (family.init(instruments(N), given) for _ in range(2))
        family.scan(words, touch, 0, len(words), state)
        for name, array in arrays_of(state).items():
            assert array.tobytes() == getattr(cold, name).tobytes()


def test_a_feature_is_the_same_bits_whichever_others_are_computed() -> None:
    events = random_tape(10)
    whole = drive(events, BOUNDARIES, TOPS, N)
    names = FeatureSet().layout.names
    for family in FeatureSettings().families:
        alone = FeatureSettings(families=(family,))
        columns = [names.index(name) for name in FeatureSet(alone).layout.names]
        found = drive(events, BOUNDARIES, TOPS, N, features=alone)
        assert found.tobytes() == np.ascontiguousarray(whole[:, :, columns]).tobytes()
