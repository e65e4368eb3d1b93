"""What the retrainer of a running system is given: where jobs go, and the session's settings."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from actors.retrainer import RetrainPlan
from foreshock.config import ENV_PREFIX, is_secret, leaves
from foreshock.settings import ROOT, Config, load

# What a job that trains has no use for: where the session itself listens and keeps things.
_NOT_THEIRS: Final = ("redis", "ledger", "ray", "serve", "logs", "exchange", "retraining")


def plan_of(tree: Config, jobs_url: str, redis_url: str | None) -> RetrainPlan:
    """The plan of `actors.retrainer.RetrainerActor` for this installation."""
    return RetrainPlan(
        settings=tree.retraining,
        jobs_url=jobs_url,
        working_dir=str(ROOT),
        records=str(tree.paths.under("retraining.json")),
        registry=str(tree.paths.under("models")),
        artifacts=str(tree.paths.under("artifacts")),
        redis_url=redis_url,
        prefix=tree.redis.prefix,
        environment=variables_of(tree),
        kinds=installed_kinds(),
    )


def variables_of(tree: Config) -> dict[str, str]:
    """The settings in which a session differs from its mode's files, as variables for its jobs;
    secrets stay behind, an address of MLflow with a password too (MLFLOW_TRACKING_URI where the
    jobs run)."""
    plain = load({"mode": tree.mode}, environment={}, dotenv=Path(os.devnull)).tree
    mine, usual = tree.model_dump(mode="json"), plain.model_dump(mode="json")
    out = {"mode": tree.mode, "paths.var_dir": str(tree.paths.under())}
    for key, field in leaves(Config):
        if key.partition(".")[0] in _NOT_THEIRS or is_secret(field) or key in out:
            continue
        value = _at(mine, key)
        if value != _at(usual, key):
            out[key] = value if isinstance(value, str) else json.dumps(value)
    if tree.registry.public_uri:
        out["registry.mlflow"] = tree.registry.public_uri
    return {ENV_PREFIX + key.replace(".", "__").upper(): text for key, text in out.items()}


def installed_kinds() -> tuple[str, ...]:
    """The families of models that are there."""
    from foreshock.models.family import FAMILIES

    return tuple(sorted(FAMILIES))


def _at(tree: Mapping[str, Any], key: str) -> Any:
    value: Any = tree
    for name in key.split("."):
        value = value[name]
    return value
