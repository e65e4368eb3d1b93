"""A model on disk: `model.onnx`, `card.json`, `certificate.json` in one directory."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from foreshock.errors import CertificateError, ModelError
from foreshock.models.base import ModelCard
from foreshock.models.outlook import HIGH, LOW, arranged
from foreshock.models.session import open_session, run_graph, run_outputs

GRAPH, CARD, CERTIFICATE = "model.onnx", "card.json", "certificate.json"


class OnnxModel:
    """A loaded artifact; `foreshock.models.base.ScoringModel`. One session, one thread: give each
    replica its own."""

    def __init__(self, graph: bytes, card: ModelCard) -> None:
        self._session = open_session(graph)
        self._card = card
        self._required = card.required
        width = self._session.get_inputs()[0].shape[1]
        outputs = {output.name: output.shape[1] for output in self._session.get_outputs()}
        wanted = (len(card.feature_names), len(card.horizons_s))
        if (width, outputs.get("probability")) != wanted:
            raise ModelError(
                f"the graph maps {width} features to {outputs.get('probability')} probabilities, "
                f"the card says {wanted[0]} to {wanted[1]}"
            )
        for name in card.outlook.get("outputs", ()):
            if outputs.get(name) != wanted[1]:
                raise ModelError(f"the card tells of {name}, the graph says it {outputs.get(name)}")
        self._outputs = tuple(outputs)

    @property
    def card(self) -> ModelCard:
        """What is known of it."""
        return self._card

    @property
    def required(self) -> NDArray[np.bool_]:
        """bool (k,): columns that must be warm before a row may be scored."""
        return self._required

    def score(self, X: NDArray[np.float32]) -> NDArray[np.float32]:
        """Calibrated probabilities (n, H) of vectors (n, k), float32, NaN where a feature is not
        warm. The bits of a row do not depend on the rows beside it. Raises ModelError on another
        shape or type."""
        return run_graph(self._session, X, "probability")

    def raw_score(self, X: NDArray[np.float32]) -> NDArray[np.float32]:
        """Scores before calibration (n, H). Raises as `score` does."""
        return run_graph(self._session, X, "raw_score")

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of all that the graph says: `probability`, `raw_score`, and what it has of
        `foreshock.models.outlook`."""
        return self._outputs

    def say(self, X: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """All outputs, (n, H) each, at the price of one; a band's ends in their order. Raises as
        `score` does."""
        found = run_outputs(self._session, X, list(self._outputs))
        said = dict(zip(self._outputs, found, strict=True))
        if LOW in said and HIGH in said:
            said[LOW], said[HIGH] = arranged(said[LOW], said[HIGH])
        return said


def save(path: Path, graph: bytes, card: ModelCard, certificate: Mapping[str, Any]) -> Path:
    """Write an artifact directory at once (a temporary name, then a rename) and return its path.

    The same arguments give the same bytes. Raises ModelError where `path` already holds something
    else, CertificateError where the certificate is of another graph.
    """
    _check_certificate(graph, certificate)
    files = {
        GRAPH: graph,
        CARD: _json(card.model_dump(mode="json")),
        CERTIFICATE: _json(dict(certificate)),
    }
    if path.exists():
        if all((path / n).is_file() and (path / n).read_bytes() == b for n, b in files.items()):
            return path
        raise ModelError(f"{path} exists already and holds another model")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        for name, body in files.items():
            (temporary / name).write_bytes(body)
        temporary.chmod(0o755)
        os.rename(temporary, path)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise ModelError(f"cannot write the model to {path}: {error}") from error
    return path


def load(path: Path) -> OnnxModel:
    """Read an artifact directory. Raises ModelError where a file is missing or damaged,
    CertificateError where the graph is not the certified one."""
    card = load_card(path)
    try:
        graph = (path / GRAPH).read_bytes()
        certificate = json.loads((path / CERTIFICATE).read_text())
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} is no readable model: {error}") from error
    _check_certificate(graph, certificate)
    return OnnxModel(graph, card)


def load_card(path: Path) -> ModelCard:
    """The card alone, without opening the graph. Raises ModelError."""
    try:
        return ModelCard.model_validate_json((path / CARD).read_bytes())
    except (OSError, ValidationError) as error:
        raise ModelError(f"{path / CARD} is no readable model card: {error}") from error


def graph_digest(graph: bytes) -> str:
    """The first 8 hex digits of the SHA-256, for the build part of a version."""
    return hashlib.sha256(graph).hexdigest()[:8]


def _check_certificate(graph: bytes, certificate: Mapping[str, Any]) -> None:
    digest, proven = hashlib.sha256(graph).hexdigest(), certificate.get("graph_sha256")
    if digest != proven:
        raise CertificateError(f"the certificate is of graph {proven}, this one is {digest}")


def _json(body: Mapping[str, Any]) -> bytes:
    return (json.dumps(body, sort_keys=True, indent=2, allow_nan=False) + "\n").encode()
