"""The slow twin of venues/silence.py: one stream, every gap it ever had, in units of 1,024 ns."""

from __future__ import annotations

from dataclasses import dataclass, field

MEMORY = 2**29


@dataclass
class RateTwin:
    """A stream with this floor, ns. `heard_ns` 0: not connected, not judged."""

    floor_ns: int
    heard_ns: int = 0
    gaps: list[int] = field(default_factory=list)

    def limit(self) -> int:
        """How long it may say nothing: eight times the mean of its gaps weighted by their length,
        at least its floor; gaps count up to the limit of their time."""
        floor = self.floor_ns // 1_024
        typical, watched = floor // 2, 2 * floor
        for gap in self.gaps:
            counted = min(gap, max(floor, 8 * typical), MEMORY)
            watched = min(watched + counted, MEMORY)
            typical += (counted - typical) * counted // watched
        return max(floor, 8 * typical)

    def heard(self, now_ns: int) -> None:
        """It said something new."""
        gap = (now_ns - self.heard_ns) // 1_024
        if self.heard_ns and gap > 0:
            self.gaps.append(gap)
        self.heard_ns = now_ns

    def watch(self, now_ns: int) -> None:
        """It was connected now, or (0) cut."""
        self.heard_ns = now_ns

    def silent(self, now_ns: int) -> bool:
        """Whether it should have said something by now."""
        return self.heard_ns > 0 and now_ns - self.heard_ns > self.limit() * 1_024
