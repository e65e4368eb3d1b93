"""The models and the gate over a replayed boundary, as the session had them or as you choose."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import orjson

from cluster.output import PartMissingError
from foreshock.errors import ConfigError, ModelError, RecordingError
from foreshock.models.base import Domain

if TYPE_CHECKING:
    from foreshock.engine.outcomes import Boundary
    from foreshock.features.settings import FeatureSettings
    from foreshock.models.artifact import OnnxModel
    from foreshock.replay.reconcile import Opinion
    from foreshock.settings import Config
    from foreshock.signals.gate import GateSettings
    from foreshock.stores.recordings import RecordedBoundary, Recording
    from foreshock.stores.registry import Registry

SESSION_FILE: Final = "session.json"  # beside a session's recordings: what its gate was set to
NO_MODEL, CHAMPION = "none", "champion"


class Judging:
    """A judge for `foreshock.replay.reconcile.reconcile`.

    domain    where the rows come from
    registry  where models are looked up
    settings  of the gate
    wanted    "champion", "none", an artifact directory; or None: the models that the recording
              names, and for a recording without verdicts the champion of its domain
    judged    whether the session had a gate: then boundaries that it did not answer stay unjudged
    features  which features the boundaries' vectors hold; by default the whole catalogue
    """

    def __init__(
        self,
        symbols: Sequence[str],
        domain: Domain,
        registry: Registry,
        settings: GateSettings,
        wanted: str | None = None,
        judged: bool = False,
        features: FeatureSettings | None = None,
    ) -> None:
        from foreshock.features import catalog
        from foreshock.signals.policy import PolicyState

        self._symbols, self._domain = tuple(symbols), domain
        self._registry, self._settings = registry, settings
        self._named = wanted is None and judged
        self._layout = catalog.layout(features)
        self._models: dict[str, OnnxModel] = {}
        self._state = PolicyState()
        self._own = None if self._named else self._choose(wanted)

    @classmethod
    def of(cls, recording: Recording, tree: Config, wanted: str | None = None) -> Judging:
        """The judge of one of our recordings, with the settings that its session kept."""
        from cluster.first_model import registry_of
        from foreshock.engine.provenance import features_of

        judged = recording.meta.get("judged")
        if judged is None:
            judged = any(said.verdicts for said in recording.vectors())
        return cls(
            [instrument.symbol for instrument in recording.instruments],
            domain_of(recording),
            registry_of(tree),
            kept_settings(recording.directory) or tree.gate_settings(),
            wanted,
            bool(judged),
            features_of(recording.meta).settings,
        )

    @property
    def versions(self) -> list[str]:
        """The models that were loaded."""
        return sorted(self._models)

    def __call__(self, boundary: Boundary, said: RecordedBoundary | None) -> Opinion:
        """See `foreshock.replay.reconcile.Judge`. Raises PartMissingError where the registry lacks
        the model that the recording names."""
        from foreshock.replay.reconcile import Opinion, named_version
        from foreshock.signals.gate import ModelFacts, judge
        from foreshock.signals.policy import PolicyState

        if self._named and (said is None or said.verdicts is None):
            return Opinion()
        version = named_version(said) if said is not None else None
        model = self._model(version) if self._named else self._own
        facts = None
        if model is not None:
            facts = ModelFacts.of(model.card, model.card.required_in(self._layout))
        same = said is not None and said.verdicts is not None and version == _version(model)
        scores = None
        silent = same and said is not None and said.probabilities is None
        if model is not None and not silent:
            with suppress(ModelError):  # it was trained on other features: it does not score
                columns = model.card.columns(self._layout)
                scores = model.score(np.ascontiguousarray(boundary.vectors[:, columns]))
        state = self._state
        if same and said is not None and said.policy is not None:
            state = PolicyState.from_bytes(said.policy)
        verdicts, self._state = judge(
            boundary=boundary,
            symbols=self._symbols,
            probabilities=scores,
            model=facts,
            session_domain=self._domain,
            state=state,
            settings=self._settings,
        )
        return Opinion(_version(model), scores, [verdict.as_dict() for verdict in verdicts])

    def _choose(self, wanted: str | None) -> OnnxModel | None:
        from serve.scorer import champion_of

        if wanted == NO_MODEL:
            return None
        if wanted in (None, CHAMPION):
            path = champion_of(self._registry, self._domain)
            if path is None and wanted == CHAMPION:
                raise PartMissingError(
                    f"no champion for {self._domain}: train one, or give --model DIR or none"
                )
            return None if path is None else self._load(path)
        assert wanted is not None
        if not Path(wanted).is_dir():
            raise ConfigError(f"--model {wanted!r} is neither champion, none nor a directory")
        return self._load(Path(wanted))

    def _model(self, version: str | None) -> OnnxModel | None:
        if version is None or version in self._models:
            return None if version is None else self._models[version]
        for name in self._registry.names():
            path = self._registry.find(name, version)
            if path is not None:
                return self._load(path)
        raise PartMissingError(
            f"the recording was judged by model {version}, which the registry lacks: put it back,"
            " or give --model champion or none"
        )

    def _load(self, path: Path) -> OnnxModel:
        from foreshock.models import artifact

        model = artifact.load(path)
        self._models[model.card.version] = model
        return model


def _version(model: OnnxModel | None) -> str | None:
    return None if model is None else model.card.version


def domain_of(recording: Recording) -> Domain:
    """Where a recording's rows come from. Raises RecordingError where it does not say."""
    meta = recording.meta
    try:
        if "domain" in meta:
            return Domain.model_validate(meta["domain"])
        return Domain(source=meta["source"], market=meta["market"], tier="book")
    except (KeyError, ValueError) as error:
        raise RecordingError(f"{recording.directory} does not say its domain: {error}") from error


def kept_settings(directory: Path) -> GateSettings | None:
    """The gate's settings that a session kept beside its recordings; None where there are none.
    Raises RecordingError where they cannot be read."""
    from foreshock.signals.gate import GateSettings

    for folder in (directory, *directory.parents[:2]):
        path = folder / SESSION_FILE
        if path.exists():
            try:
                return GateSettings.model_validate(orjson.loads(path.read_bytes())["gate"])
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise RecordingError(f"{path} cannot be read: {error}") from error
    return None
