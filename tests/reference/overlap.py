"""Overlap of label spans by comparing everything with everything."""

from __future__ import annotations

from collections.abc import Sequence

Span = tuple[int, int]


def overlaps(spans: Sequence[Span], held: Sequence[Span], embargo: int) -> list[bool]:
    """Whether each closed span comes within `embargo` of any held-out one."""
    return [any(s <= b + embargo and e >= a - embargo for a, b in held) for s, e in spans]


def average_uniqueness(spans: Sequence[Span], group: Sequence[int], step: int) -> list[float]:
    """Mean over a label's cells of 1 / labels of its group that live in the cell."""
    out = []
    for (start, end), mine in zip(spans, group, strict=True):
        cells = range(start // step, end // step + 1)
        alive = [
            sum(
                g == mine and a // step <= c <= b // step
                for (a, b), g in zip(spans, group, strict=True)
            )
            for c in cells
        ]
        out.append(sum(1 / n for n in alive) / len(alive))
    return out


def clusters(
    spans: Sequence[Span], group: Sequence[int], label: Sequence[int]
) -> set[frozenset[int]]:
    """Connected components of the positives that overlap within a group."""
    rows = [i for i, y in enumerate(label) if y == 1]
    found: list[set[int]] = []
    for i in rows:
        touching = [
            c
            for c in found
            if any(
                group[i] == group[j] and spans[i][0] <= spans[j][1] and spans[j][0] <= spans[i][1]
                for j in c
            )
        ]
        found = [c for c in found if c not in touching] + [{i}.union(*touching)]
    return {frozenset(c) for c in found}
