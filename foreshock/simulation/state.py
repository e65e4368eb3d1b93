"""The memory of a simulated market: arrays that kernels share, one row a symbol."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np

from foreshock.market.instruments import USDM
from foreshock.simulation.settings import (
    STREAMS,
    SimulationSettings,
    instrument_of,
    profile_of,
)
from foreshock.simulation.templates import compiled_templates

CAPACITY: Final = 400  # levels a side
TARGET_LEVELS: Final = 220  # what the churn steers to
CHANGED: Final = 2048  # changed levels a side that wait for the next diff
RING: Final = 32768  # aggregated trades kept per symbol
HISTORY_NS: Final = 600 * 1_000_000_000

# Columns of `whole` (int64). Sides are 0 (bids) and 1 (asks): `LEVELS + side`.
LEVELS, CHANGES = 0, 2
(
    UPDATE_ID,
    FIRST_ID,
    PREVIOUS_ID,
    TRADE_ID,
    AGG_ID,
    RING_COUNT,
    LAST_NS,
    NEXT_FLOW_NS,
    SILENT,
    NEXT_DEPTH_NS,
    DEPTH_PHASE_NS,
    PHASE,
    PHASE_START_NS,
    PHASE_END_NS,
    PRECURSOR_NS,
    HALT_NS,  # nothing happens before it
    TOLD_BID,
    TOLD_BID_LOTS,
    TOLD_ASK,
    TOLD_ASK_LOTS,
    PRICE_UNITS,
    PRICE_DECIMALS,
    PRICE_PAD,
    LOT_UNITS,
    LOT_DECIMALS,
    LOT_PAD,
    DEPTH_NS,
    IS_USDM,
    WANT_TRADE,
    WANT_AGG,
    WANT_DEPTH,
    WANT_TICKER,
    WHOLE,
) = range(4, 37)

# Columns of `real` (float64): the latent state (displacements of the fair price in bps), the nature
# of the symbol, and the plan that all symbols share.
(
    ANCHOR,
    NOISE,
    FAST,
    SLOW,
    RAMP,
    TILT,
    PACE,
    EXCITEMENT,
    STRENGTH,
    SIZE_BPS,
    DRIFT,  # of the fair price, bps a second
    BRANCHING,
    MID_TICKS,
    VOLATILITY,
    HALF_SPREAD_TICKS,
    GAP_TICKS,
    LEVEL_LOTS,
    TRADE_LOTS,
    TRADES_PER_S,
    QUOTES_PER_S,
    CHURN,
    IDLE_S,
    ANNOUNCED,
    DECOY,
    BPS_LOW,
    BPS_HIGH,
    SURGE_S_LOW,
    SURGE_S_HIGH,
    PRECURSOR_S_LOW,
    PRECURSOR_S_HIGH,
    REAL,
) = range(31)

# Rows of `ladder`: `KEYS + side` …
KEYS, LOTS, CHANGED_KEYS = 0, 2, 4

# Phases.
IDLE, PRECURSOR, SURGE, DECOY_PHASE = range(4)

# Columns of `story` (int64), one row for each surge or false precursor, in order of its start.
STORY_SYMBOL, STORY_PRECURSOR, STORY_ONSET, STORY_PEAK, STORY_MILLI_BPS, STORY_WIDTH = range(6)

# Columns of `Log.events`. A … E by stream: trades (id, first trade id, price ticks, lots, seller),
# bookTicker (update id, bid ticks, bid lots, ask ticks, ask lots), depth (last id, first id,
# previous id, bids, asks), whose levels stand in `Log.levels`, bids first.
E_STREAM, E_SYMBOL, E_NS, E_A, E_B, E_C, E_D, E_E, E_WIDTH = range(9)

# Columns of `ring` (int64).
R_ID, R_TRADE, R_EVENT, R_PRICE, R_LOTS, R_SELLER, R_WIDTH = range(7)


class Book(NamedTuple):
    """What the true books are made of. n symbols.

    Levels are kept with the best one *last*; an ask's key is its price negated, so that both sides
    ascend by key and one code serves both.
    """

    random: Any  # uint64 (n,)
    whole: Any  # int64 (n, WHOLE)
    ladder: Any  # int64 (n, 6, CHANGED): keys, lots and changed keys, each for bids and asks


class Market(NamedTuple):
    """Everything else the kernels read and write. Helpers are handed the least they need: each
    array that a compiled call passes on costs time (all in one tuple of 18: 2.5 times as slow)."""

    book: Book
    real: Any  # float64 (n, REAL)
    ring: Any  # int64 (n, RING, R_WIDTH)
    story: Any  # int64 (m, STORY_WIDTH)
    stories: Any  # int64 (1,)


class Log(NamedTuple):
    """What happened, in order: one event for each frame to be written."""

    events: Any  # int64 (k, E_WIDTH)
    levels: Any  # int64 (l, 2): price ticks and lots of depth events, one behind the other
    counts: Any  # int64 (2,): events and levels in use


class Templates(NamedTuple):
    """See `templates.compiled_templates`."""

    pieces: Any
    starts: Any
    values: Any


def _nature(symbol: str, market: str, activity: float) -> list[float]:
    profile, instrument = profile_of(symbol), instrument_of(symbol, market)
    mid_ticks = round(profile.price / instrument.tick_size)
    lot_notional = profile.price * instrument.lot_size
    return [
        float(mid_ticks),
        profile.volatility_bps,
        max(0.0, profile.spread_bps * 1e-4 * mid_ticks / 2 - 0.5),
        max(1.0, 0.1e-4 * mid_ticks),
        max(2.0, profile.level_notional / lot_notional),
        max(1.0, profile.trade_notional / lot_notional),
        profile.trades_per_s * activity,
        (2.0 + 1.5 * profile.trades_per_s) * activity,
        4.0 + 2.0 * profile.trades_per_s,
    ]


def _digits(symbol: str, market: str) -> list[int]:
    instrument = instrument_of(symbol, market)
    spot = market != USDM  # spot always writes eight decimals
    return [
        instrument.tick_units,
        instrument.tick_decimals,
        8 - instrument.tick_decimals if spot else 0,
        instrument.lot_units,
        instrument.lot_decimals,
        8 - instrument.lot_decimals if spot else 0,
    ]


def _plan(settings: SimulationSettings) -> list[float]:
    share = settings.false_precursor_share
    decoys = settings.edge * share / (1 - share)
    jumps = 2 * (1 - settings.edge)  # a jump is as often down as up; only those up are surges
    total = settings.edge + decoys + jumps
    busy = sum(settings.precursor_s) / 2 * (settings.edge + decoys)
    busy += sum(settings.surge_s) / 2 * settings.edge
    idle = max(15.0, (settings.surge_interval_s - busy) / total)
    return [
        idle,
        settings.edge / total,
        decoys / total,
        *settings.surge_bps,
        *settings.surge_s,
        *settings.precursor_s,
    ]


def new_market(settings: SimulationSettings) -> Market:
    """A market at rest: no levels yet (`flow.open_market` puts them)."""
    names, market = settings.symbols, settings.market
    n, plan = len(names), _plan(settings)
    wanted = [stream in settings.streams for stream in STREAMS]
    rules = [settings.depth_interval_ms * 1_000_000, market == USDM, *wanted]
    book = Book(
        random=np.zeros(n, dtype=np.uint64),
        whole=np.zeros((n, WHOLE), dtype=np.int64),
        ladder=np.zeros((n, 6, CHANGED), dtype=np.int64),
    )
    real = np.zeros((n, REAL))
    for s, name in enumerate(names):
        seed = np.random.SeedSequence([settings.seed, *name.encode()])
        book.random[s] = seed.generate_state(1, np.uint64)[0]
        book.whole[s, PRICE_UNITS : LOT_PAD + 1] = _digits(name, market)
        book.whole[s, DEPTH_NS:] = rules
        real[s, MID_TICKS : CHURN + 1] = _nature(name, market, settings.activity)
        real[s, BRANCHING] = settings.branching
        real[s, IDLE_S:] = plan
    return Market(
        book=book,
        real=real,
        ring=np.zeros((n, RING, R_WIDTH), dtype=np.int64),
        story=np.zeros((256, STORY_WIDTH), dtype=np.int64),
        stories=np.zeros(1, dtype=np.int64),
    )


def new_templates(settings: SimulationSettings) -> Templates:
    """The frames' texts, cut for the encoder."""
    names, interval = settings.symbols, settings.depth_interval_ms
    return Templates(*compiled_templates(settings.market, names, interval))


def new_log() -> Log:
    """Room for events of a second or so."""
    return Log(
        np.zeros((1 << 14, E_WIDTH), dtype=np.int64),
        np.zeros((1 << 17, 2), dtype=np.int64),
        np.zeros(2, dtype=np.int64),
    )
