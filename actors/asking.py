"""A watcher's line to the gate: one message per boundary, its answers when they come."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from actors.keeper import Said
from foreshock.engine.message import BoundaryMessage
from foreshock.market.clock import MS_NS, Clock

MAX_PENDING: Final = 8  # boundaries in flight to the gate; beyond it the oldest is given up
LAST_ANSWERS_S: Final = 1.0  # how long an ending watcher waits for the gate
LATENCIES: Final = 4096


def serve_gate(application: str) -> Any:
    """The handle of a running application's gate."""
    from ray import serve as ray_serve  # imported by the host before the first frame

    return ray_serve.get_deployment_handle("Gate", application)


class Asking:
    """Asks the gate that `find` finds; `message` wraps a boundary for it."""

    def __init__(
        self, find: Callable[[], Any], message: Callable[[Said], BoundaryMessage], clock: Clock
    ) -> None:
        self.verdicts: Counter[str] = Counter()
        self.given_up = 0
        self.first_verdict_ns = self.first_probability_ns = 0
        self.problem: str | None = None
        self._find, self._message, self._clock = find, message, clock
        self._gate: Any = None
        self._pending: deque[asyncio.Task[None]] = deque()
        self._latency_ms: deque[float] = deque(maxlen=LATENCIES)

    def ask(self, said: Said) -> None:
        """Send a boundary on its way; its answer settles it."""
        while self._pending and self._pending[0].done():
            self._pending.popleft()
        if self._pending and not self.first_verdict_ns:
            # The gate is still coming up: one question waits for it, not a queue of stale ones.
            self.given_up += 1
            said.settled = True
            return
        if len(self._pending) >= MAX_PENDING:
            self.given_up += 1
            self._pending.popleft().cancel()
        self._pending.append(asyncio.create_task(self._ask(said)))

    async def _ask(self, said: Said) -> None:
        try:
            if self._gate is None:
                self._gate = self._find()
            said.answer = summary = await self._gate.judge.remote(self._message(said))
        except Exception as error:  # the gate may be away for seconds; the books go on
            self.problem = f"{type(error).__name__}: {error}"
            self._gate = None
            return
        finally:  # cancelled too
            said.settled = True
        self.problem = summary["problem"]
        self.verdicts.update(summary["reasons"])
        now_ns = self._clock.now_ns()
        if summary["published_ns"] is not None:
            if self.first_verdict_ns:  # the first one also waited for the gate to come up
                late_ns = summary["published_ns"] - said.boundary.closed_at_ns
                self._latency_ms.append(late_ns / MS_NS)
            self.first_verdict_ns = self.first_verdict_ns or now_ns
            if summary["probabilities"]:
                self.first_probability_ns = self.first_probability_ns or now_ns

    async def finish(self) -> None:
        """Wait a moment for the last answers, then give the rest up."""
        if self._pending:
            await asyncio.wait(self._pending, timeout=LAST_ANSWERS_S)
        for task in self._pending:
            task.cancel()
        await asyncio.gather(*self._pending, return_exceptions=True)

    def latency(self) -> dict[str, float | int | None]:
        """Socket → verdict of the last boundaries: {p50, p99, n}, ms."""
        seen = np.array(self._latency_ms)
        p50, p99 = np.percentile(seen, (50, 99)).tolist() if len(seen) else (None, None)
        return {"p50": p50, "p99": p99, "n": len(seen)}
