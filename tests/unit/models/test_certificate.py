"""foreshock.models.certificate: it passes the true graph and catches a wrong one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from foreshock.errors import CertificateError
from foreshock.models import certificate
from foreshock.models.certificate import certify, corners, probes
from foreshock.models.onnx import build_graph
from foreshock.models.trees import LEAF


def test_every_split_is_stood_upon_reached_and_crossed(exported: Any) -> None:
    tree = exported.ensembles[0][0]
    rows = probes([tree], exported.data.X[:64], seed=1)
    seen: set[tuple[int, str]] = set()
    for row in rows:
        node = 0
        while tree.feature[node] != LEAF:
            x, t = row[tree.feature[node]], tree.threshold[node]
            if np.isnan(x):
                seen.add((node, "nan"))
            elif x == t:
                seen.add((node, "on"))
            elif x == np.nextafter(t, np.float32(np.inf)):
                seen.add((node, "above"))
            left = tree.nan_left[node] if np.isnan(x) else x <= t
            node = tree.left[node] if left else tree.right[node]
    above: dict[int, set[int]] = {0: set()}  # features compared on the way to a node
    for node in tree.splits:
        for child in (tree.left[node], tree.right[node]):
            above[int(child)] = above[int(node)] | {int(tree.feature[node])}
        wanted = {(node, "on"), (node, "above")}
        if tree.feature[node] not in above[int(node)]:  # else NaN may have gone elsewhere
            wanted.add((node, "nan"))
        assert wanted <= seen


def test_corners_put_each_special_value_into_each_column() -> None:
    X = np.ones((10, 3), np.float32)
    found = corners(X)
    for column in range(3):
        alone = [row for row in found if (row[[c for c in range(3) if c != column]] == 1).all()]
        assert sum(np.isinf(row[column]) for row in alone) == 2
        assert any(np.isnan(row[column]) for row in alone)


def test_a_true_export_is_certified(exported: Any) -> None:
    found = certify(exported.model, exported.graph, exported.tables, exported.data.X)
    for horizon in found["horizons"]:
        assert horizon["leaves_different"] == 0
        assert horizon["leaves_compared"] == horizon["rows"] * horizon["trees"]
        assert 0 <= horizon["raw_error"] <= horizon["raw_bound"] < 1e-4
        assert 0 <= horizon["probability_error"] <= horizon["probability_bound"] < 1e-4


def test_a_certificate_is_repeatable(exported: Any) -> None:
    first, second = (
        certify(exported.model, exported.graph, exported.tables, exported.data.X) for _ in range(2)
    )
    assert first == second


@pytest.mark.parametrize("how", ["threshold rounded up", "NaN turned round"])
def test_a_wrong_split_is_caught(exported: Any, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def spoil(booster: Any) -> Any:
        trees = list(honest(booster))
        tree, node = trees[3], int(trees[3].splits[0])
        threshold, nan_left = tree.threshold.copy(), tree.nan_left.copy()
        if how == "NaN turned round":
            nan_left[node] = not nan_left[node]
        else:
            threshold[node] = np.nextafter(threshold[node], np.float32(np.inf))
        trees[3] = replace(tree, threshold=threshold, nan_left=nan_left)
        return trees

    honest = certificate.flatten
    monkeypatch.setattr(certificate, "flatten", spoil)
    with pytest.raises(CertificateError, match=r"leaf .* of tree 3"):
        certify(exported.model, exported.graph, exported.tables, exported.data.X)


def test_a_lost_initial_score_is_caught(exported: Any) -> None:
    width = exported.data.X.shape[1]
    graph = build_graph(exported.ensembles, [0.0, 0.0], width, exported.tables)
    with pytest.raises(CertificateError, match="raw score off by"):
        certify(exported.model, graph, exported.tables, exported.data.X)


def test_another_calibration_is_caught(exported: Any) -> None:
    other = list(reversed(exported.tables))
    with pytest.raises(CertificateError, match="probability by"):
        certify(exported.model, exported.graph, other, exported.data.X)
