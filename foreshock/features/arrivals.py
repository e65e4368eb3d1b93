"""Arrivals: when trades come, how they cluster and how one side excites the other (tape).

Counts are integers in one-second buckets (market/rings.py). Intensities are exponential kernels,
advanced at each trade by the time since the trade before it and by nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, log1p, nan, sqrt
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from foreshock.config import Section
from foreshock.features.family import RING_S, Ascending, Seconds, integers, positions, span, union
from foreshock.features.vector import FeatureSpec
from foreshock.market.clock import SECOND_NS
from foreshock.market.instruments import Instrument
from foreshock.market.jit import in_place, in_place_kernel
from foreshock.market.ladder import Ladder
from foreshock.market.rings import (
    SLOTS,
    close_bucket,
    empty_ring,
    empty_sums,
    forget,
    open_bucket,
    slot_after,
    slot_before,
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

# Quantities of a bucket. From SQUARES on they are formed when it closes: squares and products of
# the counts, the first factor of a product one second earlier.
BUYS, SELLS, GAPS, ZERO_GAPS, GAP_NS, SQUARES, BUYS2, SELLS2 = range(8)
BUY_BUY, SELL_SELL, BUY_SELL, SELL_BUY = range(8, 12)
_QUANTITIES: Final = 12
FORGOTTEN_HALF_LIVES: Final = 10  # by then a trade's weight is below a thousandth
_LN2: Final = 0.6931471805599453

Pairs = tuple[tuple[int, int], ...]


class ArrivalsSettings(Section):
    """Kernels and windows of the arrivals."""

    half_lives_s: Ascending = Field(
        default=(1, 5, 60), description="Of the exponential kernels of buys and of sells."
    )
    excitations_s: Pairs = Field(
        default=((1, 60), (5, 60)),
        description="Pairs of half-lives whose intensities are compared.",
    )
    fano_s: Pairs = Field(
        default=((1, 60), (1, 300), (10, 300)),
        description="Pairs: blocks, and the window that is cut into them, of the Fano factor.",
    )
    branching_s: Pairs = Field(
        default=((10, 300),),
        description="Pairs: blocks, and the window that is cut into them, of the branching ratio.",
    )
    gaps_s: Seconds = Field(
        default=(60, 300), description="Windows of the gaps between trades: burstiness, sweeps."
    )
    cross_s: Seconds = Field(
        default=(60, 300), description="Windows in which one second's counts follow another's."
    )
    zscores_s: Pairs = Field(
        default=((1, 300), (5, 300), (30, 300)),
        description="Pairs: a count over the first, by mean and deviation over the second.",
    )

    @field_validator("excitations_s", "fano_s", "branching_s", "zscores_s")
    @classmethod
    def _pairs(cls, given: Pairs) -> Pairs:
        for short, long in given:
            if not 0 < short < long <= RING_S:
                raise ValueError(f"a short one and a longer, to {RING_S} s, got {short, long}")
        return given

    @field_validator("fano_s", "branching_s")
    @classmethod
    def _blocks(cls, given: Pairs) -> Pairs:
        for block, window in given:
            if window % block:
                raise ValueError(f"blocks must fill their window, got {block, window}")
        return given

    def windows_s(self) -> tuple[int, ...]:
        """Every window of one-second buckets that is summed."""
        pairs = [window for pair in self.zscores_s for window in pair]
        return union(self.gaps_s, self.cross_s, pairs)

    def kernels_s(self) -> tuple[int, ...]:
        """Every half-life that is in use."""
        return union(self.half_lives_s, (h for pair in self.excitations_s for h in pair))


_HAWKES = "Bacry, Mastromatteo, Muzy 2015, Hawkes processes in finance, section 2.1"
_BRANCHING = "Hardiman, Bouchaud 2014, Branching-ratio approximation for self-exciting processes"
_FANO = "Fano 1947, Ionization yield of radiations II (variance to mean of counts)"
_BURSTY = "Goh, Barabási 2008, Burstiness and memory in complex systems"
_CROSS = "Bacry, Muzy 2014, Hawkes model for price and trades high-frequency dynamics"
_QUIET = "no trade in the window"


def specs(settings: ArrivalsSettings) -> tuple[FeatureSpec, ...]:
    """Its features in the order of its columns."""
    found: list[FeatureSpec] = []

    def add(
        name: str, formula: str, source: str, windows_s: tuple[int, ...], nan_rule: str = _QUIET,
        unit: str = "1", warmup_s: int = 0,
    ) -> None:  # fmt: skip
        warmup_s = warmup_s or max(windows_s)
        found.append(
            FeatureSpec(
                name, "arrivals", formula, unit, "tape", warmup_s, nan_rule, source, windows_s
            )
        )

    for side in ("buy", "sell"):
        for h in settings.half_lives_s:
            add(f"hawkes_{side}_intensity_{span(h)}", f"ln(1 + λ), λ = ln 2 / {h} s · Σ 2^(−age / "
                f"{h} s) over the {side}s of the epoch: {side}s per second", _HAWKES, (h,), "never",
                "log", 3 * h)  # fmt: skip
    for h in settings.half_lives_s:
        add(f"hawkes_imbalance_{span(h)}", "(λ of buys − λ of sells) / (λ of buys + λ of sells), "
            f"half-life {h} s", _HAWKES, (h,),
            f"no trade in the last {FORGOTTEN_HALF_LIVES * h} s", warmup_s=3 * h)  # fmt: skip
    for short, long in settings.excitations_s:
        add(f"hawkes_excitation_{span(short)}_{span(long)}",
            f"λ of all trades of half-life {short} s / λ of half-life {long} s", _HAWKES,
            (short, long), f"no trade in the last {FORGOTTEN_HALF_LIVES * long} s",
            warmup_s=3 * long)  # fmt: skip
    for block, w in settings.fano_s:
        add(f"fano_factor_{span(block)}_{span(w)}",
            f"variance / mean of the trades in the blocks of {block} s that fill {w} s", _FANO,
            (block, w))  # fmt: skip
    for block, w in settings.branching_s:
        add(f"branching_ratio_{span(block)}_{span(w)}",
            f"max(0, 1 − 1/√F), F = fano_factor of blocks of {block} s in {w} s (a lower bound: "
            "blocks are short)", _BRANCHING, (block, w))  # fmt: skip
    for w in settings.gaps_s:
        add(f"burstiness_{span(w)}", "(σ − μ) / (σ + μ), μ and σ mean and deviation of the times "
            f"between trades that end in {w} s", _BURSTY, (w,),
            "no such time in the window, or all are 0")  # fmt: skip
    for w in settings.gaps_s:
        add(f"same_instant_share_{span(w)}",
            f"share of the trades over {w} s that arrived at one instant with the trade before "
            "(one order against many)", "definition", (w,),
            "no trade in the window that has one before it in this epoch")  # fmt: skip
    for name, said in (
        ("buy_buy", "buys, by buys"), ("sell_sell", "sells, by sells"),
        ("buy_sell", "sells, by buys"), ("sell_buy", "buys, by sells"),
    ):  # fmt: skip
        for w in settings.cross_s:
            add(f"excitation_{name}_{span(w)}",
                f"correlation of one second's {said} of the second before, over {w} s: (mean of "
                "products − product of means) / (σ · σ), all of the same window", _CROSS, (w,),
                "one of the two counts did not vary")  # fmt: skip
    for short, long in settings.zscores_s:
        add(f"trade_count_zscore_{span(short)}_{span(long)}",
            f"(trades in {short} s − {short} · μ) / (σ · √{short}), μ and σ of the trades per "
            f"second over {long} s", "definition", (short, long),
            "the count did not vary in the window")  # fmt: skip
    add("trade_silence", "ln(1 + seconds since the last trade)",
        "Engle, Russell 1998, Autoregressive conditional duration", (),
        "no trade in this epoch", "log", 10)  # fmt: skip
    return tuple(found)


class Params(NamedTuple):
    """Windows and half-lives in seconds, and where each feature finds its own."""

    windows_s: NDArray[np.int64]
    kernels_s: NDArray[np.int64]
    half_lives: NDArray[np.int64]  # positions in kernels_s
    excitations: NDArray[np.int64]  # (pairs, 2), positions in kernels_s
    fano_s: NDArray[np.int64]  # (pairs, 2)
    branching_s: NDArray[np.int64]  # (pairs, 2)
    gaps: NDArray[np.int64]
    cross: NDArray[np.int64]
    zscores: NDArray[np.int64]  # (pairs, 2), positions in windows_s


class State(NamedTuple):
    """All symbols' arrivals; n symbols. Arrays are written in place by `step` and `close`."""

    params: Params
    ring: NDArray[np.int64]  # (n, SLOTS, 12)
    sums: NDArray[np.int64]  # (n, windows, 12)
    gap_squares: NDArray[np.float64]  # (n, SLOTS): Σ (seconds between trades)²
    head: NDArray[np.int64]  # (n,)
    decayed: NDArray[np.float64]  # (n, kernels, 2): Σ 2^(−age / half-life) of buys, of sells
    last_ns: NDArray[np.int64]  # (n,), arrival of the last trade; 0 before the first
    epoch: NDArray[np.int64]  # (n,), −1 before the first


def init(instruments: Sequence[Instrument], settings: ArrivalsSettings) -> State:
    """A cold state."""
    n, windows, kernels = len(instruments), settings.windows_s(), settings.kernels_s()

    def pairs(given: Pairs, among: Sequence[int]) -> NDArray[np.int64]:
        return np.array([positions(pair, among) for pair in given], np.int64).reshape(-1, 2)

    return State(
        params=Params(
            windows_s=integers(windows),
            kernels_s=integers(kernels),
            half_lives=positions(settings.half_lives_s, kernels),
            excitations=pairs(settings.excitations_s, kernels),
            fano_s=np.array(settings.fano_s, np.int64).reshape(-1, 2),
            branching_s=np.array(settings.branching_s, np.int64).reshape(-1, 2),
            gaps=positions(settings.gaps_s, windows),
            cross=positions(settings.cross_s, windows),
            zscores=pairs(settings.zscores_s, windows),
        ),
        ring=empty_ring(n, _QUANTITIES),
        sums=empty_sums(n, len(windows), _QUANTITIES),
        gap_squares=np.zeros((n, SLOTS), np.float64),
        head=np.zeros(n, np.int64),
        decayed=np.zeros((n, len(kernels), 2), np.float64),
        last_ns=np.zeros(n, np.int64),
        epoch=np.full(n, -1, np.int64),
    )


@in_place
def _forget(symbol: int, state: State) -> None:
    forget(state.ring, state.sums, symbol)
    for slot in range(SLOTS):
        state.gap_squares[symbol, slot] = 0.0
    for k in range(len(state.params.kernels_s)):
        state.decayed[symbol, k, 0] = 0.0
        state.decayed[symbol, k, 1] = 0.0
    state.last_ns[symbol] = 0


@in_place
def _kept(elapsed_ns: int, half_life_s: int) -> float:
    return exp(-(elapsed_ns * _LN2) / (half_life_s * SECOND_NS))


@in_place
def _trade(arrival_ns: int, sell: bool, symbol: int, state: State) -> None:
    head, last_ns, side = state.head[symbol], state.last_ns[symbol], 1 if sell else 0
    bucket, decayed = state.ring[symbol, head], state.decayed[symbol]
    bucket[BUYS + side] += 1
    if last_ns > 0:
        gap_ns = arrival_ns - last_ns
        bucket[GAPS] += 1
        if gap_ns > 0:  # trades of one frame share an arrival: no exponential for them
            gap_s = gap_ns / SECOND_NS
            bucket[GAP_NS] += gap_ns
            state.gap_squares[symbol, head] += gap_s * gap_s
            for k in range(len(state.params.kernels_s)):
                kept = _kept(gap_ns, state.params.kernels_s[k])
                decayed[k, 0] *= kept
                decayed[k, 1] *= kept
        else:
            bucket[ZERO_GAPS] += 1
    for k in range(len(state.params.kernels_s)):
        decayed[k, side] += 1.0
    state.last_ns[symbol] = arrival_ns


@in_place
def step(words: Words, touch: NDArray[np.int64], i: int, state: State) -> None:
    """Advance by the header row `i` of `words`, int64 (n, 10). Rows without a price or a size, of
    ALL or of other kinds change nothing."""
    meta = words[i, META]
    kind = kind_of(meta)
    if kind != TRADE and kind != EPOCH:
        return
    symbol = symbol_of(meta)
    if symbol < 0 or symbol >= state.head.shape[0]:
        return
    if kind == TRADE:
        if words[i, A] > 0 and words[i, B] > 0:
            _trade(words[i, ARRIVAL], (flags_of(meta) & SELL) != 0, symbol, state)
    elif words[i, C] == TAPE:
        if words[i, A] != SYNCED or words[i, B] != state.epoch[symbol]:
            _forget(symbol, state)
        state.epoch[symbol] = words[i, B]


@in_place_kernel
def scan(words: Words, touch: NDArray[np.int64], lo: int, hi: int, state: State) -> None:
    """Advance by the rows lo <= i < hi; `lo` must be a header row."""
    i = lo
    while i < hi:
        step(words, touch, i, state)
        i += 1 + count_of(words[i, META])


@in_place
def _advance(s: int, state: State) -> int:
    """Close this second's bucket; returns its slot."""
    slot = state.head[s]
    now, before = state.ring[s, slot], state.ring[s, slot_before(slot, 1)]
    buys, sells = now[BUYS], now[SELLS]
    now[SQUARES] = (buys + sells) * (buys + sells)
    now[BUYS2], now[SELLS2] = buys * buys, sells * sells
    now[BUY_BUY], now[SELL_SELL] = before[BUYS] * buys, before[SELLS] * sells
    now[BUY_SELL], now[SELL_BUY] = before[BUYS] * sells, before[SELLS] * buys
    close_bucket(state.ring, state.sums, state.params.windows_s, s, slot)
    state.head[s] = open_bucket(state.ring, s, slot)
    state.gap_squares[s, state.head[s]] = 0.0
    return int(slot)


@in_place
def _fano(ring: NDArray[np.int64], newest: int, block: int, window: int) -> float:
    """Variance / mean of the counts in blocks, NaN without a trade."""
    total, squares, blocks = 0, 0, window // block
    slot = slot_before(newest, window - 1)
    for _ in range(blocks):
        count = 0
        for _second in range(block):
            count += ring[slot, BUYS] + ring[slot, SELLS]
            slot = slot_after(slot)
        total += count
        squares += count * count
    return float((blocks * squares - total * total) / (blocks * total)) if total > 0 else nan


@in_place
def _burstiness(squares: NDArray[np.float64], newest: int, w: int, gaps: int, sum_ns: int) -> float:
    if sum_ns == 0:
        return nan
    total = 0.0
    slot = slot_before(newest, w - 1)
    for _ in range(w):
        total += squares[slot]
        slot = slot_after(slot)
    mean = sum_ns / SECOND_NS / gaps
    deviation = sqrt(max(0.0, total / gaps - mean * mean))
    return (deviation - mean) / (deviation + mean)


@in_place
def _correlation(n: int, products: int, a: int, a2: int, b: int, b2: int) -> float:
    varies = float(n * a2 - a * a) * float(n * b2 - b * b)
    return (n * products - a * b) / sqrt(varies) if varies > 0.0 else nan


@in_place
def _kernels(boundary_ns: int, s: int, state: State, out: NDArray[np.float64]) -> int:
    params, decayed = state.params, state.decayed[s]
    silent_ns, seen = boundary_ns - state.last_ns[s], state.last_ns[s] > 0
    some = len(params.half_lives)
    for j in range(some):
        h = params.half_lives[j]
        rate = _LN2 / params.kernels_s[h] * _kept(silent_ns, params.kernels_s[h])
        buys, sells = decayed[h, 0], decayed[h, 1]
        out[j] = log1p(rate * buys)
        out[some + j] = log1p(rate * sells)
        if seen and silent_ns <= FORGOTTEN_HALF_LIVES * params.kernels_s[h] * SECOND_NS:
            out[2 * some + j] = (buys - sells) / (buys + sells)
    k = 3 * some
    for j in range(params.excitations.shape[0]):
        short, long = params.excitations[j, 0], params.excitations[j, 1]
        h_short, h_long = params.kernels_s[short], params.kernels_s[long]
        if seen and silent_ns <= FORGOTTEN_HALF_LIVES * h_long * SECOND_NS:
            above = (decayed[short, 0] + decayed[short, 1]) / h_short * _kept(silent_ns, h_short)
            below = (decayed[long, 0] + decayed[long, 1]) / h_long * _kept(silent_ns, h_long)
            out[k] = above / below
        k += 1
    return k


@in_place
def _crossed(s: int, state: State, out: NDArray[np.float64], k: int) -> int:
    params, some = state.params, len(state.params.cross)
    for j in range(some):
        sums, n = state.sums[s, params.cross[j]], params.windows_s[params.cross[j]]
        b, b2, a, a2 = sums[BUYS], sums[BUYS2], sums[SELLS], sums[SELLS2]
        out[k + j] = _correlation(n, sums[BUY_BUY], b, b2, b, b2)
        out[k + some + j] = _correlation(n, sums[SELL_SELL], a, a2, a, a2)
        out[k + 2 * some + j] = _correlation(n, sums[BUY_SELL], b, b2, a, a2)
        out[k + 3 * some + j] = _correlation(n, sums[SELL_BUY], a, a2, b, b2)
    return k + 4 * some


@in_place_kernel
def close(boundary_ns: int, ladder: Ladder, state: State, out: NDArray[np.float64]) -> None:
    """Write the features of every symbol at `boundary_ns` into `out`, float64 (n, k), and open the
    next step. The rows scanned before are those with arrival_ns < boundary_ns."""
    params = state.params
    windows_s = params.windows_s
    for s in range(out.shape[0]):
        newest = _advance(s, state)
        out[s, :] = np.nan
        sums, ring = state.sums[s], state.ring[s]
        k = _kernels(boundary_ns, s, state, out[s])
        for j in range(params.fano_s.shape[0]):
            out[s, k] = _fano(ring, newest, params.fano_s[j, 0], params.fano_s[j, 1])
            k += 1
        for j in range(params.branching_s.shape[0]):
            fano = _fano(ring, newest, params.branching_s[j, 0], params.branching_s[j, 1])
            if fano >= 0.0:
                out[s, k] = 1.0 - 1.0 / sqrt(fano) if fano > 1.0 else 0.0
            k += 1
        some = len(params.gaps)
        for j in range(some):
            w = params.gaps[j]
            gaps, gap_ns = sums[w, GAPS], sums[w, GAP_NS]
            out[s, k + j] = _burstiness(state.gap_squares[s], newest, windows_s[w], gaps, gap_ns)
            if gaps > 0:
                out[s, k + some + j] = sums[w, ZERO_GAPS] / gaps
        k = _crossed(s, state, out[s], k + 2 * some)
        for j in range(params.zscores.shape[0]):
            short, long = params.zscores[j, 0], params.zscores[j, 1]
            n, m = windows_s[long], windows_s[short]
            total, count = (
                sums[long, BUYS] + sums[long, SELLS],
                sums[short, BUYS] + sums[short, SELLS],
            )
            varies = n * sums[long, SQUARES] - total * total
            if varies > 0:
                out[s, k] = (count * n - m * total) / sqrt(float(varies) * m)
            k += 1
        if state.last_ns[s] > 0:
            out[s, k] = log1p((boundary_ns - state.last_ns[s]) / SECOND_NS)
