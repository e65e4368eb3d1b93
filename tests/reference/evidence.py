"""A made-up training whose truth is known, for the tests of reports."""

from __future__ import annotations

import math

import numpy as np

from foreshock.market.clock import SECOND_NS
from pipelines.evidence import HorizonEvidence, RunEvidence, TrialEvidence

HORIZONS_S = (60, 300)


def made_up(seed: int = 0, rows: int = 600, symbols: int = 3, horizons: int = 2) -> RunEvidence:
    """Probabilities are the truth: calibrated by construction. One trial of six has no figure."""
    rng = np.random.default_rng(seed)
    told = []
    for horizon_s in HORIZONS_S[:horizons]:
        t0_ns = np.repeat(np.arange(rows) * 10, symbols) * SECOND_NS + 1_700_000_000 * SECOND_NS
        symbol = np.tile(np.arange(symbols, dtype=np.int32), rows)
        strength = rng.normal(size=len(t0_ns))
        p = 1 / (1 + np.exp(2.0 - 1.5 * strength))
        label = (rng.random(len(p)) < p).astype(np.int8)
        net = np.where(label == 1, 30.0, -10.0) - 6.0 + rng.normal(size=len(p))
        width = 10.0 + 20.0 * p
        told.append(
            HorizonEvidence(
                horizon_s, t0_ns, t0_ns + horizon_s * SECOND_NS, symbol, label, p,
                40.0 * p - 10.0 >= 6.0, net, 0.5,
                importance={"flow_60s": 0.7, "spread_bps": 0.3},
                baselines={"order_flow": np.full(len(p), 0.2)},
                outlook={
                    "outcome_bps": net + 6.0, "expected_bps": 40.0 * p - 10.0,
                    "low_bps": -width, "q50_bps": 0.0 * p, "high_bps": width,
                },
            )
        )  # fmt: skip
    trials = [
        TrialEvidence(
            number, "logistic" if number == 0 else "boosted", "pooled",
            tuple(
                {"fold": fold, "horizon_s": horizon_s, "skill": rng.normal(0.05, 0.02),
                 "log_loss": 0.4, "trades": 7, "returns_bps": (1.0, -0.5), "refused": ""}
                for fold in range(3) for horizon_s in HORIZONS_S
            ) if number != 3 else (),
            chosen=number == 4, reason="" if number != 3 else "one class only",
        )
        for number in range(6)
    ]  # fmt: skip
    card = {
        "name": "simulation.binance-spot.book", "version": "0.1.0+abcd1234", "kind": "boosted",
        "scope": "pooled", "horizons_s": list(HORIZONS_S), "approved": [False, True],
        "promoted": True, "verdict": "promoted", "reason": "utility <b>is</b> above zero",
        "trials": 6, "settings": {"trees": {"leaves": 31}}, "recipe": {"leaves": 31},
        "metrics": {"60": {"brier_skill": 0.2, "calibration_method": "platt"}},
        "spans_ns": {"train": [1, 2]}, "data_fingerprint": "d",
        "outlook": {"outputs": {"expected_bps": None, "low_bps": 0.1, "high_bps": 0.9}},
        "promotion": [{"name": "utility", "horizon_s": 300, "outcome": "passed", "value": 4.0,
                       "bound": 0.0, "words": "surely above zero"}],
    }  # fmt: skip
    names = tuple(f"{letter}USDT" for letter in "ABCDEF"[:symbols])
    return RunEvidence(
        card, names, tuple(told), tuple(trials), {"60 s": ([0.5, 0.4], [0.5, math.e])}
    )
