"""The scorer: vectors in, calibrated probabilities out, by the champion of one domain."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from foreshock.errors import ModelError, StoreError
from foreshock.features.vector import Layout
from foreshock.models import artifact
from foreshock.models.base import TIERS, Domain
from foreshock.signals.gate import ModelFacts
from foreshock.stores.registry import CHAMPION, Registry

_LOG = logging.getLogger(__name__)
FOLLOW_S: Final = 2.0  # how often the champion's name is looked up

Scores = tuple[NDArray[np.float32] | None, ModelFacts | None, str | None]


class Scorer:
    """One model, or none. Hosted by Serve, which may run several; each holds its own session.

    find_champion   domain → artifact directory of its champion, or None; asked every two seconds,
                    so that a new champion speaks without a restart
    layout          of the watchers' vectors; a model reads its own columns out of them
    """

    def __init__(
        self,
        find_champion: Callable[[Domain], Path | None],
        domain: Mapping[str, str] | Domain,
        layout: Layout,
    ) -> None:
        self._find_champion = find_champion
        self._layout, self._fingerprint = layout, layout.fingerprint
        self._domain = Domain.model_validate(domain)
        self._pinned: Path | None = None
        self._path: Path | None = None
        self._model: artifact.OnnxModel | None = None
        self._facts: ModelFacts | None = None
        self._columns = np.zeros(0, np.int64)
        self._problem: str | None = None
        self._looked_s = -FOLLOW_S
        self._lock = threading.Lock()
        self._follow()

    def reconfigure(self, user_config: Mapping[str, Any]) -> None:
        """{"model": path | None}: that artifact and no other, or the champion. Serve calls it at
        the start and when the configuration changes; no replica restarts."""
        given = user_config.get("model")
        with self._lock:
            self._pinned = Path(given) if given else None
            self._looked_s = -FOLLOW_S
        self._follow()

    def score(self, matrix: NDArray[np.float32], fingerprint: str) -> Scores:
        """(probabilities, facts, the model's layout fingerprint) of vectors (n, k), which are of
        the layout `fingerprint`: the watchers' or the model's own.

        probabilities   float32 (n, H), NaN in no row; None where no model is loaded, and for
                        vectors of another layout
        facts           what the gate must know of the model; None where none is loaded

        Raises ModelError where the vectors do not fit the model."""
        self._follow()
        with self._lock:
            model, facts, columns = self._model, self._facts, self._columns
        if model is None or facts is None:
            return None, None, None
        own = model.card.layout_fingerprint
        if fingerprint == self._fingerprint and matrix.shape[1:] == (len(self._layout),):
            return model.score(np.ascontiguousarray(matrix[:, columns])), facts, own
        if fingerprint in (own, self._fingerprint):
            return model.score(matrix), ModelFacts.of(model.card), own
        return None, facts, own

    def card(self) -> dict[str, Any] | None:
        """The loaded model's card, JSON-ready; None without a model."""
        model = self._model
        return None if model is None else model.card.model_dump(mode="json")

    def _follow(self) -> None:
        """Look who is champion, at most every two seconds, and load what is not loaded."""
        now_s = time.monotonic()
        with self._lock:
            if now_s - self._looked_s < FOLLOW_S:
                return
            self._looked_s = now_s
            try:
                path = self._pinned or self._find_champion(self._domain)
                if path is None:
                    self._path = self._model = self._facts = None
                elif path != self._path:
                    model = artifact.load(path)
                    columns = model.card.columns(self._layout)
                    model.score(np.zeros((1, len(columns)), np.float32))
                    self._path, self._model, self._columns = path, model, columns
                    self._facts = ModelFacts.of(model.card, model.card.required_in(self._layout))
                    _LOG.info("model %s speaks for %s", model.card.version, model.card.domain)
                self._problem = None
            except (ModelError, StoreError, OSError) as error:
                # The model that is loaded goes on: a damaged newcomer is no reason to fall silent.
                if str(error) != self._problem:
                    _LOG.warning("no new champion: %s", error)
                self._problem = str(error)


def champion_of(registry: Registry, domain: Domain) -> Path | None:
    """The artifact directory of the champion that may speak on rows of `domain`; of several the one
    that uses the most inputs, None where there is none. Raises StoreError or ModelError where
    registry or card cannot be read."""
    best: tuple[int, Path] | None = None
    for name in registry.names():
        path = registry.find(name, CHAMPION)
        if path is None:
            continue
        made_for = artifact.load_card(path).domain
        rank = TIERS.index(made_for.tier)
        if made_for.admits(domain) and (best is None or rank > best[0]):
            best = rank, path
    return None if best is None else best[1]
