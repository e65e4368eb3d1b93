"""Random draws for kernels: one SplitMix64 word of state per symbol, so that a symbol's future does
not depend on how many others there are or on how the run is cut.

SplitMix64: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014,
fig. 17.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from foreshock.market.jit import inlined

_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_S11, _S27, _S30, _S31 = np.uint64(11), np.uint64(27), np.uint64(30), np.uint64(31)
_S16, _S32, _S48, _LOW16 = np.uint64(16), np.uint64(32), np.uint64(48), np.uint64(0xFFFF)
_TO_UNIT = 1.0 / 9007199254740992.0  # 2^-53
_IRWIN_HALL_SD = 65536.0 * math.sqrt(4.0 / 12.0)


@inlined
def next_word(random: Any, s: int) -> Any:
    """64 random bits of symbol `s`; advances `random[s]` (uint64)."""
    random[s] += _GAMMA
    z = random[s]
    z = (z ^ (z >> _S30)) * _MIX_1
    z = (z ^ (z >> _S27)) * _MIX_2
    return z ^ (z >> _S31)


@inlined
def uniform(random: Any, s: int) -> float:
    """Uniform on [0, 1)."""
    return float(next_word(random, s) >> _S11) * _TO_UNIT


@inlined
def normal(random: Any, s: int) -> float:
    """Nearly normal, mean 0 and variance 1, never beyond ±3.47: the sum of four 16-bit uniforms.
    The bounded tails keep every level of the book at a sane size."""
    z = next_word(random, s)
    total = (
        float(z & _LOW16)
        + float((z >> _S16) & _LOW16)
        + float((z >> _S32) & _LOW16)
        + float(z >> _S48)
    )
    return (total - 131070.0) / _IRWIN_HALL_SD


@inlined
def exponential(random: Any, s: int) -> float:
    """Exponential with mean 1."""
    return -math.log(1.0 - uniform(random, s))


@inlined
def between(random: Any, s: int, low: float, high: float) -> float:
    """Uniform on [low, high)."""
    return low + (high - low) * uniform(random, s)
