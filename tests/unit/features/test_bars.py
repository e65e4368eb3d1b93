from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError

from foreshock.features import bars as family
from foreshock.features.bars import BarsSettings, specs
from foreshock.market import ladder as books
from foreshock.market.rows import BACKFILL, INSTRUMENT, as_rows, as_words, empty_rows
from tests.reference.feature_tape import as_input, instruments
from tests.reference.features import SECOND, Bar
from tests.reference.features_bars import MINUTE, bars_features

START = 1_700_006_400 * SECOND
NAMES = [spec.name for spec in specs(BarsSettings())]


def market(n: int, seed: int = 1, first: int = 0) -> list[Bar]:
    rng = np.random.default_rng(seed)
    close = 20_000 + np.cumsum(rng.integers(-9, 10, n) * (rng.random(n) > 0.2))
    out, before = [], 20_000
    for k in range(n):
        opened = START + (first + k) * MINUTE
        last = int(close[k])
        o = before + int(rng.integers(-1, 2))
        high = max(o, last) + int(rng.integers(0, 5))
        low = min(o, last) - int(rng.integers(0, 5))
        lots = int(rng.integers(0, 1_000)) if rng.random() > 0.1 else 0
        out.append(Bar(opened + MINUTE + SECOND // 3, 0, opened, (o, high, low, last), lots,
                       lots // 3))  # fmt: skip
        before = last
    return out


def told(bars: list[Bar], every: int = 1) -> tuple[np.ndarray, list[int]]:
    """(boundaries, columns) one second behind each candle, and those boundaries."""
    words, touch = as_input(bars)
    state, ladder = family.init(instruments(1), BarsSettings()), books.init(1)
    out, rows, at = np.zeros((1, len(NAMES))), [], []
    for k, bar in enumerate(bars):
        family.scan(words, touch, 2 * k, 2 * k + 2, state)
        if k % every == 0 or k == len(bars) - 1:
            boundary = bar.at // SECOND * SECOND + SECOND
            family.close(boundary, ladder, state, out)
            rows.append(out[0].copy())
            at.append(boundary)
    return np.array(rows), at


def test_every_column_equals_its_naive_twin_and_is_finite_at_least_once() -> None:
    bars = market(1_600)
    found, at = told(bars, every=53)
    seen = np.zeros(len(NAMES), bool)
    for row, boundary in zip(found, at, strict=True):
        exact = bars_features(bars, boundary, NAMES)
        assert set(exact) == set(NAMES)
        for k, name in enumerate(NAMES):
            same = math.isclose(row[k], exact[name], rel_tol=1e-9, abs_tol=1e-9)
            assert same or (math.isnan(row[k]) and math.isnan(exact[name])), (name, boundary)
        seen |= np.isfinite(row)
    assert seen.all(), [name for name, known in zip(NAMES, seen, strict=True) if not known]


def test_after_a_hole_nothing_reaches_back_over_it() -> None:
    bars = market(400)
    torn, _ = told([*bars[:200], *bars[203:]])
    fresh, _ = told(bars[203:])
    assert torn[200:].tobytes() == fresh.tobytes()


@pytest.mark.parametrize("overlap", [0, 1, 2])
def test_history_told_behind_a_live_candle_begins_anew_and_the_live_one_follows(
    overlap: int,
) -> None:
    """The history ends a minute before the last live candle, with it, or tells its end twice."""
    bars = market(300)
    live, after = bars[-2], bars[-1]
    past = bars[:-2] + ([live] * overlap)
    words, touch = as_input([live, *past, after])
    as_rows(words)["flags"][2:-2:2] = BACKFILL
    state, ladder = family.init(instruments(1), BarsSettings()), books.init(1)
    family.scan(words, touch, 0, len(words), state)
    out = np.zeros((1, len(NAMES)))
    family.close(after.at // SECOND * SECOND + SECOND, ladder, state, out)
    assert out[0].tobytes() == told(bars)[0][-1].tobytes()


@pytest.mark.parametrize(
    ("ohlc", "lots"),
    [
        ((50, 60, 40, 0), 5), ((0, 60, 40, 50), 5), ((50, 40, 60, 50), 5), ((50, 60, 40, 50), -1),
        ((70, 60, 40, 50), 5), ((50, 60, 55, 58), 5), ((-5, 60, -9, 50), 5),
    ],
)  # fmt: skip
def test_a_candle_that_cannot_be_is_a_missing_minute_and_no_number(
    ohlc: tuple[int, int, int, int], lots: int
) -> None:
    bars = market(200)
    spoilt = [*bars[:100], replace(bars[100], ohlc=ohlc, lots=lots), *bars[101:]]
    found, _ = told(spoilt)
    assert found[101:].tobytes() == told(bars[101:])[0].tobytes()
    assert not np.isinf(found).any()


def test_after_a_new_tick_size_nothing_of_the_old_one_is_left() -> None:
    bars = market(200)
    words, touch = as_input(bars)
    state, ladder = family.init(instruments(1), BarsSettings()), books.init(1)
    family.scan(words, touch, 0, 200, state)
    version = empty_rows(1)
    version["kind"], version["a"], version["b"], version["c"], version["d"] = INSTRUMENT, 3, 1, 3, 1
    family.scan(as_words(version), touch, 0, 1, state)
    family.scan(words, touch, 200, 400, state)
    out = np.zeros((1, len(NAMES)))
    family.close(bars[-1].at // SECOND * SECOND + SECOND, ladder, state, out)
    assert out[0].tobytes() == told(bars[100:])[0][-1].tobytes()


def test_a_candle_told_twice_counts_once_and_an_open_one_not_at_all() -> None:
    bars = market(120)
    opened = [Bar(b.at, 0, b.opened, b.ohlc, b.lots, b.bought, closed=False) for b in bars]
    mixed = [event for b, o in zip(bars, opened, strict=True) for event in (o, b, b)]
    assert told(mixed)[0][2::3].tobytes() == told(bars)[0].tobytes()


def test_a_source_that_does_not_say_who_took_gives_no_share() -> None:
    bars = [Bar(b.at, 0, b.opened, b.ohlc, b.lots) for b in market(100)]
    found, _ = told(bars)
    shares = [k for k, name in enumerate(NAMES) if name.startswith("taker_buy_share")]
    assert np.isnan(found[:, shares]).all()


def test_a_pair_whose_candles_stop_has_no_values() -> None:
    bars = market(100)
    words, touch = as_input(bars)
    state, ladder = family.init(instruments(1), BarsSettings()), books.init(1)
    family.scan(words, touch, 0, len(words), state)
    out, over = np.zeros((1, len(NAMES))), bars[-1].opened + MINUTE
    family.close(over + 180 * SECOND, ladder, state, out)
    assert np.isfinite(out).any()
    family.close(over + 181 * SECOND, ladder, state, out)
    assert np.isnan(out).all()


def test_a_flat_market_has_returns_of_zero_and_no_quotients_by_nothing() -> None:
    bars = [Bar(b.at, 0, b.opened, (50, 50, 50, 50), 0) for b in market(1_500)]
    found, _ = told(bars, every=500)
    last = dict(zip(NAMES, found[-1], strict=True))
    assert last["returns_24h"] == 0.0 and last["volatility_24h"] == 0.0
    assert last["run_length"] == 0.0
    flat = ("close_position", "price_zscore_1h", "return_skewness_1h", "volume_ratio_5m_1h",
            "trend_regime", "volatility_regime", "trend_t_1h")  # fmt: skip
    assert all(math.isnan(last[name]) for name in flat)
    assert not np.isinf(found).any()


def test_windows_longer_than_a_day_are_refused() -> None:
    for wrong in ({"returns_min": [1441]}, {"windows_min": [2000]}, {"moments_min": [2]}):
        with pytest.raises(ValidationError):
            BarsSettings.model_validate(wrong)


def test_the_names_that_were_asked_for_are_there() -> None:
    asked = ("returns_5m returns_15m returns_1h returns_4h returns_24h volatility_1h volatility_24h"
             " high_low_range close_position")  # fmt: skip
    assert set(asked.split()) <= set(NAMES)
