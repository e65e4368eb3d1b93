"""Which seqs of which shards are where: closed intervals by shard, kept apart and in order.

A batch file says in its name what it covers, a compacted one in its footer. From these alone a
reader knows which rows of which file are new to it: nothing is compared row by row.
"""

from __future__ import annotations

from collections.abc import Mapping

Span = tuple[int, int]
Spans = dict[str, list[Span]]


def subtract(wanted: Span, covered: list[Span]) -> list[Span]:
    """What of `wanted` is not in `covered` (in order, apart)."""
    out: list[Span] = []
    low, high = wanted
    for first, last in covered:
        if last < low:
            continue
        if first > high:
            break
        if first > low:
            out.append((low, first - 1))
        low = max(low, last + 1)
    if low <= high:
        out.append((low, high))
    return out


def add(covered: list[Span], span: Span) -> list[Span]:
    """`covered` with `span`; neighbours become one."""
    out: list[Span] = []
    for each in sorted([*covered, span]):
        if out and each[0] <= out[-1][1] + 1:
            out[-1] = (out[-1][0], max(out[-1][1], each[1]))
        else:
            out.append(each)
    return out


def take_new(covered: Spans, spans: Mapping[str, list[Span]]) -> Spans:
    """What of `spans` is new to `covered`, which has it afterwards."""
    new: Spans = {}
    for shard, wanted in spans.items():
        had = covered.get(shard, [])
        for span in wanted:
            fresh = subtract(span, had)
            if fresh:
                new.setdefault(shard, []).extend(fresh)
            had = add(had, span)
        covered[shard] = had
    return new
