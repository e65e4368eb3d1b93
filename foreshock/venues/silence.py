"""Whether a stream says less than it should: each stream of each symbol against its own rate.

1. What is known of a stream's rate is its *typical gap*: the mean of its gaps weighted by their
   length, that is the gap in which a moment picked at random falls. Bursts with long pauses between
   them give the pause, so that a thin pair is not called silent for trading in bursts.
2. It starts as half the stream's floor, and forgets with a memory of nine minutes.
3. A stream is silent once nothing came for PATIENCE typical gaps, and never before its floor. So a
   stream that is not known yet has four floors of time.
4. Gaps are learned up to that limit only: an outage teaches little. What lies between a cut and the
   connection behind it is not learned at all.
5. A mark price comes every second whatever happens: its typical gap starts as that. A liquidation
   has no rate: it is never silent.

Gaps are counted in units of 1,024 ns and all of it is exact in integers.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from foreshock.market.clock import SECOND_NS
from foreshock.market.jit import in_place, in_place_kernel

# The streams of a symbol; also the index into tables of streams.
DEPTH_STREAM, QUOTE_STREAM, TAPE_STREAM, BAR_STREAM, MARK_STREAM, LIQUIDATION_STREAM = range(6)
STREAMS: Final = 6

# Columns of `rates`, int64 (n_symbols, STREAMS, RATE_FIELDS).
R_HEARD_NS, R_TYPICAL, R_WATCHED, R_FLOOR = range(4)
RATE_FIELDS: Final = 4

UNIT_SHIFT: Final = 10  # typical, watched and floor are in units of 1,024 ns
MEMORY: Final = 2**29  # units: 550 s
PATIENCE: Final = 8

QUOTE_FLOOR_NS: Final = 60 * SECOND_NS
TAPE_FLOOR_NS: Final = 60 * SECOND_NS
BAR_FLOOR_NS: Final = 130 * SECOND_NS  # two candles: where nobody trades none is sent
MARK_FLOOR_NS: Final = 10 * SECOND_NS
NEVER_NS: Final = 2**61


def new_rates(n_symbols: int, depth_floor_ns: int) -> NDArray[np.int64]:
    """Rates of streams of which nothing is known. One that was neither connected nor heard
    (R_HEARD_NS 0) is not judged."""
    rates = np.zeros((n_symbols, STREAMS, RATE_FIELDS), np.int64)
    floors_ns = (
        depth_floor_ns, QUOTE_FLOOR_NS, TAPE_FLOOR_NS, BAR_FLOOR_NS, MARK_FLOOR_NS, NEVER_NS,
    )  # fmt: skip
    for stream, floor_ns in enumerate(floors_ns):
        floor = floor_ns >> UNIT_SHIFT
        rates[:, stream, R_FLOOR] = floor
        rates[:, stream, R_TYPICAL] = floor // 2
        rates[:, stream, R_WATCHED] = 2 * floor
    rates[:, MARK_STREAM, R_TYPICAL] = SECOND_NS >> UNIT_SHIFT
    rates[:, LIQUIDATION_STREAM, R_TYPICAL] = 0
    return rates


@in_place
def heard(rates: NDArray[np.int64], s: int, stream: int, arrival_ns: int) -> None:
    """A frame came that said something new: learn the gap before it."""
    rate = rates[s, stream]
    before_ns = rate[R_HEARD_NS]
    rate[R_HEARD_NS] = arrival_ns
    gap = (arrival_ns - before_ns) >> UNIT_SHIFT
    if before_ns == 0 or gap <= 0:
        return
    typical = rate[R_TYPICAL]
    gap = min(gap, max(rate[R_FLOOR], PATIENCE * typical), MEMORY)
    watched = min(rate[R_WATCHED] + gap, MEMORY)
    rate[R_WATCHED] = watched
    rate[R_TYPICAL] = typical + (gap - typical) * gap // watched


def limits_ns(rates: NDArray[np.int64]) -> NDArray[np.int64]:
    """How long each stream may say nothing, ns, int64 (n_symbols, STREAMS)."""
    return np.maximum(rates[..., R_FLOOR], PATIENCE * rates[..., R_TYPICAL]) << UNIT_SHIFT


def silent(rates: NDArray[np.int64], now_ns: int) -> NDArray[np.bool_]:
    """Which streams say nothing although their own rate says that they should, bool (n_symbols,
    STREAMS)."""
    known_ns = rates[..., R_HEARD_NS]
    return (known_ns > 0) & (now_ns - known_ns > limits_ns(rates))


def watch_anew(rates: NDArray[np.int64], s: int, streams: tuple[int, ...], now_ns: int) -> None:
    """These streams of symbol s were connected at `now_ns` (0: cut): the gap is not learned."""
    for stream in streams:
        rates[s, stream, R_HEARD_NS] = now_ns


@in_place_kernel
def heard_now(rates: NDArray[np.int64], s: int, stream: int, arrival_ns: int) -> None:
    """`heard`, for sessions that read frames without a kernel."""
    heard(rates, s, stream, arrival_ns)
