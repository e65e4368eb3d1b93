"""Score a dataset with a model, or with the champions that may speak on it:

    python -m pipelines.score DATASET --out scores.parquet --model DIR [--json]
    python -m pipelines.score DATASET --out scores.parquet --registry DIR [--json]

One Parquet file, a row for each symbol, boundary and horizon, in this order:

    symbol        string
    boundary_ns   int64, UTC ns: the boundary that the vector is of
    horizon_s     int32
    score         float32: what the trees or weights sum up to, before calibration
    probability   float32: calibrated; what the gate would be told
    expected_bps  float32: mean of the outcome, from mid to mid, costs not taken
    low_bps       float32: where the band begins that holds a stated share of the outcomes (the
    high_bps      card's `outlook` says which), and where it ends; never below its beginning

The last three are there where a model that speaks has them, and null in the rows of one that has
not. All are null where a feature that the model requires was not warm: live it would have been
`cold`.
The file says nothing of labels and of what came of it, so that whoever judges it brings their own.
The same dataset and models give the same bytes. One batch of rows is in memory at a time.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from foreshock.errors import DatasetError, ForeshockError, ModelError
from foreshock.features.vector import fingerprint_of
from foreshock.market.clock import SECOND_NS
from foreshock.models.artifact import OnnxModel, load
from foreshock.models.base import Domain, ModelCard
from foreshock.models.outlook import EXPECTED, HIGH, LOW
from foreshock.models.routes import route
from foreshock.signals.speakers import learned_to_ns
from foreshock.stores.files import whole_file
from foreshock.stores.registry import CHAMPION, DirectoryRegistry, Registry
from pipelines.datasets import MANIFEST, files_of, read_manifest

BATCH_ROWS: Final = 16_384
SCHEMA: Final = pa.schema(
    [
        ("symbol", pa.string()),
        ("boundary_ns", pa.int64()),
        ("horizon_s", pa.int32()),
        ("score", pa.float32()),
        ("probability", pa.float32()),
    ]
)
SIZES: Final = (EXPECTED, LOW, HIGH)


@dataclass(slots=True)
class Scored:
    """What was scored; `as_dict` is what the commands print.

    boundaries   vectors that were scored, of each model's version
    cold         of them those that lacked a required feature: null
    seen         of them those from before the end of the model's training: no judgement is to be
                 had from them
    expired      of them those for which the gate would hold the model to be too old
    unscored     symbols that no model speaks for
    """

    out: Path
    domain: str
    rows: int = 0
    boundaries: dict[str, int] = field(default_factory=dict)
    cold: int = 0
    seen: int = 0
    expired: int = 0
    unscored: list[str] = field(default_factory=list)
    models: list[dict[str, Any]] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        names = ("domain", "rows", "boundaries", "cold", "seen", "expired", "unscored", "models")
        return {"out": str(self.out), **{name: getattr(self, name) for name in names}}


def score_dataset(directory: Path, models: Mapping[str, Path], out: Path) -> Scored:
    """Score every row of a dataset and write `out`, which appears whole or not at all.

    models   artifact directories by any names: each symbol is scored by the one made for it, else
             for its group, else for all

    Raises DomainError where none of the models may speak on such rows, ModelError where a model is
    damaged or reads features that the dataset lacks or defines otherwise, DatasetError where the
    dataset is damaged."""
    body = read_manifest(directory)
    domain = Domain.model_validate(body["manifest"]["domain"])
    loaded = {name: load(path) for name, path in models.items()}
    for model in loaded.values():
        if not any(each.card.domain.admits(domain) for each in loaded.values()):
            model.card.domain.require(domain)
    cards = {name: model.card for name, model in loaded.items()}
    told = Scored(out, str(domain))
    speakers: dict[str, OnnxModel] = {}
    for symbol in body["symbols"]:
        name = route(cards, domain, symbol)
        if name is None:
            told.unscored.append(symbol)
        else:
            speakers[symbol] = loaded[name]
    if not speakers:
        raise ModelError(f"no model speaks for any of {', '.join(body['symbols'])} on {domain}")
    for model in {id(each): each for each in speakers.values()}.values():
        _check_features(model.card, body["manifest"])
        told.models.append(_shown(model.card, body["manifest"]))
    said = {name for model in speakers.values() for name in model.outputs}
    schema = SCHEMA
    for name in SIZES:
        schema = schema.append(pa.field(name, pa.float32())) if name in said else schema
    with (
        whole_file(out) as temporary,
        pq.ParquetWriter(temporary, schema, compression="zstd", version="2.6") as writer,
    ):
        for symbol, model in speakers.items():
            for t0_ns, X in _batches(directory, symbol, model.card):
                writer.write_table(_scored(symbol, model, t0_ns, X, told, schema))
    return told


def _check_features(card: ModelCard, manifest: Mapping[str, Any]) -> None:
    """Raises ModelError where the dataset's columns are not what the model was trained on."""
    digests = manifest["feature_digests"]
    lacking = [name for name in card.feature_names if name not in digests]
    if lacking:
        raise ModelError(f"model {card.version} reads what the dataset lacks: {lacking}")
    if list(card.feature_names) == list(manifest["feature_names"]):
        found = manifest["layout_fingerprint"]
    else:
        found = fingerprint_of({name: digests[name] for name in card.feature_names})
    if found != card.layout_fingerprint:
        raise ModelError(
            f"model {card.version} was trained on layout {card.layout_fingerprint}, the dataset "
            f"defines features of these names otherwise: {found}"
        )


def _shown(card: ModelCard, manifest: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": card.name,
        "version": card.version,
        "scope": card.scope,
        "horizons_s": list(card.horizons_s),
        "approved": list(card.approved),
        "trained_to_ns": learned_to_ns(card) or None,
        "same_labels": card.label_fingerprint == manifest["label_fingerprint"],
    }


def _batches(
    directory: Path, symbol: str, card: ModelCard
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """(boundaries, the model's columns) of a symbol, in time order. Raises DatasetError."""
    names = [f"f_{name}" for name in card.feature_names]
    body, last_ns = read_manifest(directory), -1
    for _, path in sorted((_first_ns(path), path) for path in files_of(directory, [symbol])):
        rows = 0
        try:
            batches = pq.ParquetFile(path).iter_batches(
                BATCH_ROWS, columns=["t0_ns", *names], use_threads=False
            )
            for batch in batches:
                t0_ns = batch.column("t0_ns").to_numpy()
                X = np.empty((len(t0_ns), len(names)), np.float32)
                for k, name in enumerate(names):
                    X[:, k] = batch.column(name).to_numpy(zero_copy_only=False)
                if np.isinf(X).any():
                    raise DatasetError(f"{path} holds an infinite feature")
                if len(t0_ns) and (t0_ns[0] <= last_ns or (np.diff(t0_ns) <= 0).any()):
                    raise DatasetError(f"{path} holds a boundary twice, or out of order")
                last_ns, rows = int(t0_ns[-1]) if len(t0_ns) else last_ns, rows + len(t0_ns)
                yield t0_ns, X
        except (OSError, ValueError, KeyError, pa.ArrowException) as error:
            raise DatasetError(f"{path} cannot be read: {error!r}") from error
        told = body["parts"][path.relative_to(directory).as_posix()]
        if rows != told:
            raise DatasetError(f"{path} holds {rows} rows, the manifest tells of {told}")


def _first_ns(path: Path) -> int:
    """The first boundary of a part, 0 of an empty one."""
    try:
        column = pq.ParquetFile(path).read(["t0_ns"], use_threads=False).column(0)
    except (OSError, pa.ArrowException) as error:
        raise DatasetError(f"{path} cannot be read: {error!r}") from error
    return int(column[0].as_py()) if len(column) else 0


def _scored(
    symbol: str, model: OnnxModel, t0_ns: NDArray[np.int64], X: NDArray[np.float32], told: Scored,
    schema: pa.Schema,
) -> pa.Table:  # fmt: skip
    """The rows of one batch: boundary by boundary, horizons ascending."""
    card, n = model.card, len(t0_ns)
    cold = np.isnan(X[:, model.required]).any(axis=1)
    horizons = np.array(card.horizons_s, np.int32)
    null = np.repeat(cold, len(horizons))
    told.rows += n * len(horizons)
    told.boundaries[card.version] = told.boundaries.get(card.version, 0) + n
    told.cold += int(cold.sum())
    learned_ns = learned_to_ns(card)
    if learned_ns:
        age_ns = t0_ns - learned_ns
        told.seen += int((age_ns <= 0).sum())
        if card.max_age_s:
            told.expired += int((age_ns > round(card.max_age_s * SECOND_NS)).sum())
    said = model.say(X)
    nothing = np.full((n, len(horizons)), np.nan, np.float32)
    sizes = {name: said.get(name, nothing) for name in SIZES if name in schema.names}
    return pa.table(
        {
            "symbol": pa.array([symbol]).take(pa.array(np.zeros(len(null), np.int64))),
            "boundary_ns": np.repeat(t0_ns, len(horizons)),
            "horizon_s": np.tile(horizons, n),
            "score": pa.array(said["raw_score"].ravel(), mask=null),
            "probability": pa.array(said["probability"].ravel(), mask=null),
            **{
                name: pa.array(size.ravel(), mask=null if name in said else np.ones_like(null))
                for name, size in sizes.items()
            },
        },
        schema=schema,
    )


def is_dataset(directory: Path) -> bool:
    """Whether a dataset of ours lies there, whole or damaged: a recording has a manifest too."""
    try:
        return "parts" in json.loads((directory / MANIFEST).read_text())
    except (OSError, ValueError):
        return False


def models_for(registry: Registry, wanted: str | None, domain: Domain) -> dict[str, Path]:
    """Artifact directories by name: of an artifact directory itself, of a registry name's champion,
    of a version, or (`wanted` None) of every champion that may speak on rows of `domain`. Raises
    ModelError where there is none, naming what there is."""
    names = registry.names()
    if wanted is None:
        champions = {name: registry.find(name, CHAMPION) for name in names}
        found = {name: path for name, path in champions.items() if path is not None}
        able = {n: p for n, p in found.items() if load(p).card.domain.admits(domain)}
        if not able:
            raise ModelError(f"no champion for {domain} among {names}: name one with --model")
        return able
    if Path(wanted).is_dir():
        return {wanted: Path(wanted)}
    if wanted in names:
        path = registry.find(wanted, CHAMPION)
        if path is None:
            raise ModelError(f"{wanted} has no champion: name one of {registry.versions(wanted)}")
        return {wanted: path}
    for name in names:
        if wanted in registry.versions(name):
            path = registry.find(name, wanted)
            assert path is not None
            return {name: path}
    raise ModelError(f"{wanted!r} is no artifact directory, and the registry knows {names}")


def main(given: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.score", description="Score a dataset, for any judge."
    )
    parser.add_argument("dataset", type=Path, help="directory of a dataset")
    parser.add_argument("--out", type=Path, required=True, help="Parquet file to write")
    parser.add_argument("--model", help="artifact directory, registry name or version")
    parser.add_argument("--registry", type=Path, default=Path("var/models"), help="of the models")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    flags = parser.parse_args(given)
    try:
        domain = Domain.model_validate(read_manifest(flags.dataset)["manifest"]["domain"])
        models = models_for(DirectoryRegistry(flags.registry), flags.model, domain)
        told = score_dataset(flags.dataset, models, flags.out)
    except ForeshockError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    print(json.dumps(told.as_dict()) if flags.json else f"{told.rows} rows: {told.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
