"""Supervisor: shares the symbols out among watchers and replaces a watcher that died or hangs."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import ray
from ray.actor import ActorHandle

from actors.plan import WatchPlan, shared_out
from actors.recorder import RecorderActor
from actors.watcher import WatcherActor
from foreshock.market.rows import STALE, STATE_NAMES

log = logging.getLogger(__name__)

PING_EVERY_S: Final = 1.0
PING_TIMEOUT_S: Final = 10.0  # a stopped process dies for nobody: only silence tells
START_TIMEOUT_S: Final = 120.0  # compiling every kernel on a cold cache
STATUS_TIMEOUT_S: Final = 3.0
FINISH_TIMEOUT_S: Final = 3.0
WATCHER_CPUS: Final = 0.2
RECORDER_CPUS: Final = 0.05
# What a watcher's status counts from its start: a successor goes on where it ended.
COUNTS: Final = ("frames", "rows", "boundaries", "vectors", "given_up", "shed_rows")
COUNTS_BY: Final = ("frames_by_outcome", "verdicts")


@dataclass(slots=True)
class _Charge:
    """One share of the symbols, who watches it now, and what came of those before."""

    plan: WatchPlan
    actor: ActorHandle | None = None
    life: asyncio.Future[Any] | None = None
    status: dict[str, Any] = field(default_factory=dict)
    past: dict[str, Counter[str]] = field(default_factory=dict)

    def summed(self) -> dict[str, Any]:
        """The last status, with the counts of all watchers that there were."""
        if not self.past:
            return self.status
        counts = self.past[""]
        by = {name: Counter(self.past[name]) for name in COUNTS_BY}
        for name, counter in by.items():
            counter.update(self.status[name])
        return {
            **self.status,
            **{name: self.status[name] + counts[name] for name in COUNTS},
            **{name: dict(counter) for name, counter in by.items()},
        }

    def bury(self) -> None:
        """Add what the last watcher counted to the past; nobody watches its books now."""
        if not self.status:
            return
        counts, books = self.past.setdefault("", Counter()), self.status["symbols"]
        counts.update({name: self.status[name] for name in COUNTS})
        for name in COUNTS_BY:
            self.past.setdefault(name, Counter()).update(self.status[name])
        self.status = {
            **self.status,
            **dict.fromkeys(COUNTS, 0),
            **{name: {} for name in COUNTS_BY},
            "symbols": {one: {**said, "book": STATE_NAMES[STALE]} for one, said in books.items()},
        }


class Supervisor:
    """Starts `watchers` watchers over one plan and keeps that many alive.

    Where it dies itself, what it started dies too; Ray starts it again with the same plan, and
    `run`, which is retried, starts all anew."""

    def __init__(self, plan: WatchPlan, watchers: int = 1) -> None:
        self._charges = [_Charge(share) for share in shared_out(plan, watchers)]
        self._recorder: ActorHandle | None = None
        if plan.recording_dir is not None:
            self._recorder = RecorderActor.options(num_cpus=RECORDER_CPUS, max_restarts=-1).remote()
        self._restarts = 0
        self._stopping = False

    async def run(self) -> None:
        """Watch over the watchers until `stop`."""
        async with asyncio.TaskGroup() as group:
            for charge in self._charges:
                group.create_task(self._mind(charge))

    async def _mind(self, charge: _Charge) -> None:
        while not self._stopping:
            try:
                await self._start(charge)
                while not self._stopping:
                    assert charge.actor is not None and charge.life is not None
                    await asyncio.wait([charge.life], timeout=PING_EVERY_S)
                    if self._stopping:
                        return
                    if charge.life.done():
                        charge.life.result()  # raises what ended it: nothing else ends a watcher
                    asked = charge.actor.status.remote()
                    charge.status = await asyncio.wait_for(asked, PING_TIMEOUT_S)
            except (ray.exceptions.RayError, TimeoutError) as error:
                if self._stopping:
                    return
                log.warning("watcher %s is gone (%r): starting another", charge.plan.name, error)
                self._restarts += 1
                charge.bury()
                self._end(charge)

    async def _start(self, charge: _Charge) -> None:
        """A new actor; it records beside the one before, never into its recording."""
        plan = charge.plan
        if plan.recording_dir is not None:
            plan = replace(plan, recording_dir=_next_generation(plan.recording_dir))
        charge.actor = WatcherActor.options(
            num_cpus=WATCHER_CPUS, max_restarts=0, max_concurrency=16
        ).remote(plan, self._recorder)
        await asyncio.wait_for(charge.actor.ping.remote(), START_TIMEOUT_S)
        charge.life = asyncio.wrap_future(charge.actor.run.remote().future())

    def _end(self, charge: _Charge) -> None:
        actor, charge.actor, charge.life = charge.actor, None, None
        if actor is not None:
            ray.kill(actor, no_restart=True)  # after a moment in earnest: a stopped process too

    async def status(self) -> dict[str, Any]:
        """{watchers: [status], restarts}. A status is `Watcher.status` with the counts of earlier
        watchers of the same share added; while none answers, the last one with its `problem`, and
        before the first, {name, problem}."""
        return {
            "watchers": await asyncio.gather(*map(self._status_of, self._charges)),
            "restarts": self._restarts,
        }

    async def _status_of(self, charge: _Charge) -> dict[str, Any]:
        name, actor = charge.plan.name, charge.actor
        if actor is None:
            return {"name": name, **charge.summed(), "problem": "starting"}
        try:
            found = await asyncio.wait_for(actor.status.remote(), STATUS_TIMEOUT_S)
        except (ray.exceptions.RayError, TimeoutError) as error:
            problem = str(error).partition("\n")[0] or type(error).__name__
            return {"name": name, **charge.summed(), "problem": problem}
        if actor is charge.actor:
            charge.status = found
        return charge.summed()

    async def _finish(self, charge: _Charge) -> None:
        if self._recorder is None or charge.actor is None:
            return
        try:
            await asyncio.wait_for(charge.actor.finish.remote(), FINISH_TIMEOUT_S)
        except (ray.exceptions.RayError, TimeoutError) as error:
            log.warning("watcher %s did not finish its recording: %r", charge.plan.name, error)

    async def stop(self) -> None:
        """End every watcher; what was recorded is on disk."""
        self._stopping = True
        await asyncio.gather(*map(self._finish, self._charges))
        for charge in self._charges:
            self._end(charge)


def _next_generation(directory: Path) -> Path:
    """Makes the first of `directory`-0, -1, … that is not there yet: who comes back after a death
    must not write into what was recorded before."""
    generation = 0
    while (place := directory.with_name(f"{directory.name}-{generation}")).exists():
        generation += 1
    place.mkdir(parents=True)
    return place


SupervisorActor = ray.remote(max_restarts=-1, max_task_retries=-1)(Supervisor)
