"""Who may ask a venue's REST now: one budget of an address, here or with the supervisor."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final, Protocol

import ray

from foreshock.market.clock import SECOND_NS, Clock
from foreshock.venues.weights import WeightBudget

log = logging.getLogger(__name__)

ASK_TIMEOUT_S: Final = 3.0
ASK_AGAIN_S: Final = 0.5  # where the keeper of the budget does not answer


class Budget(Protocol):
    """What a fetcher asks before every request and tells after it."""

    async def take(self, weight: int, urgent: bool) -> float:
        """0.0, and the weight is spent; else how many seconds to wait before asking anew."""

    async def correct(self, used: int) -> None:
        """The venue's own count of this minute."""

    async def stop(self, wait_s: float) -> None:
        """The venue asks everybody to wait."""


class OwnBudget:
    """A budget that nobody shares."""

    def __init__(self, budget: WeightBudget, clock: Clock) -> None:
        self.weights, self._clock = budget, clock

    async def take(self, weight: int, urgent: bool) -> float:
        """See `Budget`."""
        return self.weights.take(self._clock.now_ns(), weight, urgent) / SECOND_NS

    async def correct(self, used: int) -> None:
        """See `Budget`."""
        self.weights.correct(self._clock.now_ns(), used)

    async def stop(self, wait_s: float) -> None:
        """See `Budget`."""
        self.weights.stop(self._clock.now_ns(), wait_s)


class SharedBudget:
    """The budget of one address that all watchers share: `keeper` is the supervisor's handle. Where
    it does not answer, nothing is asked of the venue either."""

    def __init__(self, keeper: Any, rest_url: str, limit: int) -> None:
        self._keeper, self._venue = keeper, (rest_url, limit)

    async def take(self, weight: int, urgent: bool) -> float:
        """See `Budget`."""
        try:
            asked = self._keeper.take_weight.remote(*self._venue, weight, urgent)
            wait_s: float = await asyncio.wait_for(asked, ASK_TIMEOUT_S)
        except (ray.exceptions.RayError, TimeoutError) as error:
            log.warning("the keeper of the weight budget does not answer: %r", error)
            return ASK_AGAIN_S
        return wait_s

    async def correct(self, used: int) -> None:
        """See `Budget`."""
        await self._tell(self._keeper.correct_weight.remote(*self._venue, used))

    async def stop(self, wait_s: float) -> None:
        """See `Budget`."""
        await self._tell(self._keeper.stop_asking.remote(*self._venue, wait_s))

    async def _tell(self, told: Any) -> None:
        try:
            await asyncio.wait_for(told, ASK_TIMEOUT_S)
        except (ray.exceptions.RayError, TimeoutError) as error:
            log.warning("the keeper of the weight budget does not listen: %r", error)


class Budgets:
    """Of every address, by (rest_url, limit): what the keeper keeps."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._of: dict[tuple[str, int], WeightBudget] = {}

    def of(self, rest_url: str, limit: int) -> WeightBudget:
        """The budget of an address, made when it is first asked for."""
        return self._of.setdefault((rest_url, limit), WeightBudget(limit))

    def take(self, rest_url: str, limit: int, weight: int, urgent: bool) -> float:
        """Seconds to wait; 0.0: taken."""
        return self.of(rest_url, limit).take(self._clock.now_ns(), weight, urgent) / SECOND_NS

    def correct(self, rest_url: str, limit: int, used: int) -> None:
        """The venue's own count."""
        self.of(rest_url, limit).correct(self._clock.now_ns(), used)

    def stop(self, rest_url: str, limit: int, wait_s: float) -> None:
        """The venue asks to wait."""
        self.of(rest_url, limit).stop(self._clock.now_ns(), wait_s)

    def status(self) -> dict[str, dict[str, float]]:
        """By address: weight in use, the limit, seconds until asking is allowed."""
        now_ns = self._clock.now_ns()
        return {
            url: {
                "used": budget.used(now_ns),
                "limit": limit,
                "stopped_s": round(budget.stopped_s(now_ns), 3),
            }
            for (url, limit), budget in self._of.items()
        }
