"""The sweep: which settings of the trees do best over walk-forward folds, in process or on Ray."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict
from typing import Any

import numpy as np

from foreshock.errors import DatasetError
from foreshock.models.boosted import BoostedSettings
from foreshock.models.dataset import TrainingSet
from foreshock.validation.walk_forward import Fold
from pipelines.training import Cell, TrainingSettings, evaluate, mean_skill

Trials = list[list[Cell]]


def candidates(trials: int, base: BoostedSettings, seed: int) -> list[BoostedSettings]:
    """`trials` settings to try: `base` itself, then seeded draws around it. Drawn beforehand, so
    that neither the order in which trials end nor how many run at once changes what is tried."""
    random = np.random.default_rng(seed)
    out = [base]
    while len(out) < trials:
        drawn = {
            "trees": int(random.choice([60, 120, 200])),
            "leaves": int(random.choice([7, 15, 31])),
            "learning_rate": round(float(np.exp(random.uniform(np.log(0.02), np.log(0.15)))), 4),
            "min_leaf_rows": int(random.choice([20, 50, 100, 200])),
            "feature_share": float(random.choice([0.5, 0.8, 1.0])),
            "l2": float(random.choice([0.1, 1.0, 10.0])),
            "objective": str(random.choice(["binary", "binary", "focal"])),
        }
        out.append(BoostedSettings.model_validate({**base.model_dump(), **drawn}))
    return out[:trials]


def best(tried: Sequence[BoostedSettings], results: Trials) -> int:
    """The number of the trial with the highest mean skill, the earlier one on a tie. Raises
    DatasetError, with the first refusal, where no trial could be judged at all."""
    skills = [mean_skill(cells) for cells in results]
    known = [i for i, skill in enumerate(skills) if np.isfinite(skill)]
    if not known:
        refusals = [cell.refused for cells in results for cell in cells if cell.refused]
        raise DatasetError(f"none of {len(tried)} trials could be judged: {refusals[0]}")
    return max(known, key=lambda i: (skills[i], -i))


def sweep_in_process(
    tried: Sequence[BoostedSettings],
    data: TrainingSet,
    folds: Sequence[Fold],
    settings: TrainingSettings,
) -> Trials:
    """Every trial's cells, one trial after the other."""
    return [evaluate(params, data, folds, settings) for params in tried]


def sweep_on_ray(
    tried: Sequence[BoostedSettings],
    data: TrainingSet,
    folds: Sequence[Fold],
    settings: TrainingSettings,
    *,
    max_concurrent: int = 1,
    cpus_per_trial: float = 1.0,
) -> Trials:
    """The same cells by Ray Tune. Actors are reused: a fresh one costs seconds of imports, a trial
    milliseconds. The data go to the object store once. Whatever Tune prints goes to stderr. Raises
    DatasetError where a trial failed."""
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    from ray import tune

    # Without its loggers Tune warns that their files are missing; we read the last report instead.
    logging.getLogger("ray.tune.analysis.experiment_analysis").setLevel(logging.ERROR)
    with (
        tempfile.TemporaryDirectory(prefix="foreshock-tune-") as storage,
        redirect_stdout(sys.stderr),
    ):
        tuner = tune.Tuner(
            tune.with_resources(
                tune.with_parameters(
                    _trial, data=data, tried=list(tried), folds=list(folds), settings=settings
                ),
                {"cpu": cpus_per_trial},
            ),
            param_space={"trial": tune.grid_search(list(range(len(tried))))},
            tune_config=tune.TuneConfig(
                metric="skill",
                mode="max",
                reuse_actors=True,
                max_concurrent_trials=max_concurrent,
            ),
            run_config=tune.RunConfig(storage_path=storage, name="sweep", verbose=0),
        )
        grid = tuner.fit()
        out: Trials = [[] for _ in tried]
        for result in (grid[i] for i in range(len(grid))):
            if result.error is not None or result.metrics is None:
                raise DatasetError(f"a trial failed: {result.error}")
            out[result.metrics["trial"]] = [Cell(**cell) for cell in result.metrics["cells"]]
    return out


@contextmanager
def ray_session(num_cpus: int | None = None) -> Iterator[None]:
    """A connection to Ray: the one there is, else the cluster that this job runs on, else a local
    one that ends with the block."""
    import ray

    if ray.is_initialized():
        yield
        return
    within = "RAY_ADDRESS" in os.environ or "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ
    if within:
        ray.init(address="auto", log_to_driver=False)
    else:
        # Set outright: left to itself, Ray would write a token into the home directory.
        os.environ.setdefault("RAY_AUTH_MODE", "disabled")
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        # A stale cluster file misleads a plain init; "local" always starts a new one.
        ray.init(address="local", num_cpus=num_cpus, include_dashboard=False, log_to_driver=False)
    try:
        yield
    finally:
        ray.shutdown()


def _trial(
    config: dict[str, Any],
    *,
    data: TrainingSet,
    tried: list[BoostedSettings],
    folds: list[Fold],
    settings: TrainingSettings,
) -> None:
    from ray import tune

    number = int(config["trial"])
    cells = evaluate(tried[number], data, folds, settings)
    skill = mean_skill(cells)
    # Tune wants a number; which trial is best is decided by `best`, on the cells.
    tune.report(
        {
            "skill": skill if np.isfinite(skill) else -1e9,
            "trial": number,
            "cells": [asdict(cell) for cell in cells],
        }
    )
