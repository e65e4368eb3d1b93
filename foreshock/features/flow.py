"""Flow: who hit whom, how much and how often (tape).

Lots and ticks are summed as integers in one-second buckets (market/rings.py). Decayed sums are
float64, advanced at each trade by the time since the trade before it and by nothing else, so that
they are the same for any cut of the input into batches.
"""

from __future__ import annotations

from math import exp, log1p
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from foreshock.features.vector import FeatureSpec
from foreshock.market.clock import SECOND_NS
from foreshock.market.jit import in_place, in_place_kernel
from foreshock.market.rings import (
    close_bucket,
    empty_ring,
    empty_sums,
    forget,
    open_bucket,
)
from foreshock.market.rows import (
    ARRIVAL,
    EPOCH,
    META,
    SELL,
    SYNCED,
    TAPE,
    TRADE,
    A,
    B,
    C,
    Words,
)
from foreshock.market.words import count_of, flags_of, kind_of, symbol_of

# Quantities of a bucket. NOTIONAL is in ticks · lots.
SIGNED_LOTS, LOTS, SIGNED_TRADES, TRADES, NOTIONAL, LARGE_LOTS = range(6)
WINDOWS_S: Final = (5, 10, 30, 60)
W5, W10, W30, W60 = range(4)
HALF_LIVES_S: Final = (2, 10, 60)
LARGE: Final = 5  # a large trade is this many times the mean trade
FORGOTTEN_HALF_LIVES: Final = 10  # by then a trade's weight is below a thousandth
_LN2: Final = 0.6931471805599453


def _spec(
    name: str, formula: str, warmup_s: int, nan_rule: str, source: str, unit: str = "1"
) -> FeatureSpec:
    return FeatureSpec(name, "flow", formula, unit, "tape", warmup_s, nan_rule, source)


_IMBALANCE = "Chordia, Subrahmanyam 2004, Order imbalance and individual stock returns"
_QUIET = "no trade in the window"

SPECS: Final = (
    _spec("flow_imbalance_10s", "Σ signed lots / Σ lots over 10 s", 10, _QUIET, _IMBALANCE),
    _spec("flow_imbalance_60s", "Σ signed lots / Σ lots over 60 s", 60, _QUIET, _IMBALANCE),
    _spec(
        "trade_count_imbalance_10s", "(buys − sells) / trades over 10 s", 10, _QUIET, _IMBALANCE
    ),
    *(
        _spec(
            f"signed_flow_decay_{half_life_s}s",
            "Σ w · signed lots / Σ w · lots, "
            f"w = 2^(−age / {half_life_s} s) by arrival (the age at the boundary cancels)",
            3 * half_life_s,
            f"no trade in the last {FORGOTTEN_HALF_LIVES * half_life_s} s",
            "Bacry, Mastromatteo, Muzy 2015, Hawkes processes in finance (exponential kernels)",
        )
        for half_life_s in HALF_LIVES_S
    ),
    _spec(
        "trade_intensity_10s", "ln(1 + trades per second over 10 s)", 10, "never", "definition",
        unit="log",
    ),
    _spec(
        "trade_intensity_ratio_5s_60s",
        "trades per second over 5 s / trades per second over 60 s",
        60,
        _QUIET,
        "definition",
    ),
    _spec(
        "large_trade_share_60s",
        f"lots in trades of at least {LARGE} times the mean trade / Σ lots over 60 s; the mean is "
        "that of the 60 s before the trade's own step (no trade there: nothing is large)",
        120,
        _QUIET,
        "definition",
    ),
    _spec(
        "vwap_deviation_30s",
        "10⁴ · (last price / volume-weighted mean price over 30 s − 1)",
        30,
        _QUIET,
        "definition",
        unit="bps",
    ),
)  # fmt: skip


class State(NamedTuple):
    """All symbols' flow; n symbols. Arrays are written in place by `step` and `close`."""

    ring: NDArray[np.int64]  # (n, SLOTS, 6)
    sums: NDArray[np.int64]  # (n, 4, 6)
    head: NDArray[np.int64]  # (n,)
    decayed_signed: NDArray[np.float64]  # (n, 3), as of last_ns
    decayed_lots: NDArray[np.float64]  # (n, 3), as of last_ns
    last_ns: NDArray[np.int64]  # (n,), arrival of the last trade
    last_ticks: NDArray[np.int64]  # (n,), its price; 0 before the first
    epoch: NDArray[np.int64]  # (n,), −1 before the first


def init(n_symbols: int) -> State:
    """A cold state of `n_symbols` symbols."""
    return State(
        ring=empty_ring(n_symbols, 6),
        sums=empty_sums(n_symbols, len(WINDOWS_S), 6),
        head=np.zeros(n_symbols, np.int64),
        decayed_signed=np.zeros((n_symbols, len(HALF_LIVES_S)), np.float64),
        decayed_lots=np.zeros((n_symbols, len(HALF_LIVES_S)), np.float64),
        last_ns=np.zeros(n_symbols, np.int64),
        last_ticks=np.zeros(n_symbols, np.int64),
        epoch=np.full(n_symbols, -1, np.int64),
    )


@in_place
def _reset(symbol: int, state: State) -> None:
    forget(state.ring, state.sums, symbol)
    for k in range(len(HALF_LIVES_S)):
        state.decayed_signed[symbol, k] = 0.0
        state.decayed_lots[symbol, k] = 0.0
    state.last_ns[symbol] = 0
    state.last_ticks[symbol] = 0


@in_place
def _trade(arrival_ns: int, sell: bool, ticks: int, lots: int, symbol: int, state: State) -> None:
    signed = -lots if sell else lots
    ring, head = state.ring, state.head[symbol]
    ring[symbol, head, SIGNED_LOTS] += signed
    ring[symbol, head, LOTS] += lots
    ring[symbol, head, SIGNED_TRADES] += -1 if sell else 1
    ring[symbol, head, TRADES] += 1
    ring[symbol, head, NOTIONAL] += ticks * lots
    # The sums are as of the last boundary: older than this trade.
    trades_known = state.sums[symbol, W60, TRADES]
    if trades_known > 0 and lots * trades_known >= LARGE * state.sums[symbol, W60, LOTS]:
        ring[symbol, head, LARGE_LOTS] += lots

    elapsed_ns = arrival_ns - state.last_ns[symbol]
    if elapsed_ns > 0:  # trades of one frame share an arrival: no exponential for them
        for k in range(len(HALF_LIVES_S)):
            kept = exp(-(elapsed_ns * _LN2) / (HALF_LIVES_S[k] * SECOND_NS))
            state.decayed_signed[symbol, k] *= kept
            state.decayed_lots[symbol, k] *= kept
    for k in range(len(HALF_LIVES_S)):
        state.decayed_signed[symbol, k] += signed
        state.decayed_lots[symbol, k] += lots
    state.last_ns[symbol] = arrival_ns
    state.last_ticks[symbol] = ticks


@in_place
def step(words: Words, touch: NDArray[np.int64], i: int, state: State) -> None:
    """Advance by the header row `i` of `words`, int64 (n, 10). Rows without a price or a size
    (the venue's insurance-fund trades), of ALL or of other kinds change nothing."""
    meta = words[i, META]
    kind = kind_of(meta)
    if kind != TRADE and kind != EPOCH:
        return
    symbol = symbol_of(meta)
    if symbol < 0 or symbol >= state.head.shape[0]:
        return
    if kind == TRADE:
        if words[i, A] > 0 and words[i, B] > 0:
            sell = (flags_of(meta) & SELL) != 0
            _trade(words[i, ARRIVAL], sell, words[i, A], words[i, B], symbol, state)
    elif words[i, C] == TAPE:
        if words[i, A] != SYNCED or words[i, B] != state.epoch[symbol]:
            _reset(symbol, state)
        state.epoch[symbol] = words[i, B]


@in_place_kernel
def scan(words: Words, touch: NDArray[np.int64], lo: int, hi: int, state: State) -> None:
    """Advance by the rows lo <= i < hi; `lo` must be a header row."""
    i = lo
    while i < hi:
        step(words, touch, i, state)
        i += 1 + count_of(words[i, META])


@in_place_kernel
def close(boundary_ns: int, top: NDArray[np.int64], state: State, out: NDArray[np.float64]) -> None:
    """Write the features of every symbol at `boundary_ns` into `out`, float64 (n, 10), and open
    the next step. The rows scanned before are those with arrival_ns < boundary_ns."""
    for s in range(out.shape[0]):
        close_bucket(state.ring, state.sums, WINDOWS_S, s, state.head[s])
        state.head[s] = open_bucket(state.ring, s, state.head[s])
        out[s, :] = np.nan
        w5, w10, w30, w60 = (
            state.sums[s, W5],
            state.sums[s, W10],
            state.sums[s, W30],
            state.sums[s, W60],
        )
        if w10[TRADES] > 0:
            out[s, 0] = w10[SIGNED_LOTS] / w10[LOTS]
            out[s, 2] = w10[SIGNED_TRADES] / w10[TRADES]
        if w60[TRADES] > 0:
            out[s, 1] = w60[SIGNED_LOTS] / w60[LOTS]
        if state.last_ticks[s] > 0:
            silent_ns = boundary_ns - state.last_ns[s]
            for k in range(len(HALF_LIVES_S)):
                if silent_ns <= FORGOTTEN_HALF_LIVES * HALF_LIVES_S[k] * SECOND_NS:
                    out[s, 3 + k] = state.decayed_signed[s, k] / state.decayed_lots[s, k]
        out[s, 6] = log1p(w10[TRADES] / 10)
        if w60[TRADES] > 0:
            out[s, 7] = (w5[TRADES] * 12) / w60[TRADES]
            out[s, 8] = w60[LARGE_LOTS] / w60[LOTS]
        if w30[TRADES] > 0:
            away = state.last_ticks[s] * w30[LOTS] - w30[NOTIONAL]
            out[s, 9] = 1e4 * (away / w30[NOTIONAL])


def traded_60s(state: State) -> NDArray[np.int64]:
    """Ticks · lots traded in the 60 s before the last close, int64 (n,). A copy."""
    return state.sums[:, W60, NOTIONAL].copy()
