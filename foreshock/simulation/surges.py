"""The hidden side of a symbol: its fair price, and when surges come.

The fair price in bps is ANCHOR (a random walk: a martingale) + NOISE (mean-reverting quote noise,
~1 bps) + RAMP (a surge under way) + FAST and SLOW (what surges left, going back within minutes, so
that holding for ever earns nothing). A foreseeable surge has three phases: PRECURSOR (order flow
tilts by STRENGTH, the fair price does not know yet), SURGE (the ramp), and IDLE again. A false
precursor looks the same and leads nowhere. A jump shows nothing before and leaves nothing behind.
"""

from __future__ import annotations

import math
from typing import Any

from foreshock.market.jit import inlined
from foreshock.simulation.draws import between, exponential, normal, uniform
from foreshock.simulation.state import (
    ANCHOR,
    ANNOUNCED,
    BPS_HIGH,
    BPS_LOW,
    DECOY,
    DECOY_PHASE,
    DRIFT,
    EXCITEMENT,
    FAST,
    IDLE,
    IDLE_S,
    LAST_NS,
    MID_TICKS,
    NOISE,
    PACE,
    PHASE,
    PHASE_END_NS,
    PHASE_START_NS,
    PRECURSOR,
    PRECURSOR_NS,
    PRECURSOR_S_HIGH,
    PRECURSOR_S_LOW,
    RAMP,
    SIZE_BPS,
    SLOW,
    STORY_MILLI_BPS,
    STORY_ONSET,
    STORY_PEAK,
    STORY_PRECURSOR,
    STORY_SYMBOL,
    STRENGTH,
    SURGE,
    SURGE_S_HIGH,
    SURGE_S_LOW,
    TILT,
    VOLATILITY,
)

EXCITEMENT_DECAY = 2.0  # per second


@inlined
def _tell(m: Any, s: int, precursor: int, onset: int, peak: int, size_bps: float) -> None:
    """Write a surge (or, with onset 0, a false precursor) down."""
    row = m.stories[0]
    m.story[row, STORY_SYMBOL] = s
    m.story[row, STORY_PRECURSOR] = precursor
    m.story[row, STORY_ONSET] = onset
    m.story[row, STORY_PEAK] = peak
    m.story[row, STORY_MILLI_BPS] = int(size_bps * 1000.0)
    m.stories[0] = row + 1


@inlined
def enter(m: Any, s: int, phase: int, start: int, seconds: float) -> None:
    m.book.whole[s, PHASE] = phase
    m.book.whole[s, PHASE_START_NS] = start
    m.book.whole[s, PHASE_END_NS] = start + int(seconds * 1e9)


@inlined
def _next_phase(m: Any, s: int) -> None:
    """Leave the phase that just ended. Phases follow each other at their exact ends."""
    plan, random = m.real, m.book.random
    now, phase = m.book.whole[s, PHASE_END_NS], m.book.whole[s, PHASE]
    if phase == IDLE:
        dice = uniform(random, s)
        if dice < plan[s, ANNOUNCED] + plan[s, DECOY]:
            real = dice < plan[s, ANNOUNCED]
            seconds = between(random, s, plan[s, PRECURSOR_S_LOW], plan[s, PRECURSOR_S_HIGH])
            m.real[s, STRENGTH] = between(random, s, 0.6, 1.0)
            m.book.whole[s, PRECURSOR_NS] = now
            if not real:
                _tell(m, s, now, 0, 0, 0.0)
            enter(m, s, PRECURSOR if real else DECOY_PHASE, now, seconds)
        else:
            size = between(random, s, plan[s, BPS_LOW], plan[s, BPS_HIGH])
            if uniform(random, s) < 0.5:
                _tell(m, s, 0, now, now, size)
                m.real[s, ANCHOR] += size
            else:
                m.real[s, ANCHOR] -= size
            enter(m, s, IDLE, now, plan[s, IDLE_S] * exponential(random, s))
    elif phase == PRECURSOR:
        seconds = between(random, s, plan[s, SURGE_S_LOW], plan[s, SURGE_S_HIGH])
        size = between(random, s, plan[s, BPS_LOW], plan[s, BPS_HIGH])
        m.real[s, SIZE_BPS] = size
        enter(m, s, SURGE, now, seconds)
        _tell(m, s, m.book.whole[s, PRECURSOR_NS], now, m.book.whole[s, PHASE_END_NS], size)
    else:
        if phase == SURGE:
            soon = between(random, s, 0.2, 0.7)
            m.real[s, FAST] += soon * m.real[s, SIZE_BPS]
            m.real[s, SLOW] += (1.0 - soon) * m.real[s, SIZE_BPS]
            m.real[s, RAMP] = 0.0
        m.real[s, STRENGTH] = 0.0
        enter(m, s, IDLE, now, plan[s, IDLE_S] * exponential(random, s))


@inlined
def evolve(m: Any, s: int, t: int) -> float:
    """Bring the symbol's latent state to `t`; returns the fair price in ticks."""
    x, random = m.real, m.book.random
    dt = (t - m.book.whole[s, LAST_NS]) * 1e-9
    m.book.whole[s, LAST_NS] = t
    if dt > 0.0:
        root = math.sqrt(dt)
        x[s, ANCHOR] += m.real[s, VOLATILITY] * root * normal(random, s)
        x[s, ANCHOR] += m.real[s, DRIFT] * dt
        x[s, NOISE] += -x[s, NOISE] * dt / 4.0 + 0.5 * root * normal(random, s)
        x[s, TILT] += -x[s, TILT] * dt / 20.0 + 0.028 * root * normal(random, s)
        x[s, PACE] += -x[s, PACE] * dt / 60.0 + 0.06 * root * normal(random, s)
        x[s, EXCITEMENT] -= x[s, EXCITEMENT] * min(1.0, EXCITEMENT_DECAY * dt)
        x[s, FAST] -= x[s, FAST] * dt / 60.0
        x[s, SLOW] -= x[s, SLOW] * dt / 400.0
    while t >= m.book.whole[s, PHASE_END_NS]:
        _next_phase(m, s)
    if m.book.whole[s, PHASE] == SURGE:
        start, end = m.book.whole[s, PHASE_START_NS], m.book.whole[s, PHASE_END_NS]
        x[s, RAMP] = x[s, SIZE_BPS] * float(t - start) / float(end - start)
    bps = x[s, ANCHOR] + x[s, NOISE] + x[s, RAMP] + x[s, FAST] + x[s, SLOW]
    return float(m.real[s, MID_TICKS] * math.exp(bps * 1e-4))
