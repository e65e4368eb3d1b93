"""What the gate remembers between boundaries, as one value that is handed in and out."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from foreshock.errors import SnapshotError

_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class PolicyState:
    """Per symbol what was judged and signalled last, and which switches are thrown.

    last_judged_ns   the newest boundary judged, so that a redelivered one is known
    last_signal_ns   the boundary of the last signal, for the cool-down
    killed           symbols under the kill switch; "" stands for all
    broken           symbols whose breaker is open; "" stands for all
    """

    last_judged_ns: Mapping[str, int] = field(default_factory=dict)
    last_signal_ns: Mapping[str, int] = field(default_factory=dict)
    killed: frozenset[str] = frozenset()
    broken: frozenset[str] = frozenset()

    def to_bytes(self) -> bytes:
        """Canonical: equal states give equal bytes."""
        return orjson.dumps(
            {
                "version": _VERSION,
                "last_judged_ns": dict(self.last_judged_ns),
                "last_signal_ns": dict(self.last_signal_ns),
                "killed": sorted(self.killed),
                "broken": sorted(self.broken),
            },
            option=orjson.OPT_SORT_KEYS,
        )

    @classmethod
    def from_bytes(cls, blob: bytes) -> PolicyState:
        """The inverse of `to_bytes`. Raises SnapshotError on anything else."""
        try:
            given: dict[str, Any] = orjson.loads(blob)
            if given["version"] != _VERSION:
                raise SnapshotError(f"policy state of version {given['version']}, not {_VERSION}")
            return cls(
                given["last_judged_ns"],
                given["last_signal_ns"],
                frozenset(given["killed"]),
                frozenset(given["broken"]),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise SnapshotError(f"not a policy state: {blob[:80]!r}") from error

    def only(self, symbols: Collection[str]) -> PolicyState:
        """What it says of `symbols`: all that their next verdicts depend on."""
        every = {"", *symbols}
        return PolicyState(
            {s: at_ns for s, at_ns in self.last_judged_ns.items() if s in every},
            {s: at_ns for s, at_ns in self.last_signal_ns.items() if s in every},
            self.killed & every,
            self.broken & every,
        )

    def was_judged(self, symbol: str, boundary_ns: int) -> bool:
        """Whether this boundary, or a later one, was already judged for the symbol."""
        return boundary_ns <= self.last_judged_ns.get(symbol, -1)

    def is_cooling(self, symbol: str, boundary_ns: int, cool_down_ns: int) -> bool:
        """Whether the symbol signalled less than `cool_down_ns` before the boundary."""
        last_ns = self.last_signal_ns.get(symbol)
        return last_ns is not None and boundary_ns - last_ns < cool_down_ns

    def is_killed(self, symbol: str) -> bool:
        """Whether the kill switch holds the symbol."""
        return "" in self.killed or symbol in self.killed

    def is_broken(self, symbol: str) -> bool:
        """Whether an open breaker holds the symbol."""
        return "" in self.broken or symbol in self.broken
