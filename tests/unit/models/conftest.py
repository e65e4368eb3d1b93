"""Small models, trained once for the tests of this folder."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from foreshock.models.boosted import Boosted, BoostedSettings, fit_one
from foreshock.models.calibration import CalibrationSettings, Table, calibrate
from foreshock.models.dataset import TrainingSet
from foreshock.models.onnx import build_graph
from foreshock.models.parts import TreeSum
from foreshock.models.session import open_session, run_graph
from tests.reference.training import make_set


@dataclass(frozen=True)
class Exported:
    """Two fitted horizons and their graph."""

    data: TrainingSet
    fitted: list[Boosted]
    parts: list[TreeSum]
    tables: list[Table]
    graph: bytes


@pytest.fixture(scope="session", params=["binary", "focal"])
def exported(request: pytest.FixtureRequest) -> Exported:
    """A calibrated model of two horizons; some columns with missing values, some without."""
    data = make_set(steps=700)
    data.X[:, 3] = np.nan_to_num(data.X[:, 3])
    data.X[:, 4] = np.maximum(np.nan_to_num(data.X[:, 4]), 0.0)  # many exact zeros
    chosen = BoostedSettings(objective=request.param, trees=40, leaves=15, min_leaf_rows=10)
    fitted = [
        fit_one(chosen, data.X, data.labels[:, h], None, data.feature_names) for h in range(2)
    ]
    parts = [each.part for each in fitted]
    bare = build_graph(parts, data.X.shape[1])
    raw = run_graph(open_session(bare), data.X, "raw_score")
    cluster = np.arange(len(data), dtype=np.int64)
    limits = [CalibrationSettings(isotonic_clusters=50), CalibrationSettings()]
    tables = [
        calibrate(raw[:, h], data.labels[:, h], cluster, limit) for h, limit in enumerate(limits)
    ]
    graph = build_graph(parts, data.X.shape[1], tables)
    return Exported(data, fitted, parts, tables, graph)
