"""Information of single features, against scipy, scikit-learn and coverage on markets of chance."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import average_precision_score

from foreshock.errors import DatasetError
from foreshock.market.clock import SECOND_NS as S
from foreshock.validation import information as info


@pytest.mark.parametrize("seed", range(4))
def test_rank_ic_is_spearmans_with_ties_and_without_what_is_unknown(seed: int) -> None:
    random = np.random.default_rng(seed)
    x = random.integers(0, 7, 200).astype(float)
    y = x + random.normal(size=200) * 4
    x[::9], y[::11] = np.nan, np.nan
    known = np.isfinite(x) & np.isfinite(y)
    wanted = spearmanr(x[known], y[known]).statistic
    assert info.rank_ic(x, y) == pytest.approx(wanted, rel=1e-12)


def test_a_constant_or_three_rows_have_no_rank_ic() -> None:
    y = np.arange(50.0)
    assert np.isnan(info.rank_ic(np.ones(50), y))
    assert np.isnan(info.rank_ic(y[:3], y[:3]))
    assert np.isnan(info.rank_ic(np.full(50, np.inf), y))


def test_ranks_are_taken_within_a_block_so_that_a_drift_is_no_information() -> None:
    random = np.random.default_rng(1)
    t0 = np.arange(2_000) * S
    drift = np.repeat(np.arange(20.0), 100)
    x, y = drift + 0.01 * random.normal(size=2_000), drift + 0.01 * random.normal(size=2_000)
    draws = info.draw_blocks(t0, 100 * S)
    assert info.rank_ic(x, y) > 0.99
    assert abs(info.ic_draws(info.block_ics(x, y, draws), draws)[0]) < 0.1


@pytest.mark.parametrize("seed", range(4))
def test_average_precision_of_a_draw_is_that_of_the_rows_repeated(seed: int) -> None:
    random = np.random.default_rng(seed)
    t0 = random.permutation(np.arange(300)) * S
    score = random.integers(0, 40, 300).astype(float)
    score[::13] = np.nan
    surge = random.random(300) < 0.2
    draws = info.draw_blocks(t0, 30 * S, draws=20, seed=seed)
    found, lift = info.lift_draws(score, surge, draws)
    for d in range(21):
        rows = np.repeat(np.arange(300), draws.counts[d][draws.block])
        rows = rows[np.isfinite(score[rows])]
        wanted = average_precision_score(surge[rows], score[rows])
        assert found[d] == pytest.approx(wanted, rel=1e-12)
        assert lift[d] == pytest.approx(wanted / surge[rows].mean(), rel=1e-12)


def test_the_first_draw_is_the_sample_and_every_draw_holds_as_many_blocks() -> None:
    draws = info.draw_blocks(np.arange(100) * S, 10 * S, draws=50)
    assert (draws.counts[0] == 1).all()
    assert (draws.counts.sum(axis=1) == 10).all()
    assert (draws.block == np.arange(100) // 10).all()
    with pytest.raises(DatasetError, match="no rows"):
        info.draw_blocks(np.empty(0, np.int64), S)


def test_direction_is_the_sign_of_the_past_and_up_where_there_is_none() -> None:
    draws = info.draw_blocks(np.arange(100) * S, 10 * S)
    x = np.tile(np.arange(10.0), 10)
    assert info.direction(x, x, draws) == 1
    assert info.direction(-x, x, draws) == -1
    assert info.direction(np.full(100, np.nan), x, draws) == 1


def test_bounds_of_chance_hold_all_at_once_where_single_ones_do_not() -> None:
    # 40 features without information, 20 blocks of 25 rows that move together.
    wrong = {"pointwise": 0, "simultaneous": 0}
    for seed in range(24):
        random = np.random.default_rng(seed)
        y = np.repeat(random.normal(size=20), 25) + random.normal(size=500)
        draws = info.draw_blocks(np.arange(500) * S, 25 * S, draws=200, seed=seed)
        drawn = np.stack(
            [
                info.ic_draws(info.block_ics(random.normal(size=500), y, draws), draws)
                for _ in range(40)
            ],
            axis=1,
        )
        for name, bounds in (
            ("pointwise", info.pointwise(drawn, 20)),
            ("simultaneous", info.simultaneous(drawn, 20)),
        ):
            wrong[name] += bool(((bounds.lower > 0) | (bounds.upper < 0)).any())
    assert wrong["simultaneous"] <= 5  # 5 % promised
    assert wrong["pointwise"] >= 12  # each 5 %, some one of forty nearly always


def test_what_carries_information_is_told_from_what_does_not() -> None:
    random = np.random.default_rng(3)
    y = random.normal(size=3_000)
    features = random.normal(size=(3_000, 30))
    features[:, 4] += 0.3 * y
    draws = info.draw_blocks(np.arange(3_000) * S, 150 * S)
    drawn = np.stack([info.ic_draws(info.block_ics(x, y, draws), draws) for x in features.T], 1)
    bounds = info.simultaneous(drawn, draws.blocks)
    assert np.flatnonzero(bounds.lower > 0).tolist() == [4]
    assert (bounds.lower <= bounds.estimate).all() and (bounds.estimate <= bounds.upper).all()


def test_few_blocks_or_many_empty_draws_give_no_bounds() -> None:
    drawn = np.random.default_rng(0).normal(size=(101, 2))
    assert np.isnan(info.simultaneous(drawn, 5).lower).all()
    assert np.isfinite(info.pointwise(drawn, 6).lower).all()
    drawn[1:50, 0] = np.nan
    assert np.isnan(info.pointwise(drawn, 20).lower).tolist() == [True, False]
    assert np.isnan(info.simultaneous(drawn, 20).upper).tolist() == [True, False]
