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
from fnmatch import fnmatchcase
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.console import Console

from cluster.options import Files, Json, ModeOption, Set, read_config
from cluster.output import Answer, PartMissingError, answer
from cluster.session import Say, polite_end, sayer
from foreshock.errors import DatasetError, ForeshockError

if TYPE_CHECKING:
    from foreshock.settings import Config

MODULE: Final = "pipelines.tune_models"
MANIFEST: Final = "manifest.json"
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
    json: Json = False,
    mode: ModeOption = None,
    config: Files = None,
    given: Set = None,
) -> None:
    """Train on a dataset and register the model; it becomes champion where it passes its judges."""

    def work() -> Answer:
        tree = read_config(mode, config, given).tree
        say = sayer()
        directory = dataset_for(tree, say) if dataset is None else checked(dataset)
        say(f"training on {directory}")
        registry = tree.paths.under("models")
        with polite_end(), tempfile.TemporaryDirectory(prefix="foreshock-") as place:
            words = arguments(directory, Path(place) / "artifact", registry, trials, no_ray)
            if submit is None:
                report = run_here(words, tree)
            else:
                report = run_there(submit, words, tree, say)
        report.pop("artifact", None)  # the registry has its copy
        document = {"dataset": str(directory), "registry": str(registry), **report}

        def show(console: Console) -> None:
            word = "promoted" if report["promoted"] else "kept, not promoted"
            console.print(
                f"{report['name']} {report['version']}: {word}: {report['reason']}",
                markup=False,
                soft_wrap=True,
            )

        return Answer(document, show)

    answer(work, json)


def checked(dataset: Path) -> Path:
    """`dataset`, absolute. Raises DatasetError where none lies there."""
    if not (dataset / MANIFEST).is_file():
        raise DatasetError(f"{dataset} is no dataset: it has no {MANIFEST}")
    return dataset.absolute()


def dataset_for(tree: Config, say: Say) -> Path:
    """The newest dataset that fits the settings; in mode demo it is made where there is none.
    Raises PartMissingError in the other modes."""
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


def newest_dataset(tree: Config) -> Path | None:
    """The dataset made last, among those of the mode's source with the features and the surge
    definition of the settings."""
    from foreshock.features import catalog

    whole = {spec.name: spec.digest for spec in catalog.layout(tree.features)}
    needed = [n for n in whole if any(fnmatchcase(n, p) for p in tree.training.features)]
    source = "simulation" if tree.mode == "demo" else "binance"
    fitting = []
    for path in tree.paths.under("datasets").glob(f"[!.]*/{MANIFEST}"):
        try:
            told = json_text.loads(path.read_text())["manifest"]
            digests = told["feature_digests"]
            fits = told["label_fingerprint"] == tree.label_settings().fingerprint
            fits = fits and told["domain"]["source"] == source
            fits = fits and all(digests.get(name) == whole[name] for name in needed)
        except (OSError, ValueError, KeyError, TypeError):
            continue  # half a dataset, or something else: not one to choose unasked
        if fits:
            fitting.append((path.stat().st_mtime_ns, path.parent))
    return max(fitting)[1] if fitting else None


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
    """The mode and the training settings as variables, wherever they were set."""
    from foreshock.config import ENV_PREFIX, leaves
    from foreshock.settings import Config

    values = {
        key: _as_text(reduce(getattr, key.split("."), tree))
        for key, _ in leaves(Config)
        if key == "mode" or key.startswith("training.")
    }
    return {ENV_PREFIX + key.replace(".", "__").upper(): text for key, text in values.items()}


def _as_text(value: Any) -> str:
    return json_text.dumps(value) if isinstance(value, tuple) else str(value)


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
