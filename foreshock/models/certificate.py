"""Proof that the exported graph decides as the trainer did: same leaves, scores within bounds.

Probes are random training rows; for every split of every tree rows that *reach* it and stand on its
threshold, one float32 above it, and at NaN; and rows of NaN, ±infinity, zeros, denormals and the
edges of what LightGBM reads as zero. The leaves are compared with `pred_leaf` through onnxruntime
itself, on a second graph made of the same nodes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Final

import lightgbm as lgb
import numpy as np
import onnxruntime
from numpy.typing import NDArray

from foreshock.errors import CertificateError
from foreshock.models.boosted import BoostedModel
from foreshock.models.calibration import Table
from foreshock.models.onnx import build_leaf_graph
from foreshock.models.session import open_session, run_graph
from foreshock.models.trees import ZERO, Tree, flatten

UNIT: Final = 2.0**-24  # unit roundoff of float32
INF: Final = np.float32(np.inf)


def special_values() -> NDArray[np.float32]:
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


def probes(trees: Sequence[Tree], rows: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
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


def _above(x: np.float32) -> np.float32:
    """The next float32; infinity above the largest."""
    with np.errstate(over="ignore", under="ignore"):
        return np.float32(np.nextafter(x, INF))


def corners(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Each special value, and NaN, in every column alone and in all columns at once."""
    values = np.append(special_values(), np.float32(np.nan))
    n, k = rows.shape
    out = []
    for i, value in enumerate(values):
        alone = rows[(np.arange(k) + i * k) % n].copy()
        alone[np.arange(k), np.arange(k)] = value
        out += [alone, np.full((1, k), value, np.float32)]
    return np.concatenate(out)


def certify(
    model: BoostedModel,
    graph: bytes,
    tables: Sequence[Table],
    rows: NDArray[np.float32],
    *,
    seed: int = 7,
    random_rows: int = 512,
) -> dict[str, Any]:
    """The certificate, JSON-ready, of `graph` against the boosters it was exported from.

    rows  vectors (n, k), n ≥ 1, to draw from: those of training

    Raises CertificateError where a single leaf differs, or a score by more than float32 sums may.
    """
    random = np.random.default_rng(seed)
    drawn = rows[random.integers(len(rows), size=min(random_rows, 4 * len(rows)))]
    edges = corners(drawn)
    session = open_session(graph)
    horizons: list[dict[str, Any]] = []
    for h, (booster, initial) in enumerate(zip(model.boosters, model.initial_scores, strict=True)):
        trees = flatten(booster)
        splits = probes(trees, drawn, seed + h)
        X = np.concatenate([drawn, edges, splits])
        wrong = _leaf_differences(booster, trees, X)
        if wrong:
            raise CertificateError(f"horizon {h}: {wrong[0]} ({len(wrong)} leaves differ)")
        raw = run_graph(session, X, "raw_score")[:, h].astype(np.float64)
        p = run_graph(session, X, "probability")[:, h].astype(np.float64)
        exact = np.asarray(booster.predict(X, raw_score=True, num_threads=1)) + initial
        raw_bound = raw_score_bound(trees, initial)
        p_bound = tables[h].slope * raw_bound + 8 * UNIT
        raw_error = float(np.abs(raw - exact).max())
        p_error = float(np.abs(p - tables[h].exact(exact)).max())
        if not (raw_error <= raw_bound and p_error <= p_bound):
            raise CertificateError(
                f"horizon {h}: raw score off by {raw_error:.3g} (bound {raw_bound:.3g}), "
                f"probability by {p_error:.3g} (bound {p_bound:.3g})"
            )
        horizons.append(
            {
                "trees": len(trees),
                "splits": int(sum(len(tree.splits) for tree in trees)),
                "rows": len(X),
                "leaves_compared": len(X) * len(trees),
                "leaves_different": 0,
                "raw_error": raw_error,
                "raw_bound": raw_bound,
                "probability_error": p_error,
                "probability_bound": p_bound,
            }
        )
    return {
        "graph_sha256": hashlib.sha256(graph).hexdigest(),
        "lightgbm": lgb.__version__,
        "onnxruntime": onnxruntime.__version__,
        "horizons": horizons,
    }


def raw_score_bound(trees: Sequence[Tree], initial: float) -> float:
    """How far a float32 sum of leaf values, in whatever order, may be from the exact one: rounding
    of the terms plus Higham 2002, eq. 4.4, over the largest leaf of each tree."""
    total = sum(float(np.abs(tree.value).max()) for tree in trees) + abs(initial)
    n = len(trees) + 2
    return n * UNIT / (1.0 - n * UNIT) * total + 1e-12


def _leaf_differences(
    booster: lgb.Booster, trees: Sequence[Tree], X: NDArray[np.float32]
) -> list[str]:
    ours = run_graph(open_session(build_leaf_graph(trees, X.shape[1])), X, "leaf")
    theirs = np.asarray(booster.predict(X, pred_leaf=True, num_threads=1)).reshape(len(X), -1)
    if ours.shape != theirs.shape:
        return [f"{ours.shape[1]} trees exported of {theirs.shape[1]}"]
    places = np.argwhere(ours != theirs)
    return [
        f"row {row} falls into leaf {int(ours[row, t])} of tree {t}, in training {theirs[row, t]}"
        for row, t in places
    ]
