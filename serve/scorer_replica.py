"""The scorer in a replica. A file of its own, as each replica has: what a process need not import
it need not wait for when it takes the place of a dead one."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ray.serve.handle import DeploymentHandle

from foreshock.features.catalog import layout
from foreshock.stores.registry import DirectoryRegistry
from serve.scorer import FOLLOW_S, Scorer, Scores, champions_of
from serve.wiring import Wiring


class ScorerReplica:
    """See `serve.scorer.Scorer`."""

    def __init__(self, wiring: Wiring) -> None:
        registry = DirectoryRegistry(wiring.registry_dir)
        self._scorer = Scorer(
            lambda domain: champions_of(registry, domain),
            wiring.domain,
            layout(wiring.features),
            inline=False,
        )
        threading.Thread(target=self._follow, name="champions", daemon=True).start()

    def reconfigure(self, user_config: dict[str, Any]) -> None:
        """See `serve.scorer.Scorer.reconfigure`."""
        self._scorer.reconfigure(user_config)

    def _follow(self) -> None:
        """For ever, on a thread: no score waits for a registry or for a model that is loaded."""
        while True:
            time.sleep(FOLLOW_S)
            self._scorer.follow()

    async def score(
        self,
        matrix: NDArray[np.float32],
        fingerprint: str,
        symbols: Sequence[str] | None = None,
    ) -> Scores:
        """See `serve.scorer.Scorer.score`. On the loop: it takes less than a thread's turn."""
        return self._scorer.score(matrix, fingerprint, symbols)

    def whoami(self) -> int:
        """Process id, for those who test what happens when it dies."""
        return os.getpid()


def score_of(
    scorer: DeploymentHandle[Any],
) -> Callable[..., Awaitable[Scores]]:
    """The scorer's method behind its handle, as the gate and the doors call it."""

    async def score(
        matrix: NDArray[np.float32], fingerprint: str, symbols: Sequence[str] | None = None
    ) -> Scores:
        scores: Scores = await scorer.score.remote(matrix, fingerprint, symbols)
        return scores

    return score
