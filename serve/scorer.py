"""The scorer: vectors in, calibrated probabilities out, by the champions of one domain."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from foreshock.errors import ModelError, StoreError
from foreshock.features.vector import Layout
from foreshock.models import artifact
from foreshock.models.base import Domain, ModelCard
from foreshock.models.routes import route
from foreshock.signals.gate import ModelFacts, Panel
from foreshock.stores.registry import CHAMPION, Registry
from serve.choir import Choir, Voice

_LOG = logging.getLogger(__name__)
FOLLOW_S: Final = 2.0  # how often the champions' names are looked up

Scores = tuple[NDArray[np.float32] | None, ModelFacts | Panel | None, str | None]
Find = Callable[[Domain], Mapping[str, Path] | Path | None]


class Scorer:
    """The champions, or none. Hosted by Serve, which may run several; each has its own sessions.

    find      domain → artifact directories of its champions by name (or of the only one); asked
              every two seconds, so that a new champion speaks without a restart
    layout    of the watchers' vectors; a model reads its own columns out of them
    inline    False: whoever hosts it calls `follow`, so that no score waits for a registry
    """

    def __init__(
        self,
        find: Find,
        domain: Mapping[str, str] | Domain,
        layout: Layout,
        inline: bool = True,
    ) -> None:
        self._find, self._inline = find, inline
        self._layout, self._fingerprint = layout, layout.fingerprint
        self._domain = Domain.model_validate(domain)
        self._pinned: Path | None = None
        self._choir = Choir(self._domain)
        self._lead: Voice | None = None
        self._problems: dict[str, str] = {}
        self._looked_s = -FOLLOW_S
        self._lock = threading.Lock()
        self.follow()

    def reconfigure(self, user_config: Mapping[str, Any]) -> None:
        """{"model": path | None}: that artifact and no other, or the champions. Serve calls it at
        the start and when the configuration changes; no replica restarts."""
        given = user_config.get("model")
        with self._lock:
            self._pinned = Path(given) if given else None
            self._looked_s = -FOLLOW_S
        self.follow()

    def score(
        self,
        matrix: NDArray[np.float32],
        fingerprint: str,
        symbols: Sequence[str] | None = None,
    ) -> Scores:
        """(probabilities, facts, the model's layout fingerprint) of vectors (n, k), which are of
        the layout `fingerprint`: the watchers' or the model's own.

        symbols         whose vectors they are, n names: each is scored by the champion made for it,
                        its group, or all; without names by the one that is made for all
        probabilities   float32 (n, H), NaN in no row that is scored; None where no model is loaded,
                        and for vectors of another layout
        facts           what the gate must know of the model, a Panel where several spoke; None
                        where none is loaded

        Raises ModelError where the vectors do not fit the model."""
        if self._inline:
            self.follow()
        choir, lead = self._choir, self._lead
        whole = fingerprint == self._fingerprint and matrix.shape[1:] == (len(self._layout),)
        if symbols is not None and whole and len(symbols) == len(matrix):
            probabilities, facts = choir.speak(matrix, symbols)
            own = None if lead is None else lead.model.card.layout_fingerprint
            return probabilities, facts, own
        if lead is None:
            return None, None, None
        own = lead.model.card.layout_fingerprint
        if whole:
            return lead.score(matrix), lead.facts, own
        if fingerprint in (own, self._fingerprint):
            return lead.model.score(matrix), ModelFacts.of(lead.model.card), own
        return None, lead.facts, own

    def card(self) -> dict[str, Any] | None:
        """The card of the model that speaks where no symbol is named; None without one."""
        lead = self._lead
        return None if lead is None else lead.model.card.model_dump(mode="json")

    def follow(self) -> None:
        """Look who are champions, at most every two seconds, and load what is not loaded."""
        now_s = time.monotonic()
        with self._lock:
            if now_s - self._looked_s < FOLLOW_S:
                return
            self._looked_s = now_s
            try:
                found = self._pinned or self._find(self._domain)
            except (ModelError, StoreError, OSError) as error:
                self._tell("the registry", error)
                return
            self._problems.pop("the registry", None)
            paths = found if isinstance(found, Mapping) else {} if found is None else {"": found}
            loaded = {name: self._voice(name, path) for name, path in paths.items()}
            voices = {name: voice for name, voice in loaded.items() if voice is not None}
            pinned = voices.get("") if self._pinned else None
            if (voices, pinned) != (dict(self._choir.voices), self._choir.pinned):
                self._choir = Choir(self._domain, voices, pinned)
                self._lead = self._choir.lead

    def _voice(self, name: str, path: Path) -> Voice | None:
        """The model at `path`, loaded now or before; where it is damaged the one that `name` had:
        a damaged newcomer is no reason to fall silent."""
        known = self._choir.voices.get(name)
        if known is not None and known.path == path:
            return known
        try:
            voice = Voice.load(path, self._layout)
        except (ModelError, StoreError, OSError) as error:
            self._tell(name, error)
            return known
        self._problems.pop(name, None)
        card = voice.model.card
        _LOG.info("model %s speaks for %s, %s", card.version, card.domain, voice.facts.scope)
        return voice

    def _tell(self, name: str, error: Exception) -> None:
        """Once for each problem."""
        if self._problems.get(name) != str(error):
            _LOG.warning("no new champion: %s", error)
        self._problems[name] = str(error)


@lru_cache(maxsize=4_096)
def _card(path: Path) -> ModelCard:
    """An artifact directory never changes once it is registered."""
    return artifact.load_card(path)


def champions_of(registry: Registry, domain: Domain) -> dict[str, Path]:
    """The artifact directories of every champion that may speak on rows of `domain`, by name. A
    card that cannot be read is among them: its loader tells. Raises StoreError."""
    out = {}
    for name in registry.names():
        path = registry.find(name, CHAMPION)
        if path is None:
            continue
        try:
            admitted = _card(path).domain.admits(domain)
        except ModelError:
            admitted = True
        if admitted:
            out[name] = path
    return out


def champion_of(registry: Registry, domain: Domain) -> Path | None:
    """The artifact directory of the champion that speaks for any symbol on rows of `domain`; of
    several the one that uses the most inputs, None where there is none. Raises StoreError or
    ModelError where registry or card cannot be read."""
    paths = champions_of(registry, domain)
    name = route({name: _card(path) for name, path in paths.items()}, domain, None)
    return None if name is None else paths[name]
