"""A training set with a known edge: the chance of a surge follows two features, or none."""

from __future__ import annotations

import numpy as np

from foreshock.models.dataset import TrainingSet

SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND


def make_set(
    seed: int = 0,
    steps: int = 1500,
    edge: float = 2.0,
    horizons_s: tuple[int, ...] = (10, 20),
    symbols: tuple[str, ...] = ("AAAUSDT", "BBBUSDT", "CCCUSDT"),
) -> TrainingSet:
    """`steps` seconds of every symbol; `edge` 0 is a market without one."""
    random = np.random.default_rng(seed)
    n, width = steps * len(symbols), len(horizons_s)
    t0 = np.repeat(START + np.arange(steps, dtype=np.int64) * SECOND, len(symbols))
    X = random.normal(size=(n, 6)).astype(np.float32)
    X[random.random((n, 6)) < 0.03] = np.nan
    X[:, 5] = np.round(X[:, 4])
    drive = edge * (np.nan_to_num(X[:, 0]) + 0.5 * np.nan_to_num(X[:, 1])) - 1.5
    chance = 1.0 / (1.0 + np.exp(-drive.astype(np.float64)))
    labels = np.stack([random.random(n) < chance for _ in horizons_s], axis=1).astype(np.int8)
    lasts = np.where(labels == 1, np.array(horizons_s) // 2, np.array(horizons_s)) * SECOND
    outcome = np.where(labels == 1, 30.0, -15.0).astype(np.float32)
    late = t0 >= t0[-1] - 5 * SECOND
    labels[late], outcome[late] = -1, np.nan
    return TrainingSet(
        X=X,
        labels=labels,
        t0_ns=t0,
        t1_ns=t0[:, None] + lasts,
        symbol=np.tile(np.arange(len(symbols), dtype=np.int32), steps),
        symbols=symbols,
        outcome_bps=outcome,
        bill_bps=np.full((n, width), 8.0, np.float32),
        far_bps=np.full((n, width), 30.0, np.float32),
        near_bps=np.full((n, width), 15.0, np.float32),
        manifest={
            "feature_names": [f"feature_{i}" for i in range(6)],
            "required_features": ["feature_0", "feature_1"],
            "feature_digests": {f"feature_{i}": f"{i}" * 8 for i in range(6)},
            "layout_fingerprint": "0" * 16,
            "label_fingerprint": "1" * 16,
            "horizons_s": list(horizons_s),
            "domain": {"source": "simulation", "market": "binance-spot", "tier": "book"},
        },
    )
