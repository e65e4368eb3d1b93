"""foreshock.simulation.paths: markets as they were asked for."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from foreshock.simulation.paths import PathSettings, draw_paths

LONG = PathSettings(symbols=4, days=60)


def closes(edge_bps: float = 0.0, **more: float) -> NDArray[np.float64]:
    settings = LONG.model_copy(update={"edge_bps": edge_bps, **more})
    return np.log(draw_paths(settings, 5).bars[..., 3])


def test_bars_hang_together() -> None:
    paths = draw_paths(PathSettings(symbols=3, days=2), 1)
    assert paths.bars.shape == (3, 2880, 4)
    assert paths.signal.shape == (3, 2880)
    opens, highs, lows, close = (paths.bars[..., i] for i in range(4))
    assert (highs >= np.maximum(opens, close)).all()
    assert (lows <= np.minimum(opens, close)).all()
    assert (lows > 0).all()
    assert np.array_equal(opens[:, 1:], close[:, :-1])


def test_the_same_seed_gives_the_same_market() -> None:
    first, second, other = (draw_paths(PathSettings(days=1), seed) for seed in (3, 3, 4))
    assert np.array_equal(first.bars, second.bars)
    assert not np.array_equal(first.bars, other.bars)


@pytest.mark.parametrize("edge_bps", [0.0, 10.0, 30.0])
def test_the_edge_is_as_large_as_stated(edge_bps: float) -> None:
    settings = LONG.model_copy(update={"edge_bps": edge_bps})
    paths = draw_paths(settings, 8)
    close = np.log(paths.bars[..., 3])
    ahead = (close[:, 15:] - close[:, :-15]) * 1e4
    signal = paths.signal[:, :-15]
    assert signal.std() == pytest.approx(1.0, abs=0.05)
    slope = (ahead * signal).mean() / (signal**2).mean()
    assert slope == pytest.approx(edge_bps, abs=1.5)


def test_returns_are_like_those_of_markets() -> None:
    returns = np.diff(closes(), axis=1)
    # Nothing is foretold, size is.
    for lag in (1, 5, 30):
        assert abs(np.corrcoef(returns[0, lag:], returns[0, :-lag])[0, 1]) < 0.02
        size = np.abs(returns[0])
        assert np.corrcoef(size[lag:], size[:-lag])[0, 1] > 0.05
    together = np.corrcoef(returns)[np.triu_indices(4, 1)]
    assert together.mean() == pytest.approx(LONG.together, abs=0.08)
    standard = returns / returns.std(axis=1, keepdims=True)
    assert (standard**4).mean() > 4.0


def test_a_bounce_makes_returns_revert() -> None:
    returns = np.diff(closes(bounce_bps=3.0), axis=1)
    assert np.corrcoef(returns[0, 1:], returns[0, :-1])[0, 1] < -0.03


def test_an_edge_may_end() -> None:
    always = draw_paths(LONG.model_copy(update={"edge_bps": 30.0}), 8)
    ended = draw_paths(LONG.model_copy(update={"edge_bps": 30.0, "edge_share": 0.5}), 8)
    half = always.signal.shape[1] // 2
    assert np.array_equal(always.signal, ended.signal)  # nobody sees it end
    assert np.array_equal(always.bars[:, :half], ended.bars[:, :half])
    close = np.log(ended.bars[..., 3])
    ahead = (close[:, 15:] - close[:, :-15]) * 1e4
    slopes = [
        float((ahead * ended.signal[:, :-15])[:, part].mean())
        for part in (slice(half - 15), slice(half, None))
    ]
    assert slopes == [pytest.approx(30.0, abs=2.5), pytest.approx(0.0, abs=2.5)]


def test_a_drift_is_common_lasts_and_is_not_foretold() -> None:
    settings = LONG.model_copy(update={"drift_bps": 15.0})
    paths = draw_paths(settings, 5)
    with_it, without = np.log(paths.bars[..., 3]), closes()
    added = (with_it - without) * 1e4
    assert np.allclose(added, added[0], atol=1e-6)
    steps = np.diff(added[0])
    assert steps.std() * 15 == pytest.approx(15.0, rel=0.25)
    # Of six hours, e⁻¹ is left.
    assert np.corrcoef(steps[360:], steps[:-360])[0, 1] == pytest.approx(np.exp(-1), abs=0.2)
    assert abs(np.corrcoef(paths.signal[0, :-1], steps)[0, 1]) < 0.1
