"""MLflow's copy of the registry: runs, model versions, aliases, for people and other machines.

`record` makes MLflow like the directory, whatever it had before: it looks what is there, adds what
is missing and moves aliases. So it may be killed anywhere and simply be called again. For the same
reason MLflow's client repeats no request: a request whose answer was lost may have been obeyed, and
a repeated one would make a second run; another look tells (0084-look-again.md of the decisions).
MLflow is imported here and only when there is something to do: that takes three seconds of a core.

Without an address it is a SQLite file and a directory of artifacts in the registry's own root. The
schema of that file is made beside it and renamed, since MLflow cannot finish one that it began.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import re
import shutil
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from foreshock.errors import StoreError
from foreshock.stores.registry_runs import FILES, flat, read_runs

if TYPE_CHECKING:
    from foreshock.stores.registry import DirectoryRegistry

EXPERIMENT: Final = "foreshock"
RUN_TAG, VERSION_TAG, DONE_TAG = "foreshock.run", "foreshock.version", "foreshock.complete"
_LOCAL, _ARTIFACTS, _STATE = "mlflow.sqlite", "mlflow-artifacts", "mlflow.json"
# Where MLflow's own limits are lower than what we have to say.
_PARAM_CHARS, _TAG_CHARS, _BATCH = 6_000, 5_000, 100
_LOOKS, _PAUSE_S = 2, 1.0  # what another process made meanwhile is found by the second look
_CARD_TAGS = ("verdict", "kind", "scope", "data_fingerprint", "code_version", "cost_version")
_LOG = logging.getLogger(__name__)


def local_uri(root: Path) -> str:
    """The address of the SQLite file in a registry's root."""
    return f"sqlite:///{(root / _LOCAL).resolve()}"


def record(registry: DirectoryRegistry, tracking_uri: str = "") -> dict[str, int]:
    """Make MLflow like the registry: {"runs", "versions", "aliases"} that were new there. Where
    nothing changed since the last time, MLflow is not even imported. Raises StoreError."""
    root = registry.root
    if not root.is_dir():
        return {"runs": 0, "versions": 0, "aliases": 0}
    uri = tracking_uri or local_uri(root)
    with _alone(root / ".mlflow.lock"):
        state = {"uri": hashlib.sha256(uri.encode()).hexdigest(), "registry": _digest(root)}
        if _state(root) == state:
            return {"runs": 0, "versions": 0, "aliases": 0}
        told = _told(registry, uri, root)
        temporary = root / f".{_STATE}.unfinished"
        temporary.write_text(json.dumps(state) + "\n")
        temporary.replace(root / _STATE)
    return told


def _told(registry: DirectoryRegistry, uri: str, root: Path) -> dict[str, int]:
    """What was new there. Raises StoreError, without the address's password."""
    for look in range(1, _LOOKS + 1):
        try:
            with _quiet():
                return _Recorder(registry, uri, root).all()
        except StoreError:
            raise
        except Exception as error:  # MLflow, SQLAlchemy, requests and urllib3 have a tree each
            if look == _LOOKS:
                words = f"MLflow at {uri} was not brought up to date: {error}"
                raise StoreError(_shown(words)) from None  # their words have the address, too
        time.sleep(_PAUSE_S)
    raise AssertionError


def client_of(uri: str) -> Any:
    """An MLflow client that tells nobody of its use, prints nothing, and neither waits for minutes
    nor sends a request twice."""
    for name, value in (
        ("MLFLOW_DISABLE_TELEMETRY", "true"),
        ("DO_NOT_TRACK", "true"),
        ("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true"),  # where verbs print a document
        ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0"),
        ("MLFLOW_HTTP_REQUEST_TIMEOUT", "20"),
    ):
        os.environ.setdefault(name, value)
    from mlflow.tracking import MlflowClient

    for name in ("mlflow", "alembic"):  # a line for each step of the schema
        logging.getLogger(name).setLevel(logging.WARNING)
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def model_name(name: str) -> str:
    """A model's name as MLflow takes it: no colon and no slash."""
    return re.sub(r"[:/]", "-", name)


class _Recorder:
    """One pass. Names of our side are registry names, `model_name`s on MLflow's."""

    def __init__(self, registry: DirectoryRegistry, uri: str, root: Path) -> None:
        self._registry, self._root = registry, root
        local = uri == local_uri(root)
        if local:
            _make_schema(root)
        self._client = client_of(uri)
        found = self._client.get_experiment_by_name(EXPERIMENT)
        where = (root / _ARTIFACTS).resolve().as_uri() if local else None
        self._experiment = (
            self._client.create_experiment(EXPERIMENT, artifact_location=where)
            if found is None
            else found.experiment_id
        )

    def all(self) -> dict[str, int]:
        """Runs first: versions refer to them."""
        made, runs = self._runs()
        versions, numbers = self._versions(made)
        return {"runs": runs, "versions": versions, "aliases": self._aliases(numbers)}

    def _runs(self) -> tuple[dict[tuple[str, str], str], int]:
        """({(name, version): MLflow's id of the run that made it}, how many runs were new)."""
        known: dict[str, Any] = {}
        for run in self._search_runs():  # one that is complete counts, should there be two
            tag = run.data.tags.get(RUN_TAG, "")
            if tag not in known or DONE_TAG in run.data.tags:
                known[tag] = run
        made: dict[tuple[str, str], str] = {}
        new = 0
        for ours, document in read_runs(self._root / "runs").items():
            run = known.get(ours)
            if run is None or DONE_TAG not in run.data.tags:
                run_id = self._write_run(ours, document, None if run is None else run.info.run_id)
                new += 1
            else:
                run_id = run.info.run_id
            made.update({(name, version): run_id for name, version in document["models"]})
        for tag, run in known.items():  # of versions that were registered without a run
            if tag.startswith("model:"):
                name, _, version = tag.removeprefix("model:").rpartition(":")
                made.setdefault((name, version), run.info.run_id)
        return made, new

    def _write_run(self, ours: str, document: Mapping[str, Any], run_id: str | None) -> str:
        from mlflow.entities import Metric, Param, RunTag

        if run_id is None:
            run_id = self._create_run(ours, document["name"], document["started_ns"])
        at_ms = document["ended_ns"] // 1_000_000
        params = [Param(_key(n), v[:_PARAM_CHARS]) for n, v in flat(document["params"]).items()]
        metrics = [Metric(_key(n), v, at_ms, 0) for n, v in document["metrics"].items()]
        tags = [RunTag(_key(n), v[:_TAG_CHARS]) for n, v in document["tags"].items()]
        self._client.log_batch(run_id, tags=tags)
        for begin in range(0, max(len(params), len(metrics)), _BATCH):
            part = slice(begin, begin + _BATCH)
            self._client.log_batch(run_id, metrics=metrics[part], params=params[part])
        files = self._root / "runs" / ours / FILES
        if files.is_dir():
            self._client.log_artifacts(run_id, str(files))
        state = "FINISHED" if document["state"] == "finished" else "FAILED"
        self._client.set_terminated(run_id, status=state, end_time=at_ms)
        self._client.set_tag(run_id, DONE_TAG, "true")
        return run_id

    def _create_run(self, tag: str, name: str, started_ns: int) -> str:
        run = self._client.create_run(
            self._experiment,
            start_time=started_ns // 1_000_000,
            tags={RUN_TAG: tag},
            run_name=name,
        )
        return str(run.info.run_id)

    def _versions(self, made: dict[tuple[str, str], str]) -> tuple[int, dict[tuple[str, str], str]]:
        """(how many were new, {(name, version): MLflow's number})."""
        every = self._pages(self._client.search_model_versions)
        numbers = {  # the first counts, should there be two: an alias must not go to and fro
            (found.name, found.tags[VERSION_TAG]): str(found.version)
            for found in sorted(every, key=lambda each: -int(each.version))
            if VERSION_TAG in found.tags
        }
        models = {model.name for model in self._pages(self._client.search_registered_models)}
        new = 0
        for name in self._registry.names():
            theirs = model_name(name)
            if theirs not in models:
                self._client.create_registered_model(theirs, tags={"foreshock.name": name})
            for version in self._registry.versions(name):
                if (theirs, version) in numbers:
                    continue
                numbers[theirs, version] = self._write_version(name, version, made)
                new += 1
        return new, numbers

    def _write_version(self, name: str, version: str, made: dict[tuple[str, str], str]) -> str:
        card = self._registry.card(name, version)
        run_id = made.get((name, version))
        if run_id is None:  # MLflow keeps files with runs only
            at_ns = self._registry.registered_ns(name, version) or 0
            run_id = self._create_run(f"model:{name}:{version}", f"{name} {version}", at_ns)
            self._client.set_terminated(run_id, end_time=at_ns // 1_000_000)
            made[name, version] = run_id
        place = self._registry.find(name, version)
        assert place is not None
        folder = f"model/{model_name(name)}"
        self._client.log_artifacts(run_id, str(place), folder)
        source = f"{self._client.get_run(run_id).info.artifact_uri}/{folder}"
        found = self._client.create_model_version(
            model_name(name),
            source=source,
            run_id=run_id,
            tags={
                VERSION_TAG: version,
                **{word: str(card[word]) for word in _CARD_TAGS if card.get(word)},
            },
            description=str(card.get("reason", ""))[:_TAG_CHARS],
        )
        return str(found.version)

    def _aliases(self, numbers: Mapping[tuple[str, str], str]) -> int:
        theirs = {
            model.name: {alias: str(number) for alias, number in model.aliases.items()}
            for model in self._pages(self._client.search_registered_models)
        }
        moved = 0
        for name in self._registry.names():
            known = theirs.get(model_name(name), {})
            ours = self._registry.aliases(name)
            for alias, version in ours.items():
                number = numbers[model_name(name), version]
                if known.get(alias) != number:
                    self._tell_change(name, version, number)  # first: the alias says it is told
                    self._client.set_registered_model_alias(model_name(name), alias, number)
                    moved += 1
            for alias in known.keys() - ours.keys():
                self._client.delete_registered_model_alias(model_name(name), alias)
                moved += 1
        return moved

    def _tell_change(self, name: str, version: str, number: str) -> None:
        """Who moved the alias last and why, beside the version."""
        last = next((c for c in self._registry.history(name)[::-1] if c.version == version), None)
        if last is not None:
            when = datetime.fromtimestamp(last.at_ns / 1e9, UTC).isoformat(timespec="seconds")
            words = f"{when} {last.actor}: {last.action} {last.alias}: {last.reason}"
            self._client.set_model_version_tag(
                model_name(name), number, f"foreshock.{last.alias}", words[:_TAG_CHARS]
            )

    def _search_runs(self) -> Iterator[Any]:
        token = None
        while True:
            page = self._client.search_runs([self._experiment], max_results=1_000, page_token=token)
            yield from page
            token = page.token
            if not token:
                return

    def _pages(self, search: Any) -> list[Any]:
        out, token = [], None
        while True:
            page = search(page_token=token)
            out += list(page)
            token = page.token
            if not token:
                return out


def _make_schema(root: Path) -> None:
    """The SQLite file with MLflow's tables, where there is none: MLflow brings the schema up in
    many steps and cannot go on with one that was left in the midst."""
    place = root / _LOCAL
    if place.exists():
        return
    folder = root / ".mlflow-unfinished"
    shutil.rmtree(folder, ignore_errors=True)  # we are alone: it is a dead process's
    folder.mkdir(parents=True)
    client_of(f"sqlite:///{(folder / _LOCAL).resolve()}").search_experiments(max_results=1)
    (folder / _LOCAL).replace(place)
    shutil.rmtree(folder, ignore_errors=True)


def _key(name: str) -> str:
    """A name as MLflow takes it: word characters, dashes, dots, spaces, colons and slashes."""
    return re.sub(r"[^\w\-. :/]", "_", name)[:250]


def _digest(root: Path) -> str:
    """Of what is to be recorded: the index, and which runs there are."""
    index = root / "registry.json"
    digest = hashlib.sha256(index.read_bytes() if index.exists() else b"")
    runs = sorted(path.parent.name for path in (root / "runs").glob("[!.]*/run.json"))
    digest.update(json.dumps(runs).encode())
    return digest.hexdigest()


def _state(root: Path) -> dict[str, Any] | None:
    try:
        state: dict[str, Any] = json.loads((root / _STATE).read_bytes())
    except (OSError, ValueError):
        return None
    return state


def _shown(words: str) -> str:
    """Without the passwords of addresses."""
    return re.sub(r"//[^/@\s]*@", "//", words)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def _quiet() -> Iterator[None]:
    """MLflow 3.17 under SQLAlchemy 2.1 warns of its own ways."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
