"""foreshock.validation.rule: one position a symbol, cool-downs kept, and no loss lost."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from foreshock.errors import DatasetError
from foreshock.validation.rule import RuleSettings, net_bps, period_returns, take

S = 1_000_000_000


def made(seed: int, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(spoken, t0, t1, symbol) in shuffled order, many at the same moment, some spans empty."""
    random = np.random.default_rng(seed)
    t0 = random.integers(0, 120, n) * S
    t1 = t0 + random.integers(0, 30, n) * S
    symbol = random.integers(0, 4, n).astype(np.int32)
    return random.random(n) < 0.6, t0, t1, symbol


def naive_take(spoken, t0, t1, symbol, cool_ns):
    """Symbol by symbol: ask of every row, in time, whether any taken before it still matters."""
    taken = []
    for row in sorted(np.flatnonzero(spoken).tolist(), key=lambda i: (t0[i], symbol[i], i)):
        before = [j for j in taken if symbol[j] == symbol[row]]
        if all(t0[row] >= t1[j] + cool_ns for j in before):
            taken.append(row)
    return taken


cases = given(
    seed=st.integers(0, 2**32), n=st.integers(0, 120), cool_s=st.sampled_from([0.0, 0.5, 7.0, 60.0])
)


@settings(deadline=None)
@cases
def test_it_takes_what_the_naive_twin_takes(seed, n, cool_s):
    spoken, t0, t1, symbol = made(seed, n)
    rows = take(spoken, t0, t1, symbol, RuleSettings(cool_down_s=cool_s))
    assert rows.tolist() == naive_take(spoken, t0, t1, symbol, round(cool_s * S))


@settings(deadline=None)
@cases
def test_a_symbol_holds_one_position_at_a_time_and_cools_down_after_it(seed, n, cool_s):
    spoken, t0, t1, symbol = made(seed, n)
    rows = take(spoken, t0, t1, symbol, RuleSettings(cool_down_s=cool_s))
    assert spoken[rows].all()
    for s in range(4):
        mine = rows[symbol[rows] == s]
        assert (t0[mine][1:] - t1[mine][:-1] >= cool_s * S).all()


@settings(deadline=None)
@cases
def test_what_is_not_taken_had_a_reason(seed, n, cool_s):
    spoken, t0, t1, symbol = made(seed, n)
    rows = take(spoken, t0, t1, symbol, RuleSettings(cool_down_s=cool_s))
    for row in sorted(set(np.flatnonzero(spoken).tolist()) - set(rows.tolist())):
        mine = rows[symbol[rows] == symbol[row]]
        entered = t0[mine] <= t0[row]
        assert (entered & (t0[row] < t1[mine] + cool_s * S) | (t0[mine] == t0[row])).any()


@settings(deadline=None)
@given(seed=st.integers(0, 2**32), later=st.integers(0, 120))
def test_what_speaks_later_does_not_change_what_was_taken_before(seed, later):
    spoken, t0, t1, symbol = made(seed, 100)
    rows = take(spoken, t0, t1, symbol, RuleSettings(cool_down_s=5))
    cut = spoken & (t0 <= later * S)
    before = take(cut, t0, t1, symbol, RuleSettings(cool_down_s=5))
    assert before.tolist() == rows[t0[rows] <= later * S].tolist()


@settings(deadline=None)
@given(
    seed=st.integers(0, 2**32),
    n=st.integers(1, 100),
    period=st.integers(1, 200),
    end=st.integers(0, 160),
)
def test_periods_add_up_to_the_trades(seed, n, period, end):
    spoken, t0, t1, symbol = made(seed, n)
    net = np.random.default_rng(seed + 1).normal(size=n)
    rows = take(spoken, t0, t1, symbol, RuleSettings())
    got = period_returns(rows, t1, net, 0, end * S, period * S, 4)
    slow = np.zeros(max(1, -(-end // period)))
    for row in rows.tolist():
        slow[min(t1[row] // (period * S), len(slow) - 1)] += net[row] / 4
    np.testing.assert_allclose(got, slow, atol=1e-12)
    assert 4 * got.sum() == pytest.approx(net[rows].sum(), abs=1e-9)


def test_a_row_at_the_moment_its_symbol_is_free_is_taken():
    t0 = np.array([0, 9, 10, 11]) * S
    t1 = t0 + 5 * S
    spoken, symbol = np.ones(4, bool), np.zeros(4, np.int32)
    assert take(spoken, t0, t1, symbol, RuleSettings(cool_down_s=5)).tolist() == [0, 2]


def test_nothing_spoken_is_no_trade_and_no_return():
    nothing = np.zeros(3, bool)
    t = np.arange(3) * S
    rows = take(nothing, t, t, np.zeros(3, np.int32), RuleSettings())
    assert len(rows) == 0
    assert period_returns(rows, t, np.zeros(3), 0, 10 * S, 5 * S, 2).tolist() == [0.0, 0.0]


def test_realised_costs_are_used_where_they_are_known():
    assert net_bps([10.0, 10.0], [4.0, 4.0], [7.0, np.nan]).tolist() == [3.0, 6.0]
    assert net_bps(np.float32([10.0]), np.float32([4.0])).dtype == np.float64


def test_what_cannot_be_is_refused_with_its_row():
    t = np.arange(3) * S
    one = np.array([1])
    with pytest.raises(DatasetError, match="t1_ns < t0_ns"):
        take(np.ones(3, bool), t, t - 1, np.zeros(3, np.int32), RuleSettings())
    with pytest.raises(DatasetError, match="row 1 is traded but has no outcome"):
        period_returns(one, t, np.full(3, np.nan), 0, 10 * S, S, 1)
    with pytest.raises(DatasetError, match="row 1 is left before"):
        period_returns(one, t, np.zeros(3), 2 * S, 10 * S, S, 1)
    for period, symbols, end in ((0, 1, 5), (1, 0, 5), (1, 1, -5)):
        with pytest.raises(DatasetError, match="may be nothing"):
            period_returns(one, t, np.zeros(3), 0, end, period, symbols)
    with pytest.raises(ValidationError):
        RuleSettings(cool_down=3)
