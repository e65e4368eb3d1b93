"""Boundaries of one symbol become rows of a dataset: the bill, the barriers, the labels.

    tier   bill's spread     bill's impact              entry                     censored by
    book   the touch         the ladder, then the law   ask after the latency     states and epochs
    tape   assumed           the square-root law        last price, half a spread epochs
    bars   assumed           the square-root law        next open, half a spread  missing bars

On bars the volatility is the root mean square of the last VOLATILITY_BARS one-minute returns, all
of which must be there, over √60; the volume of a minute is their mean.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from foreshock.costs.barrier import barrier_bps
from foreshock.costs.total import bill
from foreshock.errors import DatasetError
from foreshock.labels.barriers import LONG, Labels, label_bars, label_quotes
from foreshock.labels.excursion import excursions
from foreshock.market.clock import SECOND_NS
from foreshock.market.instruments import Instrument
from foreshock.market.rows import SYNCED
from pipelines.dataset_play import (
    P_ARRIVAL,
    P_ASK,
    P_BID,
    P_CLOSE,
    P_LOTS,
    P_OPEN,
    P_OPEN_NS,
    P_QUOTE,
    P_SYMBOL,
    Ints,
    Played,
    censored_spans,
)
from pipelines.dataset_settings import BAR_S, DatasetSettings

Floats = NDArray[np.float64]

BPS: Final = 1e4
VOLATILITY_BARS: Final = 60
# What became of a boundary: a row, a row without a bill or a barrier; left out by `every_s`; no row
# because the book was not SYNCED (the last bar had not come), or required features were not warm.
WHY: Final = ("row", "price", "thinned", "epoch", "warm")
_BAR_NS: Final = BAR_S * SECOND_NS


@dataclass(frozen=True, slots=True)
class Labelled:
    """One symbol's rows, and why other boundaries gave none.

    arrays  the fields of a TrainingSet by name, `symbol` aside, and mfe_bps, mae_bps float32
            (rows, H); a row for each boundary where a verdict could have been given, those whose
            labels are all censored included
    why     uint8 (b,): for each boundary one of WHY
    """

    arrays: dict[str, NDArray[Any]]
    why: NDArray[np.uint8]


def label_steps(
    played: Played, s: int, instrument: Instrument, settings: DatasetSettings
) -> Labelled:
    """Raises DatasetError, naming the symbol, on a path that cannot be."""
    try:
        return _labelled(played, s, instrument, settings)
    except DatasetError as error:
        raise DatasetError(f"{instrument.symbol}: {error}") from error


def _labelled(
    played: Played, s: int, instrument: Instrument, settings: DatasetSettings
) -> Labelled:
    t0_ns, horizons_s = played.at_ns, settings.labels.horizons_s
    path, mine = played.path, played.path[:, P_SYMBOL] == s
    path = path if mine.all() else path[mine]
    inputs = played.bill_inputs[:, s].copy()
    good = np.ones(len(t0_ns), np.bool_)
    if settings.tier == "book":
        good &= played.book_state[:, s] == SYNCED
    elif settings.tier == "tape":
        _assume_spread(inputs, inputs["last"].copy(), settings.half_spread_bps)
    else:
        path = _in_order(path)
        good &= _bar_inputs(inputs, t0_ns, path, instrument, settings)
    horizons = np.array(horizons_s, np.float64)
    bills = bill(inputs, settings.costs, horizons)["total_bps"]
    far, near = barrier_bps(inputs["volatility_1s"][:, None], horizons, bills, settings.labels)
    chosen = (t0_ns - settings.phase_ns) // SECOND_NS % settings.every_s == 0
    ready = played.ready[:, s]
    scored = good & ready & chosen
    made = [
        _horizon(
            t0_ns, np.ascontiguousarray(far[:, h]), np.ascontiguousarray(near[:, h]), path,
            instrument, settings, horizon_s, scored, censored_spans(played, s, settings),
        )
        for h, horizon_s in enumerate(horizons_s)
    ]  # fmt: skip

    def stacked(name: str, of: int) -> NDArray[Any]:
        columns = [getattr(m[of], name)[scored] for m in made]
        return np.stack(columns, axis=1)

    arrays = {
        "X": played.vectors[:, s][scored],
        "labels": stacked("label", 0),
        "t0_ns": t0_ns[scored],
        "t1_ns": stacked("t1_ns", 0),
        "outcome_bps": stacked("outcome_bps", 0).astype(np.float32),
        "bill_bps": bills[scored].astype(np.float32),
        "far_bps": far[scored].astype(np.float32),
        "near_bps": near[scored].astype(np.float32),
        "mfe_bps": stacked("mfe_bps", 1).astype(np.float32),
        "mae_bps": stacked("mae_bps", 1).astype(np.float32),
    }
    why = np.select(
        [~chosen, ~good, ~ready, ~np.isfinite(far).all(axis=1)],
        [WHY.index(each) for each in ("thinned", "epoch", "warm", "price")],
    )
    return Labelled(arrays, why.astype(np.uint8))


def _horizon(
    t0_ns: Ints, far: Floats, near: Floats, path: Ints, instrument: Instrument,
    settings: DatasetSettings, horizon_s: int, scored: NDArray[np.bool_], spans: Ints,
) -> tuple[Labels, Any]:  # fmt: skip
    """(labels, excursions) of one horizon."""
    side, tick, half = settings.side, instrument.tick_size, settings.half_spread_bps
    if settings.tier == "bars":
        prices = np.ascontiguousarray(path[:, P_OPEN : P_CLOSE + 1] * tick)
        bars = label_bars(
            t0_ns, far, near, np.ascontiguousarray(path[:, P_OPEN_NS]), prices, bar_s=BAR_S,
            half_spread_bps=half, horizon_s=horizon_s, side=side, valid=scored,
            censor_spans_ns=spans,
        )  # fmt: skip
        high, low = (np.ascontiguousarray(prices[:, k]) for k in (1, 2))
        return bars, excursions(bars, high, low, side)
    widen = 0.0 if settings.tier == "book" else half / BPS
    touch = path[:, [P_BID, P_ASK]] * tick * np.array([1.0 - widen, 1.0 + widen])
    bid, ask = (np.ascontiguousarray(column, np.float64) for column in touch.T)
    quotes = label_quotes(
        t0_ns, far, near, path[:, P_ARRIVAL].copy(), bid, ask, horizon_s=horizon_s,
        latency_ms=settings.labels.latency_ms, side=side, valid=scored, censor_spans_ns=spans,
        data_end_ns=int(t0_ns[-1]) if len(t0_ns) else 0,
    )  # fmt: skip
    leave = bid if side == LONG else ask
    return quotes, excursions(quotes, leave, leave, side)


def _assume_spread(inputs: NDArray[np.void], last: Floats, half_spread_bps: float) -> None:
    """No book: the touch is assumed, and impact follows from the square-root law alone."""
    inputs["last"] = last
    inputs["bid"] = last * (1.0 - half_spread_bps / BPS)
    inputs["ask"] = last * (1.0 + half_spread_bps / BPS)
    inputs["bid_notional"] = inputs["ask_notional"] = np.where(np.isfinite(last), np.inf, np.nan)
    for name in ("bid_walk_bps", "ask_walk_bps", "mid_move_100ms_bps", "mid_move_1s_bps"):
        inputs[name] = np.nan


def _in_order(bars: Ints) -> Ints:
    """Each bar once, by opening: of a bar that is said twice the first word counts. Raises
    DatasetError on a price that is none."""
    wrong = (bars[:, P_OPEN : P_CLOSE + 1] <= 0).any(axis=1)
    if wrong.any():
        raise DatasetError(
            f"the bar opened at {bars[int(np.argmax(wrong)), P_OPEN_NS]} has no price"
        )
    _, first = np.unique(bars[:, P_OPEN_NS], return_index=True)
    return bars[first]


def _mean_of_last(count: int, values: Floats) -> Floats:
    """Of every `count` values that follow each other, float64 (n − count + 1,): summed anew, oldest
    first, so that it never matters where the values begin."""
    total = np.zeros(len(values) - count + 1)
    for k in range(count):
        total += values[k : len(values) - count + 1 + k]
    return total / count


def _bar_inputs(
    inputs: NDArray[np.void], t0_ns: Ints, bars: Ints, instrument: Instrument,
    settings: DatasetSettings,
) -> NDArray[np.bool_]:  # fmt: skip
    """Write what the bill needs; bool (b,): whether the bar that closed last before each boundary
    had come by then."""
    opened, need = bars[:, P_OPEN_NS], VOLATILITY_BARS + 1
    volatility, volume = np.full(len(bars), np.nan), np.full(len(bars), np.nan)
    quote = np.ascontiguousarray(bars[:, P_QUOTE]).view(np.float64)
    closes = (bars[:, P_CLOSE] * instrument.tick_size).astype(np.float64)
    # Who did not record the quote volume has it by the closing price.
    quote = np.where(quote > 0, quote, bars[:, P_LOTS] * instrument.lot_size * closes)
    if len(bars) >= need:
        squares = np.diff(np.log(closes)) ** 2
        whole = opened[need - 1 :] - opened[: -(need - 1)] == (need - 1) * _BAR_NS
        squared, traded = (_mean_of_last(VOLATILITY_BARS, each) for each in (squares, quote[1:]))
        volatility[need - 1 :] = np.where(whole, np.sqrt(squared / BAR_S), np.nan)
        volume[need - 1 :] = np.where(whole, traded, np.nan)
    wanted = t0_ns - settings.phase_ns - _BAR_NS
    at = np.searchsorted(opened, wanted)
    there = at < len(bars)
    at = np.where(there, at, 0)
    if not len(bars):
        return there
    there &= (opened[at] == wanted) & (bars[at, P_ARRIVAL] < t0_ns)

    def known(values: Floats) -> Floats:
        return np.where(there, values[at], np.nan)

    _assume_spread(inputs, known(closes), settings.half_spread_bps)
    inputs["volatility_1s"], inputs["volume_60s"] = known(volatility), known(volume)
    return there
