"""What an overloaded watcher gives up, in a fixed order, and when it takes it back.

level        given up
0 nothing    -
1 recording  raw frames and rows are not kept for a recording (the hole is told, and followed by a
             snapshot)
2 slow       what feeds slow features too: REST polls (open interest, ratios, funding) are not asked

Never: frames are never skipped, since every diff of a book matters; a book that cannot be followed
is RESYNCING, never wrong.

The measure is the lag of the pump: from the arrival of the oldest thing in a micro-batch until its
rows have left the engine. Pure: the shell measures and acts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from foreshock.market.clock import MS_NS, SECOND_NS

NOTHING, RECORDING, SLOW = 0, 1, 2
LEVEL_NAMES: Final = {NOTHING: "nothing", RECORDING: "recording", SLOW: "slow"}


@dataclass(frozen=True, slots=True)
class OverloadSettings:
    """When something is given up and when it is taken back.

    enter_ms   lag above which recording, then the slow features, are given up …
    hold_ns    … once it was above for so long without a break
    leave_ms   lag below which the last thing given up is taken back …
    calm_ns    … once it was below for so long without a break; longer, lest it swing
    """

    enter_ms: tuple[float, float] = (100.0, 250.0)
    hold_ns: int = SECOND_NS
    leave_ms: float = 30.0
    calm_ns: int = 10 * SECOND_NS


@dataclass(frozen=True, slots=True)
class Overload:
    """Where a watcher stands: what it gave up, and since when it is above or below the lags that
    would change that (0: it is not)."""

    level: int = NOTHING
    above_since_ns: int = 0
    below_since_ns: int = 0


def judge(state: Overload, now_ns: int, lag_ns: int, settings: OverloadSettings) -> Overload:
    """The state after a micro-batch that lagged so much. One step a call at most: things are given
    up and taken back in order."""
    lag_ms = lag_ns / MS_NS
    if state.level < SLOW and lag_ms > settings.enter_ms[state.level]:
        since_ns = state.above_since_ns or now_ns
        if now_ns - since_ns >= settings.hold_ns:
            return Overload(state.level + 1)
        return Overload(state.level, above_since_ns=since_ns)
    if state.level > NOTHING and lag_ms < settings.leave_ms:
        since_ns = state.below_since_ns or now_ns
        if now_ns - since_ns >= settings.calm_ns:
            return Overload(state.level - 1)
        return Overload(state.level, below_since_ns=since_ns)
    return Overload(state.level)
