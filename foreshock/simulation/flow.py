"""What happens in a simulated market: orders that arrive, quotes that follow the fair price.

A market is a queue of moments. Each symbol has two clocks: its *flow* (an order, or nothing, at
random times, at least every 200 ms) and its *diff* (every `depth_interval_ms`, at a phase of its
own). `run_market` takes the earliest moment of all symbols, again and again; state changes at
moments only, and draws belong to a symbol, so that neither the cut of a run nor another symbol
matters.

Quotes follow the fair price (`surges.py`): whoever stands on its wrong side is lifted or cancels.
Orders arrive by a Hawkes-like clock: each market order excites the next ones, and `branching` is
how many it brings about on average.
"""

from __future__ import annotations

import math
from typing import Any

from foreshock.market.jit import inlined, kernel
from foreshock.simulation.draws import between, exponential, normal, uniform
from foreshock.simulation.ladder import best, list_changes, put, remove_at
from foreshock.simulation.state import (
    AGG_ID,
    BRANCHING,
    CHANGED,
    CHANGES,
    CHURN,
    DEPTH_NS,
    DEPTH_PHASE_NS,
    E_A,
    E_B,
    E_C,
    E_D,
    E_E,
    E_NS,
    E_STREAM,
    E_SYMBOL,
    EXCITEMENT,
    FIRST_ID,
    GAP_TICKS,
    HALF_SPREAD_TICKS,
    HALT_NS,
    IDLE,
    IDLE_S,
    KEYS,
    LAST_NS,
    LEVEL_LOTS,
    LEVELS,
    LOTS,
    MID_TICKS,
    NEXT_DEPTH_NS,
    NEXT_FLOW_NS,
    PACE,
    PHASE,
    PREVIOUS_ID,
    QUOTES_PER_S,
    R_EVENT,
    R_ID,
    R_LOTS,
    R_PRICE,
    R_SELLER,
    R_TRADE,
    RING,
    RING_COUNT,
    SILENT,
    STRENGTH,
    SURGE,
    TARGET_LEVELS,
    TILT,
    TOLD_ASK,
    TOLD_ASK_LOTS,
    TOLD_BID,
    TOLD_BID_LOTS,
    TRADE_ID,
    TRADE_LOTS,
    TRADES_PER_S,
    UPDATE_ID,
    WANT_AGG,
    WANT_DEPTH,
    WANT_TICKER,
    WANT_TRADE,
    Log,
    Market,
)
from foreshock.simulation.surges import EXCITEMENT_DECAY, enter, evolve
from foreshock.simulation.templates import AGG_TRADE, BOOK_TICKER, DEPTH, TRADE

BIDS, ASKS = 0, 1
DONE, LOG_FULL, STORY_FULL = range(3)
ROOM_EVENTS = 256  # no moment writes more
ROOM_STORIES = 64
_LONGEST_WAIT_NS = 200_000_000
_FEWEST_LEVELS = 24


@inlined
def _note(log: Any, s: int, stream: int, t: int, a: int, b: int, c: int, d: int, e: int) -> None:
    """Write an event down; see state.Log."""
    k = log.counts[0]
    log.events[k, E_STREAM] = stream
    log.events[k, E_SYMBOL] = s
    log.events[k, E_NS] = t
    log.events[k, E_A] = a
    log.events[k, E_B] = b
    log.events[k, E_C] = c
    log.events[k, E_D] = d
    log.events[k, E_E] = e
    log.counts[0] = k + 1


@inlined
def _level_lots(m: Any, s: int, factor: float) -> int:
    """A level's size: log-normal around the symbol's own."""
    return 1 + int(m.real[s, LEVEL_LOTS] * factor * math.exp(0.8 * normal(m.book.random, s)))


@inlined
def _quote_key(m: Any, s: int, side: int, fair: float, distance: float) -> int:
    """Key of a quote `distance` ticks outside the half spread, never through the other side."""
    half = m.real[s, HALF_SPREAD_TICKS]
    if side == BIDS:
        bid: int = math.ceil(fair - half - distance) - 1
        if m.book.whole[s, LEVELS + ASKS] > 0:
            bid = min(bid, -best(m.book, s, ASKS) - 1)
        return max(1, bid)
    ask: int = math.floor(fair + half + distance) + 1
    if m.book.whole[s, LEVELS + BIDS] > 0:
        ask = max(ask, best(m.book, s, BIDS) + 1)
    return -ask


@inlined
def _far_distance(m: Any, s: int) -> float:
    """How far from the touch a quote is put: mostly near, sometimes anywhere in the ladder."""
    if uniform(m.book.random, s) < 0.4:
        return float(m.real[s, GAP_TICKS] * 4.0 * exponential(m.book.random, s))
    return float(m.real[s, GAP_TICKS] * TARGET_LEVELS * uniform(m.book.random, s))


@inlined
def _refill(m: Any, s: int, fair: float) -> None:
    """Keep both sides from running dry."""
    for side in range(2):
        while m.book.whole[s, LEVELS + side] < _FEWEST_LEVELS:
            # Behind the last level: always a new one, so this ends.
            last = (
                m.book.ladder[s, KEYS + side, 0]
                if m.book.whole[s, LEVELS + side] > 0
                else _quote_key(m, s, side, fair, 0.0)
            )
            step = 1 + int(m.real[s, GAP_TICKS] * exponential(m.book.random, s))
            if side == BIDS and last - step < 1:
                return
            put(m.book, s, side, last - step, _level_lots(m, s, 1.0), False)


@inlined
def _trade(m: Any, log: Any, s: int, t: int, side: int, lots: int) -> int:
    """Take up to `lots` from the best level of `side`; returns what is left to take."""
    last = m.book.whole[s, LEVELS + side] - 1
    key, standing = m.book.ladder[s, KEYS + side, last], m.book.ladder[s, LOTS + side, last]
    taken = min(lots, standing)
    if taken == standing:
        remove_at(m.book, s, side, last)
    else:
        put(m.book, s, side, key, standing - taken, False)
    price = key if side == BIDS else -key
    seller = 1 if side == BIDS else 0  # the bid was the maker: the aggressor sold
    m.book.whole[s, TRADE_ID] += 1
    m.book.whole[s, AGG_ID] += 1
    trade, agg = m.book.whole[s, TRADE_ID], m.book.whole[s, AGG_ID]
    row = m.book.whole[s, RING_COUNT] % RING
    m.book.whole[s, RING_COUNT] += 1
    m.ring[s, row, R_ID] = agg
    m.ring[s, row, R_TRADE] = trade
    m.ring[s, row, R_EVENT] = t
    m.ring[s, row, R_PRICE] = price
    m.ring[s, row, R_LOTS] = taken
    m.ring[s, row, R_SELLER] = seller
    if m.book.whole[s, WANT_TRADE]:
        _note(log, s, TRADE, t, trade, trade, price, taken, seller)
    if m.book.whole[s, WANT_AGG]:
        _note(log, s, AGG_TRADE, t, agg, trade, price, taken, seller)
    return int(lots - taken)


@inlined
def _follow(m: Any, log: Any, s: int, t: int, fair: float) -> bool:
    """Quotes on the wrong side of the fair price go, and the spread closes behind them. Returns
    whether more stand there than one moment may clear."""
    lifted = 0.12 + 0.2 * m.real[s, STRENGTH]  # the others are cancelled in time
    for side in range(2):
        limit = fair if side == BIDS else -fair
        for _ in range(32):
            if m.book.whole[s, LEVELS + side] <= 2 or best(m.book, s, side) <= limit:
                break
            last = m.book.whole[s, LEVELS + side] - 1
            if uniform(m.book.random, s) < lifted:
                _trade(m, log, s, t, side, m.book.ladder[s, LOTS + side, last])
            else:
                remove_at(m.book, s, side, last)
    _refill(m, s, fair)
    for side in range(2):
        wanted = _quote_key(m, s, side, fair, 0.0)
        if best(m.book, s, side) < wanted - m.real[s, GAP_TICKS]:
            put(m.book, s, side, wanted, _level_lots(m, s, 0.6), False)
    return bool(best(m.book, s, BIDS) > fair or -best(m.book, s, ASKS) < fair)


@inlined
def _rates(m: Any, s: int) -> tuple[float, float]:
    """Market orders per second, and limit orders (cancellations come as often), right now."""
    x, strength = m.real, m.real[s, STRENGTH]
    markets = m.real[s, TRADES_PER_S] * math.exp(x[s, PACE]) * (1.0 + 2.0 * strength)
    quotes = m.real[s, QUOTES_PER_S] * (1.0 + 0.7 * strength)
    return markets + x[s, EXCITEMENT], quotes


@inlined
def _wind_clock(m: Any, s: int, t: int) -> None:
    """Draw the next moment of the flow. A long wait is cut: the moment that ends it is silent (it
    brings no order) and draws anew with the rates of then, for the clock has no memory."""
    markets, quotes = _rates(m, s)
    wait_ns = exponential(m.book.random, s) / (markets + 2.0 * quotes) * 1e9
    m.book.whole[s, SILENT] = 1 if wait_ns > _LONGEST_WAIT_NS else 0
    m.book.whole[s, NEXT_FLOW_NS] = t + max(1000, int(min(wait_ns, float(_LONGEST_WAIT_NS))))


@inlined
def _order(m: Any, log: Any, s: int, t: int, fair: float) -> None:
    """One random order: a market order, a limit order or a cancellation."""
    x, random = m.real, m.book.random
    phase, strength = m.book.whole[s, PHASE], m.real[s, STRENGTH]
    markets, quotes = _rates(m, s)
    pull = 0.5 + 0.3 * strength
    dice = uniform(random, s) * (markets + 2.0 * quotes)
    if dice < markets:
        buys = 0.5 + x[s, TILT] + (0.3 if phase != SURGE else 0.22) * strength
        side = ASKS if uniform(random, s) < min(0.95, max(0.05, buys)) else BIDS
        lots = 1 + int(m.real[s, TRADE_LOTS] * math.exp(1.1 * normal(random, s)))
        for _ in range(6):
            if lots > 0 and m.book.whole[s, LEVELS + side] > 2:
                lots = _trade(m, log, s, t, side, lots)
        x[s, EXCITEMENT] += EXCITEMENT_DECAY * x[s, BRANCHING]
    elif dice < markets + quotes:
        side = BIDS if uniform(random, s) < pull else ASKS
        factor = 1.0 + 0.8 * strength if side == BIDS else 1.0 - 0.55 * strength
        if uniform(random, s) < 0.5:
            put(m.book, s, side, best(m.book, s, side), _level_lots(m, s, 0.5 * factor), True)
        else:
            distance = m.real[s, GAP_TICKS] * 3.0 * exponential(random, s)
            put(
                m.book,
                s,
                side,
                _quote_key(m, s, side, fair, distance),
                _level_lots(m, s, factor),
                True,
            )
    else:
        side = ASKS if uniform(random, s) < pull else BIDS
        n = m.book.whole[s, LEVELS + side]
        place = n - 1 - min(n - 1, int(2.0 * exponential(random, s)))
        left = int(m.book.ladder[s, LOTS + side, place] * between(random, s, 0.1, 0.8))
        if left > 0:
            put(m.book, s, side, m.book.ladder[s, KEYS + side, place], left, False)
        elif n > 2:
            remove_at(m.book, s, side, place)


@inlined
def _churn(m: Any, s: int, fair: float) -> None:
    """The deeper ladder lives: sizes change, levels come and go around the target."""
    strength = m.real[s, STRENGTH]
    for side in range(2):
        changes = int(m.real[s, CHURN] * (0.5 + uniform(m.book.random, s)))
        factor = 1.0 + 0.3 * strength if side == BIDS else 1.0 - 0.4 * strength
        for _ in range(changes):
            n = m.book.whole[s, LEVELS + side]
            dice = uniform(m.book.random, s) + 0.5 * (n - TARGET_LEVELS) / TARGET_LEVELS
            if dice < 0.35:
                key = _quote_key(m, s, side, fair, _far_distance(m, s))
                put(m.book, s, side, key, _level_lots(m, s, factor), False)
                continue
            # Index 0 is the farthest; the square leans towards the touch, which stays untouched.
            u = uniform(m.book.random, s)
            place = n - 2 - int(u * u * (n - 1))
            if dice > 0.75 and n > _FEWEST_LEVELS:
                remove_at(m.book, s, side, max(0, place))
            else:
                put(
                    m.book,
                    s,
                    side,
                    m.book.ladder[s, KEYS + side, max(0, place)],
                    _level_lots(m, s, factor),
                    False,
                )


@inlined
def _tell_touch(m: Any, log: Any, s: int, t: int) -> None:
    """A bookTicker where the touch is another than the one last told."""
    top_bid, top_ask = m.book.whole[s, LEVELS + BIDS] - 1, m.book.whole[s, LEVELS + ASKS] - 1
    bid, ask = m.book.ladder[s, KEYS + BIDS, top_bid], -m.book.ladder[s, KEYS + ASKS, top_ask]
    bid_lots, ask_lots = (
        m.book.ladder[s, LOTS + BIDS, top_bid],
        m.book.ladder[s, LOTS + ASKS, top_ask],
    )
    w = m.book.whole
    if (
        bid == w[s, TOLD_BID]
        and ask == w[s, TOLD_ASK]
        and bid_lots == w[s, TOLD_BID_LOTS]
        and ask_lots == w[s, TOLD_ASK_LOTS]
    ):
        return
    w[s, TOLD_BID], w[s, TOLD_ASK] = bid, ask
    w[s, TOLD_BID_LOTS], w[s, TOLD_ASK_LOTS] = bid_lots, ask_lots
    if m.book.whole[s, WANT_TICKER]:
        _note(log, s, BOOK_TICKER, t, w[s, UPDATE_ID], bid, bid_lots, ask, ask_lots)


@inlined
def _flow_moment(m: Any, log: Any, s: int, t: int) -> None:
    fair = evolve(m, s, t)
    behind = _follow(m, log, s, t, fair)
    if not m.book.whole[s, SILENT]:
        _order(m, log, s, t, fair)
    _wind_clock(m, s, t)
    if behind:
        m.book.whole[s, NEXT_FLOW_NS] = t + 2_000_000
        m.book.whole[s, SILENT] = 1
    if max(m.book.whole[s, CHANGES + BIDS], m.book.whole[s, CHANGES + ASKS]) > CHANGED // 2:
        m.book.whole[s, NEXT_DEPTH_NS] = t  # too much for one more moment: tell it now
    _refill(m, s, fair)
    _tell_touch(m, log, s, t)


@inlined
def _depth_moment(m: Any, log: Any, s: int, t: int) -> None:
    fair = evolve(m, s, t)
    _churn(m, s, fair)
    _tell_touch(m, log, s, t)
    m.book.whole[s, NEXT_DEPTH_NS] = max(_next_depth(m, s, t), m.book.whole[s, HALT_NS])
    if m.book.whole[s, FIRST_ID] != 0:
        if m.book.whole[s, WANT_DEPTH]:
            at = log.counts[1]
            bids = list_changes(m.book, s, BIDS, log.levels, at)
            asks = list_changes(m.book, s, ASKS, log.levels, at + bids)
            log.counts[1] = at + bids + asks
            w = m.book.whole
            last, first, previous = w[s, UPDATE_ID], w[s, FIRST_ID], w[s, PREVIOUS_ID]
            _note(log, s, DEPTH, t, last, first, previous, bids, asks)
        m.book.whole[s, PREVIOUS_ID] = m.book.whole[s, UPDATE_ID]
        m.book.whole[s, FIRST_ID] = 0
        m.book.whole[s, CHANGES + BIDS] = 0
        m.book.whole[s, CHANGES + ASKS] = 0


@inlined
def _next_depth(m: Any, s: int, t: int) -> int:
    """The first moment after `t` at which `s` tells its diff. Symbols tell theirs one after the
    other within the interval, not all at once."""
    interval = m.book.whole[s, DEPTH_NS]
    return int(t + interval - (t - m.book.whole[s, DEPTH_PHASE_NS]) % interval)


@kernel
def open_market(m: Market, start_ns: int) -> None:
    """Fill the books of all symbols and set their clocks to `start_ns`."""
    for s in range(m.book.whole.shape[0]):
        m.book.whole[s, LAST_NS] = start_ns
        m.book.whole[s, UPDATE_ID] = 1_000_000_000 + int(uniform(m.book.random, s) * 5e10)
        m.book.whole[s, TRADE_ID] = 1_000_000 + int(uniform(m.book.random, s) * 3e9)
        m.book.whole[s, AGG_ID] = 500_000 + int(uniform(m.book.random, s) * 1e9)
        enter(m, s, IDLE, start_ns, m.real[s, IDLE_S] * exponential(m.book.random, s))
        fair = m.real[s, MID_TICKS]
        for side in range(2):
            put(m.book, s, side, _quote_key(m, s, side, fair, 0.0), _level_lots(m, s, 1.0), False)
            for _ in range(TARGET_LEVELS):
                key = _quote_key(m, s, side, fair, _far_distance(m, s))
                put(m.book, s, side, key, _level_lots(m, s, 1.0), False)
        _refill(m, s, fair)
        m.book.whole[s, PREVIOUS_ID] = m.book.whole[s, UPDATE_ID]
        m.book.whole[s, FIRST_ID] = 0
        m.book.whole[s, CHANGES + BIDS] = 0
        m.book.whole[s, CHANGES + ASKS] = 0
        m.book.whole[s, NEXT_FLOW_NS] = start_ns + 1 + int(2e8 * uniform(m.book.random, s))
        m.book.whole[s, DEPTH_PHASE_NS] = int(m.book.whole[s, DEPTH_NS] * uniform(m.book.random, s))
        m.book.whole[s, NEXT_DEPTH_NS] = _next_depth(m, s, start_ns)


@kernel
def run_market(m: Market, log: Log, until_ns: int) -> int:
    """Let all moments up to and including `until_ns` happen, earliest first, and write them down
    behind what `log` holds. Returns DONE, or LOG_FULL or STORY_FULL where the caller must make room
    and call again."""
    w = m.book.whole
    while True:
        s, flows, t = 0, True, w[0, NEXT_FLOW_NS]
        for i in range(w.shape[0]):
            if w[i, NEXT_FLOW_NS] < t:
                s, flows, t = i, True, w[i, NEXT_FLOW_NS]
            if w[i, NEXT_DEPTH_NS] < t:
                s, flows, t = i, False, w[i, NEXT_DEPTH_NS]
        if t > until_ns:
            return DONE
        if (
            log.counts[0] > log.events.shape[0] - ROOM_EVENTS
            or log.counts[1] > log.levels.shape[0] - 2 * CHANGED
        ):
            return LOG_FULL
        if m.stories[0] > m.story.shape[0] - ROOM_STORIES:
            return STORY_FULL
        if flows:
            _flow_moment(m, log, s, t)
        else:
            _depth_moment(m, log, s, t)
