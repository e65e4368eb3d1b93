"""The gate in its replica, with a connection to everything that it writes to."""

from __future__ import annotations

import os
import time
from functools import partial
from pathlib import Path
from typing import Any

from ray.serve.handle import DeploymentHandle

from foreshock.engine.message import BoundaryMessage
from foreshock.errors import ModelError
from foreshock.features.catalog import layout
from foreshock.models.artifact import load_card
from foreshock.stores.hot import RedisHot
from foreshock.stores.ledger import Ledger
from foreshock.stores.registry import DirectoryRegistry
from foreshock.stores.verdict_spill import VerdictSpill
from serve.drift import Drift, reference_in
from serve.gate import Gate
from serve.outbox import Outbox
from serve.scorer_replica import score_of
from serve.settings import ServeSettings
from serve.wiring import Wiring


def _keep_models(registry_dir: Path, ledger: Ledger) -> None:
    """The card of every registered model into the ledger, what its verdicts refer to; and who let
    which speak, where a training did that had no ledger at hand."""
    registry = DirectoryRegistry(registry_dir)
    registry.tell_ledger(ledger)
    for name in registry.names():
        for version in registry.versions(name):
            path = registry.find(name, version)
            try:
                card = load_card(path) if path is not None else None
            except ModelError:
                continue  # the scorer refuses it aloud
            if card is not None:
                ledger.record_model(card.model_dump(mode="json"), time.time_ns())


class GateReplica:
    """See `serve.gate.Gate`."""

    def __init__(
        self, scorer: DeploymentHandle[Any], settings: ServeSettings, wiring: Wiring
    ) -> None:
        outbox = Outbox(
            lambda: Ledger(wiring.ledger),
            settings.ledger_every_s,
            settings.ledger_queue,
            VerdictSpill(wiring.spill_dir) if wiring.spill_dir is not None else None,
            partial(_keep_models, wiring.registry_dir),
        )
        hot = RedisHot(wiring.redis_url, prefix=wiring.prefix, timeout_s=settings.store_timeout_s)
        vectors = layout(wiring.features)
        drift = Drift(partial(reference_in, DirectoryRegistry(wiring.registry_dir)), vectors)
        self._gate = Gate(
            score_of(scorer), hot, outbox, settings, wiring.gate, vectors, drift=drift
        )

    async def judge(self, message: BoundaryMessage) -> dict[str, Any]:
        """See `serve.gate.Gate.judge`."""
        return await self._gate.judge(message)

    def whoami(self) -> int:
        """Process id, for those who test what happens when it dies."""
        return os.getpid()

    def __del__(self) -> None:
        gate = getattr(self, "_gate", None)
        if gate is not None:
            gate.close()
