"""A session that was scored and judged in process, and recorded as a watcher records it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cluster.judging import SESSION_FILE, Judging
from foreshock.engine.outcomes import Boundary
from foreshock.engine.provenance import made_with
from foreshock.engine.step import Engine
from foreshock.market.instruments import Instrument
from foreshock.market.rows import TIMER, Rows, heads
from foreshock.models import artifact
from foreshock.models.base import Domain
from foreshock.signals.gate import GateSettings, ModelFacts, judge
from foreshock.signals.policy import PolicyState
from foreshock.stores.journal import Part
from foreshock.stores.recordings import RecordingWriter
from foreshock.stores.registry import DirectoryRegistry
from tests.unit.serve.material import own, train

EASY = GateSettings(probability_threshold=0.05, utility_threshold_bps=-1e6, cool_down_s=7.0)
PARTS = 4  # files of rows and of what was said, a snapshot of the engine behind each
UNHEARD = 3  # the first boundaries, while the gate was coming up


def record(
    home: Path,
    batches: Iterable[Rows],
    instruments: Sequence[Instrument],
    domain: Domain,
    state: PolicyState,
    settings: GateSettings = EASY,
    parts: Sequence[Part] = (),
) -> Path:
    """Record `batches` below `home`, judged by a small champion. `state` is the gate's at the
    start, `parts` the session's journal. Returns the session's directory; the registry is
    `home / "models"`."""
    card = train(home / "models", domain)
    path = DirectoryRegistry(home / "models").find(card.name, card.version)
    assert path is not None
    model = artifact.load(path)
    symbols = [instrument.symbol for instrument in instruments]
    session = home / "session"
    meta = {"domain": domain.model_dump(), "judged": True, **made_with()}
    writer = RecordingWriter(session / "watcher" / "0-0", instruments, meta)
    (session / SESSION_FILE).write_text(json.dumps({"gate": settings.model_dump(mode="json")}))
    engine = Engine(instruments)
    pieces = list(batches)
    first = next(k for k, rows in enumerate(pieces) if TIMER in rows["kind"][heads(rows)])
    pieces[: first + 1] = [np.concatenate(pieces[: first + 1])]  # nothing closes in the past
    heard = 0
    for part in np.array_split(np.arange(len(pieces)), PARTS):
        kept: list[tuple[Boundary, Any, Any, Any]] = []
        for k in part.tolist():
            for boundary in engine.feed(pieces[k]):
                heard += 1
                if heard <= UNHEARD:
                    kept.append((boundary, None, None, None))
                    continue
                scores, before = model.score(own(boundary.vectors)), state.only(symbols).to_bytes()
                verdicts, state = judge(
                    boundary=boundary,
                    symbols=symbols,
                    probabilities=scores,
                    model=ModelFacts.of(card, card.required_in(engine.layout)),
                    session_domain=domain,
                    state=state,
                    settings=settings,
                )
                kept.append((boundary, scores, [v.as_dict() for v in verdicts], before))
        writer.write(np.concatenate([pieces[k] for k in part.tolist()]))
        writer.write_boundaries(*[list(column) for column in zip(*kept, strict=True)])
        writer.write_snapshot(engine.last_seq, engine.snapshot())
    for kept_part in parts:
        writer.write_journal(kept_part)
    writer.close()
    return session


def judging(home: Path, recording: Any, wanted: str | None = None, **changes: Any) -> Judging:
    """The judge of a recording made by `record`."""
    given: dict[str, Any] = {
        "symbols": [instrument.symbol for instrument in recording.instruments],
        "domain": Domain.model_validate(recording.meta["domain"]),
        "registry": DirectoryRegistry(home / "models"),
        "settings": EASY,
        "wanted": wanted,
        "judged": True,
    }
    return Judging(**{**given, **changes})
