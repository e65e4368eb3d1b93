"""Indicators against TA-Lib's wheel, on candles of a minute and of those made of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
import talib
from pydantic import ValidationError

from foreshock.features import technical
from foreshock.features.technical_specs import TechnicalSettings, specs
from foreshock.market import ladder as books
from foreshock.market.rows import BACKFILL, as_rows
from tests.reference.feature_tape import as_input, instruments
from tests.reference.features import SECOND, Bar

MINUTE = 60 * SECOND
START = 1_700_006_400 * SECOND  # a full day of UTC
SEEDED = 1_000  # by then the seed of the slowest average of a short length has worn off
Candles = dict[str, np.ndarray]
NAMES = [spec.name for spec in specs(TechnicalSettings())]


@cache
def market(minutes: int, seed: int = 1) -> Candles:
    """A random walk of candles; prices are small, because TA-Lib's running sums of squares lose
    the last digits of large ones."""
    rng = np.random.default_rng(seed)
    close = 2_000 + np.cumsum(rng.integers(-3, 4, minutes))
    opened = np.r_[2_000, close[:-1]] + rng.integers(-1, 2, minutes)
    high = np.maximum(opened, close) + rng.integers(0, 4, minutes)
    low = np.minimum(opened, close) - rng.integers(0, 4, minutes)
    lots = rng.integers(1, 10_000, minutes)
    return {"open": opened, "high": high, "low": low, "close": close, "lots": lots}


def bars_of(m: Candles, first: int = 0) -> list[Bar]:
    out = []
    for k in range(len(m["close"])):
        opened = START + (first + k) * MINUTE
        ohlc = (int(m["open"][k]), int(m["high"][k]), int(m["low"][k]), int(m["close"][k]))
        out.append(Bar(opened + MINUTE + SECOND // 2, 0, opened, ohlc, int(m["lots"][k])))
    return out


def told(bars: list[Bar], settings: TechnicalSettings | None = None) -> np.ndarray:
    """(candles, columns): what is said behind each candle."""
    given = settings or TechnicalSettings()
    words, touch = as_input(bars)
    state, ladder = technical.init(instruments(1), given), books.init(1)
    out = np.zeros((1, len(specs(given))))
    rows = []
    for k, bar in enumerate(bars):
        technical.scan(words, touch, 2 * k, 2 * k + 2, state)
        technical.close(bar.at // SECOND * SECOND + SECOND, ladder, state, out)
        rows.append(out[0].copy())
    return np.array(rows)


def longer(m: Candles, minutes: int) -> Candles:
    """Candles of `minutes` minutes, by hand."""
    n = len(m["close"]) // minutes
    grid = {name: values[: n * minutes].reshape(n, minutes) for name, values in m.items()}
    return {
        "open": grid["open"][:, 0],
        "high": grid["high"].max(axis=1),
        "low": grid["low"].min(axis=1),
        "close": grid["close"][:, -1],
        "lots": grid["lots"].sum(axis=1),
    }


def wanted(m: Candles) -> dict[str, np.ndarray]:
    """Every column from TA-Lib."""
    o, h, low, c, v = (m[name].astype(float) for name in ("open", "high", "low", "close", "lots"))
    assert len(o)
    line, _, histogram = talib.MACD(c, 12, 26, 9)
    upper, middle, lower = talib.BBANDS(c, 20, 2.0, 2.0)
    average, reach = talib.EMA(c, 20), 2 * talib.ATR(h, low, c, 10)
    slow_k, slow_d = talib.STOCH(h, low, c, 14, 3, 0, 3, 0)
    balance = talib.OBV(c, v)
    change = np.full(len(c), np.nan)
    change[20:] = balance[20:] - balance[:-20]
    moved = np.r_[np.nan, v[1:] * (c[1:] / c[:-1] - 1.0)]
    return {
        **{f"rsi_{p}": talib.RSI(c, p) for p in (7, 14, 21)},
        **{f"ema_distance_{p}": 1e4 * (c / talib.EMA(c, p) - 1) for p in (9, 21, 50, 200)},
        "wma_distance_20": 1e4 * (c / talib.WMA(c, 20) - 1),
        "ema_cross": 1e4 * (talib.EMA(c, 9) / talib.EMA(c, 21) - 1),
        "dema_distance_21": 1e4 * (c / talib.DEMA(c, 21) - 1),
        "tema_distance_21": 1e4 * (c / talib.TEMA(c, 21) - 1),
        "macd_line": 1e4 * line / c,
        "macd_signal": 1e4 * histogram / c,
        "bb_position": (c - lower) / (upper - lower),
        "bb_width": 1e4 * (upper - lower) / middle,
        "keltner_position": (c - (average - reach)) / (2 * reach),
        "natr_14": 1e4 * talib.ATR(h, low, c, 14) / c,
        "plus_di_14": talib.PLUS_DI(h, low, c, 14),
        "minus_di_14": talib.MINUS_DI(h, low, c, 14),
        "adx_14": talib.ADX(h, low, c, 14),
        "cci_20": talib.CCI(h, low, c, 20),
        "stochastic_k_14": slow_k,
        "stochastic_d_14": slow_d,
        "williams_r_14": talib.WILLR(h, low, c, 14),
        "mfi_14": talib.MFI(h, low, c, v, 14),
        "cmo_14": talib.CMO(c, 14),
        "obv_change_20": change / talib.SUM(v, 20),
        "vpt_change_20": 1e4 * talib.SUM(np.nan_to_num(moved), 20) / talib.SUM(v, 20),
        "adosc": talib.ADOSC(h, low, c, v, 3, 10) / talib.SMA(v, 20),
        "roc_10": talib.ROC(c, 10),
        "trix_15": talib.TRIX(c, 15),
        "aroon_25": talib.AROONOSC(h, low, 25),
        "ultimate": talib.ULTOSC(h, low, c, 7, 14, 28),
    }


def assert_same(found: np.ndarray, exact: dict[str, np.ndarray], tail: str, seeded: int) -> None:
    for name, values in exact.items():
        mine = found[:, NAMES.index(name + tail)]
        known = np.isfinite(values)
        known[:seeded] = False
        assert known.sum() > 50, name
        error = np.abs(mine[known] - values[known]) / np.maximum(1.0, np.abs(values[known]))
        assert error.max() <= 1e-9, f"{name}{tail}: {error.max()}"


def test_every_indicator_of_one_minute_is_talibs() -> None:
    m = market(3_000)
    exact = wanted(m)
    assert set(exact) == {name for name in NAMES if not name.endswith(("_5m", "_15m", "_1h"))}
    assert_same(told(bars_of(m)), exact, "", SEEDED)


@pytest.mark.parametrize(("minutes", "tail"), [(5, "_5m"), (15, "_15m"), (60, "_1h")])
def test_longer_candles_are_made_of_minutes_and_give_talibs_values(minutes: int, tail: str) -> None:
    m = market(600 * minutes if minutes < 60 else 30_000, seed=minutes)
    found = told(bars_of(m))[minutes - 1 :: minutes]
    exact = wanted(longer(m, minutes))
    assert_same(found, exact, tail, 350)


def test_a_value_is_known_as_soon_as_its_spec_says() -> None:
    m = market(420)
    found = told(bars_of(m))
    for k, spec in enumerate(specs(TechnicalSettings())):
        candles = spec.warmup_s // 60
        if candles < len(found):
            assert np.isnan(found[: candles - 1, k]).all(), spec.name
            assert np.isfinite(found[candles - 1, k]), spec.name


def test_other_periods_are_other_features_and_talibs_too() -> None:
    settings = TechnicalSettings(lengths_min=(1,), rsi=(5,), mfi=9, cci=11, aroon=12, williams=30)
    m = market(800)
    found = told(bars_of(m), settings)
    names = [spec.name for spec in specs(settings)]
    h, low, c, v = (m[name].astype(float) for name in ("high", "low", "close", "lots"))
    for name, exact in (
        ("rsi_5", talib.RSI(c, 5)),
        ("mfi_9", talib.MFI(h, low, c, v, 9)),
        ("cci_11", talib.CCI(h, low, c, 11)),
        ("aroon_12", talib.AROONOSC(h, low, 12)),
        ("williams_r_30", talib.WILLR(h, low, c, 30)),
    ):
        assert np.allclose(found[300:, names.index(name)], exact[300:], rtol=1e-9, atol=1e-9)


def same(one: np.ndarray, other: np.ndarray) -> bool:
    return one.tobytes() == other.tobytes()


def test_after_a_missing_minute_everything_begins_anew() -> None:
    m = market(700)
    whole = bars_of(m)
    torn = told([*whole[:300], *whole[301:]])
    fresh = told(whole[301:])
    assert same(torn[300:], fresh)


def test_a_candle_told_twice_counts_once() -> None:
    bars = bars_of(market(400))
    once = told(bars)
    twice = told([bar for bar in bars for _ in range(2)])
    assert same(twice[::2], once) and same(twice[1::2], once)


@pytest.mark.parametrize("overlap", [0, 1, 2])
def test_history_told_behind_a_live_candle_begins_anew_and_the_live_one_follows(
    overlap: int,
) -> None:
    bars = bars_of(market(400))
    live, after = bars[-2], bars[-1]
    words, touch = as_input([live, *bars[:-2], *([live] * overlap), after])
    as_rows(words)["flags"][2:-2:2] = BACKFILL
    state, ladder = technical.init(instruments(1), TechnicalSettings()), books.init(1)
    technical.scan(words, touch, 0, len(words), state)
    out = np.zeros((1, len(NAMES)))
    technical.close(after.at // SECOND * SECOND + SECOND, ladder, state, out)
    assert same(out[0], told(bars)[-1])


def test_a_candle_that_cannot_be_is_a_missing_minute_and_no_number() -> None:
    bars = bars_of(market(300))
    for ohlc in ((50, 60, 40, 0), (0, 60, 40, 50), (50, 40, 60, 50), (70, 60, 40, 50)):
        wrong = Bar(bars[150].at, 0, bars[150].opened, ohlc, 5)
        found = told([*bars[:150], wrong, *bars[151:]])
        assert same(found[151:], told(bars[151:]))
        assert not np.isinf(found).any()


def test_open_candles_other_lengths_and_candles_without_a_price_change_nothing() -> None:
    bars = bars_of(market(200))
    wrong = [
        Bar(bar.at, 0, bar.opened, ohlc, bar.lots, closed=closed, seconds=seconds)
        for bar in bars
        for ohlc, closed, seconds in (
            (bar.ohlc, False, 60), (bar.ohlc, True, 300), ((5, 9, 0, 5), True, 60),
        )
    ]  # fmt: skip
    mixed = [event for k, bar in enumerate(bars) for event in (*wrong[3 * k : 3 * k + 3], bar)]
    assert same(told(mixed)[3::4], told(bars))


def test_a_pair_whose_candles_stop_has_no_values() -> None:
    bars = bars_of(market(100))
    words, touch = as_input(bars)
    state, ladder = technical.init(instruments(1), TechnicalSettings()), books.init(1)
    technical.scan(words, touch, 0, len(words), state)
    out = np.zeros((1, len(NAMES)))
    over = bars[-1].opened + MINUTE
    technical.close(over + 180 * SECOND, ladder, state, out)
    assert np.isfinite(out[0, NAMES.index("rsi_14")])
    technical.close(over + 181 * SECOND, ladder, state, out)
    assert np.isnan(out).all()


@pytest.mark.parametrize(
    "wrong", [{"lengths_min": [7]}, {"rsi": [1]}, {"ema": [300]}, {"adx": 1}, {"lengths_min": []}]
)
def test_parameters_that_cannot_be_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        TechnicalSettings.model_validate(wrong)


def test_the_names_that_were_asked_for_are_there() -> None:
    asked: Callable[[str], bool] = NAMES.__contains__
    assert all(map(asked, ("rsi_14", "rsi_7", "macd_signal", "bb_position", "ema_cross")))
