"""The sweep on a real local Ray: the same result for any number of workers, through deaths."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from foreshock.models.boosted import BoostedSettings
from foreshock.models.dataset import TrainingSet
from foreshock.validation.search import Range, SearchSettings
from foreshock.validation.walk_forward import WalkForwardSettings, walk_forward
from pipelines.datasets import write_dataset
from pipelines.sweep import Job, ScopeResult, plan_sweep
from pipelines.training import TrainingSettings
from pipelines.tune_models import tune
from tests.reference.deadly import KILLS, KILLS_ONCE, RAISES, Deadly
from tests.reference.training import make_set

SETTINGS = TrainingSettings(walk=WalkForwardSettings(folds=2), certificate_rows=20_000)
SPACE = {
    "trees": Range(low=5, high=20, whole=True),
    "leaves": Range(choices=(5, 7)),
    "learning_rate": Range(low=0.02, high=0.3, log=True),
}
ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(300)
def test_any_number_of_workers_makes_the_models_that_one_process_makes(
    local_ray: Any, tmp_path: Path
) -> None:
    search = SearchSettings(
        space=SPACE, batch=3, random_trials=2, first_folds=1, scopes=("pooled", "symbol")
    )
    reports: dict[int, dict[str, Any]] = {
        workers: tune(
            make_set(),
            tmp_path / str(workers) / "model",
            settings=SETTINGS,
            base=BoostedSettings(trees=15, leaves=7),
            trials=7,
            seed=5,
            use_ray=workers > 0,
            max_concurrent=workers,
            search=search,
        )
        for workers in (0, 1, 2)
    }
    assert local_ray.is_initialized()  # a connection that was there before stays
    here = reports[0]
    assert any(trial["state"] == "pruned" for trial in here["trials"])
    for workers in (1, 2):
        for key in ("trials", "scopes", "winners", "chosen", "version"):
            assert reports[workers][key] == here[key], key
        for model in here["models"]:
            if "refused" in model:
                continue
            made = Path(model["artifact"])
            for name in ("model.onnx", "card.json", "certificate.json"):
                other = tmp_path / str(workers) / made.name / name
                assert other.read_bytes() == (made / name).read_bytes()


@pytest.mark.timeout(300)
def test_a_trial_that_fails_or_kills_its_worker_is_kept_with_its_reason(
    local_ray: Any, tmp_path: Path
) -> None:
    data = make_set()
    search = SearchSettings(
        space={"leaves": Range(choices=(5, RAISES, KILLS_ONCE, KILLS))},
        batch=6, random_trials=20, prune=False,
    )  # fmt: skip
    mark = tmp_path / "struck"
    found = _sweep(data, search, Deadly(trees=5, leaves=5, mark=str(mark)), trials=16)
    tried = [(t.recipe.model_dump()["leaves"], t.state, t.reason) for t in found.trials]
    assert {leaves for leaves, *_ in tried} == {5, RAISES, KILLS_ONCE, KILLS}
    assert mark.exists()
    for leaves, state, reason in tried:
        if leaves == RAISES:
            assert (state, reason) == (
                "failed", "fold 0: RuntimeError: seven leaves are too few"
            )  # fmt: skip
        elif leaves == KILLS:
            assert (state, reason) == ("failed", "fold 0: the worker died over it")
        else:  # the one that struck once was tried again, and so were those that died with it
            assert (state, reason) == ("complete", "")
    assert found.chosen is not None


@pytest.mark.timeout(120)
def test_a_sweep_ends_where_others_hold_all_cores_but_one(local_ray: Any) -> None:
    class Holder:
        def there(self) -> bool:
            return True

    held = int(local_ray.cluster_resources()["CPU"]) - 1
    holder = local_ray.remote(num_cpus=held)(Holder).remote()
    try:
        assert local_ray.get(holder.there.remote())
        search = SearchSettings(space=SPACE, batch=3, first_folds=1)
        found = _sweep(make_set(), search, BoostedSettings(trees=5, leaves=5), trials=6)
    finally:
        local_ray.kill(holder)
    assert found.chosen is not None
    assert {trial.state for trial in found.trials} <= {"complete", "pruned"}


def _sweep(data: TrainingSet, search: SearchSettings, base: Any, trials: int) -> ScopeResult:
    from pipelines.sweep_ray import sweep_on_ray

    folds = walk_forward(data.t0_ns, data.end_ns, SETTINGS.walk)
    sweep = plan_sweep(data, folds, base, [], trials, search, 5)
    (found,) = sweep_on_ray(sweep, Job.of(data, folds, list(sweep.scopes.values()), SETTINGS))
    return found


@pytest.mark.timeout(300)
def test_a_driver_that_was_killed_is_followed_by_one_that_goes_on(
    local_ray: Any, tmp_path: Path
) -> None:
    write_dataset(tmp_path / "set", make_set(steps=6000))
    (tmp_path / "sweep.yaml").write_text(
        "training: {trials: 12, features: ['*'], walk_forward: {folds: 2},"
        " search: {batch: 3, scopes: [pooled, symbol]}}\n"
    )

    def command(out: str, *more: str) -> list[str]:
        words = ["--dataset", "set", "--config", "sweep.yaml", "--out", out, "--json", *more]
        return [sys.executable, "-m", "pipelines.tune_models", *words]

    address = local_ray.get_runtime_context().gcs_address
    variables = {**os.environ, "PYTHONPATH": str(ROOT), "RAY_ADDRESS": address}
    first = subprocess.Popen(
        command("half"), cwd=tmp_path, env=variables, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    lines = 0
    while lines < 20:
        assert first.poll() is None, "it ended before it could be killed"
        time.sleep(0.05)
        for file in (tmp_path / "var" / "runs").glob("*.jsonl"):
            lines = len(file.read_bytes().splitlines())
    first.send_signal(signal.SIGKILL)
    first.wait()
    second = subprocess.run(
        command("resumed", "--resume"), cwd=tmp_path, env=variables, capture_output=True, text=True
    )
    assert second.returncode == 0, second.stderr[-3000:]
    report = json.loads(second.stdout)
    assert report["fits_known"] >= 19
    whole = subprocess.run(
        command("whole", "--no-ray"), cwd=tmp_path, env=variables, capture_output=True, text=True
    )
    unbroken = json.loads(whole.stdout)
    assert unbroken["fits_known"] == 0
    assert unbroken["fits_made"] == report["fits_made"] + report["fits_known"]
    assert unbroken["scopes"] == report["scopes"]
    for name in ("model.onnx", "card.json", "certificate.json"):
        one, two = (tmp_path / out / name for out in ("resumed", "whole"))
        assert one.read_bytes() == two.read_bytes()
