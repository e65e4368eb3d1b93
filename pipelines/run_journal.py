"""The journal of a sweep: what is finished is written down at once, so that a killed driver can be
followed by one that goes on.

    RUNS/<fingerprint>.jsonl   {"fingerprint": …, "of": {…}}     the first line: what it is of
                               {"scope", "fold", "trial", "recipe", "cells", "seconds", "failure"}

Append-only: a line is written whole and in one call, and a last line that was cut short is left out
when it is read. The fingerprint covers the data, the settings, the seed and the versions of what
computes, so that no figure of another sweep is ever taken for one of this.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel

from foreshock.errors import StoreError
from pipelines.sweep import Outcome, Unit
from pipelines.trial import Cell

COMPUTED_BY: Final = ("lightgbm", "numpy", "optuna", "scikit-learn", "scipy", "xgboost")

Known = dict[tuple[Unit, str], Outcome]


def fingerprint_of(**what: Any) -> str:
    """16 hex digits over what makes a sweep what it is: JSON-ready values, with the versions of the
    libraries that compute."""
    versions = {name: metadata.version(name) for name in COMPUTED_BY}
    text = json.dumps({**what, "versions": versions}, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class Journal:
    """Writes outcomes; is a `pipelines.sweep.Tell`."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __call__(self, unit: Unit, recipe: BaseModel, outcome: Outcome, *, known: bool) -> None:
        """Write one outcome. What a dead worker took with it is not kept: the next run tries it
        again."""
        if known or outcome.lost:
            return
        self._write(
            {
                **unit._asdict(),
                "recipe": recipe.model_dump_json(),
                "cells": [asdict(cell) for cell in outcome.cells],
                "seconds": outcome.seconds,
                "failure": outcome.failure,
            }
        )

    def _write(self, body: Mapping[str, Any]) -> None:
        # One write to a file opened for appending: a kill leaves a line whole or cut, never mixed.
        os.write(self._descriptor, (json.dumps(body) + "\n").encode())


@contextmanager
def journal(
    path: Path, fingerprint: str, of: Mapping[str, Any], *, resume: bool
) -> Iterator[tuple[Journal, Known]]:
    """The journal of one sweep and what it knows already: nothing without `resume`, which begins
    anew. Raises StoreError where it cannot be written, another process writes it, or it is of
    another sweep."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    except OSError as error:
        raise StoreError(f"no journal can be kept at {path}: {error.strerror}") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StoreError(f"another training writes {path}") from error
        known: Known = {}
        if resume:
            known, whole = read_journal(path, fingerprint)
            os.ftruncate(descriptor, whole)
        else:
            os.ftruncate(descriptor, 0)
        writer = Journal(descriptor)
        if os.fstat(descriptor).st_size == 0:
            writer._write({"fingerprint": fingerprint, "of": dict(of)})
        yield writer, known
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_journal(path: Path, fingerprint: str) -> tuple[Known, int]:
    """(outcomes by unit and recipe, how many bytes are whole lines). Raises StoreError where it is
    of another sweep or damaged before its last line."""
    known: Known = {}
    text = path.read_bytes() if path.exists() else b""
    whole = text.rfind(b"\n") + 1
    for number, line in enumerate(text[:whole].splitlines()):
        try:
            body = json.loads(line)
            if number == 0:
                found = body["fingerprint"]
            else:
                unit = Unit(body["scope"], body["fold"], body["trial"])
                cells = [cell_of(cell) for cell in body["cells"]]
                outcome = Outcome(cells, body["seconds"], body["failure"])
                known[unit, body["recipe"]] = outcome
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(f"{path}, line {number + 1} is damaged: {error!r}") from error
        if number == 0 and found != fingerprint:
            raise StoreError(f"{path} is of another sweep: {found}, this one is {fingerprint}")
    return known, whole


def cell_of(body: dict[str, Any]) -> Cell:
    """The cell that `dataclasses.asdict`, and JSON, told of."""
    pairs = tuple((int(number), float(skill)) for number, skill in body.pop("by_symbol", ()))
    returns = tuple(body.pop("returns_bps", ()))
    return Cell(**body, returns_bps=returns, by_symbol=pairs)
