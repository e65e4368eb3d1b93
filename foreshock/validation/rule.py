"""The stated rule: what trading a model's words would have earned, in a dozen lines.

One position a symbol, always of the same notional. A row that speaks is entered (at the ask, after
the latency) unless its symbol holds a position or cools down; it is left when its label's span
ends, at a barrier or at the horizon, and from then on the symbol cools down.

Where the prices are: `outcome_bps` of a training set is from mid to mid over the label's span, and
everything between those mids and our fills (half spreads, our own impact, the drift while the order
travels, fees, funding) is in `bill_bps`. A trade's net is the one minus the other, or minus what it
did cost where a dataset carries costs that were realised. No fill is played here: the rule is a
stand-in that an event-driven matching engine replaces.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, Field

from foreshock.errors import DatasetError
from foreshock.market.clock import SECOND_NS
from foreshock.market.jit import kernel

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class RuleSettings(BaseModel):
    """The two things that the rule leaves open."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cool_down_s: float = Field(
        default=60.0,
        ge=0.0,
        description="After an exit a symbol is not entered again for so long. Longer makes fewer "
        "trades that know less of each other.",
    )
    period_s: int = Field(
        default=3_600,
        gt=0,
        description="Length of the periods whose returns are told, seconds. Shorter gives more "
        "returns for a Sharpe ratio, but most of them are zero.",
    )

    @property
    def period_ns(self) -> int:
        """`period_s` in nanoseconds."""
        return self.period_s * SECOND_NS


def take(
    spoken: NDArray[np.bool_], t0_ns: Ints, t1_ns: Ints, symbol: NDArray[np.integer],
    settings: RuleSettings,
) -> Ints:  # fmt: skip
    """Rows that the rule trades, int64 (m,), ordered by entry and, at one moment, by symbol.

    spoken   bool (n,): what the model says, rows in any order; leave out what has no outcome
             (censored labels), since a trade without an end has no return
    t0_ns    int64 (n,): when the row speaks, and the position is entered
    t1_ns    int64 (n,): when its span ends, and the position is left. Known at t0 is only that it
             ends by the horizon: no later row is chosen by what happens after it
    symbol   int (n,), not negative

    A row at the very moment its symbol is free again is taken. Raises DatasetError where a span
    ends before it begins."""
    if (t1_ns < t0_ns).any():
        raise DatasetError("a label ends before it begins (t1_ns < t0_ns)")
    wanted = np.flatnonzero(spoken)
    order = wanted[np.lexsort((symbol[wanted], t0_ns[wanted]))]
    free = np.full(int(symbol.max(initial=0)) + 1, np.iinfo(np.int64).min)
    cool_ns = round(settings.cool_down_s * SECOND_NS)
    places = symbol.astype(np.int64)
    taken = _take(order, np.ascontiguousarray(t0_ns), np.ascontiguousarray(t1_ns), places, free,
                  cool_ns)  # fmt: skip
    return order[taken]


@kernel
def _take(
    order: Ints, t0_ns: Ints, t1_ns: Ints, symbol: Ints, free: Ints, cool_ns: int
) -> NDArray[np.bool_]:
    """Which of `order` are entered; `free` says from when on each symbol is."""
    taken = np.zeros(len(order), np.bool_)
    for i in range(len(order)):
        row = order[i]
        s = symbol[row]
        if t0_ns[row] >= free[s]:
            taken[i] = True
            free[s] = t1_ns[row] + cool_ns
    return taken


def net_bps(
    outcome_bps: ArrayLike, bill_bps: ArrayLike, realised_bps: ArrayLike | None = None
) -> Floats:
    """What a trade leaves, bps of its notional, float64 (n,): the outcome from mid to mid minus the
    bill, or minus the realised cost where that is given and known (finite). NaN where the outcome
    is."""
    cost = np.asarray(bill_bps, dtype=np.float64)
    if realised_bps is not None:
        realised = np.asarray(realised_bps, dtype=np.float64)
        cost = np.where(np.isfinite(realised), realised, cost)
    return np.asarray(np.asarray(outcome_bps, dtype=np.float64) - cost)


def period_returns(
    rows: Ints, exit_ns: Ints, net_bps: Floats, begin_ns: int, end_ns: int, period_ns: int,
    symbols: int,
) -> Floats:  # fmt: skip
    """Returns by period, bps of the capital of all symbols together, float64 (T,).

    rows            of `take`
    exit_ns         int64 (n,): t1 of every row
    net_bps         float (n,): of every row; those of `rows` must be finite
    begin_ns, end_ns, period_ns   T = ⌈(end − begin) / period⌉ periods, at least one; the last may
                    be shorter
    symbols         how many could have been held: each has one notional set aside, traded or not

    Element i is Σ net of the trades left in period i, divided by `symbols`. What is left at
    `end_ns` or later counts in the last period, so that no loss falls off the edge: symbols ·
    Σ returns is always Σ net. Raises DatasetError for a trade left before `begin_ns`, for a net
    that is not finite, and for periods or symbols that are not positive."""
    if period_ns <= 0 or symbols <= 0 or end_ns < begin_ns:
        raise DatasetError(
            f"periods of {period_ns} ns of {begin_ns} to {end_ns}, {symbols} symbols: none of this "
            "may be nothing"
        )
    count = max(1, math.ceil((end_ns - begin_ns) / period_ns))
    net = np.asarray(net_bps, dtype=np.float64)[rows]
    exits = exit_ns[rows]
    if not np.isfinite(net).all():
        raise DatasetError(f"row {int(rows[~np.isfinite(net)][0])} is traded but has no outcome")
    if (exits < begin_ns).any():
        raise DatasetError(f"row {int(rows[exits < begin_ns][0])} is left before the periods begin")
    period = np.minimum((exits - begin_ns) // period_ns, count - 1)
    return np.bincount(period, weights=net, minlength=count) / symbols
