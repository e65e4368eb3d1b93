"""What comes out of a feed: whatever arrived, stamped, in order of arrival."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Frames:
    """The WebSocket texts that one read of socket `number` brought, as they came."""

    arrival_ns: int
    number: int
    bodies: list[bytes]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A REST depth answer; `body` is None where the fetch came to nothing."""

    arrival_ns: int
    symbol: str
    levels: int
    body: bytes | None


@dataclass(frozen=True, slots=True)
class Answer:
    """Any other REST answer, by the kind and symbol of its request (`venues.wire.Request`)."""

    arrival_ns: int
    kind: str
    symbol: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Connection:
    """A socket was connected or cut, or the clock offset was measured (state OFFSET)."""

    arrival_ns: int
    number: int
    state: int
    families: int
    symbols: tuple[str, ...]
    offset_ns: int = 0


Event = Frames | Snapshot | Answer | Connection
