"""What the engine tells the bill: walks of the ladder, moves of the mid, the next funding."""

from __future__ import annotations

import random
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest

from foreshock.engine import drift
from foreshock.engine.step import Engine
from foreshock.features.settings import FeatureSettings
from foreshock.market import ladder as books
from foreshock.market.instruments import USDM, Instrument
from foreshock.market.rows import MARK, RESYNCING, STALE, SYNCED, Rows
from foreshock.market.walk import LADDER_NOTIONALS
from tests.reference.make_rows import SECOND, START, RowMaker

COIN = Instrument.of("AAAUSDT", USDM, "0.01", "0.1")
MONEY = Fraction(1, 1000)  # quote currency per tick · lot
FEW = FeatureSettings(families=("context",))


def boundary(engine: Engine, make: RowMaker) -> np.void:
    make.now = (make.now // SECOND + 1) * SECOND
    return engine.feed(make.timer())[-1].bill_inputs[0]


def joined(make: RowMaker, bids, asks, asked: int = 1000) -> Rows:
    first = make.epoch(0, RESYNCING, 1)
    snapshot = make.snapshot(0, 10, bids, asks, asked)
    return np.concatenate([first, snapshot, make.epoch(0, SYNCED, 1)])


# Walks


def naive_walk(levels: list[tuple[int, int]], notional: float) -> float:
    """Buy level after level, best first, in exact numbers; NaN where they run out."""
    best, left, over = levels[0][0], Fraction(notional), Fraction(0)
    for ticks, lots in levels:
        here = min(left, ticks * lots * MONEY)
        over += here / ticks * abs(ticks - best)
        left -= here
        if left == 0:
            return float(over / Fraction(notional) * 10_000)
    return float("nan")


@pytest.mark.parametrize("seed", range(20))
def test_a_walk_is_what_buying_level_after_level_pays(seed):
    rng = random.Random(seed)
    most = rng.choice([3, 30, 3_000, 300_000])
    gaps = rng.choice([1, 7, 70])
    sides = []
    for sign in (-1, 1):
        ticks, side = 100_000, []
        for _ in range(rng.randint(1, 60)):
            ticks += sign * rng.randint(1, gaps)
            side.append((ticks, rng.randint(1, most)))
        sides.append(side)
    make, engine = RowMaker(), Engine([COIN], FEW)
    engine.feed(joined(make, *sides))
    inputs = boundary(engine, make)
    for name, side in zip(("bid_walk_bps", "ask_walk_bps"), sides, strict=True):
        expected = [naive_walk(side, size) for size in LADDER_NOTIONALS]
        np.testing.assert_allclose(inputs[name], expected, rtol=1e-9, atol=1e-12)


def test_quotes_are_fresher_than_the_ladder_they_stand_before():
    make, engine = RowMaker(), Engine([COIN], FEW)
    asks = [(10_001, 10), (10_002, 20), (10_003, 10**6)]
    engine.feed(joined(make, [(9_990, 10**6)], asks))
    engine.feed(make.quote(0, 20, (9_995, 40), (10_002, 15)))
    inputs = boundary(engine, make)
    sides = {"bid_walk_bps": [(9_995, 40), (9_990, 10**6)], "ask_walk_bps": [(10_002, 15), asks[2]]}
    for name, side in sides.items():
        expected = [naive_walk(side, size) for size in LADDER_NOTIONALS]
        np.testing.assert_allclose(inputs[name], expected, rtol=1e-9)


def test_nothing_beyond_the_edge_of_what_is_known_counts():
    make, engine = RowMaker(), Engine([COIN], FEW)
    engine.feed(joined(make, [(9_999, 100)], [(10_001, 99)], asked=1))
    engine.feed(make.depth(0, 11, [(9_990, 10**6)], [(10_010, 10**6)]))
    inputs = boundary(engine, make)
    for name in ("bid_walk_bps", "ask_walk_bps"):
        known = np.isfinite(inputs[name])
        assert known.tolist() == [size <= 999 for size in LADDER_NOTIONALS]


def test_a_book_that_is_not_synced_walks_nowhere():
    make, engine = RowMaker(), Engine([COIN], FEW)
    engine.feed(joined(make, [(9_999, 10**6)], [(10_001, 10**6)]))
    assert np.isfinite(boundary(engine, make)["ask_walk_bps"]).any()
    engine.feed(make.epoch(0, STALE, 1))
    inputs = boundary(engine, make)
    assert np.isnan(inputs["ask_walk_bps"]).all() and np.isnan(inputs["bid_walk_bps"]).all()


# Moves of the mid


def naive_moves(quotes: list[tuple[int, int]], until: int) -> tuple[list[int], list[int]]:
    """Moves of bid + ask from point to point over 100 ms and over a second, up to `until`."""

    def at(now: int) -> int | None:
        before = [mid for when, mid in quotes if when < now]
        return before[-1] if before else None

    out = []
    for step in (SECOND // 10, SECOND):
        mids = [at(START + k * step) for k in range((until - START) // step + 1)]
        pairs = pairwise(mids)
        out.append([abs(b - a) for a, b in pairs if a is not None and b is not None])
    return out[0], out[1]


@pytest.mark.parametrize(("seed", "seconds"), [(1, 9), (2, 10), (3, 30), (4, 60), (5, 90)])
def test_mean_moves_are_those_of_the_last_minute_on_the_grid(seed, seconds):
    rng = random.Random(seed)
    make, engine = RowMaker(), Engine([COIN], FEW)
    engine.feed(joined(make, [(9_999, 1)], [(10_001, 1)]))
    quotes = [(START, 20_000)]
    # Quotes crowd in some seconds, fall on points of the grid now and then, and stay away.
    times = sorted(
        START + rng.randrange(seconds * 10) * SECOND // 10 + rng.choice([0, 1, 33_333_333])
        for _ in range(seconds * 6)
    )
    bid, due, inputs = 9_999, START + SECOND, None
    for k, when in enumerate(times):
        while due <= when:
            make.now = due
            inputs = engine.feed(make.timer())[-1].bill_inputs[0]
            due += SECOND
        make.now = when
        bid += rng.randint(-2, 2)
        engine.feed(make.quote(0, 100 + k, (bid, 1), (bid + 2, 1)))
        quotes.append((when, 2 * bid + 2))
    while due <= START + seconds * SECOND:
        make.now = due
        inputs = engine.feed(make.timer())[-1].bill_inputs[0]
        due += SECOND
    names = ("mid_move_100ms_bps", "mid_move_1s_bps")
    # The first second of an epoch is no full step, so that nine are known at the tenth boundary.
    if seconds <= drift.LEAST_S:
        assert all(np.isnan(inputs[name]) for name in names)
        return
    known = min(seconds - 1, 60)
    mid = 2 * bid + 2
    for name, moves, each in zip(names, naive_moves(quotes, due - SECOND), (10, 1), strict=True):
        last = moves[-known * each :]
        assert inputs[name] == pytest.approx(sum(last) / len(last) / mid * 1e4, rel=1e-12), name


def test_a_still_mid_moves_by_nothing_and_a_new_epoch_starts_anew():
    make, engine = RowMaker(), Engine([COIN], FEW)
    engine.feed(joined(make, [(9_999, 1)], [(10_001, 1)]))
    engine.feed(make.quote(0, 20, (9_999, 2), (10_001, 2)))
    inputs = [boundary(engine, make) for _ in range(20)][-1]
    assert inputs["mid_move_100ms_bps"] == inputs["mid_move_1s_bps"] == 0.0
    engine.feed(np.concatenate([make.epoch(0, RESYNCING, 2), make.epoch(0, SYNCED, 2)]))
    assert np.isnan(boundary(engine, make)["mid_move_100ms_bps"])


def test_the_moves_are_the_same_for_any_cut_and_across_a_snapshot():
    make, rng = RowMaker(), random.Random(7)
    parts = [joined(make, [(9_999, 1)], [(10_001, 1)])]
    for k in range(600):
        make.now += rng.randrange(120_000_000)
        bid = 9_999 + rng.randint(-3, 3)
        parts.append(make.quote(0, 100 + k, (bid, 1), (bid + 2, 1)))
    one, other = Engine([COIN], FEW), Engine([COIN], FEW)
    said = [b.bill_inputs.tobytes() for b in one.feed(np.concatenate(parts))]
    found = []
    for k, rows in enumerate(parts):
        if k == 300:
            blob, other = other.snapshot(), Engine([COIN], FEW)
            other.restore(blob)
        found += [b.bill_inputs.tobytes() for b in other.feed(rows)]
    assert said == found and len(said) > 20


def test_a_snapshot_of_before_bills_knew_of_these_is_taken_with_nothing_known(monkeypatch):
    make, engine = RowMaker(), Engine([COIN], FEW)
    engine.feed(joined(make, [(9_999, 1)], [(10_001, 1)]))
    whole = engine._arrays
    old = {k: v for k, v in whole().items() if not k.startswith(("drift.", "pulse.funding_"))}
    monkeypatch.setattr(engine, "_arrays", lambda: old)
    blob = engine.snapshot()
    other = Engine([COIN], FEW)
    other.restore(blob)
    assert books.levels(other.ladder, 0, books.ASK).tolist() == [[10_001, 1]]


# Funding


def mark(make: RowMaker, rate: float, due_ns: int) -> Rows:
    bits = int(np.float64(rate).view(np.int64))
    return make._row(MARK, 0, id=due_ns, a=0, b=0, c=bits)


def test_the_mark_tells_the_next_payment_until_it_is_over_or_the_mark_is_old():
    make, engine = RowMaker(), Engine([COIN], FEW)
    engine.feed(make.timer())
    assert np.isnan([boundary(engine, make)[n] for n in ("funding_rate", "funding_in_s")]).all()
    engine.feed(mark(make, 3e-4, START + 100 * SECOND))
    seen = make.now
    first = boundary(engine, make)
    assert first["funding_rate"] == 3e-4
    assert first["funding_in_s"] == (START + 100 * SECOND - make.now) / SECOND
    while make.now < seen + 60 * SECOND:
        last = boundary(engine, make)
    assert last["funding_rate"] == 3e-4
    stale = boundary(engine, make)
    assert np.isnan(stale["funding_rate"]) and stale["funding_in_s"] > 0
    make.now = START + 99 * SECOND
    engine.feed(make.timer())
    assert np.isnan(boundary(engine, make)["funding_in_s"])


def test_a_mark_without_funding_tells_nothing():
    make, engine = RowMaker(), Engine([COIN], FEW)
    engine.feed(mark(make, float("nan"), 0))
    inputs = boundary(engine, make)
    assert np.isnan(inputs["funding_rate"]) and np.isnan(inputs["funding_in_s"])
