"""The slow twin of foreshock/features/bars.py: every column from the list of candles."""

from __future__ import annotations

import math

import numpy as np

from tests.reference.features import SECOND, Bar

NAN = math.nan
MINUTE = 60 * SECOND


def since_hole(bars: list[Bar]) -> list[Bar]:
    """The candles behind the last missing minute, copies dropped."""
    kept: list[Bar] = []
    for bar in bars:
        if not bar.closed or bar.seconds != 60 or bar.ohlc[2] <= 0:
            continue
        if kept and bar.opened <= kept[-1].opened:
            continue
        if kept and bar.opened != kept[-1].opened + MINUTE:
            kept = []
        kept.append(bar)
    return kept


def name_of(minutes: int) -> str:
    if minutes < 5:
        return f"{60 * minutes}s"
    return f"{minutes}m" if minutes < 60 else f"{minutes // 60}h"


def bars_features(events: list[Bar], boundary: int, width: list[str]) -> dict[str, float]:
    out = dict.fromkeys(width, NAN)
    bars = since_hole([bar for bar in events if bar.at < boundary])
    if not bars or boundary > bars[-1].opened + MINUTE + 180 * SECOND:
        return out
    o, h, low, c = (np.array([bar.ohlc[k] for bar in bars], float) for k in range(4))
    v = np.array([bar.lots for bar in bars], float)
    taken = np.array([bar.bought or 0 for bar in bars], float)
    n = len(bars)
    moves = np.diff(np.log(c))
    for m in (1, 5, 15, 60, 240, 1440):
        if n > m:
            out[f"returns_{name_of(m)}"] = 1e4 * math.log(c[-1] / c[-1 - m])
    if n > 60:
        out["volatility_1h"] = 1e4 * np.std(np.diff(np.log(c[::-1][:61:5][::-1])), ddof=1)
    if n > 1440:
        out["volatility_24h"] = 1e4 * np.std(np.diff(np.log(c[::-1][:1441:60][::-1])), ddof=1)
    wide = h[-1] - low[-1]
    out["high_low_range"] = 1e4 * wide / c[-1]
    if wide:
        out["close_position"] = (c[-1] - low[-1]) / wide
        out["body_share"] = (c[-1] - o[-1]) / wide
    if n > 1:
        out["price_gap"] = 1e4 * (o[-1] / c[-2] - 1)
    for m in (20, 50, 200):
        if n >= m:
            out[f"sma_distance_{m}m"] = 1e4 * (c[-1] / c[-m:].mean() - 1)
    for m in (60, 240, 1440):
        tail = name_of(m)
        if n < m:
            continue
        if c[-m:].std() > 0:
            out[f"price_zscore_{tail}"] = (c[-1] - c[-m:].mean()) / c[-m:].std(ddof=1)
        top, bottom = h[-m:].max(), low[-m:].min()
        if top > bottom:
            out[f"bar_range_position_{tail}"] = (c[-1] - bottom) / (top - bottom)
        out[f"bar_drawdown_{tail}"] = 1e4 * (c[-1] / top - 1)
        out[f"bar_runup_{tail}"] = 1e4 * (c[-1] / bottom - 1)
        typical = (h + low + c)[-m:] / 3
        if v[-m:].sum():
            vwap = (typical * v[-m:]).sum() / v[-m:].sum()
            out[f"bar_vwap_deviation_{tail}"] = 1e4 * (c[-1] / vwap - 1)
        reach, body = np.log(h / low)[-m:] ** 2, np.log(c / o)[-m:] ** 2
        out[f"bar_parkinson_{tail}"] = 1e4 * math.sqrt(reach.mean() / (4 * math.log(2)))
        garman = (0.5 * reach - (2 * math.log(2) - 1) * body).mean()
        out[f"bar_garman_klass_{tail}"] = 1e4 * math.sqrt(max(0.0, garman))
        if v[-m:].std() > 0:
            out[f"volume_zscore_{tail}"] = (v[-1] - v[-m:].mean()) / v[-m:].std(ddof=1)
    for m in (60, 240):
        tail = name_of(m)
        if n > m:
            r = moves[-m:] - moves[-m:].mean()
            if r.std() > 0:
                out[f"return_skewness_{tail}"] = (r**3).mean() / (r**2).mean() ** 1.5
                out[f"return_kurtosis_{tail}"] = (r**4).mean() / (r**2).mean() ** 2 - 3
            x, y = np.arange(m) - (m - 1) / 2, np.log(c[-m:]) - np.log(c[-m:]).mean()
            slope = (x * y).sum() / (x**2).sum()
            rest = ((y - slope * x) ** 2).sum()
            if rest > 0:
                out[f"trend_t_{tail}"] = slope / math.sqrt(rest / (m - 2) / (x**2).sum())
            out[f"up_share_{tail}"] = (c[-m:] > o[-m:]).mean()
    for short, long in ((5, 60), (60, 1440)):
        if n >= long and v[-long:].sum():
            name = f"volume_ratio_{name_of(short)}_{name_of(long)}"
            out[name] = v[-short:].mean() / v[-long:].mean()
    for m in (1, 5, 60):
        if n >= m and v[-m:].sum() and taken[-m:].sum():
            out[f"taker_buy_share_{name_of(m)}"] = taken[-m:].sum() / v[-m:].sum()
    if n > 1:
        run = 0
        for now, before in zip(c[:0:-1], c[-2::-1], strict=True):
            way = int(np.sign(now - before))
            if way == 0 or (run and np.sign(run) != way):
                break
            run += way
        out["run_length"] = run
    if n > 1440:
        spread = np.std(np.diff(np.log(c[::-1][:1441:60][::-1])), ddof=1)
        if spread > 0:
            out["trend_regime"] = math.log(c[-60:].mean() / c[-1440:].mean()) / spread
        squares = (moves[-1440:] ** 2).reshape(24, 60).sum(axis=1)
        if squares.any():
            out["volatility_regime"] = (squares[:-1] < squares[-1]).sum() / 23
    return out
