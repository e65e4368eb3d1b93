"""Train the models of one dataset: sweep, fit, calibrate, certify, judge, register.

    python -m pipelines.tune_models --dataset DIR --out DIR [--registry DIR] [--trials N] [--json]
    ray job submit --working-dir . -- python -m pipelines.tune_models --dataset … --out …

The sweep sees nothing of the last part of the time, on which the final model is judged once. A
model that does not pass is saved and registered all the same, with `promoted: false` and the
reason; only one that passes becomes `champion`. Exit codes: 0 done (promoted or not), 1 refused,
2 wrong use.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from foreshock.errors import ForeshockError
from foreshock.models.artifact import save
from foreshock.models.boosted import BoostedSettings
from foreshock.models.dataset import TrainingSet
from foreshock.settings import load
from foreshock.stores.registry import CHAMPION, DirectoryRegistry, Registry
from foreshock.validation.walk_forward import sweep_rows, walk_forward
from pipelines.datasets import read_dataset
from pipelines.sweep import (
    Trials,
    best,
    candidates,
    ray_session,
    sweep_in_process,
    sweep_on_ray,
)
from pipelines.training import TrainingSettings, fit_final, mean_skill


def tune(
    data: TrainingSet,
    out: Path,
    *,
    settings: TrainingSettings,
    base: BoostedSettings,
    trials: int,
    seed: int,
    use_ray: bool = True,
    max_concurrent: int = 1,
    registry: Registry | None = None,
) -> dict[str, Any]:
    """Train on `data`, save the artifact directory `out`, and return a JSON-ready report.

    The same data, settings and build give the same bytes, on Ray or not. Raises DatasetError on
    data that must not be trained on, CertificateError where the export failed its proof.
    """
    started = time.perf_counter()
    data = data.check().in_order()
    seen = data.take(sweep_rows(data.t0_ns, data.end_ns, settings.walk))
    folds = walk_forward(seen.t0_ns, seen.end_ns, settings.walk)
    tried = candidates(trials, base, seed)
    results: Trials
    if use_ray:
        with ray_session():
            results = sweep_on_ray(tried, seen, folds, settings, max_concurrent=max_concurrent)
    else:
        results = sweep_in_process(tried, seen, folds, settings)
    chosen = best(tried, results)
    shipped = fit_final(tried[chosen], data, settings, trials)
    save(out, shipped.graph, shipped.card, shipped.certificate)
    if registry is not None:
        registry.register(shipped.card.name, shipped.card.version, out)
        if shipped.card.promoted:
            registry.point(shipped.card.name, CHAMPION, shipped.card.version)
    card = shipped.card
    return {
        "name": card.name,
        "version": card.version,
        "artifact": str(out),
        "promoted": card.promoted,
        "reason": card.reason,
        "horizons_s": list(card.horizons_s),
        "approved": list(card.approved),
        "thresholds": list(card.thresholds),
        "metrics": card.metrics,
        "trials": [
            {"settings": p.model_dump(mode="json"), "skill": _number(mean_skill(cells))}
            for p, cells in zip(tried, results, strict=True)
        ],
        "chosen": chosen,
        "rows": len(data),
        "ray": use_ray,
        "seconds": round(time.perf_counter() - started, 3),
    }


def _number(value: float) -> float | None:
    return value if value == value else None


def _arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.tune_models", description="Train the models of one dataset."
    )
    parser.add_argument("--dataset", type=Path, required=True, help="directory of a training set")
    parser.add_argument("--out", type=Path, required=True, help="artifact directory to write")
    parser.add_argument("--registry", type=Path, help="directory of models to register it in")
    parser.add_argument(
        "--config", type=Path, action="append", default=[], help="YAML laid over the defaults"
    )
    parser.add_argument("--trials", type=int, help="settings to try (training.trials)")
    parser.add_argument("--no-ray", action="store_true", help="sweep in this process")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    arguments = parser.parse_args(given)
    if arguments.trials is not None and arguments.trials < 1:
        parser.error(f"--trials must be at least 1, got {arguments.trials}")
    return arguments


def main(given: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    arguments = _arguments(given)
    try:
        training = load(files=arguments.config).tree.training
        settings = TrainingSettings(walk=training.walk_forward)
        report = tune(
            read_dataset(arguments.dataset).with_features(training.features),
            arguments.out,
            settings=settings,
            base=BoostedSettings(seed=training.seed),
            trials=arguments.trials or training.trials,
            seed=training.seed,
            use_ray=not arguments.no_ray,
            max_concurrent=training.max_concurrent,
            registry=None if arguments.registry is None else DirectoryRegistry(arguments.registry),
        )
    except ForeshockError as error:
        refusal = {"error": type(error).__name__, "message": str(error)}
        print(f"{refusal['error']}: {refusal['message']}", file=sys.stderr)
        if arguments.json:
            print(json.dumps(refusal))
        return 1
    if arguments.json:
        print(json.dumps(report))
    else:
        word = "promoted" if report["promoted"] else "kept, not promoted"
        print(f"{report['name']} {report['version']}: {word}: {report['reason']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
