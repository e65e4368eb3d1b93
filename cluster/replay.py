"""`foreshock replay`: play a recorded session through the live code and compare it, bit by bit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer
from rich.console import Console

from cluster.options import Files, Json, ModeOption, Set, read_config
from cluster.output import Answer, answer
from foreshock.errors import RecordingError

if TYPE_CHECKING:
    from foreshock.models.artifact import OnnxModel
    from foreshock.replay.reconcile import Judge, Reconciliation
    from foreshock.settings import Config
    from foreshock.stores.recordings import Recording

SESSION_FILE = "session.json"


def replay(
    session: Annotated[Path, typer.Argument(help="A recording, or a directory of several.")],
    json: Json = False,
    mode: ModeOption = None,
    config: Files = None,
    given: Set = None,
) -> None:
    """Replay a recorded session and compare vectors, probabilities and verdicts with the record."""

    def work() -> Answer:
        tree = read_config(mode or "replay", config, given).tree
        found = [(place, _replayed(place, tree)) for place in recordings_in(session)]
        document = {
            "session": str(session),
            "same": all(report.same for _, report in found),
            "recordings": [{"directory": str(place), **_told(report)} for place, report in found],
        }

        def show(console: Console) -> None:
            for place, report in found:
                console.print(f"{place}: {_sentence(report)}")

        return Answer(document, show, passed=bool(document["same"]))

    answer(work, json)


def recordings_in(directory: Path) -> list[Path]:
    """Every recording at or below `directory` that holds rows, in order. Raises RecordingError."""
    found = sorted(path.parent for path in directory.rglob("manifest.json"))
    found = [place for place in found if any((place / "rows").glob("*.parquet"))]
    if not found:
        raise RecordingError(f"{directory} holds no recording with rows")
    return found


def _replayed(place: Path, tree: Config) -> Reconciliation:
    from foreshock.replay.reconcile import reconcile
    from foreshock.stores.recordings import open_recording

    recording = open_recording(place)
    model = _model_of(recording, tree)
    judge = _judge(recording, model, tree)
    return reconcile(recording, score=None if model is None else model.score, judge=judge)


def _model_of(recording: Recording, tree: Config) -> OnnxModel | None:
    """The very model that the session was scored with, by the version in its verdicts; None where
    it was not scored. Raises RecordingError where the registry does not have it."""
    from cluster.first_model import registry_of
    from foreshock.models import artifact

    versions = {
        verdict["model_version"]
        for said in recording.vectors()
        for verdict in said.verdicts or ()
        if verdict["model_version"] is not None
    }
    if not versions:
        return None
    if len(versions) > 1:
        raise RecordingError(f"several models spoke in {recording.directory}: {sorted(versions)}")
    version, registry = versions.pop(), registry_of(tree)
    for name in registry.names():
        if version in registry.versions(name):
            path = registry.find(name, version)
            assert path is not None
            return artifact.load(path)
    raise RecordingError(f"the registry does not have model {version} of {recording.directory}")


def _judge(recording: Recording, model: OnnxModel | None, tree: Config) -> Judge:
    """The gate as the session's was set, from the empty state that a session starts with."""
    from foreshock.models.base import Domain
    from foreshock.signals.gate import GateSettings, ModelFacts
    from foreshock.signals.gate import judge as decide
    from foreshock.signals.policy import PolicyState

    settings = tree.gate_settings()
    for folder in (recording.directory, *recording.directory.parents[:2]):
        if (folder / SESSION_FILE).exists():
            kept = orjson.loads((folder / SESSION_FILE).read_bytes())
            settings = GateSettings.model_validate(kept["gate"])
            break
    facts = None if model is None else ModelFacts.of(model.card)
    domain = Domain.model_validate(recording.meta["domain"])
    symbols = tuple(instrument.symbol for instrument in recording.instruments)
    state = PolicyState()

    def judge(boundary: Any, scores: Any) -> list[dict[str, Any]]:
        nonlocal state
        verdicts, state = decide(
            boundary=boundary,
            symbols=symbols,
            probabilities=scores,
            model=facts,
            session_domain=domain,
            state=state,
            settings=settings,
        )
        return [verdict.as_dict() for verdict in verdicts]

    return judge


def _told(report: Reconciliation) -> dict[str, Any]:
    first = report.first
    return {
        "same": report.same,
        "boundaries": report.boundaries,
        "compared": dict(report.compared),
        "differing_bits": report.differing.total(),
        "differing": dict(report.differing),
        "first_difference": None
        if first is None
        else {name: getattr(first, name) for name in first.__slots__},
        "verdicts": dict(report.reasons),
    }


def _sentence(report: Reconciliation) -> str:
    if report.first is None:
        bits = report.compared["vectors"] + report.compared["probabilities"]
        return (
            f"{report.boundaries} boundaries, {bits} bits of vectors and probabilities and "
            f"{sum(report.reasons.values())} verdicts compared: nothing differs"
        )
    first = report.first
    return (
        f"differs first in {first.stage} of {first.symbol} at {first.boundary_ns}: "
        f"recorded {first.recorded}, replayed {first.replayed}"
    )
