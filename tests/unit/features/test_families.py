"""Contracts that every family keeps, on one random tape of three symbols."""

from __future__ import annotations

import math

import numpy as np
import pytest

from foreshock.features import catalog
from foreshock.market.rows import BOOK, RESYNCING, STALE, SYNCED, TAPE
from tests.reference.feature_tape import as_input, boundaries_of, drive, top_array
from tests.reference.features import SECOND, Book, Epoch, Event, Top, Trade, features_at

NAMES = catalog.layout().names
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
    return sorted(events, key=lambda e: e.at)


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
    found = drive(events, BOUNDARIES, TOPS, N)
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
        alone = drive([e for e in events if e.symbol == symbol], BOUNDARIES, TOPS, N)
        assert alone[:, symbol].tobytes() == whole[:, symbol].tobytes()


def test_after_a_reset_nothing_of_the_old_epoch_is_left() -> None:
    events = random_tape(8, resets=False)
    at = START + 100 * SECOND
    epochs = [Epoch(at, s, family, SYNCED, 2) for s in range(N) for family in (BOOK, TAPE)]
    before = [e for e in events if e.at < at]
    after = epochs + [e for e in events if e.at >= at]
    joined = drive(before + after, BOUNDARIES, TOPS, N)[100:]
    fresh = drive(after, BOUNDARIES[100:], TOPS, N)
    assert joined.tobytes() == fresh.tobytes()


def test_steps_one_row_at_a_time_equal_a_scan() -> None:
    events = random_tape(9)[:300]
    words, touch = as_input(events)
    top = top_array(TOPS, BOUNDARIES[0], N)
    for _, family in catalog.FAMILIES:
        scanned, stepped = family.init(N), family.init(N)
        family.scan(words, touch, 0, len(words), scanned)
        i = 0
        while i < len(words):
            family.step(words, touch, i, stepped)
            i += 1 + int(words[i, 3] >> 16 & 0xFFFF)
        for a, b in zip(scanned, stepped, strict=True):
            assert a.tobytes() == b.tobytes()
        out = np.empty((2, N, len(family.SPECS)))
        family.close(BOUNDARIES[-1], top, scanned, out[0])
        family.close(BOUNDARIES[-1], top, stepped, out[1])
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
        ]
    words, touch = as_input(strangers)
    for _, family in catalog.FAMILIES:
        state, cold = family.init(N), family.init(N)
        family.scan(words, touch, 0, len(words), state)
        for a, b in zip(state, cold, strict=True):
            assert a.tobytes() == b.tobytes()
