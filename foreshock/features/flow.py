"""Flow: who hit whom, how much and how often (tape).

Lots and ticks are summed as integers in one-second buckets (market/rings.py). Decayed sums are
float64, advanced at each trade by the time since the trade before it and by nothing else, so that
they are the same for any cut of the input into batches.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, log1p
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from foreshock.config import Section
from foreshock.features.family import Ascending, Seconds, integers, positions, span, union
from foreshock.features.vector import FeatureSpec
from foreshock.market.clock import SECOND_NS
from foreshock.market.instruments import Instrument
from foreshock.market.jit import in_place, in_place_kernel
from foreshock.market.ladder import Ladder
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
LARGE_S: Final = 60  # a large trade is measured against the mean trade of so many seconds
FORGOTTEN_HALF_LIVES: Final = 10  # by then a trade's weight is below a thousandth
_LN2: Final = 0.6931471805599453


class FlowSettings(Section):
    """Windows and half-lives of the flow."""

    imbalance_s: Seconds = Field(
        default=(5, 10, 60, 300), description="Windows of the flow imbalance."
    )
    usual_s: Seconds = Field(
        default=(30,),
        max_length=1,
        description="The one window of `trade_flow_imbalance` and `ofi_trades`; none leaves both "
        "out.",
    )
    count_imbalance_s: Seconds = Field(
        default=(10, 60, 300), description="Windows of the imbalance in the number of trades."
    )
    half_lives_s: Ascending = Field(
        default=(1, 2, 10, 60, 300), description="Of the decayed signed flow."
    )
    intensity_s: Seconds = Field(default=(10, 60, 300), description="Windows of trades per second.")
    intensity_ratios_s: tuple[tuple[int, int], ...] = Field(
        default=((5, 60), (60, 300)),
        description="Pairs of windows whose intensities are compared.",
    )
    large_share_s: Seconds = Field(default=(60,), description="Windows of the large trades' share.")
    large_multiple: int = Field(
        default=5, ge=2, description="A large trade is at least so many times the mean trade."
    )
    vwap_s: Seconds = Field(
        default=(30, 300), description="Windows of the volume-weighted mean price."
    )

    def windows_s(self) -> tuple[int, ...]:
        """Every window of one-second buckets that is in use."""
        pairs = [second for pair in self.intensity_ratios_s for second in pair]
        return union(
            self.imbalance_s, self.usual_s, self.count_imbalance_s, self.intensity_s, pairs,
            self.large_share_s, self.vwap_s, (LARGE_S,),
        )  # fmt: skip


_IMBALANCE = "Chordia, Subrahmanyam 2004, Order imbalance and individual stock returns"
_QUIET = "no trade in the window"


def specs(settings: FlowSettings) -> tuple[FeatureSpec, ...]:
    """Its features in the order of its columns."""

    def spec(
        name: str, formula: str, windows_s: tuple[int, ...], nan_rule: str = _QUIET,
        source: str = "definition", unit: str = "1", warmup_s: int = 0,
    ) -> FeatureSpec:  # fmt: skip
        warmup_s = warmup_s or max(windows_s)
        return FeatureSpec(
            name, "flow", formula, unit, "tape", warmup_s, nan_rule, source, windows_s
        )

    return (
        *(
            spec(f"flow_imbalance_{span(w)}", f"Σ signed lots / Σ lots over {w} s", (w,),
                 source=_IMBALANCE)
            for w in settings.imbalance_s
        ),
        *(
            spec("trade_flow_imbalance",
                 f"Σ signed lots / Σ lots over the usual {w} s: aggressive buying against selling",
                 (w,), source=_IMBALANCE)
            for w in settings.usual_s
        ),
        *(
            spec("ofi_trades", f"(buys − sells) / trades over the usual {w} s", (w,),
                 source=_IMBALANCE)
            for w in settings.usual_s
        ),
        *(
            spec(f"trade_count_imbalance_{span(w)}", f"(buys − sells) / trades over {w} s", (w,),
                 source=_IMBALANCE)
            for w in settings.count_imbalance_s
        ),
        *(
            spec(
                f"signed_flow_decay_{span(h)}",
                "Σ w · signed lots / Σ w · lots, "
                f"w = 2^(−age / {h} s) by arrival (the age at the boundary cancels)",
                (h,),
                f"no trade in the last {FORGOTTEN_HALF_LIVES * h} s",
                "Bacry, Mastromatteo, Muzy 2015, Hawkes processes in finance (exponential kernels)",
                warmup_s=3 * h,
            )
            for h in settings.half_lives_s
        ),
        *(
            spec(f"trade_intensity_{span(w)}", f"ln(1 + trades per second over {w} s)", (w,),
                 "never", unit="log")
            for w in settings.intensity_s
        ),
        *(
            spec(
                f"trade_intensity_ratio_{span(short)}_{span(long)}",
                f"trades per second over {short} s / trades per second over {long} s",
                (short, long),
            )
            for short, long in settings.intensity_ratios_s
        ),
        *(
            spec(
                f"large_trade_share_{span(w)}",
                f"lots in trades of at least {settings.large_multiple} times the mean trade / Σ "
                f"lots over {w} s; the mean is that of the {LARGE_S} s before the trade's own step "
                "(no trade there: nothing is large)",
                (w,),
                warmup_s=w + LARGE_S,
            )
            for w in settings.large_share_s
        ),
        *(
            spec(
                f"vwap_deviation_{span(w)}",
                f"10⁴ · (last price / volume-weighted mean price over {w} s − 1)",
                (w,),
                unit="bps",
            )
            for w in settings.vwap_s
        ),
    )  # fmt: skip


class Params(NamedTuple):
    """Windows in seconds, and where in `windows_s` each feature finds its own."""

    windows_s: NDArray[np.int64]
    half_lives_s: NDArray[np.int64]
    imbalance: NDArray[np.int64]
    usual: NDArray[np.int64]
    count_imbalance: NDArray[np.int64]
    intensity: NDArray[np.int64]
    intensity_ratios: NDArray[np.int64]  # (pairs, 2)
    large_share: NDArray[np.int64]
    vwap: NDArray[np.int64]
    large: NDArray[np.int64]  # (2,): the multiple, and where LARGE_S is


class State(NamedTuple):
    """All symbols' flow; n symbols. Arrays are written in place by `step` and `close`."""

    params: Params
    ring: NDArray[np.int64]  # (n, SLOTS, 6)
    sums: NDArray[np.int64]  # (n, windows, 6)
    head: NDArray[np.int64]  # (n,)
    decayed_signed: NDArray[np.float64]  # (n, half-lives), as of last_ns
    decayed_lots: NDArray[np.float64]  # (n, half-lives), as of last_ns
    last_ns: NDArray[np.int64]  # (n,), arrival of the last trade
    last_ticks: NDArray[np.int64]  # (n,), its price; 0 before the first
    epoch: NDArray[np.int64]  # (n,), −1 before the first


def init(instruments: Sequence[Instrument], settings: FlowSettings) -> State:
    """A cold state."""
    n, windows = len(instruments), settings.windows_s()
    pairs = [positions(pair, windows) for pair in settings.intensity_ratios_s]
    return State(
        params=Params(
            windows_s=integers(windows),
            half_lives_s=integers(settings.half_lives_s),
            imbalance=positions(settings.imbalance_s, windows),
            usual=positions(settings.usual_s, windows),
            count_imbalance=positions(settings.count_imbalance_s, windows),
            intensity=positions(settings.intensity_s, windows),
            intensity_ratios=np.array(pairs, np.int64).reshape(-1, 2),
            large_share=positions(settings.large_share_s, windows),
            vwap=positions(settings.vwap_s, windows),
            large=integers((settings.large_multiple, windows.index(LARGE_S))),
        ),
        ring=empty_ring(n, 6),
        sums=empty_sums(n, len(windows), 6),
        head=np.zeros(n, np.int64),
        decayed_signed=np.zeros((n, len(settings.half_lives_s)), np.float64),
        decayed_lots=np.zeros((n, len(settings.half_lives_s)), np.float64),
        last_ns=np.zeros(n, np.int64),
        last_ticks=np.zeros(n, np.int64),
        epoch=np.full(n, -1, np.int64),
    )


@in_place
def _reset(symbol: int, state: State) -> None:
    forget(state.ring, state.sums, symbol)
    for k in range(len(state.params.half_lives_s)):
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
    params = state.params
    known = state.sums[symbol, params.large[1]]
    if known[TRADES] > 0 and lots * known[TRADES] >= params.large[0] * known[LOTS]:
        ring[symbol, head, LARGE_LOTS] += lots

    elapsed_ns = arrival_ns - state.last_ns[symbol]
    if elapsed_ns > 0:  # trades of one frame share an arrival: no exponential for them
        for k in range(len(params.half_lives_s)):
            kept = exp(-(elapsed_ns * _LN2) / (params.half_lives_s[k] * SECOND_NS))
            state.decayed_signed[symbol, k] *= kept
            state.decayed_lots[symbol, k] *= kept
    for k in range(len(params.half_lives_s)):
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
def close(boundary_ns: int, ladder: Ladder, state: State, out: NDArray[np.float64]) -> None:
    """Write the features of every symbol at `boundary_ns` into `out`, float64 (n, k), and open the
    next step. The rows scanned before are those with arrival_ns < boundary_ns."""
    params = state.params
    windows_s = params.windows_s
    for s in range(out.shape[0]):
        close_bucket(state.ring, state.sums, windows_s, s, state.head[s])
        state.head[s] = open_bucket(state.ring, s, state.head[s])
        out[s, :] = np.nan
        sums, last_ticks, k = state.sums[s], state.last_ticks[s], 0
        for w in params.imbalance:
            if sums[w, TRADES] > 0:
                out[s, k] = sums[w, SIGNED_LOTS] / sums[w, LOTS]
            k += 1
        for w in params.usual:
            if sums[w, TRADES] > 0:
                out[s, k] = sums[w, SIGNED_LOTS] / sums[w, LOTS]
                out[s, k + 1] = sums[w, SIGNED_TRADES] / sums[w, TRADES]
            k += 2
        for w in params.count_imbalance:
            if sums[w, TRADES] > 0:
                out[s, k] = sums[w, SIGNED_TRADES] / sums[w, TRADES]
            k += 1
        silent_ns = boundary_ns - state.last_ns[s]
        for h in range(len(params.half_lives_s)):
            memory_ns = FORGOTTEN_HALF_LIVES * params.half_lives_s[h] * SECOND_NS
            if last_ticks > 0 and silent_ns <= memory_ns:
                out[s, k] = state.decayed_signed[s, h] / state.decayed_lots[s, h]
            k += 1
        for w in params.intensity:
            out[s, k] = log1p(sums[w, TRADES] / windows_s[w])
            k += 1
        for pair in range(params.intensity_ratios.shape[0]):
            short, long = params.intensity_ratios[pair, 0], params.intensity_ratios[pair, 1]
            if sums[long, TRADES] > 0:
                above = sums[short, TRADES] * windows_s[long]
                out[s, k] = above / (sums[long, TRADES] * windows_s[short])
            k += 1
        for w in params.large_share:
            if sums[w, TRADES] > 0:
                out[s, k] = sums[w, LARGE_LOTS] / sums[w, LOTS]
            k += 1
        for w in params.vwap:
            if sums[w, TRADES] > 0:
                away = last_ticks * sums[w, LOTS] - sums[w, NOTIONAL]
                out[s, k] = 1e4 * (away / sums[w, NOTIONAL])
            k += 1
