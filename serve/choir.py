"""Several models over one matrix: each scores the rows of the symbols that it speaks for.

The bits of a row's scores do not depend on the rows beside it (one thread a session), so that it
makes no difference which others a model scores with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from foreshock.errors import ModelError
from foreshock.features.vector import Layout
from foreshock.models import artifact
from foreshock.models.artifact import OnnxModel
from foreshock.models.base import Domain
from foreshock.models.routes import covers, route
from foreshock.signals.gate import ModelFacts, Panel

PLANS: Final = 64  # lists of symbols that are remembered: a watcher's is the same every second


@dataclass(frozen=True, slots=True, eq=False)
class Voice:
    """A loaded model with its place in the watchers' vectors.

    columns   int64 (k,): where its features are in a vector of the layout
    facts     what the gate must know, `required` of whole vectors
    """

    path: Path
    model: OnnxModel
    columns: NDArray[np.int64]
    facts: ModelFacts

    @classmethod
    def load(cls, path: Path, layout: Layout, mute: bool = False) -> Voice:
        """Raises ModelError where the artifact is damaged or cannot read these vectors; with `mute`
        one that cannot read them has no columns and raises when it is to score."""
        model = artifact.load(path)
        try:
            columns = model.card.columns(layout)
            model.score(np.zeros((1, len(columns)), np.float32))
        except ModelError:
            if not mute:
                raise
            columns = np.zeros(0, np.int64)
        facts = ModelFacts.of(model.card, model.card.required_in(layout))
        return cls(path, model, columns, facts)

    def score(self, matrix: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probabilities (n, H) of whole vectors."""
        return self.model.score(np.ascontiguousarray(matrix[:, self.columns]))


@dataclass(frozen=True, slots=True)
class _Plan:
    """Who speaks for one list of symbols: facts, and the rows of each voice."""

    facts: ModelFacts | Panel | None
    parts: tuple[tuple[Voice, NDArray[np.int64]], ...]


@dataclass(frozen=True)
class Choir:
    """The loaded champions of one domain, by registry name. Immutable but for what it remembers.

    pinned   the only model to speak, whatever its domain: the gate judges that
    """

    domain: Domain
    voices: Mapping[str, Voice] = field(default_factory=dict)
    pinned: Voice | None = None
    _plans: dict[tuple[str, ...], _Plan] = field(default_factory=dict)

    @property
    def lead(self) -> Voice | None:
        """The pooled model: who speaks where no symbol is named."""
        return self.voice_of(None)

    def voice_of(self, symbol: str | None) -> Voice | None:
        """Who speaks for a symbol."""
        if self.pinned is not None:
            mine = symbol is None or covers(self.pinned.model.card, symbol)
            return self.pinned if mine else None
        cards = {name: voice.model.card for name, voice in self.voices.items()}
        name = route(cards, self.domain, symbol)
        return None if name is None else self.voices[name]

    def speak(
        self, matrix: NDArray[np.float32], symbols: Sequence[str]
    ) -> tuple[NDArray[np.float32] | None, ModelFacts | Panel | None]:
        """(float32 (n, H), who spoke) for whole vectors (n, k), a row a symbol; (None, None) where
        nobody speaks for any of them. See `foreshock.signals.speakers.Panel`."""
        key = tuple(symbols)
        plan = self._plans.get(key)
        if plan is None:
            if len(self._plans) >= PLANS:
                self._plans.clear()
            plan = self._plans[key] = plan_of([self.voice_of(symbol) for symbol in key])
        return sing(plan, matrix)


def plan_of(voices: Sequence[Voice | None]) -> _Plan:
    """The plan of rows whose speakers are known."""
    ids = {id(voice): voice for voice in voices if voice is not None}
    chosen = list(ids.values())
    if not chosen:
        return _Plan(None, ())
    if len(chosen) == 1 and all(voice is not None for voice in voices):
        return _Plan(chosen[0].facts, ((chosen[0], np.arange(len(voices))),))
    numbers = {id(voice): number for number, voice in enumerate(chosen)}
    speaker = np.array([-1 if v is None else numbers[id(v)] for v in voices], np.int64)
    parts = tuple((voice, np.flatnonzero(speaker == k)) for k, voice in enumerate(chosen))
    return _Plan(Panel(tuple(voice.facts for voice in chosen), speaker), parts)


def sing(
    plan: _Plan, matrix: NDArray[np.float32]
) -> tuple[NDArray[np.float32] | None, ModelFacts | Panel | None]:
    """Scores of a plan's rows. Raises ModelError where they do not fit the models."""
    if plan.facts is None:
        return None, None
    if isinstance(plan.facts, ModelFacts):
        return plan.parts[0][0].score(matrix), plan.facts
    width = max(len(voice.facts.horizons_s) for voice, _ in plan.parts)
    out = np.full((len(matrix), width), np.nan, np.float32)
    for voice, rows in plan.parts:
        out[rows, : len(voice.facts.horizons_s)] = voice.score(matrix[rows])
    return out, plan.facts
