"""Combinatorial purged cross-validation (López de Prado 2018, 12.3-12.4).

Time is cut into `groups` parts of equal numbers of boundaries; every choice of `held` of them is
once the test set, the rest is trained on, purged of spans that come within the embargo of any test
span on *either* side. Here a training part may lie after a test part, so the embargo must be at
least as long as the features remember: what they saw of the test part would be trained on.

The test parts put together make `paths` whole walks through time, each from different models.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from math import comb

import numpy as np
from numpy.typing import NDArray

from foreshock.errors import DatasetError, OverlapError
from foreshock.labels.overlap import overlaps, purge

Times = NDArray[np.int64]
Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Split:
    """Row numbers, each ascending in t0, the groups tested, and how many rows the purge cost."""

    train: Rows
    test: Rows
    held: tuple[int, ...]
    purged: int


def combinatorial(
    t0_ns: Times, t1_ns: Times, *, groups: int, held: int, embargo_ns: int, memory_ns: int
) -> list[Split]:
    """All `groups` choose `held` splits of rows with closed spans [t0, t1], shape (n,) each.

    memory_ns  how far back the features look; an embargo below it is refused

    Raises DatasetError where the cut makes no sense or a part comes out empty, OverlapError where
    the embargo is too short.
    """
    if not 1 <= held < groups:
        raise DatasetError(f"held must be at least 1 and below groups, got {held} of {groups}")
    if embargo_ns < memory_ns:
        raise OverlapError(
            f"an embargo of {embargo_ns} ns is shorter than what features remember, {memory_ns} ns"
        )
    group = groups_of(t0_ns, groups)
    order = np.argsort(t0_ns, kind="stable").astype(np.int64)
    out = []
    for chosen in itertools.combinations(range(groups), held):
        mask = np.isin(group[order], chosen)
        test, rest = order[mask], order[~mask]
        train = purge(rest, test, t0_ns, t1_ns, embargo_ns)
        if len(train) == 0 or len(test) == 0:
            raise DatasetError(f"the split that tests {chosen} leaves an empty part")
        out.append(Split(train, test, chosen, len(rest) - len(train)))
    return out


def groups_of(t0_ns: Times, groups: int) -> NDArray[np.int64]:
    """int64 (n,): the part each row lies in; rows of one boundary lie in one part. Raises
    DatasetError where there are fewer boundaries than parts."""
    times = np.unique(t0_ns)
    if len(times) < groups:
        raise DatasetError(f"{len(times)} distinct boundaries cannot be cut into {groups} parts")
    edges = times[[len(times) * g // groups for g in range(1, groups)]]
    return np.searchsorted(edges, t0_ns, side="right").astype(np.int64)


def paths(groups: int, held: int) -> NDArray[np.int64]:
    """int64 (paths, groups): which split tests the group on each path; there are
    held/groups · C(groups, held) paths, and every split serves each of its groups once."""
    n = comb(groups, held) * held // groups
    used = [0] * groups
    out = np.full((n, groups), -1, np.int64)
    for number, chosen in enumerate(itertools.combinations(range(groups), held)):
        for g in chosen:
            out[used[g], g] = number
            used[g] += 1
    return out


def check_split(split: Split, t0_ns: Times, t1_ns: Times, embargo_ns: int) -> Split:
    """Raises OverlapError, naming a row, where a training span comes within the embargo of a test
    span; returns the split. Training calls this on whatever splits it is handed."""
    meet = overlaps(
        t0_ns[split.train], t1_ns[split.train], t0_ns[split.test], t1_ns[split.test], embargo_ns
    )
    if meet.any():
        row = int(split.train[np.argmax(meet)])
        raise OverlapError(
            f"row {row} of the train part, span [{t0_ns[row]}, {t1_ns[row]}] ns, comes within "
            f"{embargo_ns} ns of a span of the test part"
        )
    return split
