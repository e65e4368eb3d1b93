"""Stamps for the sequenced input: UTC nanoseconds that never run backwards."""

from __future__ import annotations

import time
from collections.abc import Callable

SECOND_NS = 1_000_000_000
MS_NS = 1_000_000


class Clock:
    """A monotonic clock anchored to UTC once, so that a step of the system's clock (NTP, a
    suspended machine) cannot reorder rows. Only shells at the rim read it, the engine never."""

    def __init__(
        self,
        wall_ns: Callable[[], int] = time.time_ns,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._monotonic_ns = monotonic_ns
        self._anchor_ns = wall_ns() - monotonic_ns()

    def now_ns(self) -> int:
        """UTC now, ns since the epoch."""
        return self._anchor_ns + self._monotonic_ns()


def boundary_after(arrival_ns: int, step_ns: int) -> int:
    """The first sampling boundary strictly after `arrival_ns`."""
    return (arrival_ns // step_ns + 1) * step_ns
