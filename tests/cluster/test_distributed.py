"""Boosting by several actors on a real local Ray, one of which is killed on the way."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xgboost

from foreshock.errors import ModelError
from foreshock.models.calibration import Table
from foreshock.models.certificate import certify
from foreshock.models.onnx import build_graph
from foreshock.models.xgboosted import XGBoostedSettings, fit_one
from foreshock.validation import measures
from pipelines.datasets import write_dataset
from pipelines.distributed import DistributedSettings, fit_distributed
from tests.reference.training import make_set

RECIPE = XGBoostedSettings(trees=30, leaves=7)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = make_set(steps=1500)
    data.X[:, 2] = 7.0  # a column that says nothing is no reason to refuse the others
    return write_dataset(tmp_path_factory.mktemp("distributed") / "set", data)


def killer(marker: Path, times: int) -> xgboost.callback.TrainingCallback:
    """Kills the second actor, `times` times in all, with kill −9, a few trees on."""

    class Killer(xgboost.callback.TrainingCallback):
        def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
            from xgboost_ray.session import get_actor_rank

            died = len(marker.read_text()) if marker.exists() else 0
            if get_actor_rank() == 1 and epoch == 17 and died < times:
                marker.write_text("x" * (died + 1))
                os.kill(os.getpid(), signal.SIGKILL)
            return False

    return Killer()


@pytest.mark.timeout(180)
def test_actors_that_die_too_often_are_an_error(
    local_ray: Any, dataset: Path, tmp_path: Path
) -> None:
    settings = DistributedSettings(max_restarts=0)
    with pytest.raises(ModelError, match="did not finish"):
        fit_distributed(dataset, 10, RECIPE, settings, callbacks=[killer(tmp_path / "died", 9)])
    deadline = time.monotonic() + 20
    while local_ray.available_resources().get("CPU", 0) < 2:  # the other actor has gone too
        assert time.monotonic() < deadline
        time.sleep(0.2)


@pytest.mark.timeout(180)
def test_a_killed_actor_costs_time_and_no_trees(
    local_ray: Any, dataset: Path, tmp_path: Path
) -> None:
    marker = tmp_path / "died"
    fitted = fit_distributed(
        dataset, 10, RECIPE, DistributedSettings(), callbacks=[killer(marker, 1)]
    )
    assert marker.read_text() == "x"
    data = make_set(steps=1500)
    data.X[:, 2] = 7.0
    assert len(fitted.part.trees) == RECIPE.trees
    known = data.labels[:, 0] >= 0
    y = data.labels[known, 0]
    assert fitted.base_rate == pytest.approx((y == 1).mean())

    # As good as the one of one process, and nearly the same.
    alone = fit_one(RECIPE, data.X, data.labels[:, 0], None, data.feature_names)
    ours, theirs = (each.raw_score(data.X[known]) for each in (fitted, alone))
    assert np.corrcoef(ours, theirs)[0, 1] > 0.98
    losses = [measures.log_loss(y, 1 / (1 + np.exp(-z))) for z in (ours, theirs)]
    assert losses[0] < losses[1] + 0.01

    # And a model like any other.
    table = Table(np.float32([-2, 2]), np.float32([0.1, 0.9]), "platt")
    graph = build_graph([fitted.part], data.X.shape[1], [table])
    found = certify([fitted], graph, [table], data.X, rows_least=5000)
    assert found["horizons"][0]["trees"] == RECIPE.trees
