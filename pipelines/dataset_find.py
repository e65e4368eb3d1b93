"""Which dataset a training takes where none is named."""

from __future__ import annotations

import json
from fnmatch import fnmatchcase
from pathlib import Path

from foreshock.errors import DatasetError
from foreshock.features import catalog
from foreshock.settings import Config
from pipelines.datasets import MANIFEST


def newest_dataset(tree: Config) -> Path | None:
    """The dataset made last, among those of the mode's source with the features and the surge
    definition of the settings."""
    whole = {spec.name: spec.digest for spec in catalog.layout(tree.features)}
    needed = [n for n in whole if any(fnmatchcase(n, p) for p in tree.training.features)]
    source = "simulation" if tree.mode == "demo" else "binance"
    fitting = []
    for path in tree.paths.under("datasets").glob(f"[!.]*/{MANIFEST}"):
        try:
            told = json.loads(path.read_text())["manifest"]
            digests = told["feature_digests"]
            fits = told["label_fingerprint"] == tree.label_settings().fingerprint
            fits = fits and told["domain"]["source"] == source
            fits = fits and all(digests.get(name) == whole[name] for name in needed)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue  # half a dataset, or something else: not one to choose unasked
        if fits:
            fitting.append((path.stat().st_mtime_ns, path.parent))
    return max(fitting)[1] if fitting else None


def dataset_or_refuse(tree: Config) -> Path:
    """`newest_dataset`. Raises DatasetError, saying where was looked, where there is none."""
    found = newest_dataset(tree)
    if found is None:
        raise DatasetError(
            f"no dataset of mode {tree.mode} with these horizons, costs and features lies below "
            f"{tree.paths.under('datasets')}: name one with --dataset, or name the directory that "
            "has it (paths.var_dir)"
        )
    return found
