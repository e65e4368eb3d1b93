"""What round trips alone do not show: orders larger than what is known of the ladder, the fees of
orders that wait, and capacity."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import orjson

from benchmarks._costs_play import _FEW, HOLD_S, WARM_S, Floats, Played
from foreshock.costs.total import CostSettings, bill
from foreshock.engine.step import Engine
from foreshock.market.clock import SECOND_NS
from foreshock.market.rows import Rows
from foreshock.market.walk import LADDER_NOTIONALS
from foreshock.simulation.exchange import SimulatedExchange
from foreshock.simulation.settings import SimulationSettings
from foreshock.venues.binance import BinanceSession

Pair = tuple[Floats, Floats]
_SIDES: Final = ("bid", "ask")
_MINUTE_NS: Final = 60 * SECOND_NS


def hidden(played: Played, levels: int | None) -> Played:
    """The same with all but the first `levels` of each ladder hidden from the bill; None hides it
    whole, as on a tape."""
    inputs = played.inputs.copy()
    for side, name in enumerate(_SIDES):
        walked = inputs[f"{name}_walk_bps"]
        if levels is None:
            walked[:], inputs[f"{name}_notional"] = np.nan, np.inf
        else:
            walked[np.array(LADDER_NOTIONALS) > played.worth[levels][side][..., None]] = np.nan
    return played._replace(inputs=inputs)


def beyond(played: Played, settings: CostSettings) -> tuple[Pair, Floats]:
    """((billed, realised), shares): impact of buying and selling at once, bps (decisions, n), of
    orders that are larger than what the bill knows of either side, NaN elsewhere; and how many
    last minutes' volumes the order is of."""
    at = slice(WARM_S, len(played.mid) - HOLD_S)
    inputs, q = played.inputs[at], settings.notional
    billed = bill(inputs.reshape(-1), settings, HOLD_S)["impact_bps"].reshape(inputs.shape)
    sizes = np.concatenate([[0.0], LADDER_NOTIONALS])
    larger = np.ones(inputs.shape, dtype=bool)
    for name in _SIDES:
        larger &= sizes[np.isfinite(inputs[f"{name}_walk_bps"]).sum(axis=-1)] < q
    paid = played.fills[q].buy_bps[at] + played.fills[q].sell_bps[at]
    return (np.where(larger, billed, np.nan), paid), q / inputs["volume_60s"]


class Waited(NamedTuple):
    """Orders that wait at the touch before they cross. `share`: of entries and exits that were
    filled as they waited; `fees`: (billed at that share, realised) bps, (decisions, n)."""

    share: float
    fees: Pair


def waited(played: Played, settings: CostSettings, patience_s: int) -> Waited:
    """Each entry bids at the best bid and each exit offers at the best ask. It is a maker's fill
    where within `patience_s` the other side came to our price: then all that stood there, before us
    or behind, was filled. Otherwise it crosses when the patience is over."""
    begin, stop = WARM_S, len(played.mid) - HOLD_S - patience_s
    lowest, highest = (
        np.stack([side[k : len(side) - patience_s + k] for k in range(1, patience_s + 1)])
        for side in (played.ask, played.bid)
    )
    count = len(played.mid) - patience_s
    bought = lowest.min(axis=0) <= played.bid[:count]
    sold = highest.max(axis=0) >= played.ask[:count]
    pays_in = np.where(bought, played.bid[:count], played.ask[patience_s:])
    gets_out = np.where(sold, played.ask[:count], played.bid[patience_s:])
    at, out = slice(begin, stop), slice(begin + HOLD_S, stop + HOLD_S)
    maker, taker = settings.fees
    fee_in, fee_out = (np.where(filled, maker, taker) for filled in (bought[at], sold[out]))
    realised = fee_in + fee_out * gets_out[out] / pays_in[at]
    share = float((bought[at].mean() + sold[out].mean()) / 2.0)
    mixed = settings.model_copy(update={"maker_share": share})
    billed = bill(played.inputs[at].reshape(-1), mixed, HOLD_S)["fees_bps"]
    return Waited(share, (billed.reshape(realised.shape), realised))


def capacities(seed: int, market: str, symbols: int, seconds: int) -> Pair:
    """(the bill's capacity, the same share of what was traded in the last minute by the exchange's
    own trade frames), quote currency (seconds - 60, n)."""
    given = SimulationSettings(seed=seed, market=market, symbols=symbols, streams=("trade",))
    exchange = SimulatedExchange(given)
    instruments = exchange.instruments()
    session, engine = BinanceSession(instruments), Engine(instruments, _FEW)
    start_ns, billed, traded = exchange.now_ns, [], []
    told: list[tuple[int, int, float]] = []
    of = {symbol: s for s, symbol in enumerate(exchange.symbols)}

    def feed(rows: Rows) -> None:
        billed.extend(one.bill_inputs for one in engine.feed(rows))

    feed(session.start(start_ns))
    for k in range(1, seconds + 1):
        until_ns = start_ns + k * SECOND_NS
        got = exchange.advance_buffer(until_ns)
        whole, starts = got.data.tobytes(), got.starts.tolist()
        for i, at_ns in enumerate(got.event_ns.tolist()):
            body = orjson.loads(whole[starts[i] : starts[i + 1]])["data"]
            told.append((at_ns, of[body["s"]], float(body["p"]) * float(body["q"])))
        feed(session.receive_buffer(got.data, got.starts, got.event_ns))
        feed(session.timer(until_ns))
        told = [one for one in told if one[0] > until_ns - _MINUTE_NS]
        sums = np.zeros(len(instruments))
        for _, s, money in told:
            sums[s] += money
        traded.append(sums)
    settings = CostSettings.for_market(market)
    inputs = np.array(billed)[60:]
    ours = bill(inputs.reshape(-1), settings, HOLD_S)["capacity"].reshape(inputs.shape)
    return ours, settings.max_volume_share * np.array(traded)[60 : 60 + len(inputs)]
