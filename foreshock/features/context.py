"""Context: what the other symbols do, and how this one follows them (context rows, tape).

A vector at boundary B looks back from B − 1 s: the newest boundary of which context rows can have
come (market/context.py). A row of another boundary is one that came too late, and is not read.
One-second log returns are whole multiples of 10⁻⁸, so that the sums of their products are
integers, exact however long they have run; a window's beta and correlation take only the seconds in
which both returns are known. A close that is not one second behind the last one starts all anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite, log, nan
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from foreshock.config import Section
from foreshock.features.family import Ascending, Seconds, integers, positions, span, union
from foreshock.features.vector import FeatureSpec
from foreshock.market.clock import SECOND_NS
from foreshock.market.context import GatherSettings
from foreshock.market.instruments import Instrument
from foreshock.market.jit import in_place, in_place_kernel
from foreshock.market.ladder import Ladder
from foreshock.market.moments import (
    MISSING,
    MOMENTS,
    add_pair,
    beta_of,
    correlation_of,
    whole_return,
)
from foreshock.market.rows import (
    ALL,
    CONTEXT,
    CONTEXT_LEADER,
    CONTEXT_MEAN,
    CONTEXT_RETURN_RANK,
    CONTEXT_SERIES,
    EPOCH,
    ID2,
    META,
    SYNCED,
    TAPE,
    TRADE,
    A,
    B,
    C,
    Words,
)
from foreshock.market.words import count_of, kind_of, symbol_of

LONGEST_LEAD_S: Final = 60
SLOTS: Final = 384  # of one second; more than the longest window and the longest lead together
_STEP: Final = 100  # between two bases of context fields

# What is told of the whole market and of one symbol, in the order of the fields' bases.
MEAN, DISPERSION, RISING, FALLING = range(4)
RETURN_RANK, VOLUME_RANK, SECTOR_MEAN, SECTOR_RANK = range(4)


class ContextSettings(Section):
    """Windows of what is computed from the context, and what is gathered for it."""

    gathered: GatherSettings = Field(
        default=GatherSettings(), description="What the watchers' facts are made into."
    )
    leader_return_s: Seconds = Field(
        default=(10, 60, 300), description="Windows of a leader's own return."
    )
    regress_s: Seconds = Field(
        default=(60, 300), description="Windows of beta and correlation with a leader."
    )
    residual_s: Seconds = Field(
        default=(10, 60),
        description="Windows of the return that a leader does not explain, by the beta of the "
        "longest regression.",
    )
    leads_s: Ascending = Field(
        default=(1, 5),
        description="Seconds by which a leader's return is earlier in the lead–lag correlation.",
    )

    @field_validator("regress_s")
    @classmethod
    def _some(cls, given: tuple[int, ...]) -> tuple[int, ...]:
        if not given:
            raise ValueError("at least one window is needed: residuals take its beta")
        return given

    @field_validator("leads_s")
    @classmethod
    def _near(cls, given: tuple[int, ...]) -> tuple[int, ...]:
        if given and given[-1] > LONGEST_LEAD_S:
            raise ValueError(f"a lead is at most {LONGEST_LEAD_S} s, got {given[-1]}")
        return given

    @property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        """(seconds that the leader's return is earlier, window) of every regression."""
        longest = self.regress_s[-1]
        return (*((0, w) for w in self.regress_s), *((lead, longest) for lead in self.leads_s))

    def own_s(self) -> tuple[int, ...]:
        """Windows of the symbol's own return."""
        return union(self.residual_s, self.gathered.windows_s)


def specs(settings: ContextSettings) -> tuple[FeatureSpec, ...]:
    """Its features in the order of its columns."""
    gathered, longest = settings.gathered, settings.regress_s[-1]
    late = "the context of the boundary before came too late or not at all"
    sectors = f"sectors {gathered.digest}: features.context.gathered"

    def spec(
        name: str, formula: str, windows_s: tuple[int, ...], nan_rule: str = "", unit: str = "1",
        source: str = "definition",
    ) -> FeatureSpec:  # fmt: skip
        rule = f"{nan_rule}; {late}" if nan_rule else late
        return FeatureSpec(
            name, "context", f"{formula}, as of one second before the boundary", unit, "context",
            max(windows_s, default=0) + 2, rule, source, windows_s,
        )  # fmt: skip

    def of_leader(symbol: str) -> list[FeatureSpec]:
        short, few = symbol.removesuffix(gathered.quote).lower(), "fewer than half of the seconds"
        model = "Sharpe 1964, Capital asset prices (market model)"
        return [
            *(
                spec(f"{short}_return_{span(w)}", f"10⁴ · log return of {symbol} over {w} s", (w,),
                     "no price of it at either end", "bps")
                for w in settings.leader_return_s
            ),
            *(
                spec(f"beta_{short}_{span(w)}",
                     f"cov(y, x) / var(x) of one-second log returns of the last trades over {w} s, "
                     f"y own, x of {symbol}",
                     (w,), f"{few} known of both, or x does not vary", source=model)
                for w in settings.regress_s
            ),
            *(
                spec(f"correlation_{short}_{span(w)}",
                     f"correlation of the same returns over {w} s", (w,),
                     f"{few} known of both, or one of them does not vary")
                for w in settings.regress_s
            ),
            *(
                spec(f"lead_correlation_{short}_{span(lead)}",
                     f"correlation of the own one-second return with that of {symbol} {lead} s "
                     f"earlier over {longest} s",
                     (longest,), f"{few} known of both, or one of them does not vary",
                     source="Lo, MacKinlay 1990, When are contrarian profits due to stock market "
                     "overreaction? (lead–lag)")
                for lead in settings.leads_s
            ),
            *(
                spec(f"residual_{short}_{span(w)}",
                     f"10⁴ · (own log return − beta_{short}_{span(longest)} · that of {symbol}) "
                     f"over {w} s",
                     (w, longest), "any of the three is not known", "bps", model)
                for w in settings.residual_s
            ),
        ]  # fmt: skip

    few = f"fewer than {gathered.least_symbols} symbols known"
    surge = (
        f"a return over {{w}} s of at least {gathered.surge_sigmas:g}·σ·√{{w}} and "
        f"{gathered.surge_floor_bps:g} bps, σ of one second as of the window's beginning"
    )
    own = "the own return is not known"
    windows = gathered.windows_s
    return (
        *(one for symbol in gathered.leaders for one in of_leader(symbol)),
        *(spec(f"market_return_{span(w)}", f"10⁴ · mean log return of all symbols over {w} s",
               (w,), few, "bps") for w in windows),
        *(spec(f"market_dispersion_{span(w)}",
               f"10⁴ · standard deviation of log returns across symbols over {w} s",
               (w,), few, "bps") for w in windows),
        *(spec(f"breadth_rising_{span(w)}",
               f"share of symbols that surge: {surge.format(w=w)}", (w,), few) for w in windows),
        *(spec(f"breadth_falling_{span(w)}",
               f"share of symbols that slump: the negative of {surge.format(w=w)}",
               (w,), few) for w in windows),
        *(spec(f"relative_return_{span(w)}", f"own log return − market_return_{span(w)}", (w,),
               f"{few}, or {own}", "bps") for w in windows),
        *(spec(f"return_rank_{span(w)}",
               f"rank of the own return over {w} s among all symbols, 0 the least, 1 the most",
               (w,), f"{few}, or {own}") for w in windows),
        spec("volume_rank",
             "rank of the last 60 s' volume in quote currency among all symbols", (60,), few),
        *(spec(f"sector_return_{span(w)}",
               f"10⁴ · mean log return of the other symbols of its sector over {w} s ({sectors})",
               (w,), "no sector, or no other symbol of it known", "bps") for w in windows),
        *(spec(f"sector_relative_return_{span(w)}",
               f"own log return − sector_return_{span(w)}", (w,),
               f"no sector, no other symbol of it known, or {own}", "bps") for w in windows),
        *(spec(f"sector_rank_{span(w)}",
               f"rank of the own return over {w} s within its sector ({sectors})", (w,),
               "no sector, or no other symbol of it known") for w in windows),
    )  # fmt: skip


class Params(NamedTuple):
    """Windows in seconds, and where in `own_s` each feature finds its own."""

    leader_return_s: NDArray[np.int64]
    pairs: NDArray[np.int64]  # (pairs, 2): lead, window
    regressions: NDArray[np.int64]  # (2,): how many without a lead, how many with one
    own_s: NDArray[np.int64]
    residual: NDArray[np.int64]
    windows: NDArray[np.int64]


class State(NamedTuple):
    """All symbols; n symbols, k leaders. Slots are of all alike: `head` is that of `closed_ns`."""

    params: Params
    closed_ns: NDArray[np.int64]  # (1,) the last boundary, 0 before the first
    head: NDArray[np.int64]  # (1,)
    ticks: NDArray[np.int64]  # (n, SLOTS) last price at the close, 0 unknown
    moves: NDArray[np.int64]  # (n, SLOTS) return of the second it ended, or MISSING
    sums: NDArray[np.int64]  # (n, k, pairs, MOMENTS)
    last_ticks: NDArray[np.int64]  # (n,) 0 before the first trade of the epoch
    epoch: NDArray[np.int64]  # (n,) of the tape, −1 before the first
    leader_price: NDArray[np.float64]  # (k, SLOTS) NaN unknown
    leader_moves: NDArray[np.int64]  # (k, SLOTS) as `moves`
    told_price: NDArray[np.float64]  # (k,) what was told of `closed_ns`, NaN nothing
    told_all: NDArray[np.float64]  # (4, windows) likewise
    told_one: NDArray[np.float64]  # (n, 4, windows) likewise


def init(instruments: Sequence[Instrument], settings: ContextSettings) -> State:
    """A cold state."""
    n, k = len(instruments), len(settings.gathered.leaders)
    windows, own_s = settings.gathered.windows_s, settings.own_s()
    return State(
        params=Params(
            leader_return_s=integers(settings.leader_return_s),
            pairs=np.array(settings.pairs, np.int64).reshape(-1, 2),
            regressions=integers((len(settings.regress_s), len(settings.leads_s))),
            own_s=integers(own_s),
            residual=positions(settings.residual_s, own_s),
            windows=positions(windows, own_s),
        ),
        closed_ns=np.zeros(1, np.int64),
        head=np.zeros(1, np.int64),
        ticks=np.zeros((n, SLOTS), np.int64),
        moves=np.full((n, SLOTS), MISSING, np.int64),
        sums=np.zeros((n, k, len(settings.pairs), MOMENTS), np.int64),
        last_ticks=np.zeros(n, np.int64),
        epoch=np.full(n, -1, np.int64),
        leader_price=np.full((k, SLOTS), np.nan),
        leader_moves=np.full((k, SLOTS), MISSING, np.int64),
        told_price=np.full(k, np.nan),
        told_all=np.full((4, len(windows)), np.nan),
        told_one=np.full((n, 4, len(windows)), np.nan),
    )


@in_place
def _forget(symbol: int, state: State) -> None:
    """Nothing is known of its own returns."""
    state.ticks[symbol, :] = 0
    state.moves[symbol, :] = MISSING
    state.sums[symbol, :, :, :] = 0


@in_place
def _told(symbol: int, field: int, value: float, state: State) -> None:
    """A value of the last boundary."""
    if not isfinite(value) or field >= CONTEXT_SERIES:
        return
    base, k = field // _STEP, field % _STEP
    if symbol == ALL:
        row = base - CONTEXT_MEAN // _STEP
        if base == CONTEXT_LEADER // _STEP:
            if k < state.told_price.shape[0] and value > 0.0:
                state.told_price[k] = value
        elif 0 <= row < 4 and k < state.told_all.shape[1]:
            state.told_all[row, k] = value
        return
    row = base - CONTEXT_RETURN_RANK // _STEP
    if 0 <= row < 4 and k < state.told_one.shape[2]:
        state.told_one[symbol, row, k] = value


@in_place
def _row(words: Words, i: int, kind: int, symbol: int, state: State) -> None:
    """A row of a kind that matters, of one symbol or of all."""
    if symbol >= state.last_ticks.shape[0]:
        return
    if kind == CONTEXT:
        if symbol >= ALL and words[i, ID2] == state.closed_ns[0] and words[i, ID2] > 0:
            _told(symbol, words[i, A], words[i : i + 1, B].view(np.float64)[0], state)
    elif symbol >= 0 and words[i, C] == TAPE:
        if words[i, A] != SYNCED or words[i, B] != state.epoch[symbol]:
            _forget(symbol, state)
            state.last_ticks[symbol] = 0
        state.epoch[symbol] = words[i, B]


@in_place
def step(words: Words, touch: NDArray[np.int64], i: int, state: State) -> None:
    """Advance by the header row `i` of `words`, int64 (n, 10). Rows without a price or a size, and
    context of any boundary but the last, change nothing."""
    meta = words[i, META]
    kind = kind_of(meta)
    if kind == TRADE:
        symbol = symbol_of(meta)
        if 0 <= symbol < state.last_ticks.shape[0] and words[i, A] > 0 and words[i, B] > 0:
            state.last_ticks[symbol] = words[i, A]
    elif kind in (EPOCH, CONTEXT):
        _row(words, i, kind, symbol_of(meta), state)


@in_place_kernel
def scan(words: Words, touch: NDArray[np.int64], lo: int, hi: int, state: State) -> None:
    """Advance by the rows lo <= i < hi; `lo` must be a header row."""
    i = lo
    while i < hi:
        step(words, touch, i, state)
        i += 1 + count_of(words[i, META])


@in_place
def _before(head: int, steps: int) -> int:
    slot = head - steps
    return slot + SLOTS if slot < 0 else slot


@in_place
def _advance(s: int, head: int, state: State) -> None:
    """The second of `head` enters every window of symbol s."""
    for k in range(state.sums.shape[1]):
        for p in range(state.sums.shape[2]):
            lead, window = state.params.pairs[p, 0], state.params.pairs[p, 1]
            gone = _before(head, window)
            sums = state.sums[s, k, p]
            add_pair(sums, state.moves[s, head], state.leader_moves[k, _before(head, lead)], 1)
            add_pair(sums, state.moves[s, gone], state.leader_moves[k, _before(gone, lead)], -1)


@in_place
def _own_return(s: int, window: int, head: int, state: State) -> float:
    now, before = state.ticks[s, head], state.ticks[s, _before(head, window)]
    return log(now / before) if now > 0 and before > 0 else nan


@in_place
def _leader_return(k: int, window: int, head: int, state: State) -> float:
    return log(state.leader_price[k, head] / state.leader_price[k, _before(head, window)])


@in_place
def _write_leader(
    s: int, k: int, at: int, head: int, state: State, out: NDArray[np.float64]
) -> int:
    """The columns of leader k from `at` on; returns the next one."""
    params = state.params
    for window in params.leader_return_s:
        out[s, at] = 1e4 * _leader_return(k, window, head, state)
        at += 1
    plain, led = params.regressions[0], params.regressions[1]
    # A leader that is silent now is not known: what its past was is not told of either.
    known = isfinite(state.leader_price[k, head])
    beta = nan
    for p in range(plain):
        beta = beta_of(state.sums[s, k, p], params.pairs[p, 1]) if known else nan
        out[s, at + p] = beta
        if known:
            out[s, at + plain + p] = correlation_of(state.sums[s, k, p], params.pairs[p, 1])
    at += 2 * plain
    for p in range(plain, plain + led):
        if known:
            out[s, at] = correlation_of(state.sums[s, k, p], params.pairs[p, 1])
        at += 1
    for w in params.residual:
        window = params.own_s[w]
        explained = beta * _leader_return(k, window, head, state)
        out[s, at] = 1e4 * (_own_return(s, window, head, state) - explained)
        at += 1
    return at


@in_place
def _write_market(s: int, at: int, head: int, state: State, out: NDArray[np.float64]) -> None:
    """The columns behind the leaders'."""
    params, told, mine = state.params, state.told_all, state.told_one
    w = params.windows.shape[0]
    for k in range(w):
        own = _own_return(s, params.own_s[params.windows[k]], head, state)
        out[s, at + k] = 1e4 * told[MEAN, k]
        out[s, at + w + k] = 1e4 * told[DISPERSION, k]
        out[s, at + 2 * w + k] = told[RISING, k]
        out[s, at + 3 * w + k] = told[FALLING, k]
        out[s, at + 4 * w + k] = 1e4 * (own - told[MEAN, k])
        out[s, at + 5 * w + k] = mine[s, RETURN_RANK, k]
        out[s, at + 6 * w + 1 + k] = 1e4 * mine[s, SECTOR_MEAN, k]
        out[s, at + 7 * w + 1 + k] = 1e4 * (own - mine[s, SECTOR_MEAN, k])
        out[s, at + 8 * w + 1 + k] = mine[s, SECTOR_RANK, k]
    out[s, at + 6 * w] = mine[s, VOLUME_RANK, 0]


@in_place
def _begin_anew(state: State) -> None:
    """Time jumped, or begins: no second before this one is known."""
    for s in range(state.ticks.shape[0]):
        _forget(s, state)
    state.leader_price[:, :] = np.nan
    state.leader_moves[:, :] = MISSING
    state.told_price[:] = np.nan
    state.told_all[:, :] = np.nan
    state.told_one[:, :, :] = np.nan


@in_place
def _take_leaders(head: int, state: State) -> None:
    """What was told of the leaders belongs to the slot of the last boundary."""
    before = _before(head, 1)
    for k in range(state.leader_price.shape[0]):
        now, was = state.told_price[k], state.leader_price[k, before]
        state.leader_price[k, head] = now
        known = isfinite(now) and isfinite(was)
        state.leader_moves[k, head] = whole_return(now, was) if known else MISSING


@in_place_kernel
def close(boundary_ns: int, ladder: Ladder, state: State, out: NDArray[np.float64]) -> None:
    """Write the features of every symbol at `boundary_ns` into `out`, float64 (n, k), and open the
    next step. The rows scanned before are those with arrival_ns < boundary_ns."""
    head = state.head[0]
    out[:, :] = np.nan
    if boundary_ns == state.closed_ns[0] + SECOND_NS:
        _take_leaders(head, state)
        for s in range(out.shape[0]):
            _advance(s, head, state)
            at = 0
            for k in range(state.leader_price.shape[0]):
                at = _write_leader(s, k, at, head, state, out)
            _write_market(s, at, head, state, out)
    else:
        _begin_anew(state)
    state.told_price[:] = np.nan
    state.told_all[:, :] = np.nan
    state.told_one[:, :, :] = np.nan
    state.closed_ns[0] = boundary_ns
    now = 0 if head + 1 == SLOTS else head + 1
    state.head[0] = now
    for s in range(out.shape[0]):
        was, last = state.ticks[s, head], state.last_ticks[s]
        state.ticks[s, now] = last
        state.moves[s, now] = (
            whole_return(float(last), float(was)) if last > 0 and was > 0 else MISSING
        )
