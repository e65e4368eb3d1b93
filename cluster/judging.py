"""The models and the gate over a replayed boundary, as the session had them or as you choose."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import orjson

from cluster.output import PartMissingError
from foreshock.errors import ConfigError, ModelError, RecordingError
from foreshock.models.base import Domain

if TYPE_CHECKING:
    from foreshock.engine.outcomes import Boundary
    from foreshock.features.settings import FeatureSettings
    from foreshock.replay.reconcile import Opinion
    from foreshock.settings import Config
    from foreshock.signals.gate import GateSettings
    from foreshock.stores.recordings import RecordedBoundary, Recording
    from foreshock.stores.registry import Registry
    from serve.choir import Voice

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
        self._voices: dict[str, Voice] = {}
        self._state = PolicyState()
        n = len(self._symbols)
        self._own: list[Voice | None] = [None] * n if self._named else self._choose(wanted)

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
        return sorted(self._voices)

    def __call__(self, boundary: Boundary, said: RecordedBoundary | None) -> Opinion:
        """See `foreshock.replay.reconcile.Judge`. Raises PartMissingError where the registry lacks
        the model that the recording names."""
        from foreshock.replay.reconcile import Opinion
        from foreshock.signals.gate import judge
        from foreshock.signals.policy import PolicyState
        from serve.choir import plan_of, sing

        if self._named and (said is None or said.verdicts is None):
            return Opinion()
        recorded = _versions(said)
        voices = self._own
        if self._named:
            voices = [self._voice(version) for version in recorded]
        versions = [None if voice is None else voice.facts.version for voice in voices]
        same = said is not None and said.verdicts is not None and versions == recorded
        plan = plan_of(voices)
        scores = None
        silent = same and said is not None and said.probabilities is None
        if not silent:
            with suppress(ModelError):  # it was trained on other features: it does not score
                scores, _ = sing(plan, boundary.vectors)
        state = self._state
        if same and said is not None and said.policy is not None:
            state = PolicyState.from_bytes(said.policy)
        verdicts, self._state = judge(
            boundary=boundary,
            symbols=self._symbols,
            probabilities=scores,
            model=plan.facts,
            session_domain=self._domain,
            state=state,
            settings=self._settings,
        )
        return Opinion(
            next(iter(versions), None), scores, [verdict.as_dict() for verdict in verdicts]
        )

    def _choose(self, wanted: str | None) -> list[Voice | None]:
        """Who speaks for each symbol, as `serve.scorer` would have it."""
        from serve.choir import Choir
        from serve.scorer import champions_of

        if wanted == NO_MODEL:
            return [None] * len(self._symbols)
        if wanted in (None, CHAMPION):
            paths = champions_of(self._registry, self._domain)
            if not paths and wanted == CHAMPION:
                raise PartMissingError(
                    f"no champion for {self._domain}: train one, or give --model DIR or none"
                )
        else:
            assert wanted is not None
            if not Path(wanted).is_dir():
                raise ConfigError(f"--model {wanted!r} is neither champion, none nor a directory")
            paths = {"": Path(wanted)}
        voices = {name: self._load(path) for name, path in paths.items()}
        choir = Choir(self._domain, voices, voices.get(""))
        return [choir.voice_of(symbol) for symbol in self._symbols]

    def _voice(self, version: str | None) -> Voice | None:
        if version is None or version in self._voices:
            return None if version is None else self._voices[version]
        for name in self._registry.names():
            path = self._registry.find(name, version)
            if path is not None:
                return self._load(path)
        raise PartMissingError(
            f"the recording was judged by model {version}, which the registry lacks: put it back,"
            " or give --model champion or none"
        )

    def _load(self, path: Path) -> Voice:
        from serve.choir import Voice

        voice = Voice.load(path, self._layout, mute=True)
        self._voices[voice.facts.version] = voice
        return voice


def _versions(said: RecordedBoundary | None) -> list[str | None]:
    """The model that the recorded verdict of each symbol names."""
    verdicts = said.verdicts if said is not None else None
    return [verdict["model_version"] for verdict in verdicts or ()]


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
