"""`foreshock train`: train, judge and register the models of a dataset, here or on a cluster."""

from __future__ import annotations

import json as json_text
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.console import Console

from cluster.options import Files, Json, ModeOption, Set, read_config
from cluster.output import Answer, PartMissingError, answer
from cluster.session import Say, polite_end, sayer
from foreshock.errors import DatasetError, ForeshockError, StoreError

if TYPE_CHECKING:
    from foreshock.config import Loaded
    from foreshock.settings import Config

MODULE: Final = "pipelines.tune_models"
END_WAIT_S: Final = 30.0
LOOK_EVERY_S: Final = 1.0
TAIL: Final = 20


def train(
    dataset: Annotated[
        Path | None, typer.Option("--dataset", metavar="DIR", help="Default: the newest that fits.")
    ] = None,
    trials: Annotated[
        int | None, typer.Option("--trials", min=1, help="Settings to try (training.trials).")
    ] = None,
    submit: Annotated[
        str | None,
        typer.Option("--submit", metavar="URL", help="As a job of the Ray dashboard there."),
    ] = None,
    no_ray: Annotated[bool, typer.Option("--no-ray", help="Sweep in one process.")] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a sweep that was killed.")
    ] = False,
    plan: Annotated[
        bool, typer.Option("--plan", help="Only say what it would do, and with how much memory.")
    ] = False,
    symbols: Annotated[
        int | None, typer.Option("--symbols", min=1, help="With --plan: so many like these.")
    ] = None,
    json: Json = False,
    mode: ModeOption = None,
    config: Files = None,
    given: Set = None,
) -> None:
    """Train on a dataset and register the model; it becomes champion where it passes its judges."""

    def work() -> Answer:
        loaded = read_config(mode, config, given)
        tree = loaded.tree
        say = sayer()
        directory = dataset_for(tree, say) if dataset is None else checked(dataset, loaded)
        if plan:
            return planned(tree, directory, trials, symbols)
        registry = tree.paths.under("models")
        if submit is None:
            ready_to_keep(tree, registry)
        say(f"training on {directory}")
        with polite_end(), tempfile.TemporaryDirectory(prefix="foreshock-") as place:
            words = arguments(directory, Path(place) / "artifact", registry, trials, no_ray)
            words += ["--resume"] if resume else []
            if submit is None:
                report = run_here(words, tree)
            else:
                report = run_there(submit, words, tree, say)
        report.pop("artifact", None)  # the registry has its copy
        tell_audit_log(tree, say)
        document = {"dataset": str(directory), "registry": str(registry), **report}

        def show(console: Console) -> None:
            for model in report.get("models", [report]):
                word = "promoted" if model["promoted"] else "kept, not promoted"
                name = f"{model['name']} {model['version']}" if "name" in model else model["scope"]
                console.print(
                    f"{name}: {word}: {model['reason']}",
                    markup=False,
                    soft_wrap=True,
                )

        return Answer(document, show)

    answer(work, json)


def planned(tree: Config, dataset: Path, trials: int | None, symbols: int | None) -> Answer:
    """What training on `dataset` would take; nothing is read but its manifest."""
    from pipelines.training_plan import plan_of, table_of

    plan = plan_of(tree, dataset, trials, symbols)
    return Answer(plan, lambda console: console.print(table_of(plan)), passed=plan["fits"])


def checked(dataset: Path, loaded: Loaded[Config]) -> Path:
    """`dataset`, absolute. Raises DatasetError where none lies there, where its manifest tells not
    what it should, and where it lacks a horizon that a flag asks for."""
    from pipelines.datasets import MANIFEST, read_manifest

    if not (dataset / MANIFEST).is_file():
        raise DatasetError(f"{dataset} is no dataset: it has no {MANIFEST}")
    horizons_s = read_manifest(dataset)["manifest"]["horizons_s"]
    source, asked = loaded.provenance["labels.horizons_s"], loaded.tree.labels.horizons_s
    absent = [horizon for horizon in asked if horizon not in horizons_s]
    if source.startswith("flag ") and absent:
        raise DatasetError(f"{dataset} has horizons of {horizons_s} s, not of {absent} ({source})")
    return dataset.absolute()


def ready_to_keep(tree: Config, registry: Path) -> None:
    """Raises StoreError, before hours of training, where their result could not be kept."""
    from foreshock.stores.trials import TrialStore

    for place in (registry, tree.paths.under("runs")):
        try:
            place.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=place):
                pass
        except OSError as error:
            raise StoreError(f"nothing can be kept in {place}: {error.strerror}") from error
    for _ in TrialStore(tree.paths.under("trials.jsonl")):  # raises where it cannot be read
        break


def tell_audit_log(tree: Config, say: Say) -> None:
    """Of a new champion: the training itself knows no ledger, whose address may be a secret."""
    from cluster.models_find import registry_of

    try:
        registry_of(tree).tell_ledger()
    except StoreError as error:
        say(f"the audit log is told later: {error}")


def dataset_for(tree: Config, say: Say) -> Path:
    """The newest dataset that fits the settings; in mode demo it is made where there is none.
    Raises PartMissingError in the other modes."""
    from pipelines.dataset_find import newest_dataset

    found = newest_dataset(tree)
    if found is not None:
        return found
    if tree.mode == "demo":
        from cluster.first_model import first_dataset

        return first_dataset(tree, say)[0]
    raise PartMissingError(
        f"no dataset of mode {tree.mode} with these horizons, costs and features lies below "
        f"{tree.paths.under('datasets')}: name one with --dataset"
    )


def arguments(
    dataset: Path, out: Path, registry: Path, trials: int | None, no_ray: bool
) -> list[str]:
    """What follows `python` to train."""
    words = ["-m", MODULE, "--json", "--dataset", str(dataset), "--out", str(out)]
    words += ["--registry", str(registry)]
    if trials is not None:
        words += ["--trials", str(trials)]
    return [*words, "--no-ray"] if no_ray else words


def environment(tree: Config) -> dict[str, str]:
    """The mode, the training settings and the place of things as variables, wherever they were
    set."""
    from foreshock.config import ENV_PREFIX, leaves
    from foreshock.settings import Config

    values = {
        key: _as_text(reduce(getattr, key.split("."), tree))
        for key, _ in leaves(Config)
        if key in ("mode", "retraining.max_age_s") or key.startswith("training.")
    }
    values["paths.var_dir"] = str(tree.paths.under())
    if tree.registry.public_uri:
        values["registry.mlflow"] = tree.registry.public_uri
    return {ENV_PREFIX + key.replace(".", "__").upper(): text for key, text in values.items()}


def _as_text(value: Any) -> str:
    if isinstance(value, tuple | dict):
        return json_text.dumps(value, default=lambda part: part.model_dump(mode="json"))
    return str(value)


def run_here(words: list[str], tree: Config) -> dict[str, Any]:
    """Train in a process of its own and return its report. Raises ForeshockError where it fails."""
    from foreshock.settings import ROOT

    variables = {**os.environ, **environment(tree), "RAY_AUTH_MODE": tree.ray.auth_mode}
    # A session of its own, so that Ctrl-C reaches it once, from here, and it ends its Ray.
    process = subprocess.Popen(
        [sys.executable, *words],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=variables,
        start_new_session=True,
    )
    try:
        said, _ = process.communicate()
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(END_WAIT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
    return report_in(said, f"the training ended with {process.returncode}")


def run_there(url: str, words: list[str], tree: Config, say: Say) -> dict[str, Any]:
    """Train as a job of the cluster whose dashboard is at `url`, and return its report. The cluster
    must see the same paths. Raises PartMissingError where nobody answers, ForeshockError where the
    job fails; a job that is waited for no more is stopped."""
    os.environ["RAY_AUTH_MODE"] = tree.ray.auth_mode  # read when Ray is imported
    from ray.job_submission import JobStatus, JobSubmissionClient

    from foreshock.settings import ROOT

    try:
        client = JobSubmissionClient(url)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise PartMissingError(f"no Ray dashboard at {url}: {error}") from error
    # What .rayignore names stays behind: Ray reads it itself.
    job = client.submit_job(
        entrypoint=shlex.join(["python", *words]),
        runtime_env={"working_dir": str(ROOT), "env_vars": environment(tree)},
    )
    say(f"job {job} at {url}")
    status, last = client.get_job_status(job), None
    try:
        while not status.is_terminal():
            if status != last:
                last = status
                say(f"job {job}: {status.value}")
            time.sleep(LOOK_EVERY_S)
            status = client.get_job_status(job)
    except BaseException:
        client.stop_job(job)
        raise
    say(f"job {job}: {status.value}")
    logs = client.get_job_logs(job)
    if status != JobStatus.SUCCEEDED:
        for line in logs.splitlines()[-TAIL:]:
            say(line)
    report = report_in(logs, f"job {job} ended as {status.value}")
    return {"job": job, "status": status.value, **report}


def report_in(said: str, otherwise: str) -> dict[str, Any]:
    """The report of `pipelines.tune_models`: the last line that is a JSON object.

    Raises ForeshockError where it refused, or (`otherwise`) said nothing of the kind."""
    for line in reversed(said.splitlines()):
        if not line.startswith("{"):
            continue
        try:
            report: dict[str, Any] = json_text.loads(line)
        except ValueError:
            continue
        if "error" in report:
            raise ForeshockError(f"{report['error']}: {report.get('message', '')}")
        if "promoted" in report:
            return report
    raise ForeshockError(f"{otherwise} and gave no report")
