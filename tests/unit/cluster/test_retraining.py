"""What the retrainer of a session is given, and how `foreshock status` tells of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster.retraining import installed_kinds, plan_of, variables_of
from cluster.status import headlines
from foreshock.models.retraining import RetrainingSettings, Schedule
from foreshock.settings import load


def test_a_job_sees_the_settings_of_the_session_and_no_secret(tmp_path: Path) -> None:
    given = {
        "mode": "live",
        "paths.var_dir": str(tmp_path),
        "training.trials": 7,
        "training.features": ["spread_bps", "ofi_*"],
        "labels.horizons_s": [60, 900],
        "costs.taker_fee_bps": 3.5,
        "venue.market": "binance-usdm",
        "redis.url": "redis://:secret@localhost",
        "ledger.url": "postgresql://me:secret@localhost/x",
        "retraining.enabled": True,
        "serve.port": 1234,
    }
    tree = load(given, environment={}).tree
    variables = variables_of(tree)
    assert "secret" not in str(variables) and "SERVE" not in str(variables)
    seen = load(environment=variables).tree
    for section in ("mode", "paths", "training", "labels", "costs", "venue", "features", "history"):
        assert getattr(seen, section) == getattr(tree, section), section
    assert not seen.retraining.enabled  # a job keeps no schedules


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("http://127.0.0.1:5000", "http://127.0.0.1:5000"),
        ("http://me:secret@127.0.0.1:5000", None),  # a job's environment is on Ray's dashboard
    ],
)
def test_a_job_tells_the_sessions_mlflow_where_its_address_is_no_secret(
    tmp_path: Path, address: str, told: str | None
) -> None:
    given = {"paths.var_dir": str(tmp_path), "registry.mlflow": address}
    variables = variables_of(load(given, environment={}).tree)
    assert variables.get("FORESHOCK__REGISTRY__MLFLOW") == told
    seen = load(environment=variables).tree.registry
    assert seen.tracking_uri == (told or "")


def test_settings_that_are_the_modes_own_are_left_to_its_files(tmp_path: Path) -> None:
    tree = load({"paths.var_dir": str(tmp_path)}, environment={}).tree
    assert set(variables_of(tree)) == {"FORESHOCK__MODE", "FORESHOCK__PATHS__VAR_DIR"}


def test_the_plan_names_the_deed_and_where_its_models_go(tmp_path: Path) -> None:
    tree = load({"paths.var_dir": str(tmp_path), "redis.prefix": "x:"}, environment={}).tree
    plan = plan_of(tree, "http://127.0.0.1:1", None)
    own = Schedule(name="one", arguments=("--trials", "3"), settings={"training.seed": "5"})
    words = plan.entrypoint(own, "job-1").split()
    assert words[:3] == ["python", "-m", "pipelines.tune_models"]
    assert words[-2:] == ["--trials", "3"] and f"{tmp_path}/artifacts/job-1" in words
    assert (plan.prefix, Path(plan.working_dir).joinpath("pipelines").is_dir()) == ("x:", True)
    variables = plan.variables(own, "symbol")
    seen = load(environment=variables).tree
    assert seen.training.search.scopes == ("symbol",) and seen.training.seed == 5


def test_the_families_that_are_installed_are_known_by_name() -> None:
    assert {"boosted", "logistic"} <= set(installed_kinds())


def test_the_default_is_off_and_every_schedule_is_a_deed_that_exists() -> None:
    assert RetrainingSettings().enabled is False
    assert load({"mode": "demo"}, environment={}).tree.retraining.enabled is False
    root = Path(__file__).parents[3]
    for schedule in RetrainingSettings().schedules:
        assert (root / f"{schedule.module.replace('.', '/')}.py").is_file()


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ({"state": "failed", "reason": "no dataset"}, "direction/pooled failed: no dataset"),
        ({"state": "running", "reason": ""}, "direction/pooled running"),
        ({"state": "waiting", "waits_for": "garch"}, "waiting: no family garch is installed"),
    ],
)
def test_status_tells_what_is_trained_anew_and_how_old_the_model_is(
    state: dict[str, str], said: str
) -> None:
    line = {"schedule": "direction", "scope": "pooled", "reason": "", "waits_for": None}
    told = {"at_ns": 0, "targets": [{**line, "next_ns": 120 * 10**9, **state}], "drifted": True}
    health = {
        "status": "ok", "silent_ms": 10.0, "model_version": "1.0", "retraining": told,
        "model": {"age_s": 7_200.0, "max_age_s": 3_600.0, "expired": True},
    }  # fmt: skip
    lines = headlines("http://x", health)
    assert any(said in line and "next in 2 min" in line for line in lines)
    assert "model   1.0, 2.0 h old of 1 h, EXPIRED" in lines
    assert any(line.startswith("drift") for line in lines)
    assert not any("retrain" in line for line in headlines("http://x", {"status": "ok"}))
