"""Train the models of one dataset: sweep, fit, calibrate, certify, judge, register.

    python -m pipelines.tune_models [--config configs/train.yaml] [--dataset DIR] [--out DIR]
                                    [--registry DIR] [--trials N] [--resume] [--plan] [--json]
    ray job submit --working-dir . -- python -m pipelines.tune_models --config configs/train.yaml

Without --dataset the newest one that fits the settings is taken. The sweep sees nothing of the last
part of the time, on which each final model is judged once. A model that does not pass is saved and
registered all the same, with `promoted: false` and the reason; only one that passes becomes
`champion`. What is finished is written to a journal as it comes; --resume goes on from it. Exit
codes: 0 done (promoted or not), 1 refused, 2 wrong use.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel
from rich.console import Console

from foreshock.errors import ConfigError, DatasetError, ForeshockError, ModelError
from foreshock.models.dataset import TrainingSet
from foreshock.settings import Config, Training, load
from foreshock.stores.registry import Registry, open_registry
from foreshock.stores.registry_runs import Run
from foreshock.stores.trials import TrialStore
from foreshock.validation.search import SearchSettings
from foreshock.validation.walk_forward import (
    Fold,
    WalkForwardSettings,
    final_fold,
    sweep_rows,
    walk_forward,
)
from pipelines.dataset_find import dataset_or_refuse
from pipelines.datasets import read_dataset
from pipelines.fold_checks import check_classes
from pipelines.run_journal import fingerprint_of, journal
from pipelines.shipping import Final, refused, ship, shipped_scopes, told_scope, told_trial, winners
from pipelines.sweep import (
    Job,
    Outcome,
    ScopeResult,
    Sweep,
    Tell,
    Unit,
    plan_sweep,
    ray_session,
    sweep_in_process,
)
from pipelines.sweep_progress import progress
from pipelines.training import TrainingSettings
from pipelines.training_plan import plan_of, table_of


def tune(
    data: TrainingSet,
    out: Path,
    *,
    settings: TrainingSettings,
    base: BaseModel,
    trials: int,
    seed: int,
    use_ray: bool = True,
    max_concurrent: int = 0,
    registry: Registry | None = None,
    ledger: TrialStore | None = None,
    search: SearchSettings | None = None,
    runs: Path | None = None,
    resume: bool = False,
    show: bool = False,
    plots: bool = False,
) -> dict[str, Any]:
    """Train on `data`, save the artifact directory `out`, and return a JSON-ready report.

    trials          tried in each scope, the base recipe included; baselines come on top
    max_concurrent  workers at most, 0 as many as there are cores; changes no result
    ledger          of trials: those of earlier runs count too, and these are written to it
    search          space, batches, halving and scopes; by default one model pooled over all symbols
    runs            directory of journals; with `resume` a sweep that was begun there goes on
    show            a live table on stderr, where that is a terminal
    plots           the record in the registry has pictures

    The model of another scope than the first is saved beside `out`, as OUT@SCOPE. The same data,
    settings and build give the same bytes, on Ray or not, with any number of workers. Raises
    DatasetError on data that must not be trained on, CertificateError where the export failed its
    proof, StoreError where the journal is another's.
    """
    started, began_ns = time.perf_counter(), time.time_ns()
    search = SearchSettings() if search is None else search
    data = in_order(data.check())
    last = final_fold(data.t0_ns, data.end_ns, settings.walk)
    check_classes(data, last.parts, settings.calibration.min_clusters)  # before hours of fits
    seen, folds = sweep_part(data, last, settings.walk)
    listeners: list[Tell] = []

    def tell(unit: Unit, recipe: BaseModel, outcome: Outcome, *, known: bool) -> None:
        for listener in listeners:
            listener(unit, recipe, outcome, known=known)

    with ExitStack() as stack:
        known = None
        if runs is not None:
            of = {
                "data": data.fingerprint,
                "settings": settings.model_dump(mode="json"),
                "base": base.model_dump(mode="json"),
                "search": search.model_dump(mode="json"),
                "trials": trials,
                "seed": seed,
            }
            name = fingerprint_of(**of)
            path = runs / f"{name}.jsonl"
            writer, known = stack.enter_context(journal(path, name, of, resume=resume))
            listeners.append(writer)
        baselines = [recipe_of({"kind": kind}) for kind in search.baselines]
        sweep = plan_sweep(seen, folds, base, baselines, trials, search, seed, known, tell)
        table = stack.enter_context(progress(sweep, show))
        listeners.append(table)
        job = Job.of(seen, folds, list(sweep.scopes.values()), settings)
        found = run(sweep, job, use_ray=use_ray, max_concurrent=max_concurrent)
    window = (job.windows_ns[0][0], int(data.end_ns[last.test].max()) + 1)
    final = Final(
        data, last, settings, found, len(folds), window, ledger, registry, began_ns, plots
    )
    models = []
    shipped = shipped_scopes(found, data.symbols)
    for place, (result, trial) in enumerate(shipped):
        beside = out.parent / f"{out.name}@{result.scope.name.replace(':', '-')}"
        try:
            models.append(ship(result, trial, final, beside if place else out))
        except DatasetError as error:  # of a narrow scope: too few rows to judge it by itself
            if not place:
                raise
            models.append(refused(result, error))
    first = shipped[0][0]
    return {
        **models[0],
        "trials": [told_trial(trial) for trial in first.trials],
        "chosen": first.chosen,
        "scopes": [told_scope(result, data.symbols) for result in found],
        "winners": winners(found, data.symbols),
        "models": models,
        "folds": len(folds),
        "rows": len(data),
        "ray": use_ray,
        "fits_made": table.made,
        "fits_known": table.known,
        "seconds": round(time.perf_counter() - started, 3),
    }


def in_order(data: TrainingSet) -> TrainingSet:
    """The rows by (t0, symbol); not copied where they are so already."""
    step, symbol = np.diff(data.t0_ns), np.diff(data.symbol)
    ordered = bool(((step > 0) | ((step == 0) & (symbol > 0))).all())
    return data if ordered else data.in_order()


def sweep_part(
    data: TrainingSet, last: Fold, walk: WalkForwardSettings
) -> tuple[TrainingSet, list[Fold]]:
    """All before the judge's test part, as a view, and the folds of the sweep in it, whose rows
    keep their distance from that part. `data` in order of time."""
    rows = sweep_rows(data.t0_ns, data.end_ns, walk)
    before = int(np.searchsorted(data.t0_ns, data.t0_ns[last.test].min()))
    cut: dict[str, Any] = {name: array[:before] for name, array in data.arrays().items()}
    made = walk_forward(data.t0_ns[rows], data.end_ns[rows], walk)
    folds = [
        Fold(**{name: rows[part] for name, part in fold.parts.items()}, purged=fold.purged)
        for fold in made
    ]
    return replace(data, **cut), folds


def run(sweep: Sweep, job: Job, *, use_ray: bool, max_concurrent: int) -> list[ScopeResult]:
    """Run a sweep, here or on Ray."""
    if not use_ray:
        return sweep_in_process(sweep, job)
    from pipelines.sweep_ray import sweep_on_ray

    with ray_session():
        return sweep_on_ray(sweep, job, max_concurrent=max_concurrent)


def recipe_of(given: dict[str, Any]) -> BaseModel:
    """The recipe of a kind of model."""
    from foreshock.models import family

    recipe: BaseModel = family.recipe_of(given)
    return recipe


def base_of(training: Training) -> BaseModel:
    """The recipe that the sweep starts from, with the sweep's seed where the kind draws anything.
    Raises ConfigError on an unknown kind or field."""
    from foreshock.models.family import FAMILIES

    given = {"kind": "boosted", **training.recipe}
    kind = given["kind"]
    if kind in FAMILIES and "seed" in FAMILIES[kind].settings.model_fields:
        given = {"seed": training.seed, **given}
    try:
        return recipe_of(given)
    except ModelError as error:
        raise ConfigError(f"training.recipe: {error}") from error


def settings_of(tree: Config) -> TrainingSettings:
    """How models are made and judged, from the tree."""
    training = tree.training
    return TrainingSettings(
        walk=training.walk_forward,
        calibration=training.calibration,
        rule=training.rule,
        promotion=training.promotion,
        outlook=training.outlook,
        certificate_rows=training.certificate_rows,
        max_age_s=tree.retraining.max_age_s,
    )


def tune_configured(
    tree: Config, dataset: Path, out: Path, *, registry: Registry | None = None,
    trials: int | None = None, use_ray: bool = True, resume: bool = False, show: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """`tune` a dataset by the settings `training` of the tree. A training that is refused leaves a
    run with its reason in the registry."""
    training, began_ns = tree.training, time.time_ns()
    try:
        return _tune_configured(tree, dataset, out, registry, trials, use_ray, resume, show)
    except ForeshockError as error:
        if registry is not None:
            registry.log_run(
                Run(
                    name=dataset.name,
                    started_ns=began_ns,
                    ended_ns=time.time_ns(),
                    state="failed",
                    params={"training": training.model_dump(mode="json")},
                    tags={"reason": f"{type(error).__name__}: {error}"},
                )
            )
        raise


def _tune_configured(
    tree: Config, dataset: Path, out: Path, registry: Registry | None, trials: int | None,
    use_ray: bool, resume: bool, show: bool,
) -> dict[str, Any]:  # fmt: skip
    training, base = tree.training, base_of(tree.training)
    data = read_dataset(dataset, training.symbols or None).with_features(training.features)
    return tune(
        data,
        out,
        settings=settings_of(tree),
        base=base,
        trials=trials or training.trials,
        seed=training.seed,
        use_ray=use_ray,
        max_concurrent=training.max_concurrent,
        registry=registry,
        ledger=TrialStore(tree.paths.under("trials.jsonl")),
        search=training.search,
        runs=tree.paths.under("runs"),
        resume=resume,
        show=show,
        plots=training.plots,
    )


def _arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.tune_models", description="Train the models of one dataset."
    )
    parser.add_argument(
        "--dataset", type=Path, help="a training set; default: the newest that fits"
    )
    parser.add_argument("--out", type=Path, help="artifact directory to write")
    parser.add_argument("--registry", type=Path, help="directory of models (default VAR/models)")
    parser.add_argument(
        "--config", type=Path, action="append", default=[], help="YAML laid over the defaults"
    )
    parser.add_argument("--trials", type=int, help="settings to try (training.trials)")
    parser.add_argument("--no-ray", action="store_true", help="sweep in this process")
    parser.add_argument("--resume", action="store_true", help="go on with a sweep that was killed")
    parser.add_argument("--plan", action="store_true", help="only say what it would take")
    parser.add_argument("--symbols", type=int, help="with --plan: for so many symbols like these")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    arguments = parser.parse_args(given)
    if arguments.trials is not None and arguments.trials < 1:
        parser.error(f"--trials must be at least 1, got {arguments.trials}")
    return arguments


def _registry(root: Path, tree: Config) -> Registry:
    """Without a ledger, whose address a job may not know: the audit log is told by `foreshock
    train` or by whoever serves."""
    mlflow = tree.registry.mlflow
    return open_registry(root, "" if mlflow is None else mlflow.get_secret_value())


def _show_plan(plan: dict[str, Any], as_json: bool) -> int:
    print(json.dumps(plan)) if as_json else Console().print(table_of(plan))
    return 0 if plan["fits"] else 1


def main(given: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    arguments = _arguments(given)
    try:
        tree = load(files=arguments.config).tree
        dataset = arguments.dataset or dataset_or_refuse(tree)
        if arguments.plan:
            return _show_plan(
                plan_of(tree, dataset, arguments.trials, arguments.symbols), arguments.json
            )
        out, registry = arguments.out, arguments.registry
        if out is None:
            stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
            out = tree.paths.under("artifacts", f"{dataset.name}-{stamp}")
            registry = registry or tree.paths.under("models")
        report = tune_configured(
            tree,
            dataset,
            out,
            registry=None if registry is None else _registry(registry, tree),
            trials=arguments.trials,
            use_ray=not arguments.no_ray,
            resume=arguments.resume,
            show=True,
        )
    except ForeshockError as error:
        refusal = {"error": type(error).__name__, "message": str(error)}
        if arguments.json:
            print(json.dumps(refusal))
        else:
            print(f"{refusal['error']}: {refusal['message']}", file=sys.stderr)
        return 1
    if arguments.json:
        print(json.dumps(report))
    else:
        for model in report["models"]:
            word = "promoted" if model["promoted"] else "kept, not promoted"
            name = f"{model['name']} {model['version']}" if "name" in model else model["scope"]
            print(f"{name}: {word}: {model['reason']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
