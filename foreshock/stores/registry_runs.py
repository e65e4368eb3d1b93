"""The record of a training: what went in, what came out, and everything that was drawn of it.

    RUNS/RUN/run.json       the run without its files
    RUNS/RUN/files/…        card.json, manifest.json, folds.json, report.html, report.json, *.png

Written at once (a temporary name, then a rename) and never changed; MLflow has a copy.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Final

from foreshock.errors import StoreError

DOCUMENT: Final = "run.json"
FILES: Final = "files"


@dataclass(frozen=True, slots=True)
class Run:
    """One training.

    name         what was trained, in a few words: a model's name
    started_ns, ended_ns   by the clock, UTC
    state        finished, or failed with the reason in `tags`
    params       settings, flat or nested, JSON-ready
    metrics      figures; what is not finite is left out
    tags         plain words: code version, data fingerprint, verdict …
    models       (registry name, version) of what it made
    files        contents by relative path: "card.json", "plots/reliability.png" …
    """

    name: str
    started_ns: int
    ended_ns: int
    state: str = "finished"
    params: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    models: tuple[tuple[str, str], ...] = ()
    files: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """16 hex digits over all of it."""
        return hashlib.sha256(_bytes(self.document())).hexdigest()[:16]

    def document(self) -> dict[str, Any]:
        """JSON-ready, with the digests of the files."""
        return {
            "name": self.name,
            "started_ns": self.started_ns,
            "ended_ns": self.ended_ns,
            "state": self.state,
            "params": dict(self.params),
            "metrics": {n: float(v) for n, v in self.metrics.items() if math.isfinite(v)},
            "tags": {name: str(text) for name, text in self.tags.items()},
            "models": [list(each) for each in self.models],
            "files": {n: hashlib.sha256(body).hexdigest() for n, body in self.files.items()},
        }


def flat(tree: Mapping[str, Any], before: str = "") -> dict[str, str]:
    """Settings by dotted name, as text: what a table of parameters shows."""
    out: dict[str, str] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping) and value:
            out.update(flat(value, f"{before}{name}."))
        else:
            out[f"{before}{name}"] = value if isinstance(value, str) else json.dumps(value)
    return out


def write_run(runs: Path, run: Run) -> Path:
    """Write a run below `runs` and return its directory; one that is there already is left as it
    is. Raises StoreError on a file outside of it and on a disk that refuses."""
    for name in run.files:
        parts = PurePosixPath(name).parts
        if not parts or parts[0] == "/" or ".." in parts:
            raise StoreError(f"{name!r} cannot name a file of a run")
    place = runs / run.id
    if place.is_dir():
        return place
    try:
        runs.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=runs))
        try:
            for name, body in run.files.items():
                path = temporary / FILES / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(body)
            (temporary / DOCUMENT).write_bytes(_bytes(run.document()))
            temporary.chmod(0o755)
            os.rename(temporary, place)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        if place.is_dir():  # another process wrote the same run meanwhile
            return place
        raise StoreError(f"the run cannot be written to {place}: {error}") from error
    return place


def read_runs(runs: Path) -> dict[str, dict[str, Any]]:
    """Documents of all runs by id, oldest first. Raises StoreError on one that cannot be read."""
    found = {}
    for path in sorted(runs.glob(f"[!.]*/{DOCUMENT}")):
        try:
            found[path.parent.name] = json.loads(path.read_bytes())
        except (OSError, ValueError) as error:
            raise StoreError(f"{path} cannot be read: {error}") from error
    return dict(sorted(found.items(), key=lambda each: (each[1]["started_ns"], each[0])))


def _bytes(document: Mapping[str, Any]) -> bytes:
    return (json.dumps(document, sort_keys=True, indent=2, allow_nan=False) + "\n").encode()
