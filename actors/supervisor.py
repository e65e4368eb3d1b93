"""Supervisor: shares the symbols out among watchers, replaces a watcher that died or hangs, keeps
the one REST budget of this address, follows what the venue lists, and tells every watcher what the
symbols of all did (foreshock/market/context.py) and what becomes known of slow series
(foreshock/stores/series_book.py)."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import ray
from numpy.typing import NDArray
from ray.actor import ActorHandle

from actors.budget import Budgets
from actors.plan import FollowPlan, WatchPlan, shared_out
from actors.recorder import RecorderActor
from actors.venue import Listing, fetch_listing, listing_weight
from actors.watcher import WatcherActor
from foreshock.errors import InstrumentError, VenueError
from foreshock.features.series import SLOTS
from foreshock.market.clock import SECOND_NS, Clock, boundary_after
from foreshock.market.context import GATHER_NS, Gatherer
from foreshock.market.rows import STALE, STATE_NAMES, TRADING
from foreshock.market.selection import change, select
from foreshock.stores.series_book import SeriesBook, calls

log = logging.getLogger(__name__)

PING_EVERY_S: Final = 1.0
PING_TIMEOUT_S: Final = 10.0  # a stopped process dies for nobody: only silence tells
START_TIMEOUT_S: Final = 120.0  # compiling every kernel on a cold cache
STATUS_TIMEOUT_S: Final = 3.0
FINISH_TIMEOUT_S: Final = 3.0
SERIES_EVERY_S: Final = 1.0  # how late a slow value may be told
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
    symbols: tuple[str, ...] = ()  # the actor's, in the order of its rows' symbol index
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

    follow   how what is watched follows the venue's list; None: it does not

    Where it dies itself, what it started dies too; Ray starts it again with the same plan, and
    `run`, which is retried, starts all anew."""

    def __init__(
        self, plan: WatchPlan, watchers: int = 1, follow: FollowPlan | None = None
    ) -> None:
        self._plan, self._follow = plan, follow
        self._charges = [_Charge(share) for share in shared_out(plan, watchers)]
        self._shares = len(self._charges)
        self._clock = Clock()
        self._budgets = Budgets(self._clock)
        self._status = dict.fromkeys(plan.symbols, TRADING)
        self._gone: list[str] = []
        self._group: asyncio.TaskGroup | None = None
        self._recorder: ActorHandle | None = None
        self._gatherer = Gatherer(plan.symbols, plan.features.context.gathered)
        self._told = asyncio.Event()
        self._gathered = 0
        self._series: SeriesBook | None = None
        self._series_ns = 0  # until when slow series are told
        if plan.looks:
            names = plan.features.series.names
            self._series = SeriesBook(plan.series.sources, names, SLOTS)
        if plan.recording_dir is not None:
            recorder = RecorderActor.options(num_cpus=RECORDER_CPUS, max_restarts=-1)
            self._recorder = recorder.remote(plan.cold)
        self._restarts = 0
        self._stopping = False

    async def run(self) -> None:
        """Watch over the watchers until `stop`."""
        if self._series is not None:
            await asyncio.to_thread(self._look, self._series)
            self._series_ns = self._clock.now_ns()
        async with asyncio.TaskGroup() as group:
            self._group = group
            for charge in self._charges:
                group.create_task(self._mind(charge))
            if self._plan.gathers:
                group.create_task(self._gather())
            if self._series is not None:
                group.create_task(self._tell_series(self._series))
            if self._follow is not None:
                group.create_task(self._follow_venue(self._follow))

    async def _mind(self, charge: _Charge) -> None:
        while not self._stopping and charge in self._charges:
            try:
                await self._start(charge)
                while not self._stopping:
                    assert charge.actor is not None and charge.life is not None
                    await asyncio.wait([charge.life], timeout=PING_EVERY_S)
                    if self._stopping or charge not in self._charges:
                        return
                    if charge.life.done():
                        charge.life.result()  # raises what ended it: nothing else ends a watcher
                    asked = charge.actor.status.remote()
                    charge.status = await asyncio.wait_for(asked, PING_TIMEOUT_S)
            except (ray.exceptions.RayError, TimeoutError) as error:
                if self._stopping or charge not in self._charges:
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
        charge.symbols = plan.symbols
        charge.actor = WatcherActor.options(
            num_cpus=WATCHER_CPUS, max_restarts=0, max_concurrency=16
        ).remote(plan, self._recorder, ray.get_runtime_context().current_actor)
        if self._series is not None:  # before anything that is told to all
            charge.actor.series.remote(list(calls(self._series.by(self._series_ns))))
        await asyncio.wait_for(charge.actor.ping.remote(), START_TIMEOUT_S)
        charge.life = asyncio.wrap_future(charge.actor.run.remote().future())

    def _end(self, charge: _Charge) -> None:
        actor, charge.actor, charge.life = charge.actor, None, None
        if actor is not None:
            ray.kill(actor, no_restart=True)  # after a moment in earnest: a stopped process too

    # What all symbols do

    async def tell(
        self, symbols: tuple[str, ...], boundary_ns: int, facts: NDArray[np.void]
    ) -> None:
        """A watcher's facts of a boundary."""
        self._gatherer.offer(boundary_ns, symbols, facts)
        self._told.set()

    async def _gather(self) -> None:
        """Publish each boundary once all have told of it, at the latest when its time is over."""
        now_ns = self._clock.now_ns
        boundary_ns = boundary_after(now_ns(), SECOND_NS)
        while not self._stopping:
            due_ns = boundary_ns + GATHER_NS
            while not self._gatherer.complete(boundary_ns) and (left_ns := due_ns - now_ns()) > 0:
                self._told.clear()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._told.wait(), left_ns / SECOND_NS)
            self._publish(boundary_ns)
            boundary_ns = max(
                boundary_ns + SECOND_NS, boundary_after(now_ns() - GATHER_NS, SECOND_NS)
            )

    def _publish(self, boundary_ns: int) -> None:
        gathered, known_ns = self._gatherer.publish(boundary_ns), self._clock.now_ns()
        self._gathered += bool(len(gathered.of_all))
        for charge in self._charges:
            values = gathered.values_for(charge.symbols)
            if charge.actor is not None and len(values):
                charge.actor.context.remote(boundary_ns, known_ns, values.tobytes())

    def _watch_all(self) -> None:
        """Wait for the facts of whoever is watched now."""
        self._gatherer.watch(s for charge in self._charges for s in charge.plan.symbols)

    # Slow series

    async def _tell_series(self, book: SeriesBook) -> None:
        """Tell every watcher what becomes known, and look at the files again and again."""
        every_ns = int(self._plan.series.look_every_s * SECOND_NS)
        look_ns = self._series_ns + every_ns
        while not self._stopping:
            await asyncio.sleep(SERIES_EVERY_S)
            if self._clock.now_ns() >= look_ns:
                await asyncio.to_thread(self._look, book, self._clock.now_ns)
                look_ns = self._clock.now_ns() + every_ns
            self._publish_series(book, self._clock.now_ns())

    def _publish_series(self, book: SeriesBook, now_ns: int) -> None:
        """Nothing is told twice; a watcher that starts later is told all of it at its start."""
        told = list(calls(book.between(self._series_ns, now_ns)))
        self._series_ns = max(self._series_ns, now_ns)
        for charge in self._charges:
            if told and charge.actor is not None:
                charge.actor.series.remote(told)

    def _series_status(self) -> dict[str, Any]:
        book = self._series
        if book is None:
            return {"connected": [], "problems": {}}
        return {
            "connected": sorted({source.series for source in book.sources}),
            "problems": book.problems,
        }

    def _look(self, book: SeriesBook, now_ns: Callable[[], int] | None = None) -> None:
        """On a thread; says what cannot be read when that is new."""
        before = book.problems
        book.look(now_ns)
        for path, problem in book.problems.items():
            if before.get(path) != problem:
                log.warning("a slow series cannot be read: %s: %s", path, problem)

    # The venue's list

    async def _follow_venue(self, follow: FollowPlan) -> None:
        """Ask for the list again and again; hand it to every watcher and act on what changed."""
        plan, tickers = self._plan, bool(follow.filters)
        weight = listing_weight(plan.market, tickers)
        while not self._stopping:
            wait_s = self._budgets.take(plan.rest_url, follow.weight_per_minute, weight, False)
            if wait_s:
                await asyncio.sleep(wait_s)
                continue
            try:
                listing = await asyncio.to_thread(
                    fetch_listing, plan.market, plan.rest_url, tickers
                )
                self._act_on(listing, follow)
            except (VenueError, InstrumentError) as error:
                log.warning("the venue's list: %s", error)
            await asyncio.sleep(follow.every_s)

    def _act_on(self, listing: Listing, follow: FollowPlan) -> None:
        chosen = select(listing.candidates, follow.filters, self._clock.now_ns())
        wanted = chosen.symbols if follow.filters else ()
        found = change(self._status, listing.candidates, wanted)
        if found:
            log.warning("the venue's list: %s", found)
        for symbol in found.gone:
            self._drop(symbol)
        if found.listed:
            self._add(found.listed, listing)
        self._status |= {c.symbol: c.status for c in listing.candidates if c.symbol in self._status}
        body = ray.put(listing.body)
        for charge in self._charges:
            if charge.actor is not None:
                charge.actor.learn.remote(body)

    def _add(self, symbols: tuple[str, ...], listing: Listing) -> None:
        """A watcher of their own: those that run keep their epochs."""
        name = f"{self._plan.name}-{self._shares}"
        place = self._plan.recording_dir
        share = replace(
            self._plan,
            name=name,
            instruments=tuple(listing.instruments[symbol] for symbol in symbols),
            fallbacks=(),
            recording_dir=None if place is None else place / str(self._shares),
        )
        self._shares += 1
        self._status |= dict.fromkeys(symbols, TRADING)
        charge = _Charge(share)
        self._charges.append(charge)
        self._watch_all()
        assert self._group is not None
        self._group.create_task(self._mind(charge))

    def _drop(self, symbol: str) -> None:
        """Nobody starts to watch it again; a watcher that has no other symbol ends."""
        self._status.pop(symbol)
        self._gone.append(symbol)
        for charge in list(self._charges):
            left = tuple(i for i in charge.plan.instruments if i.symbol != symbol)
            if len(left) == len(charge.plan.instruments):
                continue
            if left:
                charge.plan = _without(charge.plan, symbol)
            else:
                self._charges.remove(charge)
                self._end(charge)
        self._watch_all()

    # The weight of this address, for every watcher

    async def take_weight(self, rest_url: str, limit: int, weight: int, urgent: bool) -> float:
        """`Budget.take` for all watchers together."""
        return self._budgets.take(rest_url, limit, weight, urgent)

    async def correct_weight(self, rest_url: str, limit: int, used: int) -> None:
        """`Budget.correct`."""
        self._budgets.correct(rest_url, limit, used)

    async def stop_asking(self, rest_url: str, limit: int, wait_s: float) -> None:
        """`Budget.stop`."""
        self._budgets.stop(rest_url, limit, wait_s)

    async def status(self) -> dict[str, Any]:
        """{watchers: [status], restarts, weight, halted, gone, context: {boundaries, late},
        series: {connected, problems}}. A
        status is `Watcher.status` with the counts of earlier watchers of the same share added;
        while none answers, the last one with its `problem`, and before the first, {name,
        problem}."""
        return {
            "watchers": await asyncio.gather(*map(self._status_of, self._charges)),
            "restarts": self._restarts,
            "weight": self._budgets.status(),
            "halted": [s for s, status in self._status.items() if status != TRADING],
            "gone": self._gone,
            "context": {"boundaries": self._gathered, "late": self._gatherer.late},
            "series": self._series_status(),
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


def _without(plan: WatchPlan, symbol: str) -> WatchPlan:
    """The plan and its fallbacks less a symbol."""
    return replace(
        plan,
        instruments=tuple(i for i in plan.instruments if i.symbol != symbol),
        fallbacks=tuple(_without(one, symbol) for one in plan.fallbacks),
    )


def _next_generation(directory: Path) -> Path:
    """Makes the first of `directory`-0, -1, … that is not there yet: who comes back after a death
    must not write into what was recorded before."""
    generation = 0
    while (place := directory.with_name(f"{directory.name}-{generation}")).exists():
        generation += 1
    place.mkdir(parents=True)
    return place


SupervisorActor = ray.remote(max_restarts=-1, max_task_retries=-1)(Supervisor)
