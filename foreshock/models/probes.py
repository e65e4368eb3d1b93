"""Rows at which a conversion goes wrong first: on split points, beside them, and at values that
formats disagree about."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from foreshock.models.parts import Linear, Part, TreeSum
from foreshock.models.trees import ZERO, Tree

Rows = NDArray[np.float32]
INF: Final = np.float32(np.inf)
AS_TRAINED: Final = 0.25  # share of mixed rows that are left as they were trained on
MOST_MOVED: Final = 0.5  # a mixed row has up to this share of its values moved


def special_values() -> Rows:
    """Values at which converters are known to go wrong, shape (14,)."""
    largest, denormal = np.finfo(np.float32).max, np.float32(1e-40)
    positive = [
        np.float32(0.0),
        denormal,
        np.nextafter(ZERO, np.float32(0)),
        ZERO,
        _above(ZERO),
        largest,
    ]
    return np.array([*positive, *[-v for v in positive], INF, -INF], np.float32)


def probes(trees: Sequence[Tree], rows: Rows, seed: int) -> Rows:
    """Rows (m, k) that stand on, just above and off (NaN) every split of `trees` that can be
    reached, made from `rows` (n, k), n ≥ 1, by moving the features on the way there."""
    random = np.random.default_rng(seed)
    out = []
    for tree in trees:
        bases = rows[random.integers(len(rows), size=len(tree.feature))]
        # Each entry: node, the row so far, and what its path allows per feature: (low, high].
        stack: list[tuple[int, dict[int, tuple[np.float32, np.float32]]]] = [(0, {})]
        while stack:
            node, allowed = stack.pop()
            f = int(tree.feature[node])
            if f < 0:
                continue
            low, high = allowed.get(f, (-INF, INF))
            t = np.float32(tree.threshold[node])
            row = bases[node].copy()
            for column, (lo, hi) in allowed.items():
                if not lo < row[column] <= hi:
                    row[column] = hi if np.isfinite(hi) else _above(lo)
            for value in (t, _above(t), np.float32(np.nan)):
                row[f] = value
                out.append(row.copy())
            if low < t:
                stack.append((int(tree.left[node]), {**allowed, f: (low, min(high, t))}))
            if t < high:
                stack.append((int(tree.right[node]), {**allowed, f: (max(low, t), high)}))
    return np.array(out, np.float32).reshape(-1, rows.shape[1])


def corners(rows: Rows) -> Rows:
    """Each special value, and NaN, in every column alone and in all columns at once."""
    values = np.append(special_values(), np.float32(np.nan))
    n, k = rows.shape
    out = []
    for i, value in enumerate(values):
        alone = rows[(np.arange(k) + i * k) % n].copy()
        alone[np.arange(k), np.arange(k)] = value
        out += [alone, np.full((1, k), value, np.float32)]
    return np.concatenate(out)


def edges(parts: Sequence[Part], features: int) -> list[Rows]:
    """By column, every value that some part decides at, and its float32 neighbours: thresholds, and
    where a linear part begins to clip; special values and NaN with them."""
    found: list[list[Rows]] = [[] for _ in range(features)]
    for part in parts:
        if isinstance(part, TreeSum):
            used = [(tree.feature[tree.splits], tree.threshold[tree.splits]) for tree in part.trees]
            columns = np.concatenate([c for c, _ in used]) if used else np.zeros(0, np.int64)
            values = np.concatenate([t for _, t in used]) if used else np.zeros(0, np.float32)
            for column in np.unique(columns):
                found[column].append(values[columns == column])
        else:
            for column, at in enumerate(_clips(part)):
                found[column].append(at)
    usual = np.append(special_values(), np.float32(np.nan))
    out = []
    for each in found:
        values = np.unique(np.concatenate(each)) if each else np.zeros(0, np.float32)
        out.append(np.concatenate([values, _above(values), -_above(-values), usual]))
    return out


def mixed(rows: Rows, values: Sequence[Rows], count: int, seed: int, batch: int) -> Iterator[Rows]:
    """`count` rows, `batch` at a time, drawn from `rows` (n, k), n ≥ 1: a quarter as they are, in
    the others up to half of the values replaced by some of the column's `values`."""
    random = np.random.default_rng(seed)
    n, k = rows.shape
    sizes = np.array([len(each) for each in values], np.int64)
    begins = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    pool = np.concatenate(values)
    for start in range(0, count, batch):
        size = min(batch, count - start)
        X = rows[random.integers(n, size=size)]
        share = random.random((size, 1), np.float32) * np.float32(MOST_MOVED)
        share[random.random(size) < AS_TRAINED] = 0.0
        moved = random.random((size, k), np.float32) < share
        drawn = (random.random((size, k), np.float32) * sizes).astype(np.int64)
        yield np.where(moved, pool[begins + np.minimum(drawn, sizes - 1)], X)


def _clips(part: Linear) -> Rows:
    """float32 (k, 3): the fill, and where each column begins to be clipped."""
    with np.errstate(over="ignore"):
        reach = np.float32(part.limit) * part.scale
        sides = [part.fill, part.centre - reach, part.centre + reach]
        return np.stack(sides, axis=1).astype(np.float32)


def _above(x: Any) -> Any:
    """The next float32; infinity above the largest."""
    with np.errstate(over="ignore", under="ignore"):
        return np.nextafter(x, INF)
