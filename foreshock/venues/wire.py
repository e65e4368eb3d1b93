"""What a shell must know to talk to a venue: addresses, subscriptions, polls, limits. Data, no I/O.

A session (venues/session.py) reads what comes; a wire says how to ask for it. `actors/feed.py` is
the one shell that follows it, for every venue.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Subscription:
    """One socket: where it connects, what it says first, and what it then carries.

    path      behind the venue's WebSocket base address
    messages  sent in order once connected, spaced by `Wire.message_pause_s`
    streams   the streams' names, for status and for the per-stream watch
    families  bit mask of 1 << BOOK and 1 << TAPE that a cut of it breaks
    symbols   the session's symbols that it carries
    """

    path: str
    messages: tuple[str, ...]
    streams: tuple[str, ...]
    families: int
    symbols: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Request:
    """A REST request: GET `path` with `params`. Its answer's body goes to
    `Session.receive_answer(kind, symbol, …)`; `weight` counts against `Wire.weight_per_minute`.
    `every_s` above zero repeats it for ever."""

    kind: str
    symbol: str
    path: str
    params: Mapping[str, str | int] = field(default_factory=dict)
    weight: int = 1
    every_s: float = 0.0


class Wire(Protocol):
    """The wire of one market."""

    market: str
    ws_url: str
    rest_url: str
    heartbeat: tuple[float, str] | None  # (every so many seconds, this text), where the venue asks
    message_pause_s: float  # between messages that we send
    lifetime_s: float  # the venue cuts a connection at this age
    weight_per_minute: int  # of REST, per address
    connects_per_5min: int  # per address

    def subscriptions(
        self, symbols: Sequence[str], tape: str, per_socket: int
    ) -> list[Subscription]:
        """All sockets for these symbols, at most `per_socket` symbols on each."""

    def snapshot(self, symbol: str, levels: int) -> Request | None:
        """The depth snapshot's request; None where snapshots come over the socket."""

    def resubscribe(self, subscription: Subscription, streams: Sequence[str]) -> tuple[str, ...]:
        """Messages that drop and take again these streams of an open socket: how a silent stream is
        woken, and how a socket-borne snapshot is asked for anew."""

    def instruments(self) -> Request:
        """The venue's list of instruments."""

    def polls(self, symbols: Sequence[str]) -> list[Request]:
        """What is asked again and again: open interest, ratios, funding."""

    def history(self, symbols: Sequence[str], venue_ns: int) -> list[Request]:
        """What is asked once, before the polls begin, so that what looks far back need not wait:
        minute bars and settled funding of each symbol, each its first page. `venue_ns` is the
        venue's clock."""

    def later(self, request: Request, body: bytes) -> Request | None:
        """The page behind the one that `body` answered, None where that was the last. Raises
        ValueError on rubbish."""

    def time(self) -> Request:
        """The venue's clock."""

    def venue_ns(self, body: bytes) -> int:
        """Of the answer to `time`, UTC ns. Raises ValueError on rubbish."""

    def used_weight(self, headers: Mapping[str, str]) -> int | None:
        """Of this minute, as the venue counted it; None where it does not say."""
