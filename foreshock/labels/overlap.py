"""Labels last: who overlaps whom, how unique a label is, how many independent events there are.

Spans are closed intervals [t0, t1], as in López de Prado, Advances in Financial Machine Learning
(2018), chapters 4 (concurrency, uniqueness) and 7 (purging, embargo).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Times = NDArray[np.int64]


def overlaps(
    t0_ns: Times, t1_ns: Times, held_t0_ns: Times, held_t1_ns: Times, embargo_ns: int = 0
) -> NDArray[np.bool_]:
    """bool (n,): whether each span [t0, t1] comes within `embargo_ns` of any held-out span.

    The embargo widens the held-out spans on *both* sides: before, because a walk-forward fold has
    its training data there; after, as in section 7.4.2. Exact, in O((n + m) log m): a closed span
    misses a held-out one only by ending before it begins or beginning after it ends.
    """
    begun = np.searchsorted(np.sort(held_t0_ns - embargo_ns), t1_ns, side="right")
    over = np.searchsorted(np.sort(held_t1_ns + embargo_ns), t0_ns, side="left")
    out: NDArray[np.bool_] = begun > over
    return out


def purge(
    rows: NDArray[np.int64],
    held_rows: NDArray[np.int64],
    t0_ns: Times,
    t1_ns: Times,
    embargo_ns: int = 0,
) -> NDArray[np.int64]:
    """Those of `rows` whose spans stay `embargo_ns` away from every span of `held_rows`, in order.

    rows, held_rows  indices into t0_ns and t1_ns
    """
    meets = overlaps(t0_ns[rows], t1_ns[rows], t0_ns[held_rows], t1_ns[held_rows], embargo_ns)
    out: NDArray[np.int64] = rows[~meets]
    return out


def average_uniqueness(
    t0_ns: Times, t1_ns: Times, group: NDArray[np.int32], step_ns: int
) -> NDArray[np.float64]:
    """float64 (n,) in (0, 1]: mean over a label's life of 1 / (labels of its group alive then).

    Section 4.4: time is cut into cells of `step_ns`, and a label lives in every cell that its span
    touches. `group` (n,) is the symbol: outcomes of two symbols are two outcomes.
    """
    out = np.ones(len(t0_ns), dtype=np.float64)
    for value in np.unique(group):
        rows = np.flatnonzero(group == value)
        first = t0_ns[rows] // step_ns
        last = t1_ns[rows] // step_ns
        origin = int(first.min())
        first, last = first - origin, last - origin
        change = np.zeros(int(last.max()) + 2, dtype=np.int64)
        np.add.at(change, first, 1)
        np.add.at(change, last + 1, -1)
        alive = np.cumsum(change)[:-1]
        share = np.where(alive > 0, 1.0 / np.maximum(alive, 1), 0.0)
        total = np.concatenate([[0.0], np.cumsum(share)])
        out[rows] = (total[last + 1] - total[first]) / (last - first + 1)
    return out


def positive_clusters(
    t0_ns: Times, t1_ns: Times, group: NDArray[np.int32], label: NDArray[np.int8]
) -> NDArray[np.int64]:
    """int64 (n,): number of the event each positive belongs to, -1 for all others.

    Positives of one group whose spans chain together tell of one event; the count of events, not of
    rows, says how much a calibration may be bent.
    """
    out = np.full(len(t0_ns), -1, dtype=np.int64)
    rows = np.flatnonzero(label == 1)
    if len(rows) == 0:
        return out
    order = rows[np.lexsort((t0_ns[rows], group[rows]))]
    new = np.ones(len(order), dtype=np.bool_)
    for value in np.unique(group[order]):
        place = np.flatnonzero(group[order] == value)
        reach = np.maximum.accumulate(t1_ns[order[place]])
        new[place[1:]] = t0_ns[order[place[1:]]] > reach[:-1]
    out[order] = np.cumsum(new) - 1
    return out
