"""A small real model, and boundaries of a real recording: what the doors are tested with."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from foreshock.engine.outcomes import BILL_INPUT, Boundary
from foreshock.engine.step import Engine
from foreshock.features import catalog
from foreshock.market.rows import SYNCED
from foreshock.models import artifact
from foreshock.models.base import Domain, ModelCard
from foreshock.models.boosted import BoostedSettings, fit_one
from foreshock.models.calibration import CalibrationSettings, calibrate
from foreshock.models.certificate import certify
from foreshock.models.onnx import build_graph
from foreshock.models.session import open_session, run_graph
from foreshock.replay.driver import replay, rows_of_raw
from foreshock.stores.raw_sessions import read_raw_session
from foreshock.stores.registry import CHAMPION, DirectoryRegistry
from foreshock.venues.binance import BinanceSession

DOMAIN = Domain(source="binance", market="binance-usdm", tier="book")
HORIZONS_S = (60, 300)
# A model's own columns, in another order than the watchers' vectors have them.
FEATURES = (
    "spread_bps", "momentum_10s", "flow_imbalance_10s", "queue_imbalance", "ofi_10s",
    "realised_volatility_60s", "trade_intensity_10s",
)  # fmt: skip
T0_NS = 1_700_000_000_000_000_000


def train(
    root: Path,
    domain: Domain = DOMAIN,
    seed: int = 7,
    threshold: float = 0.2,
    horizons_s: tuple[int, int] = HORIZONS_S,
    label_fingerprint: str = "0" * 16,
    outlook: tuple[str, ...] = (),
) -> ModelCard:
    """Register a small champion below `root`: LightGBM on drawn vectors, the real export.

    outlook   names of further outputs, which hold the raw scores once more"""
    layout = catalog.layout().only(FEATURES)
    required = tuple(spec.name for spec in layout if catalog.is_required(spec))
    random = np.random.default_rng(seed)
    X = random.normal(size=(1_200, len(layout))).astype(np.float32)
    odds = X[:, :1] + 0.5 * X[:, 1:2] + random.normal(size=(1_200, len(HORIZONS_S)))
    labels = (odds > 0.8).astype(np.int8)
    settings = BoostedSettings(trees=8, leaves=5, seed=seed)
    fitted = [
        fit_one(settings, X, labels[:, h], None, layout.names) for h in range(len(HORIZONS_S))
    ]
    parts = [each.part for each in fitted]
    bare = build_graph(parts, len(layout))
    raw = run_graph(open_session(bare), X, "raw_score")
    clusters = np.arange(len(X), dtype=np.int64)
    tables = [
        calibrate(raw[:, h], labels[:, h], clusters, CalibrationSettings())
        for h in range(len(HORIZONS_S))
    ]
    graph = build_graph(parts, len(layout), tables, {name: parts for name in outlook})
    card = ModelCard(
        name=f"small-{domain.source}",
        version=f"0.0.{seed}+{artifact.graph_digest(graph)}",
        domain=domain,
        horizons_s=horizons_s,
        feature_names=layout.names,
        required_features=required,
        layout_fingerprint=layout.fingerprint,
        label_fingerprint=label_fingerprint,
        data_fingerprint="0" * 16,
        thresholds=(threshold,) * len(HORIZONS_S),
        approved=(True,) * len(HORIZONS_S),
        base_rates=tuple(each.base_rate for each in fitted),
        metrics={},
        spans_ns={},
        trials=1,
        settings={},
        promoted=True,
        reason="a test needs one",
    )
    place = root / f".made-{seed}"
    proof = certify(
        fitted, graph, tables, X, rows_least=0, random_rows=64,
        extra={name: fitted for name in outlook},
    )  # fmt: skip
    artifact.save(place, graph, card, proof)
    registry = DirectoryRegistry(root)
    registry.register(card.name, card.version, place)
    registry.point(card.name, CHAMPION, card.version)
    return card


def own(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """The model's columns of the watchers' vectors."""
    return np.ascontiguousarray(vectors[:, list(catalog.layout().columns(FEATURES))])


@cache
def recorded(recordings: Path, day: str = "0404") -> tuple[tuple[str, ...], list[Boundary]]:
    """Symbols and boundaries of a real USD-M session whose book joins."""
    raw = read_raw_session(recordings / "ws_raw/hftbacktest/usdm" / f"btcusdt_2023{day}.dat.gz")
    session, engine = BinanceSession(raw.instruments), Engine(raw.instruments)
    found = list(replay(engine, rows_of_raw(session, raw.events)))
    return tuple(i.symbol for i in raw.instruments), found


def boundary(
    n: int = 2, at_s: int = 0, warm: bool = True, seed: int = 1, state: int = SYNCED
) -> Boundary:
    """A made-up boundary of n symbols whose bill can be paid."""
    k = len(catalog.layout())
    random = np.random.default_rng(seed + at_s)
    vectors: NDArray[np.float32] = random.normal(size=(n, k)).astype(np.float32)
    mask = np.full((n, k), warm)
    vectors[~mask] = np.nan
    inputs = np.zeros(n, BILL_INPUT)
    inputs["bid"], inputs["ask"], inputs["last"] = 100.0, 100.01, 100.0
    inputs["bid_notional"] = inputs["ask_notional"] = 1e6
    inputs["volatility_1s"], inputs["volume_60s"], inputs["funding_rate"] = 1e-4, 1e6, np.nan
    at_ns = T0_NS + at_s * 1_000_000_000
    return Boundary(
        boundary_ns=at_ns,
        closed_by_seq=at_s,
        closed_at_ns=at_ns + 1_000_000,
        vectors=vectors,
        warm=mask,
        book_state=np.full(n, state, np.uint8),
        book_epoch=np.ones(n, np.int32),
        tape_epoch=np.ones(n, np.int32),
        bill_inputs=inputs,
        rows=np.full(n, 10, np.int64),
    )


def widened(given: Boundary, n: int) -> Boundary:
    """The first symbol of a boundary n times, for loads of many symbols."""
    names = ("vectors", "warm", "book_state", "book_epoch", "tape_epoch", "bill_inputs", "rows")
    wide = {name: np.repeat(getattr(given, name)[:1], n, axis=0) for name in names}
    return replace(given, **wide)
