"""What a recording was made with, and what has changed since: said in words, before anything else.

`made_with` goes into a recording's meta. Where the set of features changed, the rows and books of a
recording can still be compared, and the features that are what they were; scores and verdicts
follow from the whole vector and cannot.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

import foreshock
from foreshock.features.catalog import FeatureSet
from foreshock.features.settings import FeatureSettings


@cache
def code_digest() -> str:
    """16 hex digits of every Python file of the library."""
    root = Path(foreshock.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def made_with(features: FeatureSet | None = None) -> dict[str, Any]:
    """JSON-ready: the feature set (the whole catalogue unless said otherwise), the code and what
    bits depend on besides."""
    chosen = FeatureSet() if features is None else features
    return {
        "layout": chosen.layout.fingerprint,
        "features": [[spec.name, spec.digest] for spec in chosen.layout],
        "feature_settings": chosen.settings.model_dump(mode="json"),
        "code": code_digest(),
        "version": foreshock.__version__,
        "numba": metadata.version("numba"),
        "numpy": np.__version__,
        "cpu": os.environ.get("NUMBA_CPU_NAME", ""),
    }


def features_of(meta: Mapping[str, Any]) -> FeatureSet:
    """The feature set that a recording was made with, as far as this build has it: the whole
    catalogue where the recording does not say or its settings are not understood any more."""
    try:
        return FeatureSet(FeatureSettings.model_validate(meta["feature_settings"]))
    except (KeyError, ValidationError):
        return FeatureSet()


@dataclass(frozen=True, slots=True)
class Changes:
    """What is different from what a recording was made with.

    words     one sentence each; empty where nothing is known to have changed
    features  whether the set of features is another one
    columns   recorded column → ours, of the features that are what they were; None where the
              recording does not name its features, so that no vector of it can be compared
    """

    words: tuple[str, ...]
    features: bool
    columns: Mapping[int, int] | None


def changes(meta: Mapping[str, Any]) -> Changes:
    """Compare a recording's meta with this build. What the meta does not tell is not compared."""
    mine, words = made_with(features_of(meta)), []
    recorded, ours = dict(meta.get("features", ())), dict(mine["features"])
    same: Mapping[int, int] | None = {k: k for k in range(len(mine["features"]))}
    other = meta.get("layout", mine["layout"]) != mine["layout"]
    if other:
        words.append(f"the feature set is {mine['layout']}, recorded with {meta['layout']}")
        if recorded:
            words += _features_changed(recorded, ours)
            column = {name: k for k, name in enumerate(ours)}
            same = {
                k: column[name]
                for k, (name, digest) in enumerate(recorded.items())
                if ours.get(name) == digest
            }
        else:
            words.append("the recording does not name its features: no vector can be compared")
            same = None
    for name in ("version", "code", "numba", "numpy", "cpu"):
        if name in meta and meta[name] != mine[name]:
            words.append(f"{name} is {mine[name]}, recorded with {meta[name]}")
    return Changes(tuple(words), other, same)


def _features_changed(recorded: Mapping[str, str], mine: Mapping[str, str]) -> list[str]:
    gone = [name for name in recorded if name not in mine]
    new = [name for name in mine if name not in recorded]
    altered = [name for name in recorded if name in mine and recorded[name] != mine[name]]
    kept = [name for name in recorded if name in mine]
    told = {"removed": gone, "added": new, "defined anew": altered}
    words = [f"features {what}: {', '.join(names)}" for what, names in told.items() if names]
    if kept != [name for name in mine if name in recorded]:
        words.append("features come in another order")
    return words
