"""Variation: how far and how roughly the last traded price has moved (tape).

The last price is sampled at every close and carried forward through silent seconds. Squared returns
are floats: their windows are summed anew from the ring, oldest first, at every close, so that a sum
never depends on when it was started.
"""

from __future__ import annotations

from math import log, sqrt
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from foreshock.features.vector import FeatureSpec
from foreshock.market.jit import in_place, in_place_kernel
from foreshock.market.rings import SLOTS, slot_after, slot_before
from foreshock.market.rows import EPOCH, META, SYNCED, TAPE, TRADE, A, B, C, Words
from foreshock.market.words import count_of, kind_of, symbol_of

SHORT_S: Final = 10
LONG_S: Final = 60


def _spec(
    name: str, formula: str, warmup_s: int, nan_rule: str, source: str, unit: str = "bps"
) -> FeatureSpec:
    return FeatureSpec(name, "variation", formula, unit, "tape", warmup_s, nan_rule, source)


def _unknown(window_s: int) -> str:
    return f"no trade in this epoch earlier than {window_s} s before the boundary"


_VOLATILITY = (
    "Andersen, Bollerslev, Diebold, Labys 2003, Modeling and forecasting realized volatility"
)

SPECS: Final = (
    _spec(
        f"realised_volatility_{LONG_S}s",
        f"10⁴ · √(mean of r²), r the log returns of the last price over 1 s, {LONG_S} of them "
        "(per square root of a second)",
        LONG_S,
        _unknown(LONG_S),
        _VOLATILITY,
    ),
    *(
        _spec(
            f"momentum_{window_s}s",
            f"10⁴ · (last price / last price {window_s} s before the boundary − 1)",
            window_s,
            _unknown(window_s),
            "definition",
        )
        for window_s in (SHORT_S, LONG_S)
    ),
    _spec(
        f"variation_ratio_{SHORT_S}s_{LONG_S}s",
        f"realised volatility over {SHORT_S} s / realised volatility over {LONG_S} s",
        LONG_S,
        f"{_unknown(LONG_S)}, or a price that did not move in {LONG_S} s",
        _VOLATILITY,
        unit="1",
    ),
)


class State(NamedTuple):
    """All symbols' variation; n symbols. Arrays are written in place by `step` and `close`.

    Slot j of the rings belongs to one close: the last price then, and the squared log return over
    the second that it ended. Both are 0 where no trade was known.
    """

    ticks: NDArray[np.int64]  # (n, SLOTS)
    squares: NDArray[np.float64]  # (n, SLOTS)
    head: NDArray[np.int64]  # (n,), the slot of the next close
    last_ticks: NDArray[np.int64]  # (n,), price of the last trade; 0 before the first
    epoch: NDArray[np.int64]  # (n,), −1 before the first


def init(n_symbols: int) -> State:
    """A cold state of `n_symbols` symbols."""
    return State(
        ticks=np.zeros((n_symbols, SLOTS), np.int64),
        squares=np.zeros((n_symbols, SLOTS), np.float64),
        head=np.zeros(n_symbols, np.int64),
        last_ticks=np.zeros(n_symbols, np.int64),
        epoch=np.full(n_symbols, -1, np.int64),
    )


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
            state.last_ticks[symbol] = words[i, A]
    elif words[i, C] == TAPE:
        if words[i, A] != SYNCED or words[i, B] != state.epoch[symbol]:
            for slot in range(SLOTS):
                state.ticks[symbol, slot] = 0
                state.squares[symbol, slot] = 0.0
            state.last_ticks[symbol] = 0
        state.epoch[symbol] = words[i, B]


@in_place_kernel
def scan(words: Words, touch: NDArray[np.int64], lo: int, hi: int, state: State) -> None:
    """Advance by the rows lo <= i < hi; `lo` must be a header row."""
    i = lo
    while i < hi:
        step(words, touch, i, state)
        i += 1 + count_of(words[i, META])


@in_place
def _sum_of_squares(squares: NDArray[np.float64], head: int, window_s: int) -> float:
    total = 0.0
    for age in range(window_s - 1, -1, -1):
        total += squares[slot_before(head, age)]
    return total


@in_place_kernel
def close(boundary_ns: int, top: NDArray[np.int64], state: State, out: NDArray[np.float64]) -> None:
    """Write the features of every symbol at `boundary_ns` into `out`, float64 (n, 4), and open the
    next step. The rows scanned before are those with arrival_ns < boundary_ns."""
    for s in range(out.shape[0]):
        out[s, :] = np.nan
        head, last = state.head[s], state.last_ticks[s]
        before = state.ticks[s, slot_before(head, 1)]
        state.ticks[s, head] = last
        state.squares[s, head] = 0.0
        if before > 0 and last != before:
            r = log(last / before)
            state.squares[s, head] = r * r

        short_ago = state.ticks[s, slot_before(head, SHORT_S)]
        long_ago = state.ticks[s, slot_before(head, LONG_S)]
        if short_ago > 0:
            out[s, 1] = 1e4 * ((last - short_ago) / short_ago)
        if long_ago > 0:
            mean_long = _sum_of_squares(state.squares[s], head, LONG_S) / LONG_S
            out[s, 0] = 1e4 * sqrt(mean_long)
            out[s, 2] = 1e4 * ((last - long_ago) / long_ago)
            if mean_long > 0.0:
                mean_short = _sum_of_squares(state.squares[s], head, SHORT_S) / SHORT_S
                out[s, 3] = sqrt(mean_short / mean_long)
        state.head[s] = slot_after(head)


def last_ticks(state: State) -> NDArray[np.int64]:
    """Price of the last trade in ticks, int64 (n,); 0 where none is known. A copy."""
    return state.last_ticks.copy()
