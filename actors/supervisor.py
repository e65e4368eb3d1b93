"""Supervisor: shares the symbols out among watchers and replaces a watcher that died or hangs."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, replace
from typing import Any, Final

import ray
from ray.actor import ActorHandle

from actors.plan import WatchPlan, shared_out
from actors.recorder import RecorderActor
from actors.watcher import WatcherActor

log = logging.getLogger(__name__)

PING_EVERY_S: Final = 1.0
PING_TIMEOUT_S: Final = 10.0  # a stopped process dies for nobody: only silence tells
START_TIMEOUT_S: Final = 120.0  # compiling every kernel on a cold cache
STATUS_TIMEOUT_S: Final = 3.0
FINISH_TIMEOUT_S: Final = 3.0
WATCHER_CPUS: Final = 0.2
RECORDER_CPUS: Final = 0.05


@dataclass(slots=True)
class _Charge:
    """One share of the symbols, and who watches it now."""

    plan: WatchPlan
    generation: int = 0
    actor: ActorHandle | None = None
    life: asyncio.Future[Any] | None = None
    last_status: dict[str, Any] | None = None


class Supervisor:
    """Starts `watchers` watchers over one plan and keeps that many alive."""

    def __init__(self, plan: WatchPlan, watchers: int = 1) -> None:
        self._charges = [_Charge(share) for share in shared_out(plan, watchers)]
        self._recorder: ActorHandle | None = None
        if plan.recording_dir is not None:
            self._recorder = RecorderActor.options(
                num_cpus=RECORDER_CPUS, max_restarts=0, name=f"{plan.name}-recorder"
            ).remote()
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
                    await asyncio.sleep(PING_EVERY_S)
                    if self._stopping:
                        return
                    if charge.life is not None and charge.life.done():
                        charge.life.result()  # raises what ended it: nothing else ends a watcher
                    await asyncio.wait_for(charge.actor.ping.remote(), PING_TIMEOUT_S)  # type: ignore[union-attr]
            except (ray.exceptions.RayError, TimeoutError) as error:
                if self._stopping:
                    return
                log.warning("watcher %s is gone (%r): starting another", charge.plan.name, error)
                self._restarts += 1
                self._end(charge)

    async def _start(self, charge: _Charge) -> None:
        """A new actor; a new generation records beside the old one, never into it."""
        plan = charge.plan
        if plan.recording_dir is not None:
            plan = replace(
                plan,
                recording_dir=plan.recording_dir.with_name(
                    f"{plan.recording_dir.name}-{charge.generation}"
                ),
            )
        charge.generation += 1
        charge.actor = WatcherActor.options(
            num_cpus=WATCHER_CPUS, max_restarts=0, max_concurrency=16
        ).remote(plan, self._recorder)
        await asyncio.wait_for(charge.actor.ping.remote(), START_TIMEOUT_S)
        charge.life = asyncio.wrap_future(charge.actor.run.remote().future())

    def _end(self, charge: _Charge) -> None:
        actor, charge.actor, charge.life = charge.actor, None, None
        if actor is not None:
            ray.kill(actor, no_restart=True)

    async def status(self) -> dict[str, Any]:
        """{watchers: [Watcher.status or {name, problem}], restarts}."""
        return {
            "watchers": await asyncio.gather(*map(self._status_of, self._charges)),
            "restarts": self._restarts,
        }

    async def _status_of(self, charge: _Charge) -> dict[str, Any]:
        if charge.actor is None:
            return {"name": charge.plan.name, "problem": "starting"}
        try:
            found: dict[str, Any] = await asyncio.wait_for(
                charge.actor.status.remote(), STATUS_TIMEOUT_S
            )
        except (ray.exceptions.RayError, TimeoutError) as error:
            return {"name": charge.plan.name, "problem": str(error) or type(error).__name__}
        return found

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


SupervisorActor = ray.remote(Supervisor)
