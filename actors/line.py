"""One subscription kept open for ever: connect, say what to send, watch, renew, come back.

A venue cuts a socket at a known age (24 h at Binance). Before that a *successor* is opened and
subscribed; what it brings is held back while the old one still delivers. Once both have delivered
for `OVERLAP_S` the old one is let go and what was held follows it, without the texts that the old
one brought already; what remains twice the session drops by its id. So the sequenced input sees one
stream without a gap or a step back, and no epoch changes.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import websockets

from actors.events import Connection, Event, Frames
from actors.link import Link, ended, open_link
from foreshock.market.clock import SECOND_NS, Clock
from foreshock.market.rows import CONNECTED, CUT
from foreshock.venues.weights import WeightBudget, back_off_s
from foreshock.venues.wire import Subscription, Wire

log = logging.getLogger(__name__)

STABLE_S: Final = 10.0  # a connection that lived so long was good: the back-off begins anew
OVERLAP_S: Final = 3.0  # how long two sockets deliver before the old one is let go
EARLY_S: Final = 300.0  # how long before its end at the most: not all sockets at one time
SPACING_S: Final = 0.05  # between two connects of one watcher
CONNECT_WINDOW_NS: Final = 300 * SECOND_NS
CONNECT_UNDER_WAY_NS: Final = 10 * SECOND_NS

_ERRORS: Final = (OSError, TimeoutError, websockets.WebSocketException)


class Connects:
    """Turns at connecting: spaced, and never more in five minutes than a venue allows an address.
    `limit` is this watcher's part of that."""

    def __init__(self, limit: int, clock: Clock) -> None:
        self._budget = WeightBudget(max(1, limit), CONNECT_WINDOW_NS, CONNECT_UNDER_WAY_NS)
        self._clock, self._next = clock, asyncio.Lock()

    async def turn(self) -> None:
        """Return when it is one's turn."""
        async with self._next:
            while wait_ns := self._budget.take(self._clock.now_ns(), 1, True):
                log.warning("connects: the venue's limit is reached, waiting")
                await asyncio.sleep(wait_ns / SECOND_NS)
            await asyncio.sleep(SPACING_S)


@dataclass(slots=True)
class _Reading:
    """One link of a line and what is known of it. `held`: what it brought while another still
    delivers; None once it is the line's own."""

    link: Link
    opened_s: float
    last_ns: int
    held: list[bytes] | None = None
    outbox: asyncio.Queue[str] = field(default_factory=asyncio.Queue)
    subscribed: asyncio.Event = field(default_factory=asyncio.Event)
    delivered: asyncio.Event = field(default_factory=asyncio.Event)
    speaker: asyncio.Task[None] | None = None


class Line:
    """One subscription. `run` is its life; events go to `emit`."""

    def __init__(
        self, number: int, subscription: Subscription, wire: Wire, ws_url: str, clock: Clock,
        emit: Callable[[Event], None], connects: Connects, silent_after_s: float,
    ) -> None:  # fmt: skip
        self.number, self.subscription = number, subscription
        self.reconnects = self.renewals = self.frames = 0
        self._wire, self._url = wire, ws_url + subscription.path
        self._clock, self._emit, self._connects = clock, emit, connects
        self._silent_after_s = silent_after_s
        self._overlap_s = min(OVERLAP_S, wire.lifetime_s / 5)
        self._now: _Reading | None = None
        self._next: _Reading | None = None
        self._recent: set[bytes] | None = None
        self._leaving: set[asyncio.Task[None]] = set()

    def status(self) -> dict[str, Any]:
        """Number, streams, seconds since the last frame (-1: none yet), reconnects, renewals."""
        now = self._now
        silent_s = -1.0 if now is None else (self._clock.now_ns() - now.last_ns) / SECOND_NS
        return {
            "number": self.number,
            "streams": len(self.subscription.streams),
            "symbols": len(self.subscription.symbols),
            "connected": now is not None,
            "frames": self.frames,
            "reconnects": self.reconnects,
            "renewals": self.renewals,
            "silent_s": round(silent_s, 3),
        }

    def take_anew(self, streams: Sequence[str]) -> None:
        """Wake these streams of it: subscribed anew, or, where they are all it has, by another
        socket."""
        mine = [stream for stream in streams if stream in self.subscription.streams]
        if not mine or self._now is None:
            return
        if len(mine) == len(self.subscription.streams):
            log.warning("socket %d: all of its streams are silent", self.number)
            self._now.link.cut()
            return
        log.warning("socket %d: subscribed but silent, taken anew: %s", self.number, mine)
        self.resubscribe(mine)

    def resubscribe(self, streams: Sequence[str]) -> None:
        """Drop and take again these streams of it; a socket that is not there takes all anyway."""
        if self._now is not None:
            for message in self._wire.resubscribe(self.subscription, streams):
                self._now.outbox.put_nowait(message)

    async def run(self) -> None:
        """For ever: connect, read, and again after a cut. The first try comes at once; a venue that
        accepts and then cuts meets the back-off like one that refuses."""
        attempt, loop = 0, asyncio.get_running_loop()
        try:
            while True:
                if attempt:
                    await asyncio.sleep(back_off_s(attempt, random.random()))
                began_s = loop.time()
                try:
                    reading = await self._open(held=False)
                except _ERRORS as error:
                    log.warning("socket %d: %r", self.number, error)
                    attempt += 1
                    continue
                self._say(CONNECTED)
                try:
                    await self._live(reading)
                finally:
                    self.reconnects += 1
                    self._say(CUT)
                attempt = 0 if loop.time() - began_s >= STABLE_S else attempt + 1
        finally:
            await self._leave_all()

    def _say(self, state: int) -> None:
        part = self.subscription
        self._emit(
            Connection(self._clock.now_ns(), self.number, state, part.families, part.symbols)
        )

    # One link

    async def _open(self, held: bool) -> _Reading:
        await self._connects.turn()
        link = await open_link(self._url)
        reading = _Reading(
            link, asyncio.get_running_loop().time(), self._clock.now_ns(), [] if held else None
        )
        if held:
            self._next, self._recent = reading, set()
        else:
            self._now = reading
        link.listen(lambda bodies: self._take(reading, bodies))
        reading.speaker = asyncio.create_task(self._speak(reading))
        return reading

    def _take(self, reading: _Reading, bodies: list[bytes]) -> None:
        reading.last_ns = stamp_ns = self._clock.now_ns()
        if reading.subscribed.is_set():
            reading.delivered.set()
        if reading.held is not None:
            reading.held += bodies
            return
        if reading is not self._now:
            return  # let go already
        if self._recent is not None:
            self._recent.update(bodies)
        self.frames += len(bodies)
        self._emit(Frames(stamp_ns, self.number, bodies))

    async def _speak(self, reading: _Reading) -> None:
        """All that we send, one at a time and spaced as the venue wants it."""
        for message in self.subscription.messages:
            reading.outbox.put_nowait(message)
        every_s, beat = self._wire.heartbeat or (None, "")
        said = 0
        while True:
            if said >= len(self.subscription.messages):
                reading.subscribed.set()
            try:
                message = await asyncio.wait_for(reading.outbox.get(), every_s)
            except TimeoutError:
                message = beat
            try:
                await reading.link.send(message)
            except websockets.ConnectionClosed:
                return
            await asyncio.sleep(self._wire.message_pause_s)
            said += 1

    async def _live(self, reading: _Reading) -> None:
        """Read a link, and those that take its place in time; return when there is none."""
        while True:
            successor = await self._watch(reading)
            if successor is None:
                self._leave(reading)
                self._now = None
                return
            self._hand_over(reading, successor)
            reading = successor

    async def _watch(self, reading: _Reading) -> _Reading | None:
        """Until the link is gone (None) or its successor is ready."""
        loop = asyncio.get_running_loop()
        early_s = min(EARLY_S, self._wire.lifetime_s / 5) * random.uniform(0.5, 1.0)
        due_s = reading.opened_s + self._wire.lifetime_s - 2.5 * self._overlap_s - early_s
        look_s = min(self._silent_after_s / 4, self._overlap_s)
        end = asyncio.create_task(ended(reading.link))
        renewal: asyncio.Task[_Reading] | None = None
        attempt = 0
        try:
            while True:
                waited_for = [end] if renewal is None else [end, renewal]
                await asyncio.wait(waited_for, timeout=look_s, return_when=asyncio.FIRST_COMPLETED)
                if renewal is not None and renewal.done():
                    if not (error := renewal.exception()):
                        return renewal.result()
                    log.warning("socket %d: no successor yet: %r", self.number, error)
                    renewal = None
                    self._drop_successor()
                    attempt += 1
                    due_s = loop.time() + back_off_s(attempt, random.random())
                if end.done():
                    if self._next is not None and self._next.delivered.is_set():
                        return self._next
                    self._drop_successor()
                    return None
                if self._clock.now_ns() - reading.last_ns > self._silent_after_s * SECOND_NS:
                    log.warning(
                        "socket %d: subscribed but silent for %s s", self.number,
                        self._silent_after_s,
                    )  # fmt: skip
                    reading.link.cut()
                elif renewal is None and loop.time() >= due_s:
                    renewal = asyncio.create_task(self._succeed())
        finally:
            end.cancel()
            if renewal is not None:
                renewal.cancel()

    async def _succeed(self) -> _Reading:
        """A second link that delivers beside the first. Raises what `open_link` does."""
        reading = await self._open(held=True)
        proof = asyncio.create_task(reading.delivered.wait())
        end = asyncio.create_task(ended(reading.link))
        try:
            limit_s = self._silent_after_s + self._wire.message_pause_s * len(
                self.subscription.messages
            )
            await asyncio.wait((proof, end), timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
            if proof.done():
                # What the old one had under way comes in meanwhile.
                await asyncio.wait((end,), timeout=self._overlap_s)
            if end.done() or not proof.done():
                raise ConnectionError("it was cut, or brought nothing")
        finally:
            proof.cancel()
            end.cancel()
        return reading

    def _hand_over(self, old: _Reading, new: _Reading) -> None:
        brought, self._recent = self._recent or set(), None
        self._now, self._next = new, None
        held, new.held = new.held or [], None
        self.renewals += 1
        log.info("socket %d: renewed before the venue cuts it", self.number)
        if fresh := [body for body in held if body not in brought]:
            self.frames += len(fresh)
            self._emit(Frames(self._clock.now_ns(), self.number, fresh))
        self._leave(old)

    def _drop_successor(self) -> None:
        if self._next is not None:
            self._leave(self._next)
        self._next = self._recent = None

    def _leave(self, reading: _Reading) -> None:
        if reading.speaker is not None:
            reading.speaker.cancel()
        task = asyncio.create_task(reading.link.close())
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    async def _leave_all(self) -> None:
        for reading in (self._now, self._next):
            if reading is not None:
                self._leave(reading)
        self._now = self._next = None
        await asyncio.gather(*self._leaving, return_exceptions=True)
