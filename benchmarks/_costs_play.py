"""Bills beside what a taker's round trips did cost: a simulated exchange is played, its frames go
through session and engine to bill inputs, and at every boundary an order is filled by walking the
*true* book after the latency, in at one boundary and out at one a holding time later."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray
from scipy.stats import t as student

from foreshock.costs.total import CostSettings, bill
from foreshock.engine.step import Engine
from foreshock.features.settings import FeatureSettings
from foreshock.market.clock import MS_NS, SECOND_NS
from foreshock.market.instruments import USDM
from foreshock.market.rows import Rows
from foreshock.replay.driver import distrust
from foreshock.simulation.exchange import SimulatedExchange
from foreshock.simulation.settings import SimulationSettings, StreamName
from foreshock.venues.binance import BinanceSession

Floats = NDArray[np.float64]

BPS: Final = 1e4
HOLD_S: Final = 60
WARM_S: Final = 70  # bills are known by then
FUNDING_S: Final = 300  # so that one holding span in five meets a payment
KNOWN_LEVELS: Final = (1, 3, 5, 10, 20, 50)  # of ladders of which the rest is hidden
_FEW: Final = FeatureSettings(families=("context",))  # bill inputs need no features
_STREAMS: Final[dict[bool, tuple[StreamName, ...]]] = {
    False: ("trade", "depth", "bookTicker"),
    True: ("trade", "depth", "bookTicker", "markPrice"),
}


class Fills(NamedTuple):
    """What orders of one size would have paid at each second, (seconds, n): average price over the
    best, both in quote units; NaN where the book did not hold so much."""

    buy_bps: Floats
    sell_bps: Floats


class Played(NamedTuple):
    """b seconds of n symbols. Second k is decided on at boundary k and filled `latency_ms` later.

    inputs   BILL_INPUT (b, n)
    mid      float64 (b, n): the true mid at the boundary
    bid, ask float64 (b, n): the true touch at the fill
    fills    by notional
    paid     float64 (b, n): funding rate settled at the boundary or in the second before, 0 if none
    worth    by k of KNOWN_LEVELS, float64 (2, b, n): what the first k levels of bids and asks held
             at the boundary, quote currency; empty where that was not looked at
    """

    inputs: NDArray[np.void]
    mid: Floats
    bid: Floats
    ask: Floats
    fills: dict[float, Fills]
    paid: Floats
    worth: Mapping[int, Floats]


def fill_bps(levels: NDArray[np.int64], money: float, notional: float) -> float:
    """What a market order of `notional` pays more than the best level, bps, level by level; NaN
    where `levels` (k, 2), best first, do not hold so much. `money` per tick · lot."""
    worth = levels[:, 0] * levels[:, 1] * money
    spent = np.cumsum(worth)
    if spent[-1] < notional:
        return float("nan")
    last = int(np.searchsorted(spent, notional))
    taken = worth[: last + 1].copy()
    taken[-1] -= spent[last] - notional
    behind = np.abs(levels[: last + 1, 0] / levels[0, 0] - 1.0)
    # The money at each level buys less by the distance: price it at what was bought.
    return float((taken * behind * levels[0, 0] / levels[: last + 1, 0]).sum() / notional * BPS)


def play(
    seed: int, market: str, symbols: int, seconds: int, latency_ms: int,
    notionals: tuple[float, ...],
) -> Played:  # fmt: skip
    """Play one exchange."""
    exchange = SimulatedExchange(
        SimulationSettings(
            seed=seed, market=market, symbols=symbols, streams=_STREAMS[market == USDM],
            funding_interval_s=FUNDING_S,
        )
    )  # fmt: skip
    instruments = exchange.instruments()
    session, engine = BinanceSession(instruments), Engine(instruments, _FEW)
    money = [i.tick_size * i.lot_size for i in instruments]
    start_ns, n = exchange.now_ns, len(instruments)
    touch = np.full((2, seconds, n, 2), np.nan)  # at the boundary, at the fill; bid, ask ticks
    walked = {q: np.full((2, seconds, n), np.nan) for q in notionals}
    worth = {levels: np.full((2, seconds, n), np.nan) for levels in KNOWN_LEVELS}
    inputs: list[NDArray[np.void]] = []

    def feed(rows: Rows) -> None:
        inputs.extend(one.bill_inputs for one in engine.feed(rows))

    def go(until_ns: int) -> None:
        got = exchange.advance_buffer(until_ns)
        feed(session.receive_buffer(got.data, got.starts, got.event_ns))
        for request in session.wanted():
            body = exchange.depth(request.symbol, request.levels)
            feed(session.receive_snapshot(request.symbol, body, request.levels, until_ns))
        for rows in distrust(engine, session, until_ns):
            feed(rows)

    feed(session.start(start_ns))
    for k in range(seconds):
        at_ns = start_ns + (k + 1) * SECOND_NS
        go(at_ns)
        for s, symbol in enumerate(exchange.symbols):
            sides = exchange.book(symbol)
            touch[0, k, s] = sides[0][0, 0], sides[1][0, 0]
            for side in range(2):
                held = np.cumsum(sides[side].prod(axis=1)) * money[s]
                for levels, out in worth.items():
                    out[side, k, s] = held[min(levels, len(held)) - 1]
        feed(session.timer(at_ns))
        go(at_ns + latency_ms * MS_NS)
        for s, symbol in enumerate(exchange.symbols):
            sides = exchange.book(symbol)
            touch[1, k, s] = sides[0][0, 0], sides[1][0, 0]
            for q, out in walked.items():
                for side in range(2):
                    out[side, k, s] = fill_bps(sides[side], money[s], q)
    assert len(inputs) == seconds, "a boundary a second"
    fills = {q: Fills(buy_bps=out[1], sell_bps=out[0]) for q, out in walked.items()}
    paid = _paid(exchange, seconds) if market == USDM else np.zeros((seconds, n))
    bid, ask = np.moveaxis(touch[1], -1, 0)
    return Played(np.array(inputs), touch[0].mean(-1), bid, ask, fills, paid, worth)


def _paid(exchange: SimulatedExchange, seconds: int) -> Floats:
    out = np.zeros((seconds, len(exchange.symbols)))
    for s, symbol in enumerate(exchange.symbols):
        body = exchange.answer("/fapi/v1/fundingRate", {"symbol": symbol}, 1000)
        for entry in orjson.loads(body or b"[]"):
            after_ns = int(entry["fundingTime"]) * MS_NS - exchange.settings.start_ns
            k = -(-after_ns // SECOND_NS) - 1
            if 0 <= k < seconds:
                out[k, s] += float(entry["fundingRate"])
    return out


def round_trips(played: Played, settings: CostSettings) -> dict[str, tuple[Floats, Floats]]:
    """(billed, realised) bps by component, (decisions, n) each: in at k, out HOLD_S later.

    `latency` counts what moved against us, `latency, in our favour` the other half, `latency,
    signed` all of it; the bill of all three is that of `latency`. `total` is the whole bill beside
    the money that was lost between the two mids that were decided on, `total, less the reserve`
    the bill without its latency beside the same."""
    begin, stop = WARM_S, len(played.mid) - HOLD_S
    at, out = slice(begin, stop), slice(begin + HOLD_S, stop + HOLD_S)
    billed = bill(played.inputs[at].reshape(-1), settings, HOLD_S).reshape(stop - begin, -1)
    mids = (played.bid + played.ask) / 2.0
    half = (played.ask - played.bid) / 2.0 / mids * BPS
    fills = played.fills[settings.notional]
    enter = (mids[at] / played.mid[at] - 1.0) * BPS
    leave = -(mids[out] / played.mid[out] - 1.0) * BPS
    bought = played.ask[at] / (1.0 - fills.buy_bps[at] / BPS)
    sold = played.bid[out] / (1.0 + fills.sell_bps[out] / BPS)
    rates = np.concatenate([np.zeros((1, played.paid.shape[1])), np.cumsum(played.paid, axis=0)])
    due = rates[out.start + 1 : out.stop + 1] - rates[at.start + 1 : at.stop + 1]
    taker = settings.fees.taker_bps
    fees = taker * (1.0 + sold / bought)
    realised = {
        "fees": fees,
        "spread": half[at] + half[out],
        "impact": fills.buy_bps[at] + fills.sell_bps[out],
        "funding": np.maximum(due, 0.0) * BPS,
        "latency": np.maximum(enter, 0.0) + np.maximum(leave, 0.0),
    }
    pairs = {name: (billed[f"{name}_bps"], value) for name, value in realised.items()}
    lost = (played.mid[out] / played.mid[at] - sold / bought) * BPS
    pairs["latency, signed"] = (billed["latency_bps"], enter + leave)
    pairs["latency, in our favour"] = (
        billed["latency_bps"], np.maximum(-enter, 0.0) + np.maximum(-leave, 0.0)
    )  # fmt: skip
    whole = lost + fees + realised["funding"]
    pairs["total"] = (billed["total_bps"], whole)
    pairs["total, less the reserve"] = (billed["total_bps"] - billed["latency_bps"], whole)
    return pairs


class Compared(NamedTuple):
    """Means in bps, billed over realised with its 95 % interval over symbols and seeds, and how far
    the interval of the realised mean reaches."""

    billed: float
    realised: float
    ratio: float
    lower: float
    upper: float
    reach_bps: float
    trips: int


def compare(pairs: list[tuple[Floats, Floats]]) -> Compared:
    """Of all plays. Symbols of the simulated exchange draw apart, so that each symbol of each play
    is one cluster; the interval is that of a ratio of sums over them (delta method, Student)."""
    columns = []
    for billed, realised in pairs:
        known = np.isfinite(billed) & np.isfinite(realised)
        columns.append([np.where(known, x, 0.0).sum(axis=0) for x in (billed, realised, known)])
    ours, theirs, counts = np.concatenate([np.array(each) for each in columns], axis=1)
    trips, clusters = int(counts.sum()), len(counts)
    wide = float(student.ppf(0.975, clusters - 1)) * (clusters / (clusters - 1)) ** 0.5

    def reach(residuals: Floats, total: float) -> float:
        return wide * float(np.sqrt((residuals**2).sum())) / abs(total) if total else float("inf")

    mean = float(theirs.sum() / max(trips, 1))
    ratio = float(ours.sum() / theirs.sum()) if theirs.sum() else float("nan")
    by = reach(ours - ratio * theirs, float(theirs.sum()))
    return Compared(
        float(ours.sum() / max(trips, 1)), mean, ratio, ratio - by, ratio + by,
        reach(theirs - mean * counts, trips), trips,
    )  # fmt: skip
